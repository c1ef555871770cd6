"""What a record may hold: checked, measured and normalised alike for both adapters."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

import msgspec

from stepwell.toolkit.errors import RecordTooLarge
from stepwell.toolkit.records import MAX_RECORD_BYTES, Item, Key, KeyPart, KeyType, Schema

MAX_DIGITS = 38
MAX_EXPONENT, MIN_EXPONENT = 125, -130
MAX_HASH_BYTES, MAX_RANGE_BYTES = 2048, 1024
_MAX_DEPTH = 32
_BYTES = "$bytes"
_EASY = 10**MAX_DIGITS

_encoder = msgspec.json.Encoder(decimal_format="number")
_decoder = msgspec.json.Decoder(float_hook=Decimal)


def normalize(item: Mapping[str, Any], schema: Schema) -> Item:
    """A copy of the item as it will be read back.

    Raises TypeError and ValueError for what DynamoDB could not store, naming the attribute; `RecordTooLarge` above 409,600 bytes.
    """
    copy: Item = {}
    size = 0
    for name, value in item.items():
        if not isinstance(name, str) or not name:
            raise TypeError(f"attribute names are non-empty strings, not {name!r}")
        copy[name], length = _value(value, name, 1)
        size += len(name.encode()) + length
    if size > MAX_RECORD_BYTES:
        raise RecordTooLarge(
            f"the record {_describe(item, schema)} has {size} bytes; at most {MAX_RECORD_BYTES} are allowed"
        )
    for name in schema.key:
        if name not in copy:
            raise ValueError(f"the record lacks its key attribute {name!r}")
    check_key_value(schema.key[0], copy[schema.key[0]], schema, MAX_HASH_BYTES)
    for name in schema.key[1:]:
        check_key_value(name, copy[name], schema, MAX_RANGE_BYTES)
    for index in schema.indexes.values():
        if index.hash in copy:
            check_key_value(index.hash, copy[index.hash], schema, MAX_HASH_BYTES)
        if index.range is not None and index.range in copy:
            check_key_value(index.range, copy[index.range], schema, MAX_RANGE_BYTES)
    return copy


def split_key(key: Key, schema: Schema) -> tuple[KeyPart, ...]:
    """The parts of a key, checked against the schema."""
    parts = key if isinstance(key, tuple) else (key,)
    if len(parts) != len(schema.key):
        wanted = " and ".join(schema.key)
        raise ValueError(f"a key of this table has {len(schema.key)} part(s) ({wanted}), not {key!r}")
    for name, part, limit in zip(schema.key, parts, (MAX_HASH_BYTES, MAX_RANGE_BYTES), strict=False):
        check_key_value(name, part, schema, limit)
    return tuple(number(part, "key") if isinstance(part, int | Decimal) else part for part in parts)


def key_of(item: Mapping[str, Any], schema: Schema) -> Key:
    """The key of a normalised item."""
    return item[schema.key[0]] if len(schema.key) == 1 else (item[schema.key[0]], item[schema.key[1]])


def check_key_value(name: str, value: Any, schema: Schema, limit: int) -> None:
    """Raise for a value that cannot be (part of) the key of a table or index."""
    wanted: KeyType = schema.types.get(name, "S")
    found = (
        "S"
        if isinstance(value, str)
        else "B"
        if isinstance(value, bytes)
        else "N"
        if isinstance(value, int | Decimal) and not isinstance(value, bool)
        else type(value).__name__
    )
    if found != wanted:
        names = {"S": "a string", "N": "a number", "B": "bytes"}
        raise TypeError(f"key attribute {name!r} must be {names[wanted]}, not {value!r}; see `types` in stepwell.toml")
    if not isinstance(value, int | Decimal):
        size = len(value.encode()) if isinstance(value, str) else len(value)
        if not 1 <= size <= limit:
            raise ValueError(f"key attribute {name!r} must have 1 to {limit} bytes, not {size}")


def number(value: int | Decimal, where: str) -> int | Decimal:
    """The number as it is read back: an int when integral. ValueError for more than 38 digits, NaN and infinities."""
    if isinstance(value, int) and -_EASY < value < _EASY:
        return value
    exact = value if isinstance(value, Decimal) else Decimal(value)
    if not exact.is_finite():
        raise ValueError(f"{where}: {value} is not a number that can be stored")
    if not exact:
        return 0
    _, digits, exponent = exact.as_tuple()
    significant = "".join(map(str, digits)).strip("0")
    assert isinstance(exponent, int)
    if len(significant) > MAX_DIGITS:
        raise ValueError(f"{where}: {value} has {len(significant)} significant digits; at most {MAX_DIGITS} are kept")
    if not MIN_EXPONENT <= exact.adjusted() <= MAX_EXPONENT:
        raise ValueError(f"{where}: {value} is out of range (1E{MIN_EXPONENT} to 9.99E+{MAX_EXPONENT})")
    if exact == exact.to_integral_value():
        return int(exact)
    trailing = len("".join(map(str, digits))) - len("".join(map(str, digits)).rstrip("0"))
    return Decimal((exact.as_tuple().sign, tuple(map(int, significant.lstrip("0"))), exponent + trailing))


def dump(item: Item) -> str:
    """The item as JSON text; bytes become `{"$bytes": base64}`."""
    return _encoder.encode({name: _wrap(value) for name, value in item.items()}).decode()


def load(text: str) -> Item:
    """The item of a JSON text made by `dump`."""
    item: Item = _decoder.decode(text)
    if '"$' in text:
        return {name: _unwrap(value) for name, value in item.items()}
    return item


def sortable(value: KeyPart) -> str | bytes:
    """What SQLite compares as DynamoDB compares the value: strings by UTF-8 bytes, numbers by size, bytes unsigned."""
    if isinstance(value, str | bytes):
        return value
    exact = Decimal(value)
    if not exact:
        return b"\x80"
    sign, digits, _ = exact.as_tuple()
    magnitude = (exact.adjusted() + 200).to_bytes(2, "big") + "".join(map(str, digits)).strip("0").encode()
    if not sign:
        return b"\xc0" + magnitude
    # The larger the magnitude the smaller the number: every byte inverted, and an end above all digits.
    return b"\x40" + bytes(255 - byte for byte in magnitude + b"\0")


def project(item: Item, attributes: Iterable[str] | None, schema: Schema) -> Item:
    """The wanted attributes and the key."""
    if attributes is None:
        return item
    wanted = {*attributes, *schema.key}
    return {name: value for name, value in item.items() if name in wanted}


def expiry(item: Item, schema: Schema) -> int | None:
    """The epoch second after which readers treat the record as absent; None: never."""
    until = item.get(schema.ttl) if schema.ttl is not None else None
    return int(until) if isinstance(until, int | Decimal) and not isinstance(until, bool) else None


def _value(value: Any, where: str, depth: int) -> tuple[Any, int]:
    """The value as it is read back, and its size by DynamoDB's rules."""
    if isinstance(value, str):
        return value, len(value.encode())
    if value is None or isinstance(value, bool):
        return value, 1
    if isinstance(value, int | Decimal):
        kept = number(value, where)
        return kept, len(str(kept)) // 2 + 2
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value), len(value)
    if depth >= _MAX_DEPTH:
        raise ValueError(f"{where}: lists and maps may be nested {_MAX_DEPTH} deep")
    if isinstance(value, list | tuple):
        items = [_value(item, f"{where}[{n}]", depth + 1) for n, item in enumerate(value)]
        return [item for item, _ in items], 3 + sum(size + 1 for _, size in items)
    if isinstance(value, Mapping):
        copy: dict[str, Any] = {}
        size = 3
        for name, item in value.items():
            if not isinstance(name, str):
                raise TypeError(f"{where}: keys of a map are strings, not {name!r}")
            copy[name], length = _value(item, f"{where}.{name}", depth + 1)
            size += length + len(name.encode()) + 1
        return copy, size
    if isinstance(value, float):
        raise TypeError(
            f"{where}: {value!r} is a float, which records do not keep exactly: use Decimal(str(value)) or an int"
        )
    raise TypeError(f"{where}: a record cannot hold a {type(value).__name__}")


def _wrap(value: Any) -> Any:
    if isinstance(value, bytes):
        return {_BYTES: base64.b64encode(value).decode()}
    if isinstance(value, list):
        return [_wrap(item) for item in value]
    if isinstance(value, dict):
        if len(value) == 1 and next(iter(value)).startswith("$"):
            return {f"${name}": _wrap(item) for name, item in value.items()}
        return {name: _wrap(item) for name, item in value.items()}
    return value


def _unwrap(value: Any) -> Any:
    if isinstance(value, list):
        return [_unwrap(item) for item in value]
    if isinstance(value, dict):
        if len(value) == 1 and (name := next(iter(value))).startswith("$"):
            inner = value[name]
            return base64.b64decode(inner) if name == _BYTES else {name[1:]: _unwrap(inner)}
        return {name: _unwrap(item) for name, item in value.items()}
    return value


def _describe(item: Mapping[str, Any], schema: Schema) -> str:
    return ", ".join(f"{name}={item.get(name)!r}" for name in schema.key)
