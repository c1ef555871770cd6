"""A data directory keeps the account, region and partition of its ARNs."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepwell.engine import Engine
from stepwell.engine.home import OtherHome, home_of


async def prefix(directory: Path | None, **options: str) -> str:
    async with Engine.open(directory, **options) as engine:  # type: ignore[arg-type]
        return engine.arns.prefix


async def test_the_default(tmp_path: Path) -> None:
    assert await prefix(None) == "arn:aws:states:us-east-1:000000000000:"
    assert await prefix(tmp_path) == "arn:aws:states:us-east-1:000000000000:"


async def test_a_directory_keeps_what_it_was_made_with(tmp_path: Path) -> None:
    first = await prefix(tmp_path, account="123456789012", region="eu-west-1", partition="aws-cn")
    assert first == "arn:aws-cn:states:eu-west-1:123456789012:"
    assert await prefix(tmp_path) == first
    assert await prefix(tmp_path, mode="read") == first
    assert await prefix(tmp_path, mode="accept", account="123456789012") == first
    known = home_of(tmp_path)
    assert known is not None
    assert known.prefix == first


@pytest.mark.parametrize("other", [{"account": "111111111111"}, {"region": "eu-west-1"}, {"partition": "aws-cn"}])
async def test_another_home_is_refused(tmp_path: Path, other: dict[str, str]) -> None:
    await prefix(tmp_path)
    with pytest.raises(OtherHome, match=f"belongs to the {next(iter(other))} "):
        await prefix(tmp_path, **other)
    assert await prefix(tmp_path) == "arn:aws:states:us-east-1:000000000000:"


def test_a_folder_without_a_journal_has_no_home(tmp_path: Path) -> None:
    assert home_of(tmp_path) is None
    assert home_of(tmp_path / "none") is None
