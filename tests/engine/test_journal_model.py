"""The journal beside a model of it: dictionaries, copied at each commit. Whatever happens, the file is one of those copies."""

from __future__ import annotations

import asyncio
import copy
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from stepwell.engine.errors import JournalFull
from stepwell.engine.journal import Journal
from stepwell.engine.rows import ExecutionRow, Outcome

from .test_journal import row

payloads = st.binary(max_size=40) | st.integers(1, 30).map(lambda n: b"x" * 1000 * n)
picks = st.integers(0, 1 << 30)


class Model:
    """What the journal must hold."""

    def __init__(self) -> None:
        self.executions: dict[int, tuple[Any, ...]] = {}
        self.open: dict[int, tuple[int, int | None]] = {}
        self.inputs: dict[int, list[tuple[int, bytes]]] = {}
        self.history: dict[int, list[tuple[int, int, bytes]]] = {}
        self.snapshots: dict[int, tuple[int, bytes]] = {}
        self.documents: dict[str, bytes] = {}

    @classmethod
    def of(cls, journal: Journal) -> Model:
        """What it does hold, read by its public methods."""
        model = cls()
        for listed in journal.executions(limit=1 << 30):
            found = journal.execution(listed.id)
            assert found is not None
            assert journal.find(found.resource, found.name) == found
            id = found.id
            model.executions[id] = msgspec.structs.astuple(found)
            model.inputs[id] = journal.inputs(id)
            model.history[id] = journal.history(id, 1, 1 << 30)
            snapshot = journal.snapshot(id)
            if snapshot is not None:
                model.snapshots[id] = snapshot
        model.open = {id: (busy, wake) for id, busy, wake, _ in journal.open_executions()}
        model.documents = dict(journal.documents("kind"))
        return model

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Model) and vars(self) == vars(other)

    def __repr__(self) -> str:
        return f"Model({vars(self)})"


class JournalMachine(RuleBasedStateMachine):
    """Writes of all kinds, commits, full disks, crashes, torn logs."""

    durability: Any = "process"

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="stepwell-model-"))
        self.loop = asyncio.new_event_loop()
        self.generation = 0

    @initialize()
    def open(self) -> None:
        self.model = Model()
        self.safe = [Model()]
        """The state after each commit, oldest first."""
        self.acknowledged = 0
        """Up to which of them callers were told."""
        self.pending: list[tuple[int, Model]] = []
        self.full = False
        self.journal = self._do(lambda: Journal(self.folder / "0", durability=self.durability))

    def teardown(self) -> None:
        self.loop.run_until_complete(self._quiet())
        self.journal._abandon()
        self.loop.close()
        shutil.rmtree(self.folder)

    def _do(self, work: Callable[[], Any]) -> Any:
        """Do something on the loop, as everything that writes is."""

        async def run() -> Any:
            return work()

        return self.loop.run_until_complete(run())

    def _pick(self, among: Any, pick: int) -> Any:
        found = sorted(among)
        return found[pick % len(found)]

    # -- writes

    @rule(input=payloads)
    def start(self, input: bytes) -> None:
        id = self.journal.next_id()
        new = row(id, input=input)
        self.model.executions[id] = msgspec.structs.astuple(new)
        self.model.inputs[id] = []
        self.model.history[id] = []
        self.model.open[id] = (1, None)
        self._write(lambda: (self.journal.start_execution(new), self.journal.set_open(id, busy=True, wake=None)))

    @precondition(lambda self: self.model.open)
    @rule(pick=picks, data=payloads, events=st.integers(0, 120))
    def input(self, pick: int, data: bytes, events: int) -> None:
        id = self._pick(self.model.open, pick)
        inputs, history = self.model.inputs[id], self.model.history[id]
        inputs.append((len(inputs) + 1, data))
        first = history[-1][1] + 1 if history else 1

        def write() -> None:
            self.journal.add_input(id, len(inputs), data)
            if events:
                history.append((first, first + events - 1, data))
                self.journal.add_history(id, first, first + events - 1, data)

        self._write(write)

    @precondition(lambda self: self.model.open)
    @rule(pick=picks, busy=st.booleans(), wake=st.none() | st.integers(0, 99))
    def wait(self, pick: int, busy: bool, wake: int | None) -> None:
        id = self._pick(self.model.open, pick)
        self.model.open[id] = (int(busy), wake)
        self._write(lambda: self.journal.set_open(id, busy, wake))

    @precondition(lambda self: self.model.open)
    @rule(pick=picks, data=payloads)
    def save(self, pick: int, data: bytes) -> None:
        id = self._pick(self.model.open, pick)
        self.model.snapshots[id] = (len(self.model.inputs[id]), data)
        self._write(lambda: self.journal.put_snapshot(id, len(self.model.inputs[id]), data))

    @precondition(lambda self: self.model.open)
    @rule(pick=picks, output=payloads)
    def end(self, pick: int, output: bytes) -> None:
        id = self._pick(self.model.open, pick)
        del self.model.open[id]
        outcome = Outcome("SUCCEEDED", 5, output=output)
        ended = msgspec.structs.replace(ExecutionRow(*self.model.executions[id]), **msgspec.structs.asdict(outcome))
        self.model.executions[id] = msgspec.structs.astuple(ended)
        self._write(lambda: (self.journal.set_outcome(id, outcome), self.journal.set_closed(id)))

    @precondition(lambda self: set(self.safe[-1].executions) - set(self.safe[-1].open))
    @rule(pick=picks, again=st.booleans())
    def forget(self, pick: int, again: bool) -> None:
        """Delete an execution that ended; its name may be used again at once."""
        closed = set(self.safe[-1].executions) - set(self.safe[-1].open)
        id = self._pick(closed, pick)
        if id not in self.model.executions:
            return
        name = ExecutionRow(*self.model.executions[id]).name
        for part in (self.model.executions, self.model.inputs, self.model.history, self.model.snapshots):
            part.pop(id, None)
        self._write(lambda: self.journal.delete_execution(id))
        if again:
            new = row(self.journal.next_id(), name=name)
            self.model.executions[new.id] = msgspec.structs.astuple(new)
            self.model.inputs[new.id], self.model.history[new.id], self.model.open[new.id] = [], [], (0, 7)
            self._write(lambda: (self.journal.start_execution(new), self.journal.set_open(new.id, False, 7)))

    @rule(key=st.sampled_from("abc"), data=st.none() | payloads)
    def document(self, key: str, data: bytes | None) -> None:
        if data is None:
            self.model.documents.pop(key, None)
        else:
            self.model.documents[key] = data
        self._write(lambda: self.journal.put("kind", key, data))

    def _write(self, work: Callable[[], Any]) -> None:
        self.journal._scheduled = True  # the rule `commit` is the end of the loop's turn
        self._do(work)
        self.pending = [entry for entry in self.pending if entry[0] != self.journal.number]
        self.pending.append((self.journal.number, copy.deepcopy(self.model)))

    # -- commits

    @rule()
    def commit(self) -> None:
        number = self.journal.number
        told: list[int] = []

        async def run() -> None:
            self.journal.after_commit(lambda: told.append(number))
            self.journal._flush_turn()
            if not self.full:
                await asyncio.wait_for(self.journal.committed(), 10)
            await self._quiet()

        self.loop.run_until_complete(run())
        assert bool(told) == (not self.full)
        if not self.full:
            self._settled(number)

    def _settled(self, number: int) -> None:
        self.safe += [model for batch, model in self.pending if batch <= number]
        self.pending = [entry for entry in self.pending if entry[0] > number]
        self.acknowledged = len(self.safe) - 1

    @precondition(lambda self: not self.full)
    @rule()
    def fill_disk(self) -> None:
        """The next commit fails; what was added stays in order for the one after."""
        self.commit()  # what is deleted leaves room only then
        pages = self.journal._connection.execute("PRAGMA page_count").fetchone()[0]
        self.journal._connection.execute(f"PRAGMA max_page_count = {pages}")
        free = self.journal._connection.execute("PRAGMA freelist_count").fetchone()[0]
        self.full = True
        self.start(b"y" * 4096 * (free + 3))
        number = self.journal.number

        async def run() -> None:
            self.journal._flush_turn()

        self.loop.run_until_complete(run())
        assert isinstance(self.journal.trouble, JournalFull)
        assert self.journal.number == number + 1

    async def _quiet(self) -> None:
        """Wait for a checkpoint in another thread: when it ends, it may write a batch of which the model knows nothing yet."""
        while self.journal._background:
            await asyncio.wait(self.journal._background, timeout=10)

    @precondition(lambda self: self.full)
    @rule()
    def empty_disk(self) -> None:
        self.journal._connection.execute("PRAGMA max_page_count = 1073741823")

        async def run() -> None:
            self.journal._retry()
            self.journal._flush_turn()
            await asyncio.wait_for(self.journal.committed(), 10)
            await self._quiet()

        number = self.journal.number
        self.loop.run_until_complete(run())
        assert self.journal.trouble is None
        self.full = False
        self._settled(number)

    # -- crashes

    @rule(cut=st.none() | st.floats(0, 1), garbage=st.binary(max_size=50))
    def crash(self, cut: float | None, garbage: bytes) -> None:
        """Go on from a copy of the files as they are: what was written is there. With `cut`, from a log that was torn."""
        old = self.folder / str(self.generation)
        self.generation += 1
        new = self.folder / str(self.generation)
        shutil.copytree(old, new)
        wal = new / "journal.db-wal"
        if cut is not None and wal.exists():
            size = wal.stat().st_size
            with wal.open("r+b") as file:
                file.truncate(int(size * cut))
                file.seek(0, 2)
                file.write(garbage)
        self.loop.run_until_complete(self._quiet())
        self.journal._abandon()
        self.journal = self._do(lambda: Journal(new, durability=self.durability))
        found = Model.of(self.journal)
        if cut is None:
            assert found == self.safe[-1]
        else:
            assert found in self.safe
        self.model = copy.deepcopy(found)
        # The log goes on, so that the next crash may tear off this part of it too.
        self.safe = self.safe[: len(self.safe) - self.safe[::-1].index(found)]
        self.pending = []
        self.full = False

    @invariant()
    def readers_see_what_is_committed(self) -> None:
        if hasattr(self, "journal"):
            assert Model.of(self.journal) == self.safe[-1]


class PowerMachine(JournalMachine):
    """The same, waiting for the disk."""

    durability = "power"


settings_of_models = settings(
    max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestJournal = JournalMachine.TestCase
TestJournal.settings = settings_of_models
TestPowerJournal = PowerMachine.TestCase
TestPowerJournal.settings = settings(settings_of_models, max_examples=15)
