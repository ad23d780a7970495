"""Files of users to associate: every line gets an answer, and rows are checked together as they would be by hand."""

from __future__ import annotations

import io
import os
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.associate.rows import PROBLEMS, Problem, read_rows
from core.errors import SettingsError
from core.rules.suspect_ids import Suspect, Warn
from data.members import association_check
from data.members.association_check import CheckRules, KnownProfiles
from data.members.association_rows import ImportRows, PlannedRow, RawRow, RowFilter
from data.models import Member
from tests.stage.seeds import some

pytestmark = some(14)

HEADER = b"distinct_id,apptimize_id\n"
few = st.sampled_from(["u1", "u2", "u3", "i_2"]), st.sampled_from(["i_1", "i_2", "a_1", "7", "u1"])


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> ImportRows:
    home = tmp_path_factory.mktemp("rows")
    return ImportRows(home / "kept", scratch=home / "scratch", memory_mb=60)


def read(content: bytes) -> list[RawRow]:
    return list(read_rows(io.BytesIO(content), expects_prefix=True))


def test_every_problem_has_a_sentence():
    assert PROBLEMS.keys() == {*Problem, *Suspect, *Warn}


@given(st.binary(max_size=200))
def test_whatever_stands_in_a_file_every_line_gets_one_answer(content: bytes):
    lines = [line for line in content.split(b"\n") if line.strip()]
    if not lines:
        with pytest.raises(SettingsError):
            read(HEADER + content)
        return

    rows = read(HEADER + content)

    assert len(rows) == len(lines)
    assert all(row.problem is None or set(row.problem.split(" ")) <= PROBLEMS.keys() for row in rows)
    for row in rows:
        "".join(row.member).encode()  # can be kept, whatever it was


@given(st.binary(max_size=80))
def test_whatever_a_file_begins_with_it_is_read_or_refused_with_a_sentence(content: bytes):
    with suppress(SettingsError):
        read(content)


def test_a_quote_that_is_never_closed_spoils_its_own_line_alone():
    rows = read(HEADER + b'u1,"i_1\nu2,i_2\n"u3",i_3\n')

    assert [(row.row, row.member.distinct_id, row.problem) for row in rows[1:]] == [(3, "u2", None), (4, "u3", None)]
    assert rows[0].problem == "quotes"


def test_a_line_break_of_its_own_does_not_hide_the_rest_of_a_line():
    rows = read(HEADER + b'"u1","i_1"\r"u2","i_2"\n"u3","i_3"\r\n')

    assert [(row.row, row.problem) for row in rows] == [(2, "control_character"), (3, None)]


def test_an_id_that_its_prefix_makes_too_long_is_not_written(kept: ImportRows):
    kept.keep([RawRow(2, Member("x" * 255, "u1"), None), RawRow(3, Member("y" * 254, "u2"), None)])

    assert kept.check(CheckRules(prefix="i_", prefixes=("i_",)), KnownProfiles()).problems == {"too_long": 1}


def test_a_plan_is_not_replaced_by_a_check_that_must_not(kept: ImportRows):
    kept.keep([RawRow(2, Member("1", "u1"), None)])
    kept.check(CheckRules(prefix="i_", prefixes=("i_",)), KnownProfiles())

    @contextmanager
    def refuse() -> Generator[None]:
        raise SettingsError("Another one holds it.")
        yield

    with pytest.raises(SettingsError):
        kept.check(CheckRules(prefix="a_", prefixes=("a_",)), KnownProfiles(), within=refuse())

    assert [row.member.apptimize_id for rows in kept.iterate() for row in rows] == ["i_1"]


def test_all_that_is_wrong_with_a_row_is_accepted_or_it_is_not_written(kept: ImportRows):
    kept.keep(read(HEADER + "nan,i_1E+15\u200b\nu2,i_7.0\n2026-11-26,i_8\u200b\nu4,i_\u200b\n".encode()))
    problems = [
        kept.check(CheckRules(None, ("i_",), accepted=accepted), KnownProfiles()).problems
        for accepted in ((), ("exponent", "empty_marker"), ("exponent", "invisible_ends", "date", "decimal_zero"))
    ]

    assert problems == [
        {"exponent": 1, "decimal_zero": 1, "date": 1, "nothing_seen": 1},
        {"invisible_ends": 1, "decimal_zero": 1, "date": 1, "nothing_seen": 1},
        {"empty_marker": 1, "nothing_seen": 1},
    ]
    assert kept.planned(RowFilter(warned=True)) == [
        PlannedRow(3, Member("i_7.0", "u2"), None, "unseen", False, "decimal_zero"),
        PlannedRow(4, Member("i_8\u200b", "2026-11-26"), None, "unseen", False, "date"),
    ]


def test_a_plan_of_before_there_were_warnings_is_read(kept: ImportRows):
    kept.folder.mkdir(parents=True, exist_ok=True)
    columns = "2 AS row, 'u1' AS distinct_id, 'i_1' AS apptimize_id, NULL AS problem, 'new' AS effect, false AS taken"
    duckdb.execute(f"COPY (SELECT {columns}) TO '{kept.folder / 'plan.parquet'}' (FORMAT parquet)")

    assert kept.planned(RowFilter(writable=True)) == [PlannedRow(2, Member("i_1", "u1"), None, "new", False, None)]
    assert (kept.count(RowFilter(warned=True)), kept.count(RowFilter(writable=True))) == (0, 1)
    assert [list(chunk) for chunk in kept.iterate()] == [kept.planned(RowFilter(writable=True))]


def test_a_mark_at_the_start_of_a_file_belongs_to_no_id():
    marked = read("\ufeff\u200bdistinct_id\u200b;apptimize_id\n\ufeffu1;i_1\nu2;i_2\n".encode())

    assert [row.problem for row in marked] == ["invisible_ends", None]


@pytest.mark.parametrize("blank", ["\u00a0", "\u3000", "\u2003"])
def test_a_blank_of_any_kind_at_an_end_is_one(blank: str):
    assert [row.problem for row in read(HEADER + f"u1{blank},i_1\nu2,{blank}i_2\n".encode())] == ["spaces", "spaces"]


def test_a_line_without_an_end_is_not_read_into_memory():
    rows = read(HEADER + b"u1," + b"x" * (3 * 2**20) + b"\nu2,i_2\n")

    assert [(row.row, row.problem) for row in rows] == [(2, "line_too_long"), (3, None)]
    assert len(rows[0].member.distinct_id) <= 200


def check_by_hand(rows: list[tuple[str, str]], prefix: str | None) -> list[str | None]:
    """Check rows as the words of the page say it."""
    final = [
        (distinct_id, apptimize_id if apptimize_id.startswith(("i_", "a_")) else (prefix or "") + apptimize_id)
        for distinct_id, apptimize_id in rows
    ]
    bare = [prefix is None and not apptimize_id.startswith(("i_", "a_")) for _, apptimize_id in rows]
    counted = {pair for pair, is_bare in zip(final, bare, strict=True) if not is_bare}
    told, seen = list[str | None](), set[tuple[str, str]]()
    for pair, is_bare in zip(final, bare, strict=True):
        if is_bare:
            told.append("unprefixed")
        elif sum(distinct_id == pair[0] for distinct_id, _ in counted) > 1:
            told.append("conflict")
        elif sum(apptimize_id == pair[1] for _, apptimize_id in counted) > 1:
            told.append("shared")
        elif any(
            apptimize_id == pair[0] != distinct_id or distinct_id == pair[1] != pair[0]
            for distinct_id, apptimize_id in counted
        ):
            told.append("crossed")
        else:
            told.append("repeated" if pair in seen else None)
        if not is_bare:
            seen.add(pair)
    return told


@given(st.lists(st.tuples(*few), min_size=1, max_size=8), st.sampled_from([None, "", "i_"]))
def test_rows_are_checked_together_as_they_would_be_by_hand(
    kept: ImportRows, pairs: list[tuple[str, str]], prefix: str | None
):
    kept.keep(
        RawRow(number, Member(apptimize_id, distinct_id), None)
        for number, (distinct_id, apptimize_id) in enumerate(pairs, start=2)
    )

    summary = kept.check(CheckRules(prefix=prefix, prefixes=("i_", "a_")), KnownProfiles())

    expected = check_by_hand(pairs, prefix)
    assert [row.problem for rows in kept.iterate() for row in rows] == expected
    assert summary.rows == len(pairs) == summary.writable + sum(summary.problems.values())
    with closing(kept.batches(after=1, size=2)) as batches:
        written = [row for batch in batches for row, _ in batch]
    assert written == [row for row, problem in enumerate(expected, start=2) if problem is None]


def test_rows_that_could_not_be_kept_whole_leave_those_of_before(tmp_path: Path):
    rows = ImportRows(tmp_path / "kept", scratch=tmp_path / "scratch", memory_mb=60)

    def two_then_broken() -> Iterator[RawRow]:
        yield RawRow(2, Member("i_1", "u1"), None)
        raise SettingsError("File: it ends here.")

    with pytest.raises(SettingsError):
        rows.keep(two_then_broken())

    assert not rows.has_plan
    assert not (rows.folder / "raw").exists()


def test_a_user_whom_a_reading_knows_under_another_users_id_is_not_written(kept: ImportRows, tmp_path: Path):
    members = tmp_path / "members.parquet"
    duckdb.execute(f"COPY (SELECT 'd1' AS distinct_id, 'i_d1' AS apptimize_id) TO '{members}' (FORMAT parquet)")
    kept.keep([RawRow(2, Member("i_new", "i_d1"), None), RawRow(3, Member("d1", "newcomer"), None)])

    summary = kept.check(CheckRules(prefix="", prefixes=()), KnownProfiles(members=[members]))

    assert (summary.problems, summary.effects, summary.taken) == ({"others_id": 1}, {"unseen": 1}, 1)


def keep_known(path: Path, rows: list[tuple[str, str | None]]) -> Path:
    """Keep profiles as a file of members or of excluded profiles has them: distinct id, Apptimize id."""
    columns = [[user for user, _ in rows], [apptimize_id for _, apptimize_id in rows]]
    duckdb.execute(
        "COPY (SELECT unnest(?::VARCHAR[]) AS distinct_id, unnest(?::VARCHAR[]) AS apptimize_id) "
        f"TO '{path}' (FORMAT parquet)",
        columns,
    )
    return path


def effect_by_hand(row: tuple[str, str], known: set[tuple[str, str | None]]) -> tuple[str | None, str | None, bool]:
    """Say what a row without a problem of its own comes to: its problem, its effect, whether its id is taken."""
    user, new = row
    its_ids = {apptimize_id for distinct_id, apptimize_id in known if distinct_id == user}
    others = {pair for pair in known if pair[0] != user}
    if not its_ids and any(apptimize_id == user for _, apptimize_id in others):
        return "others_id", None, False
    effect = "unseen"
    if its_ids:
        effect = "same" if new in its_ids else "changed" if its_ids != {None} else "new"
    return None, effect, any(new in pair for pair in others)


known_files = st.lists(st.lists(st.tuples(st.sampled_from(["u1", "u2", "u3", "i_1"]), few[1]), max_size=3), max_size=3)
excluded_files = st.lists(
    st.lists(st.tuples(st.sampled_from(["u2", "u3", "i_2"]), st.sampled_from([None, "i_1", "i_2"])), max_size=3),
    max_size=2,
)


@given(
    part_bytes=st.sampled_from([1, 150, 2**20]),
    pairs=st.lists(st.tuples(*few), min_size=1, max_size=6),
    members=known_files,
    excluded=excluded_files,
)
def test_what_rows_change_is_what_all_that_is_known_says(
    kept: ImportRows,
    part_bytes: int,
    pairs: list[tuple[str, str]],
    members: list[list[tuple[str, str]]],
    excluded: list[list[tuple[str, str | None]]],
):
    known = KnownProfiles(
        members=[keep_known(kept.folder / f"m{number}.parquet", [*rows]) for number, rows in enumerate(members)],
        excluded=[keep_known(kept.folder / f"x{number}.parquet", rows) for number, rows in enumerate(excluded)],
    )
    kept.keep(
        RawRow(number, Member(apptimize_id, distinct_id), None)
        for number, (distinct_id, apptimize_id) in enumerate(pairs, start=2)
    )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(association_check, "_PART_BYTES", part_bytes)
        kept.check(CheckRules(prefix="", prefixes=()), known)

    everything = {pair for rows in [*members, *excluded] for pair in rows}
    expected = list[tuple[str | None, str | None, bool]]()
    for pair, problem in zip(pairs, check_by_hand(pairs, ""), strict=True):
        expected.append((problem, None, False) if problem else effect_by_hand(pair, everything))
    planned = [(row.problem, row.effect, row.taken) for rows in kept.iterate() for row in rows]
    assert planned == expected


def test_memory_does_not_depend_on_the_number_of_groups(tmp_path: Path):
    first = keep_known(tmp_path / "members.parquet", [(f"d{number}", f"i_{number}") for number in range(3)])
    files = [tmp_path / f"{number}.parquet" for number in range(100)]
    for file in files:
        os.link(first, file)
    rows = ImportRows(tmp_path / "kept", scratch=tmp_path / "scratch", memory_mb=8)
    rows.keep(RawRow(number, Member(f"i_{number}", f"d{number}"), None) for number in range(2, 2002))

    summary = rows.check(CheckRules(prefix="", prefixes=()), KnownProfiles(files, files))

    assert summary.effects == {"same": 1, "unseen": 1999}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ((HEADER + b"u1,i_1\n").decode().encode("utf-16-le"), "File: it is UTF-16 text."),
        ((HEADER + b"u1,i_1\n").decode().encode("utf-16-be"), "File: it is UTF-16 text."),
        (b"PK\x03\x04\x14\x00\x06\x00", "File: it is a workbook, and no text."),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\x00", "File: it is a workbook, and no text."),
        ((HEADER + b"u1,i_1\n").replace(b"\n", b"\r"), "File: all of it is one line."),
    ],
)
def test_a_file_that_a_spreadsheet_saved_in_another_form_is_called_what_it_is(content: bytes, sentence: str):
    with pytest.raises(SettingsError) as caught:
        read(content)

    assert caught.value.message == sentence
    assert "Save it as CSV UTF-8" in caught.value.advice


@pytest.mark.parametrize("first", [b"sep=;\r\n", b"\xef\xbb\xbfsep=;\n", b'"sep=;"\n', b"SEP=;\n"])
def test_the_line_that_names_the_delimiter_to_a_spreadsheet_is_no_header(first: bytes):
    rows = read(first + b"distinct_id;apptimize_id\nu1;i_1\n")

    assert rows == [RawRow(3, Member(apptimize_id="i_1", distinct_id="u1"), None)]
