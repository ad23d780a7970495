"""What a server's answers say of the size of pages that it was asked for, and how long that is remembered."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from core.errors import (
    CohortNotExportable,
    CohortRefused,
    IncompleteRead,
    NoQuerySlot,
    PageSizeRefused,
    RateLimited,
    RunCancelled,
    RunHeld,
    RunTookTooLong,
    SessionLost,
    VendorAuthFailed,
    VendorRefused,
    VendorSurprise,
    VendorUnavailable,
)
from core.rules import page_sizes
from core.rules.page_sizes import Doubt, SizeFacts, Unproven

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("exc", "doubt"),
    [
        (IncompleteRead("x"), Doubt.REFUSED),
        (Unproven("x"), Doubt.UNPROVEN),
        (Unproven("x", is_contradicted=True), Doubt.FAILED),
        (PageSizeRefused("x", status=400), Doubt.REFUSED),
        (VendorSurprise("x"), Doubt.REFUSED),
        (CohortRefused("x", status=400), Doubt.FAILED),
        (VendorRefused("x", status=413), Doubt.FAILED),
        (VendorUnavailable("x", status=504), Doubt.FAILED),
        (VendorUnavailable("x"), Doubt.FAILED),
        (SessionLost("x"), Doubt.FAILED),
        (RunTookTooLong("x"), Doubt.FAILED),
        (MemoryError(), Doubt.FAILED),
        (CohortRefused("x", status=404), Doubt.FAILED),
        (VendorAuthFailed("x", status=403), Doubt.FAILED),
        (VendorAuthFailed("x", status=401), None),
        (VendorRefused("x", status=402), None),
        (RateLimited("x", kind="load"), Doubt.FAILED),
        (RateLimited("x", kind="concurrency"), Doubt.FAILED),
        (RateLimited("x", kind="hour"), None),
        (NoQuerySlot("x", next_at=NOON), None),
        (CohortNotExportable("x"), None),
        (RunCancelled("x"), None),
        (ValueError("x"), None),
    ],
)
def test_an_error_is_laid_to_the_size_where_the_size_may_be_to_blame(exc: BaseException, doubt: Doubt | None):
    assert page_sizes.doubt_after(exc) == doubt


@pytest.mark.parametrize(
    ("exc", "clears"),
    [
        (VendorUnavailable("x"), True),
        (IncompleteRead("x"), True),
        (RunHeld("x"), True),
        (RateLimited("x", kind="hour"), False),
        (NoQuerySlot("x", next_at=NOON), False),
        (RunTookTooLong("x"), False),
        (RunCancelled("x"), False),
    ],
)
def test_a_read_without_a_size_that_fails_as_well_clears_the_size(exc: BaseException, clears: bool):
    assert page_sizes.clears(exc) is clears


@pytest.mark.parametrize(
    ("page_size", "rows", "kind"),
    [
        (10_000, 10_000, None),
        (10_000, 9_999, Unproven),
        (10_000, 1_000, Unproven),
        (10_000, 0, Unproven),
        (5_000, 5_000, Unproven),
        (5_000, 4_999, Unproven),
        (1_000, 1_000, IncompleteRead),
        (20_000, 10_000, IncompleteRead),
        (20_000, 20_000, IncompleteRead),
    ],
)
def test_a_first_page_is_believed_if_it_says_the_size_and_is_full(page_size: int, rows: int, kind: type | None):
    try:
        page_sizes.prove_first(asked=10_000, page_size=page_size, rows=rows, total=25_000, may_offer=True)
        raised = None
    except IncompleteRead as exc:
        raised = exc

    assert (type(raised) if raised else None) is kind
    offered = raised.offered if isinstance(raised, Unproven) else None
    assert offered == (5_000 if (page_size, rows) == (5_000, 5_000) else None)


def test_a_full_page_that_is_the_only_one_shows_no_end():
    with pytest.raises(Unproven):
        page_sizes.prove_first(asked=10_000, page_size=10_000, rows=10_000, total=10_000, may_offer=True)


@pytest.mark.parametrize(("total", "doubt"), [(9_999, Doubt.UNPROVEN), (10_000, Doubt.FAILED), (25_000, Doubt.FAILED)])
def test_a_page_that_is_not_full_counts_where_more_follow(total: int, doubt: Doubt):
    with pytest.raises(Unproven) as caught:
        page_sizes.prove_first(asked=10_000, page_size=10_000, rows=9_999, total=total, may_offer=True)

    assert page_sizes.doubt_after(caught.value) is doubt


def test_a_second_offer_is_none():
    with pytest.raises(IncompleteRead) as caught:
        page_sizes.prove_first(asked=5_000, page_size=2_500, rows=2_500, total=9_000, may_offer=False)

    assert not isinstance(caught.value, Unproven)


def test_two_failures_running_are_a_refusal_and_a_read_that_is_whole_forgets_the_first():
    failed = SizeFacts(is_proven=True, offered=5_000, doubt=Doubt.FAILED)

    once = page_sizes.after_whole_without(failed, now=NOON)
    twice = page_sizes.after_whole_without(page_sizes.after_doubt(once, Doubt.TRYING), now=NOON)

    assert once == SizeFacts(failures=1, offered=5_000), "the next run tries alone"
    assert twice == SizeFacts(refused_at=NOON)
    assert page_sizes.after_whole(once) == SizeFacts(is_proven=True, offered=5_000)


@pytest.mark.parametrize(("held_back", "failures"), [(False, 0), (True, 1)])
def test_what_was_not_proven_counts_if_fewer_were_announced_than_there_are(held_back: bool, failures: int):
    unproven = page_sizes.after_doubt(SizeFacts(), Doubt.UNPROVEN, offered=5_000)

    settled = page_sizes.after_whole_without(unproven, now=NOON, held_back=held_back)

    assert settled == SizeFacts(offered=5_000, failures=failures)


def test_where_nothing_is_in_doubt_nothing_is_remembered():
    assert page_sizes.after_whole_without(SizeFacts(failures=1), now=NOON) == SizeFacts(failures=1)
    assert page_sizes.after_failure_without(SizeFacts(doubt=Doubt.REFUSED)) == SizeFacts()


@pytest.mark.parametrize(
    ("later", "refused"),
    [
        (timedelta(0), True),
        (timedelta(days=29, hours=23), True),
        (timedelta(days=30), False),
        (timedelta(seconds=-1), False),
    ],
)
def test_a_refusal_lasts_thirty_days_and_one_of_the_future_not_at_all(later: timedelta, refused: bool):
    assert SizeFacts(refused_at=NOON).is_refused(NOON + later) is refused


@pytest.mark.parametrize(
    ("listed", "last", "fills"),
    [
        (10_001, None, True),
        (10_000, None, False),
        (9_999, None, False),
        (None, None, False),
        (12_000, 9_000, False),
        (9_000, 12_000, True),
    ],
)
def test_a_page_is_expected_to_be_full_by_what_the_last_read_found(listed: int | None, last: int | None, fills: bool):
    assert page_sizes.fills(10_000, listed=listed, last=last) is fills
