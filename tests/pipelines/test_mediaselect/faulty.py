"""A thumbnail function that always raises for one file; run in place of the real one. Each call leaves a line."""

import os
from pathlib import Path


def thumbnail(event, context):
    with (Path(os.environ["STEPWELL_DATA"]) / "calls.txt").open("a") as calls:
        calls.write(event["key"] + "\n")
    if event["key"].endswith("bad.jpg"):
        raise RuntimeError("x" * 50_000)
    return {"thumbnailKey": "", "originalKey": event["key"], "success": True}
