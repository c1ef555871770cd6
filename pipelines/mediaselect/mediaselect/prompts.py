"""The prompts: resource files in `prompts/`, with one version for all of them, which every job records."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from string import Template

VERSION = "2026-11-1"


@cache
def _template(name: str) -> Template:
    return Template(files("mediaselect").joinpath("prompts", f"{name}.txt").read_text(encoding="utf-8"))


def prompt(name: str, **values: object) -> str:
    """The prompt `prompts/NAME.txt` with its `$placeholders` filled in. Raises KeyError for one that is not given."""
    return _template(name).substitute({key: str(value) for key, value in values.items()}).strip()


def quoted(text: str) -> str:
    """A user's words as data: between markers that the words themselves cannot close."""
    return "<user_data>\n" + text.replace("<user_data>", "").replace("</user_data>", "").strip() + "\n</user_data>"
