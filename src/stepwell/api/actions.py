"""The 37 actions of the Step Functions API over the engine's public methods.

A handler gets the caller's engine and the checked request, and gives the JSON text of the answer. The engine raises AWS's
errors; the wire is `protocol.py`'s business.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import orjson

from stepwell.api.accounts import Accounts
from stepwell.api.shapes import REQUESTS
from stepwell.engine.engine import Engine
from stepwell.engine.errors import ApiError
from stepwell.engine.records import AliasRecord, Page
from stepwell.interpreter import tokens
from stepwell.language.diagnostics import errors_of
from stepwell.language.validation import validate

Parameters = dict[str, Any]
Handler = Callable[[Engine, Parameters], Awaitable[bytes]]

EMPTY = b"{}"
DEFAULT_PAGE = 100
"""Items of a page when maxResults is 0 or absent."""

MAX_DIAGNOSTICS = 100

_encode = msgspec.json.Encoder().encode


class UnknownOperationException(ApiError):
    """There is no such action."""


def _size(p: Parameters) -> int:
    return p.get("maxResults") or DEFAULT_PAGE


def _metadata_only(p: Parameters) -> bool:
    return p.get("includedData") == "METADATA_ONLY"


def _page(name: str, page: Page[Any], items: list[Any] | None = None) -> bytes:
    answer: dict[str, Any] = {name: page.items if items is None else items}
    if page.next_token is not None:
        answer["nextToken"] = page.next_token
    return _encode(answer)


# -- state machines ------------------------------------------------------------------------------------------------------------


async def create_state_machine(engine: Engine, p: Parameters) -> bytes:
    return _encode(
        await engine.machines.create(
            p["name"],
            p["definition"],
            p["roleArn"],
            type=p.get("type") or "STANDARD",
            logging_configuration=p.get("loggingConfiguration"),
            tracing_configuration=p.get("tracingConfiguration"),
            encryption_configuration=p.get("encryptionConfiguration"),
            tags=p.get("tags") or (),
            publish=bool(p.get("publish")),
            version_description=p.get("versionDescription"),
        )
    )


async def update_state_machine(engine: Engine, p: Parameters) -> bytes:
    return _encode(
        await engine.machines.update(
            p["stateMachineArn"],
            definition=p.get("definition"),
            role_arn=p.get("roleArn"),
            logging_configuration=p.get("loggingConfiguration"),
            tracing_configuration=p.get("tracingConfiguration"),
            encryption_configuration=p.get("encryptionConfiguration"),
            publish=bool(p.get("publish")),
            version_description=p.get("versionDescription"),
        )
    )


async def describe_state_machine(engine: Engine, p: Parameters) -> bytes:
    return _encode(engine.machines.describe(p["stateMachineArn"], metadata_only=_metadata_only(p)))


async def describe_state_machine_for_execution(engine: Engine, p: Parameters) -> bytes:
    return _encode(engine.machines.describe_for_execution(p["executionArn"], metadata_only=_metadata_only(p)))


async def list_state_machines(engine: Engine, p: Parameters) -> bytes:
    return _page("stateMachines", engine.machines.list(max_results=_size(p), next_token=p.get("nextToken")))


async def delete_state_machine(engine: Engine, p: Parameters) -> bytes:
    await engine.machines.delete(p["stateMachineArn"])
    return EMPTY


async def publish_state_machine_version(engine: Engine, p: Parameters) -> bytes:
    return _encode(
        await engine.machines.publish_version(
            p["stateMachineArn"], revision_id=p.get("revisionId"), description=p.get("description")
        )
    )


async def list_state_machine_versions(engine: Engine, p: Parameters) -> bytes:
    page = engine.machines.list_versions(p["stateMachineArn"], max_results=_size(p), next_token=p.get("nextToken"))
    return _page("stateMachineVersions", page)


async def delete_state_machine_version(engine: Engine, p: Parameters) -> bytes:
    await engine.machines.delete_version(p["stateMachineVersionArn"])
    return EMPTY


# -- aliases -------------------------------------------------------------------------------------------------------------------


def _alias(record: AliasRecord, *fields: str) -> Parameters:
    full = msgspec.to_builtins(record)
    return {name: full[name] for name in fields if name in full}


async def create_state_machine_alias(engine: Engine, p: Parameters) -> bytes:
    record = await engine.machines.create_alias(p["name"], p["routingConfiguration"], description=p.get("description"))
    return _encode(_alias(record, "stateMachineAliasArn", "creationDate"))


async def update_state_machine_alias(engine: Engine, p: Parameters) -> bytes:
    record = await engine.machines.update_alias(
        p["stateMachineAliasArn"],
        routing_configuration=p.get("routingConfiguration"),
        description=p.get("description"),
    )
    return _encode(_alias(record, "updateDate"))


async def describe_state_machine_alias(engine: Engine, p: Parameters) -> bytes:
    return _encode(engine.machines.describe_alias(p["stateMachineAliasArn"]))


async def list_state_machine_aliases(engine: Engine, p: Parameters) -> bytes:
    page = engine.machines.list_aliases(p["stateMachineArn"], max_results=_size(p), next_token=p.get("nextToken"))
    return _page(
        "stateMachineAliases", page, [_alias(item, "stateMachineAliasArn", "creationDate") for item in page.items]
    )


async def delete_state_machine_alias(engine: Engine, p: Parameters) -> bytes:
    await engine.machines.delete_alias(p["stateMachineAliasArn"])
    return EMPTY


# -- tags ----------------------------------------------------------------------------------------------------------------------


async def tag_resource(engine: Engine, p: Parameters) -> bytes:
    await engine.machines.tag(p["resourceArn"], p["tags"])
    return EMPTY


async def untag_resource(engine: Engine, p: Parameters) -> bytes:
    await engine.machines.untag(p["resourceArn"], p["tagKeys"])
    return EMPTY


async def list_tags_for_resource(engine: Engine, p: Parameters) -> bytes:
    return _encode({"tags": engine.machines.tags(p["resourceArn"])})


# -- executions ----------------------------------------------------------------------------------------------------------------


async def start_execution(engine: Engine, p: Parameters) -> bytes:
    get = p.get
    given = get("input")
    return _encode(
        await engine.executions.start(
            p["stateMachineArn"],
            "{}" if given is None else given,
            name=get("name"),
            trace_header=get("traceHeader"),
        )
    )


async def start_sync_execution(engine: Engine, p: Parameters) -> bytes:
    given = p.get("input")
    record = await engine.executions.start_sync(
        p["stateMachineArn"],
        "{}" if given is None else given,
        name=p.get("name"),
        trace_header=p.get("traceHeader"),
    )
    if _metadata_only(p):
        record = msgspec.structs.replace(record, input=None, input_details=None, output=None, output_details=None)
    return _encode(record)


async def describe_execution(engine: Engine, p: Parameters) -> bytes:
    return _encode(engine.executions.describe(p["executionArn"], metadata_only=_metadata_only(p)))


async def list_executions(engine: Engine, p: Parameters) -> bytes:
    page = engine.executions.list(
        state_machine_arn=p.get("stateMachineArn"),
        map_run_arn=p.get("mapRunArn"),
        status=p.get("statusFilter"),
        redrive_filter=p.get("redriveFilter"),
        max_results=_size(p),
        next_token=p.get("nextToken"),
    )
    return _page("executions", page)


async def get_execution_history(engine: Engine, p: Parameters) -> bytes:
    include = p.get("includeExecutionData")
    events, token = engine.executions.history_json(
        p["executionArn"],
        max_results=_size(p),
        reverse=bool(p.get("reverseOrder")),
        next_token=p.get("nextToken"),
        include_data=include is None or include,
    )
    if token is None:
        return b'{"events":' + events + b"}"
    return b'{"events":' + events + b',"nextToken":' + orjson.dumps(token) + b"}"


async def stop_execution(engine: Engine, p: Parameters) -> bytes:
    date = await engine.executions.stop(p["executionArn"], error=p.get("error"), cause=p.get("cause"))
    return _encode({"stopDate": date})


async def redrive_execution(engine: Engine, p: Parameters) -> bytes:
    date = await engine.executions.redrive(p["executionArn"], client_token=p.get("clientToken"))
    return _encode({"redriveDate": date})


# -- map runs ------------------------------------------------------------------------------------------------------------------


async def describe_map_run(engine: Engine, p: Parameters) -> bytes:
    return _encode(engine.map_runs.describe(p["mapRunArn"]))


async def list_map_runs(engine: Engine, p: Parameters) -> bytes:
    page = engine.map_runs.list(p["executionArn"], max_results=_size(p), next_token=p.get("nextToken"))
    return _page("mapRuns", page)


async def update_map_run(engine: Engine, p: Parameters) -> bytes:
    await engine.map_runs.update(
        p["mapRunArn"],
        max_concurrency=p.get("maxConcurrency"),
        tolerated_failure_count=p.get("toleratedFailureCount"),
        tolerated_failure_percentage=p.get("toleratedFailurePercentage"),
    )
    return EMPTY


# -- activities and task tokens ------------------------------------------------------------------------------------------------


async def create_activity(engine: Engine, p: Parameters) -> bytes:
    record = await engine.activities.create(
        p["name"], tags=p.get("tags") or (), encryption_configuration=p.get("encryptionConfiguration")
    )
    return _encode({"activityArn": record.activity_arn, "creationDate": record.creation_date})


async def describe_activity(engine: Engine, p: Parameters) -> bytes:
    return _encode(engine.activities.describe(p["activityArn"]))


async def list_activities(engine: Engine, p: Parameters) -> bytes:
    page = engine.activities.list(max_results=_size(p), next_token=p.get("nextToken"))
    items = [{"activityArn": a.activity_arn, "name": a.name, "creationDate": a.creation_date} for a in page.items]
    return _page("activities", page, items)


async def delete_activity(engine: Engine, p: Parameters) -> bytes:
    await engine.activities.delete(p["activityArn"])
    return EMPTY


async def get_activity_task(engine: Engine, p: Parameters) -> bytes:
    task = await engine.activities.get_task(p["activityArn"], worker_name=p.get("workerName"))
    return EMPTY if task is None else _encode(task)


async def send_task_success(engine: Engine, p: Parameters) -> bytes:
    await engine.callbacks.succeed(p["taskToken"], p["output"])
    return EMPTY


async def send_task_failure(engine: Engine, p: Parameters) -> bytes:
    await engine.callbacks.fail(p["taskToken"], error=p.get("error"), cause=p.get("cause"))
    return EMPTY


async def send_task_heartbeat(engine: Engine, p: Parameters) -> bytes:
    await engine.callbacks.heartbeat(p["taskToken"])
    return EMPTY


# -- definitions ---------------------------------------------------------------------------------------------------------------


async def validate_state_machine_definition(engine: Engine, p: Parameters) -> bytes:
    wanted = ("ERROR",) if (p.get("severity") or "ERROR") == "ERROR" else ("ERROR", "WARNING")
    findings = validate(p["definition"], kind=p.get("type") or "STANDARD")
    shown = [finding for finding in findings if finding.severity in wanted]
    most = p.get("maxResults") or MAX_DIAGNOSTICS
    return _encode(
        {
            "result": "FAIL" if errors_of(findings) else "OK",
            "diagnostics": [finding.as_wire() for finding in shown[:most]],
            "truncated": len(shown) > most,
        }
    )


async def test_state(engine: Engine, p: Parameters) -> bytes:
    from stepwell.api.teststate import run_test  # it brings the AWS models: only who tests states pays for them

    return await run_test(engine, p)


def _execution_of(token: str) -> str:
    try:
        return tokens.decode(token).execution_arn
    except ValueError:
        return ""


# -- the table -----------------------------------------------------------------------------------------------------------------

ACTIONS: dict[str, tuple[Handler, str | None]] = {
    "CreateActivity": (create_activity, None),
    "CreateStateMachine": (create_state_machine, None),
    "CreateStateMachineAlias": (create_state_machine_alias, None),
    "DeleteActivity": (delete_activity, "activityArn"),
    "DeleteStateMachine": (delete_state_machine, "stateMachineArn"),
    "DeleteStateMachineAlias": (delete_state_machine_alias, "stateMachineAliasArn"),
    "DeleteStateMachineVersion": (delete_state_machine_version, "stateMachineVersionArn"),
    "DescribeActivity": (describe_activity, "activityArn"),
    "DescribeExecution": (describe_execution, "executionArn"),
    "DescribeMapRun": (describe_map_run, "mapRunArn"),
    "DescribeStateMachine": (describe_state_machine, "stateMachineArn"),
    "DescribeStateMachineAlias": (describe_state_machine_alias, "stateMachineAliasArn"),
    "DescribeStateMachineForExecution": (describe_state_machine_for_execution, "executionArn"),
    "GetActivityTask": (get_activity_task, "activityArn"),
    "GetExecutionHistory": (get_execution_history, "executionArn"),
    "ListActivities": (list_activities, None),
    "ListExecutions": (list_executions, "stateMachineArn"),
    "ListMapRuns": (list_map_runs, "executionArn"),
    "ListStateMachineAliases": (list_state_machine_aliases, "stateMachineArn"),
    "ListStateMachineVersions": (list_state_machine_versions, "stateMachineArn"),
    "ListStateMachines": (list_state_machines, None),
    "ListTagsForResource": (list_tags_for_resource, "resourceArn"),
    "PublishStateMachineVersion": (publish_state_machine_version, "stateMachineArn"),
    "RedriveExecution": (redrive_execution, "executionArn"),
    "SendTaskFailure": (send_task_failure, "taskToken"),
    "SendTaskHeartbeat": (send_task_heartbeat, "taskToken"),
    "SendTaskSuccess": (send_task_success, "taskToken"),
    "StartExecution": (start_execution, "stateMachineArn"),
    "StartSyncExecution": (start_sync_execution, "stateMachineArn"),
    "StopExecution": (stop_execution, "executionArn"),
    "TagResource": (tag_resource, "resourceArn"),
    "TestState": (test_state, None),
    "UntagResource": (untag_resource, "resourceArn"),
    "UpdateMapRun": (update_map_run, "mapRunArn"),
    "UpdateStateMachine": (update_state_machine, "stateMachineArn"),
    "UpdateStateMachineAlias": (update_state_machine_alias, "stateMachineAliasArn"),
    "ValidateStateMachineDefinition": (validate_state_machine_definition, None),
}
"""Handler, and the field whose ARN (or token) says which account's engine is meant (None: the caller's)."""


class Actions:
    """Checks a request and carries it out in the right account."""

    def __init__(self, accounts: Accounts) -> None:
        self.accounts = accounts
        self._table = {name: (REQUESTS[name], handler, arn) for name, (handler, arn) in ACTIONS.items()}

    def knows(self, action: str) -> bool:
        return action in self._table

    async def run(self, action: str, parameters: Parameters, access_key: str) -> bytes:
        """The JSON text of an action's answer. Raises ApiError."""
        entry = self._table.get(action)
        if entry is None:
            raise UnknownOperationException(f"Unknown operation {action}")
        check, handler, arn_field = entry
        check(parameters)
        engine: Engine | None = None
        if arn_field is not None:
            arn = parameters.get(arn_field)
            if arn is not None:
                engine = self.accounts.of_arn(arn if arn_field != "taskToken" else _execution_of(arn))
        if engine is None:
            engine = await self.accounts.of_key(access_key)
        return await handler(engine, parameters)
