"""Speech: a text becomes an MP3, by the read-aloud service of Edge or, without a network, by eSpeak NG (section 9.3)."""

from __future__ import annotations

import asyncio
from typing import Protocol

from mangavideo.errors import ConfigError

SAMPLE = "audio-24khz-48kbitrate-mono-mp3"
"""The format both give: pieces of it can be put one after another."""


class SpeechError(Exception):
    """A piece of text was not spoken; trying again may help."""


class Synthesiser(Protocol):
    """Both services."""

    def synthesise(self, text: str, voice: str) -> bytes:
        """The MP3 of at most 3,000 characters. Raises SpeechError."""
        ...


class Edge:
    """The read-aloud service, by its community client; each call connects anew. `url` replaces the service's own address."""

    def __init__(self, url: str = "") -> None:
        self._url = url

    def synthesise(self, text: str, voice: str) -> bytes:
        import aiohttp
        import edge_tts.communicate
        from edge_tts.exceptions import EdgeTTSException

        if self._url:
            setattr(edge_tts.communicate, "WSS_URL", self._url)  # noqa: B010 (the client knows no setting for it)

        async def stream() -> bytes:
            pieces = bytearray()
            async for event in edge_tts.Communicate(text, voice, boundary="WordBoundary").stream():
                if event["type"] == "audio":
                    pieces += event["data"]
            return bytes(pieces)

        try:
            return asyncio.run(stream())
        except (EdgeTTSException, aiohttp.ClientError, OSError, TimeoutError) as error:
            raise SpeechError(f"{type(error).__name__}: {error}") from error


class Offline:
    """eSpeak NG."""

    def synthesise(self, text: str, voice: str) -> bytes:
        try:
            from mangavideo import espeak
        except ImportError as error:
            raise ConfigError(
                "SPEECH_SERVICE espeak needs the package espeakng-loader: pip install 'stepwell[narration]'"
            ) from error
        try:
            return espeak.encoded(*espeak.spoken(text, voice))
        except espeak.EspeakError as error:
            raise SpeechError(str(error)) from error


def service(name: str, url: str = "") -> Synthesiser:
    """By SPEECH_SERVICE: `edge` or `espeak`. Raises ConfigError."""
    if name == "edge":
        return Edge(url)
    if name == "espeak":
        return Offline()
    raise ConfigError(f"SPEECH_SERVICE is {name!r}; it must be edge or espeak")
