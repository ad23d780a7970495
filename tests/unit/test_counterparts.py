"""What `make counterparts` compares, says and keeps; the readers themselves run only there."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.counterparts.compare import PAGE_SIZE, Compared, compare, compare_all
from tests.counterparts.readers import READERS
from tests.counterparts.stand import standing
from tests.counterparts.table import BEGIN, END, Result, format_table, keep
from tests.stage.processes import ROOT


def person(id: Any, **properties: Any) -> dict[str, Any]:
    return {"$distinct_id": id, "$properties": properties}


def read(id: Any, **properties: Any) -> dict[str, Any]:
    return {"cohort": 1, "distinct_id": id, "properties": properties}


def differs(expected: list[Any], rows: list[Any], *, properties: bool = True, pages: bool = True) -> str:
    return compare(1, expected, rows, properties=properties, pages=pages).differs


def test_the_same_people_in_any_order_are_equal():
    assert differs([person("a", x=1), person(7, x={"y": [None]})], [read("7", x={"y": [None]}), read("a", x=1.0)]) == ""
    assert differs([], []) == ""


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([read("a", x=1)], "1 missing"),
        ([read("a", x=1), read("b", x=True), read("b", x=True)], "1 too many"),
        ([read("a", x=1), read("c", x=True)], "1 missing, 1 too many"),
        ([read("a", x=2), read("b", x=True)], "1 with other properties"),
        ([read("a", x=1), read("b", x=1)], "1 with other properties"),
        ([read("a", x="1"), read("b", x=True)], "1 with other properties"),
        ([read("a"), read("b", x=True)], "1 with other properties"),
    ],
)
def test_each_difference_is_counted(rows: list[Any], words: str):
    assert differs([person("a", x=1), person("b", x=True)], rows) == words


def test_where_ids_alone_are_handed_on_ids_are_compared():
    assert differs([person("a", x=1)], [{"distinct_id": "a"}], properties=False) == ""
    assert differs([person("a", x=1)], [{"distinct_id": "b"}], properties=False) == "1 missing, 1 too many"
    assert differs([person("a", x=1)], [{"distinct_id": "a"}]) == "1 with other properties"


def test_of_a_reader_without_pages_the_first_page_is_compared_and_no_less():
    cohort = [person(number) for number in range(PAGE_SIZE + 5)]
    rows = [read(number) for number in range(PAGE_SIZE)]

    whole = compare(1, cohort, rows, properties=True, pages=False)
    assert (whole.differs, whole.partly) == ("", True)
    assert differs(cohort, rows, pages=True) == "5 missing"
    assert differs(cohort, rows[1:], pages=False) == "6 missing"
    assert differs(cohort, [*rows[1:], read("stranger")], pages=False) == "1 too many"
    small = compare(1, cohort[:PAGE_SIZE], rows, properties=True, pages=False)
    assert (small.differs, small.partly) == ("", False)


def lines_of(lines: list[dict[str, Any]], cannot: dict[int, str] | None = None) -> list[Compared]:
    wanted = {1: [person("a")], 2: [person("b")]}
    return compare_all(wanted, lines, properties=True, pages=True, cannot=cannot or {})


def test_a_cohort_counts_as_read_only_when_its_reader_says_so():
    rows = [read("a"), {"cohort": 1, "read": True}, {"cohort": 2, "distinct_id": "b", "properties": {}}]

    assert [each.differs for each in lines_of(rows)] == ["", "not read to its end"]
    assert [each.differs for each in lines_of([])] == ["not read to its end"] * 2
    assert [each.differs for each in lines_of([*rows, {"cohort": 2, "read": True}])] == ["", ""]
    strange = [{"cohort": 3, "distinct_id": "c", "properties": {}}, {"cohort": 3, "read": True}]
    assert lines_of([*rows, {"cohort": 2, "read": True}, *strange])[2].differs == "nobody asked for it"


def test_a_failure_is_a_difference_unless_it_is_known_of_the_reader():
    rows = [read("a"), {"cohort": 1, "read": True}, {"cohort": 2, "failed": "half a character"}]

    assert lines_of(rows)[1].differs == "failed: half a character"
    assert lines_of(rows, {2: "half a character"})[1] == Compared(2, cannot="half a character")
    mended = [*rows[:2], {"cohort": 2, "distinct_id": "x", "properties": {}}, {"cohort": 2, "read": True}]
    assert lines_of(mended, {2: "half a character"})[1].differs == "1 missing, 1 too many"


def result(*cohorts: Compared, **more: Any) -> Result:
    return Result("reader", "1.0", "ids", cohorts, **more)


@pytest.mark.parametrize(
    ("made", "right"),
    [
        (result(Compared(1, 3), Compared(2, 4)), True),
        (result(Compared(1, 3), Compared(2, cannot="so")), True),
        (result(Compared(1, 3), Compared(2, 4, "1 missing")), False),
        (result(Compared(2, cannot="so")), False),
        (result(), False),
        (result(missing="no matching version"), False),
        (result(missing="node is missing", allowed=True), True),
    ],
)
def test_only_who_read_something_and_nothing_else_is_right(made: Result, right: bool):
    assert made.is_right is right


def test_the_table_says_what_was_read_and_what_was_not():
    table = format_table(
        [
            result(Compared(1, 1200), Compared(2, 4), Compared(3, cannot="a reason"), notes=("is slow",)),
            Result("second", "2.0", "ids", (Compared(1, 3, "1 missing"),)),
            Result("third", "3.0", "ids", missing="No matching distribution"),
        ]
    )

    assert table.splitlines() == [
        "| reader | version | cohorts read | profiles | compared | equal         |",
        "| ------ | ------- | ------------ | -------- | -------- | ------------- |",
        "| reader | 1.0     | 2 of 3       | 1,204    | ids      | yes           |",
        "| second | 2.0     | 1 of 1       | 3        | ids      | NO            |",
        "| third  | 3.0     | -            | -        | -        | not installed |",
        "",
        "- reader cannot read cohort 3: a reason.",
        "- reader is slow.",
        "- second differs at cohort 1: 1 missing.",
        "- third did not run: No matching distribution.",
    ]


def test_the_table_is_kept_between_its_marks(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")

    keep("new\n", page)
    keep("new\n", page)

    assert page.read_text() == f"before\n{BEGIN}\nnew\n{END}\nafter\n"


def test_what_is_kept_is_of_the_versions_that_are_pinned():
    kept = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in kept.splitlines() if line.startswith("|")]

    assert {row[0]: row[1] for row in rows[2:]} == {reader.package: reader.version for reader in READERS}
    assert {row[-1] for row in rows[2:]} == {"yes"}


def test_mixpanels_name_leads_to_the_sandbox_and_no_other_name_anywhere(tmp_path: Path):
    with standing(tmp_path) as stand:
        trusted = ssl.create_default_context(cafile=stand.certificate)
        account = (stand.environment()["COUNTERPART_PROJECT_SECRET"], "")
        with httpx.Client(proxy=stand.proxy, verify=trusted, trust_env=False, auth=account) as client:
            assert client.get("https://mixpanel.com/api/2.0/cohorts/list").json()[0]["name"] == "Everyone"
            for other in ("https://example.com/", "https://mixpanel.com:8443/"):
                with pytest.raises(httpx.ProxyError, match="403"):
                    client.get(other)
            assert client.get("http://mixpanel.com/").status_code == 403
