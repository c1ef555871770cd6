"""Interruptions: learn in time that this machine is about to be taken away.

    with interruptions.watch() as interruption:
        for chunk in chunks:
            if interruption.is_set():
                save_checkpoint()
                task.fail("SpotInterruption", interruption.reason)
                sys.exit(interruptions.EXIT_CODE)

Sources: SIGTERM (ECS, `Machines.terminate`, a local shutdown), and on EC2 the Spot notice of the instance metadata service, asked
every 5 seconds (IMDSv2). Source: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

import httpx

from stepwell.toolkit.machines import KIND_VARIABLE

EXIT_CODE = 143
"""128 + SIGTERM: what an interrupted program exits with, never 0."""
POLL_SECONDS = 5.0
METADATA_URL = "http://169.254.169.254"


class Interruption(threading.Event):
    """Set when the machine will go away; `reason` says how that became known."""

    reason: str = ""

    def interrupt(self, reason: str) -> None:
        """Set it, once."""
        if not self.is_set():
            self.reason = reason
            self.set()


@contextlib.contextmanager
def watch(*, poll: float = POLL_SECONDS) -> Iterator[Interruption]:
    """Watch for interruptions while the block runs. To be called in the main thread, for the signal's sake.

    The metadata service is asked only where `STEPWELL_MACHINE` is `ec2`; its address is `AWS_EC2_METADATA_SERVICE_ENDPOINT` if set.
    """
    interruption = Interruption()
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        interruption.interrupt(signal.Signals(number).name)

    before = signal.signal(signal.SIGTERM, on_signal)
    thread: threading.Thread | None = None
    if os.environ.get(KIND_VARIABLE) == "ec2":
        base = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or METADATA_URL
        thread = threading.Thread(target=_poll, args=(interruption, stop, base.rstrip("/"), poll), daemon=True)
        thread.start()
    try:
        yield interruption
    finally:
        stop.set()
        signal.signal(signal.SIGTERM, before)
        if thread is not None:
            thread.join(2.0)


def _poll(interruption: Interruption, stop: threading.Event, base: str, every: float) -> None:
    token: str | None = None
    with httpx.Client(timeout=2.0) as client:
        while not stop.is_set() and not interruption.is_set():
            try:
                if token is None:
                    answer = client.put(
                        f"{base}/latest/api/token", headers={"X-aws-ec2-metadata-token-ttl-seconds": "21600"}
                    )
                    token = answer.raise_for_status().text
                found = client.get(
                    f"{base}/latest/meta-data/spot/instance-action", headers={"X-aws-ec2-metadata-token": token}
                )
                if found.status_code == httpx.codes.UNAUTHORIZED:
                    token = None
                    continue
                if found.is_success:
                    interruption.interrupt(f"spot notice: {found.text[:200]}")
            except httpx.HTTPError:
                pass  # the service is asked again; a missing answer is not a notice
            stop.wait(every)
