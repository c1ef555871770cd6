"""The lines of a TOML text's keys."""

from __future__ import annotations

import tomllib

import pytest

from stepwell.project.places import Places

TEXT = '''\
# a comment = 1
top = 1
[project] # [not.this]
name = "a # b"
"quoted.key" = 1
a.b.c = 2
text = """
[machines.fake]
key = 1
""" # end
list = [
  "x = 1", # ]
  [ "y" ],
]
[machines."my machine".schedule]
expression = 'cron("x")'
inline = { a = 1, b = { c = 2 } }
[[buckets.archive.lifecycle]]
prefix = "first"
[[buckets.archive.lifecycle]]
prefix = "second"
[buckets.archive.lifecycle.deep]
x = 1
'''

EXPECTED = {
    ("top",): 2,
    ("project",): 3,
    ("project", "name"): 4,
    ("project", "quoted.key"): 5,
    ("project", "a", "b", "c"): 6,
    ("project", "text"): 7,
    ("project", "list"): 11,
    ("machines",): 15,
    ("machines", "my machine", "schedule"): 15,
    ("machines", "my machine", "schedule", "expression"): 16,
    ("machines", "my machine", "schedule", "inline", "b", "c"): 17,
    ("buckets", "archive", "lifecycle", 0, "prefix"): 19,
    ("buckets", "archive", "lifecycle", 1, "prefix"): 21,
    ("buckets", "archive", "lifecycle", 1, "deep", "x"): 23,
    ("machines", "fake"): 15,
    ("nowhere",): None,
}


@pytest.mark.parametrize(("path", "line"), EXPECTED.items())
def test_places(path, line):
    tomllib.loads(TEXT)
    assert Places(TEXT).line(path) == line
