"""Presigned URLs of the local bucket: an HMAC over method, bucket, key, expiry and what else the holder is bound to."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, urlencode

from stepwell.toolkit.objects import MAX_PRESIGN_SECONDS

EXPIRES = "X-Stepwell-Expires"
SIGNATURE = "X-Stepwell-Signature"
CONTENT_TYPE = "X-Stepwell-Content-Type"
UPLOAD = "uploadId"
PART = "partNumber"


class BadSignature(Exception):
    """A URL that was not signed by this data directory, was altered, or has expired; the message says which."""


class Signer:
    """Signs and checks with the data directory's own key, which is made when first needed (mode 0600)."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / ".signing-key"
        self._key: bytes | None = None

    def url(
        self,
        base: str,
        method: str,
        bucket: str,
        key: str,
        expires: int,
        *,
        content_type: str | None = None,
        upload_id: str | None = None,
        part: int | None = None,
        now: float | None = None,
    ) -> str:
        """A URL below `base` that is valid for `expires` seconds (1 to 604,800)."""
        if not 1 <= expires <= MAX_PRESIGN_SECONDS:
            raise ValueError(f"a presigned URL is valid for 1 to {MAX_PRESIGN_SECONDS} seconds, not {expires}")
        until = int((time.time() if now is None else now) + expires)
        query: dict[str, str] = {EXPIRES: str(until)}
        if content_type is not None:
            query[CONTENT_TYPE] = content_type
        if upload_id is not None:
            query[UPLOAD] = upload_id
            query[PART] = str(part)
        query[SIGNATURE] = self._sign(method, bucket, key, query)
        return f"{base.rstrip('/')}/{quote(bucket)}/{quote(key, safe='/')}?{urlencode(query)}"

    def verify(self, method: str, bucket: str, key: str, query: Mapping[str, str], *, now: float | None = None) -> None:
        """Raise `BadSignature` unless the query was made by `url` for this request. A URL for GET is good for HEAD."""
        signed = {name: query[name] for name in (EXPIRES, CONTENT_TYPE, UPLOAD, PART) if name in query}
        expected = self._sign("GET" if method == "HEAD" else method, bucket, key, signed)
        if not hmac.compare_digest(expected, query.get(SIGNATURE, "")):
            raise BadSignature("the signature does not match the request")
        if int(signed.get(EXPIRES, "0")) < (time.time() if now is None else now):
            raise BadSignature("the URL has expired")

    def _sign(self, method: str, bucket: str, key: str, query: Mapping[str, str]) -> str:
        text = "\n".join([method, bucket, key, *(f"{name}={query[name]}" for name in sorted(query))])
        return hmac.new(self._secret(), text.encode(), hashlib.sha256).hexdigest()

    def _secret(self) -> bytes:
        if self._key is None:
            with contextlib.suppress(FileNotFoundError):
                self._key = self._path.read_bytes()
        if not self._key:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            draft = self._path.with_name(f"{self._path.name}.{secrets.token_hex(8)}")
            with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
                file.write(secrets.token_bytes(32))
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):  # another process was faster: its key counts
                os.link(draft, self._path)
            draft.unlink()
            self._key = self._path.read_bytes()
        return self._key
