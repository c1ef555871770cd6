"""The Gemini API (`generateContent`, the file store with resumable uploads) and Imagen's `:predict` on Vertex AI, on loopback.

    with Gemini() as gemini:
        ... GOOGLE_GEMINI_BASE_URL=gemini.url GOOGLE_VERTEX_BASE_URL=gemini.url GEMINI_API_KEY=KEY ...
        gemini.fail("selection", status=429)                     # once
        gemini.script("photo-analysis", {"professionalScore": 8.6, ...})   # the next answer, instead of what it sees
        gemini.requests("selection")[0].texts

It keeps the documented contract: keys and tokens are required, files are PROCESSING before they are ACTIVE (or FAILED), a request that
refers to another state is refused, structured output needs its MIME type, a mask has the size of its picture. Answers come from the
pixels (see `vision` and `minds`); `fail`, `script` and `block` say what shall go otherwise.
"""

from __future__ import annotations

import base64
import io
import json
import re
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from PIL import Image

from . import minds, vision

KEY = "AIzaSy-simulated-key-0123456789abcdef"
TOKEN = "ya29.simulated-vertex-token-0123456789"
MODELS = {"gemini-3-flash-preview", "gemini-3-pro-preview", "gemini-3-pro-image-preview"}
MAX_REQUEST_BYTES = 20 * 1024 * 1024
When = Callable[["Request"], bool]


@dataclass
class Request:
    """One request. `operation` is what it asks for; `texts` its text parts; `pictures` and `masks` the files it brought."""

    operation: str
    path: str
    body: dict[str, Any] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)
    pictures: list[bytes] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    at: float = 0.0
    status: int = 0

    @property
    def size(self) -> tuple[int, int]:
        """Of the first picture."""
        return vision.open_image(self.pictures[0]).size


@dataclass
class Fault:
    """What goes otherwise, the next `times` times."""

    operation: str
    times: int
    when: When | None
    status: int | None = None
    text: str | None = None
    finish: str | None = None
    block: str | None = None
    delay: float = 0.0
    image: bytes | None = None

    def matches(self, request: Request) -> bool:
        return self.times > 0 and self.operation == request.operation and (self.when is None or self.when(request))


@dataclass
class StoredFile:
    """A file in the store. It is looked at `polls` times before it leaves PROCESSING."""

    name: str
    mime: str
    data: bytes
    polls: int
    outcome: str = "ACTIVE"

    @property
    def state(self) -> str:
        return "PROCESSING" if self.polls > 0 else self.outcome


class Gemini:
    """The service. A context manager."""

    def __init__(self, *, polls: int = 1, latency: float = 0.0) -> None:
        """`polls`: how often an uploaded file is still PROCESSING when asked for; `latency` of each answer in seconds."""
        self.polls = polls
        self.latency = latency
        self.files: dict[str, StoredFile] = {}
        self.failing_files = 0
        """How many of the next uploads end in state FAILED."""
        self.output = "JPEG"
        """Format of edited pictures: JPEG or PNG."""
        self._uploads: dict[str, tuple[str, bytearray]] = {}
        self._faults: list[Fault] = []
        self._requests: list[Request] = []
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="gemini", daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def environment(self) -> dict[str, str]:
        """What makes Google's client talk to this server, with waits that a test can bear."""
        return {
            "GOOGLE_GEMINI_BASE_URL": self.url,
            "GOOGLE_VERTEX_BASE_URL": self.url,
            "GEMINI_API_KEY": KEY,
            "AI_RETRY_SECONDS": "0.05",
            "AI_POLL_SECONDS": "0.05",
        }

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def fail(
        self, operation: str, *, status: int = 429, times: int = 1, when: When | None = None, delay: float = 0
    ) -> None:
        """Answer the next matching requests with this status."""
        self._add(Fault(operation, times, when, status=status, delay=delay))

    def script(
        self,
        operation: str,
        answer: Any = None,
        *,
        times: int = 1,
        when: When | None = None,
        finish: str | None = None,
        image: bytes | None = None,
    ) -> None:
        """Answer the next matching requests with this text (or JSON), and picture if one is given."""
        text = answer if isinstance(answer, str) else json.dumps(answer)
        self._add(Fault(operation, times, when, text=text, finish=finish, image=image))

    def block(self, operation: str, *, reason: str = "SAFETY", times: int = 1, when: When | None = None) -> None:
        """Block the next matching prompts for safety."""
        self._add(Fault(operation, times, when, block=reason))

    def forgive(self) -> None:
        """Forget what has not happened yet."""
        with self._lock:
            self._faults.clear()

    def requests(self, operation: str | None = None) -> list[Request]:
        """What was asked so far, in order."""
        with self._lock:
            return [request for request in self._requests if operation in (None, request.operation)]

    def clear(self) -> None:
        """Forget what was asked."""
        with self._lock:
            self._requests.clear()

    def _add(self, fault: Fault) -> None:
        with self._lock:
            self._faults.append(fault)

    def fault(self, request: Request) -> Fault | None:
        with self._lock:
            for fault in self._faults:
                if fault.matches(request):
                    fault.times -= 1
                    return fault
        return None

    def note(self, request: Request) -> None:
        with self._lock:
            request.at = time.time()
            self._requests.append(request)


class Refusal(Exception):
    """An error answer in Google's form."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], gemini: Gemini) -> None:
        super().__init__(address, _Handler)
        self.gemini = gemini

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed is none of the service's business."""


_STATUS = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED",
           500: "INTERNAL", 503: "UNAVAILABLE"}  # fmt: skip


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """`requests` are kept instead."""

    @property
    def gemini(self) -> Gemini:
        return self.server.gemini

    def do_GET(self) -> None:
        self._serve(b"")

    def do_DELETE(self) -> None:
        self._serve(b"")

    def do_POST(self) -> None:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            body = bytearray()
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            self._serve(bytes(body))
        else:
            self._serve(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    do_PUT = do_POST

    def _serve(self, body: bytes) -> None:
        path = urlsplit(self.path).path
        request = Request("other", path)
        try:
            if self.gemini.latency:
                time.sleep(self.gemini.latency)
            status, answer, headers = self._route(request, path, body)
        except Refusal as refusal:
            status, headers = refusal.status, {}
            answer = {"error": {"code": status, "message": str(refusal), "status": _STATUS.get(status, "UNKNOWN")}}
            if status == 429:
                headers["Retry-After"] = "1"
        except Exception:  # a fault of the simulator itself: seen by whoever runs it, and answered as the service would
            traceback.print_exc()
            status, answer, headers = (
                500,
                {"error": {"code": 500, "message": "Internal error", "status": "INTERNAL"}},
                {},
            )
        request.status = status
        self.gemini.note(request)
        raw = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=UTF-8")
        self.send_header("Content-Length", str(len(raw)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw)

    def _route(self, request: Request, path: str, body: bytes) -> tuple[int, Any, dict[str, str]]:
        if path.endswith(":predict"):
            return 200, self._predict(request, json.loads(body)), {}
        if found := re.fullmatch(r"/upload/session/(\w+)", path):  # the address is the permission
            request.operation = "file-bytes"
            return self._upload(found[1], body)
        if self.headers.get("x-goog-api-key") != KEY:
            raise Refusal(403, "Method doesn't allow unregistered callers. Please use API Key.")
        if found := re.fullmatch(r"/v1beta/models/([^/:]+):generateContent", path):
            return 200, self._generate(request, found[1], body), {}
        if path == "/upload/v1beta/files":
            request.operation = "file-upload"
            self._fail(request)
            return self._begin_upload(body)
        if found := re.fullmatch(r"/v1beta/files/([\w-]+)", path):
            request.operation = "file-delete" if self.command == "DELETE" else "file-get"
            self._fail(request)
            return 200, self._file(found[1]), {}
        raise Refusal(404, "Not found")

    def _fail(self, request: Request) -> Fault | None:
        fault = self.gemini.fault(request)
        if fault is not None:
            time.sleep(fault.delay)
            if fault.status is not None:
                raise Refusal(
                    fault.status,
                    "Resource has been exhausted (e.g. check quota)." if fault.status == 429 else "Scripted failure",
                )
        return fault

    # -- files

    def _begin_upload(self, body: bytes) -> tuple[int, Any, dict[str, str]]:
        if (
            self.headers.get("X-Goog-Upload-Protocol") != "resumable"
            or self.headers.get("X-Goog-Upload-Command") != "start"
        ):
            raise Refusal(400, "Upload must be resumable")
        session = uuid.uuid4().hex
        self.gemini._uploads[session] = (self.headers.get("X-Goog-Upload-Header-Content-Type", ""), bytearray())
        return (
            200,
            {},
            {"X-Goog-Upload-URL": f"{self.gemini.url}/upload/session/{session}", "X-Goog-Upload-Status": "active"},
        )

    def _upload(self, session: str, body: bytes) -> tuple[int, Any, dict[str, str]]:
        if session not in self.gemini._uploads:
            raise Refusal(404, "No such upload")
        mime, data = self.gemini._uploads[session]
        if int(self.headers.get("X-Goog-Upload-Offset") or 0) != len(data):
            raise Refusal(400, "Wrong offset")
        data += body
        if "finalize" not in (self.headers.get("X-Goog-Upload-Command") or ""):
            return 200, {}, {"X-Goog-Upload-Status": "active"}
        del self.gemini._uploads[session]
        name = uuid.uuid4().hex[:12]
        outcome = "ACTIVE"
        if self.gemini.failing_files > 0:
            self.gemini.failing_files -= 1
            outcome = "FAILED"
        stored = StoredFile(name, mime, bytes(data), self.gemini.polls if mime.startswith("video/") else 0, outcome)
        self.gemini.files[name] = stored
        return 200, {"file": self._document(stored)}, {"X-Goog-Upload-Status": "final"}

    def _file(self, name: str) -> Any:
        stored = self.gemini.files.get(name)
        if stored is None:
            raise Refusal(403, "You do not have permission to access the File or it may not exist.")
        if self.command == "DELETE":
            del self.gemini.files[name]
            return {}
        stored.polls = max(0, stored.polls - 1)
        return self._document(stored)

    def _document(self, stored: StoredFile) -> dict[str, Any]:
        return {
            "name": f"files/{stored.name}",
            "mimeType": stored.mime,
            "sizeBytes": str(len(stored.data)),
            "uri": f"{self.gemini.url}/v1beta/files/{stored.name}",
            "state": stored.state,
        }

    def _fetch(self, uri: str) -> bytes | str:
        """The bytes of a file of the store, or the URL of one that is fetched from elsewhere."""
        if not uri.startswith(f"{self.gemini.url}/v1beta/files/"):
            return uri
        stored = self.gemini.files.get(uri.rsplit("/", 1)[-1])
        if stored is None:
            raise Refusal(403, "You do not have permission to access the File or it may not exist.")
        if stored.state != "ACTIVE":
            raise Refusal(400, f"The File {stored.name} is not in an ACTIVE state and usage is not allowed.")
        return stored.data

    # -- generateContent

    def _generate(self, request: Request, model: str, body: bytes) -> Any:
        document = _camel(json.loads(body))
        request.body = document
        if model not in MODELS:
            raise Refusal(404, f"models/{model} is not found for API version v1beta")
        inline = sum(
            len(part["inlineData"]["data"])
            for content in document["contents"]
            for part in content["parts"]
            if "inlineData" in part
        )
        if inline > MAX_REQUEST_BYTES:
            raise Refusal(400, "Request payload size exceeds the limit: 20971520 bytes.")
        config = document.get("generationConfig", {})
        schema = config.get("responseSchema")
        if schema is not None and config.get("responseMimeType") != "application/json":
            raise Refusal(400, "response_schema requires response_mime_type application/json")
        parts = document["contents"][-1]["parts"]
        request.texts = [part["text"] for part in parts if "text" in part]
        request.pictures = [_bytes(part["inlineData"]["data"]) for part in parts if "inlineData" in part]
        request.links = [part["fileData"]["fileUri"] for part in parts if "fileData" in part]
        system = " ".join(part.get("text", "") for part in (document.get("systemInstruction") or {}).get("parts", []))
        frame = "FRAME OF A VIDEO" in system
        request.operation = _operation(schema, config, frame)
        fault = self._fail(request)
        if fault is not None and fault.block is not None:
            return {"promptFeedback": {"blockReason": fault.block}, "usageMetadata": {"promptTokenCount": 1}}
        if fault is not None and fault.text is not None:
            said = [{"text": fault.text}]
            if fault.image is not None:
                said.append(_inline(fault.image))
            return _answer(said, fault.finish or "STOP")
        try:
            return _answer(self._think(request, parts, frame), "STOP")
        except ValueError as error:
            raise Refusal(400, str(error)) from error

    def _think(self, request: Request, parts: list[dict[str, Any]], frame: bool) -> list[dict[str, Any]]:
        question = request.texts[-1] if request.texts else ""
        if request.operation == "selection":
            return [{"text": json.dumps(minds.choose(self._seen(parts), question))}]
        if request.operation == "video-filters":
            pictures = [image for uri in request.links for image in vision.frames(self._fetch(uri))]
            return [{"text": json.dumps(minds.filters(pictures, question))}]
        image = vision.open_image(request.pictures[0])
        if request.operation in ("photo-analysis", "frame-analysis"):
            return [{"text": json.dumps(minds.analyse(image, question, frame=request.operation == "frame-analysis"))}]
        if "asks for a change" in question and re.search(r"\b(remove|erase)\b", question.lower()):
            return [{"text": "I cannot remove objects with a global edit."}]
        edited, said = vision.enhance(image, question, detail=not frame)
        return [{"text": said}, _inline(vision.encode(edited, self.gemini.output))]

    def _seen(self, parts: list[dict[str, Any]]) -> list[minds.Seen]:
        seen = []
        named: tuple[int, str] | None = None
        for part in parts:
            if "text" in part:
                named = minds.label_of(part["text"]) or named
                continue
            if named is None:
                continue  # the owner's portrait
            if "inlineData" in part:
                image = vision.open_image(_bytes(part["inlineData"]["data"]))
            else:
                pictures = vision.frames(self._fetch(part["fileData"]["fileUri"]), 3)
                image = pictures[len(pictures) // 2]
            video = named[1].lower().rsplit(".", 1)[-1] in ("mp4", "mov", "avi", "webm", "mkv")
            seen.append(minds.Seen(*named, "Video" if video else "Photo", vision.look(image)))
            named = None
        if not seen:
            raise ValueError("There is nothing to choose from")
        return seen

    # -- Imagen

    def _predict(self, request: Request, document: dict[str, Any]) -> Any:
        request.operation, request.body = "mask-edit", document
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            raise Refusal(401, "Request had invalid authentication credentials.")
        if not re.fullmatch(
            r"/v1(beta1)?/projects/[^/]+/locations/[^/]+/publishers/google/models/imagen-[\w.-]+:predict", request.path
        ):
            raise Refusal(404, "Not found")
        instance, parameters = document["instances"][0], document.get("parameters", {})
        found = {image["referenceType"]: image for image in instance.get("referenceImages", [])}
        try:
            raw = _bytes(found["REFERENCE_TYPE_RAW"]["referenceImage"]["bytesBase64Encoded"])
            painted = _bytes(found["REFERENCE_TYPE_MASK"]["referenceImage"]["bytesBase64Encoded"])
            mode = found["REFERENCE_TYPE_MASK"]["maskImageConfig"]["maskMode"]
        except KeyError as error:
            raise Refusal(400, f"referenceImages: {error} is missing") from error
        if mode != "MASK_MODE_USER_PROVIDED" or parameters.get("editMode") not in (
            "EDIT_MODE_INPAINT_REMOVAL",
            "EDIT_MODE_INPAINT_INSERTION",
        ):
            raise Refusal(400, "Unsupported edit mode")
        request.texts, request.pictures = [instance.get("prompt", "")], [raw, painted]
        fault = self._fail(request)
        if fault is not None and fault.block is not None:
            return {"predictions": [{"raiFilteredReason": "Blocked by the safety filter."}]}
        try:
            image, mask = vision.open_image(raw), vision.open_image(painted)
        except ValueError as error:
            raise Refusal(400, str(error)) from error
        if image.size != mask.size:
            raise Refusal(400, f"Mask size {mask.size} differs from image size {image.size}")
        edited = vision.repaint(image, mask, insertion=parameters["editMode"].endswith("INSERTION"))
        data = vision.encode(edited, "PNG")
        return {"predictions": [{"bytesBase64Encoded": base64.b64encode(data).decode(), "mimeType": "image/png"}]}


def _camel(value: Any) -> Any:
    """Field names in lowerCamelCase: proto3's JSON takes `file_uri` for `fileUri`."""
    if isinstance(value, dict):
        return {re.sub(r"_([a-z])", lambda found: found[1].upper(), name): _camel(item) for name, item in value.items()}
    return [_camel(item) for item in value] if isinstance(value, list) else value


def _bytes(text: str) -> bytes:
    """Base64 in JSON: both alphabets are taken, as by every service that speaks protobuf's JSON."""
    return base64.b64decode(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4), validate=True)


def _operation(schema: Mapping[str, Any] | None, config: Mapping[str, Any], frame: bool) -> str:
    if schema is not None:
        properties = schema.get("properties", {})
        if "selected" in properties:
            return "selection"
        if "filters" in properties:
            return "video-filters"
        improvement = properties.get("remainingImprovements", {}).get("items", {}).get("properties", {})
        return "frame-analysis" if "safeForPropagation" in improvement else "photo-analysis"
    if "IMAGE" in config.get("responseModalities", []):
        return "frame-edit" if frame else "photo-edit"
    return "text"


def _inline(data: bytes) -> dict[str, Any]:
    mime = Image.MIME[Image.open(io.BytesIO(data)).format or "PNG"]
    return {"inlineData": {"mimeType": mime, "data": base64.b64encode(data).decode()}}


def _answer(parts: list[dict[str, Any]], finish: str) -> dict[str, Any]:
    tokens = sum(len(part.get("text", "")) // 4 for part in parts)
    return {
        "candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": finish, "index": 0}],
        "usageMetadata": {"promptTokenCount": 1000, "candidatesTokenCount": tokens, "totalTokenCount": 1000 + tokens},
    }
