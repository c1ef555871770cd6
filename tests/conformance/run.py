"""Run AWS's recordings against this checkout: `python -m tests.conformance.run [--pure] [runner's options]`.

Without `--pure` other AWS services are ministack's (`make emulators`), and Lambda is Stepwell's own: a small router in between tells the
two apart, because the runner knows one address for both.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("SHARED", ROOT.parent / "shared")) / "conformance"
RUNNER = SHARED / "run_conformance.py"
MINISTACK = ROOT / ".venv-emulators" / "bin" / "ministack"
ACCOUNT = "000000000000"
HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "keep-alive", "content-encoding"}


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


@contextlib.contextmanager
def stepwell(*options):
    """`stepwell serve` in memory; gives its URL."""
    command = [
        Path(sys.executable).parent / "stepwell",
        "serve",
        "--in-memory",
        "--port",
        "0",
        "--account",
        ACCOUNT,
        *options,
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            for line in process.stdout:
                found = re.search(r"http://[\d.]+:\d+", line)
                if found:
                    break
            else:
                raise RuntimeError("stepwell serve did not start")
            yield found.group()
        finally:
            process.terminate()
            process.wait(20)


@contextlib.contextmanager
def ministack():
    port = free_port()
    environment = {**os.environ, "GATEWAY_PORT": str(port), "BIND_HOST": "127.0.0.1", "LOG_LEVEL": "WARNING"}
    quiet = subprocess.DEVNULL
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen([MINISTACK], cwd=folder, env=environment, stdout=quiet, stderr=quiet) as process,
    ):
        try:
            until = time.monotonic() + 30
            while True:
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/_ministack/health", timeout=2).close()
                    break
                except OSError:
                    if time.monotonic() > until:
                        raise
                    time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(20)


@contextlib.contextmanager
def router(functions, others):
    """One address: the Lambda API's paths go to `functions`, everything else to `others`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            base = functions if re.match(r"/20\d\d-\d\d-\d\d/(functions|tags)", self.path) else others
            headers = {k: v for k, v in self.headers.items() if k.lower() not in HOP_BY_HOP | {"expect"}}
            if base == functions:
                headers.pop("Host", None)
            request = urllib.request.Request(base + self.path, body or None, headers, method=self.command)
            try:
                with urllib.request.urlopen(request, timeout=60) as response:
                    status, found, data = response.status, response.headers, response.read()
            except urllib.error.HTTPError as error:
                status, found, data = error.code, error.headers, error.read()
            self.send_response_only(status)
            for name, value in found.items():
                if name.lower() not in HOP_BY_HOP:
                    self.send_header(name, value)
            length = found.get("Content-Length", "0") if self.command == "HEAD" else str(len(data))
            self.send_header("Content-Length", length)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = forward

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def run(arguments):
    """The runner's report."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        report = Path(folder) / "report.json"
        options = [*arguments, "--report", str(report)]
        if "--pure" in arguments:
            url = stack.enter_context(stepwell())
        else:
            if not MINISTACK.exists():
                raise SystemExit("ministack is not installed: run `make emulators`")
            other = stack.enter_context(ministack())
            url = stack.enter_context(stepwell("--aws-endpoint", other))
            options += ["--aws-endpoint", stack.enter_context(router(url, other))]
        subprocess.run([sys.executable, str(RUNNER), "--sfn-endpoint", url, *options], check=True)
        return json.loads(report.read_text())


if __name__ == "__main__":
    run(sys.argv[1:])
