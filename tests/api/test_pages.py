"""What the server answers besides the API: metrics and presigned URLs."""

from __future__ import annotations

import re
from pathlib import Path

import httpx

from stepwell.api.app import create_app
from stepwell.api.server import Server
from stepwell.engine import Engine
from stepwell.toolkit.environment import Resources

PASS = {"StartAt": "A", "States": {"A": {"Type": "Pass", "End": True}}}


async def test_metrics_count_executions_tasks_and_what_functions_measured(tmp_path: Path) -> None:
    async with Engine.open(tmp_path) as engine:
        machine = await engine.load(PASS, name="m")
        await machine.run({})
        resources = Resources("embedded", tmp_path, {})
        resources.metrics("Test", Stage="x").count("Seen", 3)
        async with Server(create_app(engine), port=0) as server, httpx.AsyncClient(base_url=server.url) as client:
            text = (await client.get("/metrics")).text
    assert 'stepwell_executions_ended_total{status="SUCCEEDED",type="STANDARD"} 1.0' in text
    assert re.search(r"stepwell_journal_commits_total [1-9]", text)
    assert re.search(r'test_seen_total\{[^}]*stage="x"\} 3\.0', text)


async def test_a_presigned_url_gives_the_object_and_a_changed_one_does_not(tmp_path: Path, monkeypatch) -> None:
    async with (
        Engine.open(tmp_path) as engine,
        Server(create_app(engine), port=0) as server,
        httpx.AsyncClient() as client,
    ):
        monkeypatch.setenv("STEPWELL_OBJECTS_URL", f"{server.url}/objects")
        bucket = Resources("embedded", tmp_path, {"buckets": {"b": {"name": "b"}}}).bucket("b")
        bucket.put("folder/a.txt", b"hello")
        url = bucket.presigned_url("folder/a.txt")
        answer = await client.get(url)
        assert (answer.status_code, answer.content) == (200, b"hello")
        assert (await client.get(url.replace("a.txt", "b.txt"))).status_code == 403
