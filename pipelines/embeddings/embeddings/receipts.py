"""What a receipt holds, as the pipeline reads it: lines, words, labels, a place, sections."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from embeddings.keys import ItemKey, ReceiptKey, item_of
from stepwell.toolkit.records import Item, Table, begins_with


@dataclass(frozen=True, slots=True)
class Box:
    """A bounding box, normalised to 0..1; y grows upward, (x, y) is the lower left corner."""

    x: float
    y: float
    width: float
    height: float

    @property
    def top(self) -> float:
        """The upper edge."""
        return self.y + self.height

    @property
    def middle(self) -> float:
        """The vertical middle."""
        return self.y + self.height / 2


@dataclass(frozen=True, slots=True)
class Text:
    """A line or a word: what embedding it needs."""

    key: ItemKey
    text: str
    box: Box
    centroid: tuple[float, float]
    """Mean of the four corners, not of the bounding box."""
    confidence: float
    status: str
    is_noise: bool
    batch_id: str | None
    attempts: int
    extracted: Mapping[str, Any] | None = None

    @property
    def line_id(self) -> int:
        """The line's number."""
        return self.key.line_id

    @property
    def word_id(self) -> int:
        """The word's number in its line; -1 for a line."""
        return -1 if self.key.word_id is None else self.key.word_id


@dataclass(frozen=True, slots=True)
class Label:
    """What somebody thinks a word is."""

    line_id: int
    word_id: int
    label: str
    status: str
    added: str
    proposed_by: str | None
    confidence: float | None


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the receipt: which lines it consists of."""

    kind: str
    line_ids: frozenset[int]
    confidence: float
    status: str


@dataclass(frozen=True)
class Receipt:
    """Everything on one receipt."""

    key: ReceiptKey
    lines: list[Text]
    words: list[Text]
    labels: list[Label] = field(default_factory=list)
    place: Mapping[str, Any] | None = None
    sections: list[Section] = field(default_factory=list)

    @property
    def merchant(self) -> str:
        """The place's name, trimmed and title-cased; empty without one."""
        name = (self.place or {}).get("merchant_name")
        return " ".join(word.capitalize() for word in name.split()) if isinstance(name, str) else ""


def text_of(record: Mapping[str, Any]) -> Text:
    """A line's or a word's record."""
    box = record["bounding_box"]
    corners = [record[name] for name in ("top_left", "top_right", "bottom_left", "bottom_right")]
    return Text(
        key=item_of(dict(record)),
        text=str(record["text"]),
        box=Box(*(float(box[name]) for name in ("x", "y", "width", "height"))),
        centroid=(sum(float(c["x"]) for c in corners) / 4, sum(float(c["y"]) for c in corners) / 4),
        confidence=float(record["confidence"]),
        status=str(record.get("embedding_status") or "NONE"),
        is_noise=bool(record.get("is_noise")),
        batch_id=record.get("embedding_batch_id"),
        attempts=int(record.get("embedding_attempts") or 0),
        extracted=record.get("extracted_data"),
    )


def read(table: Table, key: ReceiptKey, *, sections: bool = False) -> Receipt | None:
    """The receipt, or None when it is gone: one query of the index, then its items again from the base table.

    The index may lag; the items' states decide what is published and must not.
    """
    listed = list(table.query(key.index, index="GSI4"))
    if table.get(key.record) is None:
        return None
    keys = [(str(r["PK"]), str(r["SK"])) for r in listed if r.get("TYPE") in ("RECEIPT_LINE", "RECEIPT_WORD")]
    fresh = table.batch_get(keys)
    texts = [text_of(record) for record in fresh.values()]
    return Receipt(
        key=key,
        lines=sorted((t for t in texts if t.key.word_id is None), key=lambda t: t.key),
        words=sorted((t for t in texts if t.key.word_id is not None), key=lambda t: t.key),
        labels=[_label(record) for record in listed if record.get("TYPE") == "RECEIPT_WORD_LABEL"],
        place=table.get(key.place),
        sections=list(_sections(table, key)) if sections else [],
    )


def place_of(table: Table, key: ReceiptKey) -> Item | None:
    """The receipt's place, if it has one with a merchant."""
    found = table.get(key.place)
    return found if found is not None and str(found.get("merchant_name") or "").strip() else None


def _sections(table: Table, key: ReceiptKey) -> Iterator[Section]:
    prefix = f"RECEIPT#{key.receipt_id:05d}#SECTION#"
    for record in table.query(key.partition, sort=begins_with(prefix)):
        yield Section(
            kind=str(record["section_type"]),
            line_ids=frozenset(int(line) for line in record.get("line_ids") or ()),
            confidence=float(record.get("confidence") or 0),
            status=str(record.get("validation_status") or "NONE"),
        )


def _label(record: Item) -> Label:
    item, _, _ = str(record["SK"]).partition("#LABEL#")
    key = item_of({"PK": record["PK"], "SK": item})
    confidence = record.get("confidence")
    return Label(
        line_id=key.line_id,
        word_id=-1 if key.word_id is None else key.word_id,
        label=str(record["label"]),
        status=str(record.get("validation_status") or "NONE"),
        added=str(record.get("timestamp_added") or ""),
        proposed_by=record.get("label_proposed_by"),
        confidence=float(confidence) if isinstance(confidence, int | Decimal) else None,
    )
