"""The long form: as many kills as asked for, in campaigns of fifty.

    python -m tests.crash [--kills 1000] [--seed 7] [--durability process|power|both] [--folder DIRECTORY] [--first CAMPAIGN]

Prints the seed and what was counted. A failure keeps its folder and prints the command that repeats its campaign.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from .campaign import KILLS, Campaign
from .verification import Violation

PER_CAMPAIGN = 50


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--durability", choices=["process", "power", "both"], default="both")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "stepwell-crash")
    parser.add_argument("--first", type=int, default=0, help="the campaign to begin with")
    options = parser.parse_args()
    total: Counter[str] = Counter()
    began = time.monotonic()
    number = options.first
    while (killed := sum(total[harm] for harm in KILLS)) < options.kills:
        durability = options.durability
        if durability == "both":
            durability = "power" if number % 4 == 3 else "process"
        kills = min(PER_CAMPAIGN, options.kills - killed)
        folder = options.folder / f"seed{options.seed}-{number}"
        shutil.rmtree(folder, ignore_errors=True)
        try:
            total += Campaign(folder, f"{options.seed}/{number}", kills, durability=durability).run()
        except Violation as violation:
            print(f"\nVIOLATION in campaign {number} of seed {options.seed}, folder {folder}:\n{violation}\n")
            print(
                f"repeat: python -m tests.crash --seed {options.seed} --first {number} --kills {kills} "
                f"--durability {durability}"
            )
            return 1
        shutil.rmtree(folder, ignore_errors=True)
        number += 1
        killed = sum(total[harm] for harm in KILLS)
        print(f"seed {options.seed}: {killed} kills in {time.monotonic() - began:.0f} s, nothing lost", flush=True)
    print(f"\nseed {options.seed}, {number - options.first} campaigns, {time.monotonic() - began:.0f} s")
    for what, count in sorted(total.items()):
        print(f"  {what:34}{count:>10,}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
