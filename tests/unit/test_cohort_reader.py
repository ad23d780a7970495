"""Reading a cohort has an end of its own, whatever the server says of where the cohort ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest

from core.clock import SYSTEM_CLOCK
from core.errors import CohortBridgeError, IncompleteRead, RunHeld, VendorSurprise
from core.export.cohort_reader import CohortReader, ResizableSemaphore
from core.export.page_sizing import PageSizing
from core.export.progress import Progress
from core.rules.holding import hold_for_total
from core.rules.matching import MatchRule
from core.run_log import RunLog
from core.threads import WorkerThread
from core.vendors.mixpanel import Mixpanel
from core.vendors.mixpanel_project import Project
from core.vendors.query_budget import QueryLimit
from core.vendors.retry import RetryPlan
from data.engine import make_engine
from data.members.collector import Tally
from data.members.snapshots import Snapshots

SIZE = 10


class Unlimited:
    """As many queries as are asked for."""

    def spend(self) -> int:
        return 1

    def give_back(self, entry: int) -> None:
        pass

    def learn(self, limit: QueryLimit) -> None:
        pass


@dataclass
class Server:
    """Answers every page with the profiles that `rows` names for it, and announces `total` of them."""

    rows: Callable[[int], Sequence[object]]
    total: object
    page_size: object = SIZE
    asked: list[int] = field(default_factory=list[int])
    announced: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])

    async def take_announcement(self, pages: int) -> None:
        """Note how many pages are announced, after how many were asked for."""
        self.announced.append((pages, len(self.asked)))

    def answer(self, request: httpx.Request) -> httpx.Response:
        number = int(parse_qs(request.content.decode()).get("page", ["0"])[0])
        self.asked.append(number)
        results = [
            {"$distinct_id": id, "$properties": {"$apptimize_user_id": f"i_{id}"}} if isinstance(id, str) else id
            for id in self.rows(number)
        ]
        page: dict[str, Any] = {"page": number, "session_id": "s", "status": "ok", "results": results}
        if number == 0:
            page |= {"page_size": self.page_size, "total": self.total}
        return httpx.Response(200, json=page)


def people(count: int) -> Callable[[int], Sequence[object]]:
    """So many users, page by page."""
    return lambda page: [f"u{number}" for number in range(page * SIZE, min(count, (page + 1) * SIZE))]


def accept(*, profiles: int, totals: Sequence[int]) -> None:
    """Let every total through, as a person who looked at it does."""


def refuse(*, profiles: int, totals: Sequence[int]) -> None:
    raise hold_for_total(profiles=profiles, totals=totals)


def read(server: Server, folder: Path, *, accept_total: bool = False) -> Tally:
    snapshots = Snapshots(folder / "kept", scratch=folder / "scratch", memory_mb=60)
    engine = make_engine(f"sqlite:///{folder}/none.db")  # of the vendor's own pages nothing is remembered

    async def main() -> Tally:
        thread = WorkerThread("read")
        async with httpx.AsyncClient(transport=httpx.MockTransport(server.answer)) as http:
            retry = RetryPlan(attempts=2, over_s=0.01)
            client = Mixpanel(http, Project("https://m.example", 7, "user", "secret"), Unlimited(), retry=retry)
            reader = CohortReader(
                client=client,
                rule=MatchRule(),
                cohort_id=9,
                in_flight=ResizableSemaphore(5),
                thread=thread,
                new_collector=snapshots.collector,
                progress=Progress(run_log=RunLog(clock=SYSTEM_CLOCK)),
                check_total=accept if accept_total else refuse,
                announce=server.take_announcement,
                sizing=PageSizing(engine, SYSTEM_CLOCK, setting="vendor", project="p", lease_owner="reader"),
            )
            try:
                async with reader.whole() as (tally, _):
                    return tally
            finally:
                thread.shutdown()

    return asyncio.run(main())


def failure(server: Server, folder: Path, **options: Any) -> CohortBridgeError:
    with pytest.raises(CohortBridgeError) as caught:
        read(server, folder, **options)
    return caught.value


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 20, 95])
def test_a_cohort_is_read_whole_with_no_page_more_than_announced(tmp_path: Path, count: int):
    server = Server(people(count), total=count)

    tally = read(server, tmp_path)

    assert (tally.profiles, tally.members) == (count, count)
    assert sorted(server.asked) == list(range(count // SIZE + 1))


@pytest.mark.parametrize("total", [0, 7, 25, 40])
def test_full_pages_without_end_are_asked_for_once_beyond_what_was_announced(tmp_path: Path, total: int):
    server = Server(people(10**9), total=total)

    error = failure(server, tmp_path, accept_total=True)

    assert isinstance(error, IncompleteRead)
    assert max(server.asked) == total // SIZE + 1
    assert sorted(server.asked) == list(range(total // SIZE + 2))


@pytest.mark.parametrize("total", [20, 24])
def test_a_few_more_than_were_announced_are_a_total_that_disagrees(tmp_path: Path, total: int):
    server = Server(people(33), total=total)

    error = failure(server, tmp_path)

    assert isinstance(error, RunHeld)
    assert "33" in error.message
    assert max(server.asked) == total // SIZE + 1


def test_a_full_page_past_the_end_is_no_end_even_if_the_total_was_approved(tmp_path: Path):
    server = Server(people(40), total=25)

    assert isinstance(failure(server, tmp_path, accept_total=True), IncompleteRead)


def shuffled(page: int) -> list[object]:
    """The first page again and again, in another order each time."""
    rows: list[object] = [f"u{number}" for number in range(SIZE)]
    return rows[page % SIZE :] + rows[: page % SIZE]


@pytest.mark.parametrize(
    "rows",
    [
        shuffled,
        lambda page: shuffled(page)[:-1] + [None],
        lambda page: people(10**9)(page % 2 if page > 1 else page),
    ],
    ids=["same", "same but for one that is no profile", "the first two in turns"],
)
def test_a_page_with_the_ids_of_an_earlier_one_ends_the_read_at_once(
    tmp_path: Path, rows: Callable[[int], Sequence[object]]
):
    server = Server(rows, total=10**6)

    error = failure(server, tmp_path)

    assert isinstance(error, IncompleteRead)
    assert len(server.asked) < 40


def test_pages_of_profiles_without_an_id_are_no_repeated_pages(tmp_path: Path):
    server = Server(lambda page: [None] * (SIZE if page < 2 else 3), total=23)

    tally = read(server, tmp_path)

    assert (tally.profiles, tally.members, tally.reasons) == (23, 0, {"distinct_id": 23})


@pytest.mark.parametrize("total", [10**6, 10**7])
def test_empty_pages_are_not_asked_for_without_end(tmp_path: Path, total: int):
    server = Server(people(33), total=total)

    assert isinstance(failure(server, tmp_path), RunHeld)
    assert len(server.asked) < 100


def test_a_page_that_others_follow_though_it_is_empty_is_an_incomplete_read(tmp_path: Path):
    server = Server(lambda page: [] if page == 2 else people(45)(page), total=45)

    assert isinstance(failure(server, tmp_path), IncompleteRead)


def test_a_page_that_is_too_long_ends_the_read_at_once(tmp_path: Path):
    server = Server(lambda page: [f"u{page}-{row}" for row in range(SIZE + (page == 3))], total=10**6)

    assert "instead of 10" in failure(server, tmp_path).message
    assert len(server.asked) < 40


@pytest.mark.parametrize(("total", "page_size"), [(10**9, 1), (10**9, 999), (10**8, 7)])
def test_more_pages_than_any_cohort_has_are_not_begun(tmp_path: Path, total: int, page_size: int):
    server = Server(people(33), total=total, page_size=page_size)

    error = failure(server, tmp_path)

    assert isinstance(error, VendorSurprise)
    assert "“page_size”" in error.message
    assert server.asked == [0]


@pytest.mark.parametrize("total", [10**18, 10**30, -1, 2.5, "7", None])
def test_a_total_that_cannot_be_begins_no_read(tmp_path: Path, total: object):
    server = Server(people(33), total=total)

    assert isinstance(failure(server, tmp_path), VendorSurprise)
    assert set(server.asked) == {0}


@pytest.mark.parametrize(("number", "announced"), [(0, []), (9, []), (10, [(1, 1)]), (95, [(9, 1)])])
def test_how_many_pages_follow_is_announced_before_any_is_asked_for(
    tmp_path: Path, number: int, announced: list[tuple[int, int]]
):
    server = Server(people(number), total=number)

    read(server, tmp_path)

    assert server.announced == announced
