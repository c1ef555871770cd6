"""Jobs that are started and asked for until they end."""

import asyncio
import json
from datetime import UTC, datetime

import pytest

from stepwell.tasks import Dispatcher, TaskError
from stepwell.tasks.aws_clients import CallFailed
from stepwell.tasks.aws_models import load_service
from stepwell.tasks.jobs import JOBS, PLAIN
from stepwell.tasks.services import BOTO_NAMES

from .conftest import Submissions, run
from .scripted import ScriptedAws

WHEN = datetime(2025, 1, 1, tzinfo=UTC)


def dispatcher(**answers):
    aws = ScriptedAws(**answers)
    return Dispatcher(aws=aws, poll_seconds=(0.001, 0.002)), aws


@pytest.mark.parametrize("key", sorted(JOBS))
def test_every_line_of_the_table_names_real_operations(key):
    name, action = key
    job = JOBS[key]
    service = load_service(BOTO_NAMES.get(name, name))
    operations = [job.describe, *([job.cancel[0]] if job.cancel else [])]
    if name != "elasticmapreduce":
        operations.append(action)
    for operation in operations:
        assert service.operation(operation), operation
    found = service.model.operation_model(service.operation(job.describe)).output_shape
    for path in (job.status, job.result):
        shape = found
        for part in path.split(".") if path else ():
            if shape.type_name == "list":
                shape = shape.member
                continue
            members = {name[:1].upper() + name[1:]: member for name, member in shape.members.items()}
            assert part in members, (path, part)
            shape = members[part]
    states = getattr(_shape_at(found, job.status), "enum", None)
    if states:
        assert job.done | job.failed <= set(states)


def _shape_at(shape, path):
    for part in path.split("."):
        if shape.type_name == "list":
            shape = shape.member
        else:
            shape = {name[:1].upper() + name[1:]: member for name, member in shape.members.items()}[part]
    return shape


@pytest.mark.parametrize("name", sorted(PLAIN))
def test_plain_actions_exist(name):
    if name != "elasticmapreduce":
        assert all(load_service(name).operation(action) for action in PLAIN[name])


async def test_glue_until_it_succeeds():
    running = {"JobRun": {"Id": "jr", "JobRunState": "RUNNING"}}
    done = {"JobRun": {"Id": "jr", "JobRunState": "SUCCEEDED", "StartedOn": WHEN}}
    runner, aws = dispatcher(StartJobRun={"JobRunId": "jr"}, GetJobRun=[running, running, done])
    submitted = Submissions()
    result = await run(runner, "glue:startJobRun.sync", {"JobName": "j"}, submitted)
    assert result == {"Id": "jr", "JobRunState": "SUCCEEDED", "StartedOn": 1735689600000}
    assert submitted[0]["JobRunId"] == "jr"
    assert "SdkHttpMetadata" in submitted[0]
    assert aws.made("GetJobRun") == [{"JobName": "j", "RunId": "jr"}] * 3


async def test_a_job_that_fails_is_the_cause():
    failed = {"jobs": [{"jobId": "1", "status": "FAILED", "statusReason": "no"}]}
    runner, _ = dispatcher(SubmitJob={"jobId": "1", "jobName": "n"}, DescribeJobs=failed)
    with pytest.raises(TaskError) as caught:
        await run(runner, "batch:submitJob.sync", {"JobName": "n", "JobQueue": "q", "JobDefinition": "d"})
    assert caught.value.error == "States.TaskFailed"
    assert json.loads(caught.value.cause) == {"JobId": "1", "Status": "FAILED", "StatusReason": "no"}


@pytest.mark.parametrize(("code", "succeeds"), [(0, True), (1, False)])
async def test_an_ecs_task_succeeds_by_its_exit_code(code, succeeds):
    task = {
        "taskArn": "t",
        "lastStatus": "STOPPED",
        "stopCode": "EssentialContainerExited",
        "containers": [{"exitCode": code}],
    }
    runner, aws = dispatcher(RunTask={"tasks": [{"taskArn": "t"}], "failures": []}, DescribeTasks={"tasks": [task]})
    arguments = {"Cluster": "c", "TaskDefinition": "d"}
    if succeeds:
        assert (await run(runner, "ecs:runTask.sync", arguments))["LastStatus"] == "STOPPED"
    else:
        with pytest.raises(TaskError, match=r"States\.TaskFailed"):
            await run(runner, "ecs:runTask.sync", arguments)
    assert aws.made("DescribeTasks") == [{"tasks": ["t"], "cluster": "c"}]


async def test_an_ecs_task_that_found_no_place():
    runner, _ = dispatcher(RunTask={"tasks": [], "failures": [{"arn": "a", "reason": "RESOURCE:MEMORY"}]})
    with pytest.raises(TaskError) as caught:
        await run(runner, "ecs:runTask.sync", {"TaskDefinition": "d"})
    assert (caught.value.error, caught.value.phase) == ("AmazonECS.Unknown", "submit")
    assert "RESOURCE:MEMORY" in caught.value.cause


async def test_a_start_that_is_refused():
    runner, _ = dispatcher(StartJobRun=CallFailed("EntityNotFoundException", "no job", 400, "id"))
    with pytest.raises(TaskError) as caught:
        await run(runner, "glue:startJobRun.sync", {"JobName": "j"})
    assert (caught.value.error, caught.value.phase) == ("Glue.EntityNotFoundException", "submit")
    assert caught.value.cause == (
        "no job (Service: AWSGlue; Status Code: 400; Error Code: EntityNotFoundException; Request ID: id; Proxy: null)"
    )


async def test_asking_goes_on_when_the_service_stumbles():
    done = {"Build": {"id": "b"}}
    found = {"builds": [{"id": "b", "buildStatus": "SUCCEEDED"}]}
    stumble = [CallFailed("ThrottlingException", "slow down", 400), CallFailed("InternalError", "oops", 500), found]
    runner, _ = dispatcher(StartBuild={"build": {"id": "b"}}, BatchGetBuilds=stumble)
    result = await run(runner, "codebuild:startBuild.sync", {"ProjectName": "p"})
    assert result == {"Build": {"Id": "b", "BuildStatus": "SUCCEEDED"}}
    assert done


async def test_emr_has_names_of_its_own():
    cluster = {"Cluster": {"Id": "j-1", "Status": {"State": "WAITING"}}}
    step = {"Step": {"Id": "s-1", "Status": {"State": "COMPLETED"}}}
    runner, aws = dispatcher(
        RunJobFlow={"JobFlowId": "j-1"},
        DescribeCluster=[cluster, {"Cluster": {"Status": {"State": "TERMINATED"}}}],
        AddJobFlowSteps={"StepIds": ["s-1"]},
        DescribeStep=step,
        TerminateJobFlows={},
    )
    submitted = Submissions()
    made = await run(runner, "elasticmapreduce:createCluster.sync", {"Name": "c", "Instances": {}}, submitted)
    assert (submitted[0]["ClusterId"], made["Cluster"]["Id"]) == ("j-1", "j-1")
    added = await run(runner, "elasticmapreduce:addStep.sync", {"ClusterId": "j-1", "Step": {"Name": "s"}})
    assert added["Step"]["Id"] == "s-1"
    assert aws.made("AddJobFlowSteps") == [{"JobFlowId": "j-1", "Steps": [{"Name": "s"}]}]
    await run(runner, "elasticmapreduce:terminateCluster.sync", {"ClusterId": "j-1"})
    assert aws.made("TerminateJobFlows") == [{"JobFlowIds": ["j-1"]}]


async def test_emr_finds_fleets_and_groups_by_name():
    runner, aws = dispatcher(
        ListInstanceFleets=[
            {"InstanceFleets": [{"Id": "if-1", "Name": "MASTER"}], "Marker": "m"},
            {"InstanceFleets": [{"Id": "if-2", "Name": "CORE"}]},
        ],
        ModifyInstanceFleet={},
        ListInstanceGroups={"InstanceGroups": [{"Id": "ig-1", "Name": "task"}]},
        ModifyInstanceGroups={},
    )
    fleet = {"ClusterId": "j-1", "InstanceFleetName": "CORE", "InstanceFleet": {"TargetOnDemandCapacity": 8}}
    result = await run(runner, "elasticmapreduce:modifyInstanceFleetByName", fleet)
    assert set(result) == {"SdkHttpMetadata", "SdkResponseMetadata"}
    assert aws.made("ListInstanceFleets") == [{"ClusterId": "j-1"}, {"ClusterId": "j-1", "Marker": "m"}]
    assert aws.made("ModifyInstanceFleet") == [
        {"ClusterId": "j-1", "InstanceFleet": {"InstanceFleetId": "if-2", "TargetOnDemandCapacity": 8}}
    ]
    group = {"ClusterId": "j-1", "InstanceGroupName": "task", "InstanceGroup": {"InstanceCount": 2}}
    await run(runner, "elasticmapreduce:modifyInstanceGroupByName", group)
    assert aws.made("ModifyInstanceGroups") == [
        {"ClusterId": "j-1", "InstanceGroups": [{"InstanceGroupId": "ig-1", "InstanceCount": 2}]}
    ]
    with pytest.raises(TaskError) as caught:
        await run(runner, "elasticmapreduce:modifyInstanceGroupByName", {**group, "InstanceGroupName": "none"})
    assert caught.value.error == "ElasticMapReduce.InvalidRequestException"
    with pytest.raises(TaskError, match="InstanceGroupId"):
        await run(
            runner, "elasticmapreduce:modifyInstanceGroupByName", {**group, "InstanceGroup": {"InstanceGroupId": "x"}}
        )


async def test_emr_changes_a_cluster_and_cancels_a_step():
    info = {"StepId": "s-1", "Status": "SUBMITTED"}
    runner, aws = dispatcher(SetTerminationProtection={}, CancelSteps={"CancelStepsInfoList": [info]})
    arguments = {"ClusterId": "j-1", "TerminationProtected": True}
    await run(runner, "elasticmapreduce:setClusterTerminationProtection", arguments)
    assert aws.made("SetTerminationProtection") == [{"JobFlowIds": ["j-1"], "TerminationProtected": True}]
    cancelled = await run(runner, "elasticmapreduce:cancelStep", {"ClusterId": "j-1", "StepId": "s-1"})
    assert cancelled["CancelStepsInfo"] == info


async def test_a_deletion_is_done_when_the_thing_is_gone():
    gone = CallFailed("ResourceNotFoundException", "none", 404)
    runner, _ = dispatcher(
        DeleteCluster={"cluster": {"name": "c"}}, DescribeCluster=[{"cluster": {"status": "DELETING"}}, gone]
    )
    assert (await run(runner, "eks:deleteCluster.sync", {"Name": "c"}))["Cluster"] == {"Name": "c"}


@pytest.mark.parametrize("leaving", [False, True])
async def test_cancelling_stops_the_job_unless_the_host_goes_down(leaving):
    runner, aws = dispatcher(
        StartQueryExecution={"QueryExecutionId": "q"},
        GetQueryExecution={"QueryExecution": {"Status": {"State": "RUNNING"}}},
        StopQueryExecution={},
    )
    submitted = Submissions()
    task = asyncio.create_task(run(runner, "athena:startQueryExecution.sync", {"QueryString": "q"}, submitted))
    while not submitted:
        await asyncio.sleep(0)
    if leaving:
        runner.detach()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert aws.made("StopQueryExecution") == ([] if leaving else [{"QueryExecutionId": "q"}])


async def test_after_a_restart_it_is_only_asked_for():
    runner, aws = dispatcher(DescribeTrainingJob={"TrainingJobName": "t", "TrainingJobStatus": "Completed"})
    result = await run(
        runner, "sagemaker:createTrainingJob.sync", {"TrainingJobName": "t"}, submitted=b'{"TrainingJobArn":"a"}'
    )
    assert result["TrainingJobStatus"] == "Completed"
    assert [name for name, _ in aws.calls] == ["DescribeTrainingJob"]


async def test_started_and_not_waited_for():
    runner, _ = dispatcher(StartJobRun={"JobRunId": "jr"})
    result = await run(runner, "glue:startJobRun", {"JobName": "j"})
    assert (result["JobRunId"], set(result)) == ("jr", {"JobRunId", "SdkHttpMetadata", "SdkResponseMetadata"})


async def test_with_a_task_token():
    runner, _ = dispatcher(RunTask={"tasks": [{"taskArn": "t"}], "failures": []})
    submitted = Submissions()
    arguments = {"TaskDefinition": "d"}
    assert await run(runner, "ecs:runTask.waitForTaskToken", arguments, submitted, token="t") is None
    assert submitted[0]["Tasks"] == [{"TaskArn": "t"}]
