"""`eks:call` and `eks:runJob`: the Kubernetes API of an EKS cluster, by the endpoint and certificate authority that the state gives.

The cluster knows the caller by a token that is a presigned `sts:GetCallerIdentity`, as `aws eks get-token` makes it.
Source: https://docs.aws.amazon.com/step-functions/latest/dg/connect-eks.html
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import orjson

from stepwell.tasks.aws_clients import AwsClients, Caller, CallFailed
from stepwell.tasks.requests import Submitted, TaskError, TaskRequest

if TYPE_CHECKING:
    import httpx

SECONDS = 60.0
TOKEN_SECONDS = 60
"""How long a token may be used; each request has its own."""
METHODS = ("GET", "POST", "PUT", "DELETE", "HEAD", "PATCH")
ACTIONS = frozenset({"call", "runJob"})

log = logging.getLogger("stepwell.tasks")

Document = dict[str, Any]


class _Unreachable(Exception):
    """The cluster gave no answer."""


@dataclass(frozen=True, slots=True)
class _Cluster:
    """Where requests go, and who makes them."""

    name: str
    endpoint: str
    authority: str
    caller: Caller
    partition: str


@dataclass(slots=True)
class Kubernetes:
    """Calls clusters for Task states. `first` and `most` are the seconds between two questions for a job. Close with `close()`."""

    aws: AwsClients | None
    first: float = 1.0
    most: float = 15.0
    leaving: Callable[[], bool] = field(default=lambda: False)
    _clients: dict[tuple[str, str], httpx.AsyncClient] = field(default_factory=dict)

    async def close(self) -> None:
        for client in self._clients.values():
            await client.aclose()
        self._clients.clear()

    async def run(
        self, task: TaskRequest, action: str, pattern: str, arguments: Document, submitted: Submitted
    ) -> Document | None:
        """The task's result; None for `.waitForTaskToken`.

        Raises TaskError EKS.NNN for an answer that is no success, States.TaskFailed for a job that failed.
        """
        cluster = _cluster(task, arguments)
        if action == "call" and not pattern:
            return await self._call(cluster, arguments)
        if action != "runJob" or pattern == "sync:2":
            raise TaskError("States.Runtime", f"eks:{action} has no .{pattern} form.", "schedule")
        return await self._run_job(task, cluster, pattern, arguments, submitted)

    async def _call(self, cluster: _Cluster, arguments: Document) -> Document:
        method = _text(arguments, "Method").upper()
        if method not in METHODS:
            raise TaskError(
                "States.Runtime", f"The Method must be one of {', '.join(METHODS)}, not '{method}'.", "schedule"
            )
        path = _text(arguments, "Path")
        query = _query(arguments, "QueryParameters")
        return await self._answer(cluster, method, path, query, arguments.get("RequestBody"), "run")

    # -- jobs ------------------------------------------------------------------------------------------------------------------

    async def _run_job(
        self, task: TaskRequest, cluster: _Cluster, pattern: str, arguments: Document, submitted: Submitted
    ) -> Document | None:
        namespace = str(arguments.get("Namespace") or "default")
        jobs = f"/apis/batch/v1/namespaces/{quote(namespace, safe='')}/jobs"
        if task.submitted is not None:
            started: Document = orjson.loads(task.submitted)
        else:
            job = arguments.get("Job")
            if not isinstance(job, (dict, str)):
                raise TaskError("States.Runtime", "The field 'Job' is required: a Kubernetes Job.", "schedule")
            started = await self._answer(cluster, "POST", jobs, [], job, "submit" if pattern else "run")
            if not pattern:
                return started
            await submitted(orjson.dumps(started))
        if pattern == "waitForTaskToken":
            return None
        name = ((started.get("ResponseBody") or {}).get("metadata") or {}).get("name")
        if not isinstance(name, str):
            raise TaskError("States.Runtime", "The cluster's answer does not name the job that it made.")
        path = f"{jobs}/{quote(name, safe='')}"
        try:
            found, succeeded = await self._follow(cluster, path)
            options = arguments.get("LogOptions")
            if isinstance(options, dict) and str(options.get("RetrieveLogs")).lower() == "true":
                found["logs"] = await self._logs(cluster, namespace, name, options)
        except asyncio.CancelledError:
            if not self.leaving():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.shield(self._delete(cluster, path))
            raise
        if not succeeded:
            raise TaskError("States.TaskFailed", orjson.dumps(found).decode())
        return found

    async def _follow(self, cluster: _Cluster, path: str) -> tuple[Document, bool]:
        """Ask for the job until it is complete or has failed: the job, and whether it succeeded."""
        pause = self.first
        while True:
            try:
                response = await self._request(cluster, "GET", path, [], None)
                if response.is_success:
                    job: Document = orjson.loads(response.content)
                    for condition in (job.get("status") or {}).get("conditions") or ():
                        if condition.get("status") == "True" and condition.get("type") in ("Complete", "Failed"):
                            return job, condition["type"] == "Complete"
                elif response.status_code == 429 or response.status_code >= 500:
                    log.warning("the cluster %s answers %d; asking again", cluster.name, response.status_code)
                else:
                    raise _refused(response, "run")
            except _Unreachable as error:
                log.warning("%s; asking again", error)
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, self.most)

    async def _delete(self, cluster: _Cluster, path: str) -> None:
        try:
            await self._answer(cluster, "DELETE", path, [("propagationPolicy", "Background")], None, "run")
        except TaskError as error:
            log.warning("the job of a cancelled task could not be deleted (%s): %s", path, error)

    async def _logs(self, cluster: _Cluster, namespace: str, name: str, options: Document) -> Document:
        """What the job's containers wrote, by pod and container; what cannot be read has its error instead."""
        pods = f"/api/v1/namespaces/{quote(namespace, safe='')}/pods"
        listed = await self._answer(cluster, "GET", pods, [("labelSelector", f"job-name={name}")], None, "run")
        raw = str(options.get("RawLogs")).lower() == "true"
        parameters = _query(options, "LogParameters")
        found: Document = {}
        for pod in listed["ResponseBody"].get("items") or ():
            title = pod["metadata"]["name"]
            containers = found[title] = {"containers": {}}
            for container in pod["spec"]["containers"]:
                query = [("container", container["name"]), *parameters]
                path = f"{pods}/{quote(title, safe='')}/log"
                containers["containers"][container["name"]] = await self._log(cluster, path, query, raw)
        return {"pods": found}

    async def _log(self, cluster: _Cluster, path: str, query: list[tuple[str, str]], raw: bool) -> Document:
        try:
            response = await self._request(cluster, "GET", path, query, None)
            if not response.is_success:
                raise _refused(response, "run")
        except _Unreachable as error:
            return {"error": "EKS.SdkClientException", "cause": str(error)}
        except TaskError as error:
            return {"error": error.error, "cause": error.cause}
        if not raw:
            with contextlib.suppress(orjson.JSONDecodeError):
                return {"log": orjson.loads(response.content)}
        return {"log": response.text}

    # -- requests --------------------------------------------------------------------------------------------------------------

    async def _answer(
        self, cluster: _Cluster, method: str, path: str, query: list[tuple[str, str]], body: Any, phase: str
    ) -> Document:
        """`{ResponseBody, StatusCode, StatusText}` of a successful request."""
        try:
            response = await self._request(cluster, method, path, query, body)
        except _Unreachable as error:
            raise TaskError("EKS.SdkClientException", str(error), phase) from error
        if not response.is_success:
            raise _refused(response, phase)
        return _document(response)

    async def _request(
        self, cluster: _Cluster, method: str, path: str, query: list[tuple[str, str]], body: Any
    ) -> httpx.Response:
        import httpx

        headers = {"Authorization": f"Bearer {await self._token(cluster)}", "Accept": "application/json, */*"}
        content = None
        if body is not None:
            content = body.encode() if isinstance(body, str) else orjson.dumps(body)
            headers["Content-Type"] = _patch_type(body) if method == "PATCH" else "application/json"
        url = f"{cluster.endpoint}/{path.lstrip('/')}"
        try:
            client = self._client(cluster)
            full = f"{url}?{urlencode(query, quote_via=quote)}" if query else url
            return await client.request(method, full, headers=headers, content=content)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            text = str(error) or type(error).__name__
            raise _Unreachable(f"Unable to execute HTTP request to the cluster {cluster.name}: {text}") from error

    def _client(self, cluster: _Cluster) -> httpx.AsyncClient:
        import httpx

        key = (cluster.endpoint, cluster.authority)
        client = self._clients.get(key)
        if client is None:
            try:
                authority = base64.b64decode(cluster.authority, validate=True).decode("ascii")
                context = ssl.create_default_context(cadata=authority)
            except (binascii.Error, UnicodeDecodeError, ssl.SSLError) as error:
                raise TaskError(
                    "States.Runtime",
                    f"The CertificateAuthority of the cluster {cluster.name} is not a certificate in PEM and base64: {error}",
                    "schedule",
                ) from error
            # Only the cluster's own authority vouches for it, and no proxy of this machine's stands between.
            client = httpx.AsyncClient(verify=context, timeout=SECONDS, follow_redirects=False, trust_env=False)
            self._clients[key] = client
        return client

    async def _token(self, cluster: _Cluster) -> str:
        if self.aws is None:
            raise TaskError("States.Runtime", "This Stepwell was started without AWS credentials.", "schedule")
        suffix = ".cn" if cluster.partition == "aws-cn" else ""
        url = f"https://sts.{cluster.caller.region}.amazonaws.com{suffix}/?Action=GetCallerIdentity&Version=2011-06-15"
        headers = {"x-k8s-aws-id": cluster.name}
        try:
            signed = await self.aws.presign("GET", url, headers, "sts", cluster.caller, TOKEN_SECONDS)
        except CallFailed as failure:
            raise TaskError(f"EKS.{failure.code}", failure.message, "schedule") from failure
        return "k8s-aws-v1." + base64.urlsafe_b64encode(signed.encode()).decode().rstrip("=")


def _cluster(task: TaskRequest, arguments: Document) -> _Cluster:
    endpoint = _text(arguments, "Endpoint").rstrip("/")
    if not endpoint.startswith("https://"):
        raise TaskError("States.Runtime", f"The Endpoint '{endpoint}' is not an https URL.", "schedule")
    caller = Caller(task.account, task.region, (task.credentials or {}).get("RoleArn"), task.execution_name)
    authority = _text(arguments, "CertificateAuthority")
    return _Cluster(_text(arguments, "ClusterName"), endpoint, authority, caller, task.partition)


def _text(arguments: Document, name: str) -> str:
    value = arguments.get(name)
    if not isinstance(value, str) or not value:
        raise TaskError("States.Runtime", f"The field '{name}' is required and must be a string.", "schedule")
    return value


def _query(arguments: Document, name: str) -> list[tuple[str, str]]:
    """A map of strings to lists of strings."""
    parameters = arguments.get(name)
    if parameters is None:
        return []
    if not isinstance(parameters, dict):
        raise TaskError(
            "States.Runtime", f"The field '{name}' must be a map of strings to lists of strings.", "schedule"
        )
    values = {key: value if isinstance(value, list) else [value] for key, value in parameters.items()}
    return [
        (key, item if isinstance(item, str) else orjson.dumps(item).decode())
        for key, items in values.items()
        for item in items
    ]


def _patch_type(body: Any) -> str:
    """A list is a JSON patch, an object a merge patch, which every kind of resource takes."""
    return "application/json-patch+json" if isinstance(body, list) else "application/merge-patch+json"


def _document(response: httpx.Response) -> Document:
    body: Any = response.text
    with contextlib.suppress(orjson.JSONDecodeError):
        body = orjson.loads(response.content)
    return {"ResponseBody": body, "StatusCode": response.status_code, "StatusText": response.reason_phrase}


def _refused(response: httpx.Response, phase: str) -> TaskError:
    return TaskError(f"EKS.{response.status_code}", orjson.dumps(_document(response)).decode(), phase)
