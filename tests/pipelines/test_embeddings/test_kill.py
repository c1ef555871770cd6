"""kill -9 of the whole process tree at random moments, started again until it is done: the same snapshot, nothing sent twice."""

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from openai_api import OpenAIApi
from receiptbook import words_receipt

from .running import Pipeline

SCRIPT = Path(__file__).with_name("killable.py")
RECEIPTS, WORDS = 5, 30


def run(pipeline, how, seconds=None, states=()):
    """Run the process; kill its tree after so many seconds. Whether it came to its end."""
    command = [sys.executable, str(SCRIPT), str(pipeline.data), pipeline.api.url, pipeline.api.key, how, *states]
    process = subprocess.Popen(
        command, start_new_session=True, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    try:
        _, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return False
    if states and process.returncode == -signal.SIGKILL:
        return False
    assert process.returncode == 0, errors[-3000:]
    return True


def check(tmp_path, monkeypatch, how, kills, longest, seed):
    draw = random.Random(seed)
    receipts = [words_receipt(n, WORDS) for n in range(RECEIPTS)]
    with OpenAIApi() as other:  # the same receipts make the same batch ids: one service must not know both
        undisturbed = Pipeline(tmp_path / "undisturbed", other, monkeypatch.setenv)
        undisturbed.seed(*receipts)
        assert run(undisturbed, "inline")
    expected = undisturbed.published(tmp_path)
    assert len(expected) == RECEIPTS * WORDS

    killed = 0
    while killed < kills:  # a run that got through before all kills were used is followed by another
        with OpenAIApi() as service:
            disturbed = Pipeline(tmp_path / f"disturbed-{killed}", service, monkeypatch.setenv)
            disturbed.seed(*receipts)
            finished = False
            while not finished and killed < kills:
                finished = run(disturbed, how, draw.uniform(0.5, longest))
                killed += not finished
            assert finished or run(disturbed, how)
            made = Counter(batch["metadata"]["batch_id"] for batch in service.batches())
        assert disturbed.published(tmp_path) == expected
        assert disturbed.states() == {"SUCCESS": RECEIPTS * WORDS}
        assert disturbed.summary_states() == {"COMPLETED": RECEIPTS}
        assert len(made) == RECEIPTS and set(made.values()) == {1}
        assert list(disturbed.vectors.list("intermediate/")) == []


@pytest.mark.crash
def test_killed_and_restarted(tmp_path, monkeypatch):
    check(tmp_path, monkeypatch, "inline", kills=2, longest=5.0, seed=4)


@pytest.mark.crash
@pytest.mark.slow
def test_killed_ten_times_with_workers(tmp_path, monkeypatch):
    check(tmp_path, monkeypatch, "workers", kills=10, longest=9.0, seed=7)


STATES = """
    Reconcile FindAndClaimUnembedded SubmitToOpenAI ListPendingBatches PollBatch NormalizePollResults SplitIntoChunks ProcessChunk
    CreateChunkGroups LoadChunkGroupsFromS3 MergeChunkGroup FinalMerge MarkBatchesComplete
""".split()  # fmt: skip  # noqa: SIM905
"""The states that do work; the others are committed together with the next of these."""


@pytest.mark.crash
@pytest.mark.slow
def test_killed_in_each_state(tmp_path, monkeypatch):
    receipts = [words_receipt(n, WORDS) for n in range(RECEIPTS)]
    expected = None
    for states in ((), STATES):
        with OpenAIApi() as service:
            pipeline = Pipeline(tmp_path / f"data-{len(states)}", service, monkeypatch.setenv)
            pipeline.seed(*receipts)
            kills = 0
            while not run(pipeline, "inline", states=states):
                kills += 1
            assert kills == len(states)
            made = Counter(batch["metadata"]["batch_id"] for batch in service.batches())
        assert len(made) == RECEIPTS and set(made.values()) == {1}
        published = pipeline.published(tmp_path)
        expected = expected or published
        assert published == expected and len(published) == RECEIPTS * WORDS
        assert pipeline.states() == {"SUCCESS": RECEIPTS * WORDS}
        assert pipeline.summary_states() == {"COMPLETED": RECEIPTS}
