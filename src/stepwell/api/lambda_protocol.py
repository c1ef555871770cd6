"""The Lambda API's paths: `POST /2015-03-31/functions/NAME/invocations` and its kin (the AWS REST-JSON protocol)."""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote

import orjson

from stepwell.api.accounts import Accounts
from stepwell.api.auth import Authenticator
from stepwell.api.guard import Guard
from stepwell.api.lambda_errors import LambdaError
from stepwell.api.lambda_functions import LambdaFunctions
from stepwell.api.lambda_invoke import Invocation, LambdaInvocations
from stepwell.api.metrics import Metrics
from stepwell.api.protocol import (
    Forbidden,
    Receive,
    Scope,
    Send,
    access_key_of,
    read_body,
    read_headers,
    status_of,
)
from stepwell.engine.engine import Engine
from stepwell.engine.errors import ApiError, EngineError

MAX_BODY = 70 * 1024 * 1024
"""A zip of 50 MB in base64."""
BODY_SECONDS = 300.0
PREFIXES = ("/2015-03-31/", "/2017-03-31/", "/2017-10-31/", "/2019-09-25/", "/2019-09-30/", "/2020-06-30/")

log = logging.getLogger("stepwell.api")
access = logging.getLogger("stepwell.access")

Document = dict[str, Any]


class Request(NamedTuple):
    """A matched request."""

    functions: LambdaFunctions
    invocations: LambdaInvocations
    parts: tuple[str, ...]
    query: dict[str, list[str]]
    headers: dict[bytes, bytes]
    body: bytes

    def argument(self, name: str) -> str | None:
        values = self.query.get(name)
        return values[0] if values else None

    @property
    def qualifier(self) -> str | None:
        return self.argument("Qualifier")

    @property
    def most(self) -> int:
        text = self.argument("MaxItems")
        return min(max(int(text), 1), 50) if text is not None and text.isdigit() else 50

    def document(self) -> Document:
        try:
            value = orjson.loads(self.body or b"{}")
        except orjson.JSONDecodeError as error:
            raise LambdaError("SerializationException", f"The request body is not JSON: {error}") from error
        if not isinstance(value, dict):
            raise LambdaError("SerializationException", "The request body must be a JSON object.")
        return value


class Response(NamedTuple):
    status: int
    body: bytes = b""
    headers: tuple[tuple[bytes, bytes], ...] = ()


Handler = Callable[[Request], Awaitable[Response]]


def _json(document: Document, status: int = 200) -> Response:
    return Response(status, orjson.dumps(document))


async def create_function(r: Request) -> Response:
    return _json(await r.functions.create(r.document()), 201)


async def list_functions(r: Request) -> Response:
    everything = r.argument("FunctionVersion") == "ALL"
    return _json(r.functions.list_functions(marker=r.argument("Marker"), most=r.most, all_versions=everything))


async def get_function(r: Request) -> Response:
    return _json(r.functions.get(r.parts[0], r.qualifier))


async def delete_function(r: Request) -> Response:
    await r.functions.delete(r.parts[0], r.qualifier)
    return Response(204)


async def get_configuration(r: Request) -> Response:
    return _json(r.functions.get_configuration(r.parts[0], r.qualifier))


async def update_configuration(r: Request) -> Response:
    return _json(await r.functions.update_configuration(r.parts[0], r.document()))


async def update_code(r: Request) -> Response:
    return _json(await r.functions.update_code(r.parts[0], r.document()))


async def invoke(r: Request) -> Response:
    get = r.headers.get
    kind = get(b"x-amz-invocation-type", b"RequestResponse").decode()
    if kind not in ("RequestResponse", "Event", "DryRun"):
        raise LambdaError("InvalidParameterValueException", f"The invocation type {kind} is not known.")
    context = get(b"x-amz-client-context")
    answer = await r.invocations.invoke(
        Invocation(
            r.parts[0],
            r.qualifier,
            r.body,
            kind,
            get(b"x-amz-log-type", b"").lower() == b"tail",
            None if context is None else context.decode("latin-1"),
        )
    )
    headers = []
    if answer.version is not None:
        headers.append((b"x-amz-executed-version", answer.version.encode()))
    if answer.failed:
        headers.append((b"x-amz-function-error", b"Unhandled"))
    if answer.log_result is not None:
        headers.append((b"x-amz-log-result", answer.log_result.encode()))
    return Response(answer.status, answer.payload, tuple(headers))


async def publish_version(r: Request) -> Response:
    return _json(await r.functions.publish(r.parts[0], r.document()), 201)


async def list_versions(r: Request) -> Response:
    return _json(r.functions.versions(r.parts[0], r.argument("Marker"), r.most))


async def create_alias(r: Request) -> Response:
    p = r.document()
    return _json(await r.functions.put_alias(r.parts[0], str(p.get("Name") or ""), p, create=True), 201)


async def update_alias(r: Request) -> Response:
    return _json(await r.functions.put_alias(r.parts[0], r.parts[1], r.document(), create=False))


async def get_alias(r: Request) -> Response:
    return _json(r.functions.get_alias(r.parts[0], r.parts[1]))


async def list_aliases(r: Request) -> Response:
    return _json(r.functions.aliases(r.parts[0], r.argument("FunctionVersion"), r.argument("Marker"), r.most))


async def delete_alias(r: Request) -> Response:
    await r.functions.delete_alias(r.parts[0], r.parts[1])
    return Response(204)


async def put_concurrency(r: Request) -> Response:
    reserved = r.document().get("ReservedConcurrentExecutions")
    if type(reserved) is not int or reserved < 0:
        raise LambdaError("InvalidParameterValueException", "ReservedConcurrentExecutions must be 0 or more.")
    return _json(await r.functions.put_concurrency(r.parts[0], reserved))


async def get_concurrency(r: Request) -> Response:
    return _json(r.functions.concurrency(r.parts[0]))


async def delete_concurrency(r: Request) -> Response:
    await r.functions.put_concurrency(r.parts[0], None)
    return Response(204)


async def put_event_invoke(r: Request) -> Response:
    return _json(await r.functions.put_event_invoke(r.parts[0], r.qualifier, r.document(), update=False))


async def update_event_invoke(r: Request) -> Response:
    return _json(await r.functions.put_event_invoke(r.parts[0], r.qualifier, r.document(), update=True))


async def get_event_invoke(r: Request) -> Response:
    return _json(r.functions.event_invoke(r.parts[0], r.qualifier))


async def delete_event_invoke(r: Request) -> Response:
    await r.functions.delete_event_invoke(r.parts[0], r.qualifier)
    return Response(204)


async def add_permission(r: Request) -> Response:
    statement = await r.functions.add_permission(r.parts[0], r.document())
    return _json({"Statement": orjson.dumps(statement).decode()}, 201)


async def get_policy(r: Request) -> Response:
    policy = {"Version": "2012-10-17", "Id": "default", "Statement": r.functions.policy(r.parts[0])}
    return _json({"Policy": orjson.dumps(policy).decode(), "RevisionId": str(uuid.uuid4())})


async def remove_permission(r: Request) -> Response:
    await r.functions.remove_permission(r.parts[0], r.parts[1])
    return Response(204)


async def list_tags(r: Request) -> Response:
    uploaded, _, _ = r.functions.find(r.parts[0])
    return _json({"Tags": uploaded.tags})


async def tag(r: Request) -> Response:
    await r.functions.change_tags(r.parts[0], dict(r.document().get("Tags") or {}), [])
    return Response(204)


async def untag(r: Request) -> Response:
    await r.functions.change_tags(r.parts[0], {}, r.query.get("tagKeys", []))
    return Response(204)


async def code_signing(r: Request) -> Response:
    uploaded, _, _ = r.functions.find(r.parts[0])
    return _json({"CodeSigningConfigArn": "", "FunctionName": uploaded.name})


_F = "/2015-03-31/functions"
ROUTES: tuple[tuple[str, str, str, Handler], ...] = (
    ("POST", rf"{_F}/([^/]+)/invocations", "Invoke", invoke),
    ("POST", rf"{_F}/?", "CreateFunction", create_function),
    ("GET", rf"{_F}/?", "ListFunctions", list_functions),
    ("GET", rf"{_F}/([^/]+)", "GetFunction", get_function),
    ("DELETE", rf"{_F}/([^/]+)", "DeleteFunction", delete_function),
    ("GET", rf"{_F}/([^/]+)/configuration", "GetFunctionConfiguration", get_configuration),
    ("PUT", rf"{_F}/([^/]+)/configuration", "UpdateFunctionConfiguration", update_configuration),
    ("PUT", rf"{_F}/([^/]+)/code", "UpdateFunctionCode", update_code),
    ("POST", rf"{_F}/([^/]+)/versions", "PublishVersion", publish_version),
    ("GET", rf"{_F}/([^/]+)/versions", "ListVersionsByFunction", list_versions),
    ("POST", rf"{_F}/([^/]+)/aliases", "CreateAlias", create_alias),
    ("GET", rf"{_F}/([^/]+)/aliases", "ListAliases", list_aliases),
    ("GET", rf"{_F}/([^/]+)/aliases/([^/]+)", "GetAlias", get_alias),
    ("PUT", rf"{_F}/([^/]+)/aliases/([^/]+)", "UpdateAlias", update_alias),
    ("DELETE", rf"{_F}/([^/]+)/aliases/([^/]+)", "DeleteAlias", delete_alias),
    ("POST", rf"{_F}/([^/]+)/policy", "AddPermission", add_permission),
    ("GET", rf"{_F}/([^/]+)/policy", "GetPolicy", get_policy),
    ("DELETE", rf"{_F}/([^/]+)/policy/([^/]+)", "RemovePermission", remove_permission),
    ("PUT", r"/2017-10-31/functions/([^/]+)/concurrency", "PutFunctionConcurrency", put_concurrency),
    ("DELETE", r"/2017-10-31/functions/([^/]+)/concurrency", "DeleteFunctionConcurrency", delete_concurrency),
    ("GET", r"/2019-09-30/functions/([^/]+)/concurrency", "GetFunctionConcurrency", get_concurrency),
    ("PUT", r"/2019-09-25/functions/([^/]+)/event-invoke-config", "PutFunctionEventInvokeConfig", put_event_invoke),
    (
        "POST",
        r"/2019-09-25/functions/([^/]+)/event-invoke-config",
        "UpdateFunctionEventInvokeConfig",
        update_event_invoke,
    ),
    ("GET", r"/2019-09-25/functions/([^/]+)/event-invoke-config", "GetFunctionEventInvokeConfig", get_event_invoke),
    (
        "DELETE",
        r"/2019-09-25/functions/([^/]+)/event-invoke-config",
        "DeleteFunctionEventInvokeConfig",
        delete_event_invoke,
    ),
    ("GET", r"/2020-06-30/functions/([^/]+)/code-signing-config", "GetFunctionCodeSigningConfig", code_signing),
    ("GET", r"/2017-03-31/tags/(.+)", "ListTags", list_tags),
    ("POST", r"/2017-03-31/tags/(.+)", "TagResource", tag),
    ("DELETE", r"/2017-03-31/tags/(.+)", "UntagResource", untag),
)
_ROUTES = tuple((method, re.compile(pattern), name, handler) for method, pattern, name, handler in ROUTES)


class LambdaProtocol:
    """Answers requests of the Lambda API."""

    def __init__(
        self, accounts: Accounts, guard: Guard | None, authenticator: Authenticator | None, metrics: Metrics
    ) -> None:
        self._accounts = accounts
        self._guard = guard
        self._authenticator = authenticator
        self._metrics = metrics
        self._services: dict[int, tuple[LambdaFunctions, LambdaInvocations]] = {}

    def service(self, engine: Engine) -> tuple[LambdaFunctions, LambdaInvocations]:
        found = self._services.get(id(engine))
        if found is None:
            functions = LambdaFunctions(engine)
            found = self._services[id(engine)] = functions, LambdaInvocations(functions)
        return found

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        request_id = str(uuid.uuid4())
        action, outcome = "lambda:-", "ok"
        try:
            headers = read_headers(scope["headers"])
            if self._guard is not None:
                refusal = self._guard.refusal(headers.host, headers.origin, headers.fetch_site)
                if refusal is not None:
                    raise Forbidden(refusal)
            body = await read_body(receive, MAX_BODY, BODY_SECONDS)
            key = access_key_of(headers.authorization)
            if self._authenticator is not None:
                key = self._authenticator.check(scope, body, "lambda")
            name, handler, parts = _match(scope)
            action = f"lambda:{name}"
            engine = (self._accounts.of_arn(parts[0]) if parts else None) or await self._accounts.of_key(key)
            functions, invocations = self.service(engine)
            query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
            request = Request(functions, invocations, parts, query, dict(scope["headers"]), body)
            response = await handler(request)
        except LambdaError as error:
            outcome = error.kind
            response = Response(error.status, error.body(), ((b"x-amzn-errortype", error.kind.encode()),))
        except ApiError as error:
            outcome = error.code
            document = orjson.dumps({"message": str(error)})
            response = Response(status_of(error), document, ((b"x-amzn-errortype", error.code.encode()),))
        except ConnectionError:
            return
        except (EngineError, OSError) as error:
            outcome = "ServiceException"
            log.error("request %s (%s): %s", request_id, action, error)
            document = orjson.dumps({"Type": "Service", "message": str(error)})
            response = Response(503, document, ((b"x-amzn-errortype", b"ServiceException"),))
        except Exception:
            outcome = "ServiceException"
            log.exception("request %s (%s) failed", request_id, action)
            document = orjson.dumps({"Type": "Service", "message": f"Internal failure, see the log: {request_id}"})
            response = Response(500, document, ((b"x-amzn-errortype", b"ServiceException"),))
        await _respond(send, response, request_id)
        seconds = time.perf_counter() - began
        self._metrics.observe(action, outcome, seconds)
        if access.isEnabledFor(logging.INFO):
            client = scope.get("client")
            access.info(
                "%s %s %d %s %.1fms %s",
                client[0] if client else "-",
                action,
                response.status,
                outcome,
                seconds * 1000,
                request_id,
            )


def _match(scope: Scope) -> tuple[str, Handler, tuple[str, ...]]:
    path = scope["raw_path"].decode("latin-1")
    for method, pattern, name, handler in _ROUTES:
        if scope["method"] == method:
            found = pattern.fullmatch(path)
            if found is not None:
                return name, handler, tuple(unquote(part) for part in found.groups())
    raise LambdaError("UnknownOperationException", "The Lambda API of this server has no such action.", 404)


async def _respond(send: Send, response: Response, request_id: str) -> None:
    headers = [
        (b"x-amzn-requestid", request_id.encode()),
        (b"content-type", b"application/json"),
        *response.headers,
    ]
    if response.status != 204:
        headers.append((b"content-length", str(len(response.body)).encode()))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})
