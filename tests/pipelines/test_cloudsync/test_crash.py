"""A run that is killed in the middle of a download goes on where it was: nothing twice, nothing lost, nothing left over."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from mediacloud import BLOCK, Media, SyntheticContent

from . import PROJECT
from .test_acceptance_archive import stored_is

CHUNK = 5 * BLOCK
STEPWELL = str(Path(sys.executable).with_name("stepwell"))


def start(world, name="nightly"):
    """`stepwell run` as a user calls it, in a session of its own."""
    command = [STEPWELL, "run", str(PROJECT), "--data", str(world.data), "--name", name, "--json"]
    return subprocess.Popen(
        command,
        env={**os.environ, **world.variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_until(condition, process, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "it did not come so far"
        time.sleep(0.01)


def kill(process):
    """kill -9 of the engine alone; the workers must follow it by themselves."""
    children = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive, "a worker outlived its engine"


def finished(process):
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return json.loads(out)


def check_archive(world, contents):
    rows = world.rows()
    assert {name: row["status"] for name, row in rows.items()} == dict.fromkeys(contents, "COMPLETED")
    assert sorted(world.archived()) == sorted(row["s3_key"] for row in rows.values()), "one object for each item"
    assert not world.uploads(), "no orphan"
    for name, content in contents.items():
        assert stored_is(world, rows[name]["s3_key"], content), name


@pytest.mark.crash
def test_killed_in_the_middle_of_a_download(cloud, sync):
    contents = {
        "m1": SyntheticContent(4 * CHUNK, 1),
        "m2": SyntheticContent(3000, 2),
        "m3": SyntheticContent(2 * CHUNK + 5, 3),
    }
    cloud.add(*(Media(name, f"GH-{name}.MP4", content) for name, content in contents.items()))
    cloud.fail("cdn", media_id="m1", fragment=BLOCK // 4, pause=0.05)
    world = sync(MULTIPART_THRESHOLD=CHUNK, CHUNK_SIZE=CHUNK)
    process = start(world)
    wait_until(
        lambda: cloud.sent.get("m1", 0) > 2 * CHUNK and (world.row("m2") or {}).get("status") == "COMPLETED", process
    )
    kill(process)
    assert world.row("m1")["status"] == "IN_PROGRESS"
    assert world.uploads() == ["gopro-videos/2025/11/GH-m1.MP4"], "the killed attempt left one"
    result = finished(start(world))
    check_archive(world, contents)
    assert len(world.logs(event_type="upload_swept")) == 1
    assert len(cloud.requests("cdn", media_id="m2")) == 1, "what was done is not done again"
    assert result["output"]["summary"]["total_synced"] == 3


@pytest.mark.crash
@pytest.mark.slow
def test_killed_at_random_moments(cloud, sync):
    random.seed(20251202)
    contents = {f"m{number}": SyntheticContent(random.randint(1, 3 * CHUNK), number) for number in range(8)}
    cloud.add(*(Media(name, f"GH-{name}.MP4", content) for name, content in contents.items()))
    cloud.fail("cdn", fragment=BLOCK, pause=0.02, times=1000)
    world = sync(MULTIPART_THRESHOLD=CHUNK, CHUNK_SIZE=CHUNK, PAGE_SIZE=4)
    kills = 0
    while True:
        process = start(world)
        try:
            _, err = process.communicate(timeout=random.uniform(0.3, 2.5) if kills < 6 else 120)
            break
        except subprocess.TimeoutExpired:
            kill(process)
            kills += 1
    # A kill can also come between the end of the run and the end of its process: then the next start is told so.
    assert process.returncode == 0 or (kills and "has ended already" in err), err
    assert kills >= 2
    check_archive(world, contents)
