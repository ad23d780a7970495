"""The address names what is shown: a reload or a shared link shows the same, and an odd one is answered."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from core.access.roles import LOCAL
from core.syncs import recurring
from data.engine import write_session
from data.models import Run
from tests.pages.dashboard import (
    AUDIT,
    COHORTS,
    GROUPS,
    HISTORY,
    MATCHING,
    PEOPLE,
    SYNCS,
    USERS,
    drawn,
    open_page,
    shown,
)
from tests.stage.home import copy_home, export
from tests.stage.sandbox import NEWSLETTER, POWER, SPENDERS, Sandbox
from tests.stage.seeds import some

pytestmark = some(20)

TODAY = datetime.now(UTC).date()

ODD = (
    "abc",
    "99999999999",
    "999999",
    "-1",
    "0",
    "9" * 17,
    str(2**63 - 1),
    str(2**63),
    "1" + "0" * 30,
    "1.0",
    "1 2",
    "\u0661",
    "<b>**x**</b>",
)
# Fields and what is chosen in them: the kind, the key, and the value.
Chosen = list[tuple[str, str, Any]]
HISTORY_FILTERS: list[Chosen] = [
    [("text_input", "history_text", "news & <b>")],
    [("multiselect", "history_status", ["failed", "held"])],
    [("multiselect", "history_trigger", ["cli"]), ("toggle", "history_dry", False)],
    [("selectbox", "history_sync", 2), ("selectbox", "history_actor", "local")],
    [("selectbox", "history_period", "Last 7 days"), ("pagination", "history_page", 2)],
]


def choose(at: AppTest, chosen: Chosen) -> AppTest:
    for kind, key, value in chosen:
        drawn(getattr(at, kind)(key=key).set_value(value).run())
    return at


def same_address(page: str, at: AppTest) -> AppTest:
    """Open the page again, at the address that another browser came to."""
    return open_page(page, **at.query_params)


def rows(at: AppTest) -> list[str]:
    """Return the tables; how long ago something was passes on between two looks."""
    return [re.sub(r"just now|\d+ \w+ ago", "<ago>", table.value.to_csv(index=False)) for table in at.dataframe]


def values(at: AppTest, chosen: Chosen) -> list[Any]:
    return [getattr(at, kind)(key=key).value for kind, key, _ in chosen]


@pytest.fixture(scope="module")
def busy_template(exported_template: Path, module_sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of several syncs, more of them than a page of History holds, and a recurring sync with a tag."""
    home = copy_home(exported_template, tmp_path_factory.mktemp("busy") / "home")
    with home.bridge(mixpanel_url=module_sandbox.url) as bridge:
        export(bridge, SPENDERS)
        sync = recurring.add_sync(bridge, LOCAL, NEWSLETTER, tags=["a tag, of two"])
        recurring.pause_sync(bridge, LOCAL, sync.id or 0)
        with write_session(bridge.engine) as session:
            run = session.get_one(Run, 1)
            names = ("sync_id", "group_id", "cohort_id", "cohort_name", "group_name", "destination", "trigger", "actor")
            same = {name: getattr(run, name) for name in (*names, "queued_at")}
            session.add_all(Run(**same, status="failed") for _ in range(30))
    return home.path


@pytest.fixture
def busy(busy_template: Path, module_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That home, in which these tests change nothing."""
    monkeypatch.setenv("COHORT_BRIDGE_HOME", str(busy_template))
    monkeypatch.setenv("COHORT_BRIDGE_MIXPANEL_URL", module_sandbox.url)
    return busy_template


@pytest.mark.parametrize("chosen", HISTORY_FILTERS, ids=lambda chosen: chosen[0][1])
def test_the_filters_of_history_are_in_its_address(busy: Path, chosen: Chosen):
    at = choose(open_page(HISTORY), chosen)

    again = same_address(HISTORY, at)

    assert at.query_params
    assert values(again, chosen) == values(at, chosen) == [value for _, _, value in chosen]
    assert rows(again) == rows(at)


def test_what_is_usual_needs_no_word_in_the_address(busy: Path):
    at = choose(open_page(HISTORY), HISTORY_FILTERS[4])

    drawn(at.selectbox(key="history_period").set_value("Any time").run())

    assert not at.query_params


def test_days_are_in_the_address_in_either_order(busy: Path):
    chosen: Chosen = [("date_input", "history_from", date(2026, 11, 3)), ("date_input", "history_to", TODAY)]
    at = choose(open_page(HISTORY), [("selectbox", "history_period", "Chosen days"), *chosen])
    assert rows(at)

    again = same_address(HISTORY, at)

    assert values(again, chosen) == [value for _, _, value in chosen]
    assert rows(again) == rows(at) == rows(open_page(HISTORY, **{"period": "days", "from": TODAY, "to": "2026-11-03"}))


def test_the_filters_are_there_again_after_a_row_was_open(busy: Path):
    at = choose(open_page(HISTORY), [("multiselect", "history_status", ["failed"])])
    before = rows(at)

    at.query_params["run"] = "1"
    drawn(at.run())
    drawn(at.button(key="history_back").click().run())

    assert at.multiselect(key="history_status").value == ["failed"]
    assert rows(at) == before


def test_filters_that_find_nothing_are_cleared_by_a_button(busy: Path):
    at = open_page(HISTORY, text="nobody bears this name", period="hour", page=2)
    assert "No run matches the filters." in shown(at)

    drawn(at.button(key="history_clear").click().run())

    assert not at.query_params
    assert at.text_input(key="history_text").value == ""
    assert at.selectbox(key="history_period").value == "Any time"
    assert rows(at)


@pytest.mark.parametrize(
    ("name", "text", "label"),
    [
        ("status", "faild", "State"),
        ("trigger", "x' or 1=1", "Started"),
        ("actor", "**nobody**", "By"),
        ("period", "year", "Time"),
        ("dry", "maybe", "With previews"),
    ],
)
def test_a_filter_of_the_address_that_is_not_there_is_left_out_and_said(busy: Path, name: str, text: str, label: str):
    at = open_page(HISTORY, **{name: text})

    assert f"“{label}” cannot be “{text}”, which the address asks for: it is left out." in shown(at)
    assert rows(at) == rows(open_page(HISTORY))


def test_a_list_of_the_address_may_be_written_in_one(busy: Path):
    at = open_page(HISTORY, status="failed, succeeded,failed,", sync="2,2")

    assert at.multiselect(key="history_status").value == ["failed", "succeeded"]
    assert at.selectbox(key="history_sync").value == 2
    assert "left out" not in shown(at)
    partly = open_page(HISTORY, sync="2,99", run="")
    assert partly.selectbox(key="history_sync").value == 2
    assert "There is no sync 99" in shown(partly)
    assert "Run 1:" in shown(open_page(HISTORY, run="1,1"))
    assert "There is no run 1,2." in shown(open_page(HISTORY, run="1,2"))


@pytest.mark.parametrize("day", ["2026-13-01", "9999-12-31", "0001-01-01", "today"])
def test_a_day_that_is_none_is_left_out_and_said(busy: Path, day: str):
    at = open_page(HISTORY, **{"period": "days", "from": day})

    assert f"“From” cannot be “{day}”" in shown(at)
    assert rows(at)


@pytest.mark.parametrize("number", ["0", "-1", "abc", "99", "9" * 30])
def test_a_page_of_the_address_that_is_not_there_is_the_nearest_that_is(busy: Path, number: str):
    at = open_page(HISTORY, page=number)

    assert at.pagination(key="history_page").value == (2 if number == "99" else 1)
    assert rows(at)


def test_of_two_values_for_one_choice_the_last_counts(busy: Path):
    at = open_page(HISTORY)
    at.query_params["sync"] = ["1", "2"]
    at.query_params["run"] = ["", "1"]

    assert "Run 1:" in shown(drawn(at.run()))
    del at.query_params["run"]
    assert drawn(at.run()).selectbox(key="history_sync").value == 2


@pytest.mark.parametrize(
    ("page", "chosen"),
    [
        (AUDIT, [("text_input", "audit_who", "local"), ("text_input", "audit_text", "default")]),
        (AUDIT, [("selectbox", "audit_action", "connect_mixpanel"), ("selectbox", "audit_outcome", "Done")]),
        (AUDIT, [("selectbox", "audit_period", "Last hour")]),
        (GROUPS, [("text_input", "groups_search", "spend")]),
        (COHORTS, [("text_input", "cohorts_search", "news"), ("toggle", "cohorts_hidden", True)]),
        (SYNCS, [("segmented_control", "syncs_state", "Paused"), ("text_input", "syncs_search", "news")]),
        (SYNCS, [("multiselect", "syncs_tags", ["a tag, of two"])]),
        (MATCHING, [("selectbox", "matching_cohort", str(POWER)), ("multiselect", "matching_reasons", ["unmatched"])]),
        (USERS, [("selectbox", "users_group", 1)]),
    ],
    ids=lambda value: value[0][1] if isinstance(value, list) else "",
)
def test_the_filters_of_every_list_are_in_its_address(busy: Path, page: str, chosen: Chosen):
    at = choose(open_page(page), chosen)

    again = same_address(page, at)

    assert values(again, chosen) == [value for _, _, value in chosen]
    assert rows(again) == rows(at)


@pytest.mark.parametrize(
    ("page", "name", "sentence"),
    [
        (COHORTS, "cohort", "Mixpanel lists no cohort {} in this project."),
        (SYNCS, "sync", "There is no sync {}."),
        (GROUPS, "group", "There is no delivered group {}"),
        (HISTORY, "run", "There is no run {}."),
        (HISTORY, "sync", "There is no sync {}: the runs of all syncs are shown."),
        (MATCHING, "association", "There is no association {}."),
        (MATCHING, "cohort", "No read of a cohort {} is kept: all cohorts are shown."),
        (USERS, "group", "There is no delivered group {}: all groups are searched."),
        (PEOPLE, "person", "There is no person {}."),
        (AUDIT, "line", "There is no line {}."),
    ],
    ids=lambda value: "" if "{}" in str(value) else str(value).rpartition("/")[2],
)
def test_an_id_of_nothing_is_answered_on_every_page(busy: Path, page: str, name: str, sentence: str):
    at = open_page(page)
    for text in ODD if page == HISTORY else ODD[:2]:
        at.query_params[name] = text
        assert sentence.format(text) in shown(drawn(at.run())), text
