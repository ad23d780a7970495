"""Search on every page: the thing itself is opened, and a user who is nowhere is told why, as on every other screen."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import TextInput

from core.access.roles import LOCAL, Role
from core.bridge import Bridge
from core.reports import match_funnel
from core.syncs import one_time, recurring
from core.worker import service
from pages.shell import search_box
from tests.pages.dashboard import (
    COHORTS,
    GROUPS,
    HISTORY,
    MATCHING,
    OVERVIEW,
    USERS,
    drawn,
    open_page,
    shown,
    sign_in_as,
)
from tests.stage.home import export, group_row
from tests.stage.sandbox import IMPORTED, LATER_S, POWER, TRIAL, Sandbox


def search(at: AppTest, text: str) -> AppTest:
    """Open the search of a page, and enter a text."""
    drawn(at.button(key="frame_search").click().run())
    return drawn(field_of(at).set_value(text).run())


def field_of(at: AppTest) -> TextInput:
    return next(each for each in at.text_input if each.label == "Name, number or user id")


def hits(at: AppTest) -> list[str | None]:
    """Return the keys of what the search lists by its name or number."""
    keys = [button.key for button in at.button if (button.key or "").startswith("search_")]
    return [key for key in keys if key not in ("search_open", "search_user")]


def excluded_user(bridge: Bridge, run_id: int, reason: str) -> str:
    rows = match_funnel.excluded(bridge, LOCAL, run_id, reasons=[reason], limit=1).rows
    return rows[0][1]


def test_a_group_is_opened_from_another_page(exported: Bridge):
    at = search(open_page(HISTORY), "power")
    group = group_row(exported, POWER).id

    assert hits(at) == [f"search_group_{group}", f"search_cohort_{POWER}"]
    drawn(at.button(key=f"search_group_{group}").click().run())

    assert at.title[0].value == "Groups"
    assert at.query_params == {"group": str(group)}
    assert hits(at) == [], "the search is closed"


def test_a_run_a_sync_and_a_cohort_are_opened_by_their_numbers(exported: Bridge):
    sync = recurring.add_sync(exported, LOCAL, TRIAL).id
    for text, key, heading in (
        ("run 1", "search_run_1", "History"),
        (f"sync {sync}", f"search_sync_{sync}", "Syncs"),
        (str(TRIAL), f"search_cohort_{TRIAL}", "Cohorts"),
    ):
        at = search(open_page(OVERVIEW), text)
        drawn(at.button(key=key).click().run())
        assert at.title[0].value == heading


def test_enter_opens_what_is_found_first(exported: Bridge):
    member = str(open_page(GROUPS, group=1).dataframe[0].value["Apptimize id"][9])
    group = str(group_row(exported, POWER).id)
    for text, heading, params, hint in (
        ("power", "Groups", {"group": group}, "Enter opens the first, the arrow keys lead to the others."),
        ("run 1", "History", {"run": "1"}, "Enter opens it."),
        (f"{member} ", "Look up a user", {"id": member}, "Enter opens it."),
    ):
        at = search(open_page(OVERVIEW), text)
        assert hint in shown(at), text
        drawn(at.button(key="search_open").click().run())
        assert (at.title[0].value, at.query_params) == (heading, params)


def test_where_nothing_is_found_enter_leads_nowhere_and_what_is_searched_is_said(exported: Bridge):
    at = search(open_page(HISTORY), "nobody-7")
    drawn(at.button(key="search_open").click().run())

    assert at.title[0].value == "History"
    assert "Nothing has this name or number, and no user this id." in shown(at)
    assert "Search finds groups, syncs and cohorts by name or number" in shown(at)
    viewer = search(open_page(HISTORY, user=sign_in_as(exported, Role.VIEWER)), "sync 1")
    assert "Nothing has this number." in shown(viewer)
    assert "Syncs and cohorts are for analysts." in shown(viewer)
    assert "Why, and what to do" not in shown(viewer)
    assert "sync" not in field_of(viewer).placeholder.lower()


def test_a_search_stays_open_when_the_page_is_drawn_again_and_closes_with_another_page(exported: Bridge):
    at = search(open_page(GROUPS), "power")

    assert hits(drawn(at.run()))

    at.switch_page(HISTORY)
    assert hits(drawn(at.run())) == []


def test_names_are_shown_as_they_are(practising: Bridge, sandbox: Sandbox):
    at = search(open_page(COHORTS), "spenders")

    assert '"Big <b>spenders</b>" &' in shown(at)


def test_a_name_shows_its_emoji_and_what_is_hidden_in_it(practising: Bridge):
    family = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
    export(practising, TRIAL, group=f"{family} plan\u200d")

    at = search(open_page(COHORTS), "plan")

    assert f"{family} plan<U+200D>" in shown(at).replace("\\", "")


def test_a_viewer_finds_no_syncs_and_cohorts(exported: Bridge):
    recurring.add_sync(exported, LOCAL, POWER)

    at = search(open_page(GROUPS, user=sign_in_as(exported, Role.VIEWER)), "power")

    assert hits(at) == [f"search_group_{group_row(exported, POWER).id}"]


def test_a_member_is_found_by_either_id_and_opened(exported: Bridge):
    page = open_page(GROUPS, group=1)
    member = page.dataframe[0].value["Apptimize id"][0]

    at = search(page, member)

    assert "in Power users" in shown(at)
    drawn(at.button(key="search_user").click().run())
    assert at.title[0].value == "Look up a user"
    assert "In a group now" in shown(at)


def test_a_word_is_offered_to_be_looked_up_as_an_id(exported: Bridge):
    at = search(open_page(GROUPS), "power")

    assert "Look up “power” as a user's id" in shown(at)
    drawn(at.button(key="search_user").click().run())
    assert at.query_params == {"id": "power"}


def test_a_user_who_is_nowhere_is_told_the_same_from_every_screen(practising: Bridge):
    run = export(practising, IMPORTED)
    group, user = group_row(practising, IMPORTED).id, excluded_user(practising, run.id or 0, "unmatched")
    on_group = open_page(GROUPS, group=group)
    drawn(on_group.text_input(key="groups_members_search").set_value(user).run())
    screens = {
        "users": open_page(USERS, id=user),
        "group": on_group,
        "search": search(open_page(HISTORY), user),
    }
    twin = excluded_user(practising, run.id or 0, "control_character")
    for name, at in screens.items():
        text = shown(at)
        assert "and excluded: no Apptimize id. Set the id by hand, or have the app set it." in text, name
        assert "No sync keeps the group: it changes when the cohort is exported again." in text, name
        assert "Associate by hand" in links(at), name
    assert "the id contains a line break or another control character" in shown(open_page(USERS, id=twin))


def test_the_step_leads_to_where_ids_are_set_from_that_page_too(practising: Bridge):
    at = open_page(MATCHING)
    assert at.segmented_control(key="matching_view").value == "From cohort to group"

    at.query_params["view"] = "associate"

    assert drawn(at.run()).segmented_control(key="matching_view").value == "Associate by hand"
    drawn(at.segmented_control(key="matching_view").set_value("From cohort to group").run())
    assert "view" not in at.query_params


def test_another_group_is_opened_from_the_page_of_one(exported: Bridge):
    export(exported, IMPORTED)
    other = group_row(exported, IMPORTED).id

    at = search(open_page(GROUPS, group=group_row(exported, POWER).id), "imported")
    drawn(at.button(key=f"search_group_{other}").click().run())

    assert at.query_params == {"group": str(other)}
    assert "Imported from the old shop" in shown(at)


def test_who_may_not_take_the_step_is_told_whom_to_ask(practising: Bridge):
    run = export(practising, IMPORTED)
    user = excluded_user(practising, run.id or 0, "unmatched")

    at = open_page(USERS, user=sign_in_as(practising, Role.VIEWER), id=user)

    assert "An analyst or an admin can set the id by hand" in shown(at)
    assert "Associate by hand" not in links(at)


def test_matching_leads_to_the_same_answer(practising: Bridge, sandbox: Sandbox):
    export(practising, IMPORTED)
    excluded = {row[2] for row in match_funnel.excluded(practising, LOCAL, 1, limit=5000).rows}
    member = next(each for each in sandbox.answer(IMPORTED).ids if len(each) > 20 and each not in excluded)
    at = open_page(MATCHING, cohort=IMPORTED)

    drawn(at.text_input(key="matching_search").set_value("nobody-7").run())
    assert "No excluded profile matches the search." in shown(at)
    drawn(at.text_input(key="matching_search").set_value(member).run())
    assert "The user is a member of the group." in shown(at)

    drawn(at.text_input(key="matching_lookup").set_value("nobody-7").run())
    assert at.query_params == {"id": "nobody-7"}
    assert "Why, and what to do" in shown(at)
    assert "Pick a cohort" in links(at)


def test_a_user_who_left_is_told_when_and_when_the_next_run_is(practising: Bridge, sandbox: Sandbox):
    sync = recurring.add_sync(practising, LOCAL, TRIAL)
    service.once(practising)
    before = set(sandbox.answer(TRIAL).ids)
    sandbox.at(LATER_S)
    recurring.run_now(practising, LOCAL, sync.id or 0)
    service.once(practising)
    user = min(before - set(sandbox.answer(TRIAL).ids))

    text = shown(open_page(USERS, id=user))

    assert "run 2 removed the id on " in text
    assert "The next run is due at " in text
    recurring.pause_sync(practising, LOCAL, sync.id or 0)
    assert "Paused: its sync changes nothing until it is resumed." in shown(open_page(USERS, id=user))


def test_what_is_said_of_two_groups_names_whose_sync_is_meant(practising: Bridge):
    sync = recurring.add_sync(practising, LOCAL, POWER)
    service.once(practising)
    run = export(practising, IMPORTED)
    user = excluded_user(practising, run.id or 0, "control_character")

    assert "The next run of **Power users** is due at " in shown(open_page(USERS, id=user))
    recurring.pause_sync(practising, LOCAL, sync.id or 0)
    text = shown(open_page(USERS, id=user))

    assert "In the cohorts of **Power users**, **Imported from the old shop**, and excluded" in text
    assert "Paused: the sync of **Power users** changes nothing until it is resumed." in text
    recurring.remove_sync(practising, LOCAL, sync.id or 0)
    text = shown(open_page(USERS, id=user))
    assert "No sync keeps these groups: they change when their cohorts are exported again." in text


def test_a_user_of_a_previewed_cohort_is_led_to_export_it(practising: Bridge, sandbox: Sandbox):
    one_time.start_export(practising, LOCAL, TRIAL, dry_run=True)
    service.once(practising)
    user = sandbox.answer(TRIAL).ids[0]

    for at in (open_page(USERS, id=user), search(open_page(HISTORY), user)):
        assert "which was only previewed, by run 1: it has no group yet." in shown(at)
        assert "View cohort" in links(at)


@pytest.mark.usefixtures("first_day")
def test_before_mixpanel_is_connected_that_is_why_nobody_is_found():
    at = open_page(USERS, id="anybody")

    assert "Mixpanel is not connected, so no cohort was read." in shown(at)
    assert "Go to Connections" in links(at)


def test_both_keys_open_the_search():
    assert search_box.SHORTCUT == "Ctrl+k, /"
    at_button = open_page(OVERVIEW).button(key="frame_search")
    assert at_button.proto.shortcut == "ctrl+k, /"


def links(at: AppTest) -> list[str]:
    return [link.proto.label for link in at.get("page_link")]
