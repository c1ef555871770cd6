"""`make demo PIPELINE=cloudsync` does what the README says, twice."""

import json
import subprocess
import sys

import pytest

from . import PROJECT


@pytest.mark.slow
def test_the_demo_archives_everything_once(tmp_path):
    def run():
        command = [sys.executable, str(PROJECT / "demo.py"), "--output", str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads((tmp_path / "summary.json").read_text()), done.stdout

    first, shown = run()
    assert (first["summary"]["total_synced"], first["summary"]["failed_count"]) == (14, 0)
    assert len(first["files"]) == 13 and all(file["verified"] for file in first["files"])
    assert [file["file"] for file in first["files"] if file["retries"]] == ["GH010044.MP4"]
    for file in first["files"]:
        assert (tmp_path / "archive" / file["key"]).stat().st_size == file["bytes"]
        assert file["key"] in shown
    assert "| GH010042.MP4 |" in (tmp_path / "summary.md").read_text()
    assert not list(tmp_path.glob("cookies*"))

    second, shown = run()
    assert second["summary"]["completion_reason"] == "No new videos found"
    assert second["files"] == first["files"] and "0 requests to the CDN" in " ".join(shown.split())
