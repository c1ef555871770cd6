"""The CMS: Payload's REST API, the part of it that the pipeline uses.

Traps that this client takes care of: conditions go in bracket notation (a JSON `where` is ignored and gives everything), fields of an
upload in one `_payload` part, lists are read to their last page, `in` lists in groups of 100, and reads and writes say `depth=0`, since
bodies over 4.5 MB are refused.
"""

from __future__ import annotations

import builtins
import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import httpx

from scraper.errors import CmsError
from scraper.settings import Settings
from stepwell.toolkit import http
from stepwell.toolkit.logs import logger

log = logger(__name__)
# A line for every request says nothing that the pipeline's own lines do not.
logging.getLogger("httpx").setLevel(logging.WARNING)

Json = dict[str, Any]
Condition = tuple[str, str, Any]
"""Field, operator (equals, not_equals, in, exists, less_than), value."""

ATTEMPTS = 3
FIRST_WAIT = 2.0
TIMEOUT = 30.0
PAGE = 500
GROUP = 100


def query(conditions: Sequence[Condition]) -> list[tuple[str, str]]:
    """Conditions, all of which must hold, as query parameters."""

    def text(value: Any) -> str:
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, (list, tuple, set)):
            return ",".join(str(item) for item in value)
        return str(value)

    if len(conditions) == 1:
        field, operator, value = conditions[0]
        return [(f"where[{field}][{operator}]", text(value))]
    return [
        (f"where[and][{number}][{field}][{operator}]", text(value))
        for number, (field, operator, value) in enumerate(conditions)
    ]


class Cms:
    """A client; safe for several threads. Errors are `CmsError` with status and body.

    Network errors and answers from 500 on are tried three times in all, after 2 and 4 seconds; others are final at once.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        sleep: Callable[[float], None] = time.sleep,
        pause: float = 1.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._sleep = sleep
        self._pause = pause
        self._client = http.client(
            url, timeout=TIMEOUT, headers={"Authorization": f"users API-Key {key}"}, transport=transport
        )

    @classmethod
    def of(cls, settings: Settings) -> Cms:
        """The configured one. Raises ConfigurationError when it is not."""
        settings.require(payload_url="PAYLOAD_API_URL", payload_key="PAYLOAD_API_KEY")
        return cls(settings.payload_url, settings.payload_key, pause=settings.pause)

    def list(
        self, collection: str, *conditions: Condition, sort: str = "id", draft: bool = False, limit: int | None = None
    ) -> builtins.list[Json]:
        """The documents for which all conditions hold: all of them, or the first `limit`. Relations are ids."""
        found: builtins.list[Json] = []
        page = 1
        while True:
            size = PAGE if limit is None else min(PAGE, limit - len(found))
            parameters = [*query(conditions), ("limit", str(size)), ("page", str(page)), ("sort", sort), ("depth", "0")]
            if draft:
                parameters.append(("draft", "true"))
            answer = self._json("GET", f"/api/{collection}", params=parameters)
            found += answer["docs"]
            if not answer.get("hasNextPage") or (limit is not None and len(found) >= limit):
                return found
            page += 1

    def list_in(
        self, collection: str, field: str, values: Iterable[Any], *conditions: Condition, draft: bool = False
    ) -> builtins.list[Json]:
        """As `list`, for documents whose `field` is one of `values`."""
        wanted = list(dict.fromkeys(values))
        return [
            document
            for start in range(0, len(wanted), GROUP)
            for document in self.list(
                collection, (field, "in", wanted[start : start + GROUP]), *conditions, draft=draft
            )
        ]

    def count(self, collection: str, *conditions: Condition) -> int:
        """How many documents there are."""
        parameters = [*query(conditions), ("limit", "1"), ("depth", "0")]
        return int(self._json("GET", f"/api/{collection}", params=parameters)["totalDocs"])

    def first(self, collection: str, *conditions: Condition, sort: str = "id", draft: bool = False) -> Json | None:
        """The first document, None when there is none."""
        found = self.list(collection, *conditions, sort=sort, draft=draft, limit=1)
        return found[0] if found else None

    def get(self, collection: str, id: Any, *, draft: bool = False) -> Json | None:
        """One document with its relations as ids; None when there is none."""
        parameters = {"depth": "0", **({"draft": "true"} if draft else {})}
        answer = self._send("GET", f"/api/{collection}/{id}", params=parameters)
        if answer.status_code == 404:
            return None
        return _document(self._checked(answer))

    def create(self, collection: str, data: Mapping[str, Any], *, draft: bool = False) -> Json:
        """Create a document. `draft` relaxes the check of required fields."""
        parameters = {"depth": "0", **({"draft": "true"} if draft else {})}
        return _document(self._json("POST", f"/api/{collection}", params=parameters, json=dict(data)))

    def update(self, collection: str, id: Any, data: Mapping[str, Any], *, draft: bool = False) -> Json:
        """Change fields of a document. A group is replaced as a whole: send all of it."""
        parameters = {"depth": "0", **({"draft": "true"} if draft else {})}
        return _document(self._json("PATCH", f"/api/{collection}/{id}", params=parameters, json=dict(data)))

    def update_where(
        self, collection: str, conditions: Sequence[Condition], data: Mapping[str, Any]
    ) -> builtins.list[Json]:
        """Change fields of all documents for which the conditions hold; those documents."""
        parameters = [*query(conditions), ("depth", "0"), ("limit", "0")]
        answer = self._json("PATCH", f"/api/{collection}", params=parameters, json=dict(data))
        return list(answer["docs"])

    def delete(self, collection: str, id: Any) -> None:
        """Delete a document; one that is gone is no error."""
        answer = self._send("DELETE", f"/api/{collection}/{id}")
        if answer.status_code != 404:
            self._checked(answer)

    def upload(self, data: bytes, filename: str, content_type: str, fields: Mapping[str, Any]) -> Json:
        """Create a media document with its file."""
        return _document(
            self._json(
                "POST",
                "/api/media",
                params={"depth": "0"},
                files={"file": (filename, data, content_type)},
                data={"_payload": json.dumps(dict(fields))},
            )
        )

    def global_document(self, slug: str) -> Json:
        """A global; `{}` when the CMS does not have it."""
        answer = self._send("GET", f"/api/globals/{slug}", params={"depth": "0"})
        return {} if answer.status_code == 404 else dict(self._checked(answer))

    def _json(self, method: str, path: str, **request: Any) -> Any:
        return self._checked(self._send(method, path, **request))

    def _checked(self, answer: httpx.Response) -> Any:
        where = f"CMS: {answer.request.method} {answer.request.url.path}"
        if not answer.is_success:
            raise CmsError(f"{where} answered {answer.status_code}", answer.status_code, answer.text)
        try:
            return answer.json()
        except ValueError:
            raise CmsError(f"{where} answered no JSON", answer.status_code, answer.text) from None

    def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        wait = FIRST_WAIT
        for attempt in range(1, ATTEMPTS + 1):
            problem: str
            try:
                answer = self._client.request(method, path, **request)
                if answer.status_code < 500 or attempt == ATTEMPTS:
                    return answer
                problem = f"status {answer.status_code}"
            except httpx.HTTPError as error:
                if attempt == ATTEMPTS:
                    raise CmsError(f"CMS: {method} {path} failed: {type(error).__name__}: {error}") from error
                problem = type(error).__name__
            log.warning("CMS request tried again", event_type="cms_retry", method=method, path=path, problem=problem)
            self._sleep(wait * self._pause)
            wait *= 2
        raise AssertionError("unreachable")


def _document(answer: Any) -> Json:
    return dict(answer["doc"]) if isinstance(answer.get("doc"), dict) else dict(answer)


def id_of(value: Any) -> int | None:
    """A relation's id: of a number, a text, or a document that was put in its place; None for anything else."""
    if isinstance(value, dict):
        value = value.get("id")
    if isinstance(value, bool) or value is None:
        return None
    try:
        return int(value)
    except (TypeError, ValueError):
        return None


def ids_of(values: Any) -> list[int]:
    """The distinct ids of a list of relations, in order."""
    found = (id_of(value) for value in values or ())
    return list(dict.fromkeys(number for number in found if number))
