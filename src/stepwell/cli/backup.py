"""`stepwell backup`: a copy of a data directory, taken while it is in use."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stepwell.cli.output import UNUSABLE, Problem
from stepwell.cli.target import DataOption, data_directory


def command(
    destination: Annotated[Path, typer.Argument(help="The folder to make; it must not exist.")],
    data: DataOption = None,
) -> None:
    """Copy a data directory while it is in use; the copy is a data directory of its own.

    To restore, stop the server and point --data at the copy. The journal is copied as of one moment, buckets and logs after it.
    """
    from stepwell.engine.backup import backup
    from stepwell.engine.errors import EngineError

    directory = data_directory(data)
    if not directory.is_dir():
        raise Problem(f"there is no data directory {directory}; give --data DIR", UNUSABLE)
    try:
        size = backup(directory, destination)
    except FileExistsError as error:
        raise Problem(f"{destination} exists; give a folder that does not") from error
    except (EngineError, OSError) as error:
        raise Problem(f"cannot copy {directory}: {error}", UNUSABLE) from error
    print(f"copied {directory} to {destination} ({size / 2**20:.1f} MiB)")
