"""Reading the provider's output and error files: lines in any order, any member null or missing, some not JSON at all."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

PERMANENT = frozenset({400, 404, 413, 422})
_NEVER_RUN = frozenset({"batch_expired", "batch_cancelled"})


@dataclass(frozen=True)
class Failure:
    """Why a request has no vector. `permanent`: a repetition would fail again."""

    message: str
    permanent: bool


@dataclass
class Outcome:
    """The requests of a batch, sorted by what became of them."""

    vectors: dict[str, list[float]] = field(default_factory=dict)
    failures: dict[str, Failure] = field(default_factory=dict)
    unreported: list[str] = field(default_factory=list)
    unknown: int = 0
    """Lines of no request of ours."""
    duplicates: int = 0
    broken: int = 0
    """Lines that are not JSON objects with an id."""
    error_types: dict[str, int] = field(default_factory=dict)


def read(expected: Iterable[str], files: Iterable[bytes], dimensions: int) -> Outcome:
    """Join the files' lines to the requests by their id; what no line speaks of is unreported."""
    outcome = Outcome()
    ids = list(expected)
    known, seen, never_run = set(ids), set[str](), set[str]()
    for content in files:
        for raw in content.split(b"\n"):
            if not raw.strip():
                continue
            line = _parsed(raw)
            identity = None if line is None else line.get("custom_id")
            if line is None or not isinstance(identity, str):
                outcome.broken += 1
            elif identity not in known:
                outcome.unknown += 1
            elif identity in seen:
                outcome.duplicates += 1
            else:
                seen.add(identity)
                vector = _vector(line, dimensions)
                if vector is not None:
                    outcome.vectors[identity] = vector
                    continue
                code, failure = _failure(line)
                outcome.error_types[code] = outcome.error_types.get(code, 0) + 1
                if code in _NEVER_RUN:
                    never_run.add(identity)
                else:
                    outcome.failures[identity] = failure
    outcome.unreported = [one for one in ids if one not in seen or one in never_run]
    return outcome


def _parsed(raw: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(raw)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _vector(line: Mapping[str, Any], dimensions: int) -> list[float] | None:
    response = _mapping(line.get("response"))
    if response.get("status_code") != 200:
        return None
    data = _mapping(response.get("body")).get("data")
    first = _mapping(data[0]) if isinstance(data, list) and data else {}
    vector = first.get("embedding")
    if not isinstance(vector, list) or len(vector) != dimensions:
        return None
    numbers = all(isinstance(x, int | float) and not isinstance(x, bool) and math.isfinite(x) for x in vector)
    return vector if numbers else None


def _failure(line: Mapping[str, Any]) -> tuple[str, Failure]:
    error, response = _mapping(line.get("error")), _mapping(line.get("response"))
    inner = _mapping(_mapping(response.get("body")).get("error"))
    code = str(error.get("code") or inner.get("type") or "unknown_error")
    message = error.get("message") or inner.get("message")
    text = f"{code}: {message}" if message else code
    return code[:100], Failure(text[:500], response.get("status_code") in PERMANENT)
