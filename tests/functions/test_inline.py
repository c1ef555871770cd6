"""Functions in the host's own process."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import threading
import time

import pytest

from stepwell.functions import FunctionPool, FunctionSpec
from tests.functions.conftest import EXECUTION, Bench, new_call


def pool_of(handler, records=None, **fields) -> FunctionPool:
    on_log = None if records is None else records.append
    return FunctionPool([FunctionSpec(name="f", handler=handler, **fields)], on_log=on_log)


async def test_a_callable_is_a_function():
    async with pool_of(lambda event, context: {"double": event * 2, "name": context.function_name}) as pool:
        result = await pool.invoke("f", b"21", call=new_call())
    assert json.loads(result.payload) == {"double": 42, "name": "f"}


async def test_sync_functions_run_in_threads_and_async_ones_on_the_loop():
    def sync(event, context):
        return threading.get_ident()

    async def asynchronous(event, context):
        return threading.get_ident()

    async with FunctionPool(
        [FunctionSpec(name="s", handler=sync), FunctionSpec(name="a", handler=asynchronous)]
    ) as pool:
        assert int((await pool.invoke("s", b"1", call=new_call())).payload) != threading.get_ident()
        assert int((await pool.invoke("a", b"1", call=new_call())).payload) == threading.get_ident()


async def test_errors_have_lambdas_document():
    def handler(event, context):
        raise LookupError("no such page")

    call = new_call()
    async with pool_of(handler) as pool:
        document = json.loads((await pool.invoke("f", b"1", call=call)).payload)
    assert document["errorType"] == "LookupError"
    assert document["errorMessage"] == "no such page"
    assert document["requestId"] == call.request_id
    assert len(document["stackTrace"]) == 1
    assert document["stackTrace"][0].endswith('in handler\n    raise LookupError("no such page")\n')


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_timeout_gives_an_answer(kind):
    over = threading.Event()

    def sync(event, context):
        over.wait(5)

    async def asynchronous(event, context):
        await asyncio.sleep(5)

    async with pool_of(sync if kind == "sync" else asynchronous, timeout=0.05) as pool:
        started = time.monotonic()
        error = (await pool.invoke("f", b"1", call=new_call())).error
        assert time.monotonic() - started < 2
    over.set()
    assert error.error_type == "Sandbox.Timedout"
    assert error.error_message.endswith("Task timed out after 0.05 seconds")


async def test_a_functions_own_timeout_error_is_its_own():
    def handler(event, context):
        raise TimeoutError("the camera cloud")

    async with pool_of(handler) as pool:
        error = (await pool.invoke("f", b"1", call=new_call())).error
    assert (error.error_type, error.error_message) == ("TimeoutError", "the camera cloud")


async def test_exiting_does_not_end_the_host():
    async with pool_of(lambda event, context: sys.exit(3)) as pool:
        error = (await pool.invoke("f", b"1", call=new_call())).error
    assert error.error_type == "Runtime.ExitError"
    assert error.error_message.endswith("exit status 3")


async def test_the_concurrency_holds():
    running, most = 0, 0

    async def handler(event, context):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1

    async with pool_of(handler, concurrency=2) as pool:
        await asyncio.gather(*(pool.invoke("f", b"1", call=new_call()) for _ in range(9)))
    assert most == 2


async def test_printing_and_logging_go_to_the_call_that_did_it(capsys):
    def handler(event, context):
        print("first", event)
        logging.getLogger("mine").warning("second %s", event, extra={"media_id": "m1"})
        sys.stderr.write("third")

    records = []
    async with pool_of(handler, records) as pool:
        calls = [new_call(execution=f"{EXECUTION}{n}") for n in range(3)]
        await asyncio.gather(*(pool.invoke("f", str(n).encode(), call=call) for n, call in enumerate(calls)))
        print("the host's own")
    for n, call in enumerate(calls):
        mine = [record for record in records if record.execution == call.execution]
        assert [(r.level, r.message) for r in mine] == [
            ("INFO", f"first {n}"),
            ("WARNING", f"second {n}"),
            ("INFO", "third"),
        ]
        assert {record.request_id for record in mine} == {call.request_id}
        assert mine[1].logger == "mine"
        assert mine[1].fields == {"media_id": "m1"}
    assert capsys.readouterr().out == "the host's own\n"
    assert type(sys.stdout).__name__ != "_Stream"


async def test_a_declared_function_can_run_inline(bench: Bench, code):
    folder = code("import os\ndef handler(event, context):\n    return os.getpid()", "inline_handler.py")
    bench.add(folder, handler="inline_handler:handler", inline=True)
    import os

    assert int((await bench()).payload) == os.getpid()


async def test_a_missing_inline_handler(bench: Bench, code):
    bench.add(code("x = 1", "inline_missing.py"), handler="inline_missing:handler", inline=True)
    assert (await bench()).error.error_type == "Runtime.HandlerNotFound"
