"""Function code written to a folder, and a pool that runs it."""

from __future__ import annotations

import textwrap
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from stepwell.functions import Call, FunctionPool, FunctionSpec, LogRecord

EXECUTION = "arn:aws:states:us-east-1:000000000000:execution:machine:run-1"


def new_call(**fields: Any) -> Call:
    return Call(request_id=str(uuid.uuid4()), **fields)


@pytest.fixture
def code(tmp_path: Path) -> Callable[..., Path]:
    """Write handler.py; gives its folder."""

    def write(text: str, name: str = "handler.py") -> Path:
        (tmp_path / name).write_text(textwrap.dedent(text).lstrip())
        return tmp_path

    return write


class Bench:
    """A pool with one function, and what it logged."""

    def __init__(self) -> None:
        self.records: list[LogRecord] = []
        self.pool = FunctionPool(on_log=self.records.append)

    def add(self, folder: Path, handler: str = "handler:handler", **fields: Any) -> None:
        fields = {"name": "f", "timeout": 20.0, **fields}
        self.pool.register(FunctionSpec(handler=handler, code=folder, **fields))

    async def __call__(self, payload: bytes = b"{}", **fields: Any) -> Any:
        return await self.pool.invoke("f", payload, call=new_call(**fields))


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    yield made
    await made.pool.close(grace=0)
