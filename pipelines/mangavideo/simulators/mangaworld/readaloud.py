"""The read-aloud service of Edge: a websocket that takes SSML and sends MP3 and word boundaries (section 9.3).

The voice is eSpeak NG's, unless the test gives another: `tone`, by which a piece is recognised in the sound, or `silence`.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import threading
from collections.abc import Callable
from functools import cache
from types import TracebackType
from typing import Self
from xml.sax.saxutils import unescape

import imageio_ffmpeg
from aiohttp import WSMsgType, web

PATH = "/consumer/speech/synthesize/readaloud/edge/v1"
TOKEN = "6A5AA1D4EAFF4E9FB37E23D68491D6F4"
TICKS = 10_000_000
_TEXT = re.compile(r"<prosody[^>]*>(.*)</prosody>", re.DOTALL)
_VOICE = re.compile(r"<voice name='([^']*)'")

Voice = Callable[[str, str], bytes]
"""Text and voice name to MP3."""


def silence(text: str, voice: str = "") -> bytes:
    """60 ms of nothing a character."""
    return mp3("anullsrc=r=24000:cl=mono", round(max(1, len(text)) * 0.06, 3))


def tone(frequency: float, seconds: float) -> bytes:
    """A sine."""
    return mp3(f"sine=frequency={frequency}:sample_rate=24000", seconds)


@cache
def mp3(source: str, seconds: float) -> bytes:
    """The format of the service, made of one of ffmpeg's sources."""
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(),
        "-v",
        "error",
        "-f",
        "lavfi",
        "-i",
        source,
        "-t",
        str(seconds),
        "-ac",
        "1",
    ]
    command += [
        "-ar",
        "24000",
        "-c:a",
        "libmp3lame",
        "-b:a",
        "48k",
        "-write_xing",
        "0",
        "-id3v2_version",
        "0",
        "-f",
        "mp3",
        "pipe:",
    ]
    return subprocess.run(command, check=True, capture_output=True).stdout


def espeak(text: str, voice: str) -> bytes:
    """Real Vietnamese speech."""
    from mangavideo.espeak import encoded, spoken

    return encoded(*spoken(text, voice))


class ReadAloud:
    """A context manager. `refuse` answers the next connections with a status, `mute` gives the next turns no audio."""

    def __init__(self, voice: Voice = espeak) -> None:
        self.voice = voice
        self.spoken: list[tuple[str, str]] = []
        """Voice and text of every turn."""
        self.connections = 0
        self.refuse: list[int] = []
        self.mute = 0
        self.cut = 0
        self.fails: Callable[[str], bool] = lambda text: False
        """Texts that are never spoken."""
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._serve()), daemon=True)
        self._port = 0

    @property
    def url(self) -> str:
        """What replaces the client's own address."""
        return f"ws://127.0.0.1:{self._port}{PATH}?TrustedClientToken={TOKEN}"

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(5)

    async def _serve(self) -> None:
        app = web.Application()
        app.router.add_get(PATH, self._connection)
        runner = web.AppRunner(app, shutdown_timeout=0.2)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self._port = runner.addresses[0][1]
        self._ready.set()
        await self._stop.wait()
        await runner.cleanup()

    async def _connection(self, request: web.Request) -> web.StreamResponse:
        self.connections += 1
        if self.refuse:
            return web.Response(status=self.refuse.pop(0))
        if request.query.get("TrustedClientToken") != TOKEN or not request.query.get("Sec-MS-GEC"):
            return web.Response(status=403)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        configured = False
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                continue
            head, _, body = message.data.partition("\r\n\r\n")
            if "Path:speech.config" in head:
                configured = "audio-24khz-48kbitrate-mono-mp3" in body
            elif "Path:ssml" in head and configured and not await self._turn(socket, body):
                break
        return socket

    async def _turn(self, socket: web.WebSocketResponse, ssml: str) -> bool:
        found, voice = _TEXT.search(ssml), _VOICE.search(ssml)
        text = unescape(found.group(1)) if found else ""
        name = voice.group(1) if voice else ""
        self.spoken.append((name, text))
        if self.cut:
            self.cut -= 1
            await socket.close(code=1011)
            return False
        await socket.send_str(
            "X-RequestId:1\r\nContent-Type:application/json; charset=utf-8\r\nPath:turn.start\r\n\r\n{}"
        )
        await socket.send_str(
            "X-RequestId:1\r\nContent-Type:application/json; charset=utf-8\r\nPath:response\r\n\r\n{}"
        )
        if self.mute or self.fails(text):
            self.mute = max(0, self.mute - 1)
        else:
            short = re.search(r"vi-VN,? ?(\w+Neural)", name)
            audio = await asyncio.to_thread(self.voice, text, f"vi-VN-{short.group(1)}" if short else name)
            offset = 0
            for word in text.split()[:200]:
                length = len(word) * TICKS // 12
                data = {
                    "Type": "WordBoundary",
                    "Data": {
                        "Offset": offset,
                        "Duration": length,
                        "text": {"Text": word, "Length": len(word), "BoundaryType": "WordBoundary"},
                    },
                }
                offset += length
                await socket.send_str(
                    "X-RequestId:1\r\nContent-Type:application/json; charset=utf-8\r\nPath:audio.metadata\r\n\r\n"
                    + json.dumps({"Metadata": [data]})
                )
            header = b"X-RequestId:1\r\nContent-Type:audio/mpeg\r\nPath:audio\r\n"
            for start in range(0, len(audio), 4096):
                await socket.send_bytes(len(header).to_bytes(2, "big") + header + audio[start : start + 4096])
        await socket.send_str("X-RequestId:1\r\nPath:turn.end\r\n\r\n{}")
        return True
