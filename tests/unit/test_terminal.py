"""What is printed for people: text of other origin cannot steer the terminal that shows it."""

from __future__ import annotations

import ast
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from core.cli import output, tables
from core.cli.cohorts import print_cohorts
from core.cli.match import print_funnel
from core.cli.who import print_user
from core.reports.memberships import Lookback
from core.reports.user_lookup import UserLookup
from core.syncs.listing import SyncView
from core.vendors.mixpanel_answers import Cohort
from data.models import Group, Run, RunStatus, Schedule, Sync, SyncKind

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


def sync_view(timing: int | Schedule, name: str) -> SyncView:
    now = datetime(2026, 11, 30, 8, tzinfo=UTC)
    sync = Sync(id=3, kind=SyncKind.RECURRING, mixpanel_id=1, group_id=1, project_id=1, cohort_id=1, created_at=now)
    sync.set_timing(timing)
    sync.next_run_at = now
    group = Group(destination_id=1, project_id=1, cohort_id=1, cohort_name=name, name=name, created_at=now)
    return SyncView(sync, group, "default", run_of(name))


@pytest.mark.parametrize(
    ("columns", "zone"),
    [(80, "Europe/Berlin"), (100, "America/Argentina/Buenos_Aires"), (200, "America/Argentina/Buenos_Aires")],
)
def test_a_list_of_syncs_breaks_no_word_of_a_schedule(
    columns: int, zone: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COLUMNS", str(columns))
    long = Schedule("0 8,17 * * 1-5", zone)
    name = "People who paid twice in November and came back"

    tables.print_syncs([sync_view(15, "Buyers"), sync_view(long, name)])

    words = printed(capsys).split()
    assert {"Schedule", zone, "08:00", "weekdays", "November", "failed"} <= set(words)
    assert "Tags" not in words, "no sync has any"


def test_where_a_word_is_longer_than_there_is_room_for_no_other_is_broken(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COLUMNS", "80")

    tables.print_syncs([sync_view(Schedule("30 6 1 * *", "America/Argentina/Buenos_Aires"), "People of November")])

    lines = printed(capsys).splitlines()
    assert max(map(len, lines)) <= 80
    assert {"Destination", "America/Argentina/Bueno", "s_Aires", "November", "failed"} <= set(" ".join(lines).split())


@pytest.mark.parametrize("columns", [1, 5, 20])
def test_a_list_in_hardly_any_room_is_printed_all_the_same(
    columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COLUMNS", str(columns))

    tables.print_syncs([sync_view(15, "Buyers")])

    assert printed(capsys)


def test_every_column_of_a_list_has_a_heading():
    headings: list[str] = []
    files = [path for path in Path(output.__file__).parent.glob("*.py") if path.name != "output.py"]
    for call in (node for path in files for node in ast.walk(ast.parse(path.read_text()))):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "print_table":
            header = call.args[0]
            headings += [ast.literal_eval(name) for name in header.elts] if isinstance(header, ast.Tuple) else []

    assert len(headings) > 20
    assert "" not in headings
