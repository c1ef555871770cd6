"""Web pages must not reach a server that asks for no credentials."""

import pytest

from stepwell.api.guard import Guard


@pytest.mark.parametrize(
    "host",
    [b"localhost", b"localhost:8083", b"127.0.0.1:8083", b"[::1]:8083", b"sync-localhost:8083", b"10.0.0.7", b"box:80"],
)
def test_own_names_are_welcome(host):
    assert Guard(["box"]).refusal(host, None, None) is None


@pytest.mark.parametrize("host", [b"evil.example:8083", b"localhost.evil.example", b"", b"127.0.0.1.evil.example"])
def test_a_name_that_was_made_to_point_here_is_refused(host):
    assert "host name" in Guard().refusal(host, None, None)


@pytest.mark.parametrize(
    ("origin", "site", "refused"),
    [
        (b"http://127.0.0.1:8083", b"same-origin", False),
        (None, b"none", False),
        (b"https://evil.example", None, True),
        (b"http://127.0.0.1:9999", None, True),
        (b"null", None, True),
        (None, b"cross-site", True),
        (None, b"same-site", True),
    ],
)
def test_only_pages_of_this_origin(origin, site, refused):
    assert bool(Guard().refusal(b"127.0.0.1:8083", origin, site)) is refused
