"""Typed events and results, in a worker, inline, and as AWS Lambda would call the function."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from stepwell.functions import FunctionSpec, InvalidEvent, lambda_handler
from stepwell.functions.typed import InvalidAnnotation, codec
from tests.functions.conftest import Bench

SHAPES = """
from __future__ import annotations
import datetime
from dataclasses import dataclass
from typing import TypedDict, TYPE_CHECKING
import msgspec
if TYPE_CHECKING:
    from stepwell.functions import Context

@dataclass
class Video:
    id: str
    size: int = 0

@dataclass
class Page:
    page_number: int
    videos: list[Video]

class Row(msgspec.Struct, forbid_unknown_fields=True):
    at: datetime.datetime

class Plain(TypedDict):
    name: str

def of_dataclass(event: Page, context: Context) -> Page:
    assert isinstance(event.videos[0], Video)
    return event
def of_struct(event: Row, context: Context) -> Row:
    assert isinstance(event.at, datetime.datetime)
    return event
def of_typed_dict(event: Plain, context: Context) -> Plain:
    return event
async def of_list(event: list[Video], context: Context) -> list[Video]:
    return event[::-1]
def of_dict(event: dict, context: Context):
    return Video("x", len(event))
"""

MODELS = """
from pydantic import BaseModel, Field
class Item(BaseModel):
    size: int = Field(ge=0)
class Order(BaseModel):
    items: list[Item]
def of_model(event: Order, context) -> Order:
    assert isinstance(event, Order)
    return event
"""

FITTING = [
    ("of_dataclass", {"page_number": 1, "videos": [{"id": "a", "size": 2}]}),
    ("of_struct", {"at": "2026-11-22T01:00:00Z"}),
    ("of_typed_dict", {"name": "n"}),
]
BAD = [
    ("of_dataclass", {"page_number": "1", "videos": []}, 'at "/page_number": expected `int`, got `str`'),
    ("of_dataclass", {"page_number": 1, "videos": [{"size": 1}]}, 'at "/videos/0": object missing required field `id`'),
    ("of_dataclass", [1], 'at "" (the whole event): expected `object`, got `array`'),
    ("of_struct", {"at": "2026-11-22T01:00:00Z", "x": 1}, "object contains unknown field `x`"),
    ("of_typed_dict", {}, "object missing required field `name`"),
    ("of_list", [{"id": "a"}, {"id": 1}], 'at "/1/id": expected `str`, got `int`'),
    ("of_dict", [], "expected object, got array"),
]


@pytest.mark.parametrize(("function", "event"), FITTING)
@pytest.mark.parametrize("inline", [False, True])
async def test_events_and_results_of_types(bench: Bench, code, function, event, inline):
    bench.add(code(SHAPES, f"shapes_{inline}.py"), handler=f"shapes_{inline}:{function}", inline=inline)
    result = await bench(json.dumps(event).encode())
    assert result.error is None, result.payload
    assert json.loads(result.payload) == event


async def test_defaults_are_filled_in(bench: Bench, code):
    bench.add(code(SHAPES, "shapes.py"), handler="shapes:of_list")
    assert json.loads((await bench(b'[{"id":"a"},{"id":"b"}]')).payload) == [
        {"id": "b", "size": 0},
        {"id": "a", "size": 0},
    ]


async def test_an_untyped_result_may_hold_a_dataclass(bench: Bench, code):
    bench.add(code(SHAPES, "shapes.py"), handler="shapes:of_dict")
    assert json.loads((await bench(b'{"a":1}')).payload) == {"id": "x", "size": 1}


@pytest.mark.parametrize(("function", "event", "text"), BAD)
async def test_a_bad_event_names_the_place_and_the_body_does_not_run(bench: Bench, code, function, event, text):
    bench.add(code(SHAPES, "shapes.py"), handler=f"shapes:{function}")
    error = (await bench(json.dumps(event).encode())).error
    assert error.error_type == "InvalidEvent"
    assert text in error.error_message
    assert error.stack_trace == ()


async def test_pydantic_models(bench: Bench, code):
    bench.add(code(MODELS, "models.py"), handler="models:of_model")
    assert json.loads((await bench(b'{"items":[{"size":1}]}')).payload) == {"items": [{"size": 1}]}
    error = (await bench(b'{"items":[{"size":-1},{}]}')).error
    assert error.error_type == "InvalidEvent"
    assert 'at "/items/0/size": input should be greater than or equal to 0' in error.error_message
    assert 'at "/items/1/size": field required' in error.error_message


async def test_annotations_are_ignored_for_lambda_functions(bench: Bench, code):
    bench.add(code("def handler(event: int, context):\n    return event"), typed=False)
    assert (await bench(b'"text"')).payload == b'"text"'


async def test_an_annotation_that_cannot_be_resolved(bench: Bench, code):
    bench.add(code("def handler(event: 'Nowhere', context):\n    return 1"))
    error = (await bench()).error
    assert error.error_type == "InvalidAnnotation"
    assert "import its names at the top of the module" in error.error_message


@pytest.mark.parametrize("hint", ["str", "int | None", "dict[str, list[int]]", "list", "tuple[str, ...]", "None"])
def test_results_that_json_knows_need_no_library(code, hint):
    folder = code(f"import sys\ndef handler(event, context) -> {hint}: ...")
    script = "import handler, sys\nfrom stepwell.functions.typed import codec\n"
    script += "codec(handler.handler); print('msgspec' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    shown = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert shown.stdout == "False\n"


def test_a_type_that_events_cannot_be_decoded_to():
    class Connection: ...

    def function(event, context): ...

    function.__annotations__["event"] = Connection
    with pytest.raises(InvalidAnnotation, match=r"events cannot be decoded to <class '.*Connection'>"):
        codec(function).decode(b"{}")


def test_decorated_and_bound_functions_keep_their_types():
    from dataclasses import dataclass
    from functools import partial, wraps

    @dataclass
    class Event:
        n: int

    def function(event, context) -> int:
        return event.n

    function.__annotations__["event"] = Event

    @wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    class Service:
        def method(self, event, context): ...

        def __call__(self, event, context): ...

    Service.method.__annotations__["event"] = Event
    Service.__call__.__annotations__["event"] = Event
    for made in (function, wrapper, partial(function), Service().method, Service()):
        assert codec(made).decode(b'{"n":1}') == Event(1)


# --- on AWS


def test_the_entry_point_on_aws(code):
    """AWS calls ``stepwell.functions.entry.handler`` with plain JSON values; the file is the same."""
    folder = code(SHAPES, "shapes.py")
    script = (
        "import json; from stepwell.functions.entry import handler\n"
        "print(json.dumps(handler([{'id': 'a'}, {'id': 'b'}], None)))\n"
        "try: handler([{'id': 1}], None)\n"
        "except ValueError as error: print(type(error).__name__, error)\n"
    )
    environment = {**os.environ, "STEPWELL_HANDLER": "shapes:of_list", "PYTHONPATH": str(folder)}
    lines = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert json.loads(lines[0]) == [{"id": "b", "size": 0}, {"id": "a", "size": 0}]
    assert lines[1] == 'InvalidEvent the event does not fit: at "/0/id": expected `str`, got `int`'


def test_the_entry_point_without_its_variable():
    from stepwell.functions import entry

    with pytest.raises(RuntimeError, match="STEPWELL_HANDLER is not set"):
        entry.handler({}, None)


def test_lambda_handler_leaves_plain_functions_as_they_are():
    unmarshallable = object()
    handler = lambda_handler(lambda event, context: unmarshallable if event else {"plain": (1,)})
    assert handler(0, None) == {"plain": [1]}
    assert handler(1, None) is unmarshallable


def test_spec_and_errors_are_public():
    assert issubclass(InvalidEvent, ValueError)
    assert FunctionSpec(name="f", handler="a:b").key == "f"
