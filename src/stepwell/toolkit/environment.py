"""How a function gets its ports: the names declared in `stepwell.toml`, resolved by what the host put into the environment.

`STEPWELL_BACKEND`
    `embedded` (default) or `aws`.
`STEPWELL_DATA`
    The data directory of the embedded backend; required there.
`STEPWELL_RESOURCES`
    JSON, what the project declares, each with the name it has in this environment. All members are optional:

        {"project": "cloudsync",
         "buckets": {"archive": {"name": "gopro-dev-1111"}},
         "tables":  {"sync-tracker": {"name": "gopro-sync-tracker-dev", "key": ["media_id"], "types": {"n": "N"}, "ttl": "expires",
                     "indexes": {"status-sync_timestamp-index": {"key": ["status", "sync_timestamp"]}}}},
         "topics":  {"alerts": {"arn": "arn:aws:sns:...", "subscriptions": ["https://..."]}},
         "secrets": {"gopro/credentials": {"name": "gopro/credentials", "store": "secretsmanager"}},
         "workers": {"renderer": {"program": ["python", "-m", "renderer.main"], "...": "see machines"}}}

    `name` defaults to the declared name. `store` is `secretsmanager` or `ssm`.
`STEPWELL_OBJECTS_URL`
    Base of presigned URLs of the embedded backend, where `objects.server` listens.
`STEPWELL_API_URL`
    Where task tokens are answered (the Step Functions API); on AWS boto3 finds it itself.

boto3 is imported only when the backend is `aws`, and honours `AWS_ENDPOINT_URL`, `AWS_REGION` and its credential chain.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from stepwell.toolkit.errors import ResourceNotDeclared

if TYPE_CHECKING:
    from stepwell.toolkit.machines import Machines
    from stepwell.toolkit.measurements import Metrics
    from stepwell.toolkit.notices import Topic
    from stepwell.toolkit.objects import Bucket
    from stepwell.toolkit.records import Schema, Table
    from stepwell.toolkit.secrets import SecretHandle

Backend = Literal["embedded", "aws"]


class Resources:
    """The ports of one project in one environment. Ports are made once and shared by the threads of the process."""

    def __init__(
        self, backend: Backend = "embedded", data: Path | None = None, declared: Mapping[str, Any] | None = None
    ) -> None:
        if backend not in ("embedded", "aws"):
            raise ValueError(f"STEPWELL_BACKEND is {backend!r}; it must be 'embedded' or 'aws'")
        self.backend: Backend = backend
        self.declared: Mapping[str, Any] = declared or {}
        self._data = data
        self._ports: dict[tuple[str, str], Any] = {}

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Resources:
        """What the host's variables say. Raises ValueError for a backend or a JSON text that cannot be understood."""
        env = os.environ if environ is None else environ
        text = env.get("STEPWELL_RESOURCES") or "{}"
        try:
            declared = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"STEPWELL_RESOURCES is not JSON: {error}") from None
        if not isinstance(declared, dict):
            raise ValueError("STEPWELL_RESOURCES must be a JSON object")
        data = env.get("STEPWELL_DATA")
        return cls(env.get("STEPWELL_BACKEND") or "embedded", Path(data) if data else None, declared)  # type: ignore[arg-type]

    @cached_property
    def data(self) -> Path:
        """The embedded data directory, made if absent."""
        if self._data is None:
            raise ResourceNotDeclared(
                "STEPWELL_DATA is not set: run the function under `stepwell run`, or set it to a directory for local data"
            )
        self._data.mkdir(parents=True, exist_ok=True)
        return self._data

    def bucket(self, name: str) -> Bucket:
        """The bucket declared as `[buckets.NAME]`."""
        spec = self._declaration("buckets", name)
        key = ("buckets", name)
        if key not in self._ports:
            physical = str(spec.get("name", name))
            if self.backend == "aws":
                from stepwell.toolkit.objects.s3 import S3Bucket

                self._ports[key] = S3Bucket(physical)
            else:
                from stepwell.toolkit.objects.local import LocalBucket

                self._ports[key] = LocalBucket(self.data, physical)
        return self._ports[key]  # type: ignore[no-any-return]

    def table(self, name: str) -> Table:
        """The table declared as `[tables.NAME]`."""
        spec = self._declaration("tables", name)
        key = ("tables", name)
        if key not in self._ports:
            physical = str(spec.get("name", name))
            schema = parse_schema(name, spec)
            if self.backend == "aws":
                from stepwell.toolkit.records.dynamodb import DynamoTable

                self._ports[key] = DynamoTable(physical, schema)
            else:
                from stepwell.toolkit.records.sqlite import SqliteTable

                self._ports[key] = SqliteTable(self.data, physical, schema)
        return self._ports[key]  # type: ignore[no-any-return]

    def topic(self, name: str) -> Topic:
        """The topic declared as `[topics.NAME]`."""
        spec = self._declaration("topics", name)
        key = ("topics", name)
        if key not in self._ports:
            if self.backend == "aws":
                from stepwell.toolkit.notices import SnsTopic

                self._ports[key] = SnsTopic(str(spec.get("arn") or spec.get("name", name)))
            else:
                from stepwell.toolkit.notices import LocalTopic

                webhooks = [url for url in spec.get("subscriptions", ()) if url.startswith(("http://", "https://"))]
                self._ports[key] = LocalTopic(self.data, str(spec.get("name", name)), webhooks=webhooks)
        return self._ports[key]  # type: ignore[no-any-return]

    def secret(self, name: str) -> SecretHandle:
        """The secret declared as `[secrets."NAME"]`."""
        spec = self._declaration("secrets", name)
        key = ("secrets", name)
        if key not in self._ports:
            from stepwell.toolkit import secrets

            physical = str(spec.get("name", name))
            store = spec.get("store", "secretsmanager")
            if self.backend == "embedded":
                self._ports[key] = secrets.LocalSecret(self.data, physical)
            elif store == "secretsmanager":
                self._ports[key] = secrets.SecretsManagerSecret(physical)
            elif store == "ssm":
                self._ports[key] = secrets.ParameterSecret(physical)
            else:
                raise ValueError(f"secret {name!r}: store is {store!r}; it must be 'secretsmanager' or 'ssm'")
        return self._ports[key]  # type: ignore[no-any-return]

    def worker(self, name: str) -> Machines:
        """Where the worker program declared as `[workers.NAME]` runs."""
        spec = self._declaration("workers", name)
        key = ("workers", name)
        if key not in self._ports:
            if self.backend == "embedded":
                from stepwell.toolkit.machines.local import LocalMachines

                self._ports[key] = LocalMachines.declared(self.data, name, spec)
            elif "cluster" in spec:
                from stepwell.toolkit.machines.ecs import EcsMachines

                self._ports[key] = EcsMachines.declared(name, spec)
            else:
                from stepwell.toolkit.machines.ec2 import Ec2Machines

                self._ports[key] = Ec2Machines.declared(name, spec)
        return self._ports[key]  # type: ignore[no-any-return]

    def metrics(self, namespace: str, **dimensions: str) -> Metrics:
        """Metrics under a namespace, with dimensions on each of them. Namespaces need no declaration."""
        from stepwell.toolkit import measurements

        key = ("metrics", "sink")
        if key not in self._ports:
            self._ports[key] = (
                measurements.EmbeddedFormatSink()
                if self.backend == "aws"
                else measurements.SpoolSink(self.data / "metrics.sqlite3")
            )
        return measurements.Metrics(namespace, dimensions, self._ports[key])

    def _declaration(self, kind: str, name: str) -> Mapping[str, Any]:
        declared = self.declared.get(kind) or {}
        if name not in declared:
            known = ", ".join(sorted(declared)) or "none"
            raise ResourceNotDeclared(
                f"{kind[:-1]} {name!r} is not declared (declared: {known}); add [{kind}.{_toml_key(name)}] to stepwell.toml"
            )
        spec = declared[name]
        return spec if isinstance(spec, Mapping) else {}


def parse_schema(name: str, spec: Mapping[str, Any]) -> Schema:
    """The schema of a table from its declaration. Raises ValueError naming the table and the member that is wrong."""
    from stepwell.toolkit.records import Index, Schema

    def pair(value: Any, where: str) -> tuple[str, ...]:
        if (
            not isinstance(value, list | tuple)
            or not 1 <= len(value) <= 2
            or not all(isinstance(v, str) for v in value)
        ):
            raise ValueError(f"table {name!r}: {where} must be a list of one or two attribute names, not {value!r}")
        return tuple(value)

    key = pair(spec.get("key"), "key")
    if "sort" in spec:
        key = pair([*key, spec["sort"]], "key with sort")
    indexes: dict[str, Index] = {}
    for index, declared in dict(spec.get("indexes") or {}).items():
        attributes = pair(declared["key"] if isinstance(declared, Mapping) else declared, f"indexes.{index}.key")
        indexes[index] = Index(*attributes)
    types = dict(spec.get("types") or {})
    if any(kind not in ("S", "N", "B") for kind in types.values()):
        raise ValueError(f"table {name!r}: types must be 'S', 'N' or 'B', not {types!r}")
    return Schema(key=key, indexes=indexes, types=types, ttl=spec.get("ttl"))


def _toml_key(name: str) -> str:
    return name if name.replace("-", "").replace("_", "").isalnum() else f'"{name}"'


@lru_cache(maxsize=8)
def _resources(backend: str, data: str, declared: str) -> Resources:
    return Resources.from_environment(
        {"STEPWELL_BACKEND": backend, "STEPWELL_DATA": data, "STEPWELL_RESOURCES": declared}
    )


def resources() -> Resources:
    """The ports of this process, as the environment says now (a changed variable gives other ports)."""
    get = os.environ.get
    return _resources(get("STEPWELL_BACKEND", ""), get("STEPWELL_DATA", ""), get("STEPWELL_RESOURCES", ""))


def bucket(name: str) -> Bucket:
    """Objects of the bucket declared as `[buckets.NAME]`. See `stepwell.toolkit.objects`."""
    return resources().bucket(name)


def table(name: str) -> Table:
    """Records of the table declared as `[tables.NAME]`. See `stepwell.toolkit.records`."""
    return resources().table(name)


def topic(name: str) -> Topic:
    """The topic declared as `[topics.NAME]`. See `stepwell.toolkit.notices`."""
    return resources().topic(name)


def secret(name: str) -> SecretHandle:
    """The secret declared as `[secrets."NAME"]`. See `stepwell.toolkit.secrets`."""
    return resources().secret(name)


def worker(name: str) -> Machines:
    """Where the worker program declared as `[workers.NAME]` runs. See `stepwell.toolkit.machines`."""
    return resources().worker(name)


def metrics(namespace: str, **dimensions: str) -> Metrics:
    """Metrics under a namespace with these dimensions. See `stepwell.toolkit.measurements`."""
    return resources().metrics(namespace, **dimensions)
