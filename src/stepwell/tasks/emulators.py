"""What an AWS emulator says about itself."""

from __future__ import annotations

import http.client
import os
import re
from urllib.parse import urlsplit

__all__ = ["account_at", "is_emulator"]

SECONDS = 5.0
"""moto loads a service when it is first asked."""


def is_emulator(endpoint: str | None) -> bool:
    """Whether an endpoint is something other than AWS itself."""
    if endpoint is None:
        return False
    host = urlsplit(endpoint).hostname or ""
    return not host.endswith((".amazonaws.com", ".amazonaws.com.cn"))


def account_at(endpoint: str, region: str = "us-east-1") -> str | None:
    """The account that an emulator takes this process's access key for; None when it does not say so in time.

    The ARNs of an emulator's queues and tables have its account: a Step Functions service beside it must have the same.
    """
    place = urlsplit(endpoint)
    kind = http.client.HTTPSConnection if place.scheme == "https" else http.client.HTTPConnection
    key = os.environ.get("AWS_ACCESS_KEY_ID", "test")
    headers = {
        "Content-Type": "application/x-www-form-urlencoded",
        "Authorization": f"AWS4-HMAC-SHA256 Credential={key}/20240101/{region}/sts/aws4_request, SignedHeaders=host, "
        f"Signature={'0' * 64}",
    }
    try:
        connection = kind(place.hostname or "", place.port, timeout=SECONDS)
        try:
            connection.request("POST", place.path or "/", "Action=GetCallerIdentity&Version=2011-06-15", headers)
            text = connection.getresponse().read(65_536).decode(errors="replace")
        finally:
            connection.close()
    except (OSError, http.client.HTTPException, ValueError):
        return None
    found = re.search(r"<Account>([0-9]{12})</Account>", text)
    return found[1] if found is not None else None
