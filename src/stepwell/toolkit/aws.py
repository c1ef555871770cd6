"""boto3, imported when first needed; one client a service and process, kept until the endpoint or region changes."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from stepwell.toolkit.errors import StorageError

_clients: dict[tuple[str, ...], Any] = {}
_lock = threading.Lock()


def client(service: str) -> Any:
    """A boto3 client: endpoint (`AWS_ENDPOINT_URL`), region and credentials by boto3's own rules.

    Adaptive retries stay off: what is retried, and how, is the port's or the state machine's business beyond botocore's three
    standard attempts. Raises ImportError that says which extra to install.
    """
    names = (
        "AWS_ENDPOINT_URL",
        f"AWS_ENDPOINT_URL_{service.upper()}",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "AWS_PROFILE",
    )
    key = (service, str(os.getpid()), *(os.environ.get(name, "") for name in names))
    found = _clients.get(key)
    if found is None:
        with _lock:
            found = _clients.get(key)
            if found is None:
                found = _clients[key] = _make(service)
    return found


def _make(service: str) -> Any:
    try:
        import boto3
        from botocore.config import Config
    except ImportError:
        raise ImportError("the AWS backend needs boto3: pip install 'stepwell[aws]'") from None
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    config = Config(retries={"mode": "standard", "total_max_attempts": 3}, max_pool_connections=50)
    session: Any = boto3.session.Session(region_name=region)
    return session.client(service, config=config)


def code(error: Any) -> str:
    """The error code of a botocore ClientError."""
    return str(error.response.get("Error", {}).get("Code", "Unknown"))


def is_server_fault(error: Any) -> bool:
    """Whether a ClientError says that the service failed, not the request."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)) >= 500


@contextmanager
def errors(what: str) -> Iterator[None]:
    """Turn what botocore raises into `StorageError`, naming what was being done. The codes a port knows, it handles inside."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise StorageError(f"{what}: {error}") from error
