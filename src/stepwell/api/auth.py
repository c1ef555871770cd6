"""Signatures of AWS requests: SigV4 in the Authorization header or in the query, with one of the configured keys.

botocore's own signer computes what the signature must be; around it stand the checks it does not make: the key, the credential scope, the
clock, the body's hash, which headers must be signed, the session token, and whether a request was seen before.
Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
import tomllib
from collections import deque
from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote

from stepwell.engine.errors import ApiError

SKEW_SECONDS = 300
"""How far a request's time may be from the server's."""
REPLAY_SECONDS = 2.0
"""So long after its first arrival a signature is taken again."""
MAX_EXPIRES = 7 * 24 * 3600
ALGORITHM = "AWS4-HMAC-SHA256"
UNSIGNED = "UNSIGNED-PAYLOAD"

_HEADER = re.compile(
    r"AWS4-HMAC-SHA256\s+Credential=(?P<credential>[^\s,]+),\s*SignedHeaders=(?P<headers>[^\s,]+),\s*Signature=(?P<signature>[0-9a-f]{64})"
)
_DATE = re.compile(r"\d{8}T\d{6}Z")


class AuthError(ApiError):
    """The request's signature is missing or wrong. `name` is AWS's error code."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name

    @property
    def code(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class AccessKey:
    """A key that may sign. With a session token, requests must carry it."""

    id: str
    secret: str
    session_token: str | None = None

    def __repr__(self) -> str:
        return f"AccessKey({self.id!r})"


class KeysError(Exception):
    """The file of access keys cannot be used; the message says why."""


def load_keys(path: Path, *, region: str) -> Authenticator:
    """An authenticator with the keys of a TOML file. Raises KeysError.

        [keys.AKIAEXAMPLE]
        secret = "..."
        session_token = "..."     # optional

    The file must not be readable by other users.
    """
    try:
        mode = path.stat().st_mode
        document = tomllib.loads(path.read_text())
    except OSError as error:
        raise KeysError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise KeysError(f"{path}: is not valid TOML: {error}") from error
    if mode & 0o077:
        raise KeysError(f"{path}: other users may read the secrets in it; run: chmod 600 {path}")
    tables = document.get("keys")
    if not isinstance(tables, dict) or not tables:
        raise KeysError(f"{path}: has no [keys.ACCESS_KEY_ID] table")
    keys = []
    for id, table in tables.items():
        secret = table.get("secret") if isinstance(table, dict) else None
        token = table.get("session_token") if isinstance(table, dict) else None
        if not isinstance(secret, str) or len(secret) < 16:
            raise KeysError(f"{path}: [keys.{id}] needs a secret of at least 16 characters")
        if token is not None and not isinstance(token, str):
            raise KeysError(f"{path}: [keys.{id}] session_token must be a string")
        unknown = set(table) - {"secret", "session_token"}
        if unknown:
            raise KeysError(f"{path}: [keys.{id}] has an unknown field {sorted(unknown)[0]!r}")
        keys.append(AccessKey(id, secret, token))
    return Authenticator(keys, region=region)


@dataclass(frozen=True, slots=True)
class _Signed:
    """What a request says of its signature."""

    access_key: str
    date: str
    region: str
    service: str
    headers: tuple[str, ...]
    signature: str
    timestamp: str
    token: str | None
    expires: int | None
    query: bool


class Authenticator:
    """Checks requests. One instance serves one server: it remembers the signatures of the last minutes to refuse replays."""

    def __init__(self, keys: Iterable[AccessKey], *, region: str, clock: Any = time.time) -> None:
        from botocore.auth import SigV4Auth  # the AWS extra; its absence is told at start

        self._auth = SigV4Auth
        self._keys = {key.id: key for key in keys}
        self._region = region
        self._clock = clock
        self._seen: dict[str, float] = {}
        self._order: deque[tuple[float, str]] = deque()

    def check(self, scope: MutableMapping[str, Any], body: bytes, service: str) -> str:
        """The access key of a rightly signed request. Raises AuthError."""
        headers = _headers(scope["headers"])
        query = parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
        signed = _read(headers, query)
        key = self._keys.get(signed.access_key)
        if key is None:
            raise AuthError("UnrecognizedClientException", "The security token included in the request is invalid.")
        self._check_scope(signed, service)
        self._check_time(signed)
        _check_token(signed, key)
        _check_headers(signed, headers)
        payload = _payload_hash(signed, headers, body)
        expected = self._expected(scope, signed, key, headers, query, payload)
        if not hmac.compare_digest(expected, signed.signature):
            raise AuthError(
                "InvalidSignatureException",
                "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access "
                "Key and signing method. Consult the service documentation for details.",
            )
        if not signed.query:  # a presigned URL may be used until it expires
            self._check_replay(signed.signature)
        return key.id

    def _check_scope(self, signed: _Signed, service: str) -> None:
        if signed.date != signed.timestamp[:8]:
            raise AuthError(
                "InvalidSignatureException",
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
                f"'{signed.date}' != '{signed.timestamp[:8]}'.",
            )
        if signed.service != service:
            raise AuthError(
                "InvalidSignatureException", f"Credential should be scoped to correct service: '{service}'."
            )
        if signed.region != self._region:
            raise AuthError("InvalidSignatureException", "Credential should be scoped to a valid region.")

    def _check_time(self, signed: _Signed) -> None:
        if _DATE.fullmatch(signed.timestamp) is None:
            raise AuthError("IncompleteSignature", "Date must be in ISO-8601 'basic format'.")
        try:
            made = datetime.strptime(signed.timestamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
        except ValueError as error:
            raise AuthError("IncompleteSignature", "Date must be in ISO-8601 'basic format'.") from error
        now = self._clock()
        if made > now + SKEW_SECONDS:
            raise AuthError(
                "InvalidSignatureException", f"Signature not yet current: {signed.timestamp} is in the future."
            )
        lasts = SKEW_SECONDS if signed.expires is None else signed.expires
        if made + lasts < now:
            raise AuthError("InvalidSignatureException", f"Signature expired: {signed.timestamp} is too long ago.")

    def _expected(
        self,
        scope: MutableMapping[str, Any],
        signed: _Signed,
        key: AccessKey,
        headers: Mapping[str, str],
        query: list[tuple[str, str]],
        payload: str,
    ) -> str:
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials
        from botocore.utils import normalize_url_path

        auth = self._auth(Credentials(key.id, key.secret), signed.service, signed.region)
        canonical_headers = "".join(f"{name}:{' '.join(headers[name].split())}\n" for name in signed.headers)
        pairs = sorted(
            (quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in query if name != "X-Amz-Signature"
        )
        path = scope.get("raw_path") or scope["path"].encode()
        canonical = "\n".join(
            (
                scope["method"],
                quote(normalize_url_path(path.decode("latin-1")), safe="/~"),
                "&".join(f"{name}={value}" for name, value in pairs),
                canonical_headers,
                ";".join(signed.headers),
                payload,
            )
        )
        request = AWSRequest(method=scope["method"], url="http://localhost/")
        request.context["timestamp"] = signed.timestamp
        text: str = auth.signature(auth.string_to_sign(request, canonical), request)
        return text

    def _check_replay(self, signature: str) -> None:
        """A signature may come again only at once: time in it is whole seconds, so a client's equal requests are signed equally."""
        now = self._clock()
        while self._order and self._order[0][0] < now:
            self._seen.pop(self._order.popleft()[1], None)
        first = self._seen.get(signature)
        if first is None:
            self._seen[signature] = now
            # After this time the request is too old anyway.
            self._order.append((now + 2 * SKEW_SECONDS, signature))
        elif now - first > REPLAY_SECONDS:
            raise AuthError("InvalidSignatureException", "The request was received before: it is refused as a replay.")


def _headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in raw:
        key = name.decode("latin-1").lower()
        text = value.decode("latin-1").strip()
        found[key] = f"{found[key]},{text}" if key in found else text
    return found


def _read(headers: Mapping[str, str], query: list[tuple[str, str]]) -> _Signed:
    parameters = dict(query)
    authorization = headers.get("authorization")
    if authorization is not None:
        found = _HEADER.fullmatch(authorization.strip())
        if found is None:
            raise AuthError(
                "IncompleteSignature", "The Authorization header is not a complete AWS4-HMAC-SHA256 signature."
            )
        credential, signed_headers, signature = found.group("credential", "headers", "signature")
        timestamp = headers.get("x-amz-date", "")
        token, expires, in_query = headers.get("x-amz-security-token"), None, False
    elif parameters.get("X-Amz-Algorithm") == ALGORITHM:
        credential = parameters.get("X-Amz-Credential", "")
        signed_headers = parameters.get("X-Amz-SignedHeaders", "")
        signature = parameters.get("X-Amz-Signature", "")
        timestamp = parameters.get("X-Amz-Date", "")
        token, in_query = parameters.get("X-Amz-Security-Token"), True
        text = parameters.get("X-Amz-Expires", "")
        if not text.isdigit() or not 1 <= int(text) <= MAX_EXPIRES:
            raise AuthError("IncompleteSignature", "X-Amz-Expires must be a number of seconds of at most a week.")
        expires = int(text)
    else:
        raise AuthError("MissingAuthenticationTokenException", "Missing Authentication Token")
    parts = credential.split("/")
    if len(parts) != 5 or parts[4] != "aws4_request" or len({n for n, _ in query}) != len(query):
        raise AuthError("IncompleteSignature", "The Credential must be ACCESS_KEY/DATE/REGION/SERVICE/aws4_request.")
    names = tuple(signed_headers.split(";"))
    return _Signed(parts[0], parts[1], parts[2], parts[3], names, signature, timestamp, token, expires, in_query)


def _check_token(signed: _Signed, key: AccessKey) -> None:
    if not hmac.compare_digest((signed.token or "").encode(), (key.session_token or "").encode()):
        raise AuthError("UnrecognizedClientException", "The security token included in the request is invalid.")


def _check_headers(signed: _Signed, headers: Mapping[str, str]) -> None:
    """Host and every X-Amz header must be signed, or somebody on the way could change them."""
    if list(signed.headers) != sorted(set(signed.headers)):
        raise AuthError("IncompleteSignature", "SignedHeaders must be sorted, each once.")
    for name in signed.headers:
        if name not in headers:
            raise AuthError("InvalidSignatureException", f"The signed header '{name}' is not in the request.")
    needed = {"host"} | {name for name in headers if name.startswith("x-amz-")}
    left = needed - set(signed.headers) - {"x-amz-content-sha256"}
    if left:
        raise AuthError("InvalidSignatureException", f"The header '{sorted(left)[0]}' must be signed.")


def _payload_hash(signed: _Signed, headers: Mapping[str, str], body: bytes) -> str:
    """The hash that was signed, checked against the body: a body that was changed is refused whatever the signature."""
    actual = hashlib.sha256(body).hexdigest()
    claimed = headers.get("x-amz-content-sha256")
    if claimed == UNSIGNED or (claimed is not None and not hmac.compare_digest(claimed.lower(), actual)):
        raise AuthError(
            "InvalidSignatureException",
            "The body's SHA-256 does not match x-amz-content-sha256; unsigned bodies are refused.",
        )
    return actual
