"""D7: the migration that brings tables made by hand into Payload's history, on a real PostgreSQL where there is one."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from . import PROJECT

CMS = PROJECT / "migrations"
PAYLOAD = """
CREATE TABLE payload_migrations (id serial PRIMARY KEY, name varchar, batch numeric, updated_at timestamptz, created_at timestamptz);
CREATE TABLE payload_locked_documents_rels (id serial PRIMARY KEY, parent_id integer, path varchar, media_id integer);
CREATE TABLE payload_preferences_rels (id serial PRIMARY KEY, parent_id integer, path varchar, users_id integer);
INSERT INTO payload_migrations (name, batch) VALUES ('20260101_000000', 1), ('20260301_000000', 4);
"""
"""What of Payload's own database the migration touches."""
SHAPE = """
SELECT table_name, column_name, data_type, is_nullable, coalesce(column_default, '')
FROM information_schema.columns WHERE table_schema = 'public'
UNION ALL SELECT tablename, indexname, 'index', '', '' FROM pg_indexes WHERE schemaname = 'public'
UNION ALL SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid), '', ''
FROM pg_constraint WHERE contype = 'f'
ORDER BY 1, 2
"""


@pytest.fixture(scope="module")
def server():
    """A PostgreSQL of its own in a temporary folder, on a socket there; its folder."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    initdb = shutil.which("initdb") or (found and str(found[-1] / "initdb"))
    if not initdb or not shutil.which("psql"):
        pytest.skip("no PostgreSQL is installed")
    binaries = Path(initdb).resolve().parent
    user = None
    if os.getuid() == 0:  # PostgreSQL refuses to run as root
        user = "postgres"
        try:
            pwd.getpwnam(user)
        except KeyError:
            pytest.skip("no user to run PostgreSQL as")
    folder = Path(tempfile.mkdtemp())
    if user:
        shutil.chown(folder, user)
    data = str(folder / "data")
    run = {"user": user, "check": True, "capture_output": True, "cwd": "/", "timeout": 120}
    try:
        subprocess.run([binaries / "initdb", "-D", data, "-U", "test", "-A", "trust", "--no-sync"], **run)
        options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
        log = str(folder / "log")
        control = [binaries / "pg_ctl", "-D", data, "-w"]
        subprocess.run([*control, "-l", log, "-o", options, "start"], **{**run, "capture_output": False})
        try:
            yield folder
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], **run)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def database(server, request):
    """A database with Payload's tables: `ask(sql)` gives rows of texts, `ask(file)` runs a file."""
    name = f"d{abs(hash(request.node.name)) % 10**8}"

    def psql(database, *arguments):
        command = ["psql", "-h", str(server), "-U", "test", "-d", database, "-v", "ON_ERROR_STOP=1", "-qAt", *arguments]
        found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert found.returncode == 0, found.stderr
        return [tuple(line.split("|")) for line in found.stdout.splitlines()]

    psql("postgres", "-c", f"CREATE DATABASE {name}")

    def ask(what):
        return psql(name, *(("-f", str(what)) if isinstance(what, Path) else ("-c", what)))

    ask(PAYLOAD)
    return ask


def history(ask):
    return ask("SELECT name, batch FROM payload_migrations ORDER BY batch, name")


BEFORE = [("20260101_000000", "1"), ("20260301_000000", "4")]
UP, DOWN, ADOPT = (CMS / f"content_tables.{name}.sql" for name in ("up", "down", "adopt"))


def test_up_twice_and_down(database):
    empty = database(SHAPE)
    database(UP)
    made = database(SHAPE)
    assert history(database) == [*BEFORE, ("content_tables", "5")]
    database("INSERT INTO content_projects (name) VALUES ('p')")
    database("INSERT INTO content_jobs (project_id, job_type) VALUES (1, 't')")
    (row,) = database("SELECT status, priority, input, output FROM content_jobs")
    assert row == ("pending", "0", "{}", "{}")
    assert database("SELECT status, config, created_at IS NOT NULL FROM content_projects") == [("active", "{}", "t")]
    database("DELETE FROM content_projects")
    assert database("SELECT project_id IS NULL FROM content_jobs") == [("t",)]
    columns = {row[:2] for row in made}
    for kind in ("content_projects", "content_jobs", "source_registry", "editorial_directives"):
        for table in ("payload_locked_documents_rels", "payload_preferences_rels"):
            assert (table, f"{kind}_id") in columns
        assert ("payload_locked_documents_rels", f"payload_locked_documents_rels_{kind}_id_idx") in columns
    database(UP)
    assert database(SHAPE) == made and len(history(database)) == 3
    assert database("SELECT count(*) FROM content_jobs") == [("1",)], "nothing is lost"
    database(DOWN)
    assert database(SHAPE) == empty and history(database) == BEFORE
    database(DOWN)


def test_half_of_it_was_made_by_hand(database):
    database("CREATE TABLE content_projects (id serial PRIMARY KEY, name varchar NOT NULL, own varchar)")
    database("ALTER TABLE payload_preferences_rels ADD COLUMN content_jobs_id integer")
    database(UP)
    columns = {row[:2] for row in database(SHAPE)}
    assert ("content_projects", "own") in columns, "what is there is left alone"
    assert ("content_jobs", "project_id") in columns and ("payload_preferences_rels", "source_registry_id") in columns


def test_all_of_it_was_made_by_hand(database):
    database(UP)
    database("DELETE FROM payload_migrations WHERE name = 'content_tables'")
    before = database(SHAPE)
    database(ADOPT)
    database(ADOPT)
    assert database(SHAPE) == before and history(database) == [*BEFORE, ("content_tables", "5")]
