"""People and cohorts of our own, whose membership is in the test's hand, and the oracle that knows what is right."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core.access.roles import LOCAL
from core.bridge import Bridge
from core.sandbox import people
from core.syncs import recurring, runs
from core.worker import service
from data.models import UNFINISHED, Run, RunFilter, RunStatus, Sync
from tests.stage import oracle
from tests.stage.sandbox import Sandbox

PEOPLE = 3200
COHORTS = tuple(range(101, 117))
ONE, TWO, THREE = COHORTS[:3]


def write_files(folder: Path, listed: Sequence[int] = COHORTS) -> dict[str, Path]:
    """Write people as real ones are (some without an id, some sharing one, some with a number) and empty cohorts."""
    profiles, cohorts = folder / "people.jsonl", folder / "cohorts.json"
    rows = [{"$distinct_id": get_distinct_id(number), "$properties": _properties(number)} for number in range(PEOPLE)]
    profiles.write_text("".join(json.dumps(row) + "\n" for row in rows))
    cohorts.write_text(json.dumps([{"id": id, "name": f"Cohort {id}", "distinct_ids": []} for id in listed]))
    return {"profiles": profiles, "cohorts": cohorts}


def get_distinct_id(number: int) -> str:
    return f"p-{number:05}"


def _properties(number: int) -> dict[str, Any]:
    if number % 17 == 0:
        return {}
    if number % 23 == 0:
        return {"$apptimize_user_id": f"i_{number - 1}"}
    return {"$apptimize_user_id": number if number % 29 == 0 else f"i_{number}"}


class Population(Sandbox):
    """The sandbox over our own people."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._changed = set[int]()  # the cohorts that are not as `write_files` wrote them

    def reset(self) -> None:
        super().reset()
        for cohort in sorted(self._changed):
            self._put(cohort, {"name": f"Cohort {cohort}", "distinct_ids": []})
        self._changed = set()

    def set(self, cohort: int, numbers: Any) -> None:
        """Set who is in a cohort."""
        self._put(cohort, {"distinct_ids": [get_distinct_id(number) for number in numbers]})

    def name(self, cohort: int, name: str) -> None:
        self._put(cohort, {"name": name})

    def remove(self, cohort: int) -> None:
        self._changed.add(cohort)
        self.delete(f"/sandbox/api/cohorts/{cohort}").raise_for_status()

    def _put(self, cohort: int, change: dict[str, Any]) -> None:
        self._changed.add(cohort)
        self.put(f"/sandbox/api/cohorts/{cohort}", json=change).raise_for_status()

    def forget_log(self) -> None:
        """Empty the log of requests; what was spent of the hour stays spent."""
        self.delete("/sandbox/api/requests").raise_for_status()

    def expected_members(self, cohort: int) -> frozenset[str]:
        """Return who must be in the group now: cohorts change while the clock stands still."""
        return frozenset(oracle.answer(self.raw(cohort)).group)

    def members(self, cohort: int) -> frozenset[str] | None:
        """Return the group's members now."""
        members = self.group(cohort)
        return None if members is None else frozenset(members)


def some(rng: random.Random, *, most: int = 1500) -> list[int]:
    """Choose who is in a cohort: often few, sometimes so many that they take several pages and messages."""
    return sorted(rng.sample(range(PEOPLE), rng.choice((0, 1, 40, most // 2, most))))


def changed(rng: random.Random, numbers: list[int], *, by: int) -> list[int]:
    """Let some leave and others join, about `by` each."""
    remaining = rng.sample(numbers, max(0, len(numbers) - by))
    others = sorted(set(range(PEOPLE)).difference(numbers))
    return sorted([*remaining, *rng.sample(others, min(by, len(others)))])


def sync_once(bridge: Bridge, population: Population, numbers: Any) -> Sync:
    """Put people in the first cohort, start a recurring sync of it, and let that run once."""
    population.set(ONE, numbers)
    sync = recurring.add_sync(bridge, LOCAL, ONE)
    service.once(bridge)
    return sync


def all_runs(bridge: Bridge) -> list[Run]:
    """Every run, the oldest first."""
    return runs.list_runs(bridge, LOCAL, RunFilter(), limit=100_000)[::-1]


def list_unfinished(bridge: Bridge) -> list[Run]:
    return [run for run in all_runs(bridge) if run.status in UNFINISHED]


def last(bridge: Bridge) -> Run:
    return all_runs(bridge)[-1]


def assert_counts_add_up(finished: list[Run]) -> None:
    for run in finished:
        if run.status == RunStatus.SUCCEEDED:
            assert run.profiles == run.members + run.duplicates + run.unmatched + run.invalid


def without_ids(population: Population, numbers: range, *, set_again: bool = False) -> None:
    """Unset the property that profiles are matched by, or set it again."""
    names = [f"p-{number:05}" for number in numbers]
    rows = [
        {
            "$token": people.PROJECT_TOKEN,
            "$distinct_id": name,
            **(
                {"$set": {"$apptimize_user_id": f"i_again-{name}"}} if set_again else {"$unset": ["$apptimize_user_id"]}
            ),
        }
        for name in names
    ]
    population.post("/engage", json=rows).raise_for_status()
