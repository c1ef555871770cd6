"""Messages to the operator (section 10.3). An alert that cannot be sent is logged and never changes an outcome."""

from __future__ import annotations

from typing import Any, Literal

from cloudsync.tracker import iso
from stepwell import toolkit

DOCUMENTATION = "pipelines/cloudsync/README.md"

log = toolkit.logger(__name__)


def alert(
    topic: str,
    subject: str,
    *,
    alert_type: str,
    severity: Literal["HIGH", "MEDIUM"],
    message: str,
    correlation_id: str,
    function: str,
    action_required: str,
    now: float,
    **more: Any,
) -> bool:
    """Publish an alert; whether it was sent. An empty `topic` sends nothing and says so in the log."""
    if not topic:
        log.warning("alert not sent: SNS_TOPIC_ARN is empty", event_type="alert_skipped", alert_type=alert_type)
        return False
    body = {
        "alert_type": alert_type,
        "severity": severity,
        "message": message,
        "correlation_id": correlation_id,
        "timestamp": iso(now),
        "function": function,
        "action_required": action_required,
        "documentation": DOCUMENTATION,
        **more,
    }
    try:
        toolkit.topic(topic).publish(subject, body)
    except Exception as error:
        log.error("alert not sent", event_type="alert_failed", alert_type=alert_type, exc_info=error)
        return False
    return True
