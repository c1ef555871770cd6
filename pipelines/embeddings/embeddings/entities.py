"""What differs between lines and words: everything else of the pipeline is written once and takes one of these two."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from embeddings.contexts import Contexts, Neighbourhood
from embeddings.errors import ValidationError
from embeddings.keys import CORE_LABELS, ItemKey, item_of, parse
from embeddings.normalizers import extracted
from embeddings.receipts import Label, Receipt, Text
from embeddings.rows import Row, inputs, rows

SOURCE = "openai_embedding_batch"


@dataclass(frozen=True)
class Request:
    """One embedding to be made: its id, its text, and the items that have it as theirs."""

    custom_id: str
    input: str
    members: tuple[ItemKey, ...]

    @property
    def digest(self) -> str:
        """SHA-256 of the input: whether the receipt still says what was embedded."""
        return hashlib.sha256(self.input.encode()).hexdigest()


@dataclass(frozen=True)
class Submitted:
    """A request as it was submitted, from the batch's `requests.json`."""

    custom_id: str
    members: tuple[ItemKey, ...]
    digest: str


@dataclass(frozen=True)
class Record:
    """What Chroma stores beside the vector."""

    id: str
    document: str
    metadata: dict[str, Any]


@dataclass
class Verdict:
    """Which results of one receipt may be published. `accepted` goes by request id; `release` is what must be claimed anew."""

    accepted: dict[str, tuple[Record, tuple[ItemKey, ...]]] = field(default_factory=dict)
    stale: int = 0
    gone: int = 0
    release: set[ItemKey] = field(default_factory=set)


class Entity(ABC):
    """The strategy of one kind of item. `database` is also the name of the Chroma collection."""

    name: str
    database: str
    batch_type: str
    discover_prefix: str
    format_version: str
    record_type: str
    needs_sections: bool

    @property
    def delta_prefix(self) -> str:
        """Where deltas lie; `{delta_id}/` follows."""
        return f"{self.database}/delta/{self.database}/receipt_{self.database}/"

    @property
    def snapshot_root(self) -> str:
        """Where the versions and the pointer lie."""
        return f"{self.database}/snapshot/"

    @property
    def lock_id(self) -> str:
        """One lock for every writer of the collection. Never made of a run's id."""
        return f"chroma-{self.database}-update"

    def item_key(self, record: Mapping[str, Any]) -> ItemKey:
        """The key of an item's record."""
        return item_of(dict(record))

    def parse_custom_id(self, custom_id: str) -> ItemKey:
        """The item a request goes by. Raises ValidationError for the id of another kind."""
        key = parse(custom_id)
        if (key.word_id is None) != (self.name == "line"):
            raise ValidationError(f"{custom_id!r} is not the id of a {self.name}")
        return key

    def members_of(self, request: Mapping[str, Any]) -> tuple[ItemKey, ...]:
        """The items of an entry of `requests.json`."""
        return tuple(item_of(dict(member)) for member in request["members"])

    @abstractmethod
    def build_requests(self, receipt: Receipt, claimed: Collection[ItemKey]) -> list[Request]:
        """The requests that embed the claimed items, in reading order."""

    @abstractmethod
    def check_stale(self, receipt: Receipt, requests: Sequence[Submitted], batch_id: str) -> Verdict:
        """Judge the requests of one receipt that have a vector against the receipt as it is now."""

    @abstractmethod
    def build_record(self, receipt: Receipt, unit: Any, batch_id: str) -> Record:
        """The stored record of a unit: a row, or a word with its neighbours."""


class Lines(Entity):
    """Visual rows."""

    name = "line"
    database = "lines"
    batch_type = "LINE_EMBEDDING"
    discover_prefix = "LINE#"
    format_version = "rows-v2"
    record_type = "RECEIPT_LINE"
    needs_sections = True

    def build_requests(self, receipt: Receipt, claimed: Collection[ItemKey]) -> list[Request]:
        ordered = rows(receipt.lines)
        return [
            Request(row.primary.key.custom_id, text, tuple(line.key for line in row.lines if not line.is_noise))
            for row, text in zip(ordered, inputs(ordered), strict=True)
            if any(line.key in claimed for line in row.lines)
        ]

    def check_stale(self, receipt: Receipt, requests: Sequence[Submitted], batch_id: str) -> Verdict:
        verdict = Verdict()
        ordered = rows(receipt.lines)
        texts = dict(zip((row.primary.key for row in ordered), inputs(ordered), strict=True))
        by_primary = {row.primary.key: row for row in ordered}
        pending = _pending(receipt.lines, batch_id)
        live = {request.custom_id: tuple(key for key in request.members if key in pending) for request in requests}
        if any(live[r.custom_id] and self.parse_custom_id(r.custom_id) not in by_primary for r in requests):
            # The lines were regrouped: no result of this receipt can be trusted to mean what it says.
            verdict.stale = len(requests)
            verdict.release = {key for members in live.values() for key in members}
            return verdict
        for request in requests:
            members = live[request.custom_id]
            primary = self.parse_custom_id(request.custom_id)
            if not members:
                verdict.stale += 1
            elif hashlib.sha256(texts[primary].encode()).hexdigest() != request.digest:
                verdict.stale += 1
                verdict.release.update(members)
            else:
                record = self.build_record(receipt, by_primary[primary], batch_id)
                verdict.accepted[request.custom_id] = record, members
        return verdict

    def build_record(self, receipt: Receipt, unit: Row, batch_id: str) -> Record:
        row, boxes = unit, [line.box for line in unit.lines]
        left, bottom = min(box.x for box in boxes), min(box.y for box in boxes)
        confidence = sum(line.confidence for line in row.lines) / len(row.lines)
        ids = {line.line_id for line in row.lines}
        labels = [label for label in receipt.labels if label.line_id in ids and label.label in CORE_LABELS]
        states = {label.status for label in labels}
        status = "validated" if states & {"VALID", "INVALID"} else "auto_suggested" if "PENDING" in states else None
        metadata: dict[str, Any] = {
            "image_id": receipt.key.image_id,
            "receipt_id": receipt.key.receipt_id,
            "line_id": row.primary.line_id,
            "text": row.text,
            "x": left,
            "y": bottom,
            "width": max(box.x + box.width for box in boxes) - left,
            "height": max(box.top for box in boxes) - bottom,
            "confidence": confidence,
            "avg_word_confidence": confidence,
            "row_line_ids": json.dumps([line.line_id for line in row.lines]),
            "source": SOURCE,
            "label_status": status or "unvalidated",
            "format_version": self.format_version,
            "batch_id": batch_id,
            **_label_arrays(labels),
            **extracted(word.extracted for word in receipt.words if word.line_id in ids),
        }
        if receipt.merchant:
            metadata["merchant_name"] = receipt.merchant
        section = _row_section(receipt, row)
        if section:
            metadata["section_label"] = section
        return Record(row.primary.key.custom_id, row.text, metadata)


class Words(Entity):
    """Words in their context."""

    name = "word"
    database = "words"
    batch_type = "WORD_EMBEDDING"
    discover_prefix = "WORD#"
    format_version = "ctx2-v2"
    record_type = "RECEIPT_WORD"
    needs_sections = False

    def build_requests(self, receipt: Receipt, claimed: Collection[ItemKey]) -> list[Request]:
        contexts = Contexts(receipt.words)
        return [Request(key.custom_id, contexts.of(key).input, (key,)) for key in sorted(claimed)]

    def check_stale(self, receipt: Receipt, requests: Sequence[Submitted], batch_id: str) -> Verdict:
        verdict = Verdict()
        contexts = Contexts(receipt.words)
        known = {word.key for word in receipt.words}
        pending = _pending(receipt.words, batch_id)
        labels: dict[ItemKey, list[Label]] = {}
        for label in receipt.labels:
            labels.setdefault(ItemKey(receipt.key, label.line_id, label.word_id), []).append(label)
        for request in requests:
            key = self.parse_custom_id(request.custom_id)
            if key not in known:
                verdict.gone += 1
            elif key not in pending:
                verdict.stale += 1
            else:
                unit = contexts.of(key)
                if hashlib.sha256(unit.input.encode()).hexdigest() != request.digest:
                    verdict.stale += 1
                    verdict.release.add(key)
                else:
                    record = self._record(receipt, unit, batch_id, labels.get(key, []))
                    verdict.accepted[request.custom_id] = record, (key,)
        return verdict

    def build_record(self, receipt: Receipt, unit: Neighbourhood, batch_id: str) -> Record:
        key = unit.word.key
        own = [label for label in receipt.labels if (label.line_id, label.word_id) == (key.line_id, key.word_id)]
        return self._record(receipt, unit, batch_id, own)

    def _record(self, receipt: Receipt, unit: Neighbourhood, batch_id: str, labels: list[Label]) -> Record:
        word = unit.word
        core = [label for label in labels if label.label in CORE_LABELS]
        newest = {label.status: label for label in sorted(core, key=lambda label: label.added)}
        status = "validated" if "VALID" in newest else "auto_suggested" if "PENDING" in newest else "unvalidated"
        metadata: dict[str, Any] = {
            "image_id": receipt.key.image_id,
            "receipt_id": receipt.key.receipt_id,
            "line_id": word.line_id,
            "word_id": word.word_id,
            "text": word.text,
            "x": word.centroid[0],
            "y": word.centroid[1],
            "width": word.box.width,
            "height": word.box.height,
            "confidence": word.confidence,
            "left": unit.nearest_left,
            "right": unit.nearest_right,
            "merchant_name": receipt.merchant,
            "source": SOURCE,
            "label_status": status,
            "format_version": self.format_version,
            "batch_id": batch_id,
            **_label_arrays(core),
            **extracted([word.extracted]),
        }
        if "PENDING" in newest:
            pending = newest["PENDING"]
            if pending.confidence is not None:
                metadata["label_confidence"] = pending.confidence
            if pending.proposed_by:
                metadata["label_proposed_by"] = pending.proposed_by
        if "VALID" in newest and newest["VALID"].added:
            metadata["label_validated_at"] = newest["VALID"].added
        return Record(word.key.custom_id, word.text, metadata)


ENTITIES: Mapping[str, Entity] = {entity.name: entity for entity in (Lines(), Words())}


def entity_named(name: str) -> Entity:
    """The strategy for `line` or `word`. Raises ValidationError."""
    try:
        return ENTITIES[name]
    except KeyError:
        raise ValidationError(f"entity {name!r} is not known; it is 'line' or 'word'") from None


def entity_of(database: str) -> Entity:
    """The strategy for a collection. Raises ValidationError."""
    for entity in ENTITIES.values():
        if entity.database == database:
            return entity
    raise ValidationError(f"database {database!r} is not known; it is 'lines' or 'words'")


def _pending(texts: Iterable[Text], batch_id: str) -> set[ItemKey]:
    return {text.key for text in texts if text.status == "PENDING" and text.batch_id == batch_id}


def _label_arrays(labels: Iterable[Label]) -> dict[str, list[str]]:
    """Distinct labels by what was decided; where both were said of one label, VALID wins. Empty lists are left out."""
    chosen = list(labels)
    valid = {label.label for label in chosen if label.status == "VALID"}
    invalid = {label.label for label in chosen if label.status == "INVALID"} - valid
    arrays = {"valid_labels_array": sorted(valid), "invalid_labels_array": sorted(invalid)}
    return {name: array for name, array in arrays.items() if array}


def _row_section(receipt: Receipt, row: Row) -> str | None:
    """The section most of the row's lines are in; None for a tie or without a vote."""
    votes: dict[str, int] = {}
    ranks = {"VALID": 2, "PENDING": 1}
    for line in row.lines:
        candidates = [s for s in receipt.sections if line.line_id in s.line_ids and s.status != "INVALID"]
        if candidates:
            best = max(candidates, key=lambda s: (ranks.get(s.status, 0), s.confidence, s.kind))
            votes[best.kind] = votes.get(best.kind, 0) + 1
    ranked = sorted(votes.items(), key=lambda vote: -vote[1])
    if not ranked or (len(ranked) > 1 and ranked[0][1] == ranked[1][1]):
        return None
    return ranked[0][0]
