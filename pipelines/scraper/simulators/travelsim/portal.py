"""The travel portal on loopback: itinerary pages, the two JSON documents they fetch, the photo CDN, and films as HLS.

    with Portal() as portal:
        portal.add(Itinerary(FX1_PRICING, FX1_CONTENT, photos={"0b6c1d/1.jpg": jpeg}, film=True))
        ... PORTAL_ORIGIN=portal.url ITRVL_IMAGE_CDN_BASE=f"{portal.url}/photos" ITRVL_VIDEO_CDN_BASE=f"{portal.url}/hls" ...

A page shows its data in one of three ways: `embedded` carries both documents, `preload` names both URLs for the browser to fetch, `script`
computes the URLs in JavaScript, with a token that only running the script gives.
"""

from __future__ import annotations

import html
import json
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from .loopback import Loopback, Reply, Request

Shape = Literal["embedded", "preload", "script"]
PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>{head}
<link rel="icon" href="data:,"></head><body><h1>{title}</h1><main id="app">Loading ...</main>{body}</body></html>"""
SCRIPT = """
const id = document.currentScript.dataset.id, key = document.currentScript.dataset.key;
const sum = Array.from(id + key).reduce((all, one) => (all * 31 + one.charCodeAt(0)) % 1000003, 7);
const ask = name => fetch(["", "ap" + "i", name].join("/") + (name.includes("?") ? "&" : "?") + "token=" + sum).then(a => a.json());
Promise.all([ask("Itineraries?filter=" + encodeURIComponent(id)), ask("PresentationEdits/renderDataClient?itineraryId=" + id)])
  .then(([list, data]) => { document.getElementById("app").textContent = data.itineraries[0].name + ": " + list[0].finance.sellingPrice; });
"""


@dataclass
class Itinerary:
    """What the portal has of an itinerary. `photos`: bytes by key; a key without bytes is 404."""

    pricing: Any
    content: dict[str, Any]
    photos: Mapping[str, bytes] = field(default_factory=dict)
    film: bool = False
    shape: Shape = "embedded"

    @property
    def id(self) -> str:
        return str(self.content["itineraries"][0]["id"])


class Portal(Loopback):
    """Pages at `/client/portal/ACCESS/ID`."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(port)
        self.itineraries: dict[str, Itinerary] = {}
        self.photos: dict[str, bytes] = {}
        self._tokens: dict[str, str] = {}

    def add(self, itinerary: Itinerary, id: str | None = None) -> None:
        """Show an itinerary, at its own id or at another one."""
        self.itineraries[id or itinerary.id] = itinerary
        self.photos.update(itinerary.photos)

    @property
    def environment(self) -> dict[str, str]:
        """The variables that lead the pipeline here."""
        return {
            "PORTAL_ORIGIN": self.url,
            "ITRVL_IMAGE_CDN_BASE": f"{self.url}/photos",
            "ITRVL_VIDEO_CDN_BASE": f"{self.url}/hls",
        }

    def answer(self, request: Request) -> Reply:
        steps = request.path.strip("/").split("/")
        if steps[:2] == ["client", "portal"] and len(steps) == 4:
            found = self.itineraries.get(steps[3])
            return Reply(404, b"", "text/html") if found is None else self._page(found, steps[3], steps[2])
        if request.path == "/api/Itineraries":
            return self._data(request, request.query.get("filter", ""), "pricing")
        if request.path == "/api/PresentationEdits/renderDataClient":
            return self._data(request, request.query.get("itineraryId", ""), "content")
        if steps[0] == "photos":
            data = self.photos.get("/".join(steps[1:]))
            return Reply(404, b"", "text/plain") if data is None else Reply(200, data, _type(data))
        if steps[0] == "hls":
            return self._film(steps[1:])
        return Reply(404, b"", "text/plain")

    def _page(self, itinerary: Itinerary, id: str, access: str) -> Reply:
        pricing, content = (
            f"/api/Itineraries?filter={quote(id)}",
            f"/api/PresentationEdits/renderDataClient?itineraryId={quote(id)}",
        )
        head = body = ""
        if itinerary.shape == "embedded":
            for url, document in ((pricing, itinerary.pricing), (content, itinerary.content)):
                text = json.dumps(document).replace("</", "<\\/")
                body += f'<script type="application/json" data-url="{html.escape(url)}">{text}</script>'
        elif itinerary.shape == "preload":
            head = "".join(
                f'<link rel="preload" as="fetch" crossorigin href="{html.escape(url)}">' for url in (pricing, content)
            )
        else:
            body = f'<script data-id="{html.escape(id)}" data-key="{html.escape(access)}">{SCRIPT}</script>'
            token = 7
            for letter in id + access:
                token = (token * 31 + ord(letter)) % 1000003
            self._tokens[id] = str(token)
        title = html.escape(str(itinerary.content["itineraries"][0].get("name")))
        return Reply(200, PAGE.format(title=title, head=head, body=body).encode(), "text/html; charset=utf-8")

    def _data(self, request: Request, id: str, kind: str) -> Reply:
        itinerary = self.itineraries.get(id)
        if itinerary is None:
            return Reply.of({"error": "not found"}, 404)
        if itinerary.shape == "script" and request.query.get("token") != self._tokens.get(id):
            return Reply.of({"error": "forbidden"}, 403)
        return Reply.of(getattr(itinerary, kind))

    def _film(self, steps: list[str]) -> Reply:
        name = steps[-1]
        if name.startswith("assembled_"):
            id = name.removeprefix("assembled_").split("_480.m3u8")[0]
            if id not in self.itineraries or not self.itineraries[id].film:
                return Reply(404, b"", "text/plain")
            name = "film.m3u8"
        data = film().get(name)
        if data is None:
            return Reply(404, b"", "text/plain")
        return Reply(200, data, "application/vnd.apple.mpegurl" if name.endswith("m3u8") else "video/mp2t")


@lru_cache(maxsize=1)
def film() -> dict[str, bytes]:
    """A film of two seconds with sound, as HLS: the files by name."""
    import imageio_ffmpeg

    with tempfile.TemporaryDirectory(prefix="hls-") as folder:
        command = [
            imageio_ffmpeg.get_ffmpeg_exe(),
            "-loglevel",
            "error",
            "-f",
            "lavfi",
            "-i",
            "testsrc2=size=320x180:rate=12:duration=2",
        ]
        command += ["-f", "lavfi", "-i", "sine=frequency=330:duration=2", "-c:v", "libx264", "-preset", "ultrafast"]
        command += [
            "-pix_fmt",
            "yuv420p",
            "-c:a",
            "aac",
            "-shortest",
            "-f",
            "hls",
            "-hls_time",
            "1",
            "-hls_list_size",
            "0",
        ]
        subprocess.run([*command, str(Path(folder) / "film.m3u8")], check=True)
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def _type(data: bytes) -> str:
    if data.startswith(b"\x89PNG"):
        return "image/png"
    return "image/webp" if data[8:12] == b"WEBP" else "image/jpeg"


class Cdn(Loopback):
    """The image CDN in front of the bucket: serves `objects(key)`; `fail(status=402)` is the outage it once had."""

    def __init__(self, objects: Any, port: int = 0) -> None:
        super().__init__(port)
        self._objects = objects

    def answer(self, request: Request) -> Reply:
        try:
            data = self._objects(request.path.lstrip("/"))
        except Exception:
            return Reply(404, b"", "text/plain")
        return Reply(200, data, _type(data))
