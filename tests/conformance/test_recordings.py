"""AWS's own answers, recorded: every case that needs no other service, at every level.

What is known to differ stands in docs/fidelity.md, by its rule; the list there and what differs must be the same.
"""

import copy
import importlib.util
import json
import re
import uuid

import pytest

from .run import ROOT, RUNNER, differing, known, run

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.slow,
    pytest.mark.skipif(
        not RUNNER.exists(), reason="the recordings are not beside this checkout (../shared/conformance)"
    ),
]


def test_every_recording_that_needs_no_other_service():
    report = run(["--pure"])
    totals = report["totals"]
    assert report["failing"] == []
    assert totals["cases"] == totals["L1"] == totals["L2"] == totals["L3"]
    assert totals["cases"] >= 460
    assert differing(report) <= known(), "these differ and docs/fidelity.md does not say why"


def test_request_ids_that_no_server_can_answer():
    """AWS's own answer would not pass: today's comparison replaces an id that the recording has in another form."""
    specification = importlib.util.spec_from_file_location("runner", RUNNER)
    runner = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(runner)
    page = (ROOT / "docs" / "fidelity.md").read_text()
    section = re.search(r"^### Request ids the recorder did not replace$(.*?)^##", page, re.M | re.S)[1]
    listed = set(re.findall(r"^\* `([^`]+)`", section, re.M))
    seen = set()
    for path in RUNNER.parent.glob("cases/*/*.json"):
        case = json.loads(path.read_text())
        if case["id"] not in listed:
            continue
        seen.add(case["id"])
        answered = copy.deepcopy(case["expected"])
        for place in list(runner.descend(answered)):
            if isinstance(place, dict) and "x-amzn-RequestId" in place:
                # What AWS must have answered when it was recorded as it is.
                many = isinstance(place["x-amzn-RequestId"], list)
                place["x-amzn-RequestId"] = [str(uuid.uuid4())] if many else str(uuid.uuid4())
        rules = [t for t in case["transformers"] if "x-amzn-RequestId" in t.get("jsonpath", "")]
        assert rules
        compared = runner.normalise(answered, rules, {"account": "000000000000", "region": "us-east-1"})
        assert runner.judge(case, case["expected"], case["expected"])["S3"]
        assert not runner.judge(case, case["expected"], compared)["S3"]
    assert seen == listed
