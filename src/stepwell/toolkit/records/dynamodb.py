"""Records in Amazon DynamoDB, by boto3's low-level client.

`mutate` writes only the attributes that changed, on the condition that every attribute still has the value that was read. So
writers that know nothing of this toolkit are respected too, and the items carry no attribute but the caller's.
"""

from __future__ import annotations

import base64
import json
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from stepwell.toolkit import aws
from stepwell.toolkit.errors import RecordConflict, RecordExists, StorageError
from stepwell.toolkit.records import (
    MAX_TRANSACTION,
    Condition,
    Item,
    Key,
    KeyPart,
    Mutation,
    RecordPage,
    Schema,
    Table,
    rules,
    values,
)

BATCH_GET, BATCH_WRITE = 100, 25
BATCH_PAUSES = (1.0, 2.0, 4.0)
CONFLICT_SECONDS = 30.0
MAX_ATTRIBUTES = 200
"""Beyond it the condition would exceed DynamoDB's 4 KB of expression."""

_CONFLICTS = ("ConditionalCheckFailedException", "TransactionConflictException", "TransactionInProgressException")
Typed = dict[str, Any]


class DynamoTable(Table):
    """A table in DynamoDB. `sleep` waits between attempts."""

    def __init__(self, name: str, schema: Schema, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self.name = name
        self.schema = schema
        self._sleep = sleep

    def get(self, key: Key) -> Item | None:
        return self._visible(self._read(key))

    def put(self, item: Item, *, if_absent: bool = False) -> None:
        new = values.normalize(item, self.schema)
        arguments: dict[str, Any] = {}
        if if_absent:
            arguments["ConditionExpression"] = "attribute_not_exists(#k)"
            arguments["ExpressionAttributeNames"] = {"#k": self.schema.key[0]}
            if self.schema.ttl is not None:  # an expired record that was not removed yet counts as absent
                arguments["ConditionExpression"] += " OR #t < :now"
                arguments["ExpressionAttributeNames"]["#t"] = self.schema.ttl
                arguments["ExpressionAttributeValues"] = {":now": {"N": str(int(time.time()))}}
        try:
            self._call("put_item", Item=encode(new), **arguments)
        except _Conflict:
            raise RecordExists(
                f"there is a record {values.key_of(new, self.schema)!r} in table {self.name!r} already"
            ) from None

    def delete(self, key: Key) -> None:
        self._call("delete_item", Key=self._key(key))

    def transact(self, mutations: Mapping[Key, Mutation]) -> dict[Key, Item | None]:
        if len(mutations) > MAX_TRANSACTION:
            raise ValueError(f"at most {MAX_TRANSACTION} records can be changed together, not {len(mutations)}")
        deadline = time.monotonic() + CONFLICT_SECONDS
        attempt = 0
        while True:
            attempt += 1
            before = {key: self._read(key) for key in mutations}
            after = {
                key: rules.apply(self.schema, key, function, self._visible(before[key]))
                for key, function in mutations.items()
            }
            writes = [self._write(key, before[key], after[key]) for key in mutations]
            if all("ConditionCheck" in write for write in writes) and len(writes) == 1:
                return after
            try:
                self._commit(writes)
            except _Conflict as error:
                if time.monotonic() > deadline:
                    names = ", ".join(repr(key) for key in mutations)
                    raise RecordConflict(
                        f"record {names} of table {self.name!r} changed {attempt} times while being mutated: {error}"
                    ) from None
                self._sleep(random.uniform(0, min(0.025 * 2**attempt, 1.0)))
            else:
                return after

    def query_page(
        self,
        value: KeyPart,
        *,
        index: str | None = None,
        sort: Condition | None = None,
        descending: bool = False,
        limit: int = 1000,
        after: str | None = None,
    ) -> RecordPage:
        rules.check_limit(limit)
        hash_name, range_name = rules.index_attributes(self.schema, self.name, index)
        values.check_key_value(hash_name, value, self.schema, values.MAX_HASH_BYTES)
        names, arguments = {"#h": hash_name}, {":h": _encode(value)}
        condition = "#h = :h"
        if sort is not None:
            rules.check_condition(sort, range_name, self.schema)
            assert range_name is not None
            names["#r"] = range_name
            arguments |= {f":r{n}": _encode(part) for n, part in enumerate(sort.values)}
            condition += " AND " + (
                "#r BETWEEN :r0 AND :r1"
                if sort.operator == "between"
                else "begins_with(#r, :r0)"
                if sort.operator == "begins_with"
                else f"#r {sort.operator} :r0"
            )
        extra: dict[str, Any] = {"ConsistentRead": True} if index is None else {"IndexName": index}
        if after is not None:
            extra["ExclusiveStartKey"] = _parse_token(after)
        answer = self._call(
            "query",
            KeyConditionExpression=condition,
            ExpressionAttributeNames=names,
            ExpressionAttributeValues=arguments,
            ScanIndexForward=not descending,
            Limit=limit,
            **extra,
        )
        items = [item for found in answer["Items"] if (item := self._visible(found)) is not None]
        last = answer.get("LastEvaluatedKey")
        return RecordPage(items, _token(last) if last else None)

    def batch_get(self, keys: Iterable[Key], *, attributes: Sequence[str] | None = None) -> dict[Key, Item]:
        wanted = list(dict.fromkeys(keys))
        by_key = {values.split_key(key, self.schema): key for key in wanted}
        request: dict[str, Any] = {"ConsistentRead": True}
        if attributes is not None:
            needed = [*dict.fromkeys((*attributes, *self.schema.key, *filter(None, [self.schema.ttl])))]
            request["ProjectionExpression"] = ", ".join(f"#a{n}" for n in range(len(needed)))
            request["ExpressionAttributeNames"] = {f"#a{n}": name for n, name in enumerate(needed)}
        found: dict[Key, Item] = {}
        for first in range(0, len(wanted), BATCH_GET):
            pending: list[Typed] = [self._key(key) for key in wanted[first : first + BATCH_GET]]
            for pause in (*BATCH_PAUSES, None):
                answer = self._call("batch_get_item", RequestItems={self.name: {**request, "Keys": pending}})
                for raw in answer.get("Responses", {}).get(self.name, ()):
                    item = self._visible(raw)
                    if item is not None:
                        key = by_key[tuple(item[name] for name in self.schema.key)]
                        found[key] = values.project(item, attributes, self.schema)
                pending = answer.get("UnprocessedKeys", {}).get(self.name, {}).get("Keys", [])
                if not pending:
                    break
                if pause is None:
                    raise StorageError(
                        f"{len(pending)} keys of table {self.name!r} stayed unprocessed after 4 requests"
                    )
                self._sleep(pause)
        return found

    def batch_write(self, puts: Iterable[Item] = (), deletes: Iterable[Key] = ()) -> None:
        changes = rules.collect_writes(self.schema, puts, deletes)
        requests = [
            {"DeleteRequest": {"Key": self._key(key)}} if item is None else {"PutRequest": {"Item": encode(item)}}
            for key, item in changes.items()
        ]
        for first in range(0, len(requests), BATCH_WRITE):
            pending = requests[first : first + BATCH_WRITE]
            for pause in (*BATCH_PAUSES, None):
                answer = self._call("batch_write_item", RequestItems={self.name: pending})
                pending = answer.get("UnprocessedItems", {}).get(self.name, [])
                if not pending:
                    break
                if pause is None:
                    raise StorageError(
                        f"{len(pending)} writes to table {self.name!r} stayed unprocessed after 4 requests"
                    )
                self._sleep(pause)

    def scan(self) -> Iterator[Item]:
        extra: dict[str, Any] = {}
        while True:
            answer = self._call("scan", ConsistentRead=True, **extra)
            for found in answer["Items"]:
                item = self._visible(found)
                if item is not None:
                    yield item
            if not answer.get("LastEvaluatedKey"):
                return
            extra["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def _read(self, key: Key) -> Typed | None:
        found: Typed | None = self._call("get_item", Key=self._key(key), ConsistentRead=True).get("Item")
        return found

    def _visible(self, found: Typed | None) -> Item | None:
        if found is None:
            return None
        item = decode(found)
        until = values.expiry(item, self.schema)
        return None if until is not None and until < int(time.time()) else item

    def _key(self, key: Key) -> Typed:
        parts = values.split_key(key, self.schema)
        return {name: _encode(part) for name, part in zip(self.schema.key, parts, strict=True)}

    def _write(self, key: Key, before: Typed | None, after: Item | None) -> dict[str, Any]:
        """One member of TransactWriteItems."""
        new = None if after is None else encode(after)
        where = {"TableName": self.name}
        if before is None:
            unless = {
                "ConditionExpression": "attribute_not_exists(#k)",
                "ExpressionAttributeNames": {"#k": self.schema.key[0]},
            }
            if new is None:
                return {"ConditionCheck": {**where, "Key": self._key(key), **unless}}
            return {"Put": {**where, "Item": new, **unless}}
        if len(before) > MAX_ATTRIBUTES:
            raise ValueError(
                f"record {key!r} of table {self.name!r} has {len(before)} attributes; mutate handles up to {MAX_ATTRIBUTES}"
            )
        names: dict[str, str] = {}
        given: dict[str, Any] = {}
        conditions: list[str] = []
        for n, (name, value) in enumerate(sorted(before.items())):
            names[f"#c{n}"], given[f":c{n}"] = name, value
            conditions.append(f"#c{n} = :c{n}")
        condition = {"ConditionExpression": " AND ".join(conditions), "ExpressionAttributeNames": names}
        common: dict[str, Any] = {**where, "Key": self._key(key), **condition, "ExpressionAttributeValues": given}
        # What the function saw: a set came to it as a list, and stays a set unless the list was changed.
        seen = encode(decode(before))
        if new == seen:
            return {"ConditionCheck": common}
        if new is None:
            return {"Delete": common}
        aliases = {name: alias for alias, name in names.items()}
        sets, removes = [], []
        for n, name in enumerate(sorted(new)):
            if new[name] != seen.get(name):
                alias = aliases.get(name)
                if alias is None:
                    alias = f"#n{n}"
                    names[alias] = name
                    # An attribute that appeared meanwhile would be overwritten unseen.
                    common["ConditionExpression"] += f" AND attribute_not_exists({alias})"
                given[f":n{n}"] = new[name]
                sets.append(f"{alias} = :n{n}")
        removes = [aliases[name] for name in sorted(before) if name not in new]
        update = (f"SET {', '.join(sets)} " if sets else "") + (f"REMOVE {', '.join(removes)}" if removes else "")
        return {"Update": {**common, "UpdateExpression": update.strip()}}

    def _commit(self, writes: list[dict[str, Any]]) -> None:
        if len(writes) == 1:
            ((kind, arguments),) = writes[0].items()
            operation = {"Put": "put_item", "Update": "update_item", "Delete": "delete_item"}[kind]
            self._call(operation, **{name: value for name, value in arguments.items() if name != "TableName"})
        else:
            self._call("transact_write_items", table=False, TransactItems=writes)

    def _call(self, operation: str, *, table: bool = True, **arguments: Any) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError

        if table and not operation.startswith("batch_"):
            arguments["TableName"] = self.name
        try:
            return getattr(aws.client("dynamodb"), operation)(**arguments)
        except ClientError as error:
            code = aws.code(error)
            reasons = [reason.get("Code") for reason in error.response.get("CancellationReasons", ())]
            if code in _CONFLICTS or any(
                reason in ("ConditionalCheckFailed", "TransactionConflict") for reason in reasons
            ):
                raise _Conflict(code) from None
            raise StorageError(f"{operation} on table {self.name!r}: {error}") from error
        except BotoCoreError as error:
            raise StorageError(f"{operation} on table {self.name!r}: {error}") from error


class _Conflict(Exception):
    """Somebody else changed the record in between."""


def encode(item: Item) -> Typed:
    """An item in DynamoDB's typed form."""
    return {name: _encode(value) for name, value in item.items()}


def decode(item: Typed) -> Item:
    """An item from DynamoDB's typed form; sets become sorted lists."""
    return {name: _decode(value) for name, value in item.items()}


def _encode(value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        return {"S": value}
    if isinstance(value, bool):
        return {"BOOL": value}
    if value is None:
        return {"NULL": True}
    if isinstance(value, int | Decimal):
        return {"N": str(value)}
    if isinstance(value, bytes):
        return {"B": value}
    if isinstance(value, list):
        return {"L": [_encode(item) for item in value]}
    return {"M": {name: _encode(item) for name, item in value.items()}}


def _decode(typed: dict[str, Any]) -> Any:
    ((kind, value),) = typed.items()
    if kind == "N":
        return _number(value)
    if kind == "NULL":
        return None
    if kind == "B":
        return bytes(value)
    if kind == "L":
        return [_decode(item) for item in value]
    if kind == "M":
        return {name: _decode(item) for name, item in value.items()}
    if kind == "NS":
        return sorted(_number(item) for item in value)
    if kind in ("SS", "BS"):
        return sorted(value)
    return value


def _number(text: str) -> int | Decimal:
    return values.number(Decimal(text), "number")


def _token(key: Typed) -> str:
    plain = {
        name: {kind: base64.b64encode(value).decode() if kind == "B" else value for kind, value in typed.items()}
        for name, typed in key.items()
    }
    return base64.urlsafe_b64encode(json.dumps(plain, sort_keys=True).encode()).decode()


def _parse_token(token: str) -> Typed:
    try:
        key = json.loads(base64.urlsafe_b64decode(token))
        return {
            name: {kind: base64.b64decode(value) if kind == "B" else value for kind, value in typed.items()}
            for name, typed in key.items()
        }
    except (ValueError, TypeError, AttributeError):
        raise ValueError("`after` is not the `next` of a page of this query") from None
