"""`make bench`: every benchmark, one after the other, each a script that prints what it measures and its ratios."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HELPERS = {"__main__", "constant", "plots", "servers", "workloads"}


def main() -> int:
    """Run all scripts of this folder, or those named; 0 when all ran."""
    scripts = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in HELPERS)
    names = sys.argv[1:] or scripts
    unknown = [name for name in names if name not in scripts]
    if unknown:
        print(f"bench: there is no benchmark {unknown[0]!r}; there are: {', '.join(scripts)}", file=sys.stderr)
        return 2
    code = 0
    for name in names:
        print(f"\n━━━ {name} " + "━" * (72 - len(name)), flush=True)
        code = max(code, subprocess.call([sys.executable, "-m", f"benchmarks.{name}"]))
    return code


if __name__ == "__main__":
    raise SystemExit(main())
