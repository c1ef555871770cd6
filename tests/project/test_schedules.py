"""Due times of AWS's cron and rate expressions, and what fires after a pause."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.project.schedules import CATCH_UP_LIMIT, Schedule, ScheduleError, ScheduleState, execution_name


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def following(expression: str, after: str, count: int, zone: str = "UTC") -> list[str]:
    schedule, moment, found = Schedule.parse(expression, zone), at(after), []
    for _ in range(count):
        due = schedule.next_due(moment)
        if due is None:
            break
        moment = due
        found.append(f"{due:%Y-%m-%dT%H:%M}")
    return found


@pytest.mark.parametrize(
    ("expression", "after", "due"),
    [
        ("cron(0 1 * * ? *)", "2026-11-22T00:59:59", ["2026-11-22T01:00", "2026-11-23T01:00"]),
        ("cron(0 1 * * ? *)", "2026-11-22T01:00", ["2026-11-23T01:00"]),
        ("cron(0 17 * * ? *)", "2026-12-31T17:00", ["2027-01-01T17:00"]),
        ("cron(0/15 9-10 ? * MON-FRI *)", "2026-11-20T10:30", ["2026-11-20T10:45", "2026-11-23T09:00"]),
        ("cron(0 0 L * ? *)", "2028-02-01T00:00", ["2028-02-29T00:00", "2028-03-31T00:00"]),
        ("cron(0 0 L-3 * ? *)", "2026-02-01T00:00", ["2026-02-25T00:00"]),
        ("cron(0 0 15W * ? *)", "2026-11-01T00:00", ["2026-11-16T00:00", "2026-12-15T00:00"]),
        ("cron(0 0 1W * ? *)", "2026-08-01T00:00", ["2026-08-03T00:00"]),
        ("cron(0 0 ? * 6L *)", "2026-11-01T00:00", ["2026-11-27T00:00"]),
        ("cron(0 0 ? * L *)", "2026-11-22T00:00", ["2026-11-28T00:00"]),
        ("cron(0 0 ? * MON#2 *)", "2026-11-01T00:00", ["2026-11-09T00:00", "2026-12-14T00:00"]),
        ("cron(0 0 ? * 3#5 *)", "2026-11-01T00:00", ["2026-12-29T00:00"]),
        ("cron(30 8 1 JAN,JUL ? 2027-2028)", "2026-01-01T00:00",
         ["2027-01-01T08:30", "2027-07-01T08:30", "2028-01-01T08:30", "2028-07-01T08:30"]),
        ("cron(0 0 29 2 ? *)", "2096-03-01T00:00", ["2104-02-29T00:00"]),
        ("cron(0 0 1 1 ? 2020)", "2026-01-01T00:00", []),
        ("cron(  0 1  * * ? * )", "2026-11-22T00:00", ["2026-11-22T01:00"]),
        ("cron(0 0 ? * FRI-MON *)", "2026-11-21T00:00", ["2026-11-22T00:00", "2026-11-23T00:00", "2026-11-27T00:00"]),
    ],
)  # fmt: skip
def test_cron(expression, after, due):
    assert following(expression, after, max(1, len(due))) == due


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("", "is not a schedule; write cron("),
        ("0 1 * * ? *", "is not a schedule"),
        ("cron(0 1 * * *)", "has 5 fields; cron needs six"),
        ("cron(0 1 * * * *)", "exactly one of day-of-month and day-of-week must be ?"),
        ("cron(0 1 ? * ? *)", "exactly one of day-of-month and day-of-week must be ?"),
        ("cron(60 1 * * ? *)", "'60' is not a valid minutes field"),
        ("cron(0 24 * * ? *)", "'24' is not a valid hours field"),
        ("cron(0 0 32 * ? *)", "'32' is not a valid day-of-month field"),
        ("cron(0 0 1 13 ? *)", "'13' is not a valid month field"),
        ("cron(0 0 ? * 8 *)", "'8' is not a valid day-of-week field"),
        ("cron(0 0 ? * 2#6 *)", "'2#6' is not a valid day-of-week field"),
        ("cron(0 0 1 * ? 1969)", "'1969' is not a valid year field"),
        ("cron(0 0 LW * ? *)", "a field is not valid"),
        ("cron(0 0 30 2 ? *)", "never matches any date"),
        ("rate(5 minute)", "write rate(5 minutes)"),
        ("rate(1 hours)", "write rate(1 hour)"),
        ("rate(0 days)", "is not a rate"),
        ("rate(1 week)", "is not a rate"),
        ("rate(1.5 days)", "is not a rate"),
    ],
)
def test_what_is_not_a_schedule(expression, text):
    with pytest.raises(ScheduleError) as caught:
        Schedule.parse(expression)
    assert text in str(caught.value)


@pytest.mark.parametrize("zone", ["Berlin", "Europe/Nowhere", "", "../etc/passwd"])
def test_what_is_not_a_time_zone(zone):
    with pytest.raises(ScheduleError, match="is not a time zone"):
        Schedule.parse("cron(0 1 * * ? *)", zone)


# --- clock changes (Europe/Berlin 2026: 29 March 02:00 -> 03:00, 25 October 03:00 -> 02:00)


def test_a_zone_follows_its_own_clock():
    assert following("cron(0 2 * * ? *)", "2026-03-27T12:00", 3, "Europe/Berlin") == [
        "2026-03-28T01:00",
        "2026-03-30T00:00",  # 02:00 of the 29th does not exist: skipped
        "2026-03-31T00:00",
    ]


def test_a_repeated_hour_fires_the_first_time_only():
    assert following("cron(30 2 * * ? *)", "2026-10-24T12:00", 2, "Europe/Berlin") == [
        "2026-10-25T00:30",
        "2026-10-26T01:30",
    ]
    # Asked in the middle of the repeated hour.
    assert following("cron(30 2 * * ? *)", "2026-10-25T01:10", 1, "Europe/Berlin") == ["2026-10-26T01:30"]
    assert following("cron(0 * * * ? *)", "2026-10-24T22:30", 4, "Europe/Berlin") == [
        "2026-10-24T23:00",
        "2026-10-25T00:00",
        "2026-10-25T02:00",
        "2026-10-25T03:00",
    ]


def test_the_latest_before_and_in_the_repeated_hour():
    schedule = Schedule.parse("cron(0 * * * ? *)", "Europe/Berlin")
    for now, due in [("00:59", "00:00"), ("01:30", "00:00"), ("02:00", "02:00")]:
        assert schedule.latest_due(at(f"2026-10-25T{now}"), since=at("2026-01-01")) == at(f"2026-10-25T{due}")


def test_a_rate_counts_elapsed_time():
    state = ScheduleState.begin(Schedule.parse("rate(1 day)", "Europe/Berlin"), at("2026-03-28T12:34:56.789"))
    state, _ = state.advance(at("2026-03-29T12:34:56"))
    assert state.last == at("2026-03-29T12:34:56")
    assert state.next_due() == at("2026-03-30T12:34:56")


# --- after a pause


DAILY = Schedule.parse("cron(0 1 * * ? *)")


def state(since: str = "2026-11-01T00:00", last: str | None = None) -> ScheduleState:
    return ScheduleState(schedule=DAILY, since=at(since), last=at(last) if last else None)


def test_nothing_before_the_first_sight_is_due():
    assert state("2026-11-22T02:00").advance(at("2026-11-22T03:00")) == (state("2026-11-22T02:00"), ())


def test_on_time():
    after, fired = state(last="2026-11-21T01:00").advance(at("2026-11-22T01:00"))
    assert fired == (at("2026-11-22T01:00"),)
    assert after.last == at("2026-11-22T01:00")
    assert after.next_due() == at("2026-11-23T01:00")
    assert after.advance(at("2026-11-22T01:00:01")) == (after, ()), "once"


@pytest.mark.parametrize(
    ("catch_up", "max_age", "days"),
    [
        ("latest", None, [22]),
        ("all", None, [20, 21, 22]),
        ("none", None, []),
        ("latest", 3600, []),
        ("latest", 7 * 3600, [22]),
        ("all", 36 * 3600, [21, 22]),
    ],
)
def test_catching_up(catch_up, max_age, days):
    after, fired = state(last="2026-11-19T01:00").advance(at("2026-11-22T08:00"), catch_up=catch_up, max_age=max_age)
    assert [due.day for due in fired] == days
    assert after.last == at("2026-11-22T01:00"), "what was dropped stays dropped"


@pytest.mark.parametrize("catch_up", ["latest", "all", "none"])
def test_a_minute_late_is_on_time(catch_up):
    _, fired = state(last="2026-11-21T01:00").advance(at("2026-11-22T01:00:59"), catch_up=catch_up)
    assert fired == (at("2026-11-22T01:00"),)


def test_catching_up_has_an_end():
    often = ScheduleState(schedule=Schedule.parse("rate(1 minute)"), since=at("2020-01-01"))
    _, fired = often.advance(at("2026-11-22"), catch_up="all")
    assert len(fired) == CATCH_UP_LIMIT
    assert fired[-1] == at("2026-11-22")


def test_a_clock_that_goes_back_fires_nothing_twice():
    after, _ = state().advance(at("2026-11-22T01:00"))
    assert after.advance(at("2026-11-20T12:00")) == (after, ())


def test_the_state_is_journaled_as_json():
    made, _ = state().advance(at("2026-11-22T01:00"))
    assert msgspec.json.decode(msgspec.json.encode(made), type=ScheduleState) == made


@given(
    st.sampled_from(
        [
            ("cron(0 1 * * ? *)", "UTC"),
            ("cron(0/20 * * * ? *)", "Europe/Berlin"),
            ("cron(30 2 ? * SUN *)", "America/New_York"),
            ("cron(15 2 L * ? *)", "Australia/Lord_Howe"),
            ("rate(7 minutes)", "UTC"),
        ]
    ),
    st.integers(0, 400 * 86400),
    st.lists(st.integers(1, 3 * 86400), min_size=1, max_size=12),
)
def test_every_due_time_fires_exactly_once(expression, start, pauses):
    """However the host sleeps and wakes, `all` fires each due time once, in order: the same as asking one by one."""
    schedule = Schedule.parse(*expression)
    now = at("2026-01-01") + timedelta(seconds=start)
    kept = ScheduleState.begin(schedule, now)
    since, fired = now, []
    for pause in pauses:
        now += timedelta(seconds=pause)
        before = kept
        kept, due = kept.advance(now, catch_up="all")
        if len(due) == CATCH_UP_LIMIT:
            fired += due
            since = None
            break
        assert all((before.last or before.since) < one <= now for one in due)
        fired += due
    assert fired == sorted(set(fired))
    if since is not None:
        expected, moment = [], since
        while (one := schedule.next_due(moment, since=since)) is not None and one <= now:
            expected.append(one)
            moment = one
        assert fired == expected


# --- names


def test_names_are_the_due_time():
    due = at("2026-11-22T01:00")
    assert execution_name("cloudsync", due) == "schedule-cloudsync-20261122T010000Z"
    assert execution_name("cloudsync", due.astimezone()) == execution_name("cloudsync", due)


def test_long_and_odd_names_stay_apart():
    due = at("2026-11-22T01:00")
    names = {execution_name(name, due) for name in ("x" * 70 + "a", "x" * 70 + "b", "ü", "ö", "a b", "a-b")}
    assert len(names) == 6
    assert all(len(name) <= 80 and name.isascii() and " " not in name for name in names)
