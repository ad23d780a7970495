"""The progress of a run on a terminal: a bar on standard error, and nothing at all anywhere else."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager

from core.export.progress import Progress
from data.models import Association


@contextmanager
def shown_rows() -> Generator[Callable[[Association], None] | None]:
    """Show a bar for the rows of an association while inside; give the function that moves it, or None as `shown`."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[counts]}"), TimeElapsedColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("Checking", total=None, counts="")

        def move(found: Association) -> None:
            done, total = found.written + found.refused, found.writable or None
            counts = f"{done:,} of {total:,} rows" if total else ""
            bar.update(task, description=found.stage.capitalize(), total=total, completed=done, counts=counts)

        yield move


@contextmanager
def shown() -> Generator[Callable[[Progress], None] | None]:
    """Show a bar while inside; give the function that moves it, None where standard error is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[counts]}"), TimeElapsedColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("Starting", total=None, counts="")

        def move(progress: Progress) -> None:
            delivering = progress.step == "delivering" and progress.messages_expected
            total = progress.messages_expected if delivering else progress.expected
            done = progress.messages if delivering else progress.profiles
            unit = "messages" if delivering else "profiles"
            counts = f"{done:,} of {total:,} {unit}" if total else ""
            bar.update(task, description=progress.step.capitalize(), total=total, completed=done, counts=counts)

        yield move
