"""Both pipelines over a folder of photos and videos: upload, select, enhance, and everything that came of it in one folder.

Every step is remembered in the data directory: started again after a crash, the run goes on where it was.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx

from mediaselect import keys, sheet
from mediaselect.hosting import Host

POLL_SECONDS = 0.25
Say = Callable[[str], None]


class LocalRun:
    """One session on this machine."""

    def __init__(self, folder: Path, data: Path, output: Path, *, context: str = "", say: Say = print) -> None:
        self.folder, self.data, self.output = folder, data, output
        self.context = context
        self._say = say
        self._notes = data / "local.json"
        self.notes: dict[str, Any] = json.loads(self._notes.read_text()) if self._notes.exists() else {}

    def run(self, *, enhance: bool = True) -> dict[str, Any]:
        """Everything; returns the jobs' results as the API shows them. Raises httpx.HTTPStatusError, RuntimeError."""
        self.output.mkdir(parents=True, exist_ok=True)
        with Host(self.data) as host, host.client("local") as client:
            session = self._remember("session", lambda: str(uuid.uuid4()))
            self._upload(client, session)
            selection = self._select(client, session)
            results: dict[str, Any] = {"selection": selection}
            if enhance and selection["selected"]:
                results["enhancement"] = self._enhance(
                    client, session, [entry["key"] for entry in selection["selected"]]
                )
            self._save(client, results)
        return results

    def _remember(self, name: str, make: Callable[[], str]) -> str:
        if name not in self.notes:
            self.notes[name] = make()
            draft = self._notes.with_suffix(".new")
            draft.write_text(json.dumps(self.notes))
            draft.replace(self._notes)
        return str(self.notes[name])

    def _upload(self, client: httpx.Client, session: str) -> None:
        if self.notes.get("uploaded"):
            return
        files = [path for path in sorted(self.folder.iterdir()) if path.is_file() and keys.is_supported(path.name)]
        for path in files:
            query = {"sessionId": session, "filename": path.name, "contentType": keys.TYPES[keys.extension(path.name)]}
            target = _answer(client.get("/api/upload-url", params=query))
            httpx.put(
                target["uploadUrl"],
                content=path.read_bytes(),
                headers={"content-type": query["contentType"]},
                timeout=600,
            ).raise_for_status()
        self._remember("uploaded", lambda: "yes")
        self._say(f"  {len(files)} files uploaded from {self.folder}")

    def _select(self, client: httpx.Client, session: str) -> dict[str, Any]:
        job = self._remember(
            "selection",
            lambda: str(
                _answer(client.post("/api/selection/start", json={"sessionId": session, "tripContext": self.context}))[
                    "id"
                ]
            ),
        )
        result = self._follow(client, f"/api/selection/{job}/results", session, _selection_line)
        if result["status"] == "error":
            raise RuntimeError(f"the selection failed: {result['error']}")
        return result

    def _enhance(self, client: httpx.Client, session: str, chosen: list[str]) -> dict[str, Any]:
        job = self._remember(
            "enhancement",
            lambda: str(_answer(client.post("/api/enhance/start", json={"sessionId": session, "keys": chosen}))["id"]),
        )
        return self._follow(client, f"/api/enhance/{job}/results", session, _enhancement_line)

    def _follow(
        self, client: httpx.Client, path: str, session: str, describe: Callable[[Mapping[str, Any]], str]
    ) -> dict[str, Any]:
        began, last = time.monotonic(), ""
        while True:
            result = _answer(client.get(path, params={"sessionId": session}))
            line = describe(result)
            if line != last:
                self._say(f"  {time.monotonic() - began:6.1f} s  {line}")
                last = line
            if result["status"] in ("complete", "error"):
                return result
            time.sleep(POLL_SECONDS)

    def _save(self, client: httpx.Client, results: Mapping[str, Any]) -> None:
        def by_url(url: str) -> bytes:
            return client.get(url).raise_for_status().content

        def by_key(key: str) -> bytes:
            return client.get("/api/media/thumbnail", params={"key": key}).raise_for_status().content

        for name, result in results.items():
            (self.output / f"{name}.json").write_text(json.dumps(result, indent=2, ensure_ascii=False))
        sheet.selection(results["selection"], by_url).save(self.output / "contact-sheet.jpg", quality=85)
        if items := results.get("enhancement", {}).get("items"):
            for item in items:
                if item["enhancedKey"]:
                    url = _answer(client.get("/api/media/full", params={"key": item["enhancedKey"]}))["url"]
                    target = self.output / "enhanced" / keys.filename(item["enhancedKey"])
                    target.parent.mkdir(exist_ok=True)
                    target.write_bytes(httpx.get(url, timeout=600).raise_for_status().content)
            sheet.comparison(items, by_key).save(self.output / "before-after.jpg", quality=85)


def _selection_line(result: Mapping[str, Any]) -> str:
    if result["status"] == "complete":
        return (
            f"selection complete: {len(result['selected'])} selected, {len(result['excluded'])} excluded, "
            f"{len(result['skipped'])} skipped, {len(result['sceneGroups'])} scenes"
        )
    return f"selection {result['status']}"


def _enhancement_line(result: Mapping[str, Any]) -> str:
    phases: dict[str, int] = {}
    for item in result["items"]:
        phases[item["phase"]] = phases.get(item["phase"], 0) + 1
    listed = ", ".join(f"{count} {phase}" for phase, count in sorted(phases.items()))
    return f"enhancement {result['status']}: {result['completedCount']} of {result['totalCount']} done ({listed})"


def _answer(response: httpx.Response) -> dict[str, Any]:
    if response.is_error:
        try:
            raise RuntimeError(str(response.json()["error"]))
        except (ValueError, KeyError):
            response.raise_for_status()
    document = response.json()
    assert isinstance(document, dict)
    return document
