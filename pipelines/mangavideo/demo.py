"""The demo: two comics become narrated videos by the real machine; the first renderer is interrupted on the way, and another goes on.

    python pipelines/mangavideo/demo.py [--output demo-output/mangavideo]

Catalogue, language model, read-aloud service and video host are simulated on loopback; the voice is eSpeak NG's, the videos are real.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "simulators")]

from mangaworld import Catalogue, Model, ReadAloud, VideoHost, manga  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

console = Console(highlight=False, width=None if sys.stdout.isatty() else 120, soft_wrap=not sys.stdout.isatty())
TITLES = ("First Light", "Second Wind")


def main() -> int:
    """Run one day and show what came of it; 0 when everything is as it should be."""
    parser = argparse.ArgumentParser(description="Make narrated videos of simulated comics.")
    parser.add_argument("--output", type=Path, default=HERE.parents[1] / "demo-output" / "mangavideo")
    output: Path = parser.parse_args().output.resolve()
    data = output / "data"
    shutil.rmtree(data, ignore_errors=True)
    output.mkdir(parents=True, exist_ok=True)
    library = [manga(number, title, 2, 2) for number, title in enumerate(TITLES, 1)]
    with Catalogue(library) as catalogue, Model(sentences=2) as model, ReadAloud() as speech, VideoHost() as host:
        os.environ |= {
            "PYTHONPATH": str(HERE),
            "STEPWELL_DATA": str(data),
            "MANGADEX_BASE_URL": catalogue.url,
            "DEEPINFRA_BASE_URL": model.base_url,
            "EDGE_TTS_URL": speech.url,
            "YOUTUBE_UPLOAD_BASE": host.upload_base,
            "VIDEO_PRESET": "ultrafast",
            "CHUNK_SCENES": "1",
            "HEARTBEAT_SECONDS": "1",
        }
        asyncio.run(_day(data, model, host))
        return _report(output, data, host)


async def _day(data: Path, model: Model, host: VideoHost) -> None:
    from stepwell import Engine
    from stepwell.api.app import create_app
    from stepwell.api.server import Server
    from stepwell.project import load_project
    from stepwell.toolkit.environment import Resources

    project = load_project(HERE, "quick")
    ports = Resources("embedded", data, project.resources)
    ports.secret("manga-pipeline/deepinfra-api-key").write({"api_key": model.key})
    ports.secret("manga-pipeline/youtube-oauth").write(host.secret())
    ports.table("settings").put({"setting_key": "pipeline_settings", "daily_quota": len(TITLES)})
    interrupter = threading.Thread(target=_interrupt, args=(ports,), daemon=True)
    async with Engine.open(data) as engine, Server(create_app(engine), port=0) as server:
        machine = (await engine.load_project(project, schedules=False))["manga-pipeline"]
        console.print(f"The Step Functions API is at {server.url}; workers answer their task tokens there.\n")
        interrupter.start()
        began = time.monotonic()
        execution = await machine.start({}, name=f"demo-{int(time.time())}")
        async for event in execution.events():
            _show(event, time.monotonic() - began)


def _interrupt(ports: Any) -> None:
    """As the cloud does it: the first renderer is told to go, in the middle of its work."""
    machines = ports.worker("renderer")
    bucket = ports.bucket("assets")
    while not any(found.key.endswith("chunk_0001.mp4") for found in bucket.list("jobs/")):
        time.sleep(0.02)
    for machine in machines.find():
        console.print("[yellow]          the renderer's machine is taken away (SIGTERM)[/yellow]")
        machines.terminate(machine.id)


def _show(event: dict[str, Any], seconds: float) -> None:
    name = event.get("stateEnteredEventDetails", {}).get("name")
    failed = event.get("taskFailedEventDetails")
    if name and not name.endswith("Choice") and not name.startswith(("Prepare", "Check", "Init")):
        console.print(f"  {seconds:5.1f} s  {name}")
    elif failed:
        console.print(f"[yellow]  {seconds:5.1f} s  {failed['error']}: tried again[/yellow]")


def _report(output: Path, data: Path, host: VideoHost) -> int:
    from mangavideo.video import probe

    from stepwell.project import load_project
    from stepwell.toolkit.environment import Resources

    ports = Resources("embedded", data, load_project(HERE).resources)
    jobs = sorted(ports.table("manga_jobs").scan(), key=lambda row: str(row["job_id"]))
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("video", "title", "length", "picture", "sound", "size"):
        table.add_column(column, no_wrap=True)
    summary: list[dict[str, Any]] = []
    for video_id, session in host.videos.items():
        path = output / f"{video_id}.mp4"
        path.write_bytes(session.data)
        found = probe(path)
        title = session.body["snippet"]["title"]
        summary.append(
            {"file": path.name, "title": title, "seconds": round(found.video_seconds, 2), "bytes": found.size}
        )
        table.add_row(
            path.name,
            title,
            f"{found.video_seconds:.1f} s",
            f"{found.width}x{found.height} {found.video_codec}, {found.frame_rate:.0f} fps",
            f"{found.audio_codec}, {found.audio_seconds:.1f} s",
            f"{found.size / 1_000_000:.2f} MB",
        )
    machines = [
        json.loads(path.read_text())["exit_code"] for path in (data / "machines/renderer").glob("*/status.json")
    ]
    console.print()
    console.print(table)
    done = sum(row["status"] == "completed" for row in jobs)
    console.print(
        f"\n{done} of {len(jobs)} jobs completed; {len(machines)} renderers, {machines.count(143)} of them interrupted; "
        f"{len(host.pieces())} pieces uploaded. Files: {output}"
    )
    (output / "summary.json").write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
    return 0 if done == len(jobs) == len(host.videos) == len(TITLES) and machines.count(143) == 1 else 1


if __name__ == "__main__":
    raise SystemExit(main())
