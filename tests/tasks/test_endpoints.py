"""HTTP tasks, EventBridge connections, API Gateway and Bedrock."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from stepwell.tasks import Dispatcher, TaskError
from stepwell.tasks.aws_clients import CallFailed
from stepwell.tasks.endpoints import HttpTrace, http_trace

from .conftest import Submissions, run
from .scripted import ScriptedAws

CONNECTION = "arn:aws:events:us-east-1:123456789012:connection/c/uuid"


class Echo(BaseHTTPRequestHandler):
    """Answers what it was asked, with the status in the path; /token is an authorization server."""

    def respond(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        url = urlsplit(self.path)
        self.server.seen.append((self.command, url.path, body))
        status, answer = (
            200,
            {
                "method": self.command,
                "path": url.path,
                "query": parse_qs(url.query, keep_blank_values=True),
                "headers": {name.lower(): value for name, value in self.headers.items()},
                "body": body,
            },
        )
        if url.path.startswith("/status/"):
            status = int(url.path.split("/")[2])
        if url.path == "/token":
            answer = {"access_token": f"token-{len(self.server.seen)}", "expires_in": 3600}
        data = b"plain" if url.path == "/text" else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain" if url.path == "/text" else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("X-Two", "a")
        self.send_header("X-Two", "b")
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = respond

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def echo():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    server.seen = []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    server.url = f"http://127.0.0.1:{server.server_port}"
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
async def invoke(echo):
    made = []

    async def invoke(path="/", resource="http:invoke", aws=None, **arguments):
        dispatcher = Dispatcher(aws=aws)
        made.append(dispatcher)
        given = {"ApiEndpoint": f"{echo.url}{path}", "Method": "GET", **arguments}
        return await run(dispatcher, resource, given)

    yield invoke
    for dispatcher in made:
        await dispatcher.close()


def connection(kind, **secret):
    return ScriptedAws(
        DescribeConnection={"AuthorizationType": kind, "SecretArn": "arn:secret"},
        GetSecretValue={"SecretString": json.dumps(secret)},
    )


async def test_a_call(invoke):
    answer = await invoke(
        "/a", Method="POST", Headers={"X-A": "1", "X-N": 2}, QueryParameters={"q": ["1", 2]}, RequestBody={"k": "é"}
    )
    assert (answer["StatusCode"], answer["StatusText"], answer["Headers"]["x-two"]) == (200, "OK", ["a", "b"])
    seen = answer["ResponseBody"]
    assert (seen["method"], seen["path"], seen["query"], seen["body"]) == ("POST", "/a", {"q": ["1", "2"]}, '{"k":"é"}')
    assert (seen["headers"]["x-n"], seen["headers"]["content-type"]) == ("2", "application/json")
    assert (await invoke("/text"))["ResponseBody"] == "plain"


@pytest.mark.parametrize(
    ("array_format", "body"),
    [
        (None, "a%5B0%5D=1&a%5B1%5D=2&b%5Bc%5D=x%20y"),
        ("REPEAT", "a=1&a=2&b%5Bc%5D=x%20y"),
        ("BRACKETS", "a%5B%5D=1&a%5B%5D=2&b%5Bc%5D=x%20y"),
        ("COMMAS", "a=1%2C2&b%5Bc%5D=x%20y"),
    ],
)
async def test_forms(invoke, array_format, body):
    transform = {"RequestBodyEncoding": "URL_ENCODED"}
    if array_format is not None:
        transform["RequestEncodingOptions"] = {"ArrayFormat": array_format}
    answer = await invoke(Method="POST", RequestBody={"a": [1, 2], "b": {"c": "x y"}}, Transform=transform)
    seen = answer["ResponseBody"]
    assert seen["headers"]["content-type"] == "application/x-www-form-urlencoded"
    assert seen["body"] == body


@pytest.mark.parametrize("status", [301, 404, 500])
async def test_statuses_that_are_failures(invoke, status):
    with pytest.raises(TaskError) as caught:
        await invoke(f"/status/{status}")
    assert caught.value.error == f"States.Http.StatusCode.{status}"
    assert json.loads(caught.value.cause)["path"] == f"/status/{status}"


async def test_no_answer(invoke):
    with pytest.raises(TaskError) as caught:
        await invoke(ApiEndpoint="http://127.0.0.1:1/")
    assert caught.value.error == "States.Http.Socket"
    for arguments in ({"ApiEndpoint": "ftp://x"}, {"ApiEndpoint": None}, {"Headers": {"Host": "x"}}):
        with pytest.raises(TaskError) as caught:
            await invoke(**arguments)
        assert (caught.value.error, caught.value.phase) == ("States.Runtime", "schedule")


@pytest.mark.parametrize(
    ("aws", "header", "value"),
    [
        (connection("BASIC", username="u", password="p"), "authorization", "Basic dTpw"),
        (connection("API_KEY", api_key_name="X-Key", api_key_value="v"), "x-key", "v"),
    ],
)
async def test_connections(invoke, aws, header, value):
    answer = await invoke(Authentication={"ConnectionArn": CONNECTION}, aws=aws)
    assert answer["ResponseBody"]["headers"][header] == value
    assert aws.made("DescribeConnection") == [{"Name": "c"}]
    assert aws.made("GetSecretValue") == [{"SecretId": "arn:secret"}]


async def test_oauth_with_what_the_connection_adds(invoke, echo):
    parameters = {
        "header_parameters": [{"key": "X-Added", "value": "h"}],
        "query_string_parameters": [{"key": "added", "value": "q"}],
        "body_parameters": [{"key": "added", "value": "b"}],
    }
    aws = connection(
        "OAUTH_CLIENT_CREDENTIALS",
        client_id="id",
        client_secret="secret",
        authorization_endpoint=f"{echo.url}/token",
        http_method="POST",
        oauth_http_parameters={"body_parameters": [{"key": "scope", "value": "s"}]},
        invocation_http_parameters=parameters,
    )
    echo.seen.clear()
    answer = await invoke(Authentication={"ConnectionArn": CONNECTION}, Method="POST", RequestBody={"own": 1}, aws=aws)
    asked = parse_qs(echo.seen[0][2])
    assert asked == {
        "grant_type": ["client_credentials"],
        "client_id": ["id"],
        "client_secret": ["secret"],
        "scope": ["s"],
    }
    seen = answer["ResponseBody"]
    assert seen["headers"]["authorization"] == "Bearer token-1"
    assert (seen["headers"]["x-added"], seen["query"]) == ("h", {"added": ["q"]})
    assert json.loads(seen["body"]) == {"own": 1, "added": "b"}


async def test_a_token_is_kept(echo):
    aws = connection(
        "OAUTH_CLIENT_CREDENTIALS", client_id="i", client_secret="s", authorization_endpoint=f"{echo.url}/token"
    )
    dispatcher = Dispatcher(aws=aws)
    echo.seen.clear()
    for _ in range(2):
        await run(
            dispatcher,
            "http:invoke",
            {"ApiEndpoint": echo.url, "Method": "GET", "Authentication": {"ConnectionArn": CONNECTION}},
        )
    assert [path for _, path, _ in echo.seen] == ["/token", "/", "/"] or [p for _, p, _ in echo.seen] == [
        "/token",
        "",
        "",
    ]
    await dispatcher.close()


async def test_a_connection_that_does_not_exist(invoke):
    aws = ScriptedAws(DescribeConnection=CallFailed("ResourceNotFoundException", "none", 400))
    with pytest.raises(TaskError, match="none"):
        await invoke(Authentication={"ConnectionArn": CONNECTION}, aws=aws)
    with pytest.raises(TaskError, match="without access to EventBridge"):
        await invoke(Authentication={"ConnectionArn": CONNECTION})


@pytest.mark.parametrize(("reveal", "shown"), [(False, "[REDACTED]"), (True, "v")])
async def test_what_teststate_shows(invoke, reveal, shown):
    trace = HttpTrace(reveal=reveal)
    held = http_trace.set(trace)
    aws = connection("API_KEY", api_key_name="X-Key", api_key_value="v")
    await invoke("/a", Authentication={"ConnectionArn": CONNECTION}, QueryParameters={"q": "1"}, aws=aws)
    http_trace.reset(held)
    assert json.loads(trace.request["headers"])["X-Key"] == shown
    assert trace.request["url"].endswith("/a?q=1")
    assert (trace.response["statusCode"], trace.response["statusMessage"]) == ("200", "OK")


async def test_api_gateway(invoke, echo):
    answer = await invoke(
        resource="apigateway:invoke",
        ApiEndpoint=echo.url,
        Method="PUT",
        Stage="prod",
        Path="/pets/1",
        RequestBody={"a": 1},
    )
    assert answer["ResponseBody"]["path"] == "/prod/pets/1"
    with pytest.raises(TaskError) as caught:
        await invoke(resource="apigateway:invoke", ApiEndpoint=echo.url, Path="status/403")
    assert caught.value.error == "ApiGateway.403"


async def test_api_gateway_signed(echo, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s" * 40)
    dispatcher = Dispatcher(aws=ScriptedAws())
    arguments = {
        "ApiEndpoint": echo.url,
        "Method": "GET",
        "Path": "x",
        "AuthType": "IAM_ROLE",
        "QueryParameters": {"a": "b c"},
    }
    seen = (await run(dispatcher, "apigateway:invoke", arguments))["ResponseBody"]
    assert seen["headers"]["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
    assert "/us-east-1/execute-api/aws4_request" in seen["headers"]["authorization"]
    assert seen["query"] == {"a": ["b c"]}
    await dispatcher.close()


async def test_api_gateway_with_a_task_token(echo):
    dispatcher = Dispatcher()
    submitted = Submissions()
    arguments = {"ApiEndpoint": echo.url, "Method": "GET"}
    assert await run(dispatcher, "apigateway:invoke.waitForTaskToken", arguments, submitted, token="t") is None
    assert submitted[0]["ResponseBody"]["headers"]["tasktoken"] == "t"
    await dispatcher.close()


async def test_bedrock():
    aws = ScriptedAws(
        InvokeModel={"body": b'{"out":1}', "contentType": "application/json"}, GetObject={"Body": b"{}"}, PutObject={}
    )
    dispatcher = Dispatcher(aws=aws)
    result = await run(dispatcher, "bedrock:invokeModel", {"ModelId": "m", "Body": {"in": 1}})
    assert result == {"Body": {"out": 1}, "ContentType": "application/json"}
    assert aws.made("InvokeModel")[0]["body"] == b'{"in":1}'
    places = {"Input": {"S3Uri": "s3://b/in.json"}, "Output": {"S3Uri": "s3://b/out.json"}}
    result = await run(dispatcher, "bedrock:invokeModel", {"ModelId": "m", **places})
    assert result["Body"] == "s3://b/out.json"
    assert aws.made("PutObject")[0] == {
        "Bucket": "b",
        "Key": "out.json",
        "Body": b'{"out":1}',
        "ContentType": "application/json",
    }
    aws.answers["InvokeModel"] = CallFailed("ThrottlingException", "slow", 429)
    with pytest.raises(TaskError) as caught:
        await run(dispatcher, "bedrock:invokeModel", {"ModelId": "m", "Body": {}})
    assert caught.value.error == "Bedrock.ThrottlingException"
