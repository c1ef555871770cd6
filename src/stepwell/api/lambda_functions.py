"""The functions of the Lambda API: made from zips, changed, published as versions, named by aliases.

Python runtimes only; they run in the engine's worker processes. What has no meaning here (VPC, tracing, ephemeral storage, architectures,
snap start, KMS key, logging) is recorded and given back; what would change how the code runs (layers, images, file systems) is refused.
Source: https://docs.aws.amazon.com/lambda/latest/api/
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
import uuid
from datetime import UTC, datetime
from typing import Any

from stepwell.api.lambda_errors import LambdaError, conflict, constraint, invalid, not_found
from stepwell.engine.engine import Engine
from stepwell.functions import UnknownFunction
from stepwell.functions.spec import LATEST
from stepwell.functions.uploads import Alias, BadArchive, Revision, Uploaded, Uploads
from stepwell.tasks.aws_clients import Caller, CallFailed
from stepwell.tasks.stores import Stores

Document = dict[str, Any]

_NAME = re.compile(r"[a-zA-Z0-9-_]{1,64}")
_ALIAS = re.compile(r"(?!^[0-9]+$)([a-zA-Z0-9-_]{1,128})")
_RUNTIME = re.compile(r"python3\.\d+")
_RECORDED = (
    "VpcConfig",
    "TracingConfig",
    "EphemeralStorage",
    "SnapStart",
    "KMSKeyArn",
    "LoggingConfig",
    "Architectures",
)
_REFUSED = ("Layers", "ImageConfig", "FileSystemConfigs", "CodeSigningConfigArn")
MAX_ENVIRONMENT = 4096


class LambdaFunctions:
    """The uploaded functions of one account."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.pool = engine.functions
        self.uploads: Uploads = engine.uploads
        self._stores = Stores(engine.aws(), engine.directory)
        self._changes = asyncio.Lock()

    # -- finding ---------------------------------------------------------------------------------------------------------------

    def arn(self, name: str) -> str:
        return self.engine.arns.function(name)

    def split(self, reference: str, qualifier: str | None = None) -> tuple[str, str | None]:
        """Name and qualifier of `name`, `name:qualifier`, a partial or a full ARN. Raises LambdaError."""
        parts = reference.split(":")
        if reference.startswith("arn:"):
            if len(parts) not in (7, 8) or parts[2] != "lambda" or parts[5] != "function":
                raise constraint(
                    "functionName", reference, "Member must satisfy regular expression pattern: " + _NAME.pattern
                )
            name, own = parts[6], parts[7] if len(parts) == 8 else None
        elif len(parts) >= 3 and parts[-2] == "function" and len(parts) == 3:
            name, own = parts[2], None
        else:
            name, own = parts[0], parts[1] if len(parts) > 1 else None
        if _NAME.fullmatch(name) is None:
            raise constraint(
                "functionName", reference, "Member must satisfy regular expression pattern: " + _NAME.pattern
            )
        return name, qualifier or own

    def find(self, reference: str, qualifier: str | None = None) -> tuple[Uploaded, str, Revision]:
        """The function and the version a reference means. Raises LambdaError ResourceNotFoundException."""
        name, qualifier = self.split(reference, qualifier)
        uploaded = self.uploads.functions.get(name)
        found = uploaded.revision(qualifier) if uploaded is not None else None
        if uploaded is None or found is None:
            arn = self.arn(name)
            raise not_found(f"{arn}:{qualifier}" if qualifier else arn)
        return uploaded, *found

    # -- functions -------------------------------------------------------------------------------------------------------------

    async def create(self, p: Document) -> Document:
        name, _ = self.split(_text(p, "FunctionName"))
        if p.get("PackageType", "Zip") != "Zip":
            raise invalid("Container images cannot run here: upload the function as a zip file.")
        configuration = self._configuration(p, {})
        async with self._changes:
            if name in self.uploads.functions or self._taken(name):
                raise conflict(f"Function already exist: {name}")
            sha256, size = await self._take_code(name, p.get("Code") or {})
            revision = _revision(configuration, sha256, size)
            uploaded = Uploaded(name=name, arn=self.arn(name), latest=revision, tags=dict(p.get("Tags") or {}))
            version = LATEST
            if p.get("Publish"):
                version, revision = _publish(uploaded, "")
            self._keep(uploaded)
        return describe(uploaded, version, revision, created=True)

    async def update_code(self, reference: str, p: Document) -> Document:
        async with self._changes:
            uploaded, _, revision = self._latest(reference, p)
            if p.get("DryRun"):
                return describe(uploaded, LATEST, revision)
            sha256, size = await self._take_code(uploaded.name, p)
            uploaded.latest = _revision(revision.configuration, sha256, size)
            version, changed = LATEST, uploaded.latest
            if p.get("Publish"):
                version, changed = _publish(uploaded, "")
            self._keep(uploaded)
        return describe(uploaded, version, changed)

    async def update_configuration(self, reference: str, p: Document) -> Document:
        async with self._changes:
            uploaded, _, revision = self._latest(reference, p)
            configuration = self._configuration(p, revision.configuration)
            uploaded.latest = _revision(configuration, revision.sha256, revision.size)
            self._keep(uploaded)
        return describe(uploaded, LATEST, uploaded.latest)

    def get(self, reference: str, qualifier: str | None) -> Document:
        uploaded, version, revision = self.find(reference, qualifier)
        answer: Document = {
            "Configuration": describe(uploaded, version, revision),
            "Code": {"RepositoryType": "S3"},
        }
        if uploaded.tags:
            answer["Tags"] = uploaded.tags
        if uploaded.reserved_concurrency is not None:
            answer["Concurrency"] = {"ReservedConcurrentExecutions": uploaded.reserved_concurrency}
        return answer

    def get_configuration(self, reference: str, qualifier: str | None) -> Document:
        return describe(*self.find(reference, qualifier))

    def list_functions(self, *, marker: str | None, most: int, all_versions: bool) -> Document:
        found: list[Document] = []
        for name in sorted(self.uploads.functions):
            uploaded = self.uploads.functions[name]
            found.append(describe(uploaded, LATEST, uploaded.latest))
            if all_versions:
                found += [describe(uploaded, version, r) for version, r in uploaded.versions.items()]
        return _page("Functions", found, marker, most)

    async def delete(self, reference: str, qualifier: str | None) -> None:
        async with self._changes:
            uploaded, version, _ = self.find(reference, qualifier)
            _, qualifier = self.split(reference, qualifier)
            if qualifier is None or qualifier == LATEST:
                if qualifier == LATEST:
                    raise invalid("$LATEST version cannot be deleted without deleting the function.")
                for spec in list(self.uploads.specs_of(uploaded)):
                    self._unregister(spec.key)
                self.uploads.delete(uploaded.name)
                return
            holders = [name for name, alias in uploaded.aliases.items() if alias.version == version]
            if holders:
                raise conflict(f"Unable to delete version because the following aliases reference it: {holders}")
            del uploaded.versions[version]
            self._unregister(f"{uploaded.name}:{version}")
            self.uploads.save(uploaded)

    # -- versions and aliases --------------------------------------------------------------------------------------------------

    async def publish(self, reference: str, p: Document) -> Document:
        async with self._changes:
            uploaded, _, revision = self._latest(reference, p)
            wanted = p.get("CodeSha256")
            if wanted and wanted != revision.sha256:
                raise invalid(
                    f"CodeSHA256 ({wanted}) is different from current CodeSHA256 in $LATEST ({revision.sha256})."
                )
            version, published = _publish(uploaded, str(p.get("Description") or ""))
            self._keep(uploaded)
        return describe(uploaded, version, published)

    def versions(self, reference: str, marker: str | None, most: int) -> Document:
        uploaded, _, _ = self.find(self.split(reference)[0])
        found = [describe(uploaded, LATEST, uploaded.latest)]
        found += [describe(uploaded, version, r) for version, r in uploaded.versions.items()]
        return _page("Versions", found, marker, most)

    async def put_alias(self, reference: str, name: str, p: Document, *, create: bool) -> Document:
        async with self._changes:
            uploaded, _, _ = self.find(self.split(reference)[0])
            if _ALIAS.fullmatch(name) is None:
                raise constraint("name", name, "Member must satisfy regular expression pattern: " + _ALIAS.pattern)
            old = uploaded.aliases.get(name)
            if create and old is not None:
                raise conflict(f"Alias already exists: {uploaded.arn}:{name}")
            if not create and old is None:
                raise LambdaError("ResourceNotFoundException", f"Alias not found: {uploaded.arn}:{name}", 404)
            weights = (p.get("RoutingConfig") or {}).get("AdditionalVersionWeights")
            if weights:
                raise invalid("An alias of two versions is not supported here: leave AdditionalVersionWeights out.")
            version = str(p.get("FunctionVersion") or (old.version if old is not None else ""))
            if version != LATEST and version not in uploaded.versions:
                raise not_found(f"{uploaded.arn}:{version}")
            description = p.get("Description", old.description if old is not None else "")
            alias = Alias(version=version, description=str(description or ""), revision_id=str(uuid.uuid4()))
            uploaded.aliases[name] = alias
            self._keep(uploaded)
        return _alias(uploaded, name, alias)

    def get_alias(self, reference: str, name: str) -> Document:
        uploaded, _, _ = self.find(self.split(reference)[0])
        alias = uploaded.aliases.get(name)
        if alias is None:
            raise LambdaError("ResourceNotFoundException", f"Cannot find alias arn: {uploaded.arn}:{name}", 404)
        return _alias(uploaded, name, alias)

    def aliases(self, reference: str, version: str | None, marker: str | None, most: int) -> Document:
        uploaded, _, _ = self.find(self.split(reference)[0])
        found = [
            _alias(uploaded, name, alias)
            for name, alias in sorted(uploaded.aliases.items())
            if version is None or alias.version == version
        ]
        return _page("Aliases", found, marker, most)

    async def delete_alias(self, reference: str, name: str) -> None:
        async with self._changes:
            uploaded, _, _ = self.find(self.split(reference)[0])
            if uploaded.aliases.pop(name, None) is not None:
                self._unregister(f"{uploaded.name}:{name}")
                self.uploads.save(uploaded)

    # -- concurrency, asynchronous invocation, tags, policy --------------------------------------------------------------------

    async def put_concurrency(self, reference: str, reserved: int | None) -> Document:
        async with self._changes:
            uploaded, _, _ = self.find(self.split(reference)[0])
            uploaded.reserved_concurrency = reserved
            self._keep(uploaded)
        return {} if reserved is None else {"ReservedConcurrentExecutions": reserved}

    def concurrency(self, reference: str) -> Document:
        reserved = self.find(self.split(reference)[0])[0].reserved_concurrency
        return {} if reserved is None else {"ReservedConcurrentExecutions": reserved}

    async def put_event_invoke(self, reference: str, qualifier: str | None, p: Document, *, update: bool) -> Document:
        async with self._changes:
            uploaded, _, _ = self.find(reference, qualifier)
            key = self.split(reference, qualifier)[1] or LATEST
            old = uploaded.event_invoke.get(key, {}) if update else {}
            attempts = _whole(p, "MaximumRetryAttempts", 0, 2, old.get("MaximumRetryAttempts"))
            age = _whole(p, "MaximumEventAgeInSeconds", 60, 21600, old.get("MaximumEventAgeInSeconds"))
            config = {
                "MaximumRetryAttempts": attempts,
                "MaximumEventAgeInSeconds": age,
                "DestinationConfig": p.get("DestinationConfig", old.get("DestinationConfig")),
            }
            config = {name: value for name, value in config.items() if value is not None}
            uploaded.event_invoke[key] = {**config, "LastModified": datetime.now(UTC).timestamp()}
            self.uploads.save(uploaded)
        return self.event_invoke(reference, qualifier)

    def event_invoke(self, reference: str, qualifier: str | None) -> Document:
        uploaded, _, _ = self.find(reference, qualifier)
        key = self.split(reference, qualifier)[1] or LATEST
        config = uploaded.event_invoke.get(key)
        if config is None:
            raise LambdaError(
                "ResourceNotFoundException", f"The function {uploaded.arn}:{key} doesn't have an EventInvokeConfig", 404
            )
        return {"FunctionArn": f"{uploaded.arn}:{key}", **config}

    async def delete_event_invoke(self, reference: str, qualifier: str | None) -> None:
        async with self._changes:
            self.event_invoke(reference, qualifier)
            uploaded, _, _ = self.find(reference, qualifier)
            del uploaded.event_invoke[self.split(reference, qualifier)[1] or LATEST]
            self.uploads.save(uploaded)

    async def change_tags(self, reference: str, add: dict[str, str], remove: list[str]) -> None:
        async with self._changes:
            uploaded, _, _ = self.find(self.split(reference)[0])
            uploaded.tags = {k: v for k, v in {**uploaded.tags, **add}.items() if k not in remove}
            self.uploads.save(uploaded)

    async def add_permission(self, reference: str, p: Document) -> Document:
        """Recorded and shown; nothing here checks who invokes a function."""
        async with self._changes:
            uploaded, _, _ = self.find(self.split(reference)[0])
            sid = _text(p, "StatementId")
            if any(statement["Sid"] == sid for statement in uploaded.policy):
                raise conflict(f"The statement id ({sid}) provided already exists.")
            principal = _text(p, "Principal")
            statement: Document = {
                "Sid": sid,
                "Effect": "Allow",
                "Principal": {"Service": principal} if principal.endswith(".amazonaws.com") else {"AWS": principal},
                "Action": _text(p, "Action"),
                "Resource": uploaded.arn,
            }
            if p.get("SourceArn"):
                statement["Condition"] = {"ArnLike": {"AWS:SourceArn": p["SourceArn"]}}
            uploaded.policy.append(statement)
            self.uploads.save(uploaded)
        return statement

    def policy(self, reference: str) -> list[Document]:
        uploaded, _, _ = self.find(self.split(reference)[0])
        if not uploaded.policy:
            raise LambdaError("ResourceNotFoundException", "The resource you requested does not exist.", 404)
        return uploaded.policy

    async def remove_permission(self, reference: str, sid: str) -> None:
        async with self._changes:
            uploaded, _, _ = self.find(self.split(reference)[0])
            kept = [statement for statement in uploaded.policy if statement["Sid"] != sid]
            if len(kept) == len(uploaded.policy):
                raise LambdaError("ResourceNotFoundException", f"Statement {sid} is not found in resource policy.", 404)
            uploaded.policy = kept
            self.uploads.save(uploaded)

    # -- the work --------------------------------------------------------------------------------------------------------------

    def _latest(self, reference: str, p: Document) -> tuple[Uploaded, str, Revision]:
        uploaded, version, revision = self.find(self.split(reference)[0])
        wanted = p.get("RevisionId")
        if wanted and wanted != revision.revision_id:
            raise LambdaError(
                "PreconditionFailedException",
                "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to retrieve "
                "the latest Revision Id",
                412,
            )
        return uploaded, version, revision

    def _taken(self, name: str) -> bool:
        """Whether a project's own function has the name."""
        try:
            self.pool.resolve(name)
        except UnknownFunction:
            return False
        return True

    def _keep(self, uploaded: Uploaded) -> None:
        self.uploads.save(uploaded)
        for spec in self.uploads.specs_of(uploaded):
            self.pool.register(spec)

    def _unregister(self, key: str) -> None:
        try:
            self.pool.unregister(key)
        except UnknownFunction:
            return

    async def _take_code(self, name: str, code: Document) -> tuple[str, int]:
        if code.get("ImageUri"):
            raise invalid("Container images cannot run here: upload the function as a zip file.")
        if code.get("ZipFile") is not None:
            try:
                archive = base64.b64decode(_text(code, "ZipFile"), validate=True)
            except binascii.Error as error:
                raise invalid(
                    "Could not unzip uploaded file. Please check your file, then try to upload again."
                ) from error
        elif code.get("S3Bucket") and code.get("S3Key"):
            archive = await self._download(str(code["S3Bucket"]), str(code["S3Key"]))
        else:
            raise invalid("Please provide a source for function code.")
        try:
            return await asyncio.to_thread(self.uploads.unpack, name, archive)
        except BadArchive as error:
            raise invalid(str(error)) from error

    async def _download(self, bucket: str, key: str) -> bytes:
        arns = self.engine.arns
        try:
            store = self._stores.of(bucket, Caller(arns.account, arns.region))
            size, _ = await store.size(key)
            return await store.read(key, 0, max(size, 1))
        except CallFailed as failure:
            raise invalid(
                f"Error occurred while GetObject. S3 Error Code: {failure.code}. S3 Error Message: {failure.message}"
            ) from failure

    def _configuration(self, p: Document, old: Document) -> Document:
        for name in _REFUSED:
            if p.get(name):
                raise invalid(f"{name} is not supported here.")
        new = dict(old)
        runtime = p.get("Runtime", old.get("Runtime"))
        if not isinstance(runtime, str) or _RUNTIME.fullmatch(runtime) is None:
            raise invalid(f"The runtime {runtime!r} is not supported here: only Python runtimes (python3.x) are.")
        handler = p.get("Handler", old.get("Handler"))
        if not isinstance(handler, str) or "." not in handler:
            raise invalid("A Handler such as 'module.function' is required.")
        new["Runtime"], new["Handler"] = runtime, handler
        new["Role"] = _text({"Role": p.get("Role", old.get("Role"))}, "Role")
        new["Timeout"] = _whole(p, "Timeout", 1, 900, old.get("Timeout", 3))
        new["MemorySize"] = _whole(p, "MemorySize", 128, 10240, old.get("MemorySize", 128))
        new["Description"] = str(p.get("Description", old.get("Description", "")) or "")
        if "Environment" in p:
            new["Environment"] = {"Variables": _variables(p["Environment"])}
        dead = p.get("DeadLetterConfig")
        if dead is not None:
            new.pop("DeadLetterConfig", None)
            if dead.get("TargetArn"):
                new["DeadLetterConfig"] = {"TargetArn": str(dead["TargetArn"])}
        for name in _RECORDED:
            if p.get(name) is not None:
                new[name] = p[name]
        return new


def describe(uploaded: Uploaded, version: str, revision: Revision, *, created: bool = False) -> Document:
    """A FunctionConfiguration."""
    configuration = revision.configuration
    arn = uploaded.arn if version == LATEST and (created or version == LATEST) else f"{uploaded.arn}:{version}"
    answer: Document = {
        "FunctionName": uploaded.name,
        "FunctionArn": arn,
        **{k: v for k, v in configuration.items() if k != "Description"},
        "Description": revision.description or configuration.get("Description", ""),
        "CodeSize": revision.size,
        "CodeSha256": revision.sha256,
        "LastModified": revision.modified,
        "Version": version,
        "RevisionId": revision.revision_id,
        "State": "Active",
        "LastUpdateStatus": "Successful",
        "PackageType": "Zip",
    }
    answer.setdefault("TracingConfig", {"Mode": "PassThrough"})
    answer.setdefault("Architectures", ["x86_64"])
    answer.setdefault("EphemeralStorage", {"Size": 512})
    answer.setdefault("LoggingConfig", {"LogFormat": "Text", "LogGroup": f"/aws/lambda/{uploaded.name}"})
    answer["SnapStart"] = {
        "ApplyOn": (answer.get("SnapStart") or {}).get("ApplyOn", "None"),
        "OptimizationStatus": "Off",
    }
    return answer


def _revision(configuration: Document, sha256: str, size: int) -> Revision:
    modified = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + "000+0000"
    return Revision(
        configuration=configuration, sha256=sha256, size=size, modified=modified, revision_id=str(uuid.uuid4())
    )


def _publish(uploaded: Uploaded, description: str) -> tuple[str, Revision]:
    """A new version of `$LATEST`; the newest one again if nothing changed since."""
    latest = uploaded.latest
    if uploaded.versions:
        version, newest = list(uploaded.versions.items())[-1]
        if (newest.sha256, newest.configuration) == (latest.sha256, latest.configuration):
            return version, newest
    version = str(uploaded.next_version)
    uploaded.next_version += 1
    revision = _revision(latest.configuration, latest.sha256, latest.size)
    revision.description = description
    uploaded.versions[version] = revision
    return version, revision


def _alias(uploaded: Uploaded, name: str, alias: Alias) -> Document:
    return {
        "AliasArn": f"{uploaded.arn}:{name}",
        "Name": name,
        "FunctionVersion": alias.version,
        "Description": alias.description,
        "RevisionId": alias.revision_id,
    }


def _page(name: str, found: list[Document], marker: str | None, most: int) -> Document:
    start = 0
    if marker is not None:
        if not marker.isdigit() or int(marker) > len(found):
            raise invalid("Invalid pagination token.")
        start = int(marker)
    answer: Document = {name: found[start : start + most]}
    if start + most < len(found):
        answer["NextMarker"] = str(start + most)
    return answer


def _text(p: Document, name: str) -> str:
    value = p.get(name)
    if not isinstance(value, str) or not value:
        raise LambdaError(
            "ValidationException",
            f"1 validation error detected: Value null at '{name[:1].lower() + name[1:]}' failed to satisfy constraint: "
            "Member must not be null",
        )
    return value


def _whole(p: Document, name: str, least: int, most: int, default: Any) -> Any:
    value = p.get(name)
    if value is None:
        return default
    shown = name[:1].lower() + name[1:]
    if type(value) is not int:
        raise LambdaError("SerializationException", f"{shown} must be a number")
    if value > most:
        raise constraint(shown, value, f"Member must have value less than or equal to {most}")
    if value < least:
        raise constraint(shown, value, f"Member must have value greater than or equal to {least}")
    return value


def _variables(environment: Any) -> dict[str, str]:
    variables = (environment or {}).get("Variables") if isinstance(environment, dict) else None
    if not isinstance(variables, dict):
        return {}
    for name, value in variables.items():
        if re.fullmatch(r"[a-zA-Z][a-zA-Z0-9_]+", name) is None or not isinstance(value, str) or "\0" in value:
            raise invalid(f"Lambda was unable to configure your environment variables: {name} is not a valid variable.")
    if sum(len(name) + len(value) for name, value in variables.items()) > MAX_ENVIRONMENT:
        raise invalid(
            "Lambda was unable to configure your environment variables because the environment variables you have provided "
            f"exceeded the {MAX_ENVIRONMENT // 1024}KB limit."
        )
    return dict(variables)
