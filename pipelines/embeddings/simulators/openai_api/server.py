"""The Files, Batches and Embeddings endpoints on loopback.

    with OpenAIApi() as api:
        api.decide = lambda batch, requests: Behaviour(polls=2)              # slow completion
        api.fail("create", Fault(429, retry_after=0.1), times=2)
        ... OPENAI_BASE_URL=api.url, OPENAI_API_KEY=api.key ...
        assert api.calls("create") == 1

A batch goes through `validating`, `in_progress` and `finalizing` before it ends; `Behaviour.polls` says how many looks at it that takes.
A file that breaks the rules (no JSON, a repeated custom_id, another URL or model, too many requests) ends as `failed` with `errors.data`
that name the line. https://platform.openai.com/docs/api-reference/batch
"""

from __future__ import annotations

import email
import email.policy
import json
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import orjson

from .model import embed

MODELS: Mapping[str, int] = {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072}
MAX_REQUESTS = 50_000
MAX_BYTES = 200 * 1024 * 1024
STAGES = ("validating", "in_progress", "finalizing")
STAMPS = {
    "in_progress": "in_progress_at", "finalizing": "finalizing_at", "completed": "completed_at", "failed": "failed_at",
    "expired": "expired_at", "cancelling": "cancelling_at", "cancelled": "cancelled_at",
}  # fmt: skip


@dataclass(frozen=True)
class Refusal:
    """What one request of a batch gets instead of a vector.

    With a `status` the error is in the response's body, without one in `error`, as the service does for what it never ran.
    """

    status: int | None = 500
    code: str = "server_error"
    message: str = "The server had an error."


@dataclass(frozen=True)
class Behaviour:
    """What becomes of a batch."""

    end: str = "completed"
    """Its last status; any text, also one that no client knows."""
    polls: int = 0
    """How many retrievals find it under way."""
    done: int | None = None
    """How many requests get a vector before it ends; None: all."""
    refusals: Mapping[str, Refusal] = field(default_factory=dict)
    """By custom_id."""
    unreported: frozenset[str] = frozenset()
    """Requests that neither file speaks of."""
    errors: tuple[Mapping[str, Any], ...] = ()
    """`errors.data` of a batch that failed validation."""
    extra: tuple[bytes, ...] = ()
    """Lines put into the output file as they are."""
    error_file: bool = True
    """Whether the refusals are in the error file; else they are in the output file."""
    stuck: str | None = None
    """A status it never leaves."""


@dataclass(frozen=True)
class Fault:
    """An answer of the service as a whole. Status 0 closes the connection without one; `after` lets the call take effect first."""

    status: int
    retry_after: float | None = None
    message: str = "simulated"
    after: bool = False


@dataclass(frozen=True)
class Seen:
    """One request that arrived."""

    what: str
    path: str
    headers: Mapping[str, str]
    at: float


Decide = Callable[[Mapping[str, Any], list[dict[str, Any]]], Behaviour]


class OpenAIApi:
    """The service, with what was uploaded and created so far in memory."""

    def __init__(self, key: str = "sk-simulated") -> None:
        self.key = key
        self.decide: Decide = lambda batch, requests: Behaviour()
        self.latency = 0.0
        """Seconds every answer takes."""
        self._files: dict[str, dict[str, Any]] = {}
        self._contents: dict[str, bytes] = {}
        self._batches: dict[str, dict[str, Any]] = {}
        self._looks: dict[str, int] = {}
        self._behaviours: dict[str, Behaviour] = {}
        self._faults: dict[str, list[Fault]] = {}
        self._seen: list[Seen] = []
        self._lock = threading.RLock()
        self._numbers = 0
        self._server = _Server(self)

    @property
    def url(self) -> str:
        """The base URL, `/v1` included."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    # --- for tests and the demo

    def fail(self, what: str, fault: Fault, *, times: int = 1) -> None:
        """Answer the next calls of a kind (upload, create, retrieve, list, content, embeddings) with a fault."""
        with self._lock:
            self._faults.setdefault(what, []).extend([fault] * times)

    def calls(self, what: str) -> int:
        """How many calls of a kind arrived."""
        return sum(seen.what == what for seen in self.seen())

    def seen(self) -> list[Seen]:
        """Everything that arrived, in order."""
        with self._lock:
            return list(self._seen)

    def batches(self) -> list[dict[str, Any]]:
        """The batch objects, oldest first."""
        with self._lock:
            return [dict(batch) for batch in self._batches.values()]

    def requests_of(self, batch_id: str) -> list[dict[str, Any]]:
        """The requests of a provider batch."""
        with self._lock:
            content = self._contents[self._batches[batch_id]["input_file_id"]]
        return [json.loads(line) for line in content.splitlines() if line.strip()]

    def change(self, batch_id: str, behaviour: Behaviour) -> None:
        """Let a batch go on differently; one that has ended starts again."""
        with self._lock:
            self._behaviours[batch_id] = behaviour
            batch = self._batches[batch_id]
            for name in ("output_file_id", "error_file_id", "errors"):
                batch[name] = None
            batch["status"] = "validating"
            self._looks[batch_id] = 0

    def forget(self, batch_id: str) -> None:
        """Lose a batch: it is not found any more."""
        with self._lock:
            del self._batches[batch_id]

    # --- the endpoints

    def handle(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, Any, dict[str, str]]:
        """Status, JSON value or bytes, headers. Status 0: no answer."""
        parts = urlsplit(target)
        path = parts.path.removeprefix("/v1")
        what = _kind(method, path)
        with self._lock:
            self._seen.append(Seen(what, path, headers, time.time()))
            faults = self._faults.get(what)
            fault = faults.pop(0) if faults else None
        if self.latency:
            time.sleep(self.latency)
        if fault is not None and not fault.after:
            return _fault(fault)
        if headers.get("authorization") != f"Bearer {self.key}":
            return _error(401, "Incorrect API key provided.", "invalid_api_key")
        with self._lock:
            answer = self._route(what, path, parse_qs(parts.query), headers, body)
        return answer if fault is None else _fault(fault)

    def _route(
        self, what: str, path: str, query: Mapping[str, list[str]], headers: Mapping[str, str], body: bytes
    ) -> tuple[int, Any, dict[str, str]]:
        identity = path.split("/")[2] if path.count("/") >= 2 else ""
        match what:
            case "upload":
                return self._upload(headers, body)
            case "create":
                return self._create(body)
            case "retrieve" if identity in self._batches:
                return 200, self._look(identity), {}
            case "cancel" if identity in self._batches:
                self._behaviours[identity] = Behaviour(end="cancelled", polls=1, stuck=None)
                self._set(self._batches[identity], "cancelling")
                return 200, self._batches[identity], {}
            case "list":
                return self._list(query)
            case "file" if identity in self._files:
                return 200, self._files[identity], {}
            case "content" if identity in self._contents:
                return 200, self._contents[identity], {}
            case "embeddings":
                return self._embeddings(body)
        return _error(404, f"No such resource: {identity or path}", None)

    def _upload(self, headers: Mapping[str, str], body: bytes) -> tuple[int, Any, dict[str, str]]:
        message = email.message_from_bytes(
            b"content-type: " + headers.get("content-type", "").encode() + b"\r\n\r\n" + body, policy=email.policy.HTTP
        )
        fields: dict[str, tuple[str, bytes]] = {}
        for part in message.iter_parts() if message.is_multipart() else ():
            name = str(part.get_param("name", header="content-disposition"))
            content = part.get_payload(decode=True)
            fields[name] = (part.get_filename() or "", content if isinstance(content, bytes) else b"")
        if "file" not in fields or fields.get("purpose", ("", b""))[1] != b"batch":
            return _error(400, "A file and purpose=batch are required.", None)
        name, content = fields["file"]
        if len(content) > MAX_BYTES:
            return _error(413, "The file is too large.", None)
        return 200, self._store(name, content, "batch"), {}

    def _store(self, name: str, content: bytes, purpose: str) -> dict[str, Any]:
        identity = self._new("file-Sim")
        self._contents[identity] = content
        self._files[identity] = {
            "id": identity,
            "object": "file",
            "bytes": len(content),
            "created_at": int(time.time()),
            "filename": name,
            "purpose": purpose,
            "status": "processed",
            "expires_at": None,
        }
        return self._files[identity]

    def _create(self, body: bytes) -> tuple[int, Any, dict[str, str]]:
        given = json.loads(body)
        metadata = given.get("metadata") or {}
        if given.get("input_file_id") not in self._contents:
            return _error(400, f"File {given.get('input_file_id')} does not exist.", None)
        if given.get("endpoint") != "/v1/embeddings" or given.get("completion_window") != "24h":
            return _error(400, "The endpoint must be /v1/embeddings and the completion_window 24h.", None)
        if len(metadata) > 16 or any(len(k) > 64 or len(v) > 512 for k, v in metadata.items()):
            return _error(400, "metadata holds at most 16 pairs, keys of 64 and values of 512 characters.", None)
        now = int(time.time())
        identity = self._new("batch_sim")
        batch: dict[str, Any] = {
            "id": identity,
            "object": "batch",
            "endpoint": given["endpoint"],
            "errors": None,
            "input_file_id": given["input_file_id"],
            "completion_window": "24h",
            "status": "validating",
            "output_file_id": None,
            "error_file_id": None,
            "created_at": now,
            "expires_at": now + 86_400,
            **dict.fromkeys(STAMPS.values()),
            "request_counts": {"total": 0, "completed": 0, "failed": 0},
            "metadata": metadata,
        }
        self._batches[identity] = batch
        self._looks[identity] = 0
        return 200, dict(batch), {}

    def _list(self, query: Mapping[str, list[str]]) -> tuple[int, Any, dict[str, str]]:
        limit = int(query.get("limit", ["20"])[0])
        newest = list(reversed(self._batches.values()))
        after = query.get("after", [""])[0]
        if after:
            position = next((i for i, batch in enumerate(newest) if batch["id"] == after), len(newest))
            newest = newest[position + 1 :]
        page = newest[:limit]
        ends = {"first_id": page[0]["id"], "last_id": page[-1]["id"]} if page else {"first_id": None, "last_id": None}
        return 200, {"object": "list", "data": page, **ends, "has_more": len(newest) > limit}, {}

    def _embeddings(self, body: bytes) -> tuple[int, Any, dict[str, str]]:
        given = json.loads(body)
        texts = [given["input"]] if isinstance(given["input"], str) else list(given["input"])
        vectors = embed(texts, given.get("dimensions") or MODELS[given["model"]])
        data = [{"object": "embedding", "index": i, "embedding": vector.tolist()} for i, vector in enumerate(vectors)]
        usage = {"prompt_tokens": len(texts), "total_tokens": len(texts)}
        return 200, {"object": "list", "data": data, "model": given["model"], "usage": usage}, {}

    # --- batches

    def _look(self, identity: str) -> dict[str, Any]:
        """Let the batch go one step on, as time does, and show it."""
        batch = self._batches[identity]
        if batch["status"] not in (*STAGES, "cancelling"):
            return dict(batch)
        requests, errors = self._validated(batch)
        behaviour = self._behaviours.get(identity) or self.decide(batch, requests)
        self._behaviours[identity] = behaviour
        looks = self._looks[identity]
        self._looks[identity] = looks + 1
        if errors and not behaviour.stuck:
            batch["errors"] = {"object": "list", "data": errors}
            self._set(batch, "failed")
        elif behaviour.stuck:
            self._set(batch, behaviour.stuck)
        elif looks < behaviour.polls:
            if batch["status"] != "cancelling":
                self._set(batch, STAGES[min(looks * len(STAGES) // behaviour.polls, 2)])
            batch["request_counts"]["total"] = len(requests)
        else:
            self._end(batch, behaviour, requests)
        return dict(batch)

    def _validated(self, batch: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        requests: list[dict[str, Any]] = []
        errors: list[dict[str, Any]] = []
        seen: set[str] = set()

        def wrong(line: int, code: str, message: str) -> None:
            errors.append({"code": code, "line": line, "message": message, "param": None})

        lines = self._contents[batch["input_file_id"]].splitlines()
        for number, text in enumerate(lines, 1):
            try:
                request = json.loads(text)
            except ValueError:
                wrong(number, "invalid_json_line", "This line is not parseable as valid JSON.")
                continue
            body = request.get("body") or {}
            if request.get("custom_id") in seen:
                wrong(number, "duplicate_custom_id", "The custom_id of each request must be unique.")
            elif request.get("url") != batch["endpoint"] or request.get("method") != "POST":
                wrong(number, "invalid_url", "The URL of a request must be the batch's endpoint.")
            elif body.get("model") not in MODELS or not isinstance(body.get("input"), str) or not body["input"]:
                wrong(number, "invalid_request", "A known model and an input are required.")
            seen.add(str(request.get("custom_id")))
            requests.append(request)
        if not lines:
            errors.append({"code": "empty_file", "line": None, "message": "The file is empty.", "param": None})
        if len(lines) > MAX_REQUESTS:
            errors.append({"code": "too_many_tasks", "line": None, "message": "Too many requests.", "param": None})
        return requests, errors

    def _end(self, batch: dict[str, Any], behaviour: Behaviour, requests: list[dict[str, Any]]) -> None:
        if behaviour.end == "failed":
            batch["errors"] = {"object": "list", "data": list(behaviour.errors)}
            self._set(batch, "failed")
            return
        reported = [request for request in requests if request["custom_id"] not in behaviour.unreported]
        good = [request for request in reported if request["custom_id"] not in behaviour.refusals]
        never = good[behaviour.done :] if behaviour.done is not None else []
        good = good[: behaviour.done] if behaviour.done is not None else good
        output = [*self._successes(good), *behaviour.extra]
        errors = [
            _refused(self._new("batch_req_"), request["custom_id"], behaviour.refusals[request["custom_id"]])
            for request in reported
            if request["custom_id"] in behaviour.refusals
        ]
        if never:
            code = "batch_expired" if behaviour.end == "expired" else "batch_cancelled"
            refusal = Refusal(None, code, "This request could not be executed before the batch ended.")
            errors += [_refused(self._new("batch_req_"), request["custom_id"], refusal) for request in never]
        if not behaviour.error_file:
            output, errors = output + errors, []
        if output:
            batch["output_file_id"] = self._store(f"{batch['id']}_output.jsonl", _lines(output), "batch_output")["id"]
        if errors:
            batch["error_file_id"] = self._store(f"{batch['id']}_error.jsonl", _lines(errors), "batch_output")["id"]
        failed = len(requests) - len(good)
        batch["request_counts"] = {"total": len(requests), "completed": len(good), "failed": failed}
        self._set(batch, behaviour.end)

    def _successes(self, requests: list[dict[str, Any]]) -> list[bytes]:
        if not requests:
            return []
        body = requests[0]["body"]
        vectors = embed(
            [request["body"]["input"] for request in requests], body.get("dimensions") or MODELS[body["model"]]
        )
        lines = []
        # The service promises no order; the reverse is one.
        for request, vector in reversed(list(zip(requests, vectors, strict=True))):
            tokens = len(request["body"]["input"].split())
            answer = {
                "object": "list",
                "data": [{"object": "embedding", "index": 0, "embedding": vector}],
                "model": body["model"],
                "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
            }
            line = {
                "id": self._new("batch_req_"),
                "custom_id": request["custom_id"],
                "response": {"status_code": 200, "request_id": self._new("req_"), "body": answer},
                "error": None,
            }
            lines.append(orjson.dumps(line, option=orjson.OPT_SERIALIZE_NUMPY))
        return lines

    def _set(self, batch: dict[str, Any], status: str) -> None:
        batch["status"] = status
        if status in STAMPS:
            batch[STAMPS[status]] = int(time.time())

    def _new(self, prefix: str) -> str:
        self._numbers += 1
        return f"{prefix}{self._numbers:08d}"


def _refused(identity: str, custom_id: str, refusal: Refusal) -> bytes:
    error = {"message": refusal.message, "type": refusal.code, "param": None, "code": None}
    line: dict[str, Any] = {"id": identity, "custom_id": custom_id, "response": None, "error": None}
    if refusal.status is None:
        line["error"] = {"code": refusal.code, "message": refusal.message}
    else:
        line["response"] = {"status_code": refusal.status, "request_id": f"req_{identity}", "body": {"error": error}}
    return orjson.dumps(line)


def _lines(lines: Iterable[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


def _kind(method: str, path: str) -> str:
    table = [
        ("upload", "POST", r"/files"),
        ("file", "GET", r"/files/[^/]+"),
        ("content", "GET", r"/files/[^/]+/content"),
        ("create", "POST", r"/batches"),
        ("list", "GET", r"/batches"),
        ("retrieve", "GET", r"/batches/[^/]+"),
        ("cancel", "POST", r"/batches/[^/]+/cancel"),
        ("embeddings", "POST", r"/embeddings"),
    ]
    return next((what for what, verb, shape in table if verb == method and re.fullmatch(shape, path)), "unknown")


def _error(status: int, message: str, code: str | None) -> tuple[int, Any, dict[str, str]]:
    kind = "invalid_request_error" if status < 500 else "server_error"
    return status, {"error": {"message": message, "type": kind, "param": None, "code": code}}, {}


def _fault(fault: Fault) -> tuple[int, Any, dict[str, str]]:
    headers = {} if fault.retry_after is None else {"retry-after": str(fault.retry_after)}
    status, body, _ = _error(fault.status, fault.message, "rate_limit_exceeded" if fault.status == 429 else None)
    return status, body, headers


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, api: OpenAIApi) -> None:
        self.api = api
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            status, value, extra = self.server.api.handle(self.command, self.path, headers, body)
        except Exception as error:  # an answer to the client, whatever went wrong here
            status, value, extra = _error(500, f"{type(error).__name__}: {error}", None)
        if status == 0:
            self.close_connection = True
            return
        data = value if isinstance(value, bytes) else orjson.dumps(value)
        self.send_response(status)
        self.send_header("content-type", "application/octet-stream" if isinstance(value, bytes) else "application/json")
        self.send_header("content-length", str(len(data)))
        for name, text in extra.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = _answer

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: what arrived is in `seen`."""
