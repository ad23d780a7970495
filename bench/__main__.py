"""Measure, print, and keep the results: `python -m bench [--quick] [--only PART...] [--rounds N] [--write]`."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable, Sequence

from bench import kept, measure, report
from bench.cases import PARTS, QUICK, WARM, Case, Sample, Sizes, Stage, stage, take
from bench.many import take_many, take_stopped
from bench.measure import ROOT, Failed

# What is no comparison: a name, minutes on two quiet cores, the cohorts, and how it is measured.
_ALONE: dict[str, tuple[float, Callable[[Sizes], list[str]], Callable[[Sizes, Stage], list[tuple[Case, Sample]]]]] = {
    "many": (2, lambda sizes: [str(WARM), f"{sizes.many}x"], take_many),
    "stop": (1, lambda sizes: [str(sizes.largest)], take_stopped),
}


def main() -> None:
    """Measure the parts that were asked for, all of them without a word; ends with 1 when any result was wrong."""
    asked = _asked()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that no server, worker or home is left behind
    sizes = QUICK if asked.quick else Sizes()
    measured = list[kept.Row]()
    for part in _parts(asked):
        began_s = time.monotonic()
        try:
            rows, text = _measure(part, sizes, asked)
        except Failed as exc:
            print(f"{part} FAILED: {exc}", flush=True)
            rows, text = kept.rows_of({}, {Case(part, 0, 0): str(exc)}), ""
        measured += rows
        took = f"{part}: {time.monotonic() - began_s:.0f} s"
        if asked.reader:
            print(took, flush=True)
            continue
        path = kept.keep(part, rows, quick=asked.quick, text=text)
        print(f"{took}, kept in {path.relative_to(ROOT)}", flush=True)
    text = report.tables(quick=asked.quick)
    print(text)
    if asked.write:
        report.write(ROOT / "docs" / "benchmarks.md", text)
    sys.exit(any("failed" in row for row in measured))


def _asked() -> argparse.Namespace:
    minutes = {name: part.minutes for name, part in PARTS.items()} | {name: alone[0] for name, alone in _ALONE.items()}
    parts = ", ".join(f"{name} ({minutes:g} min)" for name, minutes in minutes.items())
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__, epilog=f"Parts: {parts}, steps.")
    parser.add_argument("--quick", action="store_true", help="cohorts of a tenth: to see that all of it works")
    parser.add_argument("--rounds", type=int, help="how often each is measured; the median counts")
    parser.add_argument("--only", nargs="*", metavar="PART", help="only these parts; none: show what is kept")
    parser.add_argument(
        "--reader", default="", metavar="TEXT", help="only rows with this in their name; nothing is kept"
    )
    parser.add_argument("--write", action="store_true", help="put the tables of what is kept into docs/benchmarks.md")
    asked = parser.parse_args()
    if unknown := set(asked.only or ()) - {*minutes, report.STEPS}:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    if asked.quick and asked.write:
        parser.error("quick results are not for the document")
    return asked


def _parts(asked: argparse.Namespace) -> list[str]:
    return [*PARTS, *_ALONE, report.STEPS] if asked.only is None else asked.only


def _measure(part: str, sizes: Sizes, asked: argparse.Namespace) -> tuple[list[kept.Row], str]:
    """Return the rows of a part, or the text of one that makes its own table."""
    if part in _ALONE:
        return _alone(part, sizes), ""
    if part == report.STEPS:
        return [], measure.run(["-m", "bench.steps"], {}).output.strip()
    known = PARTS[part]
    cases = [case for case in known.cases(sizes) if asked.reader in case.reader]
    return _compare(cases, known.cohorts(sizes), asked.rounds or known.rounds), ""


def _compare(cases: Sequence[Case], cohorts: Sequence[str], rounds: int) -> list[kept.Row]:
    """Measure the cases of a part, round after round; one whose result is wrong is given up, and said to be."""
    taken: dict[Case, list[Sample]] = {case: [] for case in cases}
    failed: dict[Case, str] = {}
    with stage(cohorts) as opened:
        for turn in range(rounds):
            # Forward, then backward: what else the machine does falls on no reader alone.
            for case in cases if turn % 2 == 0 else reversed(cases):
                if case in failed:
                    continue
                try:
                    sample = take(case, opened)
                except Failed as exc:
                    failed[case] = str(exc)
                    print(f"{case.reader} FAILED: {exc}", flush=True)
                else:
                    taken[case].append(sample)
                    _show(case, sample)
    return kept.rows_of({case: taken[case] for case in cases if case not in failed}, failed)


def _alone(part: str, sizes: Sizes) -> list[kept.Row]:
    _, cohorts, measured = _ALONE[part]
    with stage(cohorts(sizes)) as opened:
        taken = measured(sizes, opened)
    for case, sample in taken:
        _show(case, sample)
    return kept.rows_of({case: [sample] for case, sample in taken})


def _show(case: Case, sample: Sample) -> None:
    pages = "" if case.honors else ", page size ignored"
    print(
        f"{case.reader + pages:42} {case.size:>10,} {case.latency_ms:>3} ms  {sample.wall_s:7.2f} s "
        f"{sample.peak_mib:5.0f} MiB  cpu {sample.cpu_s:6.2f} s, server {sample.server_cpu_s:5.2f} s "
        f"{sample.server_mib:5.0f} MiB  {sample.requests:,} requests, load {sample.load:.1f}",
        flush=True,
    )


main()
