"""A CMS on loopback that keeps the contract of Payload 3's REST API, traps included."""

from .server import KEY, SESSION, PayloadCms

__all__ = ["KEY", "SESSION", "PayloadCms"]
