import pytest
from mediacloud import MediaCloud

from .syncing import Sync


@pytest.fixture
def cloud():
    with MediaCloud() as running:
        yield running


@pytest.fixture
def sync(cloud, tmp_path):
    """A function that makes the test's cloudsync: `sync("prod", PAGE_SIZE=2)`."""

    def make(environment="dev", **variables):
        return Sync(cloud, tmp_path / "data", environment, **variables)

    return make
