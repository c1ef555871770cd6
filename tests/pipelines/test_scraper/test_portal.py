"""The portal: read by plain HTTP where its page says enough, by a real browser where only its scripts do."""

from __future__ import annotations

import pytest
from scraper.browsing import BrowserPortal, browser_program
from scraper.errors import CaptureError
from scraper.portal import EitherPortal, HttpPortal, PortalUrl
from travelsim import FX1_CONTENT, FX1_PRICING, FX1_URL, Portal, fx1

PAGE = PortalUrl.parse(FX1_URL, ("itrvl.com",))


@pytest.fixture
def portal():
    with Portal() as running:
        yield running


@pytest.fixture(scope="module")
def browser():
    pytest.importorskip("playwright", reason="the extra scraper-browser is not installed")
    if browser_program() is None:
        pytest.skip("no Chromium is installed: make browser")


@pytest.mark.parametrize("shape", ["embedded", "preload"])
def test_by_plain_http(portal, shape):
    portal.add(fx1(shape=shape))
    captured = HttpPortal(portal.url).capture(PAGE)
    assert (captured.pricing, captured.content) == (FX1_PRICING, FX1_CONTENT)
    assert len(captured.responses) == 2
    assert len(portal.requests) == (1 if shape == "embedded" else 3)


def test_plain_http_does_not_guess(portal):
    portal.add(fx1(shape="script"))
    with pytest.raises(CaptureError, match="pricing and content"):
        HttpPortal(portal.url).capture(PAGE)
    with pytest.raises(CaptureError, match="404"):
        HttpPortal(portal.url).capture(PortalUrl.parse("https://itrvl.com/client/portal/a/none", ("itrvl.com",)))
    portal.fail("GET", "/client", status=302, headers={"Location": "http://localhost:1/elsewhere"})
    with pytest.raises(CaptureError):
        HttpPortal(portal.url).capture(PAGE)


@pytest.mark.parametrize("shape", ["script", "preload"])
def test_by_a_real_browser(portal, browser, shape):
    portal.add(fx1(shape=shape))
    plain, real = HttpPortal(portal.url), BrowserPortal(portal.url)
    captured = (EitherPortal(plain, real) if shape == "script" else real).capture(PAGE, 0.2)
    assert (captured.pricing, captured.content) == (FX1_PRICING, FX1_CONTENT)
    agents = {request.headers["user-agent"] for request in portal.seen("GET", "^/api/")}
    assert any("Chrome" in agent for agent in agents)


def test_a_browser_says_what_is_missing(portal, browser):
    portal.add(fx1(shape="script"))
    portal.fail("GET", "/api/Itineraries", status=500, times=5)
    with pytest.raises(CaptureError, match="pricing"):
        BrowserPortal(portal.url).capture(PAGE, 0.2)


def test_import_through_the_browser(world_of, browser):
    with world_of() as world:
        world.portal.add(fx1(shape="script"))
        run = world.run(FX1_URL)
        assert run.job["status"] == "completed" and run.itinerary["investmentLevel"]["fromPrice"] == 18450
