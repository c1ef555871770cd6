"""HTTP to other people's services: timeouts, retries, rate limits, errors by name, streamed downloads.

client = http.client("https://api.example", timeout=30.0, rates={"api.example": 5.0})
page = client.get("/media/search", params={"page": 1}).json()
with client.stream("GET", signed_url) as body: ...
"""

from __future__ import annotations
