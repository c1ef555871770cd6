"""Settings: what the functions read from their environment variables. Resource names are those of stepwell.toml."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from embeddings.errors import ValidationError

RECEIPTS_PER_BATCH = 1
"""A receipt is never split and never shared between provider batches."""
STATE_BUDGET = 204_800
"""Bytes of JSON a step allows itself; the engine's limit is 262,144."""
TRANSACTION = 25
"""Records changed together."""
MAX_REQUESTS = 50_000
MAX_FILE_BYTES = 200 * 1024 * 1024
NATIVE_DIMENSIONS: Mapping[str, int] = {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072}

_REQUIRED = ("DYNAMODB_TABLE_NAME", "CHROMADB_BUCKET", "S3_BUCKET")


@dataclass(frozen=True)
class Settings:
    """One field a variable: the field's name in upper case. Sizes in bytes, times as their suffix says."""

    dynamodb_table_name: str = ""
    chromadb_bucket: str = ""
    """V: vectors, chunks, snapshots."""
    s3_bucket: str = ""
    """W: files of the batches, manifests, poll results."""
    openai_api_key: str = ""
    """Takes precedence over the secret named by `openai_secret`."""
    openai_secret: str = ""
    openai_base_url: str = "https://api.openai.com/v1"
    place_finder_url: str = ""
    """Empty: receipts without a place are embedded without a merchant."""
    embed_model: str = "text-embedding-3-small"
    embed_dim: int = 1536
    discovery_page: int = 500
    max_receipts_per_run: int = 100
    max_batches: int = 250
    """Batches of one ingest run; 0 is no cap."""
    chunk_size: int = 10
    group_size: int = 10
    manifest_max_inline: int = 50
    inline_limit: int = 153_600
    poll_inline_limit: int = 102_400
    vector_page: int = 1000
    vector_space: str = "l2"
    lock_ttl_s: float = 960.0
    lock_heartbeat_s: float = 60.0
    lock_max_hb_failures: int = 3
    lock_tries: int = 10
    lock_first_s: float = 3.0
    lock_factor: float = 1.5
    lock_max_s: float = 10.0
    lock_total_s: float = 60.0
    lock_live_heartbeat_s: float = 120.0
    snapshot_keep: int = 4
    snapshot_protect_min: float = 60.0
    """A version younger than this is never removed."""
    max_item_attempts: int = 3
    claim_grace_min: float = 60.0
    stale_batch_h: float = 48.0
    retry_first_s: float = 1.0
    """First wait between repetitions of a provider call; doubled, 30 s at most."""
    breaker_recovery_s: float = 30.0
    place_timeout_s: float = 900.0
    compaction_queue: str = field(default="")
    """The topic told of deltas made outside a state machine."""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read the variables. Raises one ValidationError that names everything missing or wrong."""
        env = os.environ if environ is None else environ
        problems = []
        missing = [name for name in _REQUIRED if not env.get(name)]
        if not env.get("OPENAI_API_KEY") and not env.get("OPENAI_SECRET"):
            missing.append("OPENAI_API_KEY or OPENAI_SECRET")
        if missing:
            problems.append(f"missing environment variables: {', '.join(missing)}")
        found: dict[str, str | int | float] = {}
        for one in fields(cls):
            name = one.name.upper()
            text = env.get(name)
            if not text:
                continue
            if isinstance(one.default, str):
                found[one.name] = text
                continue
            kind: type[int] | type[float] = type(one.default)  # type: ignore[assignment]
            try:
                value = kind(text)
            except ValueError:
                value = -1
            low = 0 if one.name == "max_batches" or kind is float else 1
            if value < low:
                problems.append(
                    f"{name} is {text!r}; it must be a {'whole ' if kind is int else ''}number from {low} on"
                )
            else:
                found[one.name] = value
        if found.get("vector_space", "l2") not in ("l2", "cosine", "ip"):
            problems.append(f"VECTOR_SPACE is {found['vector_space']!r}; it must be l2, cosine or ip")
        if not 1 <= int(found.get("vector_page", 1)) <= 5461:
            problems.append("VECTOR_PAGE must be at most 5461, Chroma's limit")
        ttl, beat = (float(found.get(name, getattr(cls, name))) for name in ("lock_ttl_s", "lock_heartbeat_s"))
        if ttl <= 3 * beat:
            problems.append(
                f"LOCK_TTL_S is {ttl:g} and must be more than three heartbeats (LOCK_HEARTBEAT_S is {beat:g})"
            )
        if problems:
            raise ValidationError("; ".join(problems))
        return cls(**found)  # type: ignore[arg-type]
