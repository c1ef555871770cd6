"""Dumps across versions of Stepwell."""

from __future__ import annotations

import msgspec
import pytest

from stepwell.interpreter import load, load_records, storage

from .helpers import begin, machine, task

MACHINE = machine({"T": task()})


def test_a_newer_dump_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    data = begin(MACHINE).execution.dump()
    monkeypatch.setattr(storage, "VERSION", storage.VERSION - 1)
    with pytest.raises(ValueError, match=r"newer Stepwell .* upgrade Stepwell"):
        load(begin(MACHINE).machine, data)


def test_an_older_dump_is_upgraded_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = begin(MACHINE)
    data = waiting.execution.dump()
    seen = []

    def upgrade(records: dict[str, bytes]) -> dict[str, bytes]:
        seen.append(sorted(records))
        return records

    monkeypatch.setattr(storage, "VERSION", storage.VERSION + 1)
    monkeypatch.setitem(storage.UPGRADES, storage.VERSION - 1, upgrade)
    loaded = load(waiting.machine, data)
    assert seen == [["execution", "f0", "input"]]
    assert loaded.pending() == waiting.execution.pending()


def test_rubbish_is_refused() -> None:
    with pytest.raises(ValueError, match="not a dump"):
        load(begin(MACHINE).machine, b"\xc1nonsense")
    with pytest.raises(KeyError):
        load_records(begin(MACHINE).machine, {})


def test_fields_may_be_added_to_a_record() -> None:
    waiting = begin(MACHINE)
    records = {key: data for key, data in waiting.execution.dump_changes().items() if data is not None}
    frame = msgspec.msgpack.decode(records["f0"])
    records["f0"] = msgspec.msgpack.encode([*frame, "a field of a newer patch release"])
    assert load_records(waiting.machine, records).pending() == waiting.execution.pending()
