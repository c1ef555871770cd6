"""AWS's error names, the error an evaluation raises, and which Retry and Catch entries an error matches."""

from collections.abc import Callable, Sequence

__all__ = [
    "ALL",
    "BRANCH_FAILED",
    "DATA_LIMIT_EXCEEDED",
    "EXCEED_TOLERATED_FAILURE_THRESHOLD",
    "HEARTBEAT_TIMEOUT",
    "HTTP_SOCKET",
    "INTRINSIC_FAILURE",
    "ITEM_READER_FAILED",
    "NO_CHOICE_MATCHED",
    "PARAMETER_PATH_FAILURE",
    "PERMISSIONS",
    "QUERY_EVALUATION_ERROR",
    "REFERENCE_PATH_CONFLICT",
    "RESULT_PATH_MATCH_FAILURE",
    "RESULT_WRITER_FAILED",
    "RUNTIME",
    "TASK_FAILED",
    "TIMEOUT",
    "StatesError",
    "compile_error_matcher",
]

ALL = "States.ALL"
BRANCH_FAILED = "States.BranchFailed"
DATA_LIMIT_EXCEEDED = "States.DataLimitExceeded"
EXCEED_TOLERATED_FAILURE_THRESHOLD = "States.ExceedToleratedFailureThreshold"
HEARTBEAT_TIMEOUT = "States.HeartbeatTimeout"
HTTP_SOCKET = "States.Http.Socket"
INTRINSIC_FAILURE = "States.IntrinsicFailure"
ITEM_READER_FAILED = "States.ItemReaderFailed"
NO_CHOICE_MATCHED = "States.NoChoiceMatched"
PARAMETER_PATH_FAILURE = "States.ParameterPathFailure"
PERMISSIONS = "States.Permissions"
QUERY_EVALUATION_ERROR = "States.QueryEvaluationError"
REFERENCE_PATH_CONFLICT = "States.ReferencePathConflict"
"""What AWS really answers where the States Language says ResultPathMatchFailure."""
RESULT_PATH_MATCH_FAILURE = "States.ResultPathMatchFailure"
RESULT_WRITER_FAILED = "States.ResultWriterFailed"
RUNTIME = "States.Runtime"
TASK_FAILED = "States.TaskFailed"
TIMEOUT = "States.Timeout"


class StatesError(Exception):
    """A state failed with one of AWS's reserved errors.

    `error` is the name, `cause` AWS's text without the prefix "An error occurred while executing the state ...",
    which the interpreter adds because only it knows the event id. `location` is the field of the state a JSONata
    fault is about, such as `Output/total`, as in the EvaluationFailed event; None for everything else.
    """

    def __init__(self, error: str, cause: str, location: str | None = None) -> None:
        super().__init__(error, cause)
        self.error = error
        self.cause = cause
        self.location = location

    def __str__(self) -> str:
        return f"{self.error}: {self.cause}"


_NOT_IN_ALL = frozenset({DATA_LIMIT_EXCEEDED})
"""Matched by their own name only."""
_NOT_IN_TASK_FAILED = frozenset({DATA_LIMIT_EXCEEDED, TIMEOUT, HEARTBEAT_TIMEOUT})


def compile_error_matcher(error_equals: Sequence[str]) -> Callable[[str], bool]:
    """Tells whether an error name is one that the `ErrorEquals` of a Retry or Catch entry names.

    * States.Runtime is never matched, not even by its own name (recording of a Catch on it).
    * States.ALL matches everything but States.DataLimitExceeded, which only its own name matches.
    * States.TaskFailed matches everything States.ALL does, but timeouts.
    * States.Timeout also matches States.HeartbeatTimeout, which is one of its kind.
    """
    names = frozenset(error_equals)
    every = ALL in names
    failed = TASK_FAILED in names
    if TIMEOUT in names:
        names |= {HEARTBEAT_TIMEOUT}

    def matches(error: str) -> bool:
        if error == RUNTIME:
            return False
        return error in names or (every and error not in _NOT_IN_ALL) or (failed and error not in _NOT_IN_TASK_FAILED)

    return matches
