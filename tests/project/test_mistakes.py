"""Every mistake in a project gives its file, line, key and the remedy."""

from __future__ import annotations

import pytest

from stepwell.project import ProjectError, load_project


def test_no_project_here(tmp_path):
    with pytest.raises(ProjectError) as caught:
        load_project(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}/stepwell.toml: there is no stepwell.toml here; "
        "give a project's folder, or make one with `stepwell init`"
    )


def test_broken_toml(mistakes):
    assert mistakes('[project]\nname = "demo\n') == [
        "stepwell.toml:2:13: not valid TOML: Illegal character '\\n'",
    ]


def test_not_utf8(make):
    folder = make()
    (folder / "stepwell.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ProjectError, match=r"not UTF-8 \(byte 0\)"):
        load_project(folder)


def test_several_mistakes_are_told_at_once_in_file_order(mistakes):
    found = mistakes(
        """
        [project]
        name = "demo"
        nam = 1

        [machines.main]
        definition = "machine.asl.json"
        timeout = "soon"
        tracing = "yes"

        [functions.greeter]
        handler = "demo.functions:greet"
        memory = 1.5
        """
    )
    assert found == [
        'stepwell.toml:3: project.nam: there is no such key; did you mean "name"?',
        "stepwell.toml:7: machines.main.timeout: 'soon' is not a duration; "
        'write seconds or a text such as "30s", "5m", "1h30m", "14d"',
        "stepwell.toml:8: machines.main.tracing: expected true or false, got a text in quotes: 'yes'",
        "stepwell.toml:12: functions.greeter.memory: 1.5 is not a size; "
        'write bytes or a text such as "64KB", "512MB", "8GB"',
    ]


@pytest.mark.parametrize(
    ("append", "place", "text"),
    [
        ("[machine.x]\n", "machine", 'there is no section [machine]; did you mean "machines"?'),
        ("[tables.t]\n", "tables.t", "the key 'key' is missing"),
        ("[tables.t]\nkey = 'id'\n", "tables.t.key", "expected a list, got a text in quotes: 'id'"),
        ("[tables.t]\nkey = ['id', 1]\n", "tables.t.key[1]", "expected a text in quotes, got a whole number: 1"),
        ("[tables.t]\nkey = []\n", "tables.t.key", "give one attribute (partition key) or two (and sort key)"),
        ("[tables.t]\nkey = ['id']\ntypes = { id = 'X' }\n", "tables.t.types.id", "'X' is not possible; use 'S', 'N', 'B'"),
        ("[tables.t]\nkey = ['id']\n[tables.t.indexes.a]\nkey = ['x']\n[tables.t.indexes.b]\nkey = 1\n",
         "tables.t.indexes.b.key", "expected a list, got a whole number: 1"),
        ("[machines.m]\ndefinition = 'x.json'\n", "machines.m.definition", "there is no file x.json; the path is relative"),
        ("[machines.m]\ndefinition = 'machine.asl.json'\ntype = 'FAST'\n", "machines.m.type",
         "'FAST' is not possible; use 'STANDARD', 'EXPRESS'"),
        ("[machines.m]\ndefinition = 'machine.asl.json'\nlogging = 'all'\n", "machines.m.logging",
         "'all' is not possible; use 'ALL', 'ERROR', 'FATAL', 'OFF'"),
        ("[machines.m]\ndefinition = 'machine.asl.json'\nschedule = 'daily'\n", "machines.m.schedule",
         "'daily' is not a schedule; write cron("),
        ("[machines.m]\ndefinition = 'machine.asl.json'\nschedule = 'cron(0 25 * * ? *)'\n", "machines.m.schedule",
         "'25' is not a valid hours field"),
        ("[machines.m]\ndefinition = 'machine.asl.json'\n[machines.m.schedule]\nexpression = 'rate(1 day)'\ntimezone = 'Mars'\n",
         "machines.m.schedule.timezone", "'Mars' is not a time zone"),
        ("[machines.m]\ndefinition = 'machine.asl.json'\n[machines.m.schedule]\nexpression = 'rate(1 day)'\ncatch_up = 'some'\n",
         "machines.m.schedule.catch_up", "'some' is not possible; use"),
        ("[machines.m]\ndefinition = 'machine.asl.json'\ninput = { at = 2026-01-01 }\n", "machines.m.input.at",
         "JSON has no dates; put 2026-01-01 in quotes"),
        ("[functions.g]\nhandler = 'demo.functions'\n", "functions.g.handler", "module demo ("),
        ("[functions.g]\nhandler = 'functions'\n", "functions.g.handler",
         "'functions' is not a handler; write \"package.module:function\""),
        ("[functions.g]\nhandler = 'demo.functions:great'\n", "functions.g.handler", 'has no function \'great\'; did you mean "greet"?'),
        ("[functions.g]\nhandler = 'demo.funktions:greet'\n", "functions.g.handler",
         "there is no module 'demo.funktions' in the package demo; create demo/funktions.py there, or correct the handler"),
        ("[functions.g]\nhandler = 'nowhere_at_all:f'\n", "functions.g.handler", "there is no module 'nowhere_at_all' in "),
        ("[functions.g]\nhandler = 'demo.functions.x:f'\n", "functions.g.handler", "'demo.functions' is a module, not a package"),
        ("[functions.g]\nhandler = 'demo.functions:greet'\ntimeout = '16m'\n", "functions.g.timeout",
         '960 s is not possible; use 1 s to "15m"'),
        ("[functions.g]\nhandler = 'demo.functions:greet'\nmemory = '64MB'\n", "functions.g.memory", "64 MB is not possible"),
        ("[functions.g]\nhandler = 'demo.functions:greet'\nconcurrency = 0\n", "functions.g.concurrency", "use 1 or more"),
        ("[functions.g]\nhandler = 'demo.functions:greet'\nenvironment = { A = [1] }\n", "functions.g.environment.A", "expected"),
        ("[functions.g]\nhandler = 'demo.functions:greet'\nenvironment = { A = '${tables.x}' }\n", "functions.g.environment.A",
         "${tables.x}: there is no [tables.x]; there is none"),
        ("[functions.g]\nhandler = 'demo.functions:greet'\ndead_letter = 'dlq'\n", "functions.g.dead_letter", "there is no [queues.dlq]"),
        ("[functions.g]\nhandler = 'demo.functions:greet'\nname = 'greeter'\n", "functions.greeter.name",
         "functions.g is called 'greeter' too; names are unique"),
        ("[functions.'no blanks']\nhandler = 'demo.functions:greet'\n", 'functions."no blanks"', "'no blanks' is not a name"),
        ("[alarms.a]\nmetric = 'M'\nthreshold = 1\n", "alarms.a", "give the metric's namespace, or one of function"),
        ("[alarms.a]\nmetric = 'M'\nthreshold = 1\nmachine = 'mane'\n", "alarms.a.machine", 'did you mean "main"?'),
        ("[alarms.a]\nmetric = 'M'\nthreshold = 1\nmachine = 'main'\ntopics = ['t']\n", "alarms.a.topics", "there is no [topics.t]"),
        ("[topics]\nalerts = 'x'\n", "topics.alerts", "expected a table, got a text in quotes: 'x'"),
        ("[env]\nprod = 1\n", "env", "the overrides of an environment are a table: [env.NAME]"),
        ("[env.prod.function.x]\nmemory = '1GB'\n", "env.prod.function", 'did you mean "functions"?'),
        ("[variables]\na = '${tables.x}'\n", "variables.a", "there is no [tables.x]"),
    ],
)  # fmt: skip
def test_a_mistake(mistakes, append, place, text):
    found = mistakes(append="\n" + append)
    assert len(found) == 1, found
    assert f": {place}: " in found[0]
    assert text in found[0]
    number = found[0].split(":")[1]
    assert number.isdigit(), f"no line in {found[0]}"


def test_no_project_section(mistakes):
    assert mistakes("[machines.x]\ndefinition='machine.asl.json'\n") == [
        'stepwell.toml: [project] is missing; begin the file with [project] and name = "..."'
    ]


def test_a_bad_project_name(mistakes):
    found = mistakes('[project]\nname = "Demo Project"\n')
    assert found[0].startswith(
        "stepwell.toml:2: project.name: 'Demo Project' is not a project name; use 1-40 lower-case"
    )


def test_an_unknown_environment(mistakes):
    assert mistakes(append="\n[env.prod]\n[env.staging]\n", environment="prd") == [
        "stepwell.toml: env: there is no environment 'prd'; did you mean \"prod\"?; "
        "an environment is declared by [env.NAME]"
    ]


def test_a_mistake_in_an_override_is_told_there(mistakes):
    found = mistakes(append="\n[env.prod.functions.greeter]\ntimeout = 'long'\n", environment="prod")
    assert found == [
        "stepwell.toml:11: env.prod.functions.greeter.timeout: 'long' is not a duration; "
        'write seconds or a text such as "30s", "5m", "1h30m", "14d"'
    ]


def test_a_reference_in_a_definition_is_told_in_its_file(mistakes):
    definition = {"StartAt": "A", "States": {"A": {"Type": "Task", "Resource": "${functions.greter}", "End": True}}}
    assert mistakes(definition=definition) == [
        "machine.asl.json:6:4: /States/A/Resource: "
        '${functions.greter}: there is no [functions.greter]; did you mean "greeter"?'
    ]


@pytest.mark.parametrize(
    ("reference", "text"),
    [
        ("${function.greeter}", 'there is no section; did you mean "functions"?; $${ stands for ${'),
        ("${greeter}", "${greeter} is not known; there is account, "),
        ("${variables.x}", "there is no variable; there is none"),
    ],
)
def test_references_to_nothing(mistakes, reference, text):
    definition = {"StartAt": "A", "Comment": reference, "States": {"A": {"Type": "Succeed"}}}
    (found,) = mistakes(definition=definition)
    assert text in found


def test_a_broken_definition(make):
    folder = make()
    (folder / "machine.asl.json").write_text('{"StartAt": "A",\n "States": }')
    with pytest.raises(ProjectError) as caught:
        load_project(folder)
    (mistake,) = caught.value.mistakes
    assert mistake.path == folder / "machine.asl.json"
    assert mistake.line == 2


def test_a_function_whose_module_has_a_syntax_error(make):
    folder = make()
    (folder / "demo" / "functions.py").write_text("def greet(:\n")
    with pytest.raises(ProjectError, match=r"demo/functions.py:1: the module cannot be read: invalid syntax"):
        load_project(folder)


def test_a_missing_source_folder(mistakes):
    (found,) = mistakes('[project]\nname = "demo"\nsource = "lib"\n')
    assert found.startswith("stepwell.toml:3: project.source: there is no folder")
