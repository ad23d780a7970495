"""Files whose ids a spreadsheet or a program has ruined: not written, unless somebody says that they are right."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlmodel import col, select

from core.access.roles import LOCAL
from core.associate import actions
from core.bridge import Bridge
from core.errors import SettingsError
from core.leases import lease
from data.engine import read_session
from data.models import AuditEntry
from tests.emulator.test_associate import bridge, check, do, get_property, ingested, outcomes, rows, token_home, write
from tests.stage.home import Home
from tests.stage.sandbox import Sandbox
from tests.stage.seeds import some

pytestmark = some(3)

__all__ = ["bridge", "token_home"]

# Either column, with and without a prefix; what is known of one id alone is tested in tests/unit/test_suspect_ids.py.
RUINED = rows(
    ("1.23457E+15", "i_1"),
    ("excel", "i_1.23457E+15"),
    ("#N/A", "i_2"),
    ("excel-2", "#REF!"),
    ("nan", "i_3"),
    ("pandas", "i_nan"),
    ("$device:NULL", "i_4"),
    ("2026-11-26", "i_5"),
    ("excel-3", "i_26-Nov"),
    ("\u200bpasted", "i_6"),
    ("pasted", "i_7\u200b"),
    ("word", "i_\u00ad8"),
    ("nothing", "i_"),
    ("\ufeff", "i_9"),
)
PROBLEMS = {"exponent": 2, "spreadsheet_error": 2, "empty_marker": 3, "date": 2, "invisible_ends": 3, "nothing_seen": 2}


def test_ruined_ids_are_told_by_kind_and_not_written_unless_that_kind_is_accepted(
    sandbox: Sandbox, token_home: Home, tmp_path: Path
):
    file = tmp_path / "users.csv"
    file.write_bytes(b"\xef\xbb\xbf" + RUINED + rows(("whole", "i_100045"), ("float", "i_100045.0"))[26:])

    done = token_home.run("associate", "--file", str(file), "--json")

    assert (done.code, done.json["stage"], done.json["written"]) == (0, "done", 2)
    assert (done.json["problems"], done.json["warnings"], done.json["accepted"]) == (PROBLEMS, {"decimal_zero": 1}, [])
    assert get_property(sandbox, "float") == "i_100045.0", "a warning is written"
    assert [get_property(sandbox, user) for user in ("nan", "2026-11-26", "excel", "pandas", "pasted")] == [None] * 5

    done = token_home.run("associate", "--file", str(file), "--accept", "date", "--accept", "empty_marker")

    assert "2 rows are not written: An id is a number in exponent form" in done.out
    assert "--accept exponent" in done.out
    assert "Of those to write, 1 row has a warning: An id ends with .0" in done.out
    assert [get_property(sandbox, user) for user in ("nan", "2026-11-26", "pandas")] == ["i_3", "i_5", "i_nan"]
    assert [get_property(sandbox, user) for user in ("excel", "1.23457E+15", "#N/A")] == [None] * 3
    assert "i_5 was set on 2026-11-26 by hand: local, " in token_home.run("who", "i_5").out


def test_a_problem_that_cannot_be_accepted_is_refused_by_name(token_home: Home, tmp_path: Path):
    file = tmp_path / "users.csv"
    file.write_bytes(rows(("u", "i_u")))

    for problem in ("conflict", "dates", "--json"):
        done = token_home.run("associate", "--file", str(file), "--accept", problem, "--json")

        assert done.code == 2
    done = token_home.run("associate", "--file", str(file), "--accept", "conflict")
    assert "Accept: conflict is none of exponent, thousands" in done.err


def test_rows_without_a_prefix_come_with_the_option_that_writes_them(token_home: Home, tmp_path: Path):
    file = tmp_path / "users.csv"
    file.write_bytes(rows(("u", "4711")))

    done = token_home.run("associate", "--file", str(file), "--dry-run")

    assert "1 row is not written: The Apptimize id starts with neither i_ nor a_." in done.out
    assert "--prefix i_, a_ or as-they-are" in done.out


def test_who_accepted_what_stands_in_the_audit_log_and_only_that_is_confirmed(sandbox: Sandbox, bridge: Bridge):
    seen = check(bridge, rows(("nan", "i_71"), ("2026-11-26", "i_nan"), ("fine", "i_72")))
    assert (seen.writable, seen.problems) == (1, {"empty_marker": 2})
    assert seen.id is not None
    accepted = accept(bridge, seen.id, "empty_marker")

    assert (accepted.writable, accepted.problems, accepted.warnings) == (2, {"date": 1}, {"empty_marker": 1})
    with pytest.raises(SettingsError, match="checked again meanwhile"):
        actions.confirm_association(bridge, LOCAL, seen.id, seen=seen)
    both = accept(bridge, seen.id, "date", "empty_marker")
    assert (both.writable, both.problems, both.accepted_problems) == (3, {}, ["empty_marker", "date"])
    assert accept(bridge, seen.id).problems == {"empty_marker": 2}, "and it can be taken back"
    with read_session(bridge.engine) as session:
        entries = session.exec(select(AuditEntry).where(col(AuditEntry.action) == "accept_problems")).all()
    assert [entry.after[f"association {seen.id}"]["accepted"] for entry in entries] == [
        "empty_marker",
        "empty_marker date",
        "",
    ]


def accept(bridge: Bridge, number: int, *problems: str):  # noqa: ANN201
    owner = lease.new_lease_owner()
    actions.accept_problems(bridge, LOCAL, number, problems, lease_owner=owner)
    return do(bridge, number, owner)


def test_what_was_accepted_is_given_its_prefix_and_checked_beside_the_others(bridge: Bridge):
    association = check(bridge, rows(("u1", "1E+15"), ("u2", "i_1E+15"), ("u3", "2026-11-26")))
    assert (association.problems, association.id) == ({"exponent": 2, "date": 1}, 1)

    assert accept(bridge, 1, "exponent").problems == {"unprefixed": 1, "date": 1}
    owner = lease.new_lease_owner()
    actions.choose_prefix(bridge, LOCAL, 1, "i_", lease_owner=owner)
    assert do(bridge, 1, owner).problems == {"shared": 2, "date": 1}


def test_a_user_who_is_entered_by_hand_is_checked_as_a_file_is(sandbox: Sandbox, bridge: Bridge):
    owner = lease.new_lease_owner()
    association = actions.associate_one(
        bridge, LOCAL, distinct_id="by-hand\u200b", apptimize_id="i_1", lease_owner=owner
    )
    assert association.id is not None

    checked = do(bridge, association.id, owner)

    assert (checked.writable, checked.problems) == (0, {"invisible_ends": 1})
    assert ingested(sandbox, "/engage") == []


def test_the_outcomes_say_what_was_ruined(sandbox: Sandbox, bridge: Bridge):
    done = write(bridge, rows(("fine-2", "i_81"), ("#NAME?", "i_82")))

    told = outcomes(bridge, done)
    assert [(row["outcome"], row["reason"]) for row in told.values()] == [
        ("written", ""),
        ("not written", "An id is an error of a spreadsheet, such as #N/A or ####."),
    ]
