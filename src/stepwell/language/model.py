"""A compiled state machine: what the interpreter runs.

Every field that can hold a path, an expression or a template is an `Evaluator` here: a callable that takes a `Scope`
and gives a JSON value, made once by `compiler.compile_machine`. A field that is absent, or is its default, is None,
so that a state which does nothing to its payload costs nothing. A model holds no run-time state: one serves any
number of executions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from stepwell.language.choices import Rule
from stepwell.language.jsonpath import ReferencePath
from stepwell.language.scope import Evaluator
from stepwell.language.templates import QueryLanguage

__all__ = [
    "Assignments",
    "Batcher",
    "Catcher",
    "ChoiceRule",
    "ChoiceState",
    "FailState",
    "Machine",
    "MapState",
    "NumberField",
    "ParallelState",
    "PassState",
    "Reader",
    "Retrier",
    "State",
    "SucceedState",
    "TaskState",
    "WaitState",
    "Workflow",
    "Writer",
]

Assignments = Evaluator
"""Evaluates `Assign`: gives the object of the new values."""


@dataclass(slots=True, kw_only=True)
class NumberField:
    """A number given as a literal (`value`), or found at run time (`evaluate`).

    `name` is the field as written, such as `TimeoutSeconds` or `MaxConcurrencyPath`, and `text` the path or the
    expression: AWS's faults name both.
    """

    name: str
    value: int | float | None = None
    evaluate: Evaluator | None = None
    text: str = ""
    jsonata: bool = False


@dataclass(slots=True, kw_only=True)
class Retrier:
    """One entry of `Retry`. Seconds may be fractional only after the backoff was applied."""

    matches: Callable[[str], bool]
    interval_seconds: int = 1
    max_attempts: int = 3
    backoff_rate: float = 2.0
    max_delay_seconds: int | None = None
    full_jitter: bool = False


@dataclass(slots=True, kw_only=True)
class Catcher:
    """One entry of `Catch`. `result_path` None means that the error output replaces the input."""

    matches: Callable[[str], bool]
    next: str
    result_path: ReferencePath | None = None
    discard: bool = False
    """ResultPath null: the state's input passes on unchanged."""
    assign: Assignments | None = None
    output: Evaluator | None = None


@dataclass(slots=True, kw_only=True)
class ChoiceRule:
    """One entry of `Choices`."""

    matches: Rule
    next: str
    assign: Assignments | None = None
    output: Evaluator | None = None


@dataclass(slots=True, kw_only=True)
class State:
    """What all states have. `pointer` is the state's JSON pointer in the whole definition."""

    TYPE: ClassVar[str] = ""

    name: str
    pointer: str
    query_language: QueryLanguage
    next: str | None = None
    """The state that follows; None when the state ends its workflow."""
    assign: Assignments | None = None
    jsonata: bool = False
    """Whether `query_language` is JSONata."""
    input_path: Evaluator | None = None
    """None for `$`; gives `{}` where InputPath is null."""
    parameters: Evaluator | None = None
    """Parameters; in JSONata mode, Arguments."""
    result_selector: Evaluator | None = None
    result_path: ReferencePath | None = None
    """None for `$`, the default: the result replaces the input."""
    discard_result: bool = False
    """ResultPath null: the result is dropped and the input passes on."""
    output_path: Evaluator | None = None
    """None for `$`; gives `{}` where OutputPath is null."""
    output: Evaluator | None = None
    """JSONata's Output."""
    retriers: tuple[Retrier, ...] = ()
    catchers: tuple[Catcher, ...] = ()


@dataclass(slots=True, kw_only=True)
class PassState(State):
    """`result` is the literal of Result, where `has_result`; `payload` is what the interpreter makes of it, once."""

    TYPE: ClassVar[str] = "Pass"

    has_result: bool = False
    result: Any = None
    payload: Any = None


@dataclass(slots=True, kw_only=True)
class SucceedState(State):
    """Ends its workflow."""

    TYPE: ClassVar[str] = "Succeed"


@dataclass(slots=True, kw_only=True)
class FailState(State):
    """Error and Cause, literal, by path or by expression: an evaluator each, None when absent."""

    TYPE: ClassVar[str] = "Fail"

    error: Evaluator | None = None
    cause: Evaluator | None = None
    error_field: str = "Error"
    cause_field: str = "Cause"


@dataclass(slots=True, kw_only=True)
class ChoiceState(State):
    """Rules in order; `default` None makes no match an error."""

    TYPE: ClassVar[str] = "Choice"

    rules: tuple[ChoiceRule, ...] = ()
    default: str | None = None


@dataclass(slots=True, kw_only=True)
class WaitState(State):
    """Exactly one of `seconds` and `timestamp` is set; `text` is the path or expression of the field `field_name`."""

    TYPE: ClassVar[str] = "Wait"

    field_name: str = "Seconds"
    text: str = ""
    seconds: int | None = None
    timestamp: str | None = None
    evaluate: Evaluator | None = None


TaskKind = Literal["lambda", "activity", "service"]
Pattern = Literal["", "sync", "waitForTaskToken"]


@dataclass(slots=True, kw_only=True)
class TaskState(State):
    """`resource` is the ARN as written (it may be an expression-free string only; AWS allows nothing else).

    For a service integration, `service` and `action` are what AWS records as `resourceType` and `resource`
    (`sqs` and `sendMessage.waitForTaskToken`), and `pattern` how its answer comes.
    """

    TYPE: ClassVar[str] = "Task"

    resource: str
    kind: TaskKind
    service: str = ""
    action: str = ""
    pattern: Pattern = ""
    timeout: NumberField | None = None
    heartbeat: NumberField | None = None
    credentials: Evaluator | None = None


@dataclass(slots=True, kw_only=True)
class ParallelState(State):
    """Branches in order."""

    TYPE: ClassVar[str] = "Parallel"

    branches: tuple[Workflow, ...] = ()


@dataclass(slots=True, kw_only=True)
class Reader:
    """An ItemReader. `arguments` evaluates Parameters or Arguments; `config` evaluates ReaderConfig without MaxItems."""

    resource: str
    arguments: Evaluator | None = None
    config: Evaluator | None = None
    max_items: NumberField | None = None


@dataclass(slots=True, kw_only=True)
class Batcher:
    """An ItemBatcher. Items are grouped by number, by bytes of the batch, or both."""

    max_items: NumberField | None = None
    max_bytes: NumberField | None = None
    batch_input: Evaluator | None = None


@dataclass(slots=True, kw_only=True)
class Writer:
    """A ResultWriter. `resource` is None when only a WriterConfig is given: the results are shaped, not exported."""

    resource: str | None = None
    arguments: Evaluator | None = None
    config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class MapState(State):
    """A Map: inline, or distributed over child executions.

    `item_selector` evaluates ItemSelector, or Parameters in its older place. `items` evaluates ItemsPath or Items; None
    for `$`. With a `reader`, `items` of ItemsPath is looked up in the input only if the reader's own data is an object.
    """

    TYPE: ClassVar[str] = "Map"

    processor: Workflow
    distributed: bool = False
    execution_type: Literal["STANDARD", "EXPRESS"] = "STANDARD"
    items: Evaluator | None = None
    items_text: str = "$"
    item_selector: Evaluator | None = None
    max_concurrency: NumberField | None = None
    tolerated_count: NumberField | None = None
    tolerated_percentage: NumberField | None = None
    label: str | None = None
    reader: Reader | None = None
    batcher: Batcher | None = None
    writer: Writer | None = None


@dataclass(slots=True, kw_only=True)
class Workflow:
    """States that run from `start_at` to an end: a whole machine, a Parallel branch or a Map's processor."""

    pointer: str
    start_at: str
    states: dict[str, State]


@dataclass(slots=True, kw_only=True)
class Machine(Workflow):
    """A whole state machine. `definition` is the JSON it was compiled from, substitutions done."""

    query_language: QueryLanguage = "JSONPath"
    timeout_seconds: int | None = None
    comment: str | None = None
    version: str | None = None
    definition: Mapping[str, Any] = field(default_factory=dict)
    workflows: dict[str, Workflow] = field(default_factory=dict)
    """Every workflow of the machine by its JSON pointer; the machine itself under ``""``."""

    def child(self, pointer: str) -> Machine:
        """The machine a child execution runs: the processor of the Map state at `pointer`. KeyError if there is none."""
        state = self.state(pointer)
        if not isinstance(state, MapState):
            raise KeyError(pointer)
        processor = state.processor
        return Machine(
            pointer=processor.pointer,
            start_at=processor.start_at,
            states=processor.states,
            query_language=self.query_language,
            definition=self.definition,
            workflows=self.workflows,
        )

    def state(self, pointer: str) -> State:
        """The state at a JSON pointer of the definition. KeyError if there is none."""
        workflow, _, name = pointer.rpartition("/States/")
        return self.workflows[workflow].states[name.replace("~1", "/").replace("~0", "~")]
