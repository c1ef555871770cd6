"""A simulated camera cloud: the media API and CDN that cloudsync talks to, kept by their documented contract, failures included."""

from .content import BLOCK, BytesContent, Content, FileContent, SyntheticContent
from .server import ACCEPT, Fault, Media, MediaCloud, Request, Session
from .videos import Clip, photo, video

__all__ = [
    "ACCEPT",
    "BLOCK",
    "BytesContent",
    "Clip",
    "Content",
    "Fault",
    "FileContent",
    "Media",
    "MediaCloud",
    "Request",
    "Session",
    "SyntheticContent",
    "photo",
    "video",
]
