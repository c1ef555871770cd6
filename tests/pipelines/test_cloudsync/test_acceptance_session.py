"""Acceptance statements on the session: which cookies work, how old they are, who is told when they do not."""

import json
from datetime import timedelta

import pytest
from mediacloud import BytesContent, Media

VALIDATION = "CloudSync/TokenValidation"
SELECTED = {"statusCode", "valid", "cookie_age_days", "validation_method", "duration_seconds"}


def probes(cloud):
    return [request for request in cloud.requests("search") if "page" not in request.query]


@pytest.mark.parametrize("status", [401, 403])
async def test_05_a_refused_session(cloud, sync, status):
    cloud.session.refusal = status
    world = sync()
    run = await world.run()
    assert [request.status for request in probes(cloud)] == [status, status]
    (answer,) = run.results("ValidateTokens")
    assert (answer["statusCode"], answer["valid"], answer["error"]) == (401, False, "TokenExpiredError")
    assert set(answer) >= SELECTED
    assert (run.status, run.error, run.visited[-1]) == ("FAILED", "TokenValidationFailed", "TokensInvalid")
    ((subject, body),) = world.notices()
    assert subject == "GoPro Sync: Cookies Expired - Manual Refresh Required"
    assert (body["alert_type"], body["severity"]) == ("TOKEN_EXPIRATION", "HIGH")
    assert set(body) == {
        "alert_type", "severity", "message", "correlation_id", "timestamp", "function", "action_required", "documentation",
    }  # fmt: skip
    assert world.metric(VALIDATION, "TokenExpired") == 1
    assert world.metric(VALIDATION, "ValidationFailure") == 1
    assert world.metric(VALIDATION, "ValidationSuccess") is None


async def test_06_two_cookies_refused_all_accepted(cloud, sync):
    cloud.session.minimal = False
    run = await sync().run()
    (answer,) = run.results("ValidateTokens")
    assert (answer["valid"], answer["validation_method"], answer["statusCode"]) == (True, "full_cookies", 200)
    minimal, full = probes(cloud)
    assert (minimal.status, full.status) == (401, 200)
    assert minimal.headers["cookie"] == f"gp_access_token={cloud.session.token}; gp_user_id={cloud.session.user_id}"
    assert full.headers["cookie"] == cloud.session.cookies


def test_06_two_cookies_accepted(cloud, sync):
    world = sync()
    answer = world.call("token-validator", {})
    assert (answer["valid"], answer["validation_method"], len(probes(cloud))) == (True, "minimal_cookies", 1)
    (probe,) = probes(cloud)
    assert probe.query == {"per_page": "1"}
    assert probe.headers["accept"] == "application/vnd.gopro.jk.media+json; version=2.0.0"
    assert probe.headers["user-agent"] == "Mozilla/5.0 (Test)"
    assert (probe.headers["accept-language"], probe.headers["referer"]) == ("en-US,en;q=0.9", "https://gopro.com/")
    assert world.metric(VALIDATION, "ValidationSuccess") == 1
    assert world.metric(VALIDATION, "ValidationDuration") > 0
    assert not world.notices()


async def test_07_no_secret(cloud, sync):
    world = sync()
    world.remove_secret()
    run = await world.run()
    (answer,) = run.results("ValidateTokens")
    assert (answer["valid"], answer["statusCode"], answer["cookie_age_days"]) == (False, 500, 999.0)
    assert (answer["error"], set(answer) >= SELECTED) == ("AuthenticationError", True)
    assert run.error == "TokenValidationFailed"
    assert len(world.notices()) == len(world.alerts("VALIDATION_ERROR")) == 1
    assert world.alerts("VALIDATION_ERROR")[0]["severity"] == "HIGH"
    assert world.metric(VALIDATION, "TokenExpired") is None
    assert not cloud.requests()


@pytest.mark.parametrize(
    "secret",
    ["not json", "[]", '{"user-agent": "x"}', '{"cookies": ""}', '{"cookies": 7}', '{"cookies": "a=\\r\\nX-Evil: 1"}'],
)
def test_f6_every_failed_validation_alerts(cloud, sync, secret):
    world = sync()
    world.ports.secret("gopro/credentials").write(secret)
    answer = world.call("token-validator", {})
    assert (answer["valid"], answer["statusCode"]) == (False, 500)
    assert set(answer) >= SELECTED and answer["correlation_id"]
    assert len(world.alerts("VALIDATION_ERROR")) == 1
    assert world.metric(VALIDATION, "ValidationFailure") == 1


def test_f6_a_service_that_is_down(cloud, sync):
    cloud.fail("search", status=503, times=2)
    world = sync()
    answer = world.call("token-validator", {})
    assert (answer["statusCode"], answer["valid"]) == (500, False)
    assert answer["cookie_age_days"] == pytest.approx(2, abs=0.01)
    assert len(world.alerts("VALIDATION_ERROR")) == 1 and not world.alerts("TOKEN_EXPIRATION")


@pytest.mark.parametrize(("age", "low", "high"), [(timedelta(days=5), 4.99, 5.01), (None, 0.0, 0.0)])
async def test_08_age_of_the_cookies(cloud, sync, age, low, high):
    cloud.add(Media("m1", "GH1.MP4", BytesContent(b"x")))
    world = sync()
    world.write_secret(age=age)
    run = await world.run()
    assert low <= world.metric(VALIDATION, "CookieAgeDays") <= high
    assert low <= run.summary["cookie_age_days"] <= high


def test_old_cookies_are_announced(cloud, sync):
    world = sync()
    world.write_secret(age=timedelta(days=61))
    assert world.call("token-validator", {})["valid"] is True
    (body,) = world.alerts("TOKEN_AGEING")
    assert body["severity"] == "MEDIUM"


def test_without_a_topic_alerts_are_skipped_with_a_warning(cloud, sync, capsys):
    cloud.session.refusal = 401
    world = sync(SNS_TOPIC_ARN="", LOG_LEVEL="WARN")
    world.call("token-validator", {})
    assert not world.notices()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["level"] for line in lines if line["event_type"] == "alert_skipped"] == ["WARN"]
