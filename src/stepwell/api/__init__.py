"""The Step Functions wire protocol: what boto3, the AWS CLI and Terraform speak."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stepwell.lazy import names_of

if TYPE_CHECKING:
    from stepwell.api.app import Application, create_app
    from stepwell.api.listener import ServerError
    from stepwell.api.server import Server, serve

_HOMES = {"Application": "app", "Server": "server", "ServerError": "listener", "create_app": "app", "serve": "server"}

__all__ = ["Application", "Server", "ServerError", "create_app", "serve"]


__getattr__ = names_of(__name__, _HOMES)
