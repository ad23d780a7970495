"""Many runs as pictures show them, and the filters that people keep."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import event

from core.access import roles, saved_filters, tokens
from core.access.roles import LOCAL, Actor, Role
from core.bridge import Bridge
from core.errors import NotAllowed, NotFound, SettingsError
from core.reports import run_history
from core.syncs import runs
from data.engine import write_session
from data.models import Group, Person, Run, RunFilter, Sync
from data.sign_in_models import SignIn

DAY = timedelta(days=1)


def add_runs(bridge: Bridge, like: Run, statuses: list[str], **values: object) -> None:
    """Add runs of the sync of another one, in this order."""
    names = ("sync_id", "group_id", "cohort_id", "cohort_name", "group_name", "destination", "trigger", "actor")
    same = {name: getattr(like, name) for name in (*names, "queued_at")}
    with write_session(bridge.engine) as session:
        session.add_all(Run(**{**same, **values}, status=status) for status in statuses)


def another_sync(bridge: Bridge, like: Run) -> Run:
    """Add a second group with a sync and one run of it."""
    with write_session(bridge.engine) as session:
        group = session.get_one(Group, like.group_id)
        facts = group.model_dump(exclude={"id", "cohort_id"})
        second = Group(**facts, cohort_id=8)
        session.add(second)
        session.flush()
        sync = Sync(
            **session.get_one(Sync, like.sync_id).model_dump(exclude={"id", "group_id"}), group_id=second.id or 0
        )
        session.add(sync)
        session.flush()
        run = Run(
            **like.model_dump(exclude={"id", "sync_id", "group_id"}), sync_id=sync.id or 0, group_id=second.id or 0
        )
        session.add(run)
    return run


def test_the_last_runs_of_each_sync_are_those_that_were_meant_to_write(bridge: Bridge, group_with_runs: list[Run]):
    first, second = group_with_runs[0], another_sync(bridge, group_with_runs[0])
    add_runs(bridge, first, ["failed", *["succeeded"] * 28, "held"])
    add_runs(bridge, first, ["failed"], dry_run=True)
    asked = list[str]()
    listen = bridge.engine, "before_cursor_execute", lambda *args: asked.append(args[2])
    event.listen(*listen)

    marks = run_history.list_latest_in_a_row(bridge, LOCAL, [first.sync_id, second.sync_id])

    event.remove(*listen)
    assert [mark.status for mark in marks[first.sync_id]] == ["failed", *["succeeded"] * 28, "held"]
    assert [mark.status for mark in marks[second.sync_id]] == ["queued"]
    assert len([statement for statement in asked if not statement.startswith("BEGIN")]) == 1
    assert run_history.list_latest_in_a_row(bridge, LOCAL, []) == {}


def test_runs_are_counted_by_the_days_they_were_queued_in_as_the_filter_asks(
    bridge: Bridge, group_with_runs: list[Run]
):
    begin = bridge.clock.now() - 3 * DAY
    days = [(begin + DAY * number, begin + DAY * (number + 1)) for number in range(3)]
    for number, statuses in enumerate((["succeeded", "failed", "interrupted"], ["held", "superseded", "cancelled"])):
        add_runs(bridge, group_with_runs[0], statuses, queued_at=days[number][0])
    for decided in ("applied", "discarded"):  # by a person, on a run that was held
        add_runs(bridge, group_with_runs[0], ["cancelled"], queued_at=days[2][0], step=decided)
    add_runs(bridge, group_with_runs[0], ["succeeded"], queued_at=days[0][0], destination="other")
    add_runs(bridge, group_with_runs[0], ["succeeded"], queued_at=begin - timedelta(seconds=1))

    add_runs(bridge, group_with_runs[0], ["succeeded", "failed", "running"], queued_at=days[2][0], dry_run=True)

    counted = [day.runs for day in run_history.count_runs_by_day(bridge, LOCAL, RunFilter(), days)]
    elsewhere = run_history.count_runs_by_day(
        bridge, LOCAL, RunFilter(destination="other", since=bridge.clock.now()), days
    )

    assert counted == [
        {"succeeded": 2, "failed": 1, "interrupted": 1},
        {"held": 1, "superseded": 1, "cancelled": 1},
        {"applied": 1, "discarded": 1, "preview": 1, "failed": 1, "running": 1, "queued": len(group_with_runs)},
    ]
    assert [day.runs for day in elsewhere] == [{"succeeded": 1}, {}, {}]
    assert len(run_history.count_runs_by_day(bridge, LOCAL, RunFilter(), days * 100)) == run_history.MOST_DAYS
    assert runs.count_runs(bridge, LOCAL, RunFilter(destination="other")) == 1
    assert run_history.list_run_destinations(bridge, LOCAL) == ["csv"]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("ÄRGER", ["Große ärger_1", "ärgeR"]),
        ("GROSSE", ["Große ärger_1"]),
        ("r_1", ["Große ärger_1"]),
        ("%", []),
        ("ΟΔΟΣ", ["οδος"]),
        ("kohorte", ["Große ärger_1", "ärgeR", "οδος"]),
    ],
)
def test_runs_are_found_by_names_whatever_their_case(
    bridge: Bridge, group_with_runs: list[Run], text: str, names: list[str]
):
    for name in ("Große ärger_1", "ärgeR", "οδος"):
        add_runs(bridge, group_with_runs[0], ["succeeded"], cohort_name="KOHORTE", group_name=name)

    listed = runs.list_runs(bridge, LOCAL, RunFilter(text=text))

    assert sorted(run.group_name for run in listed) == names
    assert runs.count_runs(bridge, LOCAL, RunFilter(text=text)) == len(names)
    day = bridge.clock.now() - DAY, bridge.clock.now() + DAY
    (counted,) = run_history.count_runs_by_day(bridge, LOCAL, RunFilter(text=text), [day])
    assert sum(counted.runs.values()) == len(names)


@pytest.mark.parametrize(
    ("asked", "steps"),
    [
        (["cancelled"], ["done"]),
        (["applied"], ["applied"]),
        (["cancelled", "discarded"], ["done", "discarded"]),
        (["succeeded"], ["written"]),
        (["preview"], ["previewed", "not previewed"]),
        (["failed", "applied"], ["not previewed", "applied"]),
    ],
)
def test_runs_are_found_by_the_states_that_are_shown_of_them(
    bridge: Bridge, group_with_runs: list[Run], asked: list[str], steps: list[str]
):
    for step in ("done", "applied", "discarded"):
        add_runs(bridge, group_with_runs[0], ["cancelled"], step=step)
    add_runs(bridge, group_with_runs[0], ["succeeded"], step="written")
    add_runs(bridge, group_with_runs[0], ["succeeded"], step="previewed", dry_run=True)
    add_runs(bridge, group_with_runs[0], ["failed"], step="not previewed", dry_run=True)

    listed = runs.list_runs(bridge, LOCAL, RunFilter(statuses=asked))

    assert {run.step for run in listed} == set(steps)
    assert runs.count_runs(bridge, LOCAL, RunFilter(statuses=asked)) == len(steps)


def person(bridge: Bridge, name: str) -> Actor:
    """Add a viewer who has signed in."""
    now = bridge.clock.now()
    with write_session(bridge.engine) as session:
        row = Person(email=f"{name}@example.com", role=Role.VIEWER.label, created_at=now)
        session.add(row)
        session.flush()
        session.add(SignIn(key=name, person_id=row.id, issued_at=now, seen_at=now))
    return Actor(row.email, Role.VIEWER, row.id, name)


def test_each_person_keeps_filters_of_their_own(bridge: Bridge):
    ann, bob = person(bridge, "ann"), person(bridge, "bob")
    kept = saved_filters.save_filter(bridge, ann, "history", " Failed ", "status=failed&status=held")
    saved_filters.save_filter(bridge, ann, "history", "Failed", "status=failed&text=a%26b")
    saved_filters.save_filter(bridge, LOCAL, "history", "Failed", "period=week")

    (one,) = saved_filters.list_saved_filters(bridge, ann, "history")

    assert (one.id, one.name) == (kept.id, "Failed")
    assert saved_filters.read_query(one.query) == [("status", "failed"), ("text", "a&b")]
    assert saved_filters.list_saved_filters(bridge, bob, "history") == []
    assert saved_filters.list_saved_filters(bridge, ann, "syncs") == []
    with pytest.raises(NotFound):
        saved_filters.remove_saved_filter(bridge, bob, kept.id or 0)
    saved_filters.remove_saved_filter(bridge, ann, kept.id or 0)
    assert saved_filters.list_saved_filters(bridge, ann, "history") == []
    assert [each.query for each in saved_filters.list_saved_filters(bridge, LOCAL, "history")] == ["period=week"]


@pytest.mark.parametrize(
    ("name", "query"), [("", "a=b"), ("x" * 61, "a=b"), ("x", ""), ("x", "no query"), ("x", "a=" + "b" * 2000)]
)
def test_what_cannot_be_kept_as_a_filter_is_refused(bridge: Bridge, name: str, query: str):
    with pytest.raises(SettingsError):
        saved_filters.save_filter(bridge, LOCAL, "history", name, query)


def test_so_many_filters_are_kept_and_no_token_has_any(bridge: Bridge):
    for number in range(saved_filters.MOST_FILTERS):
        saved_filters.save_filter(bridge, LOCAL, "history", f"Filter {number}", "period=week")
    with pytest.raises(SettingsError, match="at most 50"):
        saved_filters.save_filter(bridge, LOCAL, "history", "One more", "period=week")

    saved_filters.save_filter(bridge, LOCAL, "history", "Filter 7", "period=day")  # in the place of that

    token = tokens.make_token(bridge, LOCAL, "pipeline", "viewer").token
    with pytest.raises(NotAllowed):
        saved_filters.list_saved_filters(bridge, roles.token_actor(token), "history")
