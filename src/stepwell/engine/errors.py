"""The errors of the Step Functions API, by AWS's names and texts, and the few that only a local engine can raise.

A class's name is the error code on the wire; `str(error)` is the message AWS gives. Source: the recordings of AWS and the
API reference (https://docs.aws.amazon.com/step-functions/latest/apireference/).
"""

from __future__ import annotations

__all__ = [
    "ActivityAlreadyExists",
    "ActivityDoesNotExist",
    "ActivityWorkerLimitExceeded",
    "ApiError",
    "ConflictException",
    "DirectoryInUse",
    "EngineError",
    "ExecutionAlreadyExists",
    "ExecutionDoesNotExist",
    "ExecutionFailed",
    "ExecutionLimitExceeded",
    "ExecutionNotRedrivable",
    "InvalidArn",
    "InvalidDefinition",
    "InvalidEncryptionConfiguration",
    "InvalidExecutionInput",
    "InvalidLoggingConfiguration",
    "InvalidName",
    "InvalidOutput",
    "InvalidToken",
    "InvalidTracingConfiguration",
    "JournalBusy",
    "JournalCorrupt",
    "JournalError",
    "JournalFull",
    "JournalTooNew",
    "MissingRequiredParameter",
    "ResourceNotFound",
    "ServiceQuotaExceededException",
    "StateMachineAlreadyExists",
    "StateMachineDeleting",
    "StateMachineDoesNotExist",
    "StateMachineTypeNotSupported",
    "TaskDoesNotExist",
    "TaskTimedOut",
    "TooManyTags",
    "ValidationException",
]


class ApiError(Exception):
    """A request that Step Functions refuses. `code` is the error's name on the wire, `message` its text."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    @property
    def code(self) -> str:
        """The name AWS gives the error."""
        return type(self).__name__


class _Named(ApiError):
    """An error whose text is a fixed phrase and the thing in question in quotes."""

    phrase = ""

    def __init__(self, subject: str) -> None:
        super().__init__(f"{self.phrase}: '{subject}'")
        self.subject = subject


class ActivityAlreadyExists(_Named):
    """An activity of that name has other settings."""

    phrase = "Activity Already Exists"


class ActivityDoesNotExist(_Named):
    """No activity has that ARN."""

    phrase = "Activity Does Not Exist"


class ActivityWorkerLimitExceeded(ApiError):
    """Too many workers poll at once."""


class ConflictException(ApiError):
    """The resource changed meanwhile, or something still refers to it."""


class ExecutionAlreadyExists(_Named):
    """An execution of that name exists, is closed, or has other input."""

    phrase = "Execution Already Exists"


class ExecutionDoesNotExist(_Named):
    """No execution has that ARN."""

    phrase = "Execution Does Not Exist"


class ExecutionLimitExceeded(ApiError):
    """Too many executions are open."""


class ExecutionNotRedrivable(ApiError):
    """The execution runs, succeeded, or has no events left."""


class InvalidArn(_Named):
    """Not an ARN, or not one of the kind the action takes."""

    phrase = "Invalid Arn"


class InvalidDefinition(ApiError):
    """The definition is refused. `diagnostics` are what the validation found."""

    def __init__(self, message: str, diagnostics: tuple[object, ...] = ()) -> None:
        super().__init__(message)
        self.diagnostics = diagnostics


class InvalidEncryptionConfiguration(ApiError):
    """The encryption configuration is refused."""


class InvalidExecutionInput(_Named):
    """The input is not JSON, or longer than 262,144 bytes."""

    phrase = "Invalid State Machine Execution Input"


class InvalidLoggingConfiguration(_Named):
    """The logging configuration is refused."""

    phrase = "Invalid Logging Configuration"

    def __init__(self, subject: str) -> None:
        ApiError.__init__(self, f"{self.phrase}: {subject}")
        self.subject = subject


class InvalidName(_Named):
    """1 to 80 characters, none of those the API reference excludes."""

    phrase = "Invalid Name"


class InvalidOutput(_Named):
    """A task's output is not JSON, or longer than 262,144 bytes."""

    phrase = "Invalid Output"


class InvalidToken(_Named):
    """Not a task token or page token of this service."""

    phrase = "Invalid Token"

    def __init__(self, subject: str = "Invalid token") -> None:
        super().__init__(subject)


class InvalidTracingConfiguration(ApiError):
    """The tracing configuration is refused."""


class MissingRequiredParameter(ApiError):
    """An update that names nothing to update."""


class ResourceNotFound(ApiError):
    """No such version, alias, map run or tagged resource."""

    def __init__(self, message: str = "Request references a resource that does not exist.", resource: str = "") -> None:
        super().__init__(message)
        self.resource = resource


class ServiceQuotaExceededException(ApiError):
    """More versions (1,000) or aliases (100) than a state machine may have."""


class StateMachineAlreadyExists(_Named):
    """A state machine of that name differs in definition, type, role or configuration."""

    phrase = "State Machine Already Exists"


class StateMachineDeleting(_Named):
    """The state machine is being deleted: running executions finish, new ones are refused."""

    phrase = "State Machine is being deleted"


class StateMachineDoesNotExist(_Named):
    """No state machine, version or alias has that ARN."""

    phrase = "State Machine Does Not Exist"


class StateMachineTypeNotSupported(ApiError):
    """STANDARD and EXPRESS state machines do not take the same actions."""

    def __init__(self, message: str = "This operation is not supported by this type of state machine") -> None:
        super().__init__(message)


class TaskDoesNotExist(_Named):
    """The token names an execution that does not exist, or a task it never had."""

    phrase = "Task does not exist"


class TaskTimedOut(_Named):
    """The task was answered, timed out or was cancelled before, or its execution is closed."""

    phrase = "Task Timed Out"


class TooManyTags(_Named):
    """More than 50 tags."""

    phrase = "Too Many Tags"


class ValidationException(ApiError):
    """A parameter breaks a rule. `reason` is AWS's reason code where it has one."""

    def __init__(self, message: str, reason: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason


class EngineError(Exception):
    """What only a local engine can run into; the message says what to do."""


class DirectoryInUse(EngineError):
    """Another process has the data directory open."""


class JournalError(EngineError):
    """The journal cannot be read or written."""


class JournalTooNew(JournalError):
    """The data directory was written by a newer Stepwell."""


class JournalBusy(JournalError):
    """Another program holds a lock on the journal file."""


class JournalFull(JournalError):
    """The disk is full: nothing that was acknowledged is lost; nothing new is accepted until there is room."""


class JournalCorrupt(JournalError):
    """The journal file is damaged."""


class ExecutionFailed(Exception):
    """Raised by `await execution` when it did not succeed. `status` is FAILED, TIMED_OUT or ABORTED."""

    def __init__(self, execution_arn: str, status: str, error: str | None, cause: str | None) -> None:
        self.execution_arn = execution_arn
        self.status = status
        self.error = error
        self.cause = cause
        text = ": ".join(part for part in (error, cause) if part)
        super().__init__(f"{status} {text}".rstrip() + f" ({execution_arn})")
