"""Look up a user: the ids, the groups with since when and why not, and the membership history."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.access.roles import LOCAL, Role
from core.bridge import Bridge
from core.connections import destinations
from core.reports import match_funnel
from core.syncs import groups, runs, undo
from core.worker import service
from data.models import Run
from tests.pages.dashboard import USERS, drawn, open_page, page_buttons, shown, sign_in_as
from tests.stage.home import export, group_row
from tests.stage.sandbox import IMPORTED, LATER_S, POWER, SPENDERS, TRIAL, Sandbox
from tests.stage.seeds import few


@pytest.fixture
def two_runs(practising: Bridge, sandbox: Sandbox) -> tuple[Run, Run]:
    """Two runs of a group, between which people joined and left."""
    first = export(practising, TRIAL)
    sandbox.at(LATER_S)
    return first, export(practising, TRIAL)


def test_a_user_whom_a_rollback_removed_is_not_said_to_have_left_the_cohort(practising: Bridge, sandbox: Sandbox):
    first = export(practising, TRIAL)
    before = set(sandbox.answer(TRIAL).group)
    sandbox.at(LATER_S)
    export(practising, TRIAL)
    joined = min(set(sandbox.answer(TRIAL).group) - before)
    undo.undo_to(practising, LOCAL, first.id or 0)
    service.once(practising)

    assert "Run 3 rolled the group back to members without this id" in shown(open_page(USERS, id=joined))


def test_a_member_is_told_since_when_and_one_who_left_until_when(
    practising: Bridge, sandbox: Sandbox, two_runs: tuple[Run, Run]
):
    first, second = two_runs
    sandbox.at(0)
    before = set(sandbox.answer(TRIAL).ids)
    sandbox.at(LATER_S)
    after = set(sandbox.answer(TRIAL).ids)
    group = group_row(practising, TRIAL).id

    unchanged = open_page(USERS, group=group, id=min(before & after))
    assert f"(run {first.id})" in shown(unchanged)
    (answer,) = unchanged.dataframe[0].value["Since, or why not"]
    assert answer.startswith(f"Since {first.finished_at:%-d %b %Y, %H:}")
    assert list(unchanged.dataframe[1].value["Left"]) == ["Still in"]

    joined = open_page(USERS, group=group, id=min(after - before))
    assert f"(run {second.id})" in shown(joined)

    left = open_page(USERS, group=group, id=min(before - after))
    assert "Nor is the user in any other group." in shown(left)
    (answer,) = left.dataframe[0].value.to_dict("records")
    assert (list(answer["State"]), answer["Since, or why not"]) == (
        ["Not in the group"],
        f"Left the cohort: run {second.id} removed the id",
    )
    (row,) = left.dataframe[1].value.to_dict("records")
    assert (row["Joined with run"], row["Left with run"]) == (str(first.id), str(second.id))


def test_a_user_is_found_in_all_groups_by_the_distinct_id(practising: Bridge, sandbox: Sandbox):
    export(practising, POWER)
    export(practising, SPENDERS)
    both = set(sandbox.answer(POWER).group) & set(sandbox.answer(SPENDERS).group)
    member = min(both)
    distinct_id = sandbox.answer(POWER).group[member]

    at = open_page(USERS)
    assert "Mixpanel is not asked" in shown(at)
    drawn(at.text_input(key="users_id").set_value(distinct_id).run())

    assert "In 2 groups now" in shown(at)
    assert member in shown(at)
    assert "Searched 2 changes of groups, all that are kept" in shown(at)

    drawn(at.selectbox(key="users_group").set_value(group_row(practising, POWER).id).run())
    assert at.query_params["group"] == str(group_row(practising, POWER).id)
    assert "In a group now" in shown(at)
    assert list(at.dataframe[0].value["Group"]) == ["Power users"]
    drawn(at.button(key="users_everywhere").click().run())
    assert "In 2 groups now" in shown(at)


def test_who_is_not_in_the_chosen_group_is_told_which_others_have_the_user(practising: Bridge, sandbox: Sandbox):
    trial, _ = export(practising, TRIAL), export(practising, POWER)
    before = set(sandbox.answer(TRIAL).group)
    sandbox.at(LATER_S)
    export(practising, TRIAL)
    left = before - set(sandbox.answer(TRIAL).group)
    user = min(left & set(sandbox.group(POWER)))

    text = shown(open_page(USERS, id=user, group=trial.group_id))

    assert "Not in this group now" in text
    assert "The user is in Power users." in text
    assert "In no group now" not in text


def test_a_user_is_looked_up_from_the_address(practising: Bridge, sandbox: Sandbox):
    export(practising, IMPORTED)
    id, distinct_id = next(iter((sandbox.group(IMPORTED) or {}).items()))

    at = open_page(USERS, id=id)

    assert distinct_id in shown(at)
    assert [list(states) for states in at.dataframe[0].value["State"]] == [["In the group"]]
    drawn(at.text_input(key="users_id").set_value("nobody at all").run())
    assert "Not found" in shown(at)


def test_an_unknown_id_is_said_and_shown_as_it_is(practising: Bridge):
    export(practising, POWER)

    text = shown(open_page(USERS, id="no**body**"))

    assert "No group has this id" in text
    assert "no**body**" in text
    assert "This group does not have this id" in shown(open_page(USERS, id="no**body**", group=1))


@pytest.mark.parametrize(
    ("user_id", "sentence"),
    [
        ("x" * 60_000, "Id: at most 1,024 characters."),
        ("i_a\0b", "Id: it holds characters that cannot be used here."),
        ("   ", "Id: this is needed."),
    ],
    ids=["long", "control", "blank"],
)
def test_what_is_no_id_is_refused_where_it_is_entered(exported: Bridge, user_id: str, sentence: str):
    at = open_page(USERS, id=user_id)

    assert sentence in shown(at)
    assert len(at.text_input(key="users_id").value) < 2_000
    drawn(at.text_input(key="users_id").set_value(user_id * 2).run())
    assert sentence in shown(at)
    assert len(at.query_params["id"]) < 2_000


def test_an_id_that_was_pasted_with_an_invisible_character_says_so(practising: Bridge):
    export(practising, POWER)

    text = shown(open_page(USERS, id="u1\u200b"))

    assert "No group has this id" in text
    assert "u1<U+200B>" in text.replace("\\", "")
    assert "contains an invisible character" in text
    assert "an invisible character" not in shown(open_page(USERS, id="unheard-of"))


@few(1)
@pytest.mark.parametrize("group", ["99", "abc", "x' or 1=1"])
def test_an_address_of_no_group_says_so_and_looks_in_all(practising: Bridge, sandbox: Sandbox, group: str):
    export(practising, POWER)

    text = shown(open_page(USERS, id=sandbox.answer(POWER).ids[0], group=group))

    assert f"There is no delivered group {group}" in text
    assert "In a group now" in text


@pytest.mark.parametrize(
    ("reason", "state", "why"),
    [
        ("unmatched", "Not in the group", "Unmatched: no Apptimize id"),
        ("duplicate", "In the group", ". Counted under the profile "),
    ],
)
def test_an_excluded_profile_is_told_why(practising: Bridge, reason: str, state: str, why: str):
    run = export(practising, IMPORTED)
    excluded = match_funnel.excluded(practising, LOCAL, run.id or 0, reasons=[reason], limit=1)
    distinct_id = excluded.rows[0][1]

    (answer,) = open_page(USERS, id=distinct_id).dataframe[0].value.to_dict("records")

    assert list(answer["State"]) == [state]
    assert why in answer["Since, or why not"]


def test_without_kept_changes_only_the_present_is_told(practising: Bridge, sandbox: Sandbox, two_runs: tuple[Run, Run]):
    for run in two_runs:
        practising.snapshots.remove(run.difference or "")
    member = sandbox.answer(TRIAL).ids[0]

    text = shown(open_page(USERS, group=group_row(practising, TRIAL).id, id=member))

    assert "since before" in text


def test_with_lost_members_a_user_is_not_told_to_be_in_none(practising: Bridge, sandbox: Sandbox):
    export(practising, POWER)
    export(practising, SPENDERS)
    member = min(set(sandbox.answer(POWER).group) - set(sandbox.answer(SPENDERS).group))
    newest = runs.list_runs(practising, LOCAL, limit=1)[0]
    for name in (newest.snapshot, newest.difference):
        practising.snapshots.remove(name)

    user = shown(open_page(USERS, id=member))

    assert "In a group now" in user
    assert 'It is not known who is in "Big <b>spenders</b>" &' in user


def test_a_viewer_looks_users_up(practising: Bridge, sandbox: Sandbox):
    export(practising, POWER)
    vera = sign_in_as(practising, Role.VIEWER)

    assert "In a group now" in shown(open_page(USERS, user=vera, id=sandbox.answer(POWER).ids[0]))


def test_a_search_stays_in_its_group_where_another_group_has_the_same_name(practising: Bridge, tmp_path: Path):
    destinations.connect_csv(practising, LOCAL, folder=str(tmp_path / "groups"))
    export(practising, TRIAL, to="default")
    export(practising, TRIAL, to="csv")
    for group in groups.list_groups(practising, LOCAL):
        at = open_page(USERS, group=group.id)

        drawn(at.text_input(key="users_id").set_value("nobody").run())

        assert at.selectbox(key="users_group").value == group.id
    labels = at.selectbox(key="users_group").options
    assert sorted(labels) == ["csv: Trial ends this week", "default: Trial ends this week"]


def test_an_admin_forgets_a_person_after_a_dialog_that_says_what_goes_and_what_stays(
    practising: Bridge, sandbox: Sandbox, two_runs: tuple[Run, Run]
):
    member = min(sandbox.answer(TRIAL).group)
    at = open_page(USERS, id=member)

    drawn(at.button(key="users_forget").click().run())
    asked = shown(at)
    assert "places among members of groups as of runs" in asked or "place among the members of groups" in asked
    assert "Groups are not touched" in asked
    assert "the next run writes them to the group" in asked
    drawn(at.button(key="users_forget_yes").click().run())

    answered = shown(at)
    assert "The person was forgotten. 1 group that was given the person is written in full by the next run." in answered
    assert "No group has this id" in answered
    assert sandbox.group(TRIAL) == sandbox.answer(TRIAL).group


def test_only_admins_have_the_button_that_forgets(practising: Bridge, sandbox: Sandbox, two_runs: tuple[Run, Run]):
    member = min(sandbox.answer(TRIAL).group)

    at = open_page(USERS, user=sign_in_as(practising, Role.ANALYST), id=member)

    assert member in shown(at)
    assert "users_forget" not in page_buttons(at)
