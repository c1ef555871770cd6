"""Testing state machines: virtual time, mocked tasks, assertions on what happened.

def test_a_busy_service_is_asked_again(stepwell):
    order = stepwell.load("order.asl.json")
    charge = stepwell.mock("Charge", Failure("Busy"), {"charged": True})
    run = order.run({"amount": 3})
    run.assert_succeeded({"charged": True})
    assert run.visited == ["Check", "Charge", "Done"]
    assert charge.inputs == [{"amount": 3}, {"amount": 3}]

The fixture `stepwell` comes with the package (it is a pytest plugin). Tests that are coroutines use `async with Harness() as
stepwell:` instead, and await `load` and `run`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stepwell.lazy import names_of

if TYPE_CHECKING:
    from stepwell.engine.clock import VirtualClock as VirtualClock
    from stepwell.testing.harness import BlockingHarness as BlockingHarness
    from stepwell.testing.harness import Harness as Harness
    from stepwell.testing.mocks import Failure as Failure
    from stepwell.testing.mocks import Later as Later
    from stepwell.testing.mocks import Mock as Mock
    from stepwell.testing.mocks import Never as Never
    from stepwell.testing.run import Run as Run

_HOMES = {
    "BlockingHarness": "harness",
    "Failure": "mocks",
    "Harness": "harness",
    "Later": "mocks",
    "Mock": "mocks",
    "Never": "mocks",
    "Run": "run",
    "VirtualClock": ".engine.clock",
}

__all__ = ["BlockingHarness", "Failure", "Harness", "Later", "Mock", "Never", "Run", "VirtualClock"]


__getattr__ = names_of(__name__, _HOMES)
