"""Rules of the port that both adapters hold, so that a program refused on one is refused on the other."""

from __future__ import annotations

from collections.abc import Iterable

from stepwell.toolkit.records import Condition, Item, Key, Mutation, Schema, values


def apply(schema: Schema, key: Key, function: Mutation, before: Item | None) -> Item | None:
    """What the function makes of a record (`before`, which it may alter), normalised and with its key."""
    result = function(before)
    if result is None:
        return None
    parts = values.split_key(key, schema)
    for name, part in zip(schema.key, parts, strict=True):
        if result.get(name, part) != part:
            raise ValueError(f"a mutation must not change the key attribute {name!r} ({part!r} to {result[name]!r})")
    return values.normalize({**dict(zip(schema.key, parts, strict=True)), **result}, schema)


def collect_writes(schema: Schema, puts: Iterable[Item], deletes: Iterable[Key]) -> dict[Key, Item | None]:
    """Puts and deletes by key; ValueError for a key that is named twice."""
    changes: dict[Key, Item | None] = {}
    for item in puts:
        new = values.normalize(item, schema)
        key = values.key_of(new, schema)
        if key in changes:
            raise ValueError(f"record {key!r} is written twice in one batch")
        changes[key] = new
    for key in deletes:
        values.split_key(key, schema)
        if key in changes:
            raise ValueError(f"record {key!r} is written twice in one batch")
        changes[key] = None
    return changes


def check_limit(limit: int) -> None:
    """ValueError unless 1 <= limit <= 1,000."""
    if not 1 <= limit <= 1000:
        raise ValueError(f"limit must be from 1 to 1,000, not {limit}")


def index_attributes(schema: Schema, table: str, index: str | None) -> tuple[str, str | None]:
    """The attributes that a query's partition value and sort condition are about."""
    if index is None:
        return schema.key[0], schema.key[1] if len(schema.key) == 2 else None
    if index not in schema.indexes:
        known = ", ".join(sorted(schema.indexes)) or "none"
        raise ValueError(f"table {table!r} has no index {index!r} (declared: {known})")
    return schema.indexes[index].hash, schema.indexes[index].range


def check_condition(sort: Condition, name: str | None, schema: Schema) -> None:
    """Raise for a sort condition that cannot be asked."""
    if name is None:
        raise ValueError("this table or index has no sort key")
    if sort.operator == "begins_with" and schema.types.get(name, "S") == "N":
        raise TypeError(f"begins_with does not apply to the number {name!r}")
    for value in sort.values:
        values.check_key_value(name, value, schema, values.MAX_RANGE_BYTES)
