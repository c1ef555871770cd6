"""`kill -9` of the whole process tree at random moments, started again until done: the same pictures, byte by byte."""

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from geminisim import Gemini

from stepwell.project import load_project
from stepwell.toolkit.environment import Resources

from . import PROJECT, media

SESSION = "0a1b2c3d-0000-4000-8000-00000000cafe"


def start(folder, data, output, gemini):
    environment = {**os.environ, **gemini.environment, "PYTHONPATH": str(PROJECT)}
    command = [
        sys.executable,
        "-m",
        "mediaselect",
        "local",
        "--session",
        str(folder),
        "--data",
        str(data),
        "--output",
        str(output),
    ]
    # A process group of its own: everything in it dies at once, as when a machine loses power.
    return subprocess.Popen(
        command, env=environment, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def kill(process, *, alone):
    """kill -9 of the whole tree, or of the first process only: what it started must follow by itself."""
    children = psutil.Process(process.pid).children(recursive=True)
    if alone:
        process.kill()
    else:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive, "an engine without its API would keep the data directory to itself"


def artefacts(data: Path, output: Path):
    """All objects of the session, and what the jobs say of them, without ids and times."""
    bucket = Resources("embedded", data, load_project(PROJECT).resources).bucket("media")
    objects = {found.key: bucket.get(found.key) for found in bucket.list(SESSION)}
    results = {name: json.loads((output / f"{name}.json").read_text()) for name in ("selection", "enhancement")}
    for result in results.values():
        del result["id"]
    return objects, results


@pytest.fixture(scope="module")
def unharmed(tmp_path_factory):
    """A session, and what a run without kills makes of it."""
    home = tmp_path_factory.mktemp("unharmed")
    folder = home / "session"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(media.photo("harbour", (500, 380)))
    (folder / "b.heic").write_bytes(media.photo("market", (480, 360), "HEIF"))
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 not a picture")
    (folder / "c.png").write_bytes(media.photo("church", (420, 420), "PNG"))
    (folder / "d.mp4").write_bytes(media.film("beach"))
    with Gemini() as gemini:
        prepared(home / "data")
        process = start(folder, home / "data", home / "out", gemini)
        text, _ = process.communicate(timeout=120)
        assert process.returncode == 0, text
    return folder, artefacts(home / "data", home / "out")


def prepared(data):
    data.mkdir()
    (data / "local.json").write_text(json.dumps({"session": SESSION}))


@pytest.mark.crash
@pytest.mark.parametrize(("kills", "longest"), [(2, 3.0), pytest.param(10, 6.0, marks=pytest.mark.slow)])
def test_killed_runs_end_alike(unharmed, tmp_path, kills, longest):
    folder, (objects, results) = unharmed
    chance = random.Random(kills)
    data, output = tmp_path / "data", tmp_path / "out"
    prepared(data)
    done = 0
    with Gemini(latency=0.3) as gemini:
        while True:
            process = start(folder, data, output, gemini)
            try:
                text, _ = process.communicate(timeout=chance.uniform(0.8, longest) if done < kills else 150)
            except subprocess.TimeoutExpired:
                kill(process, alone=done % 2 == 0)
                done += 1
                continue
            assert process.returncode == 0, text
            break
    assert done >= min(kills, 3), "the run was over before it was killed often enough"
    again, told = artefacts(data, output)
    assert again.keys() == objects.keys()
    assert [key for key in objects if again[key] != objects[key]] == []
    assert told == results
    assert (
        told["enhancement"]["completedCount"] == told["enhancement"]["totalCount"] == len(told["selection"]["selected"])
    )
    assert {item["version"] for item in told["enhancement"]["items"]} == {1}
