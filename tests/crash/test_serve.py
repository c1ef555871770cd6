"""`stepwell serve` under boto3's load, killed, stopped, starved of disk, its clock moved: the short form of `python -m tests.crash`."""

from __future__ import annotations

from pathlib import Path

import pytest

from .campaign import Campaign
from .test_kill import SEED

pytestmark = pytest.mark.crash


@pytest.mark.parametrize(("durability", "kills"), [("process", 4), ("power", 2)])
def test_nothing_is_lost(tmp_path: Path, durability: str, kills: int) -> None:
    print(f"seed {SEED}")
    counts = Campaign(tmp_path / "campaign", f"{SEED}/{durability}", kills, durability=durability, quota=12).run()
    assert counts["acknowledged starts"] > 0
