"""`stepwell serve` as it is, with three instruments: a clock that can be set, a note of what an fsync has made safe, and a line
for each EXPRESS execution that does not succeed.

    python -m tests.crash.server INSTRUMENTS SERVE-ARGUMENTS...

INSTRUMENTS is a folder. Its file `clock` holds the offset of the server's clock in milliseconds (8 bytes, little endian), which
may change at any moment. After each fsync of the write-ahead log, `synced` holds the log's salt and the number of frames that the
fsync has put on the disk: what a power loss at that moment would leave.
"""

from __future__ import annotations

import mmap
import struct
import sys
import time
from pathlib import Path
from types import SimpleNamespace

from stepwell.cli import main
from stepwell.engine import clock, host, journal
from stepwell.engine.live import Live
from stepwell.interpreter.effects import Finish

MX_FRAME = 16
SALT = 32


def map_file(path: Path, size: int) -> mmap.mmap:
    """The file's bytes as memory shared between processes; made if absent."""
    if not path.exists():
        path.write_bytes(bytes(size))
    with path.open("r+b") as file:
        return mmap.mmap(file.fileno(), size)


def instrument(folder: Path) -> None:
    offset = map_file(folder / "clock", 8)
    synced = map_file(folder / "synced", 12)

    def time_ns() -> int:
        return time.time_ns() + struct.unpack("<q", offset[:8])[0] * 1_000_000

    clock.time = SimpleNamespace(time_ns=time_ns)  # type: ignore[attr-defined]
    real = journal.sync_file

    def sync_file(descriptor: int) -> None:
        log = Path(f"/proc/self/fd/{descriptor}").resolve()
        index = log.with_name(log.name.replace("-wal", "-shm")).read_bytes()[:48]
        real(descriptor)
        synced[:12] = index[SALT : SALT + 8] + index[MX_FRAME : MX_FRAME + 4]

    journal.sync_file = sync_file
    finish = host.Host._finish

    def note_finish(self: host.Host, live: Live, end: Finish) -> None:
        # EXPRESS executions leave no history: without this line nobody could say what went wrong in one.
        if live.express and end.status != "SUCCEEDED":
            print(f"{live.identity.execution_arn} {end.status} {end.error} {end.cause}", file=sys.stderr, flush=True)
        finish(self, live, end)

    host.Host._finish = note_finish  # type: ignore[method-assign]


if __name__ == "__main__":
    instrument(Path(sys.argv[1]))
    main(["serve", *sys.argv[2:]])
