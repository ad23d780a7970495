"""The goals, each as a ratio of what was measured in the same part of the bench."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bench.cases import FULL, HALF, HEADLESS, ONE_PERCENT, OURS, UNCHANGED, UTILS, Case, Sizes
from bench.kept import Row
from bench.many import AGAIN, FIRST, STOPPED
from bench.names import MANY_SIZE, PAGE_SIZE

READING_IN_FLIGHT, MESSAGES_IN_FLIGHT = 5, 4


@dataclass(frozen=True)
class Results:
    """The rows of each part that was measured, for cohorts of these sizes."""

    parts: Mapping[str, Sequence[Row]]
    sizes: Sizes

    def row(self, part: str, case: Case) -> Row:
        """Return the row of a case. Raises KeyError where it was not measured."""
        asked = (case.reader, case.size, case.latency_ms, case.honors)
        for row in self.parts[part]:
            if (row["reader"], row["size"], row["latency_ms"], row["honors"]) == asked:
                return row
        raise KeyError(case.reader)


@dataclass(frozen=True)
class Limit:
    """A value of the results, and the most that it may be."""

    value: Callable[[Results], float]
    most: float
    digits: int = 2
    unit: str = ""


@dataclass(frozen=True)
class Goal:
    """What shall hold: one limit, or two."""

    name: str
    limits: tuple[Limit, ...]

    def row(self, results: Results) -> str:
        """Format the goal, with what was measured and whether that meets it."""
        most = "; ".join(f"{limit.most:g}{limit.unit}" for limit in self.limits)
        try:
            values = [limit.value(results) for limit in self.limits]
        except (KeyError, ValueError):
            return f"| {self.name} | {most} | | not measured |"
        pairs = list(zip(values, self.limits, strict=True))
        shown = "; ".join(f"{value:.{limit.digits}f}{limit.unit}" for value, limit in pairs)
        is_met = all(value <= limit.most for value, limit in pairs)
        return f"| {self.name} | {most} | {shown} | {'met' if is_met else '**not met**'} |"


def floor_s(size: int, latency_ms: int) -> float:
    """The seconds that no reader of pages of 1,000 can beat: all pages, five at a time, each at its latency."""
    return size / PAGE_SIZE * latency_ms / 1000 / READING_IN_FLIGHT


def _wall(results: Results, part: str, case: Case) -> float:
    return results.row(part, case)["wall_s"]


def _against(part: str, latency_ms: int, ours: str, other: str, size: str = "large") -> Callable[[Results], float]:
    """Compare two readers of one part by their wall time."""

    def ratio(results: Results) -> float:
        cohort = getattr(results.sizes, size)
        cases = [Case(reader, cohort, latency_ms) for reader in (ours, other)]
        return _wall(results, part, cases[0]) / _wall(results, part, cases[1])

    return ratio


def _times_floor(results: Results) -> float:
    case = Case(OURS, results.sizes.large, 50, honors=False)
    return _wall(results, "large-50ms", case) / floor_s(case.size, case.latency_ms)


def _peak(results: Results) -> float:
    """The most memory of any of our processes that read or exported the large cohort."""
    ours = (OURS, FULL, UNCHANGED, ONE_PERCENT, HALF)
    rows = [row for part in ("large", "large-50ms") for row in results.parts[part]]
    return max(row["peak_mib"] for row in rows if row["reader"] in ours)


def _far_export(results: Results) -> float:
    full = results.row("large-50ms", Case(FULL, results.sizes.large, 50))
    reading = results.row("large-50ms", Case(OURS, results.sizes.large, 50))
    sending_s = full["messages"] * full["latency_ms"] / 1000 / MESSAGES_IN_FLIGHT
    return full["wall_s"] / (reading["wall_s"] + sending_s)


def _growth(results: Results) -> float:
    """The largest cohort's time as a multiple of the large one's, where the page size is honored: the worse latency."""
    cases = [(Case(OURS, results.sizes.largest, ms), Case(OURS, results.sizes.large, ms)) for ms in (0, 50)]
    return max(_wall(results, "largest", large) / _wall(results, "largest", small) for large, small in cases)


def _largest_peak(results: Results) -> float:
    return max(row["peak_mib"] for row in results.parts["largest"] if row["size"] == results.sizes.largest)


def _many(results: Results) -> float:
    cases = [Case(f"{results.sizes.many} {reader}", MANY_SIZE, 0) for reader in (FIRST, AGAIN)]
    return max(_wall(results, "many", case) for case in cases)


def _stopped(results: Results) -> float:
    return _wall(results, "stop", Case(STOPPED, results.sizes.largest, 0))


GOALS = (
    Goal(
        "dry run at 50 ms, page size honored, against mixpanel-utils with 5 readers",
        (Limit(_against("large-50ms", 50, OURS, UTILS), 0.35),),
    ),
    Goal("the same at 0 ms", (Limit(_against("large", 0, OURS, UTILS), 1.0),)),
    Goal(
        "dry run at 50 ms, page size ignored, against the floor (pages x latency / 5)",
        (Limit(_times_floor, 1.15),),
    ),
    Goal("peak memory of any of these, MiB", (Limit(_peak, 250, digits=0),)),
    Goal(
        "recurring run in the worker, nothing changed, 0 ms, against mixpanel-utils merely reading",
        (Limit(_against("large", 0, UNCHANGED, UTILS), 0.9),),
    ),
    Goal("1 % changed, against nothing changed", (Limit(_against("large", 0, ONE_PERCENT, UNCHANGED), 1.5),)),
    Goal("full export at 0 ms, against the dry run", (Limit(_against("large", 0, FULL, OURS), 2.0),)),
    Goal(
        "full export at 50 ms, 4 messages at a time, against reading + messages x latency / 4",
        (Limit(_far_export, 1.2),),
    ),
    Goal(
        "10,000,000 against 1,000,000: wall; peak memory",
        (Limit(_growth, 11), Limit(_largest_peak, 300, digits=0, unit=" MiB")),
    ),
    Goal(
        "100,000, whole process, 0 ms, against mixpanel-headless",
        (Limit(_against("small", 0, OURS, HEADLESS, size="small"), 0.6),),
    ),
    Goal("300 runs due at once, small cohorts, one worker: seconds", (Limit(_many, 100, digits=1),)),
    Goal(
        "SIGTERM while a snapshot of 10,000,000 is sorted: the worker is gone within",
        (Limit(_stopped, 10, digits=1, unit=" s"),),
    ),
)


def table(results: Results) -> str:
    """Format each goal, with what was measured and whether that meets it."""
    header = ("| goal, 1,000,000 profiles, two cores | at most | measured | |", "| --- | ---: | ---: | --- |")
    return "\n".join([*header, *(goal.row(results) for goal in GOALS)])
