"""The Gemini API and Imagen on Vertex AI, on loopback, with eyes: answers come from the pixels that were sent. See `server.Gemini`."""

from .server import KEY, TOKEN, Gemini, Request

__all__ = ["KEY", "TOKEN", "Gemini", "Request"]
