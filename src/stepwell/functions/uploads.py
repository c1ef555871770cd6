"""Functions uploaded through the Lambda API, as they lie on disk: one folder each with `function.json` and unpacked code.

    FUNCTIONS/NAME/function.json
    FUNCTIONS/NAME/code/SHA256/...

`function.json` is replaced whole; code is unpacked beside its final name and renamed, so that a crash leaves the old function or the
new one. A zip is not trusted: no path leaves the folder, no links, no devices, and the size is counted while unpacking.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from stepwell.functions.spec import LATEST, FunctionSpec

MAX_ZIP = 50 * 1024 * 1024
MAX_UNPACKED = 250 * 1024 * 1024
MAX_FILES = 20_000
DEFAULT_CONCURRENCY = 100
"""Calls at once of a function without reserved concurrency; the pool's own bound on processes comes first."""


class BadArchive(ValueError):
    """The zip cannot be unpacked, or must not be."""


class Revision(msgspec.Struct, kw_only=True):
    """A function's code and configuration at one time. `configuration` has the Lambda API's fields."""

    configuration: dict[str, Any]
    sha256: str
    """Base64, as the API gives it."""
    size: int
    """Bytes of the zip."""
    modified: str
    revision_id: str
    description: str = ""


class Alias(msgspec.Struct, kw_only=True):
    version: str
    description: str
    revision_id: str


class Uploaded(msgspec.Struct, kw_only=True):
    """A function with its versions and aliases."""

    name: str
    arn: str
    latest: Revision
    versions: dict[str, Revision] = {}
    next_version: int = 1
    aliases: dict[str, Alias] = {}
    reserved_concurrency: int | None = None
    event_invoke: dict[str, dict[str, Any]] = {}
    """FunctionEventInvokeConfig by qualifier."""
    tags: dict[str, str] = {}
    policy: list[dict[str, Any]] = []

    def revision(self, qualifier: str | None) -> tuple[str, Revision] | None:
        """The version number and revision a qualifier (version, alias, `$LATEST`) means; None if there is none."""
        if qualifier is None or qualifier == LATEST:
            return LATEST, self.latest
        alias = self.aliases.get(qualifier)
        version = alias.version if alias is not None else qualifier
        if version == LATEST:
            return LATEST, self.latest
        found = self.versions.get(version)
        return None if found is None else (version, found)


class Uploads:
    """The uploaded functions of one engine. Without a directory they are kept in a temporary one until `close`."""

    def __init__(self, directory: Path | None) -> None:
        self._temporary = directory is None
        self.directory = Path(tempfile.mkdtemp(prefix="stepwell-functions-")) if directory is None else directory
        self.functions: dict[str, Uploaded] = {}
        if self.directory.is_dir():
            for path in sorted(self.directory.glob("*/function.json")):
                uploaded = msgspec.json.decode(path.read_bytes(), type=Uploaded)
                self.functions[uploaded.name] = uploaded

    def close(self) -> None:
        if self._temporary:
            shutil.rmtree(self.directory, ignore_errors=True)

    def specs(self) -> Iterator[FunctionSpec]:
        """Every function, version and alias, for a FunctionPool."""
        for uploaded in self.functions.values():
            yield from self.specs_of(uploaded)

    def specs_of(self, uploaded: Uploaded) -> Iterator[FunctionSpec]:
        yield self._spec(uploaded, LATEST, uploaded.latest)
        for version, revision in uploaded.versions.items():
            yield self._spec(uploaded, version, revision)
        for name in uploaded.aliases:
            found = uploaded.revision(name)
            if found is not None:
                yield self._spec(uploaded, name, found[1])

    def _spec(self, uploaded: Uploaded, version: str, revision: Revision) -> FunctionSpec:
        configuration = revision.configuration
        return FunctionSpec(
            name=uploaded.name,
            handler=configuration["Handler"],
            code=self.code(uploaded.name, revision.sha256),
            memory_mb=configuration["MemorySize"],
            timeout=float(configuration["Timeout"]),
            environment={
                **_lambda_environment(uploaded, version, configuration),
                "LAMBDA_TASK_ROOT": str(self.code(uploaded.name, revision.sha256)),
                **configuration.get("Environment", {}).get("Variables", {}),
            },
            inherit_environment=False,
            concurrency=max(1, uploaded.reserved_concurrency or DEFAULT_CONCURRENCY),
            typed=False,
            version=version,
            arn=uploaded.arn if version == LATEST else f"{uploaded.arn}:{version}",
            trace_root="/var/task",
        )

    def save(self, uploaded: Uploaded) -> None:
        """Write a function's record; when this returns it survives a crash."""
        folder = self.directory / uploaded.name
        folder.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=folder, prefix=".function-")
        with os.fdopen(handle, "wb") as out:
            out.write(msgspec.json.encode(uploaded))
            out.flush()
            os.fsync(out.fileno())
        Path(temporary).replace(folder / "function.json")
        self.functions[uploaded.name] = uploaded
        self._sweep(uploaded)

    def delete(self, name: str) -> None:
        del self.functions[name]
        shutil.rmtree(self.directory / name, ignore_errors=True)

    def code(self, name: str, sha256: str) -> Path:
        """The folder of a function's unpacked code."""
        return self.directory / name / "code" / base64.b64decode(sha256).hex()[:32]

    def unpack(self, name: str, archive: bytes) -> tuple[str, int]:
        """Unpack a zip for a function; gives its SHA-256 in base64 and its size. Raises BadArchive."""
        if len(archive) > MAX_ZIP:
            raise BadArchive(f"The zip file is over {MAX_ZIP} bytes.")
        sha256 = base64.b64encode(hashlib.sha256(archive).digest()).decode()
        target = self.code(name, sha256)
        if not target.is_dir():
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=".unpacking-"))
            try:
                unpack(archive, temporary)
                temporary.rename(target)
            except BaseException:
                shutil.rmtree(temporary, ignore_errors=True)
                raise
        return sha256, len(archive)

    def _sweep(self, uploaded: Uploaded) -> None:
        """Remove code that no version has any more."""
        kept = {self.code(uploaded.name, r.sha256).name for r in (uploaded.latest, *uploaded.versions.values())}
        folder = self.directory / uploaded.name / "code"
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.name not in kept:
                shutil.rmtree(path, ignore_errors=True)


def unpack(archive: bytes, target: Path) -> None:
    """Unpack a zip into an empty folder. Raises BadArchive for what is no zip, leaves the folder, or is too large."""
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as zipped:
            entries = zipped.infolist()
            if len(entries) > MAX_FILES:
                raise BadArchive(f"The zip file has more than {MAX_FILES} entries.")
            left = MAX_UNPACKED
            for entry in entries:
                path = _inside(target, entry)
                if entry.is_dir():
                    path.mkdir(parents=True, exist_ok=True)
                    continue
                path.parent.mkdir(parents=True, exist_ok=True)
                with zipped.open(entry) as source, path.open("wb") as out:
                    while chunk := source.read(1024 * 1024):
                        left -= len(chunk)
                        if left < 0:
                            raise BadArchive(f"Unzipped size must be smaller than {MAX_UNPACKED} bytes")
                        out.write(chunk)
                path.chmod((entry.external_attr >> 16) & 0o755 | 0o444)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        raise BadArchive(
            f"Could not unzip uploaded file. Please check your file, then try to upload again. ({error})"
        ) from error


def _inside(target: Path, entry: zipfile.ZipInfo) -> Path:
    name = PurePosixPath(entry.filename.replace("\\", "/"))
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise BadArchive(f"The zip file has an entry that is neither a file nor a folder: {entry.filename}")
    if name.is_absolute() or ".." in name.parts or not name.parts or "\0" in entry.filename:
        raise BadArchive(f"The zip file has an entry outside of its own folder: {entry.filename}")
    return target.joinpath(*name.parts)


def _lambda_environment(uploaded: Uploaded, version: str, configuration: dict[str, Any]) -> dict[str, str]:
    """The variables Lambda's runtime sets, as far as code reads them."""
    region = uploaded.arn.split(":")[3]
    return {
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "AWS_LAMBDA_FUNCTION_NAME": uploaded.name,
        "AWS_LAMBDA_FUNCTION_VERSION": version,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(configuration["MemorySize"]),
        "_HANDLER": configuration["Handler"],
    }
