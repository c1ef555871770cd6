"""The server against bad clients: too much, too slow, too many, malformed, from web pages, unsigned."""

import http.client
import json
import re
import socket
import time

import pytest
from botocore.exceptions import ClientError

from stepwell.api import connection as connections
from stepwell.api.auth import AccessKey, Authenticator
from stepwell.api.protocol import MAX_BODY
from stepwell.api.server import Server, ServerError, is_loopback, serve
from stepwell.engine import Engine

from .conftest import PASS, REGION, ROLE, Running


def post(running, body=b"{}", target="ListStateMachines", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=10)
    names = {"X-Amz-Target": f"AWSStepFunctions.{target}", "Content-Type": "application/x-amz-json-1.0"}
    names |= {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request("POST", "/", body, {name: value for name, value in names.items() if value is not None})
    response = connection.getresponse()
    data = response.read()
    connection.close()
    return response, json.loads(data) if data else {}


def get(running, path):
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=10)
    connection.request("GET", path)
    response = connection.getresponse()
    return response, response.read().decode()


def test_answers_carry_a_request_id_and_the_protocols_type(running):
    response, body = post(running)
    assert (response.status, body) == (200, {"stateMachines": []})
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", response.getheader("x-amzn-requestid"))
    assert response.getheader("content-type") == "application/x-amz-json-1.0"


@pytest.mark.parametrize(
    ("body", "target", "kind"),
    [
        (b"{}", "Fly", "UnknownOperationException"),
        (b"{", "ListStateMachines", "SerializationException"),
        (b"[]", "ListStateMachines", "SerializationException"),
        (b"\xff", "ListStateMachines", "SerializationException"),
        (b'{"maxResults":"x"}', "ListStateMachines", "SerializationException"),
        (b'{"maxResults":-1}', "ListStateMachines", "ValidationException"),
        (b'{"executionArn":"x"}', "DescribeExecution", "InvalidArn"),
    ],
)
def test_refusals(running, body, target, kind):
    response, answer = post(running, body, target)
    assert response.status == 400
    assert answer["__type"].split("#")[1] == kind


def test_without_a_target(running):
    response, answer = post(running, X_Amz_Target=None)
    assert (response.status, answer["__type"].split("#")[1]) == (400, "UnknownOperationException")


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"},
    ],
)
def test_web_pages_are_refused(running, headers):
    response, answer = post(running, **headers)
    assert (response.status, answer["__type"].split("#")[1]) == (403, "AccessDeniedException")
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=10)
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request("GET", "/2015-03-31/functions", headers=names)
    assert connection.getresponse().status == 403


def test_health_and_metrics(running):
    post(running)
    assert get(running, "/health")[0].status == 200
    response, text = get(running, "/metrics")
    assert response.getheader("content-type").startswith("text/plain")
    assert 'stepwell_api_requests_total{action="ListStateMachines",outcome="ok"}' in text
    assert get(running, "/nowhere")[0].status == 404


def test_a_body_over_the_limit(running):
    response, answer = post(running, b" " * (MAX_BODY + 1))
    assert (response.status, answer["__type"].split("#")[1]) == (413, "RequestEntityTooLarge")
    definition = json.dumps({**PASS, "Comment": "x" * 1_048_576})
    response, answer = post(
        running, json.dumps({"name": "n", "roleArn": ROLE, "definition": definition}).encode(), "CreateStateMachine"
    )
    assert "Member must have length less than or equal to 1048576" in answer["message"]


def raw(running, data, seconds=5.0):
    """Send bytes, and give what comes until the server closes the connection."""
    with socket.create_connection(("127.0.0.1", running.port), timeout=seconds) as connection:
        connection.sendall(data)
        received = b""
        try:
            while part := connection.recv(65536):
                received += part
        except ConnectionResetError:
            pass
        return received


def test_headers_over_the_limit(running):
    head = b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    assert b" 431 " in raw(running, head + b"X-Long: " + b"a" * 40_000 + b"\r\n\r\n")
    assert b" 431 " in raw(running, head + b"".join(b"X-%d: %s\r\n" % (n, b"b" * 100) for n in range(400)) + b"\r\n")


def test_what_is_not_http(running):
    assert b" 400 " in raw(running, b"\x16\x03\x01 hello\r\n\r\n")


def test_slow_clients_are_cut_off_and_do_not_hold_up_others(monkeypatch):
    monkeypatch.setattr(connections, "HEADER_SECONDS", 0.3)
    monkeypatch.setattr("stepwell.api.protocol.BODY_SECONDS", 0.3)
    monkeypatch.setattr("stepwell.api.protocol.read_body.__defaults__", (MAX_BODY, 0.3))
    with Running() as running:
        began = time.monotonic()
        silent = [socket.create_connection(("127.0.0.1", running.port)) for _ in range(50)]
        for connection in silent:
            connection.sendall(b"POST / HT")
        assert post(running)[0].status == 200
        assert time.monotonic() - began < 2
        for connection in silent:
            connection.settimeout(5)
            assert connection.recv(100) == b""
            connection.close()
        for target in (b"", b"X-Amz-Target: AWSStepFunctions.ListActivities\r\n"):
            head = b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n" + target + b"Content-Length: 10\r\n\r\n{"
            with socket.create_connection(("127.0.0.1", running.port), timeout=5) as slow:
                slow.sendall(head)
                assert b" 408 " in slow.recv(65536)


LIST = b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Amz-Target: AWSStepFunctions.ListActivities\r\n"


def test_however_a_request_arrives_it_is_answered(running):
    last = b"Connection: close\r\n"
    whole = LIST + last + b"Content-Length: 2\r\n\r\n{}"
    assert raw(running, whole).count(b'{"activities":[]}') == 1
    assert raw(running, LIST + last + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n").count(b" 200 ") == 1
    assert raw(running, LIST + last + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}").count(b" 200 ") == 1
    assert b"connection: close\r\n" in raw(running, whole.replace(b"HTTP/1.1", b"HTTP/1.0"))
    with socket.create_connection(("127.0.0.1", running.port), timeout=5) as bytewise:
        for number in range(len(whole)):
            bytewise.sendall(whole[number : number + 1])
        assert b'{"activities":[]}' in b"".join(iter(lambda: bytewise.recv(65536), b""))


def test_pipelined_requests_are_answered_in_order(running):
    one, two = (
        LIST + b"Content-Length: 2\r\n\r\n{}",
        LIST.replace(b"ListActivities", b"Nothing") + b"Content-Length: 0\r\n\r\n",
    )
    end = LIST + b"Connection: close\r\nContent-Length: 2\r\n\r\n[]"
    received = raw(running, one + two + one + end)
    kinds = re.findall(rb"activities|UnknownOperation|SerializationException", received)
    assert kinds == [b"activities", b"UnknownOperation", b"activities", b"SerializationException"]
    assert len(set(re.findall(rb"x-amzn-requestid: ([0-9a-f-]{36})", received))) == 4


def test_a_client_that_leaves_in_the_middle_harms_nobody(running):
    for data in (LIST, LIST + b"Content-Length: 9\r\n\r\n{", LIST + b"Content-Length: 2\r\n\r\n{}"):
        with socket.create_connection(("127.0.0.1", running.port), timeout=5) as leaving:
            leaving.sendall(data)
    assert post(running)[0].status == 200


def test_more_connections_than_allowed(monkeypatch):
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 3)
    with Running() as running:
        held = [socket.create_connection(("127.0.0.1", running.port), timeout=5) for _ in range(3)]
        assert b" 503 " in raw(running, b"")
        held.pop().close()
        until = time.monotonic() + 5
        while b" 503 " in raw(running, b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"):
            assert time.monotonic() < until


def test_too_many_requests_at_once(monkeypatch):
    monkeypatch.setattr("stepwell.api.protocol.MAX_IN_FLIGHT", 0)
    with Running() as running:
        response, answer = post(running)
        assert (response.status, answer["__type"].split("#")[1]) == (400, "ThrottlingException")


def test_stopping_answers_long_polls():
    with Running() as running:
        sfn = running.client()
        activity = sfn.create_activity(name="a")["activityArn"]
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=10)
        headers = {"X-Amz-Target": "AWSStepFunctions.GetActivityTask"}
        connection.request("POST", "/", json.dumps({"activityArn": activity}), headers)
        time.sleep(0.1)
        began = time.monotonic()
    response = connection.getresponse()
    assert (response.status, response.read()) == (200, b"{}")
    assert time.monotonic() - began < 5


def test_only_signed_requests_with_authentication():
    keys = [AccessKey("AKIDTEST", "s" * 40), AccessKey("AKIDTOKEN", "t" * 40, "session")]
    with Running(authenticator=Authenticator(keys, region=REGION)) as running:
        good = running.client(key="AKIDTEST", secret="s" * 40)
        assert good.list_state_machines()["stateMachines"] == []
        assert running.client(key="AKIDTOKEN", secret="t" * 40, token="session").list_activities()["activities"] == []
        functions = running.client("lambda", key="AKIDTEST", secret="s" * 40)
        assert functions.list_functions()["Functions"] == []
        for client in (
            running.client(key="AKIDTEST", secret="x" * 40),
            running.client(key="AKIDOTHER", secret="s" * 40),
            running.client(key="AKIDTOKEN", secret="t" * 40, token="other"),
        ):
            with pytest.raises(ClientError) as caught:
                client.list_state_machines()
            assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
        with pytest.raises(ClientError):
            running.client("lambda", key="AKIDTEST", secret="x" * 40).list_functions()
        assert post(running)[0].status == 403
        assert get(running, "/2015-03-31/functions")[0].status == 403


def test_secrets_and_tokens_stay_out_of_the_log(caplog):
    caplog.set_level("DEBUG", "stepwell")
    keys = [AccessKey("AKIDTEST", "s" * 40, "the-session")]
    with Running(authenticator=Authenticator(keys, region=REGION)) as running:
        good = running.client(key="AKIDTEST", secret="s" * 40, token="the-session")
        with pytest.raises(ClientError):
            good.send_task_success(taskToken="the-task-token", output="{}")
        with pytest.raises(ClientError):
            good.send_task_success(taskToken="A" * 100, output='"the-payload"')
    assert "SendTaskSuccess" in caplog.text
    for secret in ("s" * 40, "the-session", "the-task-token", "the-payload", "Signature="):
        assert secret not in caplog.text


async def test_it_does_not_listen_to_everybody_by_mistake():
    async with Engine.open() as engine:
        with pytest.raises(ServerError, match="--auth"):
            await serve(engine, "0.0.0.0", 0)


async def test_a_port_that_is_taken():
    async with Engine.open() as engine:
        with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ServerError, match="Choose another --port"):
            await serve(engine, "127.0.0.1", taken.getsockname()[1])


@pytest.mark.parametrize(
    ("host", "loopback"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("box", False)]
)
def test_loopback(host, loopback):
    assert is_loopback(host) is loopback
    assert Server(None, "::1", 80).url == "http://[::1]:80"
