"""The portal in a real browser: Playwright drives a Chromium that is installed on the system (`make browser`)."""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import Any
from urllib.parse import urlsplit

from scraper.errors import CaptureError
from scraper.portal import Capture, PortalUrl, Recording, finished

VIEWPORT = {"width": 1920, "height": 1080}
NAVIGATION_MS = 120_000
PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def browser_program() -> str | None:
    """The path of the installed Chromium (`CHROMIUM` says another one), None without any."""
    named = os.environ.get("CHROMIUM", "").strip()
    return named or next((path for path in map(shutil.which, PROGRAMS) if path), None)


class BrowserPortal:
    """Opens a page as a person would and watches its requests. The browser is always closed."""

    def __init__(self, origin: str = "") -> None:
        self._origin = origin

    def capture(self, page: PortalUrl, settle: float) -> Capture:
        """Raises CaptureError, also when Playwright or Chromium is missing."""
        try:
            from playwright.sync_api import Error, sync_playwright
        except ImportError:
            raise CaptureError("this page needs a browser: install the extra `scraper-browser`") from None
        program = browser_program()
        if program is None:
            raise CaptureError("this page needs a browser: install Chromium (`make browser`)")
        recording = Recording()
        target = page.at(self._origin)
        try:
            with sync_playwright() as playwright:
                # Containers have no user namespaces for Chromium's sandbox when run as root.
                arguments = ["--disable-dev-shm-usage", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
                browser = playwright.chromium.launch(executable_path=program, headless=True, args=arguments)
                try:
                    tab = browser.new_page(viewport=VIEWPORT)  # type: ignore[arg-type]
                    tab.on("response", lambda response: _note(recording, response))
                    tab.goto(target, wait_until="networkidle", timeout=NAVIGATION_MS)
                    tab.wait_for_timeout(settle * 1000)
                    if urlsplit(tab.url).netloc != urlsplit(target).netloc:
                        raise CaptureError("the page leads to another host")
                finally:
                    browser.close()
        except Error as error:
            if not recording.complete:
                raise CaptureError(f"the browser gave up: {str(error).splitlines()[0]}") from error
        return finished(recording)


def _note(recording: Recording, response: Any) -> None:
    if "/api/" not in response.url:
        return
    from playwright.sync_api import Error

    body = None
    with contextlib.suppress(Error):  # a redirect, or gone with its page: noted without a body
        body = response.body()
    recording.add(response.url, response.status, response.headers.get("content-type", ""), body)
