"""What is printed for people: text of other origin cannot steer the terminal that shows it."""

from __future__ import annotations

import pytest

from core.cli import output
from core.reports.memberships import Lookback
from core.reports.user_lookup import UserLookup
from core.vendors.mixpanel_answers import Cohort
from data.models import Run, RunStatus

STEERING = "\x1b[31mred\x1b]0;title\x07\r\x9b2J"
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
        lambda: output.print_cohorts([cohort]),
        lambda: output.print_runs([run]),
        lambda: output.print_run(run),
        lambda: output.print_funnel(run),
        lambda: output.print_user(user),
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
