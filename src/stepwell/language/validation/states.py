"""The fields of every type of state, in both query languages.

The tables follow AWS's answers to ValidateStateMachineDefinition: which field a type of state accepts, in which query
language, with which values, and which fields exclude each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from stepwell.language.validation.expressions import ERROR_OUTPUT, NOTHING, RESULT, evaluated_template
from stepwell.language.validation.paths import (
    path_or_call,
    path_or_null,
    reading_path,
    result_path,
    static_result,
    string_or_expression,
    template,
)
from stepwell.language.validation.resources import check_task, item_reader_resource, result_writer_resource
from stepwell.language.validation.rules import choice_rule, timestamp
from stepwell.language.validation.shapes import (
    Field,
    Shape,
    array,
    boolean,
    check_shape,
    choice_of,
    integer,
    is_object,
    number,
    shaped,
    text,
)
from stepwell.language.validation.variables import assignments
from stepwell.language.validation.visit import Check, Json, Kind, Language, Path, Visit

__all__ = ["LANGUAGES", "MACHINE", "STATE_TYPES", "check_state", "check_states", "workflows_of"]

LANGUAGES: Final = ("JSONPath", "JSONata")
STATE_TYPES: Final = ("Task", "Wait", "Pass", "Succeed", "Fail", "Choice", "Parallel", "Map")
MAX_SECONDS: Final = 99_999_999
"""Of TimeoutSeconds, HeartbeatSeconds and Seconds."""


def _error_equals(visit: Visit, value: Any, path: Path) -> None:
    array(text)(visit, value, path)


def _alone_and_last(field: Check) -> Check:
    """Retry and Catch: States.ALL stands alone in its entry, and the entry stands last."""

    def check(visit: Visit, value: Any, path: Path) -> None:
        field(visit, value, path)
        for index, entry in enumerate(value if isinstance(value, list) else ()):
            names = entry.get("ErrorEquals") if isinstance(entry, dict) else None
            if not isinstance(names, list) or "States.ALL" not in names:
                continue
            if len(names) > 1 or index < len(value) - 1:
                place = (*path, index, "ErrorEquals", names.index("States.ALL"))
                visit.error(place, "States.ALL must appear alone and at end of list")

    return check


_RETRIER: Final = Shape(
    {
        "Comment": Field(text),
        "ErrorEquals": Field(_error_equals),
        "IntervalSeconds": Field(integer(0, MAX_SECONDS, evaluated=False)),
        "MaxAttempts": Field(integer(0, MAX_SECONDS, evaluated=False)),
        "BackoffRate": Field(number(1.0, evaluated=False)),
        "MaxDelaySeconds": Field(integer(1, 31_622_400, evaluated=False)),
        "JitterStrategy": Field(choice_of("NONE", "FULL")),
    },
    required=("ErrorEquals",),
)

_CATCHER: Final = Shape(
    {
        "Comment": Field(text),
        "ErrorEquals": Field(_error_equals),
        "Next": Field(text),
        "ResultPath": Field(result_path, "JSONPath"),
        "Output": Field(evaluated_template(ERROR_OUTPUT), "JSONata"),
        "Assign": Field(assignments(template(ERROR_OUTPUT, object_only=True))),
    },
    required=("ErrorEquals", "Next"),
)

_CREDENTIALS_TEMPLATE: Final = template()


def _credentials(visit: Visit, value: Any, path: Path) -> None:
    if visit.language == "JSONata" and isinstance(value, str):
        _CREDENTIALS_TEMPLATE(visit, value, path)
    elif is_object(visit, value, path):
        if "RoleArn" not in value and not (visit.language == "JSONPath" and "RoleArn.$" in value):
            visit.error(path, "The field 'RoleArn' is required but was missing")
        _CREDENTIALS_TEMPLATE(visit, value, path)


def _items(visit: Visit, value: Any, path: Path) -> None:
    if not isinstance(value, list | str):
        visit.error(path, "Expected value of type [ARRAY]")
    else:
        evaluated_template()(visit, value, path)


_READER_CONFIG: Final = Shape(
    {
        "InputType": Field(choice_of("CSV", "JSON", "JSONL", "PARQUET", "MANIFEST")),
        "CSVHeaderLocation": Field(choice_of("FIRST_ROW", "GIVEN")),
        "CSVHeaders": Field(array(text)),
        "CSVDelimiter": Field(choice_of("COMMA", "PIPE", "SEMICOLON", "SPACE", "TAB")),
        "MaxItems": Field(integer(0)),
        "MaxItemsPath": Field(reading_path, "JSONPath"),
        "ItemsPointer": Field(string_or_expression),
        "ManifestType": Field(choice_of("S3_INVENTORY", "ATHENA_DATA")),
        "Transformation": Field(choice_of("NONE", "LOAD_AND_FLATTEN")),
    },
    at_most_one=(("MaxItems", "MaxItemsPath"),),
)


def _reader_config(visit: Visit, value: Any, path: Path) -> None:
    if not is_object(visit, value, path):
        return
    check_shape(visit, value, path, _READER_CONFIG)
    if value.get("InputType") == "CSV" and "CSVHeaderLocation" not in value:
        visit.error(path, "The field 'CSVHeaderLocation' is required")
    if value.get("InputType") in ("JSON", "JSONL"):
        for name in ("CSVHeaderLocation", "CSVHeaders", "CSVDelimiter"):
            if name in value:
                visit.error(path, f"Field '{name}' is not supported")
    if value.get("CSVHeaderLocation") == "GIVEN" and "CSVHeaders" not in value:
        visit.error(path, "These fields are required: [CSVHeaders]")


_ITEM_READER: Final = Shape(
    {
        "Resource": Field(item_reader_resource),
        "Parameters": Field(template(), "JSONPath"),
        "Arguments": Field(evaluated_template(), "JSONata"),
        "ReaderConfig": Field(_reader_config),
    },
    required=("Resource",),
)

_ITEM_BATCHER: Final = Shape(
    {
        "MaxItemsPerBatch": Field(integer(1)),
        "MaxItemsPerBatchPath": Field(reading_path, "JSONPath"),
        "MaxInputBytesPerBatch": Field(integer(1, 262_144)),
        "MaxInputBytesPerBatchPath": Field(reading_path, "JSONPath"),
        "BatchInput": Field(template()),
    },
    at_most_one=(
        ("MaxItemsPerBatch", "MaxItemsPerBatchPath"),
        ("MaxInputBytesPerBatch", "MaxInputBytesPerBatchPath"),
    ),
)

_WRITER_CONFIG: Final = Shape(
    {
        "Transformation": Field(choice_of("NONE", "COMPACT", "FLATTEN")),
        "OutputType": Field(choice_of("JSON", "JSONL")),
    },
    required=("Transformation", "OutputType"),
)

_RESULT_WRITER: Final = Shape(
    {
        "Resource": Field(result_writer_resource),
        "Parameters": Field(template(), "JSONPath"),
        "Arguments": Field(evaluated_template(), "JSONata"),
        "WriterConfig": Field(shaped(_WRITER_CONFIG)),
    },
)


def _result_writer(visit: Visit, value: Any, path: Path) -> None:
    if not is_object(visit, value, path):
        return
    check_shape(visit, value, path, _RESULT_WRITER)
    where = "Arguments" if visit.language == "JSONata" else "Parameters"
    needed = [name for name in ("Resource", where) if name not in value]
    if len(needed) == 1 or (needed and "WriterConfig" not in value):
        visit.error(path, f"These fields are required: [{', '.join(needed)}]")


_PROCESSOR_CONFIG: Final = Shape(
    {
        "Mode": Field(choice_of("INLINE", "DISTRIBUTED")),
        "ExecutionType": Field(choice_of("STANDARD", "EXPRESS")),
    }
)


def _processor_config(visit: Visit, value: Any, path: Path) -> None:
    if not is_object(visit, value, path):
        return
    check_shape(visit, value, path, _PROCESSOR_CONFIG)
    mode = value.get("Mode")
    if mode == "DISTRIBUTED":
        if "ExecutionType" not in value:
            visit.error(path, "These fields are required: [ExecutionType]")
        if visit.kind == "EXPRESS":
            visit.error(
                (*path, "Mode"),
                "The field 'Mode' with value 'DISTRIBUTED' is not supported inside 'EXPRESS' state machines",
                hint="Make it a STANDARD state machine, or the Map INLINE.",
            )
    elif "ExecutionType" in value:
        visit.error(path, "Field 'ExecutionType' is not supported")


def check_states(visit: Visit, value: Any, path: Path) -> None:
    """A States object."""
    if not is_object(visit, value, path):
        return
    if not value:
        visit.error(path, "Value cannot be empty")
    for name, state in value.items():
        check_state(visit, state, (*path, name))


_WORKFLOW_FIELDS: Final[dict[str, Field]] = {
    "Comment": Field(text),
    "StartAt": Field(text),
    "States": Field(check_states),
}

_BRANCH: Final = Shape(_WORKFLOW_FIELDS, required=("States", "StartAt"))
_PROCESSOR: Final = Shape(
    _WORKFLOW_FIELDS | {"ProcessorConfig": Field(_processor_config)}, required=("States", "StartAt")
)
MACHINE: Final = Shape(
    _WORKFLOW_FIELDS
    | {
        "QueryLanguage": Field(choice_of(*LANGUAGES)),
        "TimeoutSeconds": Field(integer(0, MAX_SECONDS, evaluated=False)),
        "Version": Field(choice_of("1.0")),
    },
    required=("States", "StartAt"),
)
"""The top level of a definition."""


def _branch(visit: Visit, value: Any, path: Path) -> None:
    if is_object(visit, value, path):
        check_shape(visit.of_kind(visit.kind), value, path, _BRANCH)


def _processor(visit: Visit, value: Any, path: Path) -> None:
    if is_object(visit, value, path):
        config = value.get("ProcessorConfig")
        inner = visit.of_kind(_kind_of_children(visit.kind, config))
        if config is not None:
            _processor_config(visit, config, (*path, "ProcessorConfig"))
        check_shape(inner, {name: item for name, item in value.items() if name != "ProcessorConfig"}, path, _PROCESSOR)


def _kind_of_children(kind: Kind, config: Any) -> Kind:
    if not isinstance(config, dict) or config.get("Mode") != "DISTRIBUTED":
        return kind
    return "EXPRESS" if config.get("ExecutionType") == "EXPRESS" else "STANDARD"


_EVERY_STATE: Final[dict[str, Field]] = {
    "Type": Field(text),
    "Comment": Field(text),
    "QueryLanguage": Field(choice_of(*LANGUAGES)),
}
_PATHS: Final[dict[str, Field]] = {
    "InputPath": Field(path_or_null, "JSONPath"),
    "OutputPath": Field(path_or_null, "JSONPath"),
}
_END: Final[dict[str, Field]] = {"Next": Field(text), "End": Field(boolean)}
_NEXT_OR_END: Final = ("Next", "End")
_ERRORS: Final[dict[str, Field]] = {
    "Retry": Field(_alone_and_last(array(shaped(_RETRIER), empty=True))),
    "Catch": Field(_alone_and_last(array(shaped(_CATCHER), empty=True))),
}


def _outputs(parts: frozenset[str]) -> dict[str, Field]:
    return {
        "Output": Field(evaluated_template(parts), "JSONata"),
        "Assign": Field(assignments(template(parts, object_only=True))),
    }


def _path_of(*names: str) -> dict[str, Field]:
    return {f"{name}Path": Field(reading_path, "JSONPath") for name in names}


_WORK: Final[dict[str, Field]] = {
    **_EVERY_STATE,
    **_PATHS,
    **_outputs(RESULT),
    **_END,
    **_ERRORS,
    "ResultPath": Field(result_path, "JSONPath"),
    "ResultSelector": Field(template(object_only=True), "JSONPath"),
}
"""Fields of the states that have a result: Task, Parallel and Map."""

_SHAPES: Final[dict[str, Shape]] = {
    "Task": Shape(
        {
            **_WORK,
            "Resource": Field(check_task),
            "Parameters": Field(template(), "JSONPath"),
            "Arguments": Field(evaluated_template(), "JSONata"),
            "Credentials": Field(_credentials),
            "TimeoutSeconds": Field(integer(1, MAX_SECONDS)),
            "HeartbeatSeconds": Field(integer(1, MAX_SECONDS)),
            **_path_of("TimeoutSeconds", "HeartbeatSeconds"),
        },
        required=("Resource",),
        exactly_one=(_NEXT_OR_END,),
        at_most_one=(("TimeoutSeconds", "TimeoutSecondsPath"), ("HeartbeatSeconds", "HeartbeatSecondsPath")),
    ),
    "Pass": Shape(
        {
            **_EVERY_STATE,
            **_PATHS,
            **_outputs(NOTHING),
            **_END,
            "Result": Field(static_result, "JSONPath"),
            "ResultPath": Field(result_path, "JSONPath"),
            "Parameters": Field(template(), "JSONPath"),
        },
        exactly_one=(_NEXT_OR_END,),
    ),
    "Wait": Shape(
        {
            **_EVERY_STATE,
            **_PATHS,
            **_outputs(NOTHING),
            **_END,
            "Seconds": Field(integer(0, MAX_SECONDS)),
            "Timestamp": Field(timestamp),
            **_path_of("Seconds", "Timestamp"),
        },
        exactly_one=(("SecondsPath", "Seconds", "TimestampPath", "Timestamp"), _NEXT_OR_END),
    ),
    "Choice": Shape(
        {
            **_EVERY_STATE,
            **_PATHS,
            **_outputs(NOTHING),
            "Choices": Field(array(choice_rule)),
            "Default": Field(text),
        },
        required=("Choices",),
    ),
    "Succeed": Shape({**_EVERY_STATE, **_PATHS, "Output": Field(evaluated_template(), "JSONata")}),
    "Fail": Shape(
        {
            **_EVERY_STATE,
            "Error": Field(string_or_expression),
            "Cause": Field(string_or_expression),
            "ErrorPath": Field(path_or_call, "JSONPath"),
            "CausePath": Field(path_or_call, "JSONPath"),
        },
        at_most_one=(("Error", "ErrorPath"), ("Cause", "CausePath")),
    ),
    "Parallel": Shape(
        {
            **_WORK,
            "Branches": Field(array(_branch)),
            "Parameters": Field(template(), "JSONPath"),
            "Arguments": Field(evaluated_template(), "JSONata"),
        },
        required=("Branches",),
        exactly_one=(_NEXT_OR_END,),
    ),
    "Map": Shape(
        {
            **_WORK,
            "ItemProcessor": Field(_processor),
            "Iterator": Field(_processor),
            "ItemsPath": Field(reading_path, "JSONPath"),
            "Items": Field(_items, "JSONata"),
            "ItemSelector": Field(template()),
            "Parameters": Field(template(), "JSONPath"),
            "ItemReader": Field(shaped(_ITEM_READER)),
            "ItemBatcher": Field(shaped(_ITEM_BATCHER)),
            "ResultWriter": Field(_result_writer),
            "MaxConcurrency": Field(integer(0)),
            "ToleratedFailureCount": Field(integer(0)),
            "ToleratedFailurePercentage": Field(number(0, 100)),
            **_path_of("MaxConcurrency", "ToleratedFailureCount", "ToleratedFailurePercentage"),
            "Label": Field(text),
        },
        exactly_one=(("ItemProcessor", "Iterator"), _NEXT_OR_END),
        at_most_one=(
            ("MaxConcurrency", "MaxConcurrencyPath"),
            ("ToleratedFailureCount", "ToleratedFailureCountPath"),
            ("ToleratedFailurePercentage", "ToleratedFailurePercentagePath"),
            ("ItemSelector", "Parameters"),
        ),
    ),
}


def check_state(visit: Visit, value: Any, path: Path) -> None:
    """A state, with everything in it."""
    if not is_object(visit, value, path):
        return
    kind = value.get("Type")
    if kind is None:
        visit.error(path, "These fields are required: [Type]")
        return
    if not isinstance(kind, str) or kind not in _SHAPES:
        visit.error((*path, "Type"), f"The field 'Type' should have one of these values: [{', '.join(STATE_TYPES)}]")
        return
    # AWS takes a state for JSONPath only if it says exactly that, or says nothing in a JSONPath definition.
    named = value.get("QueryLanguage", visit.machine_language)
    language: Language = "JSONPath" if named == "JSONPath" else "JSONata"
    downgraded = language == "JSONPath" and visit.machine_language == "JSONata"
    if downgraded:
        visit.error(path, "'QueryLanguage' can not be 'JSONPath' if set to 'JSONata' for whole state machine")
    check_shape(visit.inside(value, language), value, path, _SHAPES[kind], other_language=not downgraded)


def workflows_of(state: Json, path: Path) -> Iterator[tuple[Json, Path, bool]]:
    """The workflows inside of a state, and whether each runs in child executions."""
    branches = state.get("Branches") if state.get("Type") == "Parallel" else None
    for index, branch in enumerate(branches if isinstance(branches, list) else ()):
        if isinstance(branch, dict):
            yield branch, (*path, "Branches", index), False
    for name in ("ItemProcessor", "Iterator") if state.get("Type") == "Map" else ():
        processor = state.get(name)
        if isinstance(processor, dict):
            config = processor.get("ProcessorConfig")
            yield processor, (*path, name), isinstance(config, dict) and config.get("Mode") == "DISTRIBUTED"
