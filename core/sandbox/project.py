"""The practice project's state: profiles, identities, memberships, sessions and the query budget."""

import itertools
import json
import math
import re
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from core.sandbox import people
from core.sandbox.people import Cohort, IdMerge, Person, Population, Properties
from core.sandbox.store import Store

# An Original ID cluster holds at most 500 ids (Mixpanel docs tracking-methods/id-management, read 2026-11-23).
CLUSTER_LIMIT = 500
HOUR_S = 3600
SESSIONS_KEPT = 64
UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.IGNORECASE)


class BegunQuery(NamedTuple):
    """A query that is under way: its own number, which it is in the hour and at the moment, and the next slot."""

    number: int
    of_hour: int
    of_moment: int
    opens_in_s: int


@dataclass
class Session:
    """A query whose answer is kept for its further pages."""

    arguments: str
    page_size: int
    results: list[Person]


class Project:
    """One Mixpanel project. Every method may be called from any thread."""

    def __init__(self, store: Store, own: Population | None, clock: Callable[[], float]) -> None:
        self._store = store
        self._own = own
        self._clock = clock
        self._lock = threading.RLock()
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._running = set[int]()  # the numbers of the queries that are answered right now
        self._numbers = itertools.count(1)
        self.shift_s: float = store.get("clock_shift", 0.0)
        self.settings: dict[str, Any] = {
            "hourly_limit": 60, "concurrent_limit": 5, "id_merge": "original", **store.get("project", {})
        }  # fmt: skip
        self._load()

    @property
    def id_merge(self) -> IdMerge:
        return self.settings["id_merge"]

    def now(self) -> float:
        return self._clock() + self.shift_s

    def set_shift(self, shift_s: float) -> None:
        self.shift_s = shift_s
        self._store.put("clock_shift", shift_s)

    def set_now(self, at: float) -> None:
        self.set_shift(at - self._clock())

    def change(self, settings: dict[str, Any]) -> None:
        """Set limits or ID merge mode. Another mode gives the practice people the ids they would have under it."""
        with self._lock:
            self.settings |= settings
            self._store.put("project", self.settings)
            if "id_merge" in settings:
                self._load()

    # Profiles and identities

    def _load(self) -> None:
        population = self._own or people.generate(self.id_merge)
        self.cohorts: dict[int, Cohort] = dict(population.cohorts)
        changes: dict[str, dict[str, Any] | None] = self._store.get("cohorts", {})
        for id, change in changes.items():
            self._change_cohort(int(id), change)
        self.people: dict[str, Person] = dict(population.people)
        self._canonical: dict[str, str] = {}
        self._clusters: dict[str, set[str]] = {}
        if self.id_merge == "original":
            for person in population.people.values():
                self._auto_alias(person, keep=False)
        for id, canonical in self._store.rows("SELECT id, canonical FROM alias"):
            # Each mode knows only its own links: devices in Simplified, aliases in Original.
            if json.loads(id).startswith("$device:") == (self.id_merge == "simplified"):
                self._assign(json.loads(id), json.loads(canonical))
        for id, distinct_id, properties in self._store.rows("SELECT id, distinct_id, properties FROM profile"):
            values = None if properties is None else json.loads(properties)
            self.people[json.loads(id)] = Person(json.loads(distinct_id), values)

    def resolve(self, id: str) -> str:
        """Return the canonical distinct id of the user whom this id belongs to."""
        return self._canonical.get(id, id)

    def aliases(self, canonical: str) -> list[str]:
        with self._lock:
            return sorted(self._clusters.get(canonical, ()))

    def save(self, distinct_id: str | int, properties: dict[str, Any] | None) -> None:
        """Write a profile whole, or delete it with None; running sessions keep what they had."""
        with self._lock:
            person = self.people.get(str(distinct_id))
            person = Person(person.distinct_id if person else distinct_id, properties)
            self.people[person.id] = person
            values = None if properties is None else json.dumps(properties)
            self._store.run(
                "INSERT OR REPLACE INTO profile VALUES (?, ?, ?)",
                json.dumps(person.id), json.dumps(person.distinct_id), values,
            )  # fmt: skip
            if self.id_merge == "original":
                self._auto_alias(person, keep=True)

    def _auto_alias(self, person: Person, *, keep: bool) -> None:
        # "When our ingestion service detects calls setting this user property, Mixpanel will also auto-alias the value
        # of `$apptimize_user_id` to the user's distinct_id" (Mixpanel docs cohort-sync/integrations/apptimize).
        value = (person.properties or {}).get("$apptimize_user_id")
        if isinstance(value, str) and value.strip() and self.link_failure(value, person.id) is None:
            self._assign(value, self.resolve(person.id), keep=keep)

    def link_failure(self, alias: str, owner: str) -> str | None:
        """Return why this value cannot become an alias of that user, in Mixpanel's words, or None."""
        canonical = self.resolve(owner)
        if alias == canonical or self.resolve(alias) == canonical:
            return "errSameIDs"
        if alias in self._canonical or alias in self._clusters or alias in self.people:
            return "errAliasAlreadyExists"
        return "errManyIDs" if len(self._clusters.get(canonical, ())) + 1 >= CLUSTER_LIMIT else None

    def link(self, alias: str, owner: str) -> None:
        with self._lock:
            self._assign(alias, self.resolve(owner), keep=True)

    def merge_failure(self, first: str, second: str) -> str | None:
        first, second = self.resolve(first), self.resolve(second)
        size = sum(len(self._clusters.get(id, ())) + 1 for id in {first, second})
        return "errManyIDs" if first != second and size > CLUSTER_LIMIT else None

    def merge(self, first: str, second: str) -> None:
        """Make both ids one user, who keeps the first one's canonical id; its properties win."""
        with self._lock, self._store.transaction():
            kept, gone = self.resolve(first), self.resolve(second)
            if kept == gone:
                return
            for id in [gone, *self._clusters.pop(gone, set[str]())]:
                self._assign(id, kept, keep=True)
            lost, winner = self.people.get(gone), self.people.get(kept)
            if lost and lost.properties is not None:
                mine = (winner.properties if winner else None) or {}
                # Properties set on a device id are lost when it is linked in a Simplified project (Mixpanel docs).
                theirs: Properties = (
                    {} if self.id_merge == "simplified" and gone.startswith("$device:") else lost.properties
                )
                self.save(gone, None)
                if mine or theirs:
                    self.save(kept, {**theirs, **mine})

    def _assign(self, id: str, canonical: str, *, keep: bool = False) -> None:
        self._canonical[id] = canonical
        self._clusters.setdefault(canonical, set()).add(id)
        if keep:
            # As JSON: an id may hold a lone surrogate, which SQLite's text cannot.
            self._store.run("INSERT OR REPLACE INTO alias VALUES (?, ?)", json.dumps(id), json.dumps(canonical))

    # Cohorts and queries

    def save_cohort(self, id: int, *, name: str | None, description: str | None, members: list[str] | None) -> None:
        """Make a cohort, or change what is given of one; running sessions keep what they had."""
        with self._lock:
            if id not in self.cohorts and members is None:
                members = []
            given = {"name": name, "description": description, "members": members}
            kept: dict[str, dict[str, Any] | None] = self._store.get("cohorts", {})
            change = (kept.get(str(id)) or {}) | {key: value for key, value in given.items() if value is not None}
            self._change_cohort(id, change)
            self._store.put("cohorts", kept | {str(id): change})

    def delete_cohort(self, id: int) -> bool:
        """Delete a cohort; False when there is none."""
        with self._lock:
            if id not in self.cohorts:
                return False
            self._change_cohort(id, None)
            self._store.put("cohorts", self._store.get("cohorts", {}) | {str(id): None})
            return True

    def _change_cohort(self, id: int, change: dict[str, Any] | None) -> None:
        if change is None:
            self.cohorts.pop(id, None)
            return
        cohort = self.cohorts.get(id) or Cohort(id, change.get("name", f"Cohort {id}"))
        cohort = replace(
            cohort,
            name=change.get("name", cohort.name),
            description=change.get("description", cohort.description),
        )
        if "members" in change:
            cohort = replace(cohort, fixed=change["members"], rule=None, ring=[], step=0)
        self.cohorts[id] = cohort

    def members(self, cohort: Cohort) -> list[Person]:
        """Return who is in the cohort now, each once under the canonical id, those without a profile included."""
        with self._lock:
            members: dict[str, Person] = {}
            for id in cohort.member_ids(self.people, self.now()):
                canonical = self.resolve(id)
                members[canonical] = self.people.get(canonical) or Person(canonical, None)
            return list(members.values())

    def everyone(self, ids: Iterable[str] | None = None) -> list[Person]:
        """Return the profiles, all or those of these ids."""
        with self._lock:
            if ids is None:
                chosen = list(self.people.values())
            else:
                chosen = [self.people[id] for id in dict.fromkeys(map(self.resolve, ids)) if id in self.people]
        return [person for person in chosen if person.properties is not None]

    def open_session(self, session: Session) -> str:
        """Keep a query's answer and return its id. How long Mixpanel keeps one is not documented."""
        id = f"{int(time.time() * 1000)}-{secrets.token_hex(3).upper()}"
        with self._lock:
            self._sessions[id] = session
            while len(self._sessions) > SESSIONS_KEPT:
                self._sessions.popitem(last=False)
        return id

    def session(self, id: str) -> Session | None:
        with self._lock:
            return self._sessions.get(id)

    def forget_session(self, id: str) -> None:
        with self._lock:
            self._sessions.pop(id, None)

    # The budget: 60 queries in a rolling hour, 5 at a time, a project (Mixpanel docs reference/rate-limits)

    def begin_query(self) -> BegunQuery:
        """Count a query in."""
        with self._lock:
            now = self.now()
            self._store.run("DELETE FROM query WHERE at <= ? OR at > ?", now - HOUR_S, now)
            opens = self._store.value("SELECT min(at) FROM query") or now
            number = next(self._numbers)
            self._running.add(number)
            opens_in_s = max(1, math.ceil(opens + HOUR_S - now))
            return BegunQuery(number, self.spent() + len(self._running), len(self._running), opens_in_s)

    def end_query(self, number: int, *, counts: bool) -> None:
        """Count a query out, unless it was forgotten meanwhile."""
        with self._lock:
            was_running = number in self._running
            self._running.discard(number)
            if counts and was_running:
                self._store.run("INSERT INTO query (at) VALUES (?)", self.now())

    def spent(self) -> int:
        return self._store.value("SELECT count(*) FROM query")

    def running(self) -> int:
        return len(self._running)

    def forget_queries(self) -> None:
        """Forget the queries of the hour, those too that are answered right now: whoever asked may be gone."""
        with self._lock:
            self._running.clear()
            self._store.run("DELETE FROM query")

    # Events

    def add_event(self, owner: str, body: dict[str, Any], failure: str | None) -> None:
        """Store an event under the id it came with; whose it is, the links decide when it is looked up."""
        text = json.dumps(body)
        self._store.run("INSERT INTO event (owner, body, failure) VALUES (?, ?, ?)", json.dumps(owner), text, failure)

    def events(self, canonical: str) -> list[dict[str, Any]]:
        """Return the events of a user, under any of their ids; failed identity events carry `failure_reason`."""
        rows: list[tuple[Any, ...]] = []
        for id in [canonical, *self.aliases(canonical)]:
            rows += self._store.rows("SELECT number, body, failure FROM event WHERE owner = ?", json.dumps(id))
        return [
            json.loads(body) | ({"failure_reason": failure} if failure else {}) for _, body, failure in sorted(rows)
        ]

    def all_events(self) -> list[dict[str, Any]]:
        """Return every event as it came, the oldest first."""
        return [json.loads(body) for (body,) in self._store.rows("SELECT body FROM event ORDER BY number")]

    def batch(self) -> AbstractContextManager[None]:
        """Write what is saved inside at once."""
        return self._store.transaction()
