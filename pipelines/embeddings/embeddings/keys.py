"""Keys of records and ids of embedding requests."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from embeddings.errors import ValidationError

CORE_LABELS = frozenset(
    [
        "MERCHANT_NAME",
        "STORE_HOURS",
        "PHONE_NUMBER",
        "WEBSITE",
        "LOYALTY_ID",
        "ADDRESS_LINE",
        "DATE",
        "TIME",
        "PAYMENT_METHOD",
        "COUPON",
        "DISCOUNT",
        "PRODUCT_NAME",
        "QUANTITY",
        "UNIT_PRICE",
        "LINE_TOTAL",
        "SUBTOTAL",
        "TAX",
        "TIP",
        "GRAND_TOTAL",
        "CHANGE",
        "CASH_BACK",
        "REFUND",
    ]
)
_ID = re.compile(r"IMAGE#([0-9a-fA-F-]{36})#RECEIPT#(\d{5,})#LINE#(\d{5,})(?:#WORD#(\d{5,}))?")


@dataclass(frozen=True, slots=True, order=True)
class ReceiptKey:
    """A receipt: the image it was found on and its number there."""

    image_id: str
    receipt_id: int

    @property
    def partition(self) -> str:
        """The base table's partition of everything on the image."""
        return f"IMAGE#{self.image_id}"

    @property
    def record(self) -> tuple[str, str]:
        """Primary key of the receipt's record."""
        return self.partition, f"RECEIPT#{self.receipt_id:05d}"

    @property
    def place(self) -> tuple[str, str]:
        """Primary key of the receipt's place."""
        return self.partition, f"RECEIPT#{self.receipt_id:05d}#PLACE"

    @property
    def index(self) -> str:
        """Partition in GSI3 and GSI4."""
        return f"{self.partition}#RECEIPT#{self.receipt_id:05d}"

    def reference(self) -> dict[str, Any]:
        """As it stands in a batch summary."""
        return {"image_id": self.image_id, "receipt_id": self.receipt_id}


@dataclass(frozen=True, slots=True, order=True)
class ItemKey:
    """A line, or a word (with `word_id`). Sorts by line and word within a receipt."""

    receipt: ReceiptKey
    line_id: int
    word_id: int | None = None

    @property
    def record(self) -> tuple[str, str]:
        """Primary key of the item's record."""
        word = "" if self.word_id is None else f"#WORD#{self.word_id:05d}"
        return self.receipt.partition, f"RECEIPT#{self.receipt.receipt_id:05d}#LINE#{self.line_id:05d}{word}"

    @property
    def custom_id(self) -> str:
        """The id of the request that embeds this item (for lines: whose primary line it is)."""
        return "#".join(self.record)

    def document(self) -> dict[str, Any]:
        """As JSON carries it."""
        word = {} if self.word_id is None else {"word_id": self.word_id}
        return {**self.receipt.reference(), "line_id": self.line_id, **word}


def item_of(record: dict[str, Any]) -> ItemKey:
    """The key in an item's record, or in a document made by `ItemKey.document`."""
    if "PK" in record:
        return parse(f"{record['PK']}#{record['SK']}")
    receipt = ReceiptKey(str(record["image_id"]), int(record["receipt_id"]))
    word = record.get("word_id")
    return ItemKey(receipt, int(record["line_id"]), None if word is None else int(word))


def parse(custom_id: str) -> ItemKey:
    """The item of a request's id. Raises ValidationError."""
    match = _ID.fullmatch(custom_id)
    if match is None:
        raise ValidationError(f"{custom_id!r} is not the id of a line or a word")
    image, receipt, line, word = match.groups()
    return ItemKey(ReceiptKey(image, int(receipt)), int(line), None if word is None else int(word))


def now_iso() -> str:
    """Now, in UTC, with microseconds: texts of one form, so that they sort by time."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def seconds_since(iso: str) -> float:
    """Seconds since a time in ISO 8601."""
    moment = datetime.fromisoformat(iso)
    return (datetime.now(UTC) - (moment if moment.tzinfo else moment.replace(tzinfo=UTC))).total_seconds()
