"""What the two worker programs share: heartbeats, interruptions, exactly one answer, and an exit code that says how it ended."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from mangavideo.errors import ConfigError, JobNotFound, MangaVideoError
from mangavideo.settings import Environment
from stepwell import toolkit
from stepwell.toolkit import callbacks, interruptions, logs
from stepwell.toolkit.callbacks import TaskCallback
from stepwell.toolkit.errors import CallbackError
from stepwell.toolkit.interruptions import Interruption

HEARTBEAT_SECONDS = 60.0
LOST = 3
"""Exit code of a worker whose answer is not wanted any more."""

log = toolkit.logger(__name__)


class Interrupted(Exception):
    """The machine is about to be taken away."""


@dataclass(frozen=True)
class Work:
    """What a worker works on. `check` is to be called often: it raises Interrupted, or CallbackError when the task is over."""

    job_id: str
    task: TaskCallback
    interruption: Interruption

    def check(self) -> None:
        self.task.check()
        if self.interruption.is_set():
            raise Interrupted(self.interruption.reason)


def answering(role: str, failure: type[MangaVideoError], work: Callable[[Work], dict[str, Any]]) -> int:
    """Do the work and answer the task token with its result, or with its failure by name; returns the exit code."""
    environment = Environment()
    every = environment.seconds("HEARTBEAT_SECONDS", HEARTBEAT_SECONDS)
    with (
        interruptions.watch() as interruption,
        callbacks.from_environment(heartbeat=every) as task,
        logs.bind(correlation_id=environment.text("CORRELATION_ID"), stage=role, function_name=f"{role} worker"),
        _reported(failure, task) as code,
    ):
        job_id = Environment("JOB_ID").text("JOB_ID")
        with logs.bind(job_id=job_id):
            log.info("worker started", event_type="worker_started", machine=os.environ.get("STEPWELL_MACHINE"))
            result = work(Work(job_id, task, interruption))
            task.succeed(result)
            log.info("worker done", event_type="worker_done")
    return code[0]


@contextlib.contextmanager
def _reported(failure: type[MangaVideoError], task: TaskCallback) -> Iterator[list[int]]:
    code = [0]
    try:
        yield code
    except Interrupted as error:
        log.warning("interrupted", event_type="interrupted", reason=str(error))
        toolkit.metrics("MangaVideo").count("SpotInterruptions")
        code[0] = _fail(task, "SpotInterruption", str(error), interruptions.EXIT_CODE)
    except CallbackError as error:
        log.warning("the task is over, stopping", event_type="task_over", error=str(error))
        code[0] = LOST
    except Exception as error:
        named = isinstance(error, failure | ConfigError | JobNotFound)
        log.exception("worker failed", event_type="worker_failed")
        code[0] = _fail(task, type(error).__name__ if named else failure.__name__, str(error) or repr(error), 1)


def _fail(task: TaskCallback, error: str, cause: str, code: int) -> int:
    try:
        task.fail(error, cause)
    except CallbackError as lost:
        log.warning("the failure was not wanted any more", event_type="task_over", error=str(lost))
        return LOST
    return code
