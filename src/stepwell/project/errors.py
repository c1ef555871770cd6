"""A project's mistakes, each with its place and what to do about it."""

from __future__ import annotations

from pathlib import Path

import msgspec


class Mistake(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong."""

    path: Path
    key: str
    """The key path in stepwell.toml, such as ``machines.cloudsync.timeout``, or a definition's JSON pointer.
    Empty: the whole file."""
    message: str
    """What is wrong and what to write instead."""
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        place = str(self.path)
        if self.line is not None:
            place += f":{self.line}"
            if self.column is not None:
                place += f":{self.column}"
        return f"{place}: {self.key}: {self.message}" if self.key else f"{place}: {self.message}"


class ProjectError(Exception):
    """The project cannot be used. `mistakes` lists every one that was found, in file order."""

    def __init__(self, mistakes: list[Mistake]) -> None:
        super().__init__("\n".join(str(mistake) for mistake in mistakes))
        self.mistakes = mistakes
