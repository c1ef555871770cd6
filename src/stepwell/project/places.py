"""Where the keys of a TOML text stand: the parser of the standard library does not tell."""

from __future__ import annotations

import re

KeyPath = tuple[str | int, ...]

_KEY = re.compile(r"""\s*(?:([A-Za-z0-9_-]+)|"((?:[^"\\]|\\.)*)"|'([^']*)')\s*""")


class Places:
    """Key path to line number, for a text that is valid TOML."""

    def __init__(self, text: str) -> None:
        self._lines: dict[KeyPath, int] = {}
        self._arrays: dict[KeyPath, int] = {}
        table: KeyPath = ()
        pending = ""
        for number, line in enumerate(text.splitlines(), 1):
            if pending:
                pending = _open_after(line, pending)
                continue
            stripped = line.strip()
            if not stripped or stripped.startswith("#"):
                continue
            if stripped.startswith("["):
                table = self._table(stripped)
                self._note(table, number)
                continue
            keys, rest = _keys(line)
            if rest.startswith("="):
                self._note(table + keys, number)
                pending = _open_after(rest[1:], "")

    def line(self, path: KeyPath) -> int | None:
        """The line of a key, or of the nearest one around it; None when there is none (the file itself)."""
        while path:
            if path in self._lines:
                return self._lines[path]
            path = path[:-1]
        return None

    def _note(self, path: KeyPath, number: int) -> None:
        for end in range(1, len(path) + 1):
            self._lines.setdefault(path[:end], number)

    def _table(self, header: str) -> KeyPath:
        repeated = header.startswith("[[")
        keys, _ = _keys(header[2 if repeated else 1 :])
        path: KeyPath = ()
        for position, key in enumerate(keys):
            path += (key,)
            last = position == len(keys) - 1
            if last and repeated:
                self._arrays[path] = self._arrays.get(path, -1) + 1
            if path in self._arrays:
                path += (self._arrays[path],)
        return path


def _keys(text: str) -> tuple[KeyPath, str]:
    """The dotted key at the start of a text, and what follows it."""
    keys: KeyPath = ()
    while match := _KEY.match(text):
        keys += (next(part for part in match.groups() if part is not None),)
        text = text[match.end() :]
        if not text.startswith("."):
            break
        text = text[1:]
    return keys, text


def _open_after(text: str, pending: str) -> str:
    """What is still open at the end of a line: a string of many lines, or brackets. `pending` is what was at its start."""
    position = 0
    while position < len(text):
        if pending[-3:] in ('"""', "'''"):
            end = text.find(pending[-3:], position)
            if end < 0:
                return pending
            position = end + 3
            pending = pending[:-3]
            continue
        character = text[position]
        if character == "#":
            break
        if text[position : position + 3] in ('"""', "'''"):
            pending += text[position : position + 3]
            position += 3
            continue
        if character in "\"'":
            position = _string_end(text, position)
            continue
        if character in "[{":
            pending += character
        elif character in "]}":
            pending = pending[:-1]
        position += 1
    return pending


def _string_end(text: str, start: int) -> int:
    quote = text[start]
    position = start + 1
    while position < len(text) and text[position] != quote:
        position += 2 if quote == '"' and text[position] == "\\" else 1
    return position + 1
