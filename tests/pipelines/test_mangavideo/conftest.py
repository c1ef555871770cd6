import pytest

from .world import World


@pytest.fixture
def make(tmp_path):
    """A function that makes the test's world and enters it: `make(library, MAX_CHAPTERS=2)`."""
    worlds = []

    def enter(library=None, **options):
        world = World(tmp_path / f"data{len(worlds)}", library, **options)
        worlds.append(world.__enter__())
        return world

    yield enter
    for world in reversed(worlds):
        world.__exit__()


@pytest.fixture
def world(make):
    return make()
