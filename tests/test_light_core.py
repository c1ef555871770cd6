"""What `pip install stepwell` brings is enough: no module of the core needs what only extras install."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

EXTRAS = [
    "aiobotocore",
    "aiohttp",
    "av",
    "bcrypt",
    "boto3",
    "botocore",
    "chromadb",
    "edge_tts",
    "espeakng_loader",
    "google",
    "imageio_ffmpeg",
    "jwt",
    "moto",
    "numpy",
    "openai",
    "PIL",
    "pillow_heif",
    "playwright",
    "wordllama",
]
"""The modules of every optional dependency."""

BLOCKED = f"""
import importlib.abc, sys

class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {EXTRAS!r}:
            raise ModuleNotFoundError(f"{{name}} is not installed", name=name)

sys.meta_path.insert(0, Blocked())
"""


def python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a program in which the extras are not installed."""
    return subprocess.run(
        [sys.executable, "-c", BLOCKED + code], cwd=folder, capture_output=True, text=True, timeout=60
    )


def test_every_module_is_imported_without_the_extras(tmp_path: Path) -> None:
    done = python(
        "import importlib, pkgutil, stepwell\n"
        "for module in pkgutil.walk_packages(stepwell.__path__, 'stepwell.'):\n"
        "    importlib.import_module(module.name)\n"
        "    print(module.name)",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert {"stepwell.engine.engine", "stepwell.cli.run", "stepwell.toolkit.objects.s3"} <= set(done.stdout.split())


def test_a_machine_runs_without_the_extras(tmp_path: Path) -> None:
    path = tmp_path / "one.asl.json"
    path.write_text(json.dumps({"StartAt": "A", "States": {"A": {"Type": "Pass", "Result": "light", "End": True}}}))
    done = python(f"from stepwell.cli import main\nmain(['run', {str(path)!r}])", tmp_path)
    assert done.returncode == 0, done.stderr
    assert '"light"' in done.stdout


def test_importing_the_package_imports_nothing_else(tmp_path: Path) -> None:
    done = python(
        "before = set(sys.modules)\nimport stepwell\n"
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names))",
        tmp_path,
    )
    assert done.stdout.split() == ["stepwell"], done.stderr
