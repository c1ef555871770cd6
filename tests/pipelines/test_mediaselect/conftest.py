import uuid

import pytest
from geminisim import TOKEN

from .world import World

VERTEX = {"VERTEX_AI_PROJECT": "trip", "VERTEX_AI_REGION": "europe-west4", "VERTEX_AI_TOKEN": TOKEN}


@pytest.fixture(scope="module")
def shared_world(tmp_path_factory):
    with World(tmp_path_factory.mktemp("mediaselect"), **VERTEX) as running:
        yield running


@pytest.fixture
def world(shared_world):
    """The module's world with a session of its own and models that do nothing but what they see."""
    shared_world.session = str(uuid.uuid4())
    shared_world.gemini.clear()
    shared_world.gemini.forgive()
    shared_world.gemini.output = "JPEG"
    return shared_world
