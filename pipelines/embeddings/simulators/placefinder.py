"""A simulated place finder: `POST /ensure_place {"image_id", "receipt_id"}`. Like the real one it writes the place itself.

with PlaceFinderService(save=table.put) as places:
    places.merchants[(image_id, 1)] = "BLUE HARBOR CAFE"
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from receiptbook import Receipt


class PlaceFinderService:
    """`merchants` by (image id, receipt id): what it finds; others it cannot place. `faults`: HTTP statuses to answer first."""

    def __init__(self, save: Callable[[dict[str, Any]], Any]) -> None:
        self.merchants: dict[tuple[str, int], str] = {}
        self.faults: list[int] = []
        self.asked: list[tuple[str, int]] = []
        self._save = save
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)))
                status, answer = service.answer(body)
                data = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing: what was asked is in `asked`."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def answer(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Status and document."""
        key = (str(body["image_id"]), int(body["receipt_id"]))
        self.asked.append(key)
        if self.faults:
            return self.faults.pop(0), {"success": False, "error": "the service is busy"}
        merchant = self.merchants.get(key)
        if merchant is None:
            return 200, {"success": False, "error": "no place was found"}
        self._save(Receipt(key[0], key[1], ()).place(merchant))
        return 200, {"success": True, "new_merchant": merchant}

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
