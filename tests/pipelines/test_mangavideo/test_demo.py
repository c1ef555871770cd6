"""The demo ends well, and leaves videos that play."""

import json
import os
import subprocess
import sys

import pytest
from mangavideo.video import probe

from . import PROJECT


@pytest.mark.slow
def test_demo(tmp_path):
    command = [sys.executable, str(PROJECT / "demo.py"), "--output", str(tmp_path)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONPATH": ""}, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SpotInterruption: tried again" in done.stdout
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert len(summary) == 2
    for entry in summary:
        assert probe(tmp_path / entry["file"]).video_seconds == pytest.approx(entry["seconds"], abs=0.01)
