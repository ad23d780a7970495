"""When a vendor is asked again: how long its `Retry-After` asks to wait, and what makes no sense of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from core.errors import VendorUnavailable
from core.vendors.retry import RetryPlan, Tries, retry_after_s
from core.vendors.structured_fields import Item, parse_list


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        (" 30 ", 30.0),
        ("1.5", 1.5),
        ("", None),
        ("-5", None),
        ("soon", None),
        ("inf", None),
        ("nan", None),
        ("1e9", None),
        ("٣", None),
        ("9" * 400, None),
    ],
)
def test_retry_after_is_seconds_or_not_given(text: str, seconds: float | None):
    assert retry_after_s({"Retry-After": text}) == seconds


SENT = "Mon, 23 Nov 2026 12:00:00 GMT"


@pytest.mark.parametrize(
    ("until", "sent", "seconds"),
    [
        ("Mon, 23 Nov 2026 12:00:20 GMT", SENT, 20.0),
        ("Mon, 23 Nov 2026 11:00:00 GMT", SENT, 0.0),
        ("Mon, 23 Nov 2026 12:00:20 GMT", "", None),
        ("Mon, 23 Nov 2026 12:00:20 GMT", "today", None),
        ("Mon, 99 Nov 2026 12:00:20 GMT", SENT, None),
        ("Mon, 23 Nov 99999999999 12:00:20 GMT", SENT, None),
        ("Mon, 23 Nov 2026 12:00:20", SENT, None),
    ],
)
def test_a_date_is_measured_by_the_clock_of_who_sent_it(until: str, sent: str, seconds: float | None):
    assert retry_after_s({"Retry-After": until, "Date": sent}) == seconds


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ('"project";r=0;t=3600, "x";r=3', [("project", {"r": "0", "t": "3600"}), ("x", {"r": "3"})]),
        (' "project" ; r = 0 ;t=3600 ,x', [("project", {"r": "0", "t": "3600"}), ("x", {})]),
        ('project;R=0;qu="a, b; c";q', [("project", {"r": "0", "qu": "a, b; c", "q": ""})]),
        ("", []),
        (";r=0", []),
        ('"project', []),
        ('"project" r=0', [("project", {})]),
        ('"project";r=0 "more";r=1', [("project", {"r": "0"})]),
    ],
)
def test_a_header_field_is_read_as_a_list_of_items_with_parameters(text: str, items: list[tuple[str, dict[str, str]]]):
    assert parse_list(text) == [Item(name, parameters) for name, parameters in items]


@pytest.mark.parametrize("text", ["-1", "1.5", "x", "", "1000000001", "9" * 5000, "²"])
def test_a_parameter_is_a_number_from_zero_to_a_thousand_million_or_none(text: str):
    assert Item("project", {"r": text}).number("r") is None
    assert Item("project", {"r": "1000000000"}).number("r") == 10**9


def test_the_machinery_of_retries_is_built_after_a_failure_and_counts_it_as_the_first_try():
    built, noted, ends = list[object](), list[str](), ["busy", "busy", "done"]

    class Plan(RetryPlan):
        def attempts_on(self, give_up: Callable[[Exception], bool | float]) -> Any:
            built.append(give_up)
            return super().attempts_on(give_up)

    class Noted:
        def begin_try(self, key: object, /) -> None:
            noted.append("try")

        def refused(self, key: object, why: str, again_in_s: float | None, /) -> None:
            noted.append(why)

    async def call() -> str:
        if (end := ends.pop(0)) == "busy":
            raise VendorUnavailable("busy")
        return end

    async def call_twice() -> list[str]:
        tries = Tries(Plan(over_s=0.001), Noted())
        ends[:0] = ["at once"]
        first = await tries.retried(call)
        assert (first, built, noted) == ("at once", [], [])
        return [first, await tries.retried(call)]

    assert asyncio.run(call_twice()) == ["at once", "done"]
    assert noted == ["try", "busy", "try", "busy", "try"]
    assert len(built) == 1
