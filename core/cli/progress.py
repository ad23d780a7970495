"""Progress on a terminal: a bar on standard error, and nothing at all anywhere else."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Protocol

from core.export.progress import Progress
from core.run_log import RunLog, seconds_left


class Move(Protocol):
    """Move the bar: what is being done, how far it is, and of how many, if that is known."""

    def __call__(self, step: str, done: int, total: int | None, unit: str) -> None: ...


@contextmanager
def run_progress() -> Generator[Callable[[Progress], None] | None]:
    """Show a bar while inside; yield the function that moves it, None where standard error is no terminal."""
    with bar("Starting") as move:
        yield None if move is None else lambda progress: _show_run(move, progress)


def _show_run(move: Move, progress: Progress) -> None:
    step = f"{progress.step}, {_retry_text(progress.run_log)}" if progress.run_log.retry else progress.step
    if progress.step == "delivering" and progress.messages_expected:
        move(step, progress.accepted, progress.messages_expected, "messages")
    else:
        move(step, progress.profiles, progress.expected, "profiles")


def _retry_text(run_log: RunLog) -> str:
    """Format why nothing moves, and when it goes on."""
    assert run_log.retry
    left_s = seconds_left(run_log.retry, run_log.clock.now())
    refused = sum(run_log.refusals.values())
    tries = "1 try failed" if refused == 1 else f"{refused:,} tries failed"
    return f"{tries}, again in {max(0, round(left_s))} s: {run_log.retry['why']}"


@contextmanager
def bar(first_step: str) -> Generator[Move | None]:
    """Show a bar while inside; yield what moves it, None where standard error is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[counts]}"), TimeElapsedColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(first_step, total=None, counts="")

        def move(step: str, done: int, total: int | None, unit: str) -> None:
            counts = f"{min(done, total):,} of {total:,} {unit}" if total else ""
            shown.update(task, description=step[:1].upper() + step[1:], total=total, completed=done, counts=counts)

        yield move
