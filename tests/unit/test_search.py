"""Search: what bears a name or number is found, the best first, and nothing that a person's role may not see."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import event
from sqlmodel import select

from core.access.roles import LOCAL, Actor, Role
from core.bridge import Bridge
from core.connections.project import project_key
from core.reports.open_names import find_open_name
from core.reports.search import MOST_HITS, Kind, may_be_user_id, search_everything
from data import cohort_list
from data.engine import write_session
from data.models import MIXPANEL_SIDE, Connection, ConnectionKind, Group, Run, RunStatus, Sync, SyncKind, SyncState

ANALYST, VIEWER = Actor("ann", Role.ANALYST), Actor("vera", Role.VIEWER)
NAMES = ["Buyers", "Bold buyers", "100% _loyal_", "100 percent loyal", "Überflieger", "<b>Straße</b>"]


def add_groups(bridge: Bridge, names: list[str], *, with_list: bool = True) -> None:
    """Add a group of each name with its recurring sync and one run; cohorts have the same names, and ids from 7001.

    With `with_list` the cohorts of the project were listed, too.
    """
    now = bridge.clock.now()
    with write_session(bridge.engine) as session:
        source = Connection(
            created_at=now, side="mixpanel", kind=ConnectionKind.MIXPANEL, name="default", project_id=1,
            base_url="https://mixpanel.example",
        )  # fmt: skip
        session.add_all(
            [source, Connection(created_at=now, side="destination", kind=ConnectionKind.CSV, name="staging")]
        )
        session.flush()
        for number, name in enumerate(names, 1):
            common = {"project_id": 1, "cohort_id": 7000 + number, "created_at": now}
            session.add(Group(id=number, destination_id=2, cohort_name=name, name=name, delivered_at=now, **common))
            session.flush()
            session.add(
                Sync(id=number, kind=SyncKind.RECURRING, mixpanel_id=1, group_id=number, every_minutes=15, **common)
            )
            session.flush()
            session.add(
                Run(
                    id=number, sync_id=number, group_id=number, cohort_id=7000 + number, cohort_name=name,
                    group_name=name, destination="staging", trigger="cli", actor="local", queued_at=now,
                    status=RunStatus.SUCCEEDED,
                )
            )  # fmt: skip
        key = project_key(source)
    cohorts = [{"id": 7000 + number, "name": name} for number, name in enumerate([*names, "Never exported"], 1)]
    if with_list:
        cohort_list.share(bridge.engine, key, cohorts, read_at=now)


@pytest.fixture
def named(bridge: Bridge) -> Bridge:
    add_groups(bridge, NAMES)
    return bridge


def found(bridge: Bridge, text: str, person: Actor = ANALYST) -> list[tuple[Kind, int]]:
    return [(hit.kind, hit.id) for hit in search_everything(bridge, person, text).hits]


def test_names_are_found_from_their_beginning_first(named: Bridge):
    assert found(named, "buyers") == [
        (Kind.GROUP, 1), (Kind.SYNC, 1), (Kind.COHORT, 7001),
        (Kind.GROUP, 2), (Kind.SYNC, 2), (Kind.COHORT, 7002),
    ]  # fmt: skip
    assert found(named, " BO ")[0] == (Kind.GROUP, 2)
    assert found(named, "bo")[0] == (Kind.GROUP, 2)
    assert found(named, "never") == [(Kind.COHORT, 7007)]
    assert found(named, "nothing of the kind") == []


@pytest.mark.parametrize("text", ["", "  ", "\t"])
def test_nothing_entered_finds_nothing(named: Bridge, text: str):
    assert found(named, text) == []


def test_a_sign_that_stands_for_others_in_a_database_stands_for_itself(named: Bridge):
    assert {row for kind, row in found(named, "100%") if kind is Kind.GROUP} == {3}
    assert {row for kind, row in found(named, "_loyal") if kind is Kind.GROUP} == {3}
    assert found(named, "%") == [(Kind.GROUP, 3), (Kind.SYNC, 3), (Kind.COHORT, 7003)]


def test_letters_of_any_alphabet_are_found_in_either_case(named: Bridge):
    assert found(named, "überFLIEGER")[0] == found(named, "ÜBERflieger")[0] == (Kind.GROUP, 5)
    assert found(named, "STRASSE")[0] == (Kind.GROUP, 6)


def test_a_number_finds_what_has_it_before_what_only_holds_it(named: Bridge):
    assert found(named, "2")[:2] == [(Kind.SYNC, 2), (Kind.RUN, 2)]
    assert found(named, "#2")[:2] == found(named, "2")[:2]
    assert found(named, "7003")[0] == (Kind.GROUP, 3), "a group is found by the number of its cohort"
    assert (Kind.COHORT, 7003) in found(named, "7003")


@pytest.mark.parametrize(
    ("text", "kind", "number"),
    [
        ("run 4", Kind.RUN, 4),
        ("Run #4", Kind.RUN, 4),
        ("sync 4", Kind.SYNC, 4),
        ("group 4", Kind.GROUP, 4),
        ("cohort 7004", Kind.COHORT, 7004),
    ],
)
def test_a_number_with_its_kind_finds_that_alone(named: Bridge, text: str, kind: Kind, number: int):
    assert found(named, text) == [(kind, number)]


@pytest.mark.parametrize(
    ("kind", "number", "name"),
    [
        ("group", 1, "Buyers"),
        ("sync", 2, "Bold buyers"),
        ("cohort", 7007, "Never exported"),
        ("run", 3, "Run 3: 100% _loyal_"),
        ("group", 99, ""),
        ("cohort", 1, ""),
        ("run", 99, ""),
        ("association", 1, ""),
        ("person", 1, ""),
        ("channel", 1, ""),
        ("line", 1, ""),
    ],
)
def test_what_is_open_is_called_by_its_name(named: Bridge, kind: str, number: int, name: str):
    assert find_open_name(named, LOCAL, kind, number) == name


def test_what_is_open_is_told_apart_from_another_of_its_name(bridge: Bridge):
    add_groups(bridge, ["Twins", "Twins"])

    assert [find_open_name(bridge, ANALYST, kind, number) for kind, number in (("sync", 2), ("cohort", 7001))] == [
        "Twins, staging (sync 2)",
        "Twins (cohort 7001)",
    ]
    assert find_open_name(bridge, ANALYST, "group", 1) == "Twins, staging"


def test_a_cohort_of_a_list_that_was_not_read_is_called_as_its_group_knows_it(bridge: Bridge):
    add_groups(bridge, ["Buyers"], with_list=False)

    assert find_open_name(bridge, ANALYST, "cohort", 7001) == "Buyers"
    assert find_open_name(bridge, ANALYST, "cohort", 7001, project_id=1) == "Buyers"
    assert find_open_name(bridge, ANALYST, "cohort", 7001, project_id=2) == "", "another project's of that number"


def test_what_may_not_be_opened_has_no_name_either(named: Bridge):
    assert find_open_name(named, VIEWER, "cohort", 7001) == find_open_name(named, VIEWER, "sync", 1) == ""
    assert find_open_name(named, ANALYST, "person", 1) == ""


@pytest.mark.parametrize("number", ["0", "99", "9" * 18, str(2**63 - 1), str(2**63), "9" * 40, "-1"])
def test_a_number_that_nothing_has_finds_no_run(named: Bridge, number: str):
    assert [hit for hit in found(named, number) if hit[0] is Kind.RUN] == []


def test_the_largest_number_is_found_as_any_other(named: Bridge):
    largest = 2**63 - 1
    with write_session(named.engine) as session:
        session.get_one(Run, 1).id = largest

    assert found(named, f"run {largest}") == [(Kind.RUN, largest)]


def test_a_sync_that_was_removed_or_exports_once_is_found_by_its_number_alone(named: Bridge):
    with write_session(named.engine) as session:
        session.get_one(Sync, 1).state = SyncState.REMOVED
        session.get_one(Sync, 2).kind = SyncKind.ONE_TIME

    assert [hit for hit in found(named, "buyers") if hit[0] is Kind.SYNC] == []
    assert found(named, "sync 1") == [(Kind.SYNC, 1)]
    assert found(named, "sync 2") == [(Kind.SYNC, 2)]


def test_a_group_that_was_never_delivered_is_not_found_for_its_page_has_none(named: Bridge):
    with write_session(named.engine) as session:
        session.get_one(Group, 1).delivered_at = None

    assert (Kind.GROUP, 1) not in found(named, "buyers")


def test_a_viewer_finds_only_what_viewers_may_open(named: Bridge):
    assert {kind for kind, _ in found(named, "buyers", VIEWER)} == {Kind.GROUP}
    assert found(named, "2", VIEWER)[0] == (Kind.RUN, 2)
    assert found(named, "sync 2", VIEWER) == []
    assert found(named, "cohort 7002", VIEWER) == []


def test_so_many_are_listed_at_most_and_more_are_told_of(bridge: Bridge):
    add_groups(bridge, [f"Campaign {number}" for number in range(1, 31)])

    findings = search_everything(bridge, LOCAL, "campaign")

    assert len(findings.hits) == MOST_HITS
    assert findings.is_more
    assert search_everything(bridge, LOCAL, "campaign 30").is_more is False


def test_a_search_asks_one_question_of_each_kind_and_nobody_outside(bridge: Bridge, questions: list[str]):
    add_groups(bridge, NAMES)
    questions.clear()

    search_everything(bridge, LOCAL, "3")

    # Groups, syncs, the connection whose cohorts are listed, their list, the run.
    assert len(questions) <= 6, questions


def test_without_mixpanel_what_is_here_is_found(bridge: Bridge):
    assert search_everything(bridge, LOCAL, "buyers").hits == []


def test_where_none_of_several_projects_is_meant_what_is_here_is_found(named: Bridge):
    with write_session(named.engine) as session:
        for connection in session.exec(select(Connection).where(Connection.side == MIXPANEL_SIDE)).all():
            connection.name = "one"
        session.add(
            Connection(
                side=MIXPANEL_SIDE, kind=ConnectionKind.MIXPANEL, name="two", project_id=2,
                created_at=named.clock.now(),
            )
        )  # fmt: skip

    assert {kind for kind, _ in found(named, "buyers")} >= {Kind.GROUP}


@pytest.mark.parametrize(
    ("text", "is_worth_it"),
    [
        ("i_7f3", True),
        ("u12", True),
        ("buyers", False),
        ("Bold buyers 2", False),
        ("nobody", True),
        ("  ", False),
        ("run 99", False),
        ("run#99", False),
        ("run99", True),
        ("sync #7", False),
    ],
)
def test_what_looks_like_an_id_or_is_nothing_else_is_looked_up(named: Bridge, text: str, is_worth_it: bool):
    findings = search_everything(named, LOCAL, text.partition(" 2")[0])

    assert may_be_user_id(text, findings) is is_worth_it


@pytest.fixture
def questions(bridge: Bridge) -> Iterator[list[str]]:
    asked: list[str] = []

    def note(*about: object) -> None:
        if str(about[2]).lstrip().upper().startswith("SELECT"):
            asked.append(str(about[2]))

    event.listen(bridge.engine, "before_cursor_execute", note)
    yield asked
    event.remove(bridge.engine, "before_cursor_execute", note)
