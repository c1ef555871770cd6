"""What pipeline functions import.

    from stepwell import toolkit

    archive = toolkit.bucket("archive")
    tracker = toolkit.table("sync-tracker")
    alerts = toolkit.topic("alerts")
    credentials = toolkit.secret("gopro/credentials")
    metrics = toolkit.metrics("GoProSync", Provider="gopro", Environment="dev")
    log = toolkit.logger(__name__)

The names are those declared in the project's `stepwell.toml`. The same lines run on a directory of this machine and on AWS;
which of the two, the host says in environment variables (see `stepwell.toolkit.environment`).
"""

from __future__ import annotations

from stepwell.toolkit.environment import Resources, bucket, metrics, resources, secret, table, topic, worker
from stepwell.toolkit.errors import ToolkitError
from stepwell.toolkit.logs import logger

__all__ = [
    "Resources",
    "ToolkitError",
    "bucket",
    "logger",
    "metrics",
    "resources",
    "secret",
    "table",
    "topic",
    "worker",
]
