"""MPEG audio frames: how long an MP3 file really plays, and files put one after another.

Source: ISO/IEC 11172-3 and 13818-3, the frame header. Only Layer III is read, which is all a speech service sends.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_BITRATES = {
    1: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""kbit/s of Layer III, by MPEG version (2 stands for 2 and 2.5)."""
_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}


@dataclass(frozen=True)
class Frame:
    """A frame: where it begins, its bytes, its samples a channel, its samples a second."""

    start: int
    size: int
    samples: int
    rate: int


def frames(data: bytes) -> Iterator[Frame]:
    """The frames of a file, tags skipped. What is no frame is skipped until the next one begins."""
    position = _after_tag(data)
    while position + 4 <= len(data):
        frame = _frame(data, position)
        if frame is None or position + frame.size > len(data):
            position += 1
            continue
        yield frame
        position += frame.size


def duration(data: bytes) -> float:
    """Seconds; 0.0 for no audio. A header frame of an encoder (Xing, Info) is no sound."""
    return sum(frame.samples / frame.rate for frame in frames(data) if not _is_header(data, frame))


def joined(pieces: list[bytes]) -> bytes:
    """The frames of files of one encoder setting, one after another, without tags and header frames."""
    return b"".join(
        data[frame.start : frame.start + frame.size]
        for data in pieces
        for frame in frames(data)
        if not _is_header(data, frame)
    )


def _after_tag(data: bytes) -> int:
    if data[:3] != b"ID3" or len(data) < 10:
        return 0
    size = 0
    for byte in data[6:10]:
        size = size << 7 | byte & 0x7F
    return 10 + size


def _frame(data: bytes, at: int) -> Frame | None:
    first, second, third = data[at], data[at + 1], data[at + 2]
    if first != 0xFF or second & 0xE0 != 0xE0:
        return None
    version, layer = second >> 3 & 3, second >> 1 & 3
    bitrate, rate = third >> 4, third >> 2 & 3
    if version == 1 or layer != 1 or bitrate in (0, 15) or rate == 3:
        return None
    samples = 1152 if version == 3 else 576
    per_second = _RATES[version][rate]
    kilobits = _BITRATES[1 if version == 3 else 2][bitrate]
    return Frame(at, samples // 8 * kilobits * 1000 // per_second + (third >> 1 & 1), samples, per_second)


def _is_header(data: bytes, frame: Frame) -> bool:
    begin = data[frame.start : frame.start + 48]
    return b"Xing" in begin or b"Info" in begin
