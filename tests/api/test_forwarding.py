"""One URL for everything: what is for other services goes to the emulator at --aws-endpoint, as it came."""

import http.client
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from botocore.exceptions import ClientError

from stepwell.api.auth import AccessKey, Authenticator
from stepwell.api.forwarding import Forwarder

from .conftest import REGION, ROLE, Running, archive

PASS = json.dumps({"StartAt": "A", "States": {"A": {"Type": "Pass", "End": True}}})


class Emulator:
    """Answers every request with what it got; `answers` by path come first."""

    def __init__(self):
        self.requests = []
        self.answers = {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                if self.headers.get("Transfer-Encoding") == "chunked":
                    body = b""
                    while size := int(self.rfile.readline(), 16):
                        body += self.rfile.read(size)
                        self.rfile.readline()
                    self.rfile.readline()
                else:
                    body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                outer.requests.append((self.command, self.path, headers, body))
                status, headers, text = outer.answers.get(self.path, (200, {}, b"{}"))
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(text)

            do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = answer

            def log_message(self, *arguments):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture(scope="module")
def emulator():
    emulator = Emulator()
    yield emulator
    emulator.server.shutdown()
    emulator.server.server_close()


@pytest.fixture(scope="module")
def server(emulator):
    with Running(engine={"aws_endpoint": emulator.url}) as running:
        yield running


@pytest.fixture(autouse=True)
def fresh(emulator):
    emulator.requests.clear()
    emulator.answers.clear()


def send(server, method, path, body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, given, encode_chunked="Transfer-Encoding" in given)
    response = connection.getresponse()
    text = response.read()
    connection.close()
    return response.status, dict(response.getheaders()), text


def signed(service):
    return f"AWS4-HMAC-SHA256 Credential=test/20240101/{REGION}/{service}/aws4_request, SignedHeaders=host, Signature=0"


def test_other_services_answer_at_the_same_url(server, emulator):
    emulator.answers["/"] = (200, {"Content-Type": "application/x-amz-json-1.0"}, b'{"QueueUrl":"http://q"}')
    assert server.client("sqs").create_queue(QueueName="q")["QueueUrl"] == "http://q"
    method, path, headers, body = emulator.requests[-1]
    assert (method, path) == ("POST", "/")
    assert json.loads(body) == {"QueueName": "q"}
    assert headers["x-amz-target"] == "AmazonSQS.CreateQueue"
    assert headers["host"] == f"127.0.0.1:{server.port}"


def test_step_functions_and_lambda_stay_here(server, emulator):
    sfn = server.client()
    sfn.create_state_machine(name="here", definition=PASS, roleArn=ROLE)
    functions = server.client("lambda")
    code = {"ZipFile": archive(f="def h(event, context): return event")}
    functions.create_function(FunctionName="here", Runtime="python3.12", Handler="f.h", Role=ROLE, Code=code)
    assert functions.get_function(FunctionName="here")["Configuration"]["FunctionName"] == "here"
    assert send(server, "GET", "/health")[0] == 200
    assert send(server, "GET", "/metrics")[0] == 200
    assert send(server, "POST", "/", b"{}", X_Amz_Target="AWSStepFunctions.ListActivities")[0] == 200
    assert emulator.requests == []


@pytest.mark.parametrize("name", ["health", "metrics", "objects", "2015-03-31"])
def test_a_bucket_may_have_any_name(server, emulator, name):
    path = f"/{name}/key"
    emulator.answers[path] = (200, {"ETag": '"e"'}, b"content")
    status, headers, text = send(server, "GET", path, Authorization=signed("s3"))
    assert (status, headers["etag"], text) == (200, '"e"', b"content")


def test_paths_queries_and_bodies_arrive_byte_for_byte(server, emulator):
    path = "/bucket/a%2Fb%20c//d%C3%A9?list-type=2&prefix=%2F&empty="
    body = bytes(range(256)) * 8192
    send(server, "PUT", path, body, Authorization=signed("s3"), X_Amz_Meta_X="1")
    method, got, headers, content = emulator.requests[-1]
    assert (method, got, content) == ("PUT", path, body)
    assert headers["content-length"] == str(len(body))
    assert headers["x-amz-meta-x"] == "1"
    assert "user-agent" not in headers
    assert headers["accept-encoding"] == "identity"


def test_a_body_of_unknown_length(server, emulator):
    send(server, "PUT", "/bucket/key", iter([b"one", b"two"]), Authorization=signed("s3"), Transfer_Encoding="chunked")
    assert emulator.requests[-1][3] == b"onetwo"


def test_answers_arrive_as_they_are(server, emulator):
    emulator.answers["/bucket/zip"] = (206, {"Content-Encoding": "gzip", "X-Amz-Id-2": "x"}, b"\x1f\x8bnot really")
    status, headers, text = send(server, "GET", "/bucket/zip", Authorization=signed("s3"))
    assert (status, headers["content-encoding"], text) == (206, "gzip", b"\x1f\x8bnot really")
    emulator.answers["/bucket/none"] = (404, {}, b"<Error/>")
    assert send(server, "GET", "/bucket/none", Authorization=signed("s3"))[::2] == (404, b"<Error/>")
    emulator.answers["/bucket/head"] = (200, {"X-Amz-Meta-A": "b"}, b"12345")
    status, headers, text = send(server, "HEAD", "/bucket/head", Authorization=signed("s3"))
    assert (status, headers["content-length"], headers["x-amz-meta-a"], text) == (200, "5", "b", b"")


def test_a_presigned_url(server, emulator):
    url = server.client("s3").generate_presigned_url("get_object", {"Bucket": "health", "Key": "k"})
    path = url.removeprefix(server.url)
    emulator.answers[path] = (200, {}, b"signed")
    assert send(server, "GET", path)[::2] == (200, b"signed")


def test_unsigned_requests_of_other_services(server, emulator):
    assert send(server, "POST", "/", b"{}", X_Amz_Target="AmazonSQS.ListQueues")[0] == 200
    assert send(server, "POST", "/", b"Action=X", Content_Type="application/x-www-form-urlencoded")[0] == 200
    assert send(server, "GET", "/bucket/public")[0] == 200
    assert len(emulator.requests) == 3
    assert send(server, "POST", "/", b"{}")[0] == 400
    assert len(emulator.requests) == 3


def test_web_pages_are_refused(server, emulator):
    status, _, text = send(server, "GET", "/bucket/key", Origin="http://evil.example")
    assert status == 403
    assert b"other origins" in text
    assert send(server, "GET", "/bucket/key", Host="evil.example")[0] == 403
    assert emulator.requests == []


def test_an_endpoint_that_is_gone_is_a_502():
    with Running(engine={"aws_endpoint": "http://127.0.0.1:1"}) as server:
        status, _, text = send(server, "GET", "/bucket/key", Authorization=signed("s3"))
    assert status == 502
    assert b"The AWS endpoint http://127.0.0.1:1 does not answer" in text


def test_a_server_that_is_its_own_endpoint_does_not_go_round_in_circles():
    with Running(engine={"aws_endpoint": "http://127.0.0.1:1"}) as server:
        server.app.forwarder.endpoint = server.url
        status, _, text = send(server, "GET", "/bucket/key", Authorization=signed("s3"))
    assert status == 508
    assert b"is this server itself" in text


def test_without_an_endpoint_other_services_are_unknown(running):
    with pytest.raises(ClientError, match="UnknownOperationException"):
        running.client("sqs").list_queues()


def test_with_authentication_nothing_is_passed_on(emulator):
    keys = Authenticator([AccessKey("AKID", "s" * 40)], region=REGION)
    with Running(engine={"aws_endpoint": emulator.url}, authenticator=keys) as server:
        assert send(server, "GET", "/bucket/key", Authorization=signed("s3"))[0] == 404
    assert emulator.requests == []


def test_an_amazon_endpoint_is_no_emulator():
    with Running(engine={"aws_endpoint": "https://vpce-1.states.us-east-1.amazonaws.com"}) as server:
        assert server.app.forwarder is None


def test_whose_request_it_is():
    forwarder = Forwarder("http://127.0.0.1:1", None)

    def scope(method="GET", path="/", query=b"", **headers):
        pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        return {"method": method, "path": path, "query_string": query, "headers": pairs}

    assert forwarder.takes(scope(authorization=signed("s3")))
    assert not forwarder.takes(scope(authorization=signed("states")))
    assert not forwarder.takes(scope(path="/2015-03-31/functions", authorization=signed("lambda")))
    assert forwarder.takes(scope(query=b"X-Amz-Credential=a%2F20240101%2Fus-east-1%2Fs3%2Faws4_request"))
    assert not forwarder.takes(scope("POST", x_amz_target="AWSStepFunctions.ListActivities"))
    assert not forwarder.takes(scope("POST"))
    assert not forwarder.takes(scope(path="/health"))
