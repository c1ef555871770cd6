import pytest
from openai_api import OpenAIApi

from .running import Pipeline


@pytest.fixture
def api():
    with OpenAIApi() as running:
        yield running


@pytest.fixture
def make(api, tmp_path, monkeypatch):
    """A function that makes the test's pipeline: `make(CHUNK_SIZE=2)`."""
    return lambda **variables: Pipeline(tmp_path / "data", api, monkeypatch.setenv, **variables)


@pytest.fixture
def pipeline(make):
    return make()
