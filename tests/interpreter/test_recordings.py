"""Every recorded execution of the conformance suite gives AWS's history, event for event."""

from __future__ import annotations

import pytest

from . import replay

pytestmark = pytest.mark.conformance

KNOWN = {
    "test_lambda_invoke_with_retry_extended_input": "recorded before AWS added RedriveCount to the context object",
    "test_lambda_service_invoke_with_retry_extended_input": "recorded before AWS added RedriveCount to the context object",
    "test_sync_with_task_token": "the replayed answer holds the recorder's placeholders instead of names",
    "test_sns_publish_wait_for_task_token": "compares messages received from SNS too",
}
"""Cases that differ from today's AWS, or that this replay can't feed; by the last part of their ids."""

CASES = replay.cases() if replay.SHARED.is_dir() else []


@pytest.mark.skipif(not CASES, reason="the recorded cases (../shared/conformance) are not there")
def test_there_are_recordings() -> None:
    assert len(CASES) > 300


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_history_is_that_of_aws(case: dict) -> None:
    try:
        result = replay.replay(case)
    except replay.Skip as reason:
        pytest.skip(f"needs more than an interpreter: {reason}")
    name = case["id"].rpartition("::")[2]
    if name in KNOWN:
        assert result["L2"] or name == "test_sns_publish_wait_for_task_token", result["diff"]
        return
    assert result["L3"], "\n".join([case["id"], *result["diff"]])
