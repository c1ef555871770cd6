"""Fields of a collection: what they accept, how a value is stored. What a schema does not know is dropped without a word."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

Errors = list[dict[str, str]]
Fields = Mapping[str, "Field"]


class Broken(Exception):
    """A relation to a document that does not exist: the database refuses it, and Payload answers 500."""


@dataclass(frozen=True)
class Field:
    """`kind`: text, number, checkbox, date, json, rich, select, relation, group, array, blocks."""

    kind: str
    required: bool = False
    unique: bool = False
    many: bool = False
    options: tuple[str, ...] = ()
    target: str = ""
    least: float | None = None
    most: float | None = None
    longest: int | None = None
    default: Any = None
    fields: Fields = field(default_factory=dict)
    blocks: Mapping[str, Fields] = field(default_factory=dict)

    def needed(self) -> Field:
        return replace(self, required=True)


def text(**more: Any) -> Field:
    return Field("text", **more)


def number(**more: Any) -> Field:
    return Field("number", **more)


def check(default: bool = False) -> Field:
    return Field("checkbox", default=default)


def date() -> Field:
    return Field("date")


def json_() -> Field:
    return Field("json")


def rich() -> Field:
    return Field("rich")


def select(*options: str, **more: Any) -> Field:
    return Field("select", options=options, **more)


def rel(target: str, **more: Any) -> Field:
    return Field("relation", target=target, **more)


def rels(target: str) -> Field:
    return Field("relation", target=target, many=True)


def group(**fields: Field) -> Field:
    return Field("group", fields=fields)


def array(**fields: Field) -> Field:
    return Field("array", fields=fields)


def pair(name: str, made: Callable[[], Field] = text) -> dict[str, Field]:
    return {f"{name}Itrvl": made(), f"{name}Enhanced": made(), f"{name}Reviewed": check()}


class Cleaner:
    """Checks a document's data and brings them into their stored form. `exists(collection, id)` looks relations up."""

    def __init__(self, exists: Callable[[str, int], bool], relaxed: bool) -> None:
        self._exists = exists
        self._relaxed = relaxed
        self.errors: Errors = []

    def document(self, fields: Fields, data: Mapping[str, Any], *, new: bool, path: str = "") -> dict[str, Any]:
        """The known fields of `data`; with `new`, defaults and required fields too."""
        result: dict[str, Any] = {}
        for name, spec in fields.items():
            where = f"{path}{name}"
            if name in data:
                result[name] = self.value(spec, data[name], where)
            elif new:
                result[name] = self.value(spec, spec.default, where) if spec.default is not None else _empty(spec)
            if spec.required and not self._relaxed and (new or name in data) and result.get(name) in (None, "", []):
                self._refuse(where, "This field is required.")
        return result

    def value(self, spec: Field, value: Any, path: str) -> Any:
        if value is None:
            return _empty(spec)
        if spec.kind == "group":
            return self.document(spec.fields, self._object(value, path), new=True, path=f"{path}.")
        if spec.kind in ("array", "blocks"):
            return self._rows(spec, value, path)
        if spec.many or (spec.kind == "select" and isinstance(value, list)):
            if not isinstance(value, list):
                return self._refuse(path, "This field must be a list.")
            return [self._one(spec, member, path) for member in value]
        return self._one(spec, value, path)

    def _rows(self, spec: Field, value: Any, path: str) -> Any:
        if not isinstance(value, list):
            return self._refuse(path, "This field must be a list.")
        rows = []
        for number_, row in enumerate(value):
            where = f"{path}.{number_}."
            row = self._object(row, where)
            if spec.kind == "array":
                cleaned = self.document(spec.fields, row, new=True, path=where)
            else:
                fields = spec.blocks.get(row.get("blockType", ""))
                if fields is None:
                    self._refuse(where, f"Block type {row.get('blockType')!r} does not exist.")
                    continue
                cleaned = {"blockType": row["blockType"], **self.document(fields, row, new=True, path=where)}
            rows.append({**cleaned, "id": str(row.get("id") or secrets.token_hex(12))})
        return rows

    def _one(self, spec: Field, value: Any, path: str) -> Any:
        kind = spec.kind
        if kind == "text":
            if not isinstance(value, str):
                return self._refuse(path, "This field must be a text.")
            if spec.longest is not None and len(value) > spec.longest:
                self._refuse(path, f"This value must be shorter than the max length of {spec.longest} characters.")
            return value
        if kind == "number":
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                return self._refuse(path, "Please enter a valid number.")
            if (spec.least is not None and value < spec.least) or (spec.most is not None and value > spec.most):
                self._refuse(path, f'"{value}" is out of range.')
            return value
        if kind == "checkbox":
            return value if isinstance(value, bool) else self._refuse(path, "This field can only be true or false.")
        if kind == "date":
            return self._date(value, path)
        if kind == "select":
            return value if value in spec.options else self._refuse(path, "This field has an invalid selection.")
        if kind == "relation":
            if isinstance(value, bool) or not isinstance(value, int):
                return self._refuse(path, f"This relationship field has the following invalid relationships: {value} 0")
            if not self._exists(spec.target, value):
                raise Broken(f"{path}: there is no {spec.target} {value}")
        return value

    def _date(self, value: Any, path: str) -> Any:
        try:
            moment = datetime.fromisoformat(str(value).replace("Z", "+00:00"))
        except ValueError:
            return self._refuse(path, "This field must be a date.")
        moment = moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def _object(self, value: Any, path: str) -> Mapping[str, Any]:
        if isinstance(value, dict):
            return value
        self._refuse(path, "This field must be an object.")
        return {}

    def _refuse(self, path: str, message: str) -> None:
        self.errors.append({"path": path.rstrip("."), "message": message})


def _empty(spec: Field) -> Any:
    if spec.kind == "group":
        return {name: _empty(inner) if inner.default is None else inner.default for name, inner in spec.fields.items()}
    if spec.kind in ("array", "blocks") or spec.many:
        return []
    return None


def relations(fields: Fields, data: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], str, Field]]:
    """Every relation with a value: the object that holds it, its name there, its field."""
    for name, spec in fields.items():
        value = data.get(name)
        if value in (None, []):
            continue
        if spec.kind == "relation":
            yield data, name, spec  # type: ignore[misc]
        elif spec.kind == "group":
            yield from relations(spec.fields, value)
        elif spec.kind == "array":
            for row in value:
                yield from relations(spec.fields, row)
        elif spec.kind == "blocks":
            for row in value:
                yield from relations(spec.blocks[row["blockType"]], row)
