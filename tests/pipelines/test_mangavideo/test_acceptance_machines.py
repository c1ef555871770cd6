"""Statements 18 to 21: machines that fall silent, are interrupted, crash, or lose their network."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from mangavideo.scenes import on_grid
from mangaworld import Answer, Simulator, manga, tone

from mangavideo import video, work


def until(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not come so far"
        time.sleep(0.01)
    return found


class Api(Simulator):
    """The workflow service, as far as a worker sees it."""

    def __init__(self, refusal=""):
        super().__init__()
        self.refusal = refusal

    def respond(self, request):
        if self.refusal:
            return Answer(400, {"__type": f"com.amazonaws.swf.base.model#{self.refusal}", "message": "over"})
        return Answer(200, {})

    def calls(self):
        return [(r.headers["x-amz-target"].partition(".")[2], json.loads(r.body)) for r in self.requests]


def worker(api, role="uploader", **variables):
    """A worker program, started as a machine starts it."""
    environment = {**os.environ, "STEPWELL_API_URL": api.url, "STEPWELL_TASK_TOKEN": "token-of-a-test", "JOB_ID": "j"}
    environment |= {name: str(value) for name, value in variables.items()}
    return subprocess.Popen(
        [sys.executable, "-m", f"mangavideo.{role}"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_18_silence(make):
    world = make([manga(1, "First Light", 1, 3)], voice=lambda text, voice: tone(440, 9.0))
    assert work.HEARTBEAT_SECONDS <= 60
    execution = world.start()
    ending = ThreadPoolExecutor(1).submit(world.ended, execution)
    first = until(lambda: world.machines("renderer"))[0]
    log = world.data / "machines" / "renderer" / first[0] / "output.log"
    until(lambda: "worker started" in log.read_text())
    os.kill(first[1]["program"], signal.SIGSTOP)  # it is there, but it says nothing any more
    world.clock.lost.add(first[0])
    try:
        second = until(lambda: world.machines("renderer")[1:])[0]
        until(lambda: "stopping" in json.loads((log.parent / "status.json").read_text()))
    finally:
        os.kill(first[1]["program"], signal.SIGCONT)
    run = ending.result(60)
    assert run.last == "Done"
    assert run.failures() == [("States.Timeout", 60.0)], "as a missed heartbeat is recorded"
    entered = next(e for e in run.history if e.get("stateEnteredEventDetails", {}).get("name") == "WaitForRender")
    timed_out = next(e for e in run.history if e["type"] == "TaskTimedOut")
    assert 300 <= timed_out["timestamp"] - entered["timestamp"] < 400, "its heartbeat, not the state's four hours"
    tokens = [payload["task_token"] for payload in run.payloads("start-renderer")]
    assert len(set(tokens)) == 2 and second[0] != first[0]
    assert [payload["attempt"] for payload in run.payloads("start-renderer")] == [0, 1]
    # 20: the old worker found out, changed nothing, and is gone.
    old = world.ports.worker("renderer").wait(first[0])
    assert (old.state, old.exit_code) == ("terminated", work.LOST)
    assert world.job(f"{run.name}-0")["status"] == "completed"
    assert '"chunk stored"' not in log.read_text()
    assert world.job(f"{run.name}-0")["renderer_instance_id"] == second[0]


def test_19_interruption(make, tmp_path):
    world = make(
        [manga(1, "First Light", 1, 5)],
        voice=lambda text, voice: tone(440, 10.2),
        CHUNK_SCENES=1,
        VIDEO_PRESET="veryfast",
    )
    world.set(manual_review_mode=True)
    execution = world.start()
    job = f"{execution.arn.rpartition(':')[2]}-0"
    key = f"jobs/{job}/checkpoint.json"
    machine = until(lambda: world.machines("renderer"))[0][0]
    until(lambda: world.bucket.exists(key) and world.document(key)["last_completed_chunk"] == 2)
    world.ports.worker("renderer").terminate(machine)
    world.ports.worker("renderer").wait(machine)
    run = world.ended(execution)
    assert run.failures() == [("SpotInterruption", 60.0)]
    for name, _ in world.machines("renderer"):
        world.ports.worker("renderer").wait(name)
    (interrupted, first), (_, second) = world.machines("renderer")
    assert (first["exit_code"], second["exit_code"]) == (143, 0)

    def stored(machine):
        lines = (world.data / "machines" / "renderer" / machine / "output.log").read_text().splitlines()
        return [line["chunk"] for line in map(json.loads, lines) if line.get("event_type") == "chunk_stored"]

    assert stored(interrupted) == [0, 1, 2]
    assert stored(world.machines("renderer")[1][0]) == [3, 4]
    world.bucket.download_file(f"jobs/{job}/video.mp4", tmp_path / "video.mp4")
    audio = run.inputs("WaitForRender")[0]["ttsResult"]["total_duration_seconds"]
    assert video.verified(tmp_path / "video.mp4").frames == on_grid(audio)
    assert not world.bucket.exists(key)


def test_20_one_answer(make):
    """Whatever happens, one terminal call; none at all when the task is over."""
    make([])
    with Api() as api:
        process = worker(api, HEARTBEAT_SECONDS=0.2)
        assert process.wait(30) == 1, "there is no such job"
        names = [name for name, _ in api.calls()]
        assert names[0] == "SendTaskHeartbeat", "from the first second"
        assert names.count("SendTaskFailure") + names.count("SendTaskSuccess") == 1
        answer = next(body for name, body in api.calls() if name == "SendTaskFailure")
        assert answer["error"] == "JobNotFound"


def test_20_a_task_that_is_over(make):
    world = make()
    for function in ("fetcher", "scriptgen", "ttsgen"):
        world.call(function, job_id="j", continuation_token=None)
    before = world.job("j")
    with Api("TaskTimedOut") as api:
        process = worker(api, "renderer", HEARTBEAT_SECONDS=0.05)
        assert process.wait(30) == work.LOST
        assert {name for name, _ in api.calls()} == {"SendTaskHeartbeat"}
    after = world.job("j")
    assert {**after, "updated_at": 0} in ({**before, "updated_at": 0}, {**before, "updated_at": 0, "progress_pct": 65})
    assert not world.bucket.exists("jobs/j/video.mp4")


@pytest.mark.parametrize("how", ["failure", "crash", "watchdog"])
def test_21_machines_end(make, how):
    """Success is test_every_machine_is_gone."""
    from stepwell.toolkit.machines.local import LocalMachines

    world = make()
    if how == "watchdog":
        spec = {"program": [sys.executable, "-c", "import time; time.sleep(600)"], "max_lifetime": 0.5, "grace": 0.2}
        machines = LocalMachines.declared(world.data, "renderer", spec)
    else:
        machines = LocalMachines.declared(world.data, "renderer", {**world.project.resources["workers"]["renderer"]})
    machine = machines.launch(
        task_token="no-such-token-here", environment={"JOB_ID": "absent"}, tags={"job_id": "absent"}
    )
    if how == "crash":
        pid = json.loads((world.data / "machines" / "renderer" / machine.id / "status.json").read_text())["program"]
        os.kill(pid, signal.SIGKILL)
    ended = machines.wait(machine.id)
    assert ended.state == "terminated"
    assert ended.exit_code in ({"failure": (1, work.LOST), "crash": (137,), "watchdog": (143, 137)}[how])
    assert not machines.find(job_id="absent")
    lifetimes = {role: spec["max_lifetime"] for role, spec in world.project.resources["workers"].items()}
    assert lifetimes == {"renderer": 255 * 60, "uploader": 135 * 60}


def test_interrupted_worker_says_so(make):
    world = make()
    for function in ("fetcher", "scriptgen", "ttsgen"):
        world.call(function, job_id="j", continuation_token=None)
    with Api() as api:
        process = worker(api, "renderer", VIDEO_PRESET="veryslow")
        until(lambda: world.job("j").get("progress_pct") == 70)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 143
        failures = [body for name, body in api.calls() if name == "SendTaskFailure"]
    assert [(body["error"], body["cause"]) for body in failures] == [("SpotInterruption", "SIGTERM")]
    assert world.job("j")["status"] == "rendering", "the job is left as it is"


def test_launcher_refuses_what_cannot_work(make):
    world = make()
    from mangavideo.errors import ConfigError, JobNotFound

    event = {"task_token": "t" * 20, "attempt": 0}
    with pytest.raises(JobNotFound):
        world.call("start-renderer", job_id="absent", **event)
    world.call("fetcher", job_id="j")
    with pytest.raises(ConfigError, match=r"lacks jobs/j/audio_manifest\.json"):
        world.call("start-renderer", job_id="j", **event)
