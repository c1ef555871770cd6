"""The pipeline's metrics: their namespaces, and the two dimensions that every one of them has (section 10.1)."""

from __future__ import annotations

from cloudsync.config import Settings
from stepwell import toolkit
from stepwell.toolkit.measurements import Metrics


def token_validation(settings: Settings) -> Metrics:
    """ValidationSuccess, ValidationFailure, TokenExpired, ValidationDuration, CookieAgeDays."""
    return _metrics("CloudSync/TokenValidation", settings)


def media_listing(settings: Settings) -> Metrics:
    """MediaListedFromProvider, NewVideosFound, ListingSuccess, ListingFailure, APIStructureChangeDetected, ListingDuration."""
    return _metrics("CloudSync/MediaListing", settings)


def sync(settings: Settings) -> Metrics:
    """VideosSynced, BytesTransferred, TransferDuration, TimeToFirstByte, TransferThroughput, SyncFailures."""
    return _metrics("GoProSync", settings)


def _metrics(namespace: str, settings: Settings) -> Metrics:
    return toolkit.metrics(namespace, Provider=settings.provider, Environment=settings.environment)
