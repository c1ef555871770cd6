"""Are the cookies still good? (section 6)"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from cloudsync import measures, provider
from cloudsync.alerts import alert
from cloudsync.config import Settings
from cloudsync.credentials import UNKNOWN_AGE, Credentials, read_credentials
from cloudsync.errors import AuthenticationError, TokenExpiredError
from stepwell import toolkit

FUNCTION = "token-validator"
EXPIRED_SUBJECT = "GoPro Sync: Cookies Expired - Manual Refresh Required"
REFRESH = "Copy fresh cookies from the browser and run `python -m cloudsync credentials FILE`."

log = toolkit.logger(__name__)


def validate(settings: Settings, correlation_id: str, clock: Callable[[], float] = time.time) -> dict[str, Any]:
    """The validator's answer: the same keys whatever happened. Never raises for bad credentials."""
    started = time.monotonic()
    metrics = measures.token_validation(settings)
    age = UNKNOWN_AGE
    answer: dict[str, Any] = {
        "statusCode": 200,
        "valid": False,
        "cookie_age_days": age,
        "validation_method": None,
        "duration_seconds": 0.0,
        "error": None,
        "message": "",
        "correlation_id": correlation_id,
    }

    def warn(subject: str, alert_type: str, severity: Any, message: str, action: str) -> None:
        alert(
            settings.topic,
            subject,
            alert_type=alert_type,
            severity=severity,
            message=message,
            correlation_id=correlation_id,
            function=FUNCTION,
            action_required=action,
            now=clock(),
        )

    try:
        credentials = read_credentials(settings.secret_name)
        age = credentials.age_days(datetime.fromtimestamp(clock(), UTC))
        answer["cookie_age_days"] = age
        metrics.gauge("CookieAgeDays", age)
        method = probe(credentials, settings, correlation_id)
    except Exception as error:
        expired = isinstance(error, TokenExpiredError)
        answer |= {
            "statusCode": 401 if expired else 500,
            "error": type(error).__name__,
            "message": str(error),
            "duration_seconds": _since(started),
        }
        metrics.count("ValidationFailure")
        if expired:
            metrics.count("TokenExpired")
        log.error(
            "cookies are not valid",
            event_type="validation_failed",
            error_type=answer["error"],
            error_message=answer["message"],
            cookie_age_days=age,
            exc_info=None if isinstance(error, AuthenticationError) else error,
        )
        if expired:
            warn(EXPIRED_SUBJECT, "TOKEN_EXPIRATION", "HIGH", f"The cloud refused the session: {error}", REFRESH)
        else:
            subject = "GoPro Sync: Cookie Validation Failed"
            warn(subject, "VALIDATION_ERROR", "HIGH", str(error), "Check the secret and the service, then start a run.")
        return answer
    answer |= {
        "valid": True,
        "validation_method": method,
        "duration_seconds": _since(started),
        "message": "Cookies are valid",
    }
    metrics.count("ValidationSuccess")
    metrics.observe("ValidationDuration", answer["duration_seconds"], unit="Seconds")
    log.info("cookies are valid", event_type="validation_ok", validation_method=method, cookie_age_days=age)
    if age > settings.cookie_max_age_days:
        message = f"The cookies are {age:.0f} days old; they may stop working any day."
        warn("GoPro Sync: Cookies Are Ageing", "TOKEN_AGEING", "MEDIUM", message, REFRESH)
    return answer


def probe(credentials: Credentials, settings: Settings, correlation_id: str) -> str:
    """Which form of the cookies the service accepts: "minimal_cookies" or "full_cookies".

    Raises TokenExpiredError when it refused the session, AuthenticationError when it could not be asked.
    """
    cookies = credentials.require_cookies()
    service = provider.create(settings.provider, settings.api_base)
    minimal = credentials.minimal()
    if minimal is not None and service.probe(minimal, credentials.user_agent, correlation_id) == 200:
        return "minimal_cookies"
    status = service.probe(cookies, credentials.user_agent, correlation_id)
    if status == 200:
        return "full_cookies"
    if status in (401, 403):
        raise TokenExpiredError(f"the session has expired (status {status}); manual refresh of the cookies needed")
    raise AuthenticationError(f"the session could not be checked ({f'status {status}' if status else 'no answer'})")


def _since(started: float) -> float:
    return round(time.monotonic() - started, 3)
