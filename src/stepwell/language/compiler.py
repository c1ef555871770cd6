"""From a validated definition to a model: everything that can be parsed is parsed here, once."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from stepwell.language.choices import RuleError, compile_rule
from stepwell.language.errors import compile_error_matcher
from stepwell.language.intrinsics import IntrinsicSyntaxError
from stepwell.language.jsonata import JsonataSyntaxError, compile_field
from stepwell.language.jsonpath import PathSyntaxError, ReferencePath, compile_path, compile_reference_path
from stepwell.language.model import (
    Batcher,
    Catcher,
    ChoiceRule,
    ChoiceState,
    FailState,
    Machine,
    MapState,
    NumberField,
    ParallelState,
    PassState,
    Reader,
    Retrier,
    State,
    SucceedState,
    TaskKind,
    TaskState,
    WaitState,
    Workflow,
    Writer,
)
from stepwell.language.scope import Evaluator, Scope
from stepwell.language.templates import (
    QueryLanguage,
    TemplateError,
    compile_path_value,
    compile_template,
    is_expression,
)

__all__ = ["CompileError", "compile_machine", "substitute"]

Json = Mapping[str, Any]
T = TypeVar("T")

_SUBSTITUTION = re.compile(r"\$\{([^{}]+)\}")
_SYNTAX_ERRORS = (PathSyntaxError, IntrinsicSyntaxError, JsonataSyntaxError)


class CompileError(ValueError):
    """The definition does not compile. `pointer` is the JSON pointer of the fault."""

    def __init__(self, pointer: str, message: str) -> None:
        super().__init__(f"{message} at {pointer or '/'}")
        self.pointer = pointer
        self.message = message


def compile_machine(definition: Json, *, substitutions: Mapping[str, str] | None = None) -> Machine:
    """Compile a definition that passed validation; `${name}` in its strings is replaced from `substitutions`.

    Raises CompileError with the JSON pointer of what does not compile.
    """
    if substitutions:
        definition = substitute(definition, substitutions)
    return _Compiler().machine(definition)


def substitute(value: Any, substitutions: Mapping[str, str]) -> Any:
    """The definition with `${name}` replaced in every string value; unknown names stay as they are written."""
    if isinstance(value, str):
        return _SUBSTITUTION.sub(lambda match: substitutions.get(match[1], match[0]), value)
    if isinstance(value, Mapping):
        return {key: substitute(item, substitutions) for key, item in value.items()}
    if isinstance(value, list):
        return [substitute(item, substitutions) for item in value]
    return value


def _empty(scope: Scope) -> dict[str, Any]:
    """What InputPath null and OutputPath null give."""
    return {}


class _Fields:
    """The fields of one state (or of an object in it), compiled on request with the right pointer in faults."""

    def __init__(self, source: Json, pointer: str, language: QueryLanguage) -> None:
        self.source = source
        self.pointer = pointer
        self.language = language
        self.jsonata = language == "JSONata"

    def __contains__(self, key: str) -> bool:
        return key in self.source

    def inside(self, key: str) -> _Fields:
        return _Fields(self.source[key], f"{self.pointer}/{key}", self.language)

    def entries(self, key: str) -> list[_Fields]:
        entries = self.source.get(key) or ()
        return [_Fields(entry, f"{self.pointer}/{key}/{n}", self.language) for n, entry in enumerate(entries)]

    def compiled(self, key: str, make: Callable[..., T], *args: Any, **options: Any) -> T:
        try:
            return make(*args, **options)
        except (TemplateError, RuleError) as error:
            raise CompileError(f"{self.pointer}/{key}{error.pointer}", error.message) from error
        except _SYNTAX_ERRORS as error:
            raise CompileError(f"{self.pointer}/{key}", str(error)) from error

    def template(self, key: str, field: str | None = None) -> Evaluator | None:
        if key not in self.source:
            return None
        return self.compiled(
            key, compile_template, self.source[key], query_language=self.language, field=field if field else key
        )

    def path(self, key: str) -> Evaluator | None:
        """InputPath and OutputPath: None for `$`, `{}` for null."""
        if self.jsonata or key not in self.source:
            return None
        text = self.source[key]
        if text is None:
            return _empty
        if text == "$":
            return None
        return self.compiled(key, compile_path, text).read

    def value(self, key: str, path_key: str, expected: str) -> tuple[str, Evaluator | None]:
        """A field with a Path form: the name it was written under, and its evaluator."""
        if path_key in self.source and not self.jsonata:
            return path_key, self.compiled(path_key, compile_path_value, self.source[path_key], path_key)
        value = self.source.get(key)
        if value is None:
            return key, None
        if self.jsonata and is_expression(value):
            return key, self.expression(key, value, expected)
        return key, lambda scope: value

    def expression(self, key: str, text: str, expected: str | None, field: str | None = None) -> Evaluator:
        return self.compiled(key, compile_field, text, field or key, expected)

    def number(self, key: str, path_key: str | None = None, field: str | None = None) -> NumberField | None:
        path_key = path_key or f"{key}Path"
        if path_key in self.source and not self.jsonata:
            text = self.source[path_key]
            read = self.compiled(path_key, compile_path, text).read
            return NumberField(name=path_key, evaluate=read, text=text)
        value = self.source.get(key)
        if value is None:
            return None
        if isinstance(value, str):
            read = self.expression(key, value, "number", field)
            return NumberField(name=field or key, evaluate=read, text=value, jsonata=True)
        return NumberField(name=key, value=value)

    def result_path(self) -> tuple[ReferencePath | None, bool]:
        """The reference path, None for `$`; and whether the result is dropped."""
        if self.jsonata or "ResultPath" not in self.source:
            return None, False
        text = self.source["ResultPath"]
        if text is None:
            return None, True
        if text == "$":
            return None, False
        return self.compiled("ResultPath", compile_reference_path, text), False


class _Compiler:
    def __init__(self) -> None:
        self.workflows: dict[str, Workflow] = {}
        self.language: QueryLanguage = "JSONPath"

    def machine(self, definition: Json) -> Machine:
        self.language = definition.get("QueryLanguage", "JSONPath")
        machine = Machine(
            pointer="",
            start_at=definition["StartAt"],
            states={},
            query_language=self.language,
            timeout_seconds=definition.get("TimeoutSeconds"),
            comment=definition.get("Comment"),
            version=definition.get("Version"),
            definition=definition,
            workflows=self.workflows,
        )
        self.workflows[""] = machine
        self.states(machine, definition)
        return machine

    def workflow(self, definition: Json, pointer: str) -> Workflow:
        workflow = Workflow(pointer=pointer, start_at=definition["StartAt"], states={})
        self.workflows[pointer] = workflow
        self.states(workflow, definition)
        return workflow

    def states(self, workflow: Workflow, definition: Json) -> None:
        for name, source in definition["States"].items():
            pointer = f"{workflow.pointer}/States/{name.replace('~', '~0').replace('/', '~1')}"
            fields = _Fields(source, pointer, source.get("QueryLanguage", self.language))
            make = getattr(self, f"make_{source['Type'].lower()}", None)
            if make is None:
                raise CompileError(f"{pointer}/Type", f"there is no state type {source['Type']!r}")
            workflow.states[name] = make(fields, self.common(name, fields))

    def common(self, name: str, fields: _Fields) -> dict[str, Any]:
        """The fields that every type of state has, or at least may have, under the same name."""
        result_path, discard = fields.result_path()
        return {
            "name": name,
            "pointer": fields.pointer,
            "query_language": fields.language,
            "jsonata": fields.jsonata,
            "next": fields.source.get("Next"),
            "assign": fields.template("Assign"),
            "input_path": fields.path("InputPath"),
            "output_path": fields.path("OutputPath"),
            "result_path": result_path,
            "discard_result": discard,
            "output": fields.template("Output") if fields.jsonata else None,
            "retriers": tuple(self.retrier(entry) for entry in fields.entries("Retry")),
            "catchers": tuple(self.catcher(entry) for entry in fields.entries("Catch")),
        }

    def retrier(self, fields: _Fields) -> Retrier:
        source = fields.source
        return Retrier(
            matches=compile_error_matcher(source["ErrorEquals"]),
            interval_seconds=source.get("IntervalSeconds", 1),
            max_attempts=source.get("MaxAttempts", 3),
            backoff_rate=source.get("BackoffRate", 2.0),
            max_delay_seconds=source.get("MaxDelaySeconds"),
            full_jitter=source.get("JitterStrategy") == "FULL",
        )

    def catcher(self, fields: _Fields) -> Catcher:
        result_path, discard = fields.result_path()
        return Catcher(
            matches=compile_error_matcher(fields.source["ErrorEquals"]),
            next=fields.source["Next"],
            result_path=result_path,
            discard=discard,
            assign=fields.template("Assign"),
            output=fields.template("Output") if fields.jsonata else None,
        )

    def make_pass(self, fields: _Fields, common: dict[str, Any]) -> State:
        return PassState(
            **common,
            parameters=None if fields.jsonata else fields.template("Parameters"),
            has_result="Result" in fields,
            result=fields.source.get("Result"),
        )

    def make_succeed(self, fields: _Fields, common: dict[str, Any]) -> State:
        return SucceedState(**common)

    def make_fail(self, fields: _Fields, common: dict[str, Any]) -> State:
        error_field, error = fields.value("Error", "ErrorPath", "string")
        cause_field, cause = fields.value("Cause", "CausePath", "string")
        return FailState(**common, error=error, cause=cause, error_field=error_field, cause_field=cause_field)

    def make_choice(self, fields: _Fields, common: dict[str, Any]) -> State:
        rules = []
        for n, entry in enumerate(fields.entries("Choices")):
            rule = fields.compiled(
                f"Choices/{n}",
                compile_rule,
                entry.source,
                query_language=fields.language,
                field=f"Choices[{n}]",
            )
            rules.append(
                ChoiceRule(
                    matches=rule,
                    next=entry.source["Next"],
                    assign=entry.template("Assign", f"Choices[{n}]/Assign"),
                    output=entry.template("Output", f"Choices[{n}]/Output") if fields.jsonata else None,
                )
            )
        return ChoiceState(**common, rules=tuple(rules), default=fields.source.get("Default"))

    def make_wait(self, fields: _Fields, common: dict[str, Any]) -> State:
        source = fields.source
        for key in ("SecondsPath", "TimestampPath"):
            if key in source and not fields.jsonata:
                read = fields.compiled(key, compile_path, source[key]).read
                return WaitState(**common, field_name=key, text=source[key], evaluate=read)
        key = "Seconds" if "Seconds" in source else "Timestamp"
        value = source[key]
        if fields.jsonata and is_expression(value):
            read = fields.expression(key, value, "number" if key == "Seconds" else "string")
            return WaitState(**common, field_name=key, text=value, evaluate=read)
        if key == "Seconds":
            return WaitState(**common, field_name=key, text=str(value), seconds=value)
        return WaitState(**common, field_name=key, text=value, timestamp=value)

    def make_task(self, fields: _Fields, common: dict[str, Any]) -> State:
        resource = fields.source["Resource"]
        kind, service, action = _resource(resource)
        name = action.partition(".")[2]
        return TaskState(
            **common,
            parameters=fields.template("Arguments" if fields.jsonata else "Parameters"),
            result_selector=None if fields.jsonata else fields.template("ResultSelector"),
            resource=resource,
            kind=kind,
            service=service,
            action=action,
            pattern="sync" if name.startswith("sync") else "waitForTaskToken" if name == "waitForTaskToken" else "",
            timeout=fields.number("TimeoutSeconds"),
            heartbeat=fields.number("HeartbeatSeconds"),
            credentials=fields.template("Credentials"),
        )

    def make_parallel(self, fields: _Fields, common: dict[str, Any]) -> State:
        return ParallelState(
            **common,
            parameters=fields.template("Arguments" if fields.jsonata else "Parameters"),
            result_selector=None if fields.jsonata else fields.template("ResultSelector"),
            branches=tuple(
                self.workflow(branch, f"{fields.pointer}/Branches/{n}")
                for n, branch in enumerate(fields.source["Branches"])
            ),
        )

    def make_map(self, fields: _Fields, common: dict[str, Any]) -> State:
        source = fields.source
        key = "ItemProcessor" if "ItemProcessor" in source else "Iterator"
        processor = source[key]
        config = processor.get("ProcessorConfig") or {}
        distributed = config.get("Mode") == "DISTRIBUTED"
        items: Evaluator | None = None
        items_text = "$"
        if fields.jsonata:
            if "Items" in source:
                value = source["Items"]
                items_text = value if isinstance(value, str) else "Items"
                expected = None if distributed else "array"
                items = (
                    fields.expression("Items", value, expected) if is_expression(value) else fields.template("Items")
                )
        elif source.get("ItemsPath", "$") != "$":
            items_text = source["ItemsPath"]
            items = fields.compiled("ItemsPath", compile_path, items_text).read
        selector = "ItemSelector" if "ItemSelector" in source else "Parameters"
        return MapState(
            **common,
            result_selector=None if fields.jsonata else fields.template("ResultSelector"),
            processor=self.workflow(processor, f"{fields.pointer}/{key}"),
            distributed=distributed,
            execution_type=config.get("ExecutionType", "STANDARD"),
            items=items,
            items_text=items_text,
            item_selector=fields.template(selector),
            max_concurrency=fields.number("MaxConcurrency"),
            tolerated_count=fields.number("ToleratedFailureCount"),
            tolerated_percentage=fields.number("ToleratedFailurePercentage"),
            label=source.get("Label"),
            reader=self.reader(fields.inside("ItemReader")) if "ItemReader" in source else None,
            batcher=self.batcher(fields.inside("ItemBatcher")) if "ItemBatcher" in source else None,
            writer=self.writer(fields.inside("ResultWriter")) if source.get("ResultWriter") else None,
        )

    def reader(self, fields: _Fields) -> Reader:
        key = "Arguments" if fields.jsonata else "Parameters"
        reader = Reader(resource=fields.source["Resource"], arguments=fields.template(key, f"ItemReader/{key}"))
        if "ReaderConfig" in fields:
            config = fields.inside("ReaderConfig")
            reader.max_items = config.number("MaxItems", field="ItemReader/ReaderConfig/MaxItems")
            rest = {key: value for key, value in config.source.items() if key not in ("MaxItems", "MaxItemsPath")}
            reader.config = config.compiled(
                "", compile_template, rest, query_language=config.language, field="ItemReader/ReaderConfig"
            )
        return reader

    def batcher(self, fields: _Fields) -> Batcher:
        return Batcher(
            max_items=fields.number("MaxItemsPerBatch", field="ItemBatcher/MaxItemsPerBatch"),
            max_bytes=fields.number("MaxInputBytesPerBatch", field="ItemBatcher/MaxInputBytesPerBatch"),
            batch_input=fields.template("BatchInput", "ItemBatcher/BatchInput"),
        )

    def writer(self, fields: _Fields) -> Writer:
        key = "Arguments" if fields.jsonata else "Parameters"
        return Writer(
            resource=fields.source.get("Resource"),
            arguments=fields.template(key, f"ResultWriter/{key}"),
            config=fields.source.get("WriterConfig") or {},
        )


def _resource(arn: str) -> tuple[TaskKind, str, str]:
    """The kind of a Task's Resource, and for an integration its `resourceType` and `resource` as AWS records them."""
    parts = arn.split(":", 5)
    if len(parts) == 6 and parts[2] == "states":
        rest = parts[5]
        if rest.startswith("activity:"):
            return "activity", "", ""
        if rest.startswith("aws-sdk:"):
            service, _, action = rest.removeprefix("aws-sdk:").partition(":")
            return "service", f"aws-sdk:{service}", action
        service, _, action = rest.partition(":")
        return "service", service, action
    return "lambda", "", ""
