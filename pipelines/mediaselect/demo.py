"""The demo: a trip's photos and films are drawn, selected and enhanced against simulated models, durably, on this machine."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "simulators")]

import holiday  # noqa: E402
from geminisim import Gemini  # noqa: E402
from mediaselect.local import LocalRun  # noqa: E402


def main() -> int:
    """Run it; 0 when every item ended well."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    output: Path = parser.parse_args().output.resolve()
    shutil.rmtree(output, ignore_errors=True)
    (output / "session").mkdir(parents=True)
    for file in holiday.trip((1200, 900)):
        (output / "session" / file.name).write_bytes(file.data)
    with tempfile.TemporaryDirectory(prefix="mediaselect-demo-") as data, Gemini(latency=0.2) as gemini:
        os.environ.update(gemini.environment)
        run = LocalRun(
            output / "session",
            Path(data),
            output,
            context="Four days on the Riviera",
            say=lambda line: print(line, flush=True),
        )
        results = run.run()
        calls: dict[str, int] = {}
        for request in gemini.requests():
            calls[request.operation] = calls.get(request.operation, 0) + 1
    selection, enhancement = results["selection"], results["enhancement"]
    print("\n  selected")
    for entry in selection["selected"]:
        print(
            f"   {entry['rank']:3}  {entry['filename']:14} {entry['type']:6} {entry.get('comparisonNote') or entry['justification']}"
        )
    print("  excluded")
    for entry in selection["excluded"]:
        print(f"        {entry['filename']:14} {entry['category']:15} {entry['reason']}")
    for entry in selection["skipped"]:
        print(f"        {entry['key'].rsplit('/')[-1]:14} {'skipped':15} {entry['reason']}")
    print("  enhanced")
    for item in enhancement["items"]:
        changes = item.get("phase1Text", "").replace("\n", " ").replace("- ", "")
        print(f"        {item['filename']:14} {item['phase']:9} {changes or item.get('error', '')}")
    print(
        f"  calls to the models: {', '.join(f'{count} {name}' for name, count in sorted(calls.items()) if not name.startswith('file-'))}"
    )
    print(f"  see {output.name}/contact-sheet.jpg and before-after.jpg")
    return 0 if enhancement["status"] == "complete" and enhancement["failedCount"] == 0 else 1


if __name__ == "__main__":
    raise SystemExit(main())
