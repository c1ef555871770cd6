"""A torn write-ahead log: whatever part of it survives a power loss, what it says is whole, and everything in it ends right."""

from __future__ import annotations

import os
import random
import shutil
import time
from pathlib import Path

import pytest

from .test_kill import SEED, Child, check

CUTS = int(os.environ.get("STEPWELL_CUTS", "4"))

pytestmark = pytest.mark.crash


async def test_cut_off_anywhere(tmp_path: Path) -> None:
    rng = random.Random(SEED)
    print(f"seed {SEED}, {CUTS} cuts")
    whole = tmp_path / "whole"
    whole.mkdir()
    child = Child(whole, 0, 80, "process")
    lines: list[str] = []
    while len(lines) < 70:
        lines += child.read(time.monotonic() + 0.2)
    child.kill()
    size = (whole / "data" / "journal.db-wal").stat().st_size
    assert size > 100_000
    for number in range(CUTS):
        torn = tmp_path / f"torn{number}"
        shutil.copytree(whole, torn)
        wal = torn / "data" / "journal.db-wal"
        cut = rng.randrange(32, size)
        os.truncate(wal, cut)
        if number % 2:
            with wal.open("r+b") as file:  # a page that was half written
                file.seek(max(cut - 2000, 0))
                file.write(rng.randbytes(min(2000, cut)))
        child = Child(torn, 1000, 1, "process")
        said: list[str] = []
        deadline = time.monotonic() + 60
        while "idle" not in said and time.monotonic() < deadline and child.process.poll() is None:
            said += child.read(time.monotonic() + 1)
        child.process.wait(20)
        text = (torn / "load.log").read_text()
        assert "idle" in said, f"cut at {cut} of {size}\n{text[-3000:]}"
        assert "Traceback" not in text, text[-3000:]
        await check(torn / "data", set())
