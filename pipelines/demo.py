"""`make demo`: run the pipelines one after another on embedded defaults, against their simulators.

Each pipeline's `demo.py` prints its own progress and leaves its results in `demo-output/NAME`.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
OUTPUT = HERE.parent / "demo-output"


def main(names: list[str]) -> int:
    """Run the named pipelines' demos, all when none is named; 0 when every one succeeded."""
    demos = {path.parent.name: path for path in sorted(HERE.glob("*/demo.py"))}
    unknown = [name for name in names if name not in demos]
    if unknown:
        print(f"demo: there is no pipeline {unknown[0]!r}; there are: {', '.join(demos)}", file=sys.stderr)
        return 2
    results: dict[str, tuple[int, float]] = {}
    for name in names or demos:
        print(f"\n━━━ {name} " + "━" * (72 - len(name)), flush=True)
        began = time.monotonic()
        code = subprocess.call([sys.executable, str(demos[name]), "--output", str(OUTPUT / name)])
        results[name] = (code, time.monotonic() - began)
    print()
    for name, (code, seconds) in results.items():
        print(f"  {'✓' if code == 0 else '✗'} {name:14} {seconds:6.1f} s   {(OUTPUT / name).relative_to(HERE.parent)}")
    return max(code for code, _ in results.values())


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
