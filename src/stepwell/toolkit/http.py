"""HTTP to other people's services: timeouts, retries, rate limits, errors by name, checked and resumable downloads.

    api = http.client("https://api.example", timeout=30, retries=http.Retries(attempts=3), rates={"api.example": 5})
    with http.raising({"timeout": TimeoutError, "network": NetworkError, 429: RateLimitError, 401: TokenExpiredError}):
        page = http.check(api.get("/media/search", params={"page": 1})).json()
    with http.download(api, signed_url) as body:
        for chunk in body:
            ...

`client` gives an ordinary `httpx.Client`: retries and rate limits live in its transport, so that SDKs which accept an httpx client
(openai, google-genai) get them too. Nothing here logs a URL's query or a cookie; httpx's own log lines are cleaned.
"""

from __future__ import annotations

import contextlib
import email.utils
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self

import httpx
import stamina

from stepwell.toolkit import redaction
from stepwell.toolkit.errors import ToolkitError

Kind = Literal["timeout", "network", "rate_limited", "unauthorized", "not_found", "client", "server", "truncated"]
ErrorNames = Mapping[Kind | int, Callable[["HttpFailure"], BaseException]]

IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS"})
SAMPLE_CHARACTERS = 500


class HttpFailure(ToolkitError):
    """A request that gave no usable answer.

    `kind`: "timeout", "network" (no or a broken connection), "rate_limited" (429), "unauthorized" (401, 403), "not_found" (404, 410),
    "client" (other 4xx), "server" (5xx) or "truncated" (a body shorter or longer than announced). `url` has no query; `body` holds up
    to 500 characters of an error answer; `retry_after` is in seconds.
    """

    def __init__(
        self,
        kind: Kind,
        message: str,
        *,
        url: str = "",
        status: int | None = None,
        retry_after: float | None = None,
        body: str = "",
    ) -> None:
        super().__init__(redaction.text(message))
        self.kind: Kind = kind
        self.url = url
        self.status = status
        self.retry_after = retry_after
        self.body = body


@dataclass(frozen=True, slots=True)
class Retries:
    """When a request is sent again, by the same process, before anybody hears of the failure.

    `attempts` counts all sendings. Waits grow from `initial` seconds by `factor` up to `longest`, plus up to `jitter`. A Retry-After
    (seconds or date) of a 429 or 503 replaces the wait, capped at `retry_after_cap`. Only `methods` are repeated, and never a
    request whose body is a stream that was consumed.
    """

    attempts: int = 3
    initial: float = 2.0
    factor: float = 2.0
    longest: float = 60.0
    jitter: float = 1.0
    retry_after_cap: float = 60.0
    statuses: frozenset[int] = frozenset({429, 500, 502, 503, 504})
    methods: frozenset[str] = IDEMPOTENT


def client(
    base_url: str = "",
    *,
    timeout: float = 30.0,
    connect_timeout: float = 10.0,
    retries: Retries | None = None,
    rates: Mapping[str, float] | None = None,
    headers: Mapping[str, str] | None = None,
    follow_redirects: bool = False,
    transport: httpx.BaseTransport | None = None,
) -> httpx.Client:
    """An httpx client. `timeout`: seconds for each read, write and for a pool slot; `rates`: requests a second by host name.

    No retries unless asked for: in a pipeline the state machine retries. A rate holds for all clients of this process.
    """
    for name in ("httpx", "httpcore"):
        quiet = logging.getLogger(name)
        if not any(isinstance(found, redaction.RedactingFilter) for found in quiet.filters):
            quiet.addFilter(redaction.RedactingFilter())
    inner = transport if transport is not None else httpx.HTTPTransport(retries=0)
    return httpx.Client(
        base_url=base_url,
        timeout=httpx.Timeout(timeout, connect=connect_timeout),
        headers=dict(headers or {}),
        follow_redirects=follow_redirects,
        transport=_Transport(inner, retries, dict(rates or {})),
    )


def failure(problem: httpx.Response | httpx.HTTPError) -> HttpFailure:
    """What an answer or an httpx exception means."""
    if isinstance(problem, httpx.Response):
        url = _bare(problem.request.url)
        status = problem.status_code
        message = f"{problem.request.method} {url} answered {status}"
        return HttpFailure(
            _kind(status), message, url=url, status=status, retry_after=retry_after(problem), body=_sample(problem)
        )
    try:
        where = f"{problem.request.method} {_bare(problem.request.url)}"
        url = _bare(problem.request.url)
    except RuntimeError:  # an exception raised before there was a request
        where, url = "request", ""
    kind: Kind = "timeout" if isinstance(problem, httpx.TimeoutException) else "network"
    return HttpFailure(kind, f"{where}: {type(problem).__name__}: {problem}", url=url)


def check(response: httpx.Response) -> httpx.Response:
    """The response itself if it is 2xx; otherwise raises `HttpFailure`."""
    if response.is_success:
        return response
    raise failure(response)


@contextlib.contextmanager
def raising(names: ErrorNames) -> Iterator[None]:
    """Turn failures inside the block into the caller's own exceptions.

    `names` maps a status code or a kind to something that takes the `HttpFailure` and gives the exception (an exception class will
    do). A status wins over a kind; what is not mapped is raised as `HttpFailure`.
    """
    try:
        yield
    except (httpx.HTTPError, HttpFailure) as error:
        found = error if isinstance(error, HttpFailure) else failure(error)
        make = names.get(found.status) if found.status is not None else None
        make = make or names.get(found.kind)
        if make is None:
            raise found from error
        raise make(found) from error


def retry_after(response: httpx.Response) -> float | None:
    """Seconds that a Retry-After header asks for, as a number or a date; None without one that can be understood."""
    value = response.headers.get("retry-after")
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


class Download:
    """A body being read: iterate it for chunks. Made by `download`.

    `status`, `headers`; `total`: announced bytes of the whole resource, or None; `received`: bytes read so far, `start` included.
    When the body ends, its length is checked against what was announced ("truncated").
    """

    def __init__(self, client: httpx.Client, url: str, *, start: int, resumes: int, headers: Mapping[str, str]) -> None:
        self._client = client
        self._url = url
        self._resumes = resumes
        self._headers = dict(headers)
        self._validator: str | None = None
        self.received = start
        self.total: int | None = None
        self._open()
        self.status = self._response.status_code
        self.headers = self._response.headers

    def __iter__(self) -> Iterator[bytes]:
        while True:
            try:
                # Pieces as they arrive: gathering them first would lose what came before a break.
                for chunk in self._response.iter_raw():
                    self.received += len(chunk)
                    yield chunk
                break
            except (httpx.TransportError, httpx.StreamError) as error:
                self._resume(error)
        if self.total is not None and self.received != self.total:
            raise self._truncated()

    def close(self) -> None:
        """Give the connection back."""
        self._response.close()

    def interrupt(self) -> None:
        """From another thread: make a read that waits for the peer fail now, as if the connection broke. Harmless at any time."""
        stream = self._response.extensions.get("network_stream")
        connection = None if stream is None else stream.get_extra_info("socket")
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> None:
        headers = {"accept-encoding": "identity", **self._headers}
        if self.received:
            headers["range"] = f"bytes={self.received}-"
            if self._validator is not None:
                headers["if-range"] = self._validator
        request = self._client.build_request("GET", self._url, headers=headers)
        response = self._client.send(request, stream=True)
        try:
            if not response.is_success:
                response.read()
                raise failure(response)
            if self.received and response.status_code != httpx.codes.PARTIAL_CONTENT:
                url = _bare(response.url)
                message = f"{url} cannot be resumed at byte {self.received}: it changed, or ranges are not served"
                raise HttpFailure("truncated", message, url=url)
        except BaseException:
            response.close()
            raise
        self._response = response
        length = response.headers.get("content-length")
        if length is not None and length.isdigit():
            self.total = self.received + int(length)
        etag = response.headers.get("etag", "")
        self._validator = etag if etag and not etag.startswith("W/") else response.headers.get("last-modified")

    def _truncated(self) -> HttpFailure:
        url = _bare(self._response.url)
        return HttpFailure("truncated", f"{url}: {self.received} of {self.total} bytes", url=url)

    def _resume(self, error: httpx.HTTPError | httpx.StreamError) -> None:
        self._response.close()
        if isinstance(error, httpx.RemoteProtocolError) and self._resumes == 0 and self.total is not None:
            # The peer closed in good order, but too early: a short body, not a broken line.
            raise self._truncated() from error
        if self._resumes == 0 or isinstance(error, httpx.StreamError):
            raise error
        self._resumes -= 1
        self._open()


def download(
    client: httpx.Client,
    url: str,
    *,
    start: int = 0,
    resumes: int = 0,
    headers: Mapping[str, str] | None = None,
) -> Download:
    """Read a body in the pieces it arrives in (up to 64 KB), with flat memory, from byte `start`.

    A connection that breaks is taken up again with a Range request up to `resumes` times, only if the resource is still the same
    (If-Range). Raises `HttpFailure` for a non-2xx answer, httpx's errors (see `raising`) for the connection. The client's
    own cookies are sent: use a client without any for signed URLs.
    """
    return Download(client, url, start=start, resumes=resumes, headers=headers or {})


class _Again(Exception):
    def __init__(self, response: httpx.Response, wait: float | None) -> None:
        self.response = response
        self.wait = wait


class _Transport(httpx.BaseTransport):
    """Rate limit, then send; again when that is allowed and promises something."""

    def __init__(self, inner: httpx.BaseTransport, retries: Retries | None, rates: Mapping[str, float]) -> None:
        self._inner = inner
        self._retries = retries
        self._rates = rates

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        rule = self._retries
        if rule is None or request.method not in rule.methods or not isinstance(request.stream, httpx.ByteStream):
            return self._send(request)

        def again(error: Exception) -> bool | float:
            if isinstance(error, _Again):
                return True if error.wait is None else error.wait
            return isinstance(error, httpx.TransportError)

        refused: httpx.Response | None = None
        try:
            for attempt in stamina.retry_context(
                on=again,
                attempts=rule.attempts,
                timeout=None,
                wait_initial=rule.initial,
                wait_max=rule.longest,
                wait_jitter=rule.jitter,
                wait_exp_base=rule.factor,
            ):
                with attempt:
                    if refused is not None:
                        refused.close()
                    response = self._send(request)
                    if response.status_code in rule.statuses:
                        refused = response
                        asked = retry_after(response)
                        raise _Again(response, None if asked is None else min(asked, rule.retry_after_cap))
                    return response
        except _Again as last:
            return last.response
        raise AssertionError("unreachable")

    def _send(self, request: httpx.Request) -> httpx.Response:
        rate = self._rates.get(request.url.host)
        if rate is not None:
            _limiter(request.url.host).wait(rate)
        return self._inner.handle_request(request)

    def close(self) -> None:
        self._inner.close()


class _Limiter:
    """Spaces requests evenly: each takes the next free slot, 1/rate seconds after the one before."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next = 0.0

    def wait(self, rate: float) -> None:
        with self._lock:
            now = time.monotonic()
            slot = max(now, self._next)
            self._next = slot + 1.0 / rate
        if slot > now:
            time.sleep(slot - now)


_limiters: dict[str, _Limiter] = {}


def _limiter(host: str) -> _Limiter:
    return _limiters.setdefault(host, _Limiter())


def _kind(status: int) -> Kind:
    if status == 429:
        return "rate_limited"
    if status in (401, 403):
        return "unauthorized"
    if status in (404, 410):
        return "not_found"
    return "server" if status >= 500 else "client"


def _bare(url: Any) -> str:
    parts = httpx.URL(url) if isinstance(url, str) else url
    return str(parts.copy_with(query=None, fragment=None, username=None, password=None))


def _sample(response: httpx.Response) -> str:
    try:
        return redaction.text(response.text[:SAMPLE_CHARACTERS])
    except httpx.ResponseNotRead:
        return ""
