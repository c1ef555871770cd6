"""One embeddings pipeline for a test: a data directory, the simulated provider, runs of the real machines on the real engine.

The functions are the real ones; they run in the test's process, where Chroma and the provider's client are imported once. (The tests of
killed processes run them in workers.) Only the engine's clock is virtual.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from embeddings.entities import Entity, entity_named
from embeddings.services import Services
from embeddings.snapshots import Snapshots
from openai_api import OpenAIApi
from receiptbook import Receipt, write

from embeddings import functions
from stepwell.engine import Engine
from stepwell.engine.clock import VirtualClock
from stepwell.functions import Context
from stepwell.project import load_project
from stepwell.toolkit.environment import Resources

from . import PROJECT

QUICK = {
    "RETRY_FIRST_S": "0.01",
    "BREAKER_RECOVERY_S": "0.01",
    "LOCK_FIRST_S": "0.02",
    "LOCK_TOTAL_S": "5",
    "LOCK_MAX_S": "0.1",
    "LOCK_LIVE_HEARTBEAT_S": "0.001",
}
"""Real waits inside functions, shortened."""

FUNCTIONS = {name: spec.handler.split(":")[1] for name, spec in load_project(PROJECT).functions.items()}


@dataclass
class Run:
    """A finished execution."""

    name: str
    status: str
    error: str | None
    cause: str | None
    output: Any
    history: list[dict[str, Any]]

    @property
    def visited(self) -> list[str]:
        """States entered, in order."""
        return [
            event["stateEnteredEventDetails"]["name"] for event in self.history if "stateEnteredEventDetails" in event
        ]

    def sizes(self) -> dict[str, int]:
        """The largest input or output of each state, in bytes."""
        found: Counter[str] = Counter()
        for event in self.history:
            for details in ("stateEnteredEventDetails", "stateExitedEventDetails"):
                if details in event:
                    text = event[details].get("input") or event[details].get("output") or ""
                    found[event[details]["name"]] = max(found[event[details]["name"]], len(text.encode()))
        return dict(found)

    def concurrency(self, state: str) -> int:
        """How many iterations of a Map ran at once at most."""
        running = most = 0
        for event in self.history:
            if event.get("mapIterationStartedEventDetails", {}).get("name") == state:
                running += 1
                most = max(most, running)
            elif event["type"] in ("MapIterationSucceeded", "MapIterationFailed", "MapIterationAborted"):
                details = next(value for key, value in event.items() if key.startswith("mapIteration"))
                running -= details["name"] == state
        return most


class Pipeline:
    """The project over a data directory. `variables` are the functions' settings."""

    def __init__(self, data: Path, api: OpenAIApi, setenv: Callable[[str, str], None], **variables: Any) -> None:
        self.data = data
        self.api = api
        self.project = load_project(PROJECT)
        self._setenv = setenv
        self.environment = {
            **next(iter(self.project.functions.values())).environment,
            "STEPWELL_DATA": str(data),
            "OPENAI_BASE_URL": api.url,
            "OPENAI_API_KEY": api.key,
            **QUICK,
        }
        self.set(**variables)
        self.resources = Resources("embedded", data, self.project.resources)
        self.table = self.resources.table("receipts")
        self.vectors = self.resources.bucket("vectors")
        self.work = self.resources.bucket("work")
        self.runs = 0

    def set(self, **variables: Any) -> None:
        """Change settings."""
        self.environment |= {name: str(value) for name, value in variables.items()}
        for name, value in self.environment.items():
            self._setenv(name, value)

    @property
    def services(self) -> Services:
        return Services.from_environment()

    def seed(self, *receipts: Receipt) -> None:
        write(self.table, receipts)

    def call(self, function: str, **event: Any) -> dict[str, Any]:
        """Call a function as a worker would: the event and the result pass through JSON."""
        return call(function, event)

    async def run(
        self,
        machine: str,
        input: Mapping[str, Any] | None = None,
        *,
        name: str | None = None,
        replaced: Mapping[str, Callable[..., Any]] | None = None,
    ) -> Run:
        """One execution from start to end. `replaced`: handlers by function name."""
        return (await self.run_all([(machine, input, name)], replaced=replaced))[0]

    async def run_all(
        self,
        wanted: Iterable[tuple[str, Mapping[str, Any] | None, str | None]],
        *,
        replaced: Mapping[str, Callable[..., Any]] | None = None,
    ) -> list[Run]:
        """Executions at the same time, on one engine."""
        specs = {
            name: msgspec.structs.replace(
                spec,
                inline=True,
                concurrency=64,
                typed=False,
                **({"handler": replaced[name]} if name in (replaced or {}) else {}),
            )
            for name, spec in self.project.functions.items()
        }
        project = msgspec.structs.replace(self.project, functions=specs)
        async with Engine.open(self.data, clock=VirtualClock(int(time.time() * 1000))) as engine:
            machines = await engine.load_project(project, schedules=False)
            started = []
            for machine, input, name in wanted:
                self.runs += 1
                name = name or f"test-run-{self.runs}-{os.urandom(3).hex()}"
                started.append(await machines[machine].start(dict(input or {}), name=name))
            finished = []
            for execution in started:
                record = await execution.wait()
                finished.append(
                    Run(
                        record.name,
                        record.status,
                        record.error,
                        record.cause,
                        None if record.output is None else json.loads(record.output),
                        execution.history(),
                    )
                )
        return finished

    async def submit(self, entity: str = "word", **input: Any) -> Run:
        run = await self.run(f"{entity}-embedding-submit", input)
        assert run.status == "SUCCEEDED", (run.error, run.cause)
        return run

    async def ingest(self, entity: str = "word", **input: Any) -> Run:
        run = await self.run(f"{entity}-embedding-ingest", input)
        assert run.status == "SUCCEEDED", (run.error, run.cause)
        return run

    # --- the same without a state machine, for what needs many rounds

    def submit_now(self, entity: str = "word", run: str = "by-hand", **options: Any) -> list[dict[str, Any]]:
        """Find, claim and submit; what was submitted."""
        found = self.call("find-unembedded", entity=entity, run_id=run, **options)
        return [self.call("submit-batch", entity=entity, run_id=run, **batch) for batch in found["batches"]]

    def poll_now(
        self, submitted: Iterable[Mapping[str, Any]], entity: str = "word", run: str = "by-hand"
    ) -> list[dict[str, Any]]:
        """Poll batches; their full results."""
        results = []
        for batch in submitted:
            reference = self.call(
                "poll-batch",
                entity=entity,
                run_id=run,
                batch_id=batch["batch_id"],
                openai_batch_id=batch["openai_batch_id"],
            )
            results.append(json.loads(self.work.get(reference["result_s3_key"])))
        return results

    # --- what there is afterwards

    def items(self, entity: str = "word") -> list[dict[str, Any]]:
        kind = entity_named(entity).record_type
        return sorted((r for r in self.table.scan() if r.get("TYPE") == kind), key=lambda r: (r["PK"], r["SK"]))

    def states(self, entity: str = "word") -> Counter[str]:
        """How many items are in which state; every record's index entry agrees."""
        items = self.items(entity)
        assert all(item["GSI1PK"] == f"EMBEDDING_STATUS#{item['embedding_status']}" for item in items)
        return Counter(item["embedding_status"] for item in items)

    def summaries(self) -> dict[str, dict[str, Any]]:
        return {r["batch_id"]: r for r in self.table.scan() if r.get("TYPE") == "BATCH_SUMMARY"}

    def summary_states(self) -> Counter[str]:
        return Counter(summary["status"] for summary in self.summaries().values())

    def snapshots(self, entity: str = "word") -> Snapshots:
        return Snapshots(self.vectors, entity_named(entity))

    def published(self, folder: Path, entity: str = "word") -> dict[str, tuple[tuple[float, ...], str, dict[str, Any]]]:
        """Everything in the published snapshot."""
        chosen: Entity = entity_named(entity)
        with self.snapshots(entity).reading(folder / os.urandom(4).hex()) as (_, directory):
            return {
                one: (tuple(float(x) for x in vector), document, metadata)
                for page in directory.store(chosen.database).pages(1000)
                for one, vector, document, metadata in zip(
                    page.ids, page.embeddings, page.documents, page.metadatas, strict=True
                )
            }

    def expected_vectors(self) -> dict[str, tuple[str, ...]]:
        """What was asked of the provider: input by custom id, over all its batches."""
        return {
            request["custom_id"]: request["body"]["input"]
            for batch in self.api.batches()
            for request in self.api.requests_of(batch["id"])
        }


def call(function: str, event: Mapping[str, Any]) -> dict[str, Any]:
    """A function's result on an event, both as JSON."""
    context = Context(
        aws_request_id="request",
        function_name=function,
        function_version="$LATEST",
        invoked_function_arn=f"arn:aws:lambda:us-east-1:000000000000:function:{function}",
        memory_limit_in_mb="512",
        log_group_name="log",
        log_stream_name="log",
        deadline=time.monotonic() + 900,
    )
    handler = getattr(functions, FUNCTIONS[function])
    result = json.loads(json.dumps(handler(json.loads(json.dumps(event)), context)))
    assert isinstance(result, dict)
    return result
