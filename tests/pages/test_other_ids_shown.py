"""What the pages say of a destination that knows people by another id: never that it is Apptimize's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from sqlmodel import col, delete

from core.access.roles import LOCAL
from core.bridge import Bridge
from core.connections import lookup
from core.syncs import groups, recurring
from data.engine import write_session
from data.models import Group, Run
from tests.pages.dashboard import (
    COHORTS,
    GROUPS,
    HISTORY,
    MATCHING,
    SYNCS,
    USERS,
    drawn,
    flow_figures,
    open_page,
    shown,
)
from tests.stage.home import Home, copy_home, export
from tests.stage.receivers import BY_USER_ID, DISTINCT_ONLY, connect
from tests.stage.sandbox import IMPORTED, POWER, Sandbox

EVERY_PROFILE = "Every profile of the cohort is a member, matched or not"


class Stage(NamedTuple):
    """A cohort whose groups are at Apptimize, and at receivers that know people by distinct id and by user id."""

    bridge: Bridge
    sandbox: Sandbox
    ours: Group
    by_distinct_id: Group
    by_user_id: Group

    @property
    def distinct(self) -> str:
        """The name of the destination that knows people by distinct id."""
        return next(
            place.name for place in lookup.list_connections(self.bridge, LOCAL) if place.member_id == "distinct"
        )


@pytest.fixture(scope="module")
def template(connected_template: Path, module_sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Home:
    module_sandbox.reset()
    receivers = [(module_sandbox.receiver("bearer"), DISTINCT_ONLY), (module_sandbox.receiver("replaces"), BY_USER_ID)]
    home = copy_home(connected_template, tmp_path_factory.mktemp("ids") / "home")
    with home.bridge(mixpanel_url=module_sandbox.url) as bridge:
        for receiver, known_by in receivers:
            connect(bridge, receiver, **known_by)
        for to in ("default", *(receiver.name for receiver, _ in receivers)):
            assert export(bridge, IMPORTED, to=to).status == "succeeded"
    return home


@pytest.fixture
def stage(template: Home, tmp_path: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    monkeypatch.setenv("COHORT_BRIDGE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COHORT_BRIDGE_MIXPANEL_URL", sandbox.url)
    with copy_home(template.path, tmp_path / "home").bridge(mixpanel_url=sandbox.url) as bridge:
        yield Stage(bridge, sandbox, *groups.list_groups(bridge, LOCAL))


@pytest.mark.parametrize(
    ("kind", "columns", "search"),
    [
        ("ours", ["Apptimize id", "Mixpanel distinct id"], "Part of an Apptimize id or a distinct id"),
        ("by_distinct_id", ["Mixpanel distinct id"], "Part of a distinct id"),
        ("by_user_id", ["$user_id", "Mixpanel distinct id"], "Part of a $user_id or a distinct id"),
    ],
)
def test_a_group_names_the_id_that_its_members_are_known_by(stage: Stage, kind: str, columns: list[str], search: str):
    group: Group = getattr(stage, kind)

    at = open_page(GROUPS, group=group.id)

    is_ours = kind == "ours"
    assert list(at.dataframe[0].proto.column_order) == ["", columns[0], "In the group since", *columns[1:]]
    assert at.text_input(key="groups_members_search").placeholder == search
    assert ("Apptimize shows it as" in shown(at), "setPilotTargetingId" in shown(at)) == (is_ours, is_ours)
    assert ("this destination knows people by" in shown(at).lower()) is not is_ours


def test_a_run_by_distinct_id_says_that_every_profile_is_a_member(stage: Stage):
    text = shown(open_page(HISTORY, run=stage.by_distinct_id.base_run_id))

    assert EVERY_PROFILE in text
    assert "Apptimize id" not in text
    assert "i_" not in text


def test_matching_of_all_cohorts_adds_up_reads_for_apptimize_ids_alone(stage: Stage):
    at = open_page(MATCHING)

    expected = stage.sandbox.answer(IMPORTED)
    assert flow_figures(at)["Unmatched"] == expected.unmatched
    table = at.dataframe[0].value
    assert list(table["Member id"]) == ["Apptimize id", "Distinct id", "$user_id"]
    assert table["Unmatched"][1] == 0
    assert "are listed, and not added up" in shown(at)


def test_matching_of_a_cohort_by_distinct_id_says_so_and_advises_nothing_for_apptimize(stage: Stage):
    ours = shown(open_page(MATCHING, cohort=IMPORTED))
    at = open_page(MATCHING, cohort=f"{IMPORTED} {stage.by_distinct_id.base_match}")
    text = shown(at)

    assert ("matched on $apptimize_user_id (original ID merge)" in ours, EVERY_PROFILE in ours) == (True, False)
    assert "matched by distinct id" in text
    assert EVERY_PROFILE in text
    assert flow_figures(at)["Distinct ids"] == len(stage.sandbox.raw(IMPORTED))
    assert "Apptimize" not in text.split("From cohort to group")[-1].split("No sign-in")[0].replace(
        "Mixpanel, Apptimize and all people", ""
    )


def test_matching_by_another_property_names_it(stage: Stage):
    at = open_page(MATCHING, cohort=f"{IMPORTED} {stage.by_user_id.base_match}")

    assert "matched on $user_id" in shown(at)
    assert "Unmatched: no $user_id" in shown(at)
    assert "Apptimize id" not in shown(at).replace("and not by their Apptimize id", "")


def test_the_address_of_a_cohort_leads_to_the_read_that_it_has(stage: Stage):
    with write_session(stage.bridge.engine) as session:
        session.exec(delete(Run).where(col(Run.id) == stage.ours.base_run_id))

    at = open_page(MATCHING, cohort=IMPORTED)

    assert EVERY_PROFILE in shown(at)


def test_a_user_is_shown_with_the_ids_of_every_destination(stage: Stage):
    row = next(
        row
        for row in stage.sandbox.raw(IMPORTED)
        if row["$properties"].get("$apptimize_user_id") in list(stage.sandbox.answer(IMPORTED).group)
        and row["$properties"].get("$user_id", row["$distinct_id"]) != row["$distinct_id"]
    )

    at = open_page(USERS, id=row["$properties"]["$user_id"])

    text = shown(at)
    assert "Ids at other destinations" in text
    assert "In 3 groups now" in text
    for place in ("default", stage.distinct):
        assert f"In **{stage.ours.name}** at {place} since" in text
    assert sorted(at.dataframe[1].value["Destination"]) == sorted(at.dataframe[0].value["Destination"])
    assert "Id" in at.dataframe[1].value.columns
    assert "Apptimize id" not in at.dataframe[1].value.columns


def test_a_cohort_says_before_its_export_who_would_be_a_member(stage: Stage):
    at = open_page(COHORTS, cohort=IMPORTED)
    at.selectbox(key=f"cohorts_to_{IMPORTED}").select("default").run()
    before = EVERY_PROFILE in shown(drawn(at))
    at.selectbox(key=f"cohorts_to_{IMPORTED}").select(stage.distinct).run()

    assert (before, EVERY_PROFILE in shown(drawn(at))) == (False, True)


def test_a_cohort_without_a_group_is_offered_to_apptimize_before_other_receivers(practising: Bridge, sandbox: Sandbox):
    connect(practising, sandbox.receiver("bearer"), **DISTINCT_ONLY)

    assert open_page(COHORTS, cohort=POWER).selectbox(key=f"cohorts_to_{POWER}").value == "default"


def test_a_sync_to_such_a_destination_has_no_match_settings(stage: Stage):
    sync = recurring.add_sync(stage.bridge, LOCAL, IMPORTED, every_minutes=60, to=stage.distinct)

    at = open_page(SYNCS, sync=sync.id)

    assert EVERY_PROFILE in shown(at)
    assert not [field.key for field in at.text_input if "syncs_property" in (field.key or "")]
