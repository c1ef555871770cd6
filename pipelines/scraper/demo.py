"""The demo: three itineraries of a simulated travel portal are imported into a simulated CMS, at the same time, with live progress.

    python pipelines/scraper/demo.py [--output demo-output/scraper]

It does what a user does: `stepwell serve` runs the machine, `python -m scraper serve` answers the API, imports are started over HTTP.
The result is a page one can look at: `index.html`, with the photos, their labels, and the structured data.
"""

from __future__ import annotations

import argparse
import html
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "simulators")]

import httpx  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.live import Live  # noqa: E402
from rich.table import Table  # noqa: E402
from scraper.__main__ import declared  # noqa: E402
from scraper.audit import audit  # noqa: E402
from scraper.browsing import browser_program  # noqa: E402
from scraper.cms import Cms  # noqa: E402
from scraper.transform.richtext import plain  # noqa: E402
from travelsim import FX1_ID, Cdn, PayloadCms, Portal, VisionModel, fx1, journey  # noqa: E402
from travelsim.payloadcms import KEY  # noqa: E402

from stepwell.toolkit.environment import Resources  # noqa: E402

MACHINE = "scraper-pipeline"
CALLER = "demo-caller-key"
console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)


def main() -> int:
    """Import, report, leave the artefacts; 0 when everything is as it should be."""
    parser = argparse.ArgumentParser(description="Import three itineraries of a simulated portal.")
    parser.add_argument("--output", type=Path, default=HERE.parents[1] / "demo-output" / "scraper")
    output: Path = parser.parse_args().output.resolve()
    # The simulated CMS begins empty every time, and so does what was imported into it.
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    data = output / "data"
    bucket = Resources("embedded", data, declared()).bucket("media")
    portal, model = Portal(), VisionModel(latency=0.15)
    cms = PayloadCms(storage=lambda key, content, kind: bucket.put(key, content, content_type=kind))
    with portal, cms, model, Cdn(bucket.get) as cdn:
        lost = _fill(portal, cms)
        environment = _environment(portal, cms, model, cdn, data)
        with _running(environment, data, output) as api:
            began = time.monotonic()
            jobs = [
                api.post("/api/scrape-itinerary", json={"itrvlUrl": _url(id)}).json()["jobId"]
                for id in portal.itineraries
            ]
            _follow(api, jobs)
            console.print("\nThe portal has the missing photo again; its import tries what failed once more:")
            portal.photos.update(lost)
            failed = next(job for job in jobs if api.get(f"/api/job-status/{job}").json()["images"]["failed"])
            api.post(f"/api/job-control/{failed}", json={"action": "retry-failed"})
            _follow(api, [failed])
            seconds = time.monotonic() - began
            states = [api.get(f"/api/job-status/{job}").json() for job in jobs]
        faults = audit(Cms(cms.url, KEY))
        faults += [
            f"job {state['jobId']} is {state['status']}: {state['error']}"
            for state in states
            if state["status"] != "completed"
        ]
        return _report(output, cms, model, states, faults, seconds)


def _url(id: str) -> str:
    return f"https://itrvl.com/client/portal/demo-access/{id}"


def _fill(portal: Portal, cms: PayloadCms) -> dict[str, bytes]:
    """The portal's itineraries and the CMS's countries; a photo that the portal has lost for now."""
    portal.add(fx1(shape="script" if browser_program() else "embedded"))
    delta = journey("okavango26", 26, name="Okavango", price=12400, size=(720, 480))
    family = journey("family12", 12, name="Chobe Family", price=7300, size=(720, 480))
    family.content["itineraries"][0]["children"] = 2
    shared = sorted(delta.photos)[:3]  # the same photos in two itineraries: stored once
    family.content["itineraries"][0]["segments"][0]["images"] += shared
    for itinerary in (delta, family):
        portal.add(itinerary)
    for name in ("Tanzania", "Botswana"):
        cms.add("destinations", name=name, slug=name.lower(), type="country", description="-", _status="published")
    key = sorted(delta.photos)[7]
    return {key: portal.photos.pop(key)}


def _environment(portal: Portal, cms: PayloadCms, model: VisionModel, cdn: Cdn, data: Path) -> dict[str, str]:
    return {
        **os.environ,
        **portal.environment,
        **model.environment,
        "STEPWELL_DATA": str(data),
        "STEPWELL_RESOURCES": json.dumps(declared()),
        "PAYLOAD_API_URL": cms.url,
        "PAYLOAD_API_KEY": KEY,
        "SCRAPER_API_KEY": CALLER,
        "LAMBDA_SCRAPER_SECRET": "demo-scraper-secret",
        "S3_BUCKET": "media",
        "IMGIX_DOMAIN": "media.example.test",
        "IMGIX_ORIGIN": cdn.url,
        "SITE_URL": "https://www.example.test",
        "BRAND_NAME": "Example Journeys",
        "PAUSE_FACTOR": "0.1",
        "PYTHONPATH": str(HERE),
    }


@contextmanager
def _running(environment: dict[str, str], data: Path, output: Path) -> Iterator[httpx.Client]:
    """The engine and the API in processes of their own; a client of the API."""
    ports = [_free_port(), _free_port()]
    environment |= {
        "STEPWELL_API_URL": f"http://127.0.0.1:{ports[0]}",
        "LAMBDA_SCRAPER_URL": f"http://127.0.0.1:{ports[1]}/scraper",
    }
    stepwell = str(Path(sys.executable).with_name("stepwell"))
    commands = (
        [stepwell, "serve", str(HERE), "--data", str(data), "--port", str(ports[0])],
        [sys.executable, "-m", "scraper", "serve", "--port", str(ports[1])],
    )
    console.print("$ stepwell serve pipelines/scraper --data ...    $ python -m scraper serve\n")
    with (output / "servers.log").open("w") as log:
        started = [subprocess.Popen(commands[0], env=environment, stdout=log, stderr=log)]
        try:
            _await(ports[0])
            environment["STEP_FUNCTION_ARN"] = _machine_arn(environment["STEPWELL_API_URL"])
            started.append(subprocess.Popen(commands[1], env=environment, stdout=log, stderr=log))
            _await(ports[1])
            url, headers = f"http://127.0.0.1:{ports[1]}", {"authorization": f"Bearer {CALLER}"}
            with httpx.Client(base_url=url, headers=headers, timeout=30) as api:
                yield api
        finally:
            for process in started:
                process.terminate()
            for process in started:
                process.wait(20)


def _machine_arn(url: str) -> str:
    """As `aws stepfunctions list-state-machines` says it."""
    headers = {"content-type": "application/x-amz-json-1.0", "x-amz-target": "AWSStepFunctions.ListStateMachines"}
    found = httpx.post(url, json={}, headers=headers).json()["stateMachines"]
    return next(str(machine["stateMachineArn"]) for machine in found if machine["name"] == MACHINE)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await(port: int) -> None:
    end = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise SystemExit("a server did not start; see servers.log") from None
            time.sleep(0.05)


def _follow(api: httpx.Client, jobs: list[int]) -> None:
    """Show how jobs stand until all are over."""
    told: dict[int, str] = {}
    with Live(console=console, refresh_per_second=8, transient=True) as live:
        while True:
            states = [api.get(f"/api/job-status/{job}").json() for job in jobs]
            if sys.stdout.isatty():
                live.update(_table(states))
            else:
                for state in states:
                    if told.get(state["jobId"]) != state["currentPhase"]:
                        told[state["jobId"]] = state["currentPhase"]
                        console.print(f"  job {state['jobId']}: {state['currentPhase']}")
            if all(state["status"] in ("completed", "failed") for state in states):
                break
            time.sleep(0.2)
    console.print(_table(states))


def _table(states: list[dict[str, Any]]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("job", "status", "phase", "photos", "again", "failed", "labels", "time"):
        table.add_column(
            name, justify="right" if name in ("photos", "again", "failed", "labels", "time") else "left", no_wrap=True
        )
    for state in states:
        images, seconds = state["images"], state["timing"]["duration"]
        table.add_row(
            str(state["jobId"]),
            state["status"],
            str(state["currentPhase"]),
            f"{images['processed'] + images['skipped']}/{images['total']}",
            str(images["skipped"]),
            str(images["failed"]),
            str(images["labeled"]),
            f"{seconds:.1f} s" if seconds else "",
        )
    return table


def _report(
    output: Path, cms: PayloadCms, model: VisionModel, states: list[dict[str, Any]], faults: list[str], seconds: float
) -> int:
    media = {found["id"]: found for found in cms.documents("media")}
    itineraries = [cms.document("itineraries", state["processedItinerary"]) for state in states]
    documents = [itinerary for itinerary in itineraries if itinerary]
    bucket = output / "data" / "buckets" / declared()["buckets"]["media"]["name"]
    (output / "store").symlink_to(bucket.relative_to(output), target_is_directory=True)
    (output / "itineraries.json").write_text(json.dumps(documents, indent=2) + "\n")
    (output / "index.html").write_text(_page(documents, media))
    lines = [
        "# Three itineraries, imported",
        "",
        f"{seconds:.0f} s, {len(model.images)} labels, {len(cms.requests)} requests to the CMS.",
        "",
    ]
    lines += [
        "| Itinerary | Days | Photos | Film | From | Structured data | Outcome |",
        "|---|--:|--:|---|--:|---|---|",
    ]
    for state, itinerary in zip(states, documents, strict=True):
        lines.append(
            f"| {itinerary['title']} | {len(itinerary['days'])} | {len(itinerary['images'])} | {'yes' if itinerary['heroVideo'] else 'no'} "
            f"| ${itinerary['investmentLevel']['fromPrice']:,} | {itinerary['schemaStatus']} | {str(state['notes']).splitlines()[-1]} |"
        )
    (output / "summary.md").write_text("\n".join(lines) + "\n")
    console.print()
    for line in lines[4:]:
        console.print(line, markup=False, soft_wrap=True)
    shared = [found for found in media.values() if len(found["usedInItineraries"]) > 1]
    captured = "in a browser" if browser_program() else "by plain HTTP"
    console.print(
        f"\n{seconds:.1f} s: {len(states)} imports, {len(media)} media ({len(shared)} shared by two itineraries), {len(model.images)} "
        f"labels, {FX1_ID[:6]}... read {captured}."
    )
    where = output.relative_to(Path.cwd()) if output.is_relative_to(Path.cwd()) else output
    console.print(f"Page: {where}/index.html   Store: {where}/store   Summary: {where}/summary.md")
    for fault in faults:
        console.print(f"[red]{fault}[/red]")
    return 1 if faults or len(documents) < len(states) else 0


STYLE = """body{font:16px/1.5 Georgia,serif;max-width:1080px;margin:0 auto;padding:24px;color:#2b2620;background:#fbf8f3}
h1{font-size:34px;margin:48px 0 8px}h2{font-size:20px;margin:28px 0 8px}.hero{width:100%;height:340px;object-fit:cover;border-radius:6px}
.facts{color:#7a6a55}.photos{display:grid;grid-template-columns:repeat(auto-fill,minmax(200px,1fr));gap:12px}figure{margin:0}
figure img{width:100%;height:140px;object-fit:cover;border-radius:4px}figcaption{font:12px/1.35 system-ui,sans-serif;color:#6b6257}
video{width:320px;border-radius:4px}details{margin:16px 0}pre{font-size:12px;white-space:pre-wrap;background:#f1ece3;padding:12px}"""


def _page(itineraries: list[dict[str, Any]], media: dict[int, dict[str, Any]]) -> str:
    """What an editor would see of the drafts: photos at their segments with their labels."""
    parts = [
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>Imported itineraries</title><style>{STYLE}</style>"
    ]

    def picture(id: int, kind: str = "") -> str:
        found = media[id]
        source, alt = html.escape(found["originalS3Key"]), html.escape(found["alt"] or "", True)
        return f"<img class='{kind}' loading='lazy' src='store/{source}' alt='{alt}'>"

    for itinerary in itineraries:
        price, nights = itinerary["investmentLevel"]["fromPrice"], itinerary["overview"]["nights"]
        countries = ", ".join(entry["country"] for entry in itinerary["overview"]["countries"])
        parts.append(
            f"<h1>{html.escape(itinerary['title'])}</h1><p class='facts'>{nights} nights · {countries} · from ${price:,}</p>"
        )
        if itinerary["heroImage"]:
            parts.append(picture(itinerary["heroImage"], "hero"))
        parts.append(f"<p>{html.escape(plain(itinerary['overview']['summaryItrvl']))}</p>")
        parts.append(f"<p class='facts'>{html.escape(plain(itinerary['investmentLevel']['includesItrvl']))}</p>")
        if itinerary["heroVideo"]:
            parts.append(f"<video controls muted src='store/{media[itinerary['heroVideo']]['originalS3Key']}'></video>")
        for day in itinerary["days"]:
            parts.append(f"<h2>Day {day['dayNumber']} · {html.escape(day['title'])}</h2>")
            for block in day["segments"]:
                name = block.get("accommodationName") or block.get("title")
                parts.append(f"<p><b>{block['blockType']}</b>: {html.escape(str(name))}</p>")
                if block.get("images"):
                    figures = [
                        f"<figure>{picture(id)}<figcaption>{html.escape(media[id]['scene'] or 'no label')}<br>"
                        f"{media[id]['imageType']} · {media[id]['quality']} · {media[id]['timeOfDay']}</figcaption></figure>"
                        for id in block["images"]
                    ]
                    parts.append(f"<div class='photos'>{''.join(figures)}</div>")
        data = html.escape(json.dumps(itinerary["schema"], indent=2))
        parts.append(
            f"<details><summary>Structured data ({itinerary['schemaStatus']})</summary><pre>{data}</pre></details>"
        )
    return "".join(parts)


if __name__ == "__main__":
    raise SystemExit(main())
