"""docs/reference/diagnostics.md says what validation really says."""

import re
from pathlib import Path

import pytest

from stepwell.language import DefinitionError, parse, validate
from stepwell.language.diagnostics import CODES

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "diagnostics.md").read_text(encoding="utf-8")
SECTIONS = {text.partition("\n")[0]: text for text in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]}
EXAMPLE = re.compile(r"```json\n(.*?)\n```\n\n```text\n(.*?)\n```", re.DOTALL)


def test_every_code_has_its_row_and_its_section() -> None:
    assert list(SECTIONS) == list(CODES)
    for code, (severity, remedy) in CODES.items():
        escaped = remedy.replace("|", "\\|")
        assert f"| [{code}](#{code.lower()}) | {severity} | {escaped} |" in PAGE


@pytest.mark.parametrize("code", [code for code in CODES if code != "TOO_DEEPLY_NESTED"])
def test_the_examples_are_answered_as_the_page_says(code: str) -> None:
    example = EXAMPLE.search(SECTIONS[code])
    assert example is not None
    definition, answer = example.groups()
    try:
        diagnostics = validate(parse(definition, file="machine.asl.json"))
    except DefinitionError as error:
        diagnostics = list(error.diagnostics)
    assert "\n".join(diagnostic.render() for diagnostic in diagnostics) == answer
    assert code in answer
