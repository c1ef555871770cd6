"""The API from a client's side, by boto3: what a user does from the first call to the last."""

import json
import threading
import time
from datetime import datetime

import pytest

from .conftest import ACCOUNT, PASS, REGION, ROLE, Running

WAITING = {"StartAt": "W", "States": {"W": {"Type": "Wait", "Seconds": 600, "End": True}}}
FAILING = {"StartAt": "F", "States": {"F": {"Type": "Fail", "Error": "Oops", "Cause": "why"}}}


def ended(sfn, arn):
    until = time.monotonic() + 10
    while (found := sfn.describe_execution(executionArn=arn))["status"] == "RUNNING":
        assert time.monotonic() < until
        time.sleep(0.01)
    return found


def code(call, **arguments):
    with pytest.raises(Exception) as caught:
        call(**arguments)
    return caught.value.response["Error"]["Code"]


def test_an_execution(sfn, make):
    machine = make()
    started = sfn.start_execution(stateMachineArn=machine, name="one", input='{"a":1}')
    assert started["executionArn"].startswith(f"arn:aws:states:{REGION}:{ACCOUNT}:execution:")
    assert isinstance(started["startDate"], datetime)
    done = ended(sfn, started["executionArn"])
    assert (done["status"], json.loads(done["output"])) == ("SUCCEEDED", {"a": 1})
    listed = sfn.list_executions(stateMachineArn=machine)["executions"]
    assert [(item["name"], item["status"]) for item in listed] == [("one", "SUCCEEDED")]
    machine_of = sfn.describe_state_machine_for_execution(executionArn=started["executionArn"])
    assert json.loads(machine_of["definition"]) == PASS
    again = sfn.start_execution(stateMachineArn=machine, name="two", input="[]")
    assert code(sfn.start_execution, stateMachineArn=machine, name="two", input="{}") == "ExecutionAlreadyExists"
    assert ended(sfn, again["executionArn"])["output"] == "[]"


def test_history_in_pages_both_ways(sfn, make):
    arn = sfn.start_execution(stateMachineArn=make())["executionArn"]
    ended(sfn, arn)
    whole = sfn.get_execution_history(executionArn=arn)["events"]
    assert [event["type"] for event in whole] == [
        "ExecutionStarted",
        "PassStateEntered",
        "PassStateExited",
        "PassStateEntered",
        "PassStateExited",
        "ExecutionSucceeded",
    ]
    pages = sfn.get_paginator("get_execution_history")
    for reverse in (False, True):
        options = {"executionArn": arn, "reverseOrder": reverse, "PaginationConfig": {"PageSize": 2}}
        found = [event["id"] for page in pages.paginate(**options) for event in page["events"]]
        assert found == (list(range(6, 0, -1)) if reverse else list(range(1, 7)))
    bare = sfn.get_execution_history(executionArn=arn, includeExecutionData=False)["events"]
    assert "input" not in bare[0]["executionStartedEventDetails"]
    for token in ("nonsense", "x" * 1024):
        assert code(sfn.get_execution_history, executionArn=arn, nextToken=token) == "InvalidToken"


def test_stop_and_redrive(sfn, make):
    running = sfn.start_execution(stateMachineArn=make(WAITING))["executionArn"]
    assert isinstance(sfn.stop_execution(executionArn=running, error="E", cause="C")["stopDate"], datetime)
    assert (ended(sfn, running)["status"], ended(sfn, running)["error"]) == ("ABORTED", "E")
    failed = sfn.start_execution(stateMachineArn=make(FAILING))["executionArn"]
    assert ended(sfn, failed)["redriveStatus"] == "REDRIVABLE"
    sfn.redrive_execution(executionArn=failed)
    done = ended(sfn, failed)
    assert (done["status"], done["redriveCount"], done["error"]) == ("FAILED", 1, "Oops")
    succeeded = sfn.start_execution(stateMachineArn=make())["executionArn"]
    ended(sfn, succeeded)
    assert code(sfn.redrive_execution, executionArn=succeeded) == "ExecutionNotRedrivable"


def test_express_in_one_call(sfn, make):
    machine = make(type="EXPRESS")
    done = sfn.start_sync_execution(stateMachineArn=machine, input='{"x":2}')
    assert (done["status"], done["output"]) == ("SUCCEEDED", '{"x":2}')
    assert done["billingDetails"]["billedMemoryUsedInMB"] == 64
    bare = sfn.start_sync_execution(stateMachineArn=machine, input='{"x":2}', includedData="METADATA_ONLY")
    assert "output" not in bare
    assert code(sfn.start_sync_execution, stateMachineArn=make()) == "StateMachineTypeNotSupported"


def test_versions_and_aliases_with_routing(sfn, make):
    machine = make(publish=True)
    first = f"{machine}:1"
    changed = {"StartAt": "A", "States": {"A": {"Type": "Pass", "Result": "new", "End": True}}}
    second = sfn.update_state_machine(stateMachineArn=machine, definition=json.dumps(changed), publish=True)[
        "stateMachineVersionArn"
    ]
    assert second == f"{machine}:2"
    routing = [{"stateMachineVersionArn": second, "weight": 100}]
    alias = sfn.create_state_machine_alias(name="live", routingConfiguration=routing)["stateMachineAliasArn"]
    done = ended(sfn, sfn.start_execution(stateMachineArn=alias)["executionArn"])
    assert (done["output"], done["stateMachineAliasArn"], done["stateMachineVersionArn"]) == ('"new"', alias, second)
    split = [{"stateMachineVersionArn": first, "weight": 50}, {"stateMachineVersionArn": second, "weight": 50}]
    sfn.update_state_machine_alias(stateMachineAliasArn=alias, routingConfiguration=split)
    assert len(sfn.describe_state_machine_alias(stateMachineAliasArn=alias)["routingConfiguration"]) == 2
    outputs = set()
    for _ in range(60):
        outputs.add(ended(sfn, sfn.start_execution(stateMachineArn=alias)["executionArn"])["output"])
    assert outputs == {"{}", '"new"'}
    assert code(sfn.delete_state_machine_version, stateMachineVersionArn=first) == "ConflictException"
    sfn.delete_state_machine_alias(stateMachineAliasArn=alias)
    sfn.delete_state_machine_version(stateMachineVersionArn=first)
    assert len(sfn.list_state_machine_versions(stateMachineArn=machine)["stateMachineVersions"]) == 1


def test_an_activity_worker(sfn, make):
    activity = sfn.create_activity(name="work")["activityArn"]
    assert sfn.create_activity(name="work")["activityArn"] == activity, "again is the same"
    machine = make({"StartAt": "T", "States": {"T": {"Type": "Task", "Resource": activity, "End": True}}})
    arn = sfn.start_execution(stateMachineArn=machine, input='{"n":1}')["executionArn"]
    task = sfn.get_activity_task(activityArn=activity, workerName="me")
    assert json.loads(task["input"]) == {"n": 1}
    sfn.send_task_heartbeat(taskToken=task["taskToken"])
    sfn.send_task_success(taskToken=task["taskToken"], output='{"n":2}')
    assert ended(sfn, arn)["output"] == '{"n":2}'
    assert code(sfn.send_task_success, taskToken=task["taskToken"], output="{}") == "TaskTimedOut"
    assert code(sfn.send_task_success, taskToken="nonsense", output="not json") == "InvalidToken"
    sfn.delete_activity(activityArn=activity)


def test_a_worker_that_went_away_gets_no_task(running, sfn, make):
    activity = sfn.create_activity(name="gone")["activityArn"]
    impatient = running.client(read_timeout=0.2)
    with pytest.raises(Exception, match="Read timeout"):
        impatient.get_activity_task(activityArn=activity)
    impatient.close()
    machine = make({"StartAt": "T", "States": {"T": {"Type": "Task", "Resource": activity, "End": True}}})
    found = {}

    def poll():
        found.update(running.client().get_activity_task(activityArn=activity))

    worker = threading.Thread(target=poll)
    worker.start()
    sfn.start_execution(stateMachineArn=machine)
    worker.join(10)
    assert found["taskToken"]


def test_tags(sfn, make):
    machine = make(tags=[{"key": "a", "value": "1"}])
    sfn.tag_resource(resourceArn=machine, tags=[{"key": "b", "value": "2"}])
    sfn.untag_resource(resourceArn=machine, tagKeys=["a"])
    assert sfn.list_tags_for_resource(resourceArn=machine)["tags"] == [{"key": "b", "value": "2"}]


def test_a_map_run(sfn, make):
    inner = {
        "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
        "StartAt": "P",
        "States": {"P": {"Type": "Pass", "End": True}},
    }
    machine = make(
        {"StartAt": "M", "States": {"M": {"Type": "Map", "ItemProcessor": inner, "Label": "L", "End": True}}}
    )
    arn = sfn.start_execution(stateMachineArn=machine, input="[1,2,3]")["executionArn"]
    assert ended(sfn, arn)["output"] == "[1,2,3]"
    run = sfn.list_map_runs(executionArn=arn)["mapRuns"][0]["mapRunArn"]
    described = sfn.describe_map_run(mapRunArn=run)
    assert (described["status"], described["itemCounts"]["succeeded"]) == ("SUCCEEDED", 3)
    children = sfn.list_executions(mapRunArn=run)["executions"]
    assert len(children) == 3
    assert code(sfn.update_map_run, mapRunArn=run, maxConcurrency=1) == "ValidationException"


def test_a_state_and_a_definition(sfn):
    tested = sfn.test_state(
        definition=json.dumps({"Type": "Pass", "Result": {"x": 1}, "Next": "N"}), inspectionLevel="DEBUG"
    )
    assert (tested["status"], tested["output"], tested["nextState"]) == ("SUCCEEDED", '{"x":1}', "N")
    assert sfn.validate_state_machine_definition(definition=json.dumps(PASS))["result"] == "OK"
    bad = sfn.validate_state_machine_definition(definition='{"StartAt":"A","States":{}}')
    assert (bad["result"], bad["truncated"]) == ("FAIL", False)
    assert bad["diagnostics"][0]["severity"] == "ERROR"


def test_pages_of_listings(sfn, make):
    for number in range(3):
        make(name=f"listed-{number}")
    pages = sfn.get_paginator("list_state_machines").paginate(PaginationConfig={"PageSize": 2})
    names = [item["name"] for page in pages for item in page["stateMachines"]]
    assert {"listed-0", "listed-1", "listed-2"} <= set(names)
    assert len(names) == len(set(names))
    assert code(sfn.list_state_machines, nextToken="nonsense") == "InvalidToken"


def test_accounts_are_limited(monkeypatch):
    monkeypatch.setattr("stepwell.api.accounts.MAX_ACCOUNTS", 2)
    with Running(accounts=True) as server:
        assert server.client(key="000000000002").list_activities()["activities"] == []
        assert code(server.client(key="000000000003").list_activities) == "ServiceQuotaExceededException"
        assert server.client(key="000000000002").list_activities()["activities"] == []


def test_accounts_by_access_key():
    with Running(accounts=True) as server:
        other = server.client(key="000000000002")
        arn = other.create_state_machine(name="m", definition=json.dumps(PASS), roleArn=ROLE)["stateMachineArn"]
        assert arn.split(":")[4] == "000000000002"
        assert server.client().list_state_machines()["stateMachines"] == []
        assert [m["name"] for m in other.list_state_machines()["stateMachines"]] == ["m"]
        child = {"Type": "Task", "Resource": "arn:aws:states:::states:startExecution.sync:2", "End": True}
        child["Parameters"] = {"StateMachineArn": arn, "Input": {"deep": True}}
        child["Credentials"] = {"RoleArn": "arn:aws:iam::000000000002:role/x"}
        home = server.client()
        parent = home.create_state_machine(
            name="p", definition=json.dumps({"StartAt": "C", "States": {"C": child}}), roleArn=ROLE
        )["stateMachineArn"]
        done = ended(home, home.start_execution(stateMachineArn=parent)["executionArn"])
        assert json.loads(done["output"])["Output"] == {"deep": True}
