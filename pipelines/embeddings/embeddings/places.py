"""The place finder: who sold what the receipt lists. A synchronous service that may take minutes."""

from __future__ import annotations

from enum import Enum

import httpx

from embeddings.config import Settings
from embeddings.errors import PlaceFinderError
from embeddings.keys import ReceiptKey
from embeddings.receipts import place_of
from stepwell import toolkit
from stepwell.toolkit import http
from stepwell.toolkit.records import Table

log = toolkit.logger(__name__)


class Found(Enum):
    """What is known of a receipt's place."""

    PLACE = "place"
    GONE = "gone"
    UNPLACEABLE = "unplaceable"


class PlaceFinder:
    """`ensure` calls `POST {url}/ensure_place {"image_id", "receipt_id"}`, which answers `{"success", "new_merchant" | "error"}`.

    The service writes the place's record itself. Without a URL nothing is asked, and a receipt without a place is embedded without
    a merchant.
    """

    def __init__(self, settings: Settings, table: Table) -> None:
        self._table = table
        self._url = settings.place_finder_url.rstrip("/")
        self._timeout = settings.place_timeout_s

    def ensure(self, key: ReceiptKey) -> Found:
        """Whether the receipt has a place with a merchant, found now if need be. Raises PlaceFinderError."""
        if self._table.get(key.record) is None:
            return Found.GONE
        if not self._url or place_of(self._table, key) is not None:
            return Found.PLACE
        try:
            with http.client(timeout=self._timeout) as client:
                answer = http.check(client.post(f"{self._url}/ensure_place", json=key.reference())).json()
        except (http.HttpFailure, httpx.HTTPError, ValueError) as error:
            raise PlaceFinderError(f"place of {key.index}: {error}") from error
        if isinstance(answer, dict) and answer.get("success") and str(answer.get("new_merchant") or "").strip():
            return Found.PLACE
        log.warning("receipt cannot be placed", event_type="unplaceable", receipt=key.index, answer=str(answer)[:200])
        return Found.UNPLACEABLE
