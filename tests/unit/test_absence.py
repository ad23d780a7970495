"""Why a user is in no group: the cause that tells most first, with what the next step needs to know."""

from __future__ import annotations

from datetime import timedelta

from core.access.roles import LOCAL
from core.associate.files import import_rows
from core.bridge import Bridge
from core.reports.absence import Absence, Cause, explain_absence
from core.reports.user_lookup import look_up_user
from data.engine import write_session
from data.members.association_check import CheckRules, KnownProfiles
from data.members.association_rows import RawRow
from data.models import (
    Association,
    AssociationBatch,
    Group,
    ImportStage,
    Member,
    Run,
    RunStatus,
    Sync,
    SyncKind,
)
from tests.stage.reads import add_connections, read
from tests.stage.rows import change_row


def explain(bridge: Bridge, user_id: str, group_id: int | None = None) -> list[Absence]:
    user = look_up_user(bridge, LOCAL, user_id, group_id=group_id)
    return explain_absence(bridge, LOCAL, user, group_id=group_id)


def causes(bridge: Bridge, user_id: str, group_id: int | None = None) -> list[tuple[Cause, list[str]]]:
    return [(each.cause, [group.name for group in each.groups]) for each in explain(bridge, user_id, group_id)]


def set_by_hand(bridge: Bridge, distinct_id: str, *, hours_later: int) -> None:
    at = bridge.clock.now() + timedelta(hours=hours_later)
    with write_session(bridge.engine) as session:
        association = Association(
            mixpanel_id=1, project_id=1, actor="local", source="", stage=ImportStage.DONE, created_at=at,
            match_property="$apptimize_user_id", aliases=True, started_at=at, finished_at=at,
        )  # fmt: skip
        session.add(association)
        session.flush()
        number = association.id or 0
        session.add(AssociationBatch(association_id=number, start=2, end=2, size=1))
    rows = import_rows(bridge, number)
    rows.keep([RawRow(2, Member(f"i_{distinct_id}", distinct_id), None)])
    rows.check(CheckRules(prefix="", prefixes=()), KnownProfiles())


def test_before_anything_is_connected_or_read_that_is_the_reason(bridge: Bridge):
    assert causes(bridge, "D1") == [(Cause.NOT_CONNECTED, [])]

    add_connections(bridge)

    assert causes(bridge, "D1") == [(Cause.NOTHING_READ, [])]


def test_an_id_that_no_read_had_is_unknown(bridge: Bridge):
    read(bridge, add_connections(bridge), 1, [("D1", "i_A")])

    assert causes(bridge, "d1") == [(Cause.UNKNOWN, [])]
    assert causes(bridge, "D1") == []


def test_groups_that_lack_a_user_for_the_same_reason_are_one_answer(bridge: Bridge):
    ids = add_connections(bridge)
    for number in (1, 2):
        read(bridge, ids, number, [("D1", "i_A")], unmatched=["D9"])
    read(bridge, ids, 3, [("D1", "i_A")])

    answers = explain(bridge, "D9")

    assert [(each.cause, each.reason, len(each.groups)) for each in answers] == [
        (Cause.EXCLUDED, "unmatched", 2),
        (Cause.NOT_IN_COHORT, "", 1),
    ]
    assert causes(bridge, "D9", group_id=3) == [(Cause.UNKNOWN, [])], "that group alone does not know the user"


def test_an_answer_knows_the_sync_that_keeps_the_group(bridge: Bridge):
    read(bridge, add_connections(bridge), 1, [("D1", "i_A")], unmatched=["D9"])
    assert explain(bridge, "D9")[0].sync is None
    with write_session(bridge.engine) as session:
        sync = session.get_one(Sync, 1)
        sync.kind, sync.every_minutes = SyncKind.RECURRING, 15

    (answer,) = explain(bridge, "D9")

    assert answer.sync is not None
    assert answer.sync.every_minutes == 15


def test_what_was_set_by_hand_since_waits_for_the_next_run_and_what_was_set_before_does_not(bridge: Bridge):
    read(bridge, add_connections(bridge), 1, [("D1", "i_A")], unmatched=["D8", "D9"])
    set_by_hand(bridge, "D9", hours_later=1)
    set_by_hand(bridge, "D8", hours_later=-1)

    assert causes(bridge, "D9") == [(Cause.SET_BY_HAND, ["Cohort 1"])]
    assert causes(bridge, "D8") == [(Cause.EXCLUDED, ["Cohort 1"])]


def test_a_user_of_a_cohort_that_was_only_previewed_is_told_of_it(bridge: Bridge):
    ids = add_connections(bridge)
    read(bridge, ids, 1, [("D1", "i_A")])
    read(bridge, ids, 2, [("D7", "i_G")])
    change_row(bridge, Run, 2, dry_run=True, difference="members-2")
    with write_session(bridge.engine) as session:
        group = session.get_one(Group, 2)
        group.delivered_at = group.base_snapshot = None
    bridge.snapshots.path("members-2").rename(bridge.snapshots.path("run-2-x"))
    change_row(bridge, Run, 2, difference="run-2-x", excluded=None)

    for asked in ("D7", "i_G"):
        assert causes(bridge, asked) == [(Cause.PREVIEWED, ["Cohort 2"]), (Cause.NOT_IN_COHORT, ["Cohort 1"])]
    assert explain(bridge, "i_G")[0].run_id == 2


def test_a_run_that_is_held_and_would_add_the_user_comes_first(bridge: Bridge):
    ids = add_connections(bridge)
    read(bridge, ids, 1, [("D1", "i_A")], unmatched=["D7"])
    read(bridge, ids, 2, [("D7", "i_G")])
    bridge.snapshots.path("members-2").rename(bridge.snapshots.path("run-2-x"))
    change_row(bridge, Run, 2, group_id=1, status=RunStatus.HELD, difference="run-2-x", excluded=None)
    with write_session(bridge.engine) as session:
        group = session.get_one(Group, 2)
        group.delivered_at = group.base_snapshot = None

    assert causes(bridge, "i_G") == [(Cause.HELD, ["Cohort 1"])]

    change_row(bridge, Run, 2, status=RunStatus.CANCELLED)

    assert causes(bridge, "i_G") == [(Cause.UNKNOWN, [])]


def test_where_members_are_lost_nobody_is_said_to_be_unknown(bridge: Bridge):
    read(bridge, add_connections(bridge), 1, [("D1", "i_A")])
    bridge.snapshots.path("members-1").unlink()

    assert causes(bridge, "D5") == [(Cause.LOST, ["Cohort 1"])]
