"""The demo: a camera cloud with real videos is archived by the real machine, with its progress, into a folder one can look at.

    python pipelines/cloudsync/demo.py [--output demo-output/cloudsync]

Run it again: it finds nothing new. What it does, a user does with the same commands: store the cookies, run the machine.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "simulators")]

import imageio_ffmpeg  # noqa: E402
from mediacloud import Clip, Content, FileContent, Media, MediaCloud, photo, video  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from stepwell.toolkit.environment import Resources  # noqa: E402
from stepwell.toolkit.errors import ObjectNotFound  # noqa: E402
from stepwell.toolkit.objects import Bucket  # noqa: E402

STEPWELL = Path(sys.executable).with_name("stepwell")
PAGE_SIZE = 6

console = Console(highlight=False, width=None if sys.stdout.isatty() else 120, soft_wrap=not sys.stdout.isatty())


@dataclass(frozen=True)
class Shot:
    """An item of the demo's library: `clip` is what is in it, `remark` why it is there."""

    media_id: str
    filename: str
    clip: Clip
    created_at: str
    remark: str = ""
    photo: bool = False
    proxy_only: bool = False


LIBRARY = (
    Shot("mRide01", "GH010042.MP4", Clip(0, 1280, 720, 6), "2025-11-10T14:23:45Z"),
    Shot("mRide02", "GH010043.MP4", Clip(1, seconds=4), "2025-11-10T15:02:10Z"),
    Shot("mPhone1", "PXL_20251110_150000.mp4", Clip(3, 320, 180, 1), "2025-11-10T15:00:00Z", "from a phone"),
    Shot("mShot01", "GOPR0007.JPG", Clip(4, 1920, 1080), "2025-11-09T09:00:00Z", "a photo", photo=True),
    Shot("mLoop01", "GL010003.MP4", Clip(2, seconds=5), "2025-11-08T07:30:00Z", "looping"),
    Shot("mHevc01", "GX010051.MP4", Clip(6, 1280, 720, 4), "2025-10-30T18:12:00Z", "link refused once"),
    Shot("mRide03", "GH010044.MP4", Clip(12, 1280, 720, 5), "2025-10-30T17:00:00Z", "connection broke once"),
    Shot("mTwin01", "GH010042.MP4", Clip(9, seconds=5), "2025-11-02T10:00:00Z", "same name, same month"),
    Shot("mShot02", "GOPR0008.JPG", Clip(7, 1920, 1080), "2025-10-21T12:00:00Z", "a photo", photo=True),
    Shot("mChap02", "GP020042.MP4", Clip(8, seconds=3), "2025-10-20T11:00:00Z", "a chapter"),
    Shot("mProxy1", "GH010040.MP4", Clip(10, seconds=4), "2025-09-14T08:00:00Z", "original gone", proxy_only=True),
    Shot("mEdit01", "", Clip(11, 320, 180, 1), "2025-09-13T08:00:00Z", "an edit without a name"),
    Shot("mSphere", "GS010001.360", Clip(5, 1280, 640, 4), "2025-09-12T16:45:00Z", "360"),
    Shot("mRide04", "GH010039.MP4", Clip(13, seconds=6), "2025-09-11T06:15:00Z"),
    Shot("mDead01", "GH010038.MP4", Clip(15, 320, 180, 1), "2025-09-10T06:15:00Z", "removed meanwhile"),
    Shot("mRide05", "GH010037.MP4", Clip(18, 1280, 720, 3), "2025-09-09T06:15:00Z"),
)


def main() -> int:
    """Archive the demo's library and tell what happened; 0 when everything is as it should be."""
    parser = argparse.ArgumentParser(description="Archive a simulated camera cloud.")
    parser.add_argument("--output", type=Path, default=HERE.parents[1] / "demo-output" / "cloudsync")
    output: Path = parser.parse_args().output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    data = output / "data"

    console.print("Making the camera cloud's videos (the first time only) ...")
    contents = {shot.media_id: _content(shot) for shot in LIBRARY}
    with MediaCloud() as cloud:
        _fill(cloud, contents)
        console.print(
            f"The camera cloud is at {cloud.url}: {len(LIBRARY)} items on {-(-len(LIBRARY) // PAGE_SIZE)} pages\n"
        )
        environment = {
            **os.environ,
            "PROVIDER_API_BASE": cloud.url,
            "PAGE_SIZE": str(PAGE_SIZE),
            "PYTHONPATH": str(HERE),
        }
        _store_cookies(cloud, data, output, environment)
        name = f"demo-{datetime.now(UTC):%Y%m%d-%H%M%S}"
        result = _run(name, data, environment)
        if result is None:
            return 1
        return _report(output, data, contents, result, cloud)


def _content(shot: Shot) -> Content:
    return FileContent(photo(shot.clip) if shot.photo else video(shot.clip))


def _fill(cloud: MediaCloud, contents: dict[str, Content]) -> None:
    for shot in LIBRARY:
        content = contents[shot.media_id]
        cloud.add(
            Media(
                shot.media_id,
                shot.filename or None,
                None if shot.proxy_only else content,
                shot.created_at,
                type="Photo" if shot.photo else "Video",
                duration_ms=None if shot.photo else 1000 * shot.clip.seconds,
                width=shot.clip.width,
                height=shot.clip.height,
                proxies={"high_res_proxy_mp4": content} if shot.proxy_only else {},
            )
        )
    cloud.fail("cdn", media_id="mHevc01", status=403)
    cloud.fail("cdn", media_id="mRide03", reset_after=200_000)
    cloud.fail("download", media_id="mDead01", status=404)


def _store_cookies(cloud: MediaCloud, data: Path, output: Path, environment: dict[str, str]) -> None:
    """As an operator does it: the Cookie header of a browser in a file, and the tool that checks and stores it."""
    file = output / "cookies.txt"
    file.write_text(cloud.session.cookies)
    command = [sys.executable, "-m", "cloudsync", "credentials", str(file), "--data", str(data)]
    try:
        subprocess.run(command, check=True, env=environment)
    finally:
        file.unlink()


def _run(name: str, data: Path, environment: dict[str, str]) -> dict[str, Any] | None:
    """`stepwell run`, with its live progress on the terminal; then the execution as `stepwell show` gives it."""
    command = [str(STEPWELL), "run", str(HERE), "--data", str(data), "--name", name]
    console.print(f"$ stepwell run pipelines/cloudsync --data {_short(data)} --name {name}")
    console.print(
        "  The first time, one connection breaks on purpose: that download is tried again after 30 seconds.\n"
    )
    began = time.monotonic()
    code = subprocess.call([*command, "--json"], env=environment, stdout=subprocess.DEVNULL)
    seconds = time.monotonic() - began
    if code != 0:
        console.print(f"[red]The run failed (exit code {code}); see: stepwell show {name} --data {_short(data)}[/red]")
        return None
    shown = subprocess.run(
        [str(STEPWELL), "show", name, "--data", str(data), "--json"], check=True, capture_output=True, text=True
    )
    record = json.loads(shown.stdout)
    document = record["output"] if isinstance(record["output"], dict) else json.loads(record["output"])
    return {**document["summary"], "seconds": round(seconds, 1), "execution": name}


def _report(output: Path, data: Path, contents: dict[str, Content], summary: dict[str, Any], cloud: MediaCloud) -> int:
    resources = Resources("embedded", data, json.loads(_declared()))
    bucket = resources.bucket("archive")
    rows = {row["media_id"]: row for row in resources.table("gopro-sync-tracker").scan()}
    archive = output / "archive"
    if not archive.is_symlink():
        archive.symlink_to(Path("data") / "buckets" / bucket.name, target_is_directory=True)

    files: list[dict[str, Any]] = []
    left_out: list[dict[str, str]] = []
    faults: list[str] = []
    for shot in LIBRARY:
        row = rows.get(shot.media_id, {})
        if row.get("status") != "COMPLETED" or row.get("note") == "source_deleted":
            left_out.append({"file": shot.filename or "(no name)", "why": row.get("error_type") or shot.remark})
            continue
        key = row["s3_key"]
        fault = _fault(bucket, key, contents[shot.media_id])
        if fault:
            faults.append(f"{key} {fault}")
        files.append(
            {
                "file": row["filename"],
                "key": key,
                "bytes": row["bytes_transferred"],
                "quality": row["delivered_quality"],
                "seconds": float(row.get("transfer_duration", Decimal(0))),
                "retries": int(row.get("retry_count", 0)),
                "remark": shot.remark,
                "verified": fault is None,
            }
        )
    document = {"summary": summary, "files": files, "left_out": left_out, "faults": faults}
    (output / "summary.json").write_text(json.dumps(document, indent=2) + "\n")
    (output / "summary.md").write_text(_markdown(document))
    _show(document)
    downloads = len(cloud.requests("cdn"))
    console.print(
        f"\n{summary['completion_reason']}: {summary['total_synced']} items done by this run, "
        f"{summary['already_synced']} were done before, {summary['failed_count']} failed; "
        f"{len(files)} files in the archive; {downloads} requests to the CDN, {summary['seconds']} s."
    )
    console.print(f"Files: {_short(archive)}   Summary: {_short(output / 'summary.md')}")
    for fault in faults:
        console.print(f"[red]{fault}[/red]")
    return 1 if faults or summary["failed_count"] else 0


def _show(document: dict[str, Any]) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("archived as", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("quality", no_wrap=True)
    table.add_column("time", justify="right", no_wrap=True)
    table.add_column("remark", style="dim")
    for file in document["files"]:
        mark = "[green]✓[/green]" if file["verified"] else "[red]✗[/red]"
        table.add_row(
            f"{mark} {file['key']}", _size(file["bytes"]), file["quality"], f"{file['seconds']:.2f} s", file["remark"]
        )
    console.print()
    console.print(table)
    for item in document["left_out"]:
        console.print(f"[dim]- {item['file']}: {item['why']}[/dim]")


def _markdown(document: dict[str, Any]) -> str:
    summary = document["summary"]
    lines = [
        "# The camera cloud, archived",
        "",
        f"{summary['completion_reason']}: {summary['total_synced']} items done by execution `{summary['execution']}`, "
        f"{summary['already_synced']} were done before, {summary['failed_count']} failed; "
        f"{len(document['files'])} files. {summary['seconds']} s.",
        "",
        "| File | Size | Key | Quality | Time | Retries | Verified | Remark |",
        "|---|--:|---|---|--:|--:|---|---|",
    ]
    lines += [
        f"| {file['file']} | {_size(file['bytes'])} | `{file['key']}` | {file['quality']} | {file['seconds']:.2f} s | "
        f"{file['retries']} | {'yes' if file['verified'] else '**no**'} | {file['remark']} |"
        for file in document["files"]
    ]
    lines += ["", "Not archived, as it should be:", ""]
    lines += [f"* {item['file']} ({item['why']})" for item in document["left_out"]]
    return "\n".join(lines) + "\n"


def _fault(bucket: Bucket, key: str, content: Content) -> str | None:
    """What is wrong with an archived file: its bytes are compared, and ffmpeg decodes every frame of it."""
    try:
        with bucket.open(key) as reader:
            if hashlib.file_digest(reader, "sha256").digest() != _digest(content):
                return "has other bytes than the cloud served"
        with bucket.open(key) as reader:
            command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-xerror", "-i", "pipe:", "-f", "null", "-"]
            done = subprocess.run(command, input=reader.readall(), capture_output=True, check=False)
    except ObjectNotFound:
        return "is not in the archive any more"
    return None if done.returncode == 0 else "cannot be played"


def _digest(content: Content) -> bytes:
    whole = hashlib.sha256()
    for piece in content.read(0, content.size):
        whole.update(piece)
    return whole.digest()


def _declared() -> str:
    from cloudsync.__main__ import declared

    return json.dumps(declared())


def _size(count: int) -> str:
    return f"{count / 1_000_000:.2f} MB" if count >= 100_000 else f"{count / 1000:.1f} kB"


def _short(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


if __name__ == "__main__":
    raise SystemExit(main())
