"""HTTP clients that remember nothing: no cookie that one answer set goes out with another request."""

from __future__ import annotations

import logging
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import httpx

from stepwell.toolkit import http

# A line for every request says nothing that the pipeline's own lines do not.
logging.getLogger("httpx").setLevel(logging.WARNING)


def client(base_url: str = "", **options: Any) -> httpx.Client:
    """`stepwell.toolkit.http.client` without a cookie jar; the options are its."""
    made = http.client(base_url, **options)
    made.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    return made
