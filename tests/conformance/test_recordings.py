"""AWS's own answers, recorded: every case that needs no other service, at every level.

What is known to differ stands in docs/fidelity.md, by its rule; the list there and what differs must be the same.
"""

import re

import pytest

from .run import ROOT, RUNNER, run

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.slow,
    pytest.mark.skipif(
        not RUNNER.exists(), reason="the recordings are not beside this checkout (../shared/conformance)"
    ),
]


def known():
    """The cases docs/fidelity.md lists, by their ids."""
    return set(re.findall(r"^\* `([^`]+)`", (ROOT / "docs" / "fidelity.md").read_text(), re.M))


def test_every_recording_that_needs_no_other_service():
    report = run(["--pure"])
    totals = report["totals"]
    assert report["failing"] == []
    assert totals["cases"] == totals["L1"] == totals["L2"] == totals["L3"]
    assert totals["cases"] >= 460
    differing = {case["id"] for case in report["strict_only_failing"]}
    assert differing <= known(), "these differ and docs/fidelity.md does not say why"
