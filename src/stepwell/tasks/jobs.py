"""`.sync` integrations: start a job, ask for its state until it ended, give what it came to.

AWS is told of a job's end by EventBridge; here it is asked, ever more slowly. Each line of the table says how to ask, which states mean
success or failure, what the task's result is, and how the job is stopped when its task is cancelled. Names are the models' with a
capital first letter. Source: https://docs.aws.amazon.com/step-functions/latest/dg/integrate-optimized.html
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson

from stepwell.tasks.aws_clients import CallFailed
from stepwell.tasks.aws_models import from_sdk, to_sdk
from stepwell.tasks.requests import Submitted, TaskError, TaskRequest
from stepwell.tasks.services import Services
from stepwell.tasks.wording import optimised_error

log = logging.getLogger("stepwell.tasks")

Document = dict[str, Any]
Keys = Callable[[Document, Document], Document]
"""Parameters of the describe or cancel call, from the start call's result and the task's arguments."""


@dataclass(frozen=True, slots=True)
class Job:
    """How a job is followed."""

    describe: str
    keys: Keys
    status: str
    """Path to the state in the describe call's result: names and indices with dots."""
    done: frozenset[str]
    failed: frozenset[str] = frozenset()
    result: str = ""
    """Path to the result; empty: the whole."""
    wrap: str | None = None
    """The name the result is put under."""
    cancel: tuple[str, Keys] | None = None
    gone: bool = False
    """ResourceNotFound from the describe call means done: a deletion."""
    check: Callable[[Document], bool] | None = None
    """Whether a job that is done succeeded, where the state does not say."""


def _pick(**fields: str) -> Keys:
    """Each parameter from a path in the start result (`result.X`) or the arguments (`arguments.X`)."""

    def keys(result: Document, arguments: Document) -> Document:
        sources = {"result": result, "arguments": arguments}
        found = {name: _at(sources[path.partition(".")[0]], path.partition(".")[2]) for name, path in fields.items()}
        return {name: value for name, value in found.items() if value is not None}

    return keys


def _pick_list(name: str, path: str, **fields: str) -> Keys:
    """The same with one parameter that is a list of one."""
    single = _pick(**{name: path}, **fields)

    def keys(result: Document, arguments: Document) -> Document:
        found = single(result, arguments)
        return {**found, name: [found[name]]}

    return keys


def _at(value: Any, path: str) -> Any:
    for part in path.split(".") if path else ():
        if isinstance(value, list):
            value = value[int(part)] if int(part) < len(value) else None
        else:
            value = value.get(part) if isinstance(value, dict) else None
    return value


def _states(*names: str) -> frozenset[str]:
    return frozenset(names)


def _ecs_tasks(result: Document, arguments: Document) -> Document:
    tasks = [task["TaskArn"] for task in result.get("Tasks", [])]
    keys: Document = {"Tasks": tasks}
    if arguments.get("Cluster"):
        keys["Cluster"] = arguments["Cluster"]
    return keys


def _ecs_task(result: Document, arguments: Document) -> Document:
    keys = _ecs_tasks(result, arguments)
    task = keys.pop("Tasks")[0]
    return {**keys, "Task": task, "Reason": "The Step Functions task was cancelled"}


def _ecs_succeeded(task: Document) -> bool:
    """A task that stopped succeeded when it ran and its containers ended with 0."""
    containers = task.get("Containers", [])
    return task.get("StopCode") in (None, "EssentialContainerExited") and all(
        container.get("ExitCode") == 0 for container in containers
    )


def _sagemaker(kind: str, name: str = "") -> Job:
    name = name or f"{kind}Name"
    return Job(
        f"Describe{kind}",
        _pick(**{name: f"arguments.{name}"}),
        f"{kind}Status" if kind != "HyperParameterTuningJob" else "HyperParameterTuningJobStatus",
        _states("Completed"),
        _states("Failed", "Stopped"),
        cancel=(f"Stop{kind}", _pick(**{name: f"arguments.{name}"})),
    )


def _emr_application(done: str, *failed: str, by: str = "arguments") -> Job:
    return Job(
        "GetApplication",
        _pick(ApplicationId=f"{by}.ApplicationId"),
        "Application.State",
        _states(*done.split()),
        _states(*failed),
    )


_EKS_FAILED = {
    "Cluster": _states("FAILED"),
    "FargateProfile": _states("CREATE_FAILED", "DELETE_FAILED"),
    "Nodegroup": _states("CREATE_FAILED", "DELETE_FAILED", "DEGRADED"),
}


def _eks(kind: str, name: str, *, deleting: bool = False, nested: bool = True) -> Job:
    keys = {name if nested else "Name": f"arguments.{name if nested else 'Name'}"}
    if nested:
        keys["ClusterName"] = "arguments.ClusterName"
    return Job(
        f"Describe{kind}",
        _pick(**keys),
        f"{kind}.Status",
        _states() if deleting else _states("ACTIVE"),
        _EKS_FAILED[kind],
        gone=deleting,
    )


_EMR_CLUSTER = _pick(ClusterId="result.ClusterId")

JOBS: dict[tuple[str, str], Job] = {
    ("athena", "startQueryExecution"): Job(
        "GetQueryExecution",
        _pick(QueryExecutionId="result.QueryExecutionId"),
        "QueryExecution.Status.State",
        _states("SUCCEEDED"),
        _states("FAILED", "CANCELLED"),
        cancel=("StopQueryExecution", _pick(QueryExecutionId="result.QueryExecutionId")),
    ),
    ("batch", "submitJob"): Job(
        "DescribeJobs",
        _pick_list("Jobs", "result.JobId"),
        "Jobs.0.Status",
        _states("SUCCEEDED"),
        _states("FAILED"),
        "Jobs.0",
        cancel=(
            "TerminateJob",
            lambda result, _: {"JobId": result["JobId"], "Reason": "The Step Functions task was cancelled"},
        ),
    ),
    ("bedrock", "createModelCustomizationJob"): Job(
        "GetModelCustomizationJob",
        _pick(JobIdentifier="result.JobArn"),
        "Status",
        _states("Completed"),
        _states("Failed", "Stopped"),
        cancel=("StopModelCustomizationJob", _pick(JobIdentifier="result.JobArn")),
    ),
    ("codebuild", "startBuild"): Job(
        "BatchGetBuilds",
        _pick_list("Ids", "result.Build.Id"),
        "Builds.0.BuildStatus",
        _states("SUCCEEDED"),
        _states("FAILED", "FAULT", "TIMED_OUT", "STOPPED"),
        "Builds.0",
        "Build",
        cancel=("StopBuild", _pick(Id="result.Build.Id")),
    ),
    ("codebuild", "startBuildBatch"): Job(
        "BatchGetBuildBatches",
        _pick_list("Ids", "result.BuildBatch.Id"),
        "BuildBatches.0.BuildBatchStatus",
        _states("SUCCEEDED"),
        _states("FAILED", "FAULT", "TIMED_OUT", "STOPPED"),
        "BuildBatches.0",
        "BuildBatch",
        cancel=("StopBuildBatch", _pick(Id="result.BuildBatch.Id")),
    ),
    ("databrew", "startJobRun"): Job(
        "DescribeJobRun",
        _pick(Name="arguments.Name", RunId="result.RunId"),
        "State",
        _states("SUCCEEDED"),
        _states("FAILED", "STOPPED", "TIMEOUT"),
        cancel=("StopJobRun", _pick(Name="arguments.Name", RunId="result.RunId")),
    ),
    ("ecs", "runTask"): Job(
        "DescribeTasks",
        _ecs_tasks,
        "Tasks.0.LastStatus",
        _states("STOPPED"),
        result="Tasks.0",
        cancel=("StopTask", _ecs_task),
        check=_ecs_succeeded,
    ),
    ("eks", "createCluster"): _eks("Cluster", "Name", nested=False),
    ("eks", "deleteCluster"): _eks("Cluster", "Name", nested=False, deleting=True),
    ("eks", "createFargateProfile"): _eks("FargateProfile", "FargateProfileName"),
    ("eks", "deleteFargateProfile"): _eks("FargateProfile", "FargateProfileName", deleting=True),
    ("eks", "createNodegroup"): _eks("Nodegroup", "NodegroupName"),
    ("eks", "deleteNodegroup"): _eks("Nodegroup", "NodegroupName", deleting=True),
    ("elasticmapreduce", "createCluster"): Job(
        "DescribeCluster",
        _EMR_CLUSTER,
        "Cluster.Status.State",
        _states("WAITING", "TERMINATED"),
        _states("TERMINATED_WITH_ERRORS"),
        cancel=("TerminateJobFlows", _pick_list("JobFlowIds", "result.ClusterId")),
    ),
    ("elasticmapreduce", "terminateCluster"): Job(
        "DescribeCluster",
        _pick(ClusterId="arguments.ClusterId"),
        "Cluster.Status.State",
        _states("TERMINATED", "TERMINATED_WITH_ERRORS"),
    ),
    ("elasticmapreduce", "addStep"): Job(
        "DescribeStep",
        _pick(ClusterId="arguments.ClusterId", StepId="result.StepId"),
        "Step.Status.State",
        _states("COMPLETED"),
        _states("FAILED", "CANCELLED", "INTERRUPTED"),
        cancel=("CancelSteps", _pick_list("StepIds", "result.StepId", ClusterId="arguments.ClusterId")),
    ),
    ("emr-containers", "startJobRun"): Job(
        "DescribeJobRun",
        _pick(Id="result.Id", VirtualClusterId="result.VirtualClusterId"),
        "JobRun.State",
        _states("COMPLETED"),
        _states("FAILED", "CANCELLED"),
        cancel=("CancelJobRun", _pick(Id="result.Id", VirtualClusterId="result.VirtualClusterId")),
    ),
    ("emr-containers", "deleteVirtualCluster"): Job(
        "DescribeVirtualCluster",
        _pick(Id="arguments.Id"),
        "VirtualCluster.State",
        _states("TERMINATED"),
        _states("ARRESTED"),
        gone=True,
    ),
    ("emr-serverless", "startJobRun"): Job(
        "GetJobRun",
        _pick(ApplicationId="result.ApplicationId", JobRunId="result.JobRunId"),
        "JobRun.State",
        _states("SUCCESS"),
        _states("FAILED", "CANCELLED"),
        cancel=("CancelJobRun", _pick(ApplicationId="result.ApplicationId", JobRunId="result.JobRunId")),
    ),
    ("emr-serverless", "cancelJobRun"): Job(
        "GetJobRun",
        _pick(ApplicationId="arguments.ApplicationId", JobRunId="arguments.JobRunId"),
        "JobRun.State",
        _states("CANCELLED", "SUCCESS"),
        _states("FAILED"),
    ),
    ("emr-serverless", "createApplication"): _emr_application("CREATED STARTED", "TERMINATED", by="result"),
    ("emr-serverless", "startApplication"): _emr_application("STARTED", "TERMINATED", "STOPPED"),
    ("emr-serverless", "stopApplication"): _emr_application("STOPPED TERMINATED"),
    ("emr-serverless", "deleteApplication"): Job(
        "GetApplication",
        _pick(ApplicationId="arguments.ApplicationId"),
        "Application.State",
        _states("TERMINATED"),
        gone=True,
    ),
    ("glue", "startJobRun"): Job(
        "GetJobRun",
        _pick(JobName="arguments.JobName", RunId="result.JobRunId"),
        "JobRun.JobRunState",
        _states("SUCCEEDED"),
        _states("FAILED", "STOPPED", "TIMEOUT", "ERROR", "EXPIRED"),
        "JobRun",
        cancel=("BatchStopJobRun", _pick_list("JobRunIds", "result.JobRunId", JobName="arguments.JobName")),
    ),
    ("mediaconvert", "createJob"): Job(
        "GetJob",
        _pick(Id="result.Job.Id"),
        "Job.Status",
        _states("COMPLETE"),
        _states("ERROR", "CANCELED"),
        cancel=("CancelJob", _pick(Id="result.Job.Id")),
    ),
    ("sagemaker", "createTrainingJob"): _sagemaker("TrainingJob"),
    ("sagemaker", "createTransformJob"): _sagemaker("TransformJob"),
    ("sagemaker", "createProcessingJob"): _sagemaker("ProcessingJob"),
    ("sagemaker", "createLabelingJob"): _sagemaker("LabelingJob"),
    ("sagemaker", "createHyperParameterTuningJob"): _sagemaker("HyperParameterTuningJob"),
    ("sagemaker", "createAutoMLJob"): _sagemaker("AutoMLJob"),
}
"""By service and action of the Resource."""

PLAIN: dict[str, frozenset[str]] = {
    "athena": frozenset({"stopQueryExecution", "getQueryExecution", "getQueryResults"}),
    "emr-containers": frozenset({"createVirtualCluster"}),
    "elasticmapreduce": frozenset(
        {
            "cancelStep",
            "modifyInstanceFleetByName",
            "modifyInstanceGroupByName",
            "setClusterTerminationProtection",
        }
    ),
    "sagemaker": frozenset({"createEndpoint", "createEndpointConfig", "createModel", "updateEndpoint"}),
}
"""Actions of these services that have only the plain form, besides the table's own."""

_EMR_OPERATIONS: dict[str, tuple[str, Callable[[Document], Document]]] = {
    "createCluster": ("RunJobFlow", lambda a: a),
    "terminateCluster": ("TerminateJobFlows", lambda a: {"JobFlowIds": [a.get("ClusterId")]}),
    "addStep": ("AddJobFlowSteps", lambda a: {"JobFlowId": a.get("ClusterId"), "Steps": [a.get("Step")]}),
    "cancelStep": (
        "CancelSteps",
        lambda a: {"ClusterId": a.get("ClusterId"), "StepIds": [a.get("StepId")]},
    ),
    "setClusterTerminationProtection": (
        "SetTerminationProtection",
        lambda a: {"JobFlowIds": [a.get("ClusterId")], "TerminationProtected": a.get("TerminationProtected")},
    ),
}
"""EMR's actions in Step Functions are named after what they do to a cluster, not after its API."""


@dataclass(frozen=True, slots=True)
class _Part:
    """What a `modify...ByName` action changes: the parts of a cluster, how they are listed and changed."""

    name: str
    find: str
    change: str
    several: bool


_EMR_PARTS = {
    "modifyInstanceFleetByName": _Part("InstanceFleet", "ListInstanceFleets", "ModifyInstanceFleet", several=False),
    "modifyInstanceGroupByName": _Part("InstanceGroup", "ListInstanceGroups", "ModifyInstanceGroups", several=True),
}
"""Source: https://docs.aws.amazon.com/step-functions/latest/dg/connect-emr.html"""


def is_job(service: str, action: str) -> bool:
    return (service, action) in JOBS or action in PLAIN.get(service, ())


@dataclass(slots=True)
class Jobs:
    """Starts and follows jobs. `first` and `most` are the seconds between two questions, growing by a half each time."""

    services: Services
    first: float = 1.0
    most: float = 15.0
    leaving: Callable[[], bool] = field(default=lambda: False)

    async def run(
        self, task: TaskRequest, name: str, action: str, pattern: str, arguments: Document, submitted: Submitted
    ) -> Document | None:
        """The task's result; None for `.waitForTaskToken`."""
        if task.submitted is not None:
            started = orjson.loads(task.submitted)
        else:
            started = await self._start(task, name, action, arguments, "submit" if pattern else "run")
            if not pattern:
                return started
            await submitted(orjson.dumps(started))
        if pattern == "waitForTaskToken":
            return None
        job = JOBS.get((name, action))
        if job is None:
            raise TaskError("States.Runtime", f"{name}:{action} has no .sync form.", "schedule")
        try:
            return await self._follow(task, name, job, started, arguments)
        except asyncio.CancelledError:
            if job.cancel is not None and not self.leaving():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.shield(self._cancel(task, name, job, started, arguments))
            raise

    async def _start(self, task: TaskRequest, name: str, action: str, arguments: Document, phase: str) -> Document:
        if name == "elasticmapreduce":
            return await self._start_emr(task, action, arguments, phase)
        result = await self.services.optimised(task, name, action, arguments, phase)
        if name == "ecs" and result.get("Failures"):
            raise TaskError("AmazonECS.Unknown", orjson.dumps(result).decode(), phase)
        return result

    async def _start_emr(self, task: TaskRequest, action: str, arguments: Document, phase: str) -> Document:
        name = "elasticmapreduce"
        part = _EMR_PARTS.get(action)
        if part is not None:
            return await self._modify_part(task, part, arguments, phase)
        operation, reshape = _EMR_OPERATIONS[action]
        result = await self.services.optimised(task, name, operation, reshape(arguments), phase)
        if "JobFlowId" in result:
            result["ClusterId"] = result.pop("JobFlowId")
        if result.get("StepIds"):
            result["StepId"] = result.pop("StepIds")[0]
        if isinstance(found := result.get("CancelStepsInfoList"), list):
            del result["CancelStepsInfoList"]
            result["CancelStepsInfo"] = found[0] if found else {}
        return result

    async def _modify_part(self, task: TaskRequest, part: _Part, arguments: Document, phase: str) -> Document:
        """Look the fleet or group up by its name, and change it."""
        service, cluster, marker = "elasticmapreduce", arguments.get("ClusterId"), None
        settings = dict(arguments.get(part.name) or {})
        wanted = settings.pop(f"{part.name}Name", arguments.get(f"{part.name}Name"))
        if f"{part.name}Id" in settings:
            raise TaskError(
                "States.Runtime",
                f"The Parameters '{task.arguments.decode()}' could not be used to start the Task: "
                f'[The field "{part.name}Id" is not supported by Step Functions]',
                "schedule",
            )
        while True:
            question = {"ClusterId": cluster, **({} if marker is None else {"Marker": marker})}
            page = await self.services.optimised(task, service, part.find, question, phase)
            found = next((one["Id"] for one in page.get(f"{part.name}s", ()) if one.get("Name") == wanted), None)
            marker = page.get("Marker")
            if found is not None or marker is None:
                break
        if found is None:
            kind = "fleet" if part.name == "InstanceFleet" else "group"
            failure = CallFailed("InvalidRequestException", f"Cluster {cluster} has no instance {kind} {wanted}.", 400)
            raise optimised_error(service, failure, (await self.services.model(service)).errors, phase)
        settings[f"{part.name}Id"] = found
        body: Document = {f"{part.name}s": [settings]} if part.several else {part.name: settings}
        return await self.services.optimised(task, service, part.change, {"ClusterId": cluster, **body}, phase)

    async def _follow(self, task: TaskRequest, name: str, job: Job, started: Document, arguments: Document) -> Document:
        pause = self.first
        while True:
            try:
                answer = await self._ask(task, name, job.describe, job.keys(started, arguments))
            except CallFailed as failure:
                if job.gone and "NotFound" in failure.code:
                    return started
                if failure.status in (429, 500, 502, 503, 504, 0) or "Throttl" in failure.code:
                    log.warning("%s %s: %s; asking again", name, job.describe, failure.message)
                else:
                    service = await self.services.model(name)
                    raise optimised_error(name, failure, service.errors) from failure
            else:
                state = _at(answer, job.status)
                if state in job.done or state in job.failed:
                    return _outcome(job, answer, str(state))
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, self.most)

    async def _ask(self, task: TaskRequest, name: str, operation: str, keys: Document) -> Document:
        service = await self.services.model(name)
        model = service.model.operation_model(operation)
        answer = await self.services.send(service, operation, to_sdk(keys, model.input_shape), task)
        converted: Document = from_sdk(answer.result, model.output_shape, epoch_milliseconds=True)
        return converted

    async def _cancel(self, task: TaskRequest, name: str, job: Job, started: Document, arguments: Document) -> None:
        if job.cancel is None:
            return
        operation, keys = job.cancel
        try:
            await self._ask(task, name, operation, keys(started, arguments))
        except (CallFailed, TaskError) as error:
            log.warning("the job of a cancelled task could not be stopped (%s %s): %s", name, operation, error)


def _outcome(job: Job, answer: Document, state: str) -> Document:
    result = _at(answer, job.result) or {}
    document: Document = {job.wrap: result} if job.wrap is not None else result
    if state in job.failed or (job.check is not None and not job.check(result)):
        raise TaskError("States.TaskFailed", orjson.dumps(document).decode())
    return document
