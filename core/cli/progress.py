"""Progress on a terminal: a bar on standard error, and nothing at all anywhere else."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Protocol

from core.associate.retrying import retry_text
from core.export.progress import Progress
from core.run_log import RunLog, seconds_left
from data.models import Association


class _Move(Protocol):
    """Move the bar: what is being done, how far it is, and of how many, if that is known."""

    def __call__(self, step: str, done: int, total: int | None, unit: str) -> None: ...


@contextmanager
def run_progress() -> Generator[Callable[[Progress], None] | None]:
    """Show a bar while inside; yield the function that moves it, None where standard error is no terminal."""
    with _bar("Starting") as move:
        yield None if move is None else lambda progress: _show_run(move, progress)


@contextmanager
def row_progress() -> Generator[Callable[[Association], None] | None]:
    """Show a bar for the rows of an association while inside; yield the function that moves it, or None likewise."""
    with _bar("Checking") as move:
        yield None if move is None else lambda association: _show_rows(move, association)


def _show_run(move: _Move, progress: Progress) -> None:
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


def _show_rows(move: _Move, association: Association) -> None:
    stage = association.stage
    if retry := retry_text(association):
        stage = f"{stage}, {retry}"
    move(stage, association.written + association.refused, association.writable or None, "rows")


@contextmanager
def _bar(first_step: str) -> Generator[_Move | None]:
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[counts]}"), TimeElapsedColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(first_step, total=None, counts="")

        def move(step: str, done: int, total: int | None, unit: str) -> None:
            counts = f"{min(done, total):,} of {total:,} {unit}" if total else ""
            bar.update(task, description=step[:1].upper() + step[1:], total=total, completed=done, counts=counts)

        yield move
