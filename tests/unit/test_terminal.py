"""What is printed for people: text of other origin cannot steer the terminal that shows it."""

from __future__ import annotations

import json

import pytest

from core.cli import output, tables
from core.cli.cohorts import print_cohorts
from core.cli.match import print_funnel
from core.cli.who import print_user
from core.reports.memberships import Lookback
from core.reports.user_lookup import UserLookup
from core.vendors.mixpanel_answers import Cohort
from data.models import Run, RunStatus

STEERING = "\x1b[31mred\x1b]0;title\x07\r\x9b2J\u202e\u2028"
SHOWN = "\ufffd[31mred\ufffd]0;title"


def run_of(name: str) -> Run:
    return Run(
        id=1,
        sync_id=1,
        group_id=1,
        cohort_id=1,
        cohort_name=name,
        group_name=name,
        destination="default",
        trigger="cli",
        actor="cli",
        status=RunStatus.FAILED,
        matched_by="original:$apptimize_user_id",
        error_message=f"Mixpanel said {name}.",
    )


def printed(capsys: pytest.CaptureFixture[str]) -> str:
    shown = capsys.readouterr()
    return shown.out + shown.err


def test_names_and_messages_of_vendors_do_not_steer_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COLUMNS", "200")
    run = run_of(STEERING)
    user = UserLookup(STEERING, Lookback(0, None, is_more=False), distinct_ids=[STEERING], apptimize_ids=[STEERING])
    cohort = Cohort(id=1, name=STEERING, description="", count=1, created="", is_visible=True, of_groups=False)
    for show in (
        lambda: print_cohorts([cohort]),
        lambda: tables.print_runs([run]),
        lambda: tables.print_run(run),
        lambda: print_funnel(run),
        lambda: print_user(user),
        lambda: output.print_note(STEERING),
        lambda: output.complain(f"Mixpanel said {STEERING}.", "Wait."),
    ):
        show()

        text = printed(capsys)
        assert SHOWN in text
        assert not [sign for sign in text if sign != "\n" and not sign.isprintable()]


def test_other_text_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]):
    output.print_note("Größe [bold] :smile: 東京\nand a second line")

    assert printed(capsys) == "Größe [bold] :smile: 東京\nand a second line\n"


def test_a_line_of_a_vendor_is_no_line_of_ours(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "200")
    name = "Everyone\nRun 2: succeeded."
    for show in (
        lambda: tables.print_run(run_of(name)),
        lambda: print_funnel(run_of(name)),
        lambda: tables.print_runs([run_of(name)]),
        lambda: output.complain(f"Mixpanel said {name}.", "Wait."),
    ):
        show()

        assert not [line for line in printed(capsys).splitlines() if line.startswith("Run 2")]


def test_what_is_very_long_is_cut(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "200")
    for show in (
        lambda: tables.print_runs([run_of("x" * 100_000)]),
        lambda: tables.print_run(run_of("x" * 100_000)),
        lambda: output.complain("x" * 100_000, "Wait."),
    ):
        show()

        assert len(printed(capsys)) < 5000


def test_a_json_document_holds_it_all_and_steers_no_terminal(capsys: pytest.CaptureFixture[str]):
    name = f"{STEERING}\nGröße 東京 👩‍💻"

    output.print_json({"name": name})

    text = printed(capsys)
    assert json.loads(text) == {"name": name}
    assert "Größe 東京 👩‍💻" in text
    assert not [sign for sign in text.rstrip("\n") if not (sign.isprintable() or sign == "\u200d")]
