"""What needs a person: the number in the menu is that of what Overview lists, whatever state things are in."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event

from core.access.roles import LOCAL
from core.alerts.attention import count_attention, get_attention
from core.bridge import Bridge
from core.connections import lookup
from core.reports.overview import get_health_and_attention
from core.syncs import listing
from data.engine import write_session
from data.models import Connection, ConnectionKind, Group, Run, RunStatus, Sync, SyncKind, SyncState
from data.outbox_models import AlertState, Condition


def add(bridge: Bridge, *rows: Any) -> None:
    with write_session(bridge.engine) as session:
        for row in rows:
            session.add(row)
            session.flush()


def add_groups(bridge: Bridge, states: list[tuple[SyncKind, SyncState]]) -> None:
    """Add a destination, and a group with a sync in each of these states, all with the same numbers."""
    now = bridge.clock.now()
    add(
        bridge,
        Connection(created_at=now, side="mixpanel", kind=ConnectionKind.MIXPANEL, name="default", project_id=1),
        Connection(created_at=now, side="destination", kind=ConnectionKind.CSV, name="csv"),
    )
    for number, (kind, state) in enumerate(states, 1):
        common = {"project_id": 1, "cohort_id": number, "created_at": now}
        add(
            bridge,
            Group(destination_id=2, cohort_name=f"Cohort {number}", name=f"Cohort {number}", **common),
            Sync(kind=kind, state=state, mixpanel_id=1, group_id=number, every_minutes=15, **common),
        )


def run_of(bridge: Bridge, group: int, status: RunStatus, *, dry_run: bool = False) -> Run:
    now = bridge.clock.now()
    return Run(
        sync_id=group, group_id=group, cohort_id=group, cohort_name="", group_name="", destination="csv",
        trigger="schedule", actor="worker", status=status, dry_run=dry_run, queued_at=now, finished_at=now,
    )  # fmt: skip


def alert(bridge: Bridge, subject: str, condition: Condition, facts: dict[str, Any]) -> AlertState:
    now = bridge.clock.now()
    return AlertState(
        subject=subject, condition=condition, severity="critical", facts=facts, opened_at=now, changed_at=now
    )


def listed_and_counted(bridge: Bridge) -> tuple[int, int]:
    views = [view for view in listing.list_syncs(bridge, LOCAL) if view.sync.kind == SyncKind.RECURRING]
    _, items = get_health_and_attention(bridge, LOCAL, [], views)
    return get_attention(bridge, LOCAL, items).count, count_attention(bridge, LOCAL)


@pytest.mark.parametrize("seed", range(3))
def test_the_menu_counts_what_overview_lists(bridge: Bridge, seed: int):
    chosen = random.Random(seed)
    kinds = [(kind, state) for kind in SyncKind for state in SyncState] * 4
    add_groups(bridge, kinds)
    ended = [status for status in RunStatus if status not in (RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.WAITING)]
    runs = [
        run_of(bridge, chosen.randint(1, len(kinds)), chosen.choice(ended), dry_run=chosen.random() < 0.3)
        for _ in range(60)
    ]
    add(bridge, *runs)
    for group in (1, 2, 4, 5):
        facts = {"group_id": group, "group": f"Cohort {group}", "sync_id": group, "destination": "csv"}
        add(bridge, alert(bridge, f"sync:{group}", Condition.LATE, facts))
    add(bridge, alert(bridge, "disk", Condition.DISK, {"free_bytes": 2**30, "total_bytes": 2**36}))

    listed, counted = listed_and_counted(bridge)

    assert listed == counted > 5
    views = [view for view in listing.list_syncs(bridge, LOCAL) if view.sync.kind == SyncKind.RECURRING]
    _, items = get_health_and_attention(bridge, LOCAL, [], views)
    needs_person = {run.group_id: run.id for run in items.runs[::-1]}  # what is held comes first
    active = [view for view in views if view.sync.state == SyncState.ACTIVE]
    unresolved = {view.group.id: view.unresolved_run.id for view in active if view.unresolved_run}
    assert unresolved == {
        view.group.id: needs_person[view.group.id or 0] for view in active if view.group.id in needs_person
    }


@pytest.mark.parametrize("status", [RunStatus.FAILED, RunStatus.INTERRUPTED])
def test_what_a_run_recovered_that_was_overtaken_needs_nobody(bridge: Bridge, status: RunStatus):
    """A run that waits for a query may end after another of its group that came later, and failed meanwhile."""
    add_groups(bridge, [(SyncKind.RECURRING, SyncState.ACTIVE)] * 2)
    overtaken, failed = run_of(bridge, 1, RunStatus.WAITING), run_of(bridge, 1, status)
    add(bridge, overtaken, failed, run_of(bridge, 2, RunStatus.SUCCEEDED), run_of(bridge, 2, status))
    assert listed_and_counted(bridge) == (2, 2)

    with write_session(bridge.engine) as session:
        ended = session.get_one(Run, overtaken.id)
        ended.status, ended.profiles = RunStatus.SUCCEEDED, 1
        ended.finished_at = bridge.clock.now() + timedelta(seconds=1)

    assert listed_and_counted(bridge) == (1, 1)
    present = lookup.list_connections(bridge, LOCAL)
    last = [each.last_run for each in get_health_and_attention(bridge, LOCAL, present, [])[0]]
    assert [run and run.id for run in last] == [overtaken.id, overtaken.id]


def test_where_nothing_happened_nothing_is_counted(bridge: Bridge):
    assert listed_and_counted(bridge) == (0, 0)


def test_the_count_asks_no_more_of_many_groups_than_of_few(bridge: Bridge, counted: Callable[[], int]):
    add_groups(bridge, [(SyncKind.RECURRING, SyncState.PAUSED)] * 40)
    add(bridge, *(run_of(bridge, group, RunStatus.FAILED) for group in range(1, 41) for _ in range(3)))
    before = counted()

    assert count_attention(bridge, LOCAL) == 40

    assert counted() - before <= 6


@pytest.fixture
def counted(bridge: Bridge) -> Callable[[], int]:
    questions: list[str] = []
    event.listen(bridge.engine, "before_cursor_execute", lambda *about: questions.append(about[2]))
    return lambda: sum(question.lstrip().upper().startswith("SELECT") for question in questions)


@pytest.mark.parametrize(
    ("error", "well"),
    [
        ("mixpanel_unauthorized", (False, True, True, True)), ("receiver_unauthorized", (True, True, False, True)),
        ("apptimize_unavailable", (True, True, False, True)), ("csv_not_written", (True, True, False, True)),
        ("incomplete_read", (True, True, True, True)),
    ],
)  # fmt: skip
def test_a_failure_is_that_of_the_connections_that_the_run_was_between(
    bridge: Bridge, error: str, well: tuple[bool, ...]
):
    now = bridge.clock.now()
    add_groups(bridge, [(SyncKind.RECURRING, SyncState.ACTIVE)] * 2)
    other_project = Connection(
        created_at=now, side="mixpanel", kind=ConnectionKind.MIXPANEL, name="other", project_id=2
    )
    other_folder = Connection(created_at=now, side="destination", kind=ConnectionKind.CSV, name="moved")
    add(bridge, other_project, other_folder)
    with write_session(bridge.engine) as session:
        second = session.get_one(Group, 2)
        second.destination_id = other_folder.id or 0
        session.get_one(Sync, 2).mixpanel_id = other_project.id or 0
    for group, values in ((2, {"profiles": 7}), (1, {"error_code": error})):
        run = run_of(bridge, group, RunStatus.FAILED if "error_code" in values else RunStatus.SUCCEEDED)
        for name, value in values.items():
            setattr(run, name, value)
        add(bridge, run)

    by_name = {each.name: each for each in lookup.list_connections(bridge, LOCAL)}
    shown = [by_name[name] for name in ("default", "other", "csv", "moved")]
    health, _ = get_health_and_attention(bridge, LOCAL, shown, [])

    assert tuple(each.is_well for each in health) == well
