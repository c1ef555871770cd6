"""kill -9 of everything, engine, functions and machines, at random moments; started again until it is done. The result is the same."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest
from mangaworld import Catalogue, Model, ReadAloud, VideoHost, manga, tone

from stepwell.project import load_project
from stepwell.toolkit.environment import Resources

from . import PROJECT

STEPWELL = str(Path(sys.executable).with_name("stepwell"))
NAME = "killed-1"


class Served:
    """The pipeline under `stepwell serve`, as a user runs it, on a port that stays the same."""

    def __init__(self, data, pages):
        self.data = data
        self.ports = Resources("embedded", data, load_project(PROJECT).resources)
        self.catalogue = Catalogue([manga(1, "First Light", 1, pages)], rate=None)
        self.model, self.host = Model(sentences=1), VideoHost()
        self.speech = ReadAloud(lambda text, voice: tone(440, 2.3 * pages))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{probe.getsockname()[1]}"
        self.process = None

    def __enter__(self):
        for simulator in (self.catalogue, self.model, self.speech, self.host):
            simulator.__enter__()
        self.ports.secret("manga-pipeline/deepinfra-api-key").write({"api_key": self.model.key})
        self.ports.secret("manga-pipeline/youtube-oauth").write(self.host.secret())
        return self

    def __exit__(self, *error):
        self.kill()
        for simulator in (self.catalogue, self.model, self.speech, self.host):
            simulator.__exit__(None, None, None)

    def start(self):
        environment = {
            **os.environ,
            "MANGADEX_BASE_URL": self.catalogue.url,
            "DEEPINFRA_BASE_URL": self.model.base_url,
            "EDGE_TTS_URL": self.speech.url,
            "YOUTUBE_UPLOAD_BASE": self.host.upload_base,
            "MANGAVIDEO_WAIT_FACTOR": "0.02",
            "VIDEO_PRESET": "ultrafast",
            "CHUNK_SCENES": "1",
            "HEARTBEAT_SECONDS": "1",
            "RENDER_DIRECTORY": str(self.data / "render"),
            "MANGAVIDEO_TEST": str(self.data),
        }
        command = [
            STEPWELL,
            "serve",
            str(PROJECT),
            "--env",
            "quick",
            "--account",
            "000000000000",
            "--data",
            str(self.data),
            "--port",
            self.url.rpartition(":")[2],
        ]
        with (self.data.parent / "serve.log").open("ab") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True)
        line = self.process.stdout.readline()
        assert "serves" in line, (self.data.parent / "serve.log").read_text()[-2000:]

    def kill(self):
        """Everything that belongs to this data directory, machines that outlived earlier engines included."""
        ours = []
        for process in psutil.process_iter():
            try:
                if process.pid != os.getpid() and process.environ().get("MANGAVIDEO_TEST") == str(self.data):
                    ours.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                continue
        for process in ours:
            try:
                os.kill(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if self.process is not None:
            self.process.wait()
        psutil.wait_procs(ours, timeout=10)

    def call(self, action, **arguments):
        headers = {"content-type": "application/x-amz-json-1.0", "x-amz-target": f"AWSStepFunctions.{action}"}
        return httpx.post(self.url, content=json.dumps(arguments), headers=headers, timeout=20)

    def ended(self, seconds):
        """Whether the execution ended within so many seconds; it is started if it was not."""
        machine = "arn:aws:states:us-east-1:000000000000:stateMachine:manga-pipeline"
        self.call("StartExecution", stateMachineArn=machine, name=NAME, input="{}")
        arn = machine.replace(":stateMachine:", ":execution:") + f":{NAME}"
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.call("DescribeExecution", executionArn=arn).json().get("status") == "SUCCEEDED":
                return True
            time.sleep(0.05)
        return False

    def result(self):
        """What is left at the end: videos, counter, titles, jobs, objects."""
        rows = [
            {key: row.get(key) for key in ("job_id", "manga_id", "status", "progress_pct", "youtube_url")}
            for row in self.ports.table("manga_jobs").scan()
        ]
        titles = [
            (row["manga_id"], row["status"], row["attempts"]) for row in self.ports.table("processed_manga").scan()
        ]
        counters = [(row["count"], row["job_ids"]) for row in self.ports.table("manga-pipeline-counters").scan()]
        videos = [bytes(session.data) for session in self.host.videos.values()]
        return rows, titles, counters, videos, list(self.ports.bucket("assets").list("jobs/"))


def killed(tmp_path, pages, kills, seed, moments):
    """How often it was killed: `kills` times, or until it was done; `moments`: seconds after each start."""
    with Served(tmp_path / "calm" / "data", pages) as calm:
        calm.data.parent.mkdir(exist_ok=True)
        calm.start()
        assert calm.ended(150)
        expected = calm.result()
    assert len(expected[3]) == 1 and expected[0][0]["status"] == "completed"
    chance = random.Random(seed)
    with Served(tmp_path / "killed" / "data", pages) as served:
        done = 0
        while done < kills:
            served.start()
            if served.ended(chance.uniform(*moments)):
                break
            served.kill()
            done += 1
        else:
            served.start()
            assert served.ended(150)
        assert served.result() == expected
        return done


@pytest.mark.crash
def test_killed_at_random_moments(tmp_path):
    assert killed(tmp_path, 2, 2, 5, (0.4, 3.0)) == 2


@pytest.mark.crash
@pytest.mark.slow
def test_killed_ten_times(tmp_path):
    assert killed(tmp_path, 3, 10, 11, (0.4, 5.0)) >= 5
