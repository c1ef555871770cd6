"""Synthetic receipts as records: what OCR, labelling and the place finder would have left in the table."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from stepwell.toolkit.records import Table

Record = dict[str, Any]
_LINE_HEIGHT = 0.02
_PRODUCTS = {
    "Corner Market": [
        "OAT MILK 1L", "WHOLE MILK 2L", "ALMOND MILK", "GREEK YOGURT", "CHEDDAR CHEESE", "SALTED BUTTER", "SOURDOUGH BREAD", "RYE BREAD",
        "BAGELS 6PK", "BANANAS", "GREEN APPLES", "ORANGE JUICE", "TOMATO SAUCE", "SPAGHETTI", "CHICKEN BREAST", "GROUND BEEF",
    ],
    "Hilltop Hardware": [
        "WOOD SCREWS 50", "CLAW HAMMER", "PAINT BRUSH", "WALL PAINT WHITE", "LED BULB 60W", "EXTENSION CORD", "DUCT TAPE", "SAND PAPER",
        "DRILL BIT SET", "GARDEN HOSE", "PADLOCK", "MEASURING TAPE",
    ],
    "Blue Harbor Cafe": [
        "ESPRESSO", "CAPPUCCINO", "ICED LATTE", "GREEN TEA", "CROISSANT", "BLUEBERRY MUFFIN", "CHEESE SANDWICH", "TOMATO SOUP",
        "CHOCOLATE CAKE", "SPARKLING WATER",
    ],
    "City Pharmacy": [
        "ASPIRIN 500MG", "COUGH SYRUP", "VITAMIN C", "BAND AIDS", "HAND CREAM", "TOOTHPASTE", "SHAMPOO", "SUNSCREEN SPF50", "EYE DROPS",
    ],
}  # fmt: skip


@dataclass(frozen=True)
class Line:
    """A line of text at a place; its words share its width."""

    text: str
    x: float
    y: float
    width: float = 0.4
    height: float = _LINE_HEIGHT
    noise: bool = False
    line_id: int | None = None


@dataclass(frozen=True)
class Receipt:
    """One receipt: lines in any order; ids from 1 on unless a line has its own."""

    image_id: str
    receipt_id: int
    lines: Sequence[Line]
    merchant: str | None = "CORNER MARKET"
    labels: Sequence[tuple[int, int, str, str]] = field(default_factory=tuple)
    """Line id, word id, label, validation status."""

    @property
    def index(self) -> str:
        return f"IMAGE#{self.image_id}#RECEIPT#{self.receipt_id:05d}"

    def records(self) -> list[Record]:
        """Everything the table holds of it."""
        partition, start = f"IMAGE#{self.image_id}", f"RECEIPT#{self.receipt_id:05d}"
        made: list[Record] = [
            {"PK": partition, "SK": start, "TYPE": "RECEIPT", "GSI4PK": self.index, "GSI4SK": "0_RECEIPT"}
        ]
        if self.merchant is not None:
            made.append(self.place(self.merchant))
        for number, line in enumerate(self.lines, 1):
            line_id = number if line.line_id is None else line.line_id
            made.append(self._line(line, line_id))
            made += self._words(line, line_id)
        for line_id, word_id, label, status in self.labels:
            word = f"{start}#LINE#{line_id:05d}#WORD#{word_id:05d}"
            made.append(
                {
                    "PK": partition,
                    "SK": f"{word}#LABEL#{label}",
                    "TYPE": "RECEIPT_WORD_LABEL",
                    "GSI4PK": self.index,
                    "GSI4SK": f"4_LABEL#{line_id:05d}#{word_id:05d}#{label}",
                    "label": label,
                    "validation_status": status,
                    "timestamp_added": "2030-01-04T18:00:00+00:00",
                    "label_proposed_by": "synthetic",
                }
            )
        return made

    def place(self, merchant: str) -> Record:
        """The record of its place."""
        return {
            "PK": f"IMAGE#{self.image_id}",
            "SK": f"RECEIPT#{self.receipt_id:05d}#PLACE",
            "TYPE": "RECEIPT_PLACE",
            "GSI4PK": self.index,
            "GSI4SK": "1_PLACE",
            "merchant_name": merchant,
            "place_id": "synthetic-place",
            "formatted_address": "1 Example Street",
            "phone_number": "555-010-0123",
        }

    def _line(self, line: Line, line_id: int) -> Record:
        suffix = f"LINE#{line_id:05d}"
        return self._item("RECEIPT_LINE", "LINE", suffix, f"2_{suffix}", line.text, line, line.x, line.width)

    def _words(self, line: Line, line_id: int) -> list[Record]:
        texts = line.text.split()
        total = sum(len(text) for text in texts) + len(texts) - 1
        made, position = [], line.x
        for word_id, text in enumerate(texts, 1):
            width = line.width * len(text) / total
            suffix = f"LINE#{line_id:05d}#WORD#{word_id:05d}"
            made.append(
                self._item(
                    "RECEIPT_WORD", "WORD", suffix, f"3_WORD#{line_id:05d}#{word_id:05d}", text, line, position, width
                )
                | {"extracted_data": None}
            )
            position += width + line.width / total
        return made

    def _item(
        self, kind: str, prefix: str, suffix: str, order: str, text: str, line: Line, x: float, width: float
    ) -> Record:
        left, low, w, h = (_number(value) for value in (x, line.y, width, line.height))
        corners = {
            "bottom_left": {"x": left, "y": low},
            "bottom_right": {"x": left + w, "y": low},
            "top_left": {"x": left, "y": low + h},
            "top_right": {"x": left + w, "y": low + h},
        }
        return {
            "PK": f"IMAGE#{self.image_id}",
            "SK": f"RECEIPT#{self.receipt_id:05d}#{suffix}",
            "TYPE": kind,
            "GSI1PK": "EMBEDDING_STATUS#NONE",
            "GSI1SK": f"{prefix}#{self.index}#{suffix}",
            "GSI3PK": self.index,
            "GSI3SK": prefix,
            "GSI4PK": self.index,
            "GSI4SK": order,
            "text": text,
            "bounding_box": {"x": left, "y": low, "width": w, "height": h},
            **corners,
            "angle_degrees": 0,
            "angle_radians": 0,
            "confidence": _number(0.97),
            "embedding_status": "NONE",
            "is_noise": line.noise,
        }


def _number(value: float) -> Decimal:
    return Decimal(str(round(value, 6)))


def write(table: Table, receipts: Iterable[Receipt]) -> None:
    """Put receipts into the table."""
    table.batch_write(record for receipt in receipts for record in receipt.records())


def image_id(seed: int) -> str:
    """A UUID that the seed decides."""
    return str(uuid.UUID(int=random.Random(seed).getrandbits(128), version=4))


def shop_receipt(seed: int, *, items: int = 6) -> Receipt:
    """A plausible receipt of one of four shops: name and price of each item side by side."""
    draw = random.Random(seed)
    merchant = draw.choice(sorted(_PRODUCTS))
    lines = [Line(merchant.upper(), 0.3, 0.94, 0.4)]
    total, y = 0.0, 0.88
    labels = [(1, 1, "MERCHANT_NAME", "VALID")]
    step = min(0.035, 0.7 / items)
    for product in draw.choices(_PRODUCTS[merchant], k=items):
        price = draw.randint(99, 2499) / 100
        total += price
        lines += [
            Line(product, 0.05, y, 0.4, min(_LINE_HEIGHT, step * 0.6)),
            Line(f"{price:.2f}", 0.8, y + 0.001, 0.1, min(_LINE_HEIGHT, step * 0.6)),
        ]
        labels += [(len(lines) - 1, 1, "PRODUCT_NAME", "VALID"), (len(lines), 1, "LINE_TOTAL", "PENDING")]
        y -= step
    lines += [Line("TOTAL", 0.05, 0.08, 0.15), Line(f"{total:.2f}", 0.8, 0.081, 0.1)]
    lines += [Line(draw.choice(["VISA CREDIT", "CASH", "DEBIT CARD"]), 0.05, 0.04, 0.25)]
    return Receipt(image_id(seed), 1, lines, merchant.upper(), tuple(labels))


def words_receipt(seed: int, words: int) -> Receipt:
    """A receipt of exactly so many words, in lines of four, for measurements."""
    draw = random.Random(seed)
    vocabulary = [word for products in _PRODUCTS.values() for product in products for word in product.split()]
    count = -(-words // 4)
    lines = []
    for number in range(count):
        size = min(4, words - 4 * number)
        height = 0.9 / count
        lines.append(
            Line(" ".join(draw.choices(vocabulary, k=size)), 0.05, 0.95 - height * (number + 1), 0.2 * size, height / 2)
        )
    return Receipt(image_id(seed), 1, lines)
