"""A server in a thread of its own, so that tests can talk to it with blocking clients."""

import asyncio
import contextlib
import io
import json
import threading
import zipfile

import boto3
import pytest
from botocore.config import Config

from stepwell.api.app import create_app
from stepwell.api.server import Server
from stepwell.engine import Engine

ACCOUNT = "000000000000"
REGION = "us-east-1"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/test"
PASS = {"StartAt": "A", "States": {"A": {"Type": "Pass", "Next": "B"}, "B": {"Type": "Pass", "End": True}}}


class Running:
    """An engine and its server on a loop in a thread."""

    def __init__(self, directory=None, **options):
        self.directory = directory
        self.options = options
        self.url = ""
        self.engine = None
        self.app = None
        self._started = threading.Event()
        self._stop = None
        self._failure = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        assert self._started.wait(20)
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(self, *details):
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)
        assert not self._thread.is_alive()

    def _run(self):
        try:
            asyncio.run(self._main())
        except BaseException as error:
            self._failure = error
            self._started.set()

    async def _main(self):
        self.loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        engine_options = self.options.pop("engine", {})
        accounts = self.options.pop("accounts", False)

        async def open_account(number):
            return await Engine.open(account=number, **engine_options).__aenter__()

        async with Engine.open(self.directory, account=ACCOUNT, **engine_options) as engine:
            self.engine = engine
            opener = open_account if accounts else None
            self.app = create_app(engine, open_account=opener, **self.options)
            async with Server(self.app, "127.0.0.1", 0) as server:
                self.url, self.port = server.url, server.port
                self._started.set()
                await self._stop.wait()

    def call(self, coroutine):
        """Run a coroutine on the server's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)

    def client(self, service="stepfunctions", key="test", secret="test", token=None, **config):
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            aws_session_token=token,
            config=Config(inject_host_prefix=False, retries={"max_attempts": 0}, **config),
        )


@pytest.fixture(scope="session", autouse=True)
def no_way_out():
    """No credentials and no metadata service: nothing here may reach AWS."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
            patch.delenv(name, raising=False)
        patch.setenv("AWS_CONFIG_FILE", "/dev/null")
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield


@pytest.fixture(scope="module")
def running():
    with Running() as server:
        yield server


@pytest.fixture
def sfn(running):
    return running.client()


@pytest.fixture
def make(sfn, request):
    """Makes state machines that are deleted after the test."""
    made = []

    def make(definition=PASS, name=None, **more):
        name = name or "".join(c if c.isalnum() else "-" for c in request.node.name)[:60] + str(len(made))
        arn = sfn.create_state_machine(name=name, definition=json.dumps(definition), roleArn=ROLE, **more)[
            "stateMachineArn"
        ]
        made.append(arn)
        return arn

    yield make
    for arn in made:
        with contextlib.suppress(sfn.exceptions.ClientError):
            sfn.delete_state_machine(stateMachineArn=arn)


def archive(**files):
    """A zip of text files."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as zipped:
        for name, text in files.items():
            zipped.writestr(f"{name}.py", text)
    return out.getvalue()
