"""Settings: what differs between environments, and what a function reads from its environment variables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from cloudsync.errors import ValidationError

MIN_CHUNK_SIZE = 5 * 1024 * 1024
MAX_PAGE_SIZE = 100


@dataclass(frozen=True)
class EnvironmentRecord:
    """What one environment is given (section 2.1). `stepwell.toml` repeats it for the deployment; a test holds the two together."""

    name: str
    lambda_memory_mb: int
    lambda_reserved_concurrency: int
    step_functions_timeout_seconds: int
    step_functions_max_concurrency: int
    log_retention_days: int
    enable_vpc: bool
    removal_policy: str
    lambda_timeout_seconds: int = 900
    dynamodb_billing_mode: str = "PAY_PER_REQUEST"
    glacier_ir_after_days: int = 7
    deep_archive_after_days: int = 97
    enable_xray: bool = True


ENVIRONMENTS: Mapping[str, EnvironmentRecord] = {
    "dev": EnvironmentRecord(
        name="dev",
        lambda_memory_mb=512,
        lambda_reserved_concurrency=2,
        step_functions_timeout_seconds=7_200,
        step_functions_max_concurrency=2,
        log_retention_days=7,
        enable_vpc=False,
        removal_policy="destroy",
    ),
    "staging": EnvironmentRecord(
        name="staging",
        lambda_memory_mb=1024,
        lambda_reserved_concurrency=5,
        step_functions_timeout_seconds=7_200,
        step_functions_max_concurrency=5,
        log_retention_days=30,
        enable_vpc=True,
        removal_policy="destroy",
    ),
    "prod": EnvironmentRecord(
        name="prod",
        lambda_memory_mb=1024,
        lambda_reserved_concurrency=10,
        step_functions_timeout_seconds=43_200,
        step_functions_max_concurrency=5,
        log_retention_days=30,
        enable_vpc=True,
        removal_policy="retain",
    ),
}


def environment_record(name: str) -> EnvironmentRecord:
    """The record of an environment. Raises ValueError for an unknown name."""
    try:
        return ENVIRONMENTS[name]
    except KeyError:
        raise ValueError(f"unknown environment {name!r}; known are {', '.join(ENVIRONMENTS)}") from None


@dataclass(frozen=True)
class Settings:
    """What the functions read from their environment variables (section 2.2). Resource names are those of stepwell.toml."""

    secret_name: str = "gopro/credentials"  # noqa: S105 - a name, not a secret
    topic: str = ""
    table: str = "gopro-sync-tracker"
    keys_table: str = "gopro-archive-keys"
    page_size: int = 30
    max_videos: int = 100
    include_prefixes: tuple[str, ...] = ("GH", "GO")
    bucket: str = ""
    kms_key_id: str = ""
    multipart_threshold: int = 104_857_600
    chunk_size: int = 104_857_600
    strict_size: bool = False
    environment: str = "dev"
    api_base: str = "https://api.gopro.com"
    cookie_max_age_days: float = 60.0
    provider: str = field(default="gopro")

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None, *, required: tuple[str, ...] = ()) -> Settings:
        """Read the variables. Raises one ValidationError that names everything missing or wrong."""
        env = os.environ if environ is None else environ
        problems: list[str] = []
        missing = [name for name in required if not env.get(name)]
        if missing:
            problems.append(f"missing environment variables: {', '.join(missing)}")

        def number(name: str, default: int, low: int, high: int | None = None) -> int:
            text = env.get(name) or str(default)
            allowed = f"a whole number of at least {low}" if high is None else f"a whole number from {low} to {high}"
            try:
                value = int(text)
            except ValueError:
                value = low - 1
            if value < low or (high is not None and value > high):
                problems.append(f"{name} is {text!r}; it must be {allowed}")
                return default
            return value

        def flag(name: str) -> bool:
            text = (env.get(name) or "false").lower()
            if text not in ("true", "false", "1", "0"):
                problems.append(f"{name} is {text!r}; it must be true or false")
            return text in ("true", "1")

        prefixes = env.get("INCLUDE_PREFIXES") or ",".join(cls.include_prefixes)
        settings = cls(
            secret_name=env.get("SECRET_NAME") or cls.secret_name,
            topic=env.get("SNS_TOPIC_ARN", ""),
            table=env.get("DYNAMODB_TABLE") or cls.table,
            keys_table=env.get("KEYS_TABLE") or cls.keys_table,
            # The service refuses more than 100 a page, whatever is asked for.
            page_size=min(number("PAGE_SIZE", cls.page_size, 1), MAX_PAGE_SIZE),
            max_videos=number("MAX_VIDEOS", cls.max_videos, 1),
            include_prefixes=tuple(part.strip() for part in prefixes.split(",") if part.strip()),
            bucket=env.get("S3_BUCKET", ""),
            kms_key_id=env.get("KMS_KEY_ID", ""),
            multipart_threshold=number("MULTIPART_THRESHOLD", cls.multipart_threshold, 1),
            chunk_size=number("CHUNK_SIZE", cls.chunk_size, MIN_CHUNK_SIZE, 5 * 1024**3),
            strict_size=flag("STRICT_SIZE"),
            environment=env.get("ENVIRONMENT") or cls.environment,
            api_base=(env.get("PROVIDER_API_BASE") or cls.api_base).rstrip("/"),
            cookie_max_age_days=number("COOKIE_MAX_AGE_DAYS", int(cls.cookie_max_age_days), 1),
        )
        if problems:
            raise ValidationError("; ".join(problems))
        return settings
