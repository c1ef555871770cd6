"""What answers the presigned URLs of local buckets: an ASGI application to mount where `STEPWELL_OBJECTS_URL` points.

GET and HEAD with ranges (players and ffmpeg seek by them), PUT of objects and of parts. Every request needs a valid
signature; there is nothing to list. Pages of any origin may use the URLs, and see the `ETag` of what they sent.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from stepwell.toolkit.errors import ObjectNotFound, StorageError, UploadNotFound
from stepwell.toolkit.objects import Attributes, ObjectReader, check_key
from stepwell.toolkit.objects.local import LocalBucket
from stepwell.toolkit.objects.signing import CONTENT_TYPE, PART, UPLOAD, BadSignature, Signer

MAX_PART_BYTES = 64 * 1024 * 1024
"""A part is held in memory while it is received."""
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def application(data: Path) -> Starlette:
    """The application for the buckets of one data directory."""
    handler = _Objects(data)
    methods = ["GET", "HEAD", "PUT"]
    cors = Middleware(
        CORSMiddleware,
        allow_origins=["*"],
        allow_methods=methods,
        allow_headers=["*"],
        expose_headers=["ETag", "Content-Range", "Content-Length", "Accept-Ranges"],
    )
    return Starlette(routes=[Route("/{bucket}/{key:path}", handler.answer, methods=methods)], middleware=[cors])


class _Objects:
    def __init__(self, data: Path) -> None:
        self._data = data
        self._signer = Signer(data / "buckets")
        self._buckets: dict[str, LocalBucket] = {}

    async def answer(self, request: Request) -> Response:
        bucket, key = request.path_params["bucket"], request.path_params["key"]
        try:
            self._signer.verify(request.method, bucket, key, request.query_params)
            check_key(key)
            if request.method == "PUT":
                return await self._put(request, await self._bucket(bucket), key)
            return await run_in_threadpool(self._get, request, await self._bucket(bucket), key)
        except (BadSignature, ValueError) as error:
            return PlainTextResponse(f"{error}\n", 403)
        except (ObjectNotFound, UploadNotFound) as error:
            return PlainTextResponse(f"{error}\n", 404)
        except StorageError as error:
            return PlainTextResponse(f"{error}\n", 500)

    async def _bucket(self, name: str) -> LocalBucket:
        # Only a signed name comes here, so no bucket is made for a stranger.
        if name not in self._buckets:
            self._buckets[name] = await run_in_threadpool(LocalBucket, self._data, name)
        return self._buckets[name]

    def _get(self, request: Request, bucket: LocalBucket, key: str) -> Response:
        info = bucket.head(key)
        headers = {"ETag": f'"{info.etag}"', "Accept-Ranges": "bytes", "Last-Modified": _http_date(info.modified)}
        if info.cache_control:
            headers["Cache-Control"] = info.cache_control
        wanted = _range(request.headers.get("range"), info.size)
        if request.headers.get("if-range", headers["ETag"]) != headers["ETag"]:
            wanted = None
        if wanted == ():
            return Response(status_code=416, headers={**headers, "Content-Range": f"bytes */{info.size}"})
        start, length = wanted or (0, info.size)
        headers["Content-Length"] = str(length)
        if wanted:
            headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{info.size}"
        media_type = request.query_params.get(CONTENT_TYPE, info.content_type)
        status = 206 if wanted else 200
        if request.method == "HEAD":
            return Response(status_code=status, headers=headers, media_type=media_type)
        reader = bucket.open(key, start=start, length=length)
        if reader.info.etag != info.etag:  # replaced between the two: the headers must be those of the bytes
            reader.close()
            return self._get(request, bucket, key)
        return StreamingResponse(_chunks(reader), status, headers, media_type)

    async def _put(self, request: Request, bucket: LocalBucket, key: str) -> Response:
        query = request.query_params
        expected = request.headers.get("content-length")
        if UPLOAD in query:
            body = bytearray()
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_PART_BYTES:
                    return PlainTextResponse(f"a part sent by URL has at most {MAX_PART_BYTES} bytes\n", 413)
            upload = await run_in_threadpool(bucket.resume_upload, key, query[UPLOAD])
            part = await run_in_threadpool(upload.put_part, int(query[PART]), body)
            return Response(headers={"ETag": f'"{part.etag}"'})
        content_type = request.headers.get("content-type")
        if CONTENT_TYPE in query and content_type != query[CONTENT_TYPE]:
            return PlainTextResponse(f"the Content-Type must be {query[CONTENT_TYPE]}\n", 403)
        attributes: Attributes = {"content_type": content_type} if content_type else {}
        out = await run_in_threadpool(lambda: bucket.writer(key, **attributes))
        try:
            async for chunk in _body(request):
                await run_in_threadpool(out.write, chunk)
            if expected is not None and out.size != int(expected):
                return PlainTextResponse(f"{out.size} of {expected} bytes arrived\n", 400)
            info = await run_in_threadpool(out.close)
        finally:
            await run_in_threadpool(out.abort)
        return Response(headers={"ETag": f'"{info.etag}"'})


async def _body(request: Request) -> AsyncIterator[bytes]:
    """The body in chunks large enough that handing them to a thread does not count."""
    buffer = bytearray()
    async for chunk in request.stream():
        buffer += chunk
        if len(buffer) >= 1024 * 1024:
            yield bytes(buffer)
            buffer.clear()
    if buffer:
        yield bytes(buffer)


def _chunks(reader: ObjectReader) -> Iterator[bytes]:
    with reader:
        yield from reader


def _range(header: str | None, size: int) -> tuple[int, int] | tuple[()] | None:
    """Start and length of a single range; None for none (or a form that may be ignored), () for one that cannot be served."""
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None or match[1] == match[2] == "":
        return None
    if match[1] == "":
        length = min(int(match[2]), size)
        return (size - length, length) if length else ()
    start = int(match[1])
    end = min(int(match[2]), size - 1) if match[2] else size - 1
    if start >= size:
        return ()
    return None if end < start else (start, end - start + 1)


def _http_date(moment: Any) -> str:
    return str(moment.strftime("%a, %d %b %Y %H:%M:%S GMT"))
