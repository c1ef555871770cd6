"""The demo runs from a clean directory and leaves what it promises."""

import json
import subprocess
import sys

import pytest
from PIL import Image

from . import PROJECT


@pytest.mark.slow
def test_demo(tmp_path):
    output = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, str(PROJECT / "demo.py"), "--output", str(output)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "| Northern Circuit & Coast | 5 | 6 | yes | $18,450 | pass | ready_for_review |" in done.stdout
    itineraries = json.loads((output / "itineraries.json").read_text())
    assert [len(itinerary["images"]) for itinerary in itineraries] == [6, 26, 15]
    page = (output / "index.html").read_text()
    pictures = [part.split("'")[0] for part in page.split("src='")[1:]]
    assert len(pictures) > 47
    for picture in pictures:
        path = output / picture
        assert path.stat().st_size > 0
        if path.suffix != ".mp4":
            Image.open(path).verify()
