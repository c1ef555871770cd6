"""The whole of it on one machine: `stepwell serve` with the project, the HTTP API, and the address of presigned URLs.

    with Host(Path("data")) as host:
        host.client("me").post("/api/selection/start", json={...})

Everything is in the data directory: after a crash, a new Host on it goes on where the old one was.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from mediaselect import identity
from mediaselect.api import create_app
from mediaselect.orchestrator import VARIABLES
from stepwell.project import Environment, load_project
from stepwell.toolkit.objects import server as objects_server

PROJECT = Path(__file__).resolve().parent.parent
HOME = Environment()
_ENGINE = """
import os, signal, threading
def follow():
    os.read(0, 1)  # gives nothing, once: when the process that started this one is gone, however it ended
    os.kill(os.getpid(), signal.SIGTERM)
threading.Thread(target=follow, daemon=True).start()
from stepwell.cli import main
main()
"""
"""`stepwell serve`, but never left behind: an engine without its API would keep the data directory to itself."""


class Host:
    """A context manager; `url` is the API's address."""

    def __init__(self, data: Path, *, port: int = 0) -> None:
        self.data = data.resolve()
        self.url = ""
        self._port = port
        self._origin, self._jwt = secrets.token_hex(16), secrets.token_hex(16)

    def __enter__(self) -> Self:
        self.data.mkdir(parents=True, exist_ok=True)
        project = load_project(PROJECT, HOME)
        self._config = uvicorn.Config(
            Starlette(),
            host="127.0.0.1",
            port=self._port,
            log_level="warning",
            lifespan="off",
            ws="none",
            access_log=False,
        )
        self._server = uvicorn.Server(self._config)
        self._thread = threading.Thread(target=self._server.run, name="api", daemon=True)
        self._thread.start()
        while not self._server.started:
            if not self._thread.is_alive():
                raise OSError(f"port {self._port} cannot be listened on")
            time.sleep(0.01)
        self.url = f"http://127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}"
        os.environ.update(
            STEPWELL_DATA=str(self.data),
            STEPWELL_OBJECTS_URL=f"{self.url}/objects",
            STEPWELL_RESOURCES=json.dumps(project.resources),
            MEDIA_BUCKET_NAME="media",
            ORIGIN_VERIFY_SECRET=self._origin,
            JWT_SECRET=self._jwt,
            **{variable: project.machines[name].arn for name, variable in VARIABLES.items()},
        )
        self._engine = self._serve()
        self._config.loaded_app = Starlette(
            routes=[Mount("/objects", objects_server.application(self.data)), Mount("/", create_app())]
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._engine.terminate()
        self._engine.wait()
        self._server.should_exit = True
        self._thread.join(10)

    def client(self, user: str) -> httpx.Client:
        """A client of the API for this user."""
        token = identity.sign(user, self._jwt, seconds=86_400)
        return httpx.Client(
            base_url=self.url,
            timeout=60.0,
            headers={"x-origin-verify": self._origin, "authorization": f"Bearer {token}"},
        )

    def _serve(self) -> subprocess.Popen[str]:
        command = [
            sys.executable,
            "-c",
            _ENGINE,
            "serve",
            str(PROJECT),
            "--port",
            "0",
            "--data",
            str(self.data),
            "--account",
            HOME.account,
            "--region",
            HOME.region,
        ]
        log = (self.data / "serve.log").open("a")
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
        assert process.stdout is not None
        for line in process.stdout:
            if " on http://" in line:
                os.environ["STEPWELL_API_URL"] = line.split(" on ")[1].split()[0]
                return process
        raise OSError(f"stepwell serve did not start; see {self.data / 'serve.log'}")
