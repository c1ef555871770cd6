"""Worker processes: results, errors in Lambda's shape, limits, ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from stepwell.functions import (
    Call,
    FunctionPool,
    FunctionSpec,
    PoolClosed,
    TooManyRequests,
    UnknownFunction,
)
from tests.functions.conftest import Bench, new_call


async def gone(pid: int, seconds: float = 5.0) -> bool:
    """Whether a process ends in time; a zombie of another parent counts as ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        await asyncio.sleep(0.02)
    return False


# --- results and errors


async def test_a_result_is_json_text(bench: Bench, code):
    bench.add(code("def handler(event, context):\n    return {'got': event, 'name': 'Zoë', 'ok': (1, None, True)}"))
    result = await bench(b'{"a":[1,2.5]}')
    assert result.error is None
    assert json.loads(result.payload) == {"got": {"a": [1, 2.5]}, "name": "Zoë", "ok": [1, None, True]}
    assert result.init_ms is not None
    assert result.billed_ms >= result.duration_ms
    again = await bench(b"null")
    assert again.init_ms is None


async def test_an_exception_has_lambdas_document(bench: Bench, code):
    """The text of a recording from AWS, byte for byte of the trace."""
    bench.add(
        code('def handler(event, context):\n    raise Exception("Some exception was raised.")\n'),
        handler="handler.handler",
        trace_root="/var/task",
    )
    call = new_call()
    result = await bench.pool.invoke("f", b"{}", call=call)
    assert result.error.error_type == "Exception"
    assert json.loads(result.payload) == {
        "errorMessage": "Some exception was raised.",
        "errorType": "Exception",
        "requestId": call.request_id,
        "stackTrace": [
            '  File "/var/task/handler.py", line 2, in handler\n    raise Exception("Some exception was raised.")\n'
        ],
    }


async def test_the_error_type_is_the_class_name_and_frames_are_in_order(bench: Bench, code):
    folder = code(
        """
        class CustomError(Exception): pass
        def inner():
            raise CustomError()
        async def handler(event, context):
            inner()
        """
    )
    bench.add(folder)
    result = await bench()
    document = json.loads(result.payload)
    assert document["errorType"] == "CustomError"
    assert document["errorMessage"] == ""
    assert document["stackTrace"] == [
        f'  File "{folder}/handler.py", line 5, in handler\n    inner()\n',
        f'  File "{folder}/handler.py", line 3, in inner\n    raise CustomError()\n',
    ]


@pytest.mark.parametrize(
    ("text", "handler", "error_type", "message"),
    [
        ("import nothing_like_it", "handler:handler", "Runtime.ImportModuleError",
         "Unable to import module 'handler': No module named 'nothing_like_it'"),
        ("x = 1", "other:handler", "Runtime.ImportModuleError", "Unable to import module 'other': No module named 'other'"),
        ("x = 1", "handler:handler", "Runtime.HandlerNotFound", "Handler 'handler' missing on module 'handler'"),
        ("handler = 1", "handler:handler", "Runtime.HandlerNotFound", "Handler 'handler' on module 'handler' is not a function"),
        ("def handler(:", "handler:handler", "Runtime.UserCodeSyntaxError",
         "Syntax error in module 'handler': invalid syntax (handler.py, line 1)"),
        ("x = 1", "handler", "Runtime.MalformedHandlerName",
         "Bad handler 'handler': not enough values to unpack (expected 2, got 1)"),
        ("raise KeyError('SECRET_NAME')", "handler:handler", "KeyError", "'SECRET_NAME'"),
    ],
)  # fmt: skip
async def test_a_function_that_cannot_be_loaded(bench: Bench, code, text, handler, error_type, message):
    bench.add(code(text), handler=handler)
    result = await bench()
    assert (result.error.error_type, result.error.error_message) == (error_type, message)
    assert result.error.request_id


async def test_loading_is_tried_again_at_the_next_call(bench: Bench, code):
    folder = code("x = 1")
    bench.add(folder)
    assert (await bench()).error.error_type == "Runtime.HandlerNotFound"
    code("def handler(event, context):\n    return 'better now'")
    assert (await bench()).payload == b'"better now"'


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("object()", "Unable to marshal response: Object of type object is not JSON serializable"),
        ("float('nan')", "Unable to marshal response: Out of range float values are not JSON compliant"),
    ],
)
async def test_a_result_that_is_not_json(bench: Bench, code, expression, message):
    bench.add(code(f"def handler(event, context):\n    return {expression}"))
    error = (await bench()).error
    assert error.error_type == "Runtime.MarshalError"
    assert error.error_message.startswith(message)


async def test_an_event_that_is_not_json(bench: Bench, code):
    bench.add(code("def handler(event, context):\n    return 1"))
    error = (await bench(b"{")).error
    assert error.error_type == "Runtime.UnmarshalError"
    assert error.error_message.startswith("Unable to unmarshal input: ")


async def test_a_result_over_lambdas_limit(bench: Bench, code):
    bench.add(code("def handler(event, context):\n    return 'x' * (6291556 - 2 + event)"))
    assert len((await bench(b"0")).payload) == 6_291_556
    error = (await bench(b"1")).error
    assert error.error_type == "Function.ResponseSizeTooLarge"
    assert "(6291557 bytes) exceeded maximum allowed payload size (6291556 bytes)" in error.error_message


async def test_large_events_go_both_ways(bench: Bench, code):
    bench.add(code("def handler(event, context):\n    return event"))
    event = json.dumps({"text": "ü" * 1_000_000}).encode()
    assert json.loads((await bench(event)).payload) == json.loads(event)


async def test_the_context_is_lambdas(bench: Bench, code):
    bench.add(
        code(
            """
            def handler(event, c):
                return {
                    "id": c.aws_request_id, "name": c.function_name, "version": c.function_version,
                    "arn": c.invoked_function_arn, "memory": c.memory_limit_in_mb, "group": c.log_group_name,
                    "stream": c.log_stream_name, "left": c.get_remaining_time_in_millis(),
                    "custom": c.client_context and c.client_context.custom, "identity": c.identity.cognito_identity_id,
                }
            """
        ),
        timeout=9.0,
        memory_mb=256,
    )
    call = new_call(client_context={"custom": {"tenant": "t1"}})
    seen = json.loads((await bench.pool.invoke("f", b"{}", call=call)).payload)
    assert 8000 < seen.pop("left") <= 9000
    assert seen.pop("stream").startswith("stepwell/[$LATEST]")
    assert seen == {
        "id": call.request_id, "name": "f", "version": "$LATEST", "memory": "256", "group": "/aws/lambda/f",
        "arn": "arn:aws:lambda:us-east-1:000000000000:function:f", "custom": {"tenant": "t1"}, "identity": None,
    }  # fmt: skip


async def test_environment_and_folder(code, monkeypatch, tmp_path):
    monkeypatch.setenv("OUTER", "outer")
    folder = code(
        """
        import os
        def handler(event, context):
            return [os.getcwd(), *(os.environ.get(name) for name in ("OUTER", "POOL", "OWN"))]
        """
    )
    both = {"code": folder, "handler": "handler:handler", "environment": {"OWN": "own"}}
    specs = [FunctionSpec(name="open", **both), FunctionSpec(name="shut", inherit_environment=False, **both)]
    async with FunctionPool(specs, environment={"POOL": "pool", "OWN": "overridden"}) as pool:
        opened = json.loads((await pool.invoke("open", b"1", call=new_call())).payload)
        shut = json.loads((await pool.invoke("shut", b"1", call=new_call())).payload)
    assert opened == [str(folder), "outer", "pool", "own"]
    assert shut == [str(folder), None, "pool", "own"]


async def test_a_missing_folder_is_a_functions_error(bench: Bench, tmp_path):
    bench.add(tmp_path / "nowhere")
    error = (await bench()).error
    assert error.error_type == "Runtime.InvalidWorkingDirectory"
    assert "nowhere" in error.error_message


async def test_names_and_arns(code):
    folder = code("def handler(event, context):\n    return context.invoked_function_arn")
    spec = {"handler": "handler:handler", "code": folder}
    async with FunctionPool([FunctionSpec(name="f", **spec), FunctionSpec(name="f", version="3", **spec)]) as pool:
        prefix = "arn:aws:lambda:us-east-1:000000000000:function:"
        for name, arn in [("f", "f"), ("f:$LATEST", "f"), (prefix + "f", "f"), ("f:3", "f:3"), (prefix + "f:3", "f:3")]:
            assert json.loads((await pool.invoke(name, b"{}", call=new_call())).payload) == prefix + arn
        with pytest.raises(UnknownFunction, match="there is no function g; the functions are: f, f:3"):
            await pool.invoke("g", b"{}", call=new_call())


# --- limits


async def test_a_timeout_stops_the_work_and_all_it_started(bench: Bench, code, tmp_path):
    bench.add(
        code(
            """
            import os, re, subprocess
            def handler(event, context):
                child = subprocess.Popen(["sleep", "60"])
                open("pids", "w").write(f"{os.getpid()} {child.pid}")
                re.match("(a+)+$", "a" * 60 + "b")  # holds the interpreter lock for ever
            """
        ),
        timeout=0.5,
    )
    call = new_call()
    started = time.monotonic()
    result = await bench.pool.invoke("f", b"{}", call=call)
    assert 0.5 <= time.monotonic() - started < 5
    assert json.loads(result.payload) == {
        "errorType": "Sandbox.Timedout",
        "errorMessage": f"RequestId: {call.request_id} Error: Task timed out after 0.50 seconds",
    }
    for pid in map(int, (tmp_path / "pids").read_text().split()):
        assert await gone(pid)


async def test_too_much_memory_ends_the_worker_only(bench: Bench, code):
    bench.add(
        code(
            """
            import time
            def handler(event, context):
                if event:
                    block = bytearray(b"x") * (event * 1024 * 1024)
                    time.sleep(30)
                return "small"
            """
        ),
        memory_mb=128,
    )
    call = new_call()
    result = await bench.pool.invoke("f", b"300", call=call)
    assert json.loads(result.payload) == {
        "errorType": "Runtime.OutOfMemory",
        "errorMessage": f"RequestId: {call.request_id} Error: Runtime exited with error: signal: killed",
    }
    assert "more than the function's 128 MB" in bench.records[-1].message
    assert bench.records[-1].request_id == call.request_id
    assert (await bench(b"0")).payload == b'"small"'


async def test_the_memory_told_is_the_workers_own(bench: Bench, code):
    """Not the host's, which Linux counts into a child's peak."""
    bench.add(code("def handler(event, context):\n    return len(b'x' * event)"))
    host = bytearray(b"x") * 150_000_000
    small = (await bench(b"0")).memory_mb
    assert 5 < small < 60
    assert (await bench(b"100000000")).memory_mb >= small + 90
    del host


@pytest.mark.parametrize(
    ("statement", "text"),
    [
        ("import os; os._exit(3)", "exit status 3"),
        ("import sys; sys.exit(4)", "exit status 4"),
        ("import sys; sys.exit()", "without providing a reason"),
        ("import os; os.abort()", "signal: aborted"),
        ("import ctypes; ctypes.string_at(0)", "signal: segmentation fault"),
    ],
)
async def test_a_crash_costs_one_call(bench: Bench, code, statement, text):
    bench.add(code(f"def handler(event, context):\n    if event: {statement}\n    return 'alive'"))
    assert (await bench(b"0")).payload == b'"alive"'
    call = new_call()
    result = await bench.pool.invoke("f", b"1", call=call)
    assert result.error.error_type == "Runtime.ExitError"
    assert result.error.error_message.startswith(f"RequestId: {call.request_id} Error: Runtime exited")
    assert text in result.error.error_message
    assert set(json.loads(result.payload)) == {"errorType", "errorMessage"}
    assert (await bench(b"0")).payload == b'"alive"'


async def test_a_crash_while_a_child_keeps_the_socket_open_is_noticed(bench: Bench, code):
    bench.add(
        code(
            "import os, time\ndef handler(event, context):\n    if os.fork():\n        os._exit(7)\n    time.sleep(60)"
        )
    )
    started = time.monotonic()
    result = await bench()
    assert "exit status 7" in result.error.error_message
    assert time.monotonic() - started < 10


async def test_one_event_at_a_time_and_workers_stay_warm(bench: Bench, code):
    bench.add(
        code("import os, time\ndef handler(event, context):\n    time.sleep(0.05)\n    return os.getpid()"),
        concurrency=2,
    )
    results = await asyncio.gather(*(bench() for _ in range(8)))
    assert all(result.error is None for result in results)
    assert len({result.payload for result in results}) == 2
    assert sum(result.init_ms is not None for result in results) == 2


async def test_calls_beyond_the_concurrency_can_be_refused(bench: Bench, code):
    bench.add(code("import time\ndef handler(event, context):\n    time.sleep(0.5)"), concurrency=1)
    running = asyncio.create_task(bench())
    await asyncio.sleep(0)
    with pytest.raises(TooManyRequests):
        await bench.pool.invoke("f", b"{}", call=new_call(), wait=False)
    assert (await running).error is None


async def test_the_pools_bound_is_shared_by_functions(code):
    folder = code("import os\ndef handler(event, context):\n    return os.getpid()")
    specs = [FunctionSpec(name=name, handler="handler:handler", code=folder) for name in "abc"]
    async with FunctionPool(specs, max_workers=1) as pool:
        results = await asyncio.gather(*(pool.invoke(name, b"1", call=new_call()) for name in "abcabc"))
        assert all(result.error is None for result in results)
        assert len(pool._workers) == 1


async def test_idle_workers_end(code):
    folder = code("import os\ndef handler(event, context):\n    return os.getpid()")
    async with FunctionPool([FunctionSpec(name="f", handler="handler:handler", code=folder)], idle_timeout=0.1) as pool:
        pid = int((await pool.invoke("f", b"1", call=new_call())).payload)
        assert await gone(pid)
        assert int((await pool.invoke("f", b"1", call=new_call())).payload) != pid


async def test_warm_workers_are_ready_before_the_call(bench: Bench, code):
    bench.add(code("def handler(event, context):\n    return 1"))
    await bench.pool.warm("f", 2)
    assert (await bench()).init_ms is None


async def test_a_replaced_function_runs_the_new_code(bench: Bench, code):
    folder = code("def handler(event, context):\n    return 'old'")
    bench.add(folder)
    assert (await bench()).payload == b'"old"'
    code("def handler(event, context):\n    return 'new'")
    bench.add(folder)
    assert (await bench()).payload == b'"new"'


# --- ends


async def test_cancelling_the_caller_kills_the_worker(bench: Bench, code, tmp_path):
    bench.add(
        code(
            "import os, time\ndef handler(event, context):\n    open('pid', 'w').write(str(os.getpid()))\n    time.sleep(60)"
        )
    )
    running = asyncio.create_task(bench())
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await gone(int((tmp_path / "pid").read_text()))


async def test_a_cancelled_wait_leaves_the_line_in_order(bench: Bench, code):
    bench.add(code("import time\ndef handler(event, context):\n    time.sleep(0.1)\n    return event"), concurrency=1)
    first, second, third = (asyncio.create_task(bench(text)) for text in (b"1", b"2", b"3"))
    await asyncio.sleep(0)
    second.cancel()
    assert [(await first).payload, (await third).payload] == [b"1", b"3"]


async def test_close_waits_for_running_calls_and_leaves_nothing(code):
    folder = code("import os, time\ndef handler(event, context):\n    time.sleep(0.2)\n    return os.getpid()")
    pool = FunctionPool([FunctionSpec(name="f", handler="handler:handler", code=folder)])
    running = asyncio.create_task(pool.invoke("f", b"1", call=new_call()))
    await asyncio.sleep(0)
    await pool.close(grace=10)
    pid = int((await running).payload)
    assert not psutil.pid_exists(pid)
    with pytest.raises(PoolClosed):
        await pool.invoke("f", b"1", call=new_call())


async def test_close_without_grace_gives_no_false_answers(code, tmp_path):
    folder = code("import time\ndef handler(event, context):\n    open('started', 'w')\n    time.sleep(60)")
    pool = FunctionPool([FunctionSpec(name="f", handler="handler:handler", code=folder, concurrency=1)])
    running = asyncio.create_task(pool.invoke("f", b"1", call=new_call()))
    waiting = asyncio.create_task(pool.invoke("f", b"1", call=new_call()))
    while not (tmp_path / "started").exists():
        await asyncio.sleep(0.01)
    await pool.close(grace=0)
    for task in (running, waiting):
        with pytest.raises(PoolClosed):
            await task
    assert not psutil.Process().children(recursive=True)


@pytest.mark.crash
def test_workers_die_with_the_host(code, tmp_path):
    """`kill -9` of the host, while the function holds the interpreter lock and has a child."""
    folder = code(
        """
        import os, re, subprocess
        def handler(event, context):
            child = subprocess.Popen(["sleep", "60"])
            with open("pids.new", "w") as file:
                file.write(f"{os.getpid()} {child.pid}")
            os.rename("pids.new", "pids")
            re.match("(a+)+$", "a" * 60 + "b")
        """
    )
    host = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import asyncio, sys; from pathlib import Path; from stepwell.functions import *\n"
            "async def main():\n"
            "    spec = FunctionSpec(name='f', handler='handler:handler', code=Path(sys.argv[1]))\n"
            "    async with FunctionPool([spec]) as pool:\n"
            "        await pool.invoke('f', b'{}', call=Call(request_id='1'))\n"
            "asyncio.run(main())",
            str(folder),
        ]
    )
    try:
        deadline = time.monotonic() + 20
        while not (tmp_path / "pids").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        pids = list(map(int, (tmp_path / "pids").read_text().split()))
    finally:
        os.kill(host.pid, signal.SIGKILL)
        host.wait()

    async def check() -> list[bool]:
        return [await gone(pid) for pid in pids]

    assert asyncio.run(check()) == [True, True]


def test_a_worker_imports_nothing_heavy(code):
    """A cold start is Python's own plus the function's: no engine, no msgspec, no asyncio for a plain function."""
    folder = code("import sys\ndef handler(event, context):\n    return sorted(sys.modules)")

    async def main() -> list[str]:
        async with FunctionPool([FunctionSpec(name="f", handler="handler:handler", code=Path(folder))]) as pool:
            return json.loads((await pool.invoke("f", b"1", call=Call(request_id="1"))).payload)

    modules = set(asyncio.run(main()))
    assert not modules & {"asyncio", "msgspec", "orjson", "inspect", "dataclasses", "stepwell.functions.pool"}
    assert not any(
        name.startswith(("stepwell.engine", "stepwell.language", "stepwell.interpreter")) for name in modules
    )


async def test_a_busy_function_does_not_starve_another(code):
    folder = code("import time\ndef handler(event, context):\n    time.sleep(0.02)")
    specs = [FunctionSpec(name=name, handler="handler:handler", code=folder) for name in "ab"]
    async with FunctionPool(specs, max_workers=1) as pool:

        async def keep_busy() -> None:
            while True:
                await pool.invoke("a", b"1", call=new_call())

        busy = [asyncio.create_task(keep_busy()) for _ in range(3)]
        await asyncio.sleep(0)
        assert (await asyncio.wait_for(pool.invoke("b", b"1", call=new_call()), 10)).error is None
        for task in busy:
            task.cancel()
        await asyncio.gather(*busy, return_exceptions=True)
