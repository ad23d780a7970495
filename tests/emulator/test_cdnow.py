"""Real people: the customers of CDNOW, their cohorts worked out from what they bought."""

from __future__ import annotations

import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import pytest

from core.sandbox.server import running
from tests.stage.home import Home, connect
from tests.stage.processes import ROOT
from tests.stage.sandbox import NOON, Sandbox
from tests.stage.seeds import few

CDNOW = ROOT.parent / "shared" / "data" / "cdnow"

pytestmark = pytest.mark.skipif(not CDNOW.is_dir(), reason="the CDNOW data set is not beside this repository")


@dataclass
class Customer:
    lines: int = 0
    spent: Decimal = Decimal(0)
    last: date = date.min


# The rules of the five cohorts, as their descriptions say them.
COHORTS: dict[int, Callable[[Customer], bool]] = {
    1: lambda customer: customer.lines >= 2,
    2: lambda customer: customer.spent >= 500,
    3: lambda customer: customer.last <= date(1997, 6, 30),
    4: lambda customer: (customer.last.year, customer.last.month) == (1998, 6),
    5: lambda customer: True,
}


@pytest.fixture(scope="module")
def customers() -> dict[str, Customer]:
    """Read every customer's purchases, one line each: number, day, CDs, dollars."""
    by_number: dict[str, Customer] = defaultdict(Customer)
    for line in (CDNOW / "transactions.txt").read_text().splitlines():
        number, day, _, dollars = line.split()
        customer = by_number[number]
        customer.lines += 1
        customer.spent += Decimal(dollars)
        customer.last = max(customer.last, date(int(day[:4]), int(day[4:6]), int(day[6:])))
    return dict(by_number)


def apptimize_id(number: str, customer: Customer) -> str | None:
    """The id that a customer was given, by the data set's README; its uuids are made of the customer's number."""
    if customer.lines >= 2:
        return f"i_{number}"
    return f"a_{uuid.uuid5(uuid.NAMESPACE_OID, number)}" if int(number) % 2 == 0 else None


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Sandbox, Home]]:
    """A sandbox of these people, and one home that all their cohorts are exported from."""
    files = {"profiles": CDNOW / "profiles.jsonl", "cohorts": CDNOW / "cohorts.json"}
    with (
        running(tmp_path_factory.mktemp("shop"), **files, clock=lambda: NOON) as server,
        closing(Sandbox(server.url)) as sandbox,
    ):
        home = Home(tmp_path_factory.mktemp("cdnow") / "home")
        with home.bridge(mixpanel_url=server.url) as bridge:
            connect(bridge, sandbox)
        yield sandbox, home


@few(2)
@pytest.mark.parametrize("cohort", COHORTS)
def test_a_cohort_of_customers_is_who_bought_that_way(
    shop: tuple[Sandbox, Home], customers: dict[str, Customer], cohort: int
):
    sandbox, home = shop
    bought = {number: customer for number, customer in customers.items() if COHORTS[cohort](customer)}
    ids = {number: apptimize_id(number, customer) for number, customer in bought.items()}
    expected = {id: f"cdnow-{number}" for number, id in ids.items() if id}

    done = home.finish(home.begin("export", str(cohort), "--json"))

    assert done.code == 0
    assert sandbox.group(cohort) == expected
    counts = {name: done.json[name] for name in ("profiles", "members", "duplicates", "unmatched", "invalid")}
    assert counts == {
        "profiles": len(bought),
        "members": len(expected),
        "duplicates": 0,
        "unmatched": Counter(ids.values())[None],
        "invalid": 0,
    }


def test_all_the_customers_are_there(customers: dict[str, Customer]):
    assert len(customers) == 23_570
    assert sum(customer.lines for customer in customers.values()) == 69_659


def test_the_sandbox_lists_people_of_ones_own(shop: tuple[Sandbox, Home]):
    _, home = shop

    done = home.run("cohorts", "--json")

    assert [(cohort["id"], cohort["name"], cohort["count"]) for cohort in done.json] == [
        (1, "Repeat buyers", 11_662),
        (2, "Big spenders", 734),
        (3, "Lapsed", 15_238),
        (4, "Active in June 1998", 1_506),
        (5, "Everyone", 23_570),
    ]
