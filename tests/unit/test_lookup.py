"""Looking a user up: what each group says of the asked id itself, and nothing that Mixpanel refused."""

from __future__ import annotations

from core.access.roles import LOCAL
from core.associate.files import import_rows
from core.bridge import Bridge
from core.reports import user_lookup
from data import associations
from data.engine import write_session
from data.members.association_check import CheckRules, KnownProfiles
from data.members.association_rows import RawRow
from data.models import Association, AssociationBatch, ImportStage, Member
from tests.stage.reads import add_connections, read


def test_a_group_that_is_matched_otherwise_does_not_take_a_user_for_another(bridge: Bridge):
    ids = add_connections(bridge)
    read(bridge, ids, 1, [("D1", "i_A"), ("D2", "i_A")])
    read(bridge, ids, 2, [("D2", "i_B")], unmatched=["D1"])

    first, second = user_lookup.look_up_user(bridge, LOCAL, "D1").groups
    assert (first.is_member, first.apptimize_id, first.reason) == (True, "i_A", None)
    assert (second.is_member, second.reason, second.instead) == (False, "unmatched", None)
    first, second = user_lookup.look_up_user(bridge, LOCAL, "D2").groups
    assert (first.is_member, first.apptimize_id, first.reason, first.instead) == (True, "i_A", "duplicate", "D1")
    assert (second.is_member, second.apptimize_id, second.reason) == (True, "i_B", None)


def test_what_was_written_by_hand_is_believed_however_it_ended_and_what_was_refused_is_not(bridge: Bridge):
    mixpanel_id, _ = add_connections(bridge)
    for stage in (ImportStage.CANCELLED, ImportStage.TO_WRITE, ImportStage.DONE):
        with write_session(bridge.engine) as session:
            association = Association(
                mixpanel_id=mixpanel_id,
                project_id=1,
                actor="local",
                source="",
                stage=stage,
                match_property="$apptimize_user_id",
                aliases=True,
                created_at=bridge.clock.now(),
            )
            session.add(association)
            session.flush()
            assert association.id is not None
            session.add(AssociationBatch(association_id=association.id, start=2, end=3, size=2, refused={"3": "odd"}))
        rows = import_rows(bridge, association.id)
        rows.keep(RawRow(row, Member(f"i_{stage}-{row}", f"{stage}-{row}"), None) for row in (2, 3, 4))
        rows.check(CheckRules(prefix="", prefixes=()), KnownProfiles())

        told = [user_lookup.look_up_user(bridge, LOCAL, f"{stage}-{row}").apptimize_ids for row in (2, 3, 4)]

        assert told == [[f"i_{stage}-2"], [], []]
    assert associations.last_row(bridge.engine, 1) == 3


def test_an_id_that_very_many_share_is_answered_in_part_and_said_so(bridge: Bridge):
    ids = add_connections(bridge)
    read(bridge, ids, 1, [(f"D{number:04}", "i_shared") for number in range(3000)])

    user = user_lookup.look_up_user(bridge, LOCAL, "i_shared")

    assert user.is_cut_short
    assert [(group.is_member, group.apptimize_id) for group in user.groups] == [(True, "i_shared")]
    assert len(user.distinct_ids) <= 2 * user_lookup.MOST_IDS


def test_a_reading_that_is_gone_or_damaged_is_no_failure(bridge: Bridge):
    ids = add_connections(bridge)
    read(bridge, ids, 1, [("D1", "i_A")])
    read(bridge, ids, 2, [("D1", "i_A")])
    bridge.snapshots.path("members-1").unlink()
    bridge.snapshots.path("excluded-2").write_bytes(b"PAR1 torn")

    first, second = user_lookup.look_up_user(bridge, LOCAL, "D1").groups
    assert (first.is_member, first.reason, second.is_member) == (False, user_lookup.LOST, True)

    bridge.snapshots.path("members-2").write_bytes(b"PAR1 torn")
    answers = user_lookup.look_up_user(bridge, LOCAL, "D1").groups
    assert [(group.is_member, group.reason) for group in answers] == [(False, user_lookup.LOST)] * 2


def test_every_apptimize_id_of_a_user_has_its_history_first_those_of_the_id_itself(bridge: Bridge):
    ids = add_connections(bridge)
    read(bridge, ids, 1, [("D1", "i_A"), ("D2", "i_A")])
    read(bridge, ids, 2, [("D2", "i_B")])

    user = user_lookup.look_up_user(bridge, LOCAL, "D2")

    assert [(history.apptimize_id, history.distinct_id, history.has("D2")) for history in user.histories] == [
        ("i_B", "D2", True),
        ("i_A", "D1", False),
    ]
    assert [[(stay.group.id, stay.is_in) for stay in history.memberships] for history in user.histories] == [
        [(2, True)],
        [(1, True)],
    ]
    assert user.lost == []


def test_a_user_is_looked_up_in_one_group_alone_and_groups_that_are_lost_are_named(bridge: Bridge):
    ids = add_connections(bridge)
    read(bridge, ids, 1, [("D1", "i_A")])
    read(bridge, ids, 2, [("D1", "i_A")])
    bridge.snapshots.path("members-1").unlink()

    first = user_lookup.look_up_user(bridge, LOCAL, "D1", group_id=1)
    second = user_lookup.look_up_user(bridge, LOCAL, "D1", group_id=2)

    assert [group.id for group in first.lost] == [entry.group.id for entry in first.groups] == [1]
    assert first.histories == []
    assert [group.id for group in second.lost] == []
    assert [(stay.group.id, stay.is_in) for history in second.histories for stay in history.memberships] == [(2, True)]
