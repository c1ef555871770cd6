"""The Step Functions wire protocol: what boto3, the AWS CLI and Terraform speak."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stepwell.api.app import Application, create_app
    from stepwell.api.listener import ServerError
    from stepwell.api.server import Server, serve

_HOMES = {"Application": "app", "Server": "server", "ServerError": "listener", "create_app": "app", "serve": "server"}

__all__ = ["Application", "Server", "ServerError", "create_app", "serve"]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'stepwell.api' has no attribute {name!r}")
    value = getattr(import_module(f"stepwell.api.{home}"), name)
    globals()[name] = value
    return value
