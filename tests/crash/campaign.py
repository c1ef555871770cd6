"""A campaign: one data directory, some machines, many crashes, and the judgement at the end.

Each round lets the server work for a random time, harms it, brings it back, and asks it for everything it has acknowledged.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
from botocore.exceptions import BotoCoreError, ClientError

from .generation import ACCOUNT, PREFIX, Suite
from .server import map_file
from .traffic import Traffic, client
from .verification import Calls, Observer, Violation, require, verify

ROOT = Path(__file__).parents[2]
HARMS = {
    # What happens to the server, and how often: the first three are kills.
    "kill": 10,
    "kill workers": 3,
    "kill both": 3,
    "terminate": 2,
}
KILLS = ("kill", "kill workers", "kill both")
FULL_DISK = 0.1
CLOCK_JUMP = 0.15
COPY = 0.25
PAGE = 4096
"""The default page size of SQLite."""


class Campaign:
    """`kills` crashes of one data directory; every random decision comes from `seed`."""

    def __init__(self, folder: Path, seed: str, kills: int, *, durability: str = "process", quota: int = 24) -> None:
        self.folder = folder
        self.kills = kills
        self.durability = durability
        self.quota = quota
        self.rng = random.Random(seed)
        self.data = folder / "data"
        self.effects = folder / "effects"
        self.instruments = folder / "instruments"
        for path in (folder, self.effects, self.instruments):
            path.mkdir(parents=True)
        self.clock = map_file(self.instruments / "clock", 8)
        self.offset = 0
        self.synced = map_file(self.instruments / "synced", 12)
        self.suite = Suite(self.rng)
        self.suite.write(folder / "project", self.effects)
        self.port = _free_port()
        self.traffic = Traffic(self.suite, self.port, self.effects, seed)
        self.observer = Observer()
        self.api = client(self.port)
        self.servers: list[int] = []
        self.server: subprocess.Popen[bytes] | None = None
        self.log = folder / "server.log"
        self.counts: Counter[str] = Counter()

    def run(self) -> Counter[str]:
        """Raises Violation."""
        try:
            self.start()
            self.api.create_activity(name="hands")
            self.traffic.begin()
            while self.killed < self.kills:
                self.round()
            self.drain()
        finally:
            self.traffic.end()
            self._end()
        return self.judge()

    @property
    def killed(self) -> int:
        return sum(self.counts[harm] for harm in KILLS)

    # -- the server

    def start(self) -> None:
        command = [sys.executable, "-m", "tests.crash.server", str(self.instruments), str(self.folder / "project")]
        command += ["--data", str(self.data), "--port", str(self.port), "--durability", self.durability]
        command += ["--account", ACCOUNT]
        with self.log.open("ab") as log:
            self.server = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=ROOT, start_new_session=True, env={**os.environ, "TZ": "UTC"}
            )
        self.servers.append(self.server.pid)
        began = time.monotonic()
        while True:
            require(self.server.poll() is None, f"the server does not start:\n{self._tail()}")
            require(time.monotonic() - began < 60, f"the server does not answer:\n{self._tail()}")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                break
            time.sleep(0.02)
        self.traffic.up.set()

    def _end(self) -> None:
        if self.server is not None and self.server.poll() is None:
            self.server.kill()
            self.server.wait()

    def _tail(self) -> str:
        return self.log.read_text(errors="replace")[-3000:]

    # -- a round

    def round(self) -> None:
        rng = self.rng
        self.traffic.quota = rng.randint(0, self.quota)
        if rng.random() < CLOCK_JUMP:
            self.jump(20_000)  # EXPRESS executions may take five minutes, so several of these must not add up to that
        full = rng.random() < FULL_DISK
        time.sleep(rng.choice([rng.uniform(0, 0.3), rng.uniform(0, 1.2)]))
        if full:
            self.fill_disk()
            time.sleep(rng.uniform(0.1, 0.8))
            if rng.random() < 0.5:
                self.empty_disk()
                time.sleep(rng.uniform(0, 1.0))
        harm = rng.choices([*HARMS], [*HARMS.values()])[0]
        self.counts[harm] += 1
        if harm == "kill workers":
            self.kill_workers()
            self.empty_disk()
            return
        self.traffic.up.clear()
        if harm == "terminate":
            self.empty_disk()
            self.terminate()
        else:
            if harm == "kill both":
                self.kill_workers()
            assert self.server is not None
            self.server.kill()
            self.server.wait()
        if rng.random() < COPY:
            self.look()
        if self.durability == "power" and harm != "terminate" and rng.random() < 0.4:
            self.lose_power()
        if rng.random() < CLOCK_JUMP:
            self.jump(2_400_000)
        self.start()
        self.ask()

    def kill_workers(self) -> None:
        assert self.server is not None
        with contextlib.suppress(psutil.Error):
            children = psutil.Process(self.server.pid).children()
            for child in self.rng.sample(children, self.rng.randint(0, len(children))):
                with contextlib.suppress(psutil.Error):
                    child.kill()

    def terminate(self) -> None:
        assert self.server is not None
        self.server.send_signal(signal.SIGTERM)
        try:
            code = self.server.wait(20)
        except subprocess.TimeoutExpired:
            raise Violation(f"SIGTERM did not end the server within 20 s:\n{self._tail()}") from None
        require(code == 0, f"SIGTERM ended the server with code {code}:\n{self._tail()}")

    def jump(self, most: int) -> None:
        """Forward up to `most` milliseconds, or back up to 3 seconds."""
        self.offset += self.rng.choice([self.rng.randint(500, most), -self.rng.randint(100, 3_000)])
        self.clock[:8] = struct.pack("<q", self.offset)
        self.counts["clock jumps"] += 1

    def fill_disk(self) -> None:
        """From here on the server's files cannot grow beyond what its log has now, and a little."""
        assert self.server is not None
        log = self.data / "journal.db-wal"
        size = log.stat().st_size if log.exists() else 0
        # Below that the functions' own files would be hit rather than the journal.
        limit = max(size + self.rng.randint(0, 30_000), 200_000)
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(self.server.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            self.counts["full disks"] += 1

    def empty_disk(self) -> None:
        assert self.server is not None
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(self.server.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    # -- what is on the disk while the server is dead

    def copy(self) -> Path:
        """The journal as it lies there."""
        target = self.folder / "copy"
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        for name in ("journal.db", "journal.db-wal"):
            if (self.data / name).exists():
                shutil.copy(self.data / name, target / name)
        return target

    def look(self) -> None:
        """What was on disk before is there; a log that is torn anywhere leaves a whole journal."""
        self.observer.look(self.copy(), len(self.servers) - 1)
        torn = self.copy()
        log = torn / "journal.db-wal"
        if log.exists() and log.stat().st_size > 100:
            self.tear(log, self.rng.randrange(1, log.stat().st_size))
            asyncio.run(verify(torn, self.suite, None))
            self.counts["torn logs"] += 1

    def tear(self, log: Path, at: int) -> None:
        os.truncate(log, at)
        if self.rng.random() < 0.5:
            with log.open("ab") as file:  # a page that was half written
                file.write(self.rng.randbytes(self.rng.randint(1, PAGE)))

    def lose_power(self) -> None:
        """What no fsync had made safe is lost, or a part of it; the server goes on with what is left."""
        log = self.data / "journal.db-wal"
        if not log.exists() or log.stat().st_size < 32:
            return
        with log.open("rb") as file:
            salt = file.read(32)[16:24]
        # The index is in the order of the machine, the log in that of the network.
        noted = struct.pack(">2I", *struct.unpack("<2I", self.synced[:8])) if sys.byteorder == "little" else b""
        noted_raw = bytes(self.synced[:8])
        frames = struct.unpack("<I", self.synced[8:12])[0] if salt in (noted, noted_raw) else 0
        safe = 32 + frames * (24 + PAGE)
        size = log.stat().st_size
        if safe < size:
            self.tear(log, self.rng.randint(safe, size))
            self.counts["power losses"] += 1
            self.counts["power losses with a synced part"] += frames > 0
            # What was lost was seen by the observer, and was never acknowledged.
            self.observer = Observer()
            self.observer.last = 1 << 60

    def ask(self) -> None:
        """Every start acknowledged in the last rounds is there."""
        facts = self.traffic.facts
        names = list(facts.started)[-40:]
        for name in names:
            machine, _ = facts.started[name]
            for _ in range(20):
                try:
                    self.api.describe_execution(executionArn=f"{PREFIX}execution:{machine}:{name}")
                    break
                except self.api.exceptions.ExecutionDoesNotExist:
                    raise Violation(f"the start of {name} was acknowledged and is lost") from None
                except (BotoCoreError, ClientError):
                    time.sleep(0.1)
        require(not facts.wrong, "; ".join(facts.wrong[:3]))

    # -- the end

    def drain(self) -> None:
        """Let everything end."""
        self.empty_disk()
        self.traffic.quota = 0
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline:
            with contextlib.suppress(BotoCoreError, ClientError):
                if not self.traffic.trying and not self.traffic.to_stop and not self.running():
                    break
            time.sleep(0.3)
        else:
            raise Violation(f"these do not end: {self.running()[:10]}\n{self._tail()}")
        self.traffic.end()
        self.terminate()

    def running(self) -> list[str]:
        names: list[str] = []
        for machine in self.suite.definitions:
            if machine != "express":
                arn = f"{PREFIX}stateMachine:{machine}"
                page: dict[str, Any] = self.api.list_executions(stateMachineArn=arn, statusFilter="RUNNING")
                names += [f"{machine}:{item['name']}" for item in page["executions"]]
        return names

    def judge(self) -> Counter[str]:
        facts = self.traffic.facts
        require(not facts.wrong, "; ".join(facts.wrong[:3]))
        self.counts += asyncio.run(verify(self.data, self.suite, facts))
        self.observer.look(self.copy(), len(self.servers) - 1)
        calls = Calls(self.effects, self.servers)
        self.counts["calls made again"] += calls.check(self.observer.results)
        self.counts["calls"] += calls.total
        self.counts["acknowledged starts"] += len(facts.started)
        self.counts["acknowledged answers"] += len(facts.marks)
        self.counts["synchronous executions"] += facts.synchronous
        self.counts["refusals"] += sum(facts.refusals.values())
        text = self.log.read_text(errors="replace")
        require(
            "Traceback" not in text, f"the server's log has a traceback:\n{text[text.find('Traceback') - 500 :][:4000]}"
        )
        return self.counts


def _free_port() -> int:
    """A port that nobody is given by the system while the server is down: below the range it gives from."""
    while True:
        port = random.SystemRandom().randrange(20_000, 30_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
