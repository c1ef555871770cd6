"""One item from the cloud into the archive, at most once (section 8)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec

from cloudsync import measures, provider
from cloudsync.config import Settings
from cloudsync.credentials import read_credentials
from cloudsync.errors import (
    ProviderError,
    SourceDeletedError,
    StorageError,
    TransferError,
    ValidationError,
    storing,
)
from cloudsync.gopro import MEDIA_ID
from cloudsync.keys import Shelf, archive_key
from cloudsync.retry import retry
from cloudsync.tracker import COMPLETED, AlreadyCompleted, Leased, Tracker, Transfer, throughput_mbps
from cloudsync.transfer import Deadline, Outcome, Plan, SignatureExpired, transfer
from stepwell import toolkit
from stepwell.toolkit.objects import Attributes, Bucket, ObjectInfo
from stepwell.toolkit.records import Item

MAX_FILENAME = 1_024

log = toolkit.logger(__name__)


class DownloadRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The downloader's event. `execution_id` owns the lease; a call without one owns it by its request id."""

    media_id: str
    filename: str
    provider: str = "gopro"
    file_size: int = 0
    upload_date: str = ""
    duration: int = 0
    correlation_id: str | None = None
    execution_id: str | None = None

    @classmethod
    def read(cls, event: Any) -> DownloadRequest:
        """Raises ValidationError that names what is wrong."""
        try:
            request = msgspec.convert(event, cls)
        except msgspec.ValidationError as error:
            raise ValidationError(f"the event cannot be used: {error}") from error
        if not MEDIA_ID.fullmatch(request.media_id):
            raise ValidationError(f"media_id {request.media_id[:300]!r} is not 1 to 255 letters, digits, - and _")
        if not 0 < len(request.filename) <= MAX_FILENAME:
            raise ValidationError(f"filename has {len(request.filename)} characters; it must have 1 to {MAX_FILENAME}")
        if request.file_size < 0:
            raise ValidationError(f"file_size is {request.file_size}; it must be 0 (unknown) or more")
        return request


class Downloader:
    """Archives one item after the other. `remaining` gives the seconds until the function's timeout."""

    def __init__(
        self,
        settings: Settings,
        correlation_id: str,
        remaining: Callable[[], float],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._correlation_id = correlation_id
        self._deadline = Deadline(remaining)
        self._metrics = measures.sync(settings)
        self._bucket: Bucket = toolkit.bucket(settings.bucket)
        self._tracker = Tracker(toolkit.table(settings.table), clock)
        self._shelf = Shelf(self._bucket, toolkit.table(settings.keys_table))

    def download(self, request: DownloadRequest, owner: str) -> dict[str, Any]:
        """Archive the item; the answer's `message` says what was done. Raises what prevented it, once the tracker knows."""
        begun = False
        try:
            credentials = read_credentials(self._settings.secret_name)
            cookies = credentials.require_cookies()
            row = self._tracker.get(request.media_id)
            if row is not None and row.get("status") == COMPLETED:
                return self._skipped(request, "Already synced", row)
            seen = (row or {}).get("first_seen_at") or self._tracker.now()
            wanted = (row or {}).get("s3_key") or archive_key(
                request.provider, request.filename, request.upload_date, seen
            )
            key, stored = self._shelf.place(wanted, request.media_id, self._tracker.now())
            listed = {
                "provider": request.provider,
                "filename": request.filename,
                "file_size": request.file_size,
                "upload_date": request.upload_date,
            }
            self._tracker.begin(request.media_id, owner, listed, key, seen)
            begun = True
            if stored is not None and _is_whole(stored, request, row):
                return self._recognised(request, owner, stored, row or {})
            return self._archived(request, owner, key, cookies, credentials.user_agent)
        except AlreadyCompleted as found:
            return self._skipped(request, "Already synced", found.row)
        except Leased as held:
            log.info("in progress elsewhere", event_type="video_skipped", media_id=request.media_id, reason=str(held))
            return self._answer(request, "In progress elsewhere")
        except Exception as error:
            self._failed(request, owner, error, begun=begun)
            raise

    def _archived(
        self, request: DownloadRequest, owner: str, key: str, cookies: str, user_agent: str
    ) -> dict[str, Any]:
        log.info(
            "download starts",
            event_type="video_download_start",
            media_id=request.media_id,
            filename=request.filename,
            file_size_bytes=request.file_size,
            s3_key=key,
        )
        self._sweep(key)
        try:
            outcome, label = self._transferred(request, owner, key, cookies, user_agent)
        except SourceDeletedError as gone:
            self._tracker.complete_deleted(request.media_id, owner)
            log.info("gone from the source", event_type="video_skipped", media_id=request.media_id, reason=str(gone))
            return self._answer(request, "Video deleted from source")
        done = Transfer(outcome.stored.etag, outcome.received, outcome.seconds, label, outcome.size_mismatch)
        retry(lambda: self._tracker.complete(request.media_id, owner, done), on=StorageError)
        throughput = round(done.throughput_mbps, 2)
        with self._metrics.batch() as metrics:
            metrics.count("VideosSynced")
            metrics.count("BytesTransferred", outcome.received, unit="Bytes")
            metrics.observe("TransferDuration", outcome.seconds, unit="Seconds")
            metrics.observe("TimeToFirstByte", outcome.first_byte_seconds, unit="Seconds")
            metrics.observe("TransferThroughput", throughput)
        log.info(
            "download complete",
            event_type="video_download_complete",
            media_id=request.media_id,
            filename=request.filename,
            file_size_bytes=request.file_size,
            bytes_transferred=outcome.received,
            transfer_duration_seconds=round(outcome.seconds, 2),
            throughput_mbps=throughput,
            s3_key=key,
        )
        return self._answer(
            request,
            "Uploaded",
            s3_key=key,
            s3_etag=outcome.stored.etag,
            bytes_transferred=outcome.received,
            seconds=outcome.seconds,
            delivered_quality=label,
        )

    def _transferred(
        self, request: DownloadRequest, owner: str, key: str, cookies: str, user_agent: str
    ) -> tuple[Outcome, str]:
        """Resolve and fetch; a URL that the CDN refuses is resolved once more."""
        try:
            service = provider.create(request.provider, self._settings.api_base)
        except ValueError as error:
            raise ProviderError(str(error)) from error
        again = False
        while True:
            url, label = service.resolve_download(request.media_id, cookies, user_agent)
            try:
                return self._fetched(request, owner, key, url, label), label
            except SignatureExpired as error:
                if again:
                    raise TransferError(f"the CDN refused a fresh URL as well: {error}") from error
                log.warning("signed URL refused", event_type="signature_expired", media_id=request.media_id)
                again = True

    def _fetched(self, request: DownloadRequest, owner: str, key: str, url: str, label: str) -> Outcome:
        attributes: Attributes = {
            "content_type": "application/octet-stream",
            "storage_class": "STANDARD",
            "kms_key_id": self._settings.kms_key_id,
            "tags": {"Source": request.provider, "AutoSync": "True"},
            "metadata": {
                "IdempotencyToken": f"{request.media_id}-{self._tracker.now()}",
                "SourceMediaId": request.media_id,
                "SourceProvider": request.provider,
            },
        }
        plan = Plan(
            url=url,
            label=label,
            key=key,
            listed_size=request.file_size,
            threshold=self._settings.multipart_threshold,
            chunk_size=self._settings.chunk_size,
            strict_size=self._settings.strict_size,
            attributes=attributes,
        )

        def verified(received: int) -> None:
            self._tracker.note_received(request.media_id, owner, received, label)

        return transfer(self._bucket, plan, self._deadline, verified)

    def _sweep(self, key: str) -> None:
        """Abort uploads that an earlier, killed attempt left under this key: the lease says that nobody else is at it."""
        with storing("archive"):
            for left in self._bucket.list_uploads(key):
                if left.key == key:
                    self._bucket.resume_upload(left.key, left.upload_id).abort()
                    log.warning("abandoned upload removed", event_type="upload_swept", s3_key=key)

    def _recognised(self, request: DownloadRequest, owner: str, stored: ObjectInfo, row: Item) -> dict[str, Any]:
        """The object is there already: only the record has to catch up."""
        label = str(row.get("delivered_quality", "source"))
        mismatch = label == "source" and request.file_size > 0 and stored.size != request.file_size
        done = Transfer(stored.etag, stored.size, 0.0, label, mismatch)
        self._tracker.complete(request.media_id, owner, done)
        log.info("already uploaded", event_type="video_skipped", media_id=request.media_id, s3_key=stored.key)
        return self._answer(
            request,
            "Already uploaded",
            s3_key=stored.key,
            s3_etag=stored.etag,
            bytes_transferred=stored.size,
            delivered_quality=label,
        )

    def _skipped(self, request: DownloadRequest, message: str, row: Item) -> dict[str, Any]:
        log.info("already synced", event_type="video_skipped", media_id=request.media_id, s3_key=row.get("s3_key"))
        return self._answer(
            request,
            message,
            s3_key=row.get("s3_key"),
            s3_etag=row.get("s3_etag"),
            delivered_quality=row.get("delivered_quality"),
        )

    def _failed(self, request: DownloadRequest, owner: str, error: Exception, *, begun: bool) -> None:
        """Tell the tracker, the metrics and the log. Nothing of it may hide the error itself."""
        if begun:
            try:
                self._tracker.fail(request.media_id, owner, error)
            except Exception as second:
                log.error(
                    "failure not recorded", event_type="tracker_failed", media_id=request.media_id, exc_info=second
                )
        self._metrics.count("SyncFailures")
        self._metrics.count("SyncFailures", ErrorType=type(error).__name__)
        log.error(
            "download failed",
            event_type="video_download_failed",
            media_id=request.media_id,
            filename=request.filename,
            error_type=type(error).__name__,
            error_message=str(error),
            exc_info=error,
        )

    def _answer(
        self,
        request: DownloadRequest,
        message: str,
        *,
        s3_key: Any = None,
        s3_etag: Any = None,
        bytes_transferred: int = 0,
        seconds: float = 0.0,
        delivered_quality: Any = None,
    ) -> dict[str, Any]:
        """The same keys whatever happened: a missing one would end the execution beyond every Catch."""
        return {
            "statusCode": 200,
            "media_id": request.media_id,
            "s3_key": s3_key,
            "s3_etag": s3_etag,
            "bytes_transferred": bytes_transferred,
            "transfer_duration_seconds": round(seconds, 2),
            "throughput_mbps": round(throughput_mbps(bytes_transferred, seconds), 2),
            "delivered_quality": delivered_quality,
            "message": message,
            "correlation_id": self._correlation_id,
        }


def _is_whole(stored: ObjectInfo, request: DownloadRequest, row: Item | None) -> bool:
    """Whether the object under the item's key is the item, complete: by the listed size, or by what an attempt recorded."""
    recorded = (row or {}).get("bytes_transferred")
    return request.file_size in (0, stored.size) or recorded == stored.size
