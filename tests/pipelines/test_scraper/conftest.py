import pytest

from .world import World


@pytest.fixture
def world_of(tmp_path):
    """A function that makes a world: `with world_of(CHUNK_SIZE=5) as world`."""

    def make(**options):
        return World(tmp_path / "data", **options)

    return make


@pytest.fixture
def world(world_of):
    with world_of() as made:
        yield made
