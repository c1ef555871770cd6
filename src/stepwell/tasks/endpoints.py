"""Calls of HTTP endpoints: `http:invoke` with an EventBridge connection's credentials, and `apigateway:invoke`.

Source: https://docs.aws.amazon.com/step-functions/latest/dg/call-https-apis.html and
https://docs.aws.amazon.com/step-functions/latest/dg/connect-api-gateway.html
"""

from __future__ import annotations

import base64
import contextlib
import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

import orjson

from stepwell.tasks.aws_clients import AwsClients, Caller, CallFailed
from stepwell.tasks.requests import TaskError, TaskRequest

if TYPE_CHECKING:
    import httpx

SECONDS = 60.0
"""What AWS gives an HTTP task."""
REDACTED = "[REDACTED]"
SOCKET_ERROR = "States.Http.Socket"
_RESERVED_HEADERS = frozenset(
    {"connection", "content-length", "expect", "host", "transfer-encoding", "upgrade", "x-forwarded-for"}
)


@dataclass(slots=True)
class HttpTrace:
    """What TestState shows of an HTTP task: request and response, with a connection's secrets only if they are to be revealed."""

    reveal: bool = False
    request: dict[str, str] = field(default_factory=dict)
    response: dict[str, str] = field(default_factory=dict)


http_trace: ContextVar[HttpTrace | None] = ContextVar("http_trace", default=None)
"""Where the HTTP task of the current asyncio task notes what it sent and got."""


@dataclass(slots=True)
class _Additions:
    """What a connection adds to a request."""

    headers: dict[str, str] = field(default_factory=dict)
    query: dict[str, str] = field(default_factory=dict)
    body: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Endpoints:
    """Makes HTTP calls for Task states. Close with `close()`."""

    aws: AwsClients | None
    _client: httpx.AsyncClient | None = None
    _tokens: dict[str, tuple[str, float]] = field(default_factory=dict)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    def _http(self) -> httpx.AsyncClient:
        import httpx  # a third of a second that only HTTP tasks need

        if self._client is None:
            self._client = httpx.AsyncClient(
                timeout=SECONDS, follow_redirects=False, headers={"User-Agent": "Amazon|StepFunctions|HttpInvoke"}
            )
        return self._client

    # -- http:invoke -----------------------------------------------------------------------------------------------------------

    async def http_invoke(self, task: TaskRequest, arguments: dict[str, Any]) -> dict[str, Any]:
        """The response as `{Headers, ResponseBody, StatusCode, StatusText}`.

        Raises TaskError States.Http.StatusCode.NNN for answers that are not 2xx, States.Http.Socket when there is none within 60
        seconds.
        """
        url, method = _text(arguments, "ApiEndpoint"), _text(arguments, "Method").upper()
        if urlsplit(url).scheme not in ("https", "http"):
            raise TaskError("States.Runtime", f"The ApiEndpoint '{url}' is not an HTTP(S) URL.", "schedule")
        holder = arguments.get("Authentication") or arguments.get("InvocationConfig") or {}
        arn = holder.get("ConnectionArn") if isinstance(holder, dict) else None
        additions = await self._connection(task, arn) if arn else _Additions()
        headers = {name: _scalar(value) for name, value in (arguments.get("Headers") or {}).items()}
        for name in headers:
            if name.lower() in _RESERVED_HEADERS:
                raise TaskError("States.Runtime", f"The header '{name}' cannot be set on an HTTP Task.", "schedule")
        transform = arguments.get("Transform") or {}
        body = arguments.get("RequestBody")
        if additions.body:
            body = {**(body if isinstance(body, dict) else {}), **additions.body}
        content = None
        if body is not None:
            if transform.get("RequestBodyEncoding") == "URL_ENCODED":
                array_format = (transform.get("RequestEncodingOptions") or {}).get("ArrayFormat", "INDICES")
                content = urlencode(_form(body, array_format), quote_via=quote).encode()
                headers.setdefault("Content-Type", "application/x-www-form-urlencoded")
            else:
                content = body.encode() if isinstance(body, str) else orjson.dumps(body)
                if not any(name.lower() == "content-type" for name in headers):
                    headers["Content-Type"] = "application/json"
        query = {**_query(arguments.get("QueryParameters")), **additions.query}
        headers.update(additions.headers)
        trace = http_trace.get()
        if trace is not None:
            shown = {**headers, **({} if trace.reveal else dict.fromkeys(additions.headers, REDACTED))}
            secret = bool(additions.body) and not trace.reveal
            trace.request = {
                "protocol": urlsplit(url).scheme,
                "method": method,
                "url": _shown_url(url, query, {} if trace.reveal else additions.query),
                "headers": orjson.dumps(shown).decode(),
                "body": REDACTED if secret else (content or b"").decode(errors="replace"),
            }
        response = await self._request(method, url, query, headers, content)
        if trace is not None:
            trace.response = {
                "protocol": urlsplit(url).scheme,
                "statusCode": str(response.status_code),
                "statusMessage": response.reason_phrase,
                "headers": orjson.dumps(_document(response)["Headers"]).decode(),
                "body": response.text,
            }
        if not response.is_success:
            raise TaskError(f"States.Http.StatusCode.{response.status_code}", response.text)
        return _document(response)

    async def _request(
        self, method: str, url: str, query: dict[str, Any], headers: dict[str, str], content: bytes | None
    ) -> httpx.Response:
        import httpx

        try:
            return await self._http().request(method, url, params=query or None, headers=headers, content=content)
        except httpx.TimeoutException as error:
            raise TaskError(SOCKET_ERROR, f"The HTTP request to {url} timed out after {SECONDS:g} seconds") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise TaskError(SOCKET_ERROR, f"The HTTP request to {url} failed: {error}") from error

    # -- connections -----------------------------------------------------------------------------------------------------------

    async def _connection(self, task: TaskRequest, arn: str) -> _Additions:
        """What an EventBridge connection adds: its authorization and its invocation parameters."""
        parts = arn.split("/")
        if len(parts) < 2:
            raise TaskError("States.Runtime", f"'{arn}' is not the ARN of an EventBridge connection.", "schedule")
        if self.aws is None:
            raise TaskError(
                "States.Runtime", "This Stepwell was started without access to EventBridge connections.", "schedule"
            )
        role = (task.credentials or {}).get("RoleArn")
        caller = Caller(task.account, arn.split(":")[3] or task.region, role, task.execution_name)
        try:
            events = await self.aws.service("events")
            connection = (await self.aws.call(events, "DescribeConnection", {"Name": parts[1]}, caller)).result
            manager = await self.aws.service("secretsmanager")
            secret = await self.aws.call(
                manager, "GetSecretValue", {"SecretId": connection.get("SecretArn", "")}, caller
            )
            values = orjson.loads(secret.result.get("SecretString") or b"{}")
        except CallFailed as failure:
            raise TaskError(f"Events.{failure.code}", failure.message, "schedule") from failure
        except orjson.JSONDecodeError as error:
            raise TaskError("States.Runtime", f"The secret of the connection {arn} is not JSON.", "schedule") from error
        if not isinstance(values, dict):
            raise TaskError("States.Runtime", f"The secret of the connection {arn} is not an object.", "schedule")
        additions = _parameters(values.get("invocation_http_parameters"))
        kind = connection.get("AuthorizationType")
        if kind == "BASIC":
            pair = f"{values.get('username', '')}:{values.get('password', '')}"
            additions.headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        elif kind == "API_KEY":
            additions.headers[str(values.get("api_key_name", ""))] = str(values.get("api_key_value", ""))
        elif kind == "OAUTH_CLIENT_CREDENTIALS":
            additions.headers["Authorization"] = "Bearer " + await self._oauth_token(arn, values)
        else:
            raise TaskError("States.Runtime", f"The connection {arn} has no known authorization type.", "schedule")
        return additions

    async def _oauth_token(self, arn: str, values: dict[str, Any]) -> str:
        """A client-credentials token (RFC 6749, 4.4), kept until a minute before its end."""
        held = self._tokens.get(arn)
        if held is not None and held[1] > time.monotonic():
            return held[0]
        extra = _parameters(values.get("oauth_http_parameters"))
        form = {
            "grant_type": "client_credentials",
            "client_id": str(values.get("client_id", "")),
            "client_secret": str(values.get("client_secret", "")),
            **{name: _scalar(value) for name, value in extra.body.items()},
        }
        method = str(values.get("http_method", "POST")).upper()
        url = str(values.get("authorization_endpoint", ""))
        headers = {"Content-Type": "application/x-www-form-urlencoded", **extra.headers}
        if method == "GET":
            response = await self._request(method, url, {**form, **extra.query}, extra.headers, None)
        else:
            response = await self._request(method, url, extra.query, headers, urlencode(form).encode())
        answer = response.json() if response.is_success and "json" in response.headers.get("content-type", "") else {}
        token = answer.get("access_token") if isinstance(answer, dict) else None
        if not token:
            raise TaskError(
                f"States.Http.StatusCode.{response.status_code}",
                f"The authorization endpoint of the connection {arn} gave no access token.",
            )
        self._tokens[arn] = (str(token), time.monotonic() + float(answer.get("expires_in", 300)) - 60)
        return str(token)

    # -- apigateway:invoke -----------------------------------------------------------------------------------------------------

    async def api_gateway_invoke(self, task: TaskRequest, arguments: dict[str, Any], phase: str) -> dict[str, Any]:
        """The response of an API Gateway endpoint. Raises TaskError ApiGateway.NNN for 4xx and 5xx."""
        host = _text(arguments, "ApiEndpoint")
        base = host if "://" in host else f"https://{host}"
        path = "/".join(str(arguments[name]).strip("/") for name in ("Stage", "Path") if arguments.get(name))
        url = f"{base.rstrip('/')}/{path}"
        query = _query(arguments.get("QueryParameters"))
        headers: dict[str, str] = {}
        for name, value in (arguments.get("Headers") or {}).items():
            headers[name] = ", ".join(map(_scalar, value)) if isinstance(value, list) else _scalar(value)
        if task.token is not None and "waitForTaskToken" in task.resource:
            headers.setdefault("TaskToken", task.token)
        body = arguments.get("RequestBody")
        content = None
        if body is not None:
            content = body.encode() if isinstance(body, str) else orjson.dumps(body)
            headers.setdefault("Content-Type", "application/json")
        method = _text(arguments, "Method").upper()
        if arguments.get("AuthType", "NO_AUTH") in ("IAM_ROLE", "RESOURCE_POLICY"):
            url, headers = await self._signed(task, method, url, query, headers, content)
            query = {}
        try:
            response = await self._request(method, url, query, headers, content)
        except TaskError as error:
            raise TaskError("ApiGateway.SdkClientException", error.cause, phase) from error
        if response.status_code >= 400:
            raise TaskError(f"ApiGateway.{response.status_code}", response.text, phase)
        return _document(response)

    async def _signed(
        self,
        task: TaskRequest,
        method: str,
        url: str,
        query: dict[str, Any],
        headers: dict[str, str],
        content: bytes | None,
    ) -> tuple[str, dict[str, str]]:
        if self.aws is None:
            raise TaskError("States.Runtime", "This Stepwell was started without AWS credentials.", "schedule")
        full = f"{url}?{urlencode(query, doseq=True, quote_via=quote)}" if query else url
        role = (task.credentials or {}).get("RoleArn")
        caller = Caller(task.account, task.region, role, task.execution_name)
        return full, await self.aws.sign(method, full, headers, content, "execute-api", caller)


def _shown_url(url: str, query: dict[str, Any], secret: dict[str, str]) -> str:
    shown = {name: REDACTED if name in secret else value for name, value in query.items()}
    return f"{url}?{urlencode(shown, doseq=True)}" if shown else url


def _text(arguments: dict[str, Any], name: str) -> str:
    value = arguments.get(name)
    if not isinstance(value, str) or not value:
        raise TaskError("States.Runtime", f"The field '{name}' is required and must be a string.", "schedule")
    return value


def _scalar(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _query(parameters: Any) -> dict[str, Any]:
    if not isinstance(parameters, dict):
        return {}
    return {
        name: [_scalar(item) for item in value] if isinstance(value, list) else _scalar(value)
        for name, value in parameters.items()
    }


def _form(value: Any, array_format: str, prefix: str = "") -> list[tuple[str, str]]:
    """A JSON body as form fields; how arrays are written is AWS's ArrayFormat: INDICES, REPEAT, COMMAS, BRACKETS or NONE."""
    if isinstance(value, dict):
        fields: list[tuple[str, str]] = []
        for name, item in value.items():
            fields += _form(item, array_format, f"{prefix}[{name}]" if prefix else str(name))
        return fields
    if isinstance(value, list):
        if array_format == "COMMAS":
            return [(prefix, ",".join(map(_scalar, value)))]
        if array_format == "NONE":
            return [(prefix, orjson.dumps(value).decode())]
        names = {"REPEAT": "{0}", "BRACKETS": "{0}[]", "INDICES": "{0}[{1}]"}.get(array_format, "{0}[{1}]")
        fields = []
        for number, item in enumerate(value):
            fields += _form(item, array_format, names.format(prefix, number))
        return fields
    return [(prefix, _scalar(value))]


def _parameters(found: Any) -> _Additions:
    """A connection's additional parameters: lists of `{key, value, is_value_secret}`."""
    additions = _Additions()
    if isinstance(found, dict):
        for source, target in (
            ("header_parameters", additions.headers),
            ("query_string_parameters", additions.query),
            ("body_parameters", additions.body),
        ):
            for entry in found.get(source) or []:
                target[str(entry.get("key", ""))] = entry.get("value", "")
    return additions


def _document(response: httpx.Response) -> dict[str, Any]:
    headers: dict[str, list[str]] = {}
    for name, value in response.headers.multi_items():
        headers.setdefault(name, []).append(value)
    body: Any = response.text
    if "json" in response.headers.get("content-type", ""):
        with contextlib.suppress(orjson.JSONDecodeError):
            body = orjson.loads(response.content)
    return {
        "Headers": headers,
        "ResponseBody": body,
        "StatusCode": response.status_code,
        "StatusText": response.reason_phrase,
    }
