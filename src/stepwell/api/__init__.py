"""The Step Functions wire protocol: what boto3, the AWS CLI and Terraform speak."""

from stepwell.api.app import Application, create_app
from stepwell.api.server import Server, ServerError, serve

__all__ = ["Application", "Server", "ServerError", "create_app", "serve"]
