"""The demo: 24 receipts of four shops become two searchable collections. `python pipelines/embeddings/demo.py --output DIR`.

The machines run durably in DIR/data, the provider is the simulator with its real small embedding model. Leaves DIR/neighbours.md.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE / "simulators")]

import msgspec  # noqa: E402
from openai_api import Behaviour, OpenAIApi, Refusal  # noqa: E402
from receiptbook import shop_receipt, write  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.live import Live  # noqa: E402
from rich.table import Table  # noqa: E402
from rich.text import Text  # noqa: E402

import stepwell  # noqa: E402
from stepwell.project import load_project  # noqa: E402
from stepwell.toolkit.environment import Resources  # noqa: E402

RECEIPTS = 24
QUESTIONS = {
    "word": ["milk", "paint", "croissant", "shampoo"],
    "line": ["bread from a bakery", "tools and hardware", "a cup of coffee"],
}
console = Console()


def main() -> int:
    """Run it; 0 when everything succeeded."""
    parser = argparse.ArgumentParser(description="Embeddings of receipts, end to end, against the simulated provider.")
    parser.add_argument("--output", type=Path, required=True)
    output: Path = parser.parse_args().output.resolve()
    data = output / "data"
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True)
    project = load_project(HERE)
    table = Resources("embedded", data, project.resources).table("receipts")
    write(table, [shop_receipt(number) for number in range(RECEIPTS)])
    with OpenAIApi() as api:
        numbers = itertools.count()

        def decide(batch: Any, requests: Any) -> Behaviour:
            """In the first 24 batches of an entity, every fourth has a request that the provider was too busy for."""
            busy = next(numbers) % 4 == 0 and not again
            return Behaviour(refusals={requests[-1]["custom_id"]: Refusal(429, "rate_limit")} if busy else {})

        again = False
        api.decide = decide
        variables = {"OPENAI_BASE_URL": api.url, "OPENAI_API_KEY": api.key}
        # Trusted code and a short life: the functions run in this process, where Chroma is loaded once.
        functions = {
            name: msgspec.structs.replace(
                spec, inline=True, concurrency=8, environment={**spec.environment, **variables}
            )
            for name, spec in project.functions.items()
        }
        os.environ |= {**next(iter(functions.values())).environment, "STEPWELL_DATA": str(data)}
        project = msgspec.structs.replace(project, functions=functions)
        with stepwell.open(data) as engine:
            machines = engine.load_project(project, schedules=False)
            for entity in ("line", "word"):
                for again in (False, True):
                    if again:
                        console.print("    once more, with what the provider was too busy for:")
                    for purpose in ("submit", "ingest"):
                        name = f"demo-{entity}-{purpose}{'-2' if again else ''}"
                        run(machines[f"{entity}-embedding-{purpose}"], name, entity, purpose)
        report = neighbours(api)
    (output / "neighbours.md").write_text(report)
    console.print(f"  {output / 'neighbours.md'}")
    return 0


def run(machine: Any, name: str, entity: str, purpose: str) -> None:
    """One execution, with its progress."""
    began, steps, tasks = time.monotonic(), "", 0
    execution = machine.start({}, name=name)
    with Live(console=console, refresh_per_second=8, transient=True) as live:
        for event in execution.events():
            steps = event.get("stateEnteredEventDetails", {}).get("name", steps)
            tasks += event["type"] == "LambdaFunctionSucceeded"
            live.update(f"  {entity}s {purpose:7} {steps}  ·  {tasks} calls  ·  {time.monotonic() - began:4.1f} s")
    found = execution.describe()
    if found.status != "SUCCEEDED":
        raise SystemExit(f"{name}: {found.status} {found.error}: {found.cause}")
    result = json.loads(found.output)
    if purpose == "submit":
        said = f"{result['batch_count']} batches, {result['claimed_items']} {entity}s claimed"
    else:
        merged, marked = result["final_merge_result"], result["mark_complete_result"]
        said = f"{merged['total_embeddings']} vectors published, {merged['snapshot_count']} in all; {marked['items_marked']} {entity}s done"
    console.print(f"  ✓ {entity}s {purpose:9} {said}  ({time.monotonic() - began:.1f} s)")


def neighbours(api: OpenAIApi) -> str:
    """What the published snapshots answer, as tables; also printed."""
    from embeddings.entities import entity_named
    from embeddings.search import nearest_to_texts
    from embeddings.services import Services

    services, text = Services.from_environment(), "# Nearest neighbours in the published snapshots\n"
    for entity, questions in QUESTIONS.items():
        table = Table(title=f"Nearest {entity}s", show_edge=False)
        for column in ("asked", "found", "shop", "distance"):
            table.add_column(column)
        text += f"\n## {entity.capitalize()}s\n\n| asked | found | shop | distance |\n|---|---|---|---|\n"
        for question, answer in zip(
            questions, nearest_to_texts(services, entity_named(entity), questions, 25), strict=True
        ):
            for position, one in enumerate(list(unique(answer))[:3]):
                shop, found = str(one.metadata.get("merchant_name", "")), in_context(one)
                table.add_row("" if position else question, Text(found), shop, f"{one.distance:.3f}")
                text += f"| {'' if position else question} | {found} | {shop} | {one.distance:.3f} |\n"
        console.print(table)
    return text + f"\n{api.calls('create')} provider batches, {len(api.seen())} calls in all.\n"


def in_context(one: Any) -> str:
    """A word between its neighbours; a line as it is."""
    if "left" not in one.metadata:
        return str(one.text)
    around = [str(one.metadata[side]).replace("<EDGE>", "·") for side in ("left", "right")]
    return f"{around[0]} [{one.text}] {around[1]}"


def unique(found: list[Any]) -> Iterator[Any]:
    """The nearest of each text."""
    seen: set[str] = set()
    for one in found:
        name = one.text.rstrip("0123456789. ")
        if name not in seen:
            seen.add(name)
            yield one


if __name__ == "__main__":
    raise SystemExit(main())
