"""Projects that load: names, ARNs, references, environments."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from stepwell.functions import FunctionSpec
from stepwell.project import Environment, load_project

FULL = """
[project]
name = "demo"
description = "Everything there is."

[variables]
width = 2
memory = "256MB"
flags = ["a", "b"]

[machines.main]
definition = "machine.asl.json"
timeout = "1h30m"
logging = "ERROR"
input = { page = 1 }

[machines.main.schedule]
expression = "cron(0 1 * * ? *)"
timezone = "Europe/Berlin"
input = { trigger = "${env}" }
max_age = "1h"

[machines.child]
definition = "machine.asl.json"
name = "child-${env}"
type = "EXPRESS"
schedule = "rate(5 minutes)"

[functions.greeter]
handler = "demo.functions:greet"
memory = "${variables.memory}"
timeout = "5m"
concurrency = 3
environment = { BUCKET = "${buckets.archive}", TOPIC = "${topics.alerts}", PAGE_SIZE = 30, STRICT = false }

[buckets.archive]
name = "demo-${env}-${account}"
lifecycle = [{ prefix = "x/", transitions = { GLACIER_IR = "7d" }, abort_uploads = "1d" }]

[buckets.plain]

[tables.tracker]
key = ["media_id"]
ttl = "expires"
types = { at = "N" }
[tables.tracker.indexes.by-status]
key = ["status", "at"]

[topics.alerts]
subscriptions = ["http://127.0.0.1:1/hook"]

[queues.letters]
retention = "14d"

[secrets."demo/credentials"]
store = "ssm"

[workers.renderer]
program = ["python", "-m", "renderer.main"]
max_lifetime = "255m"
image_id = "ami-1"
instance_types = ["c5.2xlarge", "c5.xlarge"]
subnet_ids = ["subnet-1"]

[alarms.failed]
machine = "main"
metric = "ExecutionsFailed"
threshold = 1
topics = ["alerts"]

[env.prod]
[env.prod.variables]
width = 5
[env.prod.functions.greeter]
memory = "1GB"
"""


def definition(**texts: object) -> dict:
    return {"StartAt": "A", "States": {"A": {"Type": "Pass", "Result": texts, "End": True}}}


def test_the_design_pages_example_loads(make):
    project = load_project(make())
    greeter = project.functions["greeter"]
    assert isinstance(greeter, FunctionSpec)
    assert (greeter.name, greeter.handler, greeter.code) == ("greeter", "demo.functions:greet", project.directory)
    arn = "arn:aws:lambda:us-east-1:000000000000:function:greeter"
    assert greeter.arn == arn
    assert project.machines["main"].definition["States"]["A"]["Resource"] == arn
    assert project.machines["main"].arn == "arn:aws:states:us-east-1:000000000000:stateMachine:main"


def test_everything_there_is(make):
    project = load_project(make(FULL))
    main, child = project.machines["main"], project.machines["child"]
    assert main.definition["TimeoutSeconds"] == 5400
    assert (main.logging.level, main.input, main.type) == ("ERROR", {"page": 1}, "STANDARD")
    assert main.schedule is not None
    assert main.schedule.schedule.timezone == "Europe/Berlin"
    assert main.schedule.declaration.input == {"trigger": "dev"}
    assert main.schedule.declaration.max_age == 3600
    assert (child.key, child.name, child.type) == ("child", "child-dev", "EXPRESS")
    assert child.schedule is not None
    assert child.schedule.schedule.expression == "rate(5 minutes)"
    greeter = project.functions["greeter"]
    assert (greeter.memory_mb, greeter.timeout, greeter.concurrency) == (256, 300.0, 3)
    environment = dict(greeter.environment)
    resources = json.loads(environment.pop("STEPWELL_RESOURCES"))
    assert environment == {
        "STEPWELL_PROJECT": "demo", "STEPWELL_ENV": "dev", "BUCKET": "demo-dev-000000000000",
        "TOPIC": "arn:aws:sns:us-east-1:000000000000:demo-alerts", "PAGE_SIZE": "30", "STRICT": "false",
    }  # fmt: skip
    assert resources == project.resources
    assert {key: bucket.name for key, bucket in project.buckets.items()} == {
        "archive": "demo-dev-000000000000", "plain": "demo-plain-000000000000",
    }  # fmt: skip
    assert project.buckets["archive"].lifecycle[0].transitions == {"GLACIER_IR": 7 * 86400}
    assert project.queues["letters"].name == "demo-letters"
    assert project.alarms["failed"].namespace == "AWS/States"
    assert project.alarms["failed"].dimensions == {"StateMachineArn": main.arn}


def test_the_toolkit_understands_the_resources(make, tmp_path, monkeypatch):
    resources = pytest.importorskip("stepwell.toolkit.environment")
    greeter = load_project(make(FULL)).functions["greeter"]
    read = resources.Resources.from_environment({**greeter.environment, "STEPWELL_DATA": str(tmp_path)})
    schema = resources.parse_schema("tracker", read.declared["tables"]["tracker"])
    assert (schema.key, schema.ttl) == (("media_id",), "expires")
    assert list(schema.indexes) == ["by-status"]
    assert read.declared["topics"]["alerts"]["subscriptions"] == ["http://127.0.0.1:1/hook"]
    assert read.declared["secrets"]["demo/credentials"]["store"] == "ssm"
    assert read.declared["workers"]["renderer"]["program"] == ["python", "-m", "renderer.main"]
    assert read.declared["workers"]["renderer"]["max_lifetime"] == 15_300
    read.backend = "aws"
    assert read.worker("renderer").name == "renderer", "what is declared is what the adapter for instances needs"


def test_an_environment_overrides_key_by_key(make):
    project = load_project(make(FULL, definition=definition(width="${variables.width}")), "prod")
    assert project.environment.name == "prod"
    assert project.variables["width"] == 5
    assert project.functions["greeter"].memory_mb == 1024
    assert project.functions["greeter"].concurrency == 3
    assert project.machines["child"].name == "child-prod"
    assert project.machines["main"].definition["States"]["A"]["Result"] == {"width": 5}


def test_account_region_and_partition(make):
    where = Environment(name="dev", account="111111111111", region="cn-north-1", partition="aws-cn")
    project = load_project(
        make(FULL, definition=definition(queue="${queues.letters}", arn="${queues.letters.arn}")), where
    )
    assert project.machines["main"].arn == "arn:aws-cn:states:cn-north-1:111111111111:stateMachine:main"
    assert project.machines["main"].definition["States"]["A"]["Result"] == {
        "queue": "https://sqs.cn-north-1.amazonaws.com.cn/111111111111/demo-letters",
        "arn": "arn:aws-cn:sqs:cn-north-1:111111111111:demo-letters",
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${functions.greeter}", "arn:aws:lambda:us-east-1:000000000000:function:greeter"),
        ("${functions.greeter.name}", "greeter"),
        ("${functions.greeter}:PROD", "arn:aws:lambda:us-east-1:000000000000:function:greeter:PROD"),
        ("${machines.child}", "arn:aws:states:us-east-1:000000000000:stateMachine:child-dev"),
        ("${buckets.archive}", "demo-dev-000000000000"),
        ("${buckets.archive.arn}/*", "arn:aws:s3:::demo-dev-000000000000/*"),
        ("${tables.tracker}", "demo-tracker"),
        ("${tables.tracker.arn}", "arn:aws:dynamodb:us-east-1:000000000000:table/demo-tracker"),
        ("${topics.alerts}", "arn:aws:sns:us-east-1:000000000000:demo-alerts"),
        ("${queues.letters}", "https://sqs.us-east-1.amazonaws.com/000000000000/demo-letters"),
        ("${secrets.demo/credentials}", "demo/credentials"),
        ("${variables.width}", 2),
        ("{% ${variables.width} + 1 %}", "{% 2 + 1 %}"),
        ("${variables.flags}", ["a", "b"]),
        ("${env}/${account}/${region}/${partition}/${project}", "dev/000000000000/us-east-1/aws/demo"),
        ("$${env} and $${functions.x}", "${env} and ${functions.x}"),
        ('{% $states.input.items.${"id": id} %}', '{% $states.input.items.${"id": id} %}'),
        ("{% $x{a: b} %}", "{% $x{a: b} %}"),
        ("$.plain[?(@.a)]", "$.plain[?(@.a)]"),
    ],
)
def test_references(make, text, value):
    project = load_project(make(FULL, definition=definition(value=text)))
    assert project.machines["main"].definition["States"]["A"]["Result"]["value"] == value


def test_two_machines_of_one_definition(make):
    toml = FULL.replace('name = "child-${env}"', 'variables = { width = 9, target = "${functions.greeter.name}" }')
    toml = toml.replace("width = 2", 'width = 2\ntarget = "none"')
    project = load_project(make(toml, definition=definition(w="${variables.width}", t="${variables.target}")))
    results = {key: machine.definition["States"]["A"]["Result"] for key, machine in project.machines.items()}
    assert results == {"main": {"w": 2, "t": "none"}, "child": {"w": 9, "t": "greeter"}}


def test_yaml_definitions(make):
    folder = make()
    toml = (folder / "stepwell.toml").read_text().replace("machine.asl.json", "machine.asl.yaml")
    (folder / "stepwell.toml").write_text(toml)
    (folder / "machine.asl.yaml").write_text("StartAt: A\nStates:\n  A:\n    Type: Succeed\n")
    project = load_project(folder / "stepwell.toml")
    assert project.machines["main"].definition["States"]["A"] == {"Type": "Succeed"}


def test_handler_modules_are_not_imported(make):
    folder = make()
    (folder / "demo" / "functions.py").write_text("raise RuntimeError('imported')\ndef greet(event, context): ...\n")
    load_project(folder)
    assert "demo.functions" not in sys.modules


@pytest.mark.parametrize(
    "source",
    [
        "def greet(event, context): ...",
        "async def greet(event, context): ...",
        "greet = lambda event, context: event",
        "from elsewhere import something as greet",
        "from elsewhere import *",
        "if True:\n    def greet(event, context): ...",
        "try:\n    import fast\nexcept ImportError:\n    greet = None",
        "def __getattr__(name): ...",
        "a = greet = print",
        "for name in ('greet',):\n    globals()[name] = print",
    ],
)
def test_handlers_are_found_however_they_are_bound(make, source):
    folder = make()
    (folder / "demo" / "functions.py").write_text(source)
    assert load_project(folder).functions


def test_a_source_folder(make):
    folder = make()
    (folder / "src").mkdir()
    (folder / "demo").rename(folder / "src" / "demo")
    toml = (folder / "stepwell.toml").read_text().replace('name = "demo"', 'name = "demo"\nsource = "src"', 1)
    (folder / "stepwell.toml").write_text(toml)
    assert load_project(folder).functions["greeter"].code == folder / "src"


@pytest.mark.parametrize("folder", sorted((Path(__file__).parents[2] / "pipelines").glob("*/stepwell.toml")), ids=str)
def test_the_pipelines_load(folder: Path):
    assert load_project(folder).machines


def test_machines_of_one_definition(tmp_path: Path) -> None:
    (tmp_path / "stepwell.toml").write_text(
        """
        [project]
        name = "demo"
        [variables]
        kind = "line"
        width = 2
        [machines.lines]
        definition = "machine.asl.json"
        [machines.words]
        definition = "machine.asl.json"
        variables = { kind = "word" }
        """
    )
    state = {"Type": "Pass", "Result": {"kind": "${variables.kind}", "width": "${variables.width}"}, "End": True}
    (tmp_path / "machine.asl.json").write_text(json.dumps({"StartAt": "A", "States": {"A": state}}))
    machines = load_project(tmp_path).machines
    results = {key: machine.definition["States"]["A"]["Result"] for key, machine in machines.items()}
    assert results == {"lines": {"kind": "line", "width": 2}, "words": {"kind": "word", "width": 2}}
