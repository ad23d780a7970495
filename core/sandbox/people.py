"""The practice project: its accounts, people and cohorts, made from one seed and so always the same."""

import json
import random
import uuid
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Literal, cast

from core.sandbox.store import SandboxError

PROJECT_ID = 3713224
PROJECT_NAME = "Practice shop"
PROJECT_TOKEN = "6c1f0d1e5a7b4c39a8f2d4e0b9c37a51"  # noqa: S105 - the practice project's, made up
PROJECT_SECRET = "pr4ctice-8d1e5c0b7f2a"  # noqa: S105 - opens nothing but this sandbox
WORKSPACE_ID = 3448413
DATA_GROUP_ID = "1203948671"
SEED = 20261123
SLOT_S = 300
NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)

IdMerge = Literal["original", "simplified"]
Properties = Mapping[str, Any]


@dataclass(frozen=True)
class Account:
    """One line of the project's service-account list; an account in a team has a second line."""

    id: int
    username: str
    secret: str
    role: Literal["owner", "admin", "analyst", "consumer"]
    target_type: Literal["individual", "team", "organization"] = "individual"
    expires: str | None = None


ADMIN_USERNAME = "practice.1f9a3c.mp-service-account"
ADMIN_SECRET = "pr4ctice-Ad7mXq2LwK9"  # noqa: S105 - opens nothing but this sandbox
OWNER_USERNAME = "platform-owner.7be210.mp-service-account"
OWNER_SECRET = "pr4ctice-Ow3nZt8RvJ1"  # noqa: S105
ANALYST_USERNAME = "weekly-report.c04d92.mp-service-account"
ANALYST_SECRET = "pr4ctice-An5aHy6PbN4"  # noqa: S105
CONSUMER_USERNAME = "tv-dashboard.e5518a.mp-service-account"
CONSUMER_SECRET = "pr4ctice-Co9sUf1DkM7"  # noqa: S105
TEAM_USERNAME = "growth-tools.38ab6f.mp-service-account"
TEAM_SECRET = "pr4ctice-Te2mWc4GsB8"  # noqa: S105
EXPIRED_USERNAME = "summer-campaign.90d1c7.mp-service-account"
EXPIRED_SECRET = "pr4ctice-Ex6pLr3TjV5"  # noqa: S105

ACCOUNTS = [
    Account(1201, OWNER_USERNAME, OWNER_SECRET, "owner"),
    Account(1202, ADMIN_USERNAME, ADMIN_SECRET, "admin"),
    Account(1203, ANALYST_USERNAME, ANALYST_SECRET, "analyst"),
    Account(1204, CONSUMER_USERNAME, CONSUMER_SECRET, "consumer"),
    # Roles are additive: this one is an admin (Mixpanel docs orgs-and-projects/roles-and-permissions, read 2026-11-23).
    Account(1205, TEAM_USERNAME, TEAM_SECRET, "analyst"),
    Account(1205, TEAM_USERNAME, TEAM_SECRET, "admin", "team"),
    Account(1206, EXPIRED_USERNAME, EXPIRED_SECRET, "admin", expires="2026-09-01T00:00:00Z"),
]


@dataclass(frozen=True)
class Person:
    """A user; without properties an anonymous one, who has no profile."""

    distinct_id: str | int
    properties: Properties | None

    @property
    def id(self) -> str:
        return str(self.distinct_id)


@dataclass
class Cohort:
    """A saved cohort: who is always in, and a ring of people of whom a sliding window is in."""

    id: int
    name: str
    description: str = ""
    created: str = "2026-02-03 10:15:00"
    is_visible: bool = True
    data_group_id: str | None = None
    fixed: list[str] = field(default_factory=list[str])
    rule: Callable[[Properties], bool] | None = None
    ring: list[str] = field(default_factory=list[str])
    step: int = 0
    sways: bool = True

    def member_ids(self, people: Mapping[str, Person], at: float) -> list[str]:
        """Return who is in at this time: a function of the cohort, the profiles and the time slot, of nothing else."""
        window = self._window(int(at // SLOT_S))
        if self.rule is None:
            return [*self.fixed, *window]
        away = set(self.ring).difference(window)
        ruled = [
            id
            for id, person in people.items()
            if person.properties is not None and id not in away and self.rule(person.properties)
        ]
        return [*ruled, *self.fixed]

    def _window(self, slot: int) -> list[str]:
        # `step` people enter at one end and leave at the other in every slot, so that in any 15 minutes some come and
        # some go; the window breathes a little, except where the size matters.
        if not self.step:
            return []
        width = len(self.ring) // 2
        if self.sways:
            width += zlib.crc32(f"{self.id}/{slot}".encode()) % 3
        start = slot * self.step % len(self.ring)
        return (self.ring * 2)[start : start + width]


@dataclass
class Population:
    """The people of a project by id, and its cohorts by id."""

    people: dict[str, Person]
    cohorts: dict[int, Cohort]


FIRST_NAMES = """
Ada Amina Andrés Anna Aoife Bao Béla Carla Chidi Clara Daan Elif Emil Esther Farid Freya Giulia Hana Hugo Ines Ivo Jana
Jonas Kaito Lena Leyla Liam Lucía Mads Maja Marek Mei Mila Noor Nour Olga Omar Pia Priya Rafael Rosa Sana Sofia Tariq
Theo Tomás Uma Vera Yuki Zoë
"""
LAST_NAMES = """
Abebe Andersen Bakker Bauer Bianchi Brandt Castro Chen Cohen Costa Dubois Eriksen Fischer Flores Garcia Haddad Hansen
Horvat Ito Ivanov Jansen Kaya Keller Khan Kim Kowalski Lang Larsen Lopez Martin Meyer Mori Nagy Nguyen Novak Okafor
O'Brien Olsen Park Patel Peeters Popescu Rossi Santos Sato Schmidt Silva Singh Tanaka Vogel Weber Wong
"""
CITY_NAMES = "Amsterdam Berlin Bogotá Chicago Copenhagen Lagos Lisbon London Milan Mumbai Osaka Oslo Paris Toronto Wien"
FIRST, LAST, CITIES = FIRST_NAMES.split(), LAST_NAMES.split(), CITY_NAMES.split()
PLANS = ["free"] * 58 + ["pro"] * 28 + ["trial"] * 9 + ["business"] * 5

# Every kind of id that a real project has collected after some years, and that a matcher has to survive.
ODD_IDS: list[Any] = [
    None, None, "", "   ", "\t", True, False, ["i_10", "i_11"], [], {"id": "i_12"}, {}, "i_" + "x" * 300,
    "a_" + "é" * 260, "i_line\nbreak", "i_bell\x07", "i_\x7f", "i_broken\ud800", 48151623, 0, -7, 90210.0, 12.5,
    2**53 - 1, 2**53, 10**21, float(2**53), 1e300, "90211", "legacy-77", "I_upper", "i_", "i_ümlaut-東京",
    ' i_padded "quoted" ', "<script>alert(1)</script>", "=1+1", "a,b",
]  # fmt: skip


@cache
def generate(id_merge: IdMerge = "original") -> Population:
    """Make the ten practice cohorts and their people, the same ones on every machine.

    Callers share what is returned and change nothing in it.
    """
    rng = random.Random(SEED)  # noqa: S311 - believable, not secret
    usual = [_usual(rng, number, id_merge) for number in range(5600)]
    odd = [_person(rng, 7000 + number, id_merge, {"$apptimize_user_id": value}) for number, value in enumerate(ODD_IDS)]
    odd += [
        _person(rng, 7100 + number, id_merge, {"$apptimize_user_id": f"i_twin-{number // 2}"}) for number in range(16)
    ]
    web = [_person(rng, 8000 + number, id_merge, _without_id(number)) for number in range(360)]
    anonymous = [Person(_uuid(rng, id_merge), None) for _ in range(300)]
    people = {person.id: person for person in [*usual, *odd, *web, *anonymous]}

    def pick(source: list[Person], count: int) -> list[str]:
        return [person.id for person in rng.sample(source, count)]

    def drifting(source: list[Person], fixed: int, step: int) -> dict[str, Any]:
        ids = pick(source, fixed + 96 * step)
        return {"fixed": ids[96 * step :], "ring": ids[: 96 * step], "step": step}

    trial = [person for person in usual if (person.properties or {})["plan"] == "trial"]
    spenders = [person for person in usual if (person.properties or {}).get("spent", 0) > 900]
    ids = [person.id for person in anonymous]
    cohorts = [
        Cohort(5167401, "Everyone", "All users with a profile", rule=lambda _: True, fixed=ids,
               ring=pick(usual, 768), step=8, created="2025-06-30 08:00:12"),
        Cohort(5167402, "Power users", "Ten sessions or more in a week",
               **drifting(usual + odd + web, 2304, 2)),
        Cohort(5167403, "Newsletter readers", "Opened one of the last four issues", sways=False,
               **drifting(usual, 1952, 1)),
        Cohort(5167404, "Refund asked this week", "Support tag 'refund' within 7 days"),
        Cohort(5167405, "Internal testers", "Colleagues on the beta channel", is_visible=False, fixed=pick(usual, 42)),
        Cohort(5167406, "Enterprise accounts", "Companies with 50 seats or more", data_group_id=DATA_GROUP_ID,
               fixed=[f"company-{number}" for number in range(1, 38)]),
        Cohort(5167407, '"Big <b>spenders</b>" & Käufer 東京', "Lifetime value > 900",
               **drifting(spenders, 220, 1)),
        Cohort(5167408, "Web only, no app yet", "Never opened the app", **drifting(web, 150, 1)),
        Cohort(5167409, "Trial ends this week", "Plan is trial; visitors included",
               rule=lambda profile: profile.get("plan") == "trial", ring=pick(trial, 96), step=1, fixed=ids[:120]),
        Cohort(5167410, "Imported from the old shop", "Accounts moved over in 2024",
               fixed=[person.id for person in odd] + pick(usual, 90)),
    ]  # fmt: skip
    return Population(people, {cohort.id: cohort for cohort in cohorts})


def _usual(rng: random.Random, number: int, id_merge: IdMerge) -> Person:
    share = rng.random()
    if share < 0.88:
        own: dict[str, Any] = {"$apptimize_user_id": f"i_{10000 + number}"}
    elif share < 0.95:
        own = {"$apptimize_user_id": f"a_{uuid.UUID(int=rng.getrandbits(128), version=4)}", "$user_id": None}
    elif share < 0.97:
        own = {"$apptimize_user_id": f"{10000 + number}"}
    else:
        own = {}
    return _person(rng, number, id_merge, own)


def _without_id(number: int) -> dict[str, Any]:
    return {} if number % 9 else {"$apptimize_user_id": (None, "", "  ", False)[number // 9 % 4]}


def _person(rng: random.Random, number: int, id_merge: IdMerge, own: dict[str, Any]) -> Person:
    first, last = rng.choice(FIRST), rng.choice(LAST)
    user_id: str | int = 10000 + number if number % 500 == 7 else f"user-{10000 + number}"
    properties: dict[str, Any] = {
        "$name": f"{first} {last}",
        "$email": f"{first}.{last}{number}@example.com".lower().replace("'", ""),
        "$city": rng.choice(CITIES),
        "plan": rng.choice(PLANS),
        "orders": (orders := int(rng.expovariate(0.2))),
        "spent": round(orders * rng.uniform(12, 160), 2),
        "$user_id": str(user_id),
    }
    if rng.random() < 0.9:
        seen = NOW - timedelta(minutes=int(rng.expovariate(1 / 20000)))
        properties["$last_seen"] = seen.strftime("%Y-%m-%dT%H:%M:%S")
    properties |= own
    visitor = _uuid(rng, id_merge)
    if properties["$user_id"] is None:
        del properties["$user_id"]
        return Person(visitor, properties)
    # With original merge Mixpanel chooses the canonical id, which may well be an anonymous one
    # (Mixpanel docs tracking-methods/id-management, read 2026-11-23).
    chosen_anonymous = id_merge == "original" and rng.random() < 0.12 and isinstance(user_id, str)
    return Person(visitor if chosen_anonymous else user_id, properties)


def _uuid(rng: random.Random, id_merge: IdMerge) -> str:
    device = str(uuid.UUID(int=rng.getrandbits(128), version=4))
    return f"$device:{device}" if id_merge == "simplified" else device


def load(profiles: Path, cohorts: Path) -> Population:
    """Read other people than the made-up ones: one engage result a line, and a list of cohorts with their distinct ids.

    Raises: SandboxError, naming file and line, for anything that is not of that form.
    """
    people: dict[str, Person] = {}
    try:
        with profiles.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    person = _read_person(line, f"{profiles}, line {number}")
                    if person.id in people:
                        raise SandboxError(
                            f"{profiles}, line {number}: the distinct id {person.id!a} was there before."
                        )
                    people[person.id] = person
        listed: Any = json.loads(cohorts.read_text(encoding="utf-8"))
    except OSError as error:
        raise SandboxError(f"{error.filename} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise SandboxError(f"{profiles} or {cohorts} is not UTF-8 text: {error.reason}.") from error
    except json.JSONDecodeError as error:
        raise SandboxError(f"{cohorts}, line {error.lineno}: not JSON ({error.msg}).") from error
    if not isinstance(listed, list):
        raise SandboxError(f"{cohorts}, line 1: a list of cohorts is expected.")
    listed_cohorts: dict[int, Cohort] = {}
    for number, item in enumerate(cast("list[Any]", listed), start=1):
        cohort = _read_cohort(item, f"{cohorts}, cohort {number}")
        if cohort.id in listed_cohorts:
            raise SandboxError(f"{cohorts}, cohort {number}: the id {cohort.id} was there before.")
        listed_cohorts[cohort.id] = cohort
        for id in cohort.fixed:
            people.setdefault(id, Person(id, None))
    return Population(people, listed_cohorts)


def _read_person(line: str, where: str) -> Person:
    try:
        row: Any = json.loads(line)
        distinct_id, properties = row["$distinct_id"], row["$properties"]
    except json.JSONDecodeError as error:
        raise SandboxError(f"{where}: not JSON ({error.msg}).") from error
    except (KeyError, TypeError) as error:
        raise SandboxError(f"{where}: an object with $distinct_id and $properties is expected.") from error
    if isinstance(distinct_id, bool) or not isinstance(distinct_id, str | int) or not isinstance(properties, dict):
        raise SandboxError(f"{where}: $distinct_id must be text or an integer, $properties an object.")
    return Person(distinct_id, cast("dict[str, Any]", properties))


def _read_cohort(item: Any, where: str) -> Cohort:
    if not isinstance(item, dict):
        raise SandboxError(f"{where}: an object with id, name and distinct_ids is expected.")
    row = cast("dict[str, Any]", item)
    id, name, members = row.get("id"), row.get("name"), row.get("distinct_ids")
    if not isinstance(id, int) or isinstance(id, bool) or not isinstance(name, str) or not isinstance(members, list):
        raise SandboxError(f"{where}: id must be an integer, name text and distinct_ids a list.")
    ids: dict[str, None] = {}
    for member in cast("list[Any]", members):
        if isinstance(member, bool) or not isinstance(member, str | int):
            raise SandboxError(f"{where}: a distinct id must be text or an integer, not {json.dumps(member)[:40]}.")
        ids[str(member)] = None
    return Cohort(id, name, str(row.get("description") or ""), fixed=list(ids))
