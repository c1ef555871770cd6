r"""The CMS: documents in memory behind Payload's REST API.

    with PayloadCms() as cms:
        country = cms.add("destinations", name="Tanzania", slug="tanzania", type="country", description="-")
        ... PAYLOAD_API_URL=cms.url PAYLOAD_API_KEY=KEY ...
        cms.fail("PATCH", r"/api/media/\\d+$", status=500)
        cms.documents("media")

Traps kept: `where` in brackets only; fields of an upload in `_payload` only, no upload without a file (500); relations as numbers
(400 for a text, 500 for one that does not exist); a PATCH replaces groups; reads of destinations and properties without `draft=true`
see published documents only; bodies over 4.5 MB are refused (413); unique violations are 400 with "Value must be unique"; `phantoms`
answers creations of media with ids that are never stored; what the schema does not know is dropped; a file's name loses its folder
and must be unique.
"""

from __future__ import annotations

import copy
import email.parser
import email.policy
import io
import json
import re
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from PIL import Image

from ..loopback import Loopback, Reply, Request
from .collections import COLLECTIONS, Collection
from .conditions import QueryError, parse
from .fields import Broken, Cleaner, relations
from .publishing import blockers, resolved

KEY = "payload-api-key-0123456789"
SESSION = "editor-session-0123456789"
MAX_BODY = int(4.5 * 1024 * 1024)
Document = dict[str, Any]


class Refused(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, message: str, errors: list[dict[str, str]] | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.errors = status, message, errors

    def reply(self) -> Reply:
        entry: dict[str, Any] = {"message": self.message}
        if self.errors is not None:
            entry = {"name": "ValidationError", "message": self.message, "data": {"errors": self.errors}}
        return Reply.of({"errors": [entry]}, self.status)


class PayloadCms(Loopback):
    """`storage(key, data, content_type)` gets every uploaded file, as the bucket of the real CMS does."""

    def __init__(self, storage: Callable[[str, bytes, str], object] | None = None, port: int = 0) -> None:
        super().__init__(port)
        self.storage = storage
        self.globals: dict[str, Document] = {}
        self.phantoms = 0
        self.ignored_updates: set[str] = set()
        """Collections whose updates are answered but not kept: a CMS that is broken in the worst way."""
        self._lock = threading.RLock()
        self._stored: dict[str, dict[int, Document]] = {name: {} for name in COLLECTIONS}
        self._numbers = dict.fromkeys(COLLECTIONS, 0)

    # -- for tests and the demo

    def add(self, slug: str, /, **data: Any) -> int:
        """Create a document, without HTTP; its id."""
        with self._lock:
            return int(self._create(slug, data, draft=True)["id"])

    def document(self, slug: str, id: Any) -> Document | None:
        """A copy of a document as it is stored."""
        with self._lock:
            return copy.deepcopy(self._stored[slug].get(int(id)))

    def documents(self, slug: str, /, **equal: Any) -> list[Document]:
        """Copies of the documents with these values, oldest first."""
        with self._lock:
            return [
                copy.deepcopy(document)
                for document in self._stored[slug].values()
                if all(document.get(name) == value for name, value in equal.items())
            ]

    def change(self, slug: str, id: Any, /, **data: Any) -> None:
        """Change a document behind the API's back: no checks."""
        with self._lock:
            self._stored[slug][int(id)].update(data)

    # -- the API

    def answer(self, request: Request) -> Reply:
        try:
            return self._answer(request)
        except Refused as error:
            return error.reply()
        except Broken:
            return Refused(500, "Something went wrong.").reply()
        except QueryError as error:
            return Refused(400, str(error)).reply()

    def _answer(self, request: Request) -> Reply:
        if len(request.body) > MAX_BODY:
            raise Refused(413, "Request Entity Too Large")
        if request.path == "/api/users/me":
            editor = f"payload-token={SESSION}" in request.headers.get("cookie", "")
            return Reply.of({"user": {"id": 1, "email": "editor@example.test"} if editor else None})
        steps = request.path.strip("/").split("/")
        known = request.headers.get("authorization") == f"users API-Key {KEY}"
        if not known and (request.method != "GET" or steps[1:2] != ["itineraries"]):
            raise Refused(403, "You are not allowed to perform this action.")
        if steps[:2] == ["api", "globals"] and len(steps) == 3 and request.method == "GET":
            return Reply.of(self.globals.get(steps[2], {}))
        if steps[0] != "api" or len(steps) not in (2, 3) or steps[1] not in COLLECTIONS:
            raise Refused(404, "Not Found")
        slug = steps[1]
        with self._lock:
            if len(steps) == 3:
                result = self._single(request, slug, steps[2], known)
            else:
                result = self._several(request, slug, known)
            return Reply.of(*result)

    def _single(self, request: Request, slug: str, text: str, known: bool) -> tuple[Any, int]:
        document = self._stored[slug].get(int(text)) if text.isdigit() else None
        if document is not None and request.method == "GET" and not self._visible(slug, document, request, known):
            document = None
        if document is None:
            raise Refused(404, "Not Found")
        if request.method == "GET":
            return self._shown(slug, document, request, known), 200
        if request.method == "PATCH":
            self._update(slug, document, _body(request), draft=request.query.get("draft") == "true")
            return {"doc": self._shown(slug, document, request, known), "message": "Updated successfully."}, 200
        if request.method == "DELETE":
            self._delete(slug, document)
            return {"doc": document, "message": "Deleted successfully."}, 200
        raise Refused(405, "Method Not Allowed")

    def _several(self, request: Request, slug: str, known: bool) -> tuple[Any, int]:
        collection = COLLECTIONS[slug]
        draft = request.query.get("draft") == "true"
        if request.method == "POST":
            if collection.upload:
                document = self._upload(request)
            else:
                data = _body(request)
                if slug == "notifications":
                    data = {
                        name: int(value) if name in ("job", "itinerary") and value is not None else value
                        for name, value in data.items()
                    }
                document = self._create(slug, data, draft=draft)
            return {"doc": self._shown(slug, document, request, known), "message": "Created successfully."}, 201
        test = parse(request.query, {*collection.fields, "id", "createdAt", "updatedAt"})
        found = [
            document
            for document in self._stored[slug].values()
            if self._visible(slug, document, request, known) and test(document)
        ]
        if request.method == "PATCH":
            if not any(name.startswith("where[") for name in request.query):
                raise Refused(400, "Missing 'where' query of documents to update.")
            for document in found:
                self._update(slug, document, _body(request), draft=draft)
            return {"docs": [self._shown(slug, document, request, known) for document in found], "errors": []}, 200
        if request.method != "GET":
            raise Refused(405, "Method Not Allowed")
        return self._page(slug, found, request, known), 200

    def _page(self, slug: str, found: list[Document], request: Request, known: bool) -> Document:
        order = request.query.get("sort") or COLLECTIONS[slug].order
        name = order.lstrip("-")
        found.sort(key=lambda document: (document.get(name) is not None, document.get(name) or 0, document["id"]))
        if order.startswith("-"):
            found.reverse()
        limit = int(request.query.get("limit", "10"))
        page = max(1, int(request.query.get("page", "1")))
        pages = max(1, -(-len(found) // limit)) if limit else 1
        cut = found[(page - 1) * limit : page * limit] if limit else found
        return {
            "docs": [self._shown(slug, document, request, known) for document in cut],
            "totalDocs": len(found),
            "limit": limit,
            "page": page,
            "totalPages": pages,
            "hasNextPage": page < pages,
            "hasPrevPage": page > 1,
            "nextPage": page + 1 if page < pages else None,
            "prevPage": page - 1 if page > 1 else None,
            "pagingCounter": (page - 1) * limit + 1,
        }

    # -- documents

    def _visible(self, slug: str, document: Document, request: Request, known: bool) -> bool:
        collection = COLLECTIONS[slug]
        if not collection.drafts or document.get("_status") == "published" or request.method != "GET":
            return True
        return known and (not collection.hidden_drafts or request.query.get("draft") == "true")

    def _shown(self, slug: str, document: Document, request: Request, known: bool) -> Document:
        depth = int(request.query.get("depth", "2"))
        shown = copy.deepcopy(document)
        if depth:
            self._populate(COLLECTIONS[slug], shown, depth)
        return shown if known else resolved(shown)

    def _populate(self, collection: Collection, document: Document, depth: int) -> None:
        for holder, name, spec in list(relations(collection.fields, document)):
            value = holder[name]
            holder[name] = (
                [self._related(spec.target, id, depth) for id in value]
                if isinstance(value, list)
                else self._related(spec.target, value, depth)
            )

    def _related(self, slug: str, id: int, depth: int) -> Any:
        found = self._stored[slug].get(id)
        if found is None:
            return id
        shown = copy.deepcopy(found)
        if depth > 1:
            self._populate(COLLECTIONS[slug], shown, depth - 1)
        return shown

    def _create(self, slug: str, data: Mapping[str, Any], *, draft: bool) -> Document:
        data = dict(data)
        if slug == "itinerary-jobs" and not data.get("itineraryId"):
            found = re.search(r"/portal/([^/?#]+)/([^/?#]+)", str(data.get("itrvlUrl")))
            if found:
                data["accessKey"], data["itineraryId"] = found.groups()
        document = self._cleaned(slug, data, None, draft)
        self._numbers[slug] += 1
        document["id"] = self._numbers[slug]
        document["createdAt"] = document["updatedAt"] = now()
        self._stored[slug][document["id"]] = document
        return document

    def _update(self, slug: str, document: Document, data: Mapping[str, Any], *, draft: bool) -> None:
        changed = self._cleaned(slug, data, document, draft)
        if slug not in self.ignored_updates:
            document.update(changed, updatedAt=now())

    def _cleaned(self, slug: str, data: Mapping[str, Any], stored: Document | None, draft: bool) -> Document:
        collection = COLLECTIONS[slug]
        cleaner = Cleaner(lambda target, id: id in self._stored[target], relaxed=draft and collection.drafts)
        cleaned = cleaner.document(collection.fields, data, new=stored is None)
        if cleaner.errors:
            raise _invalid(cleaner.errors)
        whole = {**(stored or {}), **cleaned}
        unique = [(name,) for name, spec in collection.fields.items() if spec.unique]
        for names in (*unique, *collection.together):
            values = [whole.get(name) for name in names]
            if None in values:
                continue
            for other in self._stored[slug].values():
                if other is not stored and [other.get(name) for name in names] == values:
                    raise _invalid([{"path": names[-1], "message": "Value must be unique"}])
        if slug == "itineraries":
            cleaned["lastModified"] = now()
            cleaned["publishChecklist"] = {
                **(whole.get("publishChecklist") or {}),
                "tripTypesSelected": bool(whole.get("tripTypes")),
            }
            if whole.get("_status") == "published" and (stored or {}).get("_status") != "published":
                found = blockers({**whole, **cleaned})
                if found:
                    more = f" and {len(found) - 5} more" if len(found) > 5 else ""
                    raise Refused(400, f"Cannot publish: {'; '.join(found[:5])}{more}")
        return cleaned

    def _delete(self, slug: str, document: Document) -> None:
        del self._stored[slug][document["id"]]
        if slug == "itinerary-jobs":
            for status in self.documents("image-statuses", job=document["id"]):
                del self._stored["image-statuses"][status["id"]]
            itinerary = document.get("processedItinerary")
            if itinerary and not self.documents("itinerary-jobs", processedItinerary=itinerary):
                self._stored["itineraries"].pop(itinerary, None)

    def _upload(self, request: Request) -> Document:
        kind = request.headers.get("content-type", "")
        if not kind.startswith("multipart/form-data"):
            raise Refused(500, "Something went wrong.")
        parts = _parts(kind, request.body)
        file = parts.get("file")
        if file is None:
            raise Refused(400, "No files were uploaded.")
        name, content_type, content = file
        if not re.fullmatch(r"image/.+|video/(mp4|webm|quicktime)", content_type):
            raise Refused(400, f"Invalid file type: {content_type}")
        data = json.loads(parts["_payload"][2]) if "_payload" in parts else {}
        filename = re.split(r"[/\\]", name)[-1]
        data |= {"filename": filename, "mimeType": content_type, "filesize": len(content)}
        data.setdefault("url", f"/api/media/file/{filename}")
        if content_type.startswith("image/"):
            try:
                with Image.open(io.BytesIO(content)) as image:
                    data["width"], data["height"] = image.size
            except OSError:
                raise Refused(400, "There was a problem while uploading the file.") from None
        if self.phantoms:
            self.phantoms -= 1
            self._numbers["media"] += 1
            return {**data, "id": self._numbers["media"]}
        document = self._create("media", data, draft=False)
        if self.storage is not None:
            self.storage(f"media/{filename}", content, content_type)
        return document


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _invalid(errors: list[dict[str, str]]) -> Refused:
    names = ", ".join(error["path"] for error in errors)
    return Refused(400, f"The following field is invalid: {names}", errors)


def _body(request: Request) -> Any:
    try:
        data = json.loads(request.body)
    except ValueError:
        raise Refused(400, "Unexpected token in JSON") from None
    if not isinstance(data, dict):
        raise Refused(400, "The body must be an object")
    return data


def _parts(kind: str, body: bytes) -> dict[str, tuple[str, str, bytes]]:
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(
        f"Content-Type: {kind}\r\n\r\n".encode() + body
    )
    found: dict[str, tuple[str, str, bytes]] = {}
    for part in message.iter_parts():
        content = part.get_payload(decode=True)
        name = str(part.get_param("name", header="content-disposition"))
        found[name] = (
            part.get_filename() or "",
            part.get_content_type(),
            content if isinstance(content, bytes) else b"",
        )
    return found
