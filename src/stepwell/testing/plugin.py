"""The pytest plugin: the fixture `stepwell`. Imports nothing heavy until a test asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from stepwell.testing.harness import BlockingHarness

pytest.register_assert_rewrite("stepwell.testing.run")


@pytest.fixture
def stepwell() -> Iterator[BlockingHarness]:
    """An engine in memory, in virtual time, with mocked tasks: see `stepwell.testing`."""
    from stepwell.testing.harness import BlockingHarness

    with BlockingHarness() as harness:
        yield harness
