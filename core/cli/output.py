"""What commands print: one JSON document, or tables and sentences."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import typer

from core.reports import match_funnel, user_lookup
from data.models import Association, Run, RunStatus


def time_text(at: datetime | None) -> str:
    return at.astimezone().strftime("%Y-%m-%d %H:%M") if at else ""


_is_json_printed = False


def print_json(document: Any) -> None:
    global _is_json_printed  # noqa: PLW0603
    _is_json_printed = True
    typer.echo(json.dumps(document, ensure_ascii=False))


def has_printed_json() -> bool:
    """Return whether this process has printed its one document."""
    return _is_json_printed


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not rows:
        typer.echo("None yet.", err=True)
        return
    table = Table(box=None, pad_edge=False)
    for number, name in enumerate(header):
        table.add_column(name, justify="right" if number in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))  # never markup: names are not ours
    Console(highlight=False).print(table)


def print_run(run: Run) -> None:
    done = "would be" if run.dry_run else "are"
    typer.echo(f"Run {run.id}: {run.status}. Cohort {run.cohort_name} to group {run.group_name} ({run.destination}).")
    typer.echo(
        f"{run.profiles:,} profiles = {run.members:,} members + {run.duplicates:,} duplicates + "
        f"{run.unmatched:,} unmatched + {run.invalid:,} invalid"
    )
    if run.status == RunStatus.SUCCEEDED:
        typer.echo(f"{run.added:,} {done} added, {run.removed:,} removed, {run.unchanged:,} unchanged.")
    if run.unprefixed:
        typer.echo(f"{run.unprefixed:,} members start with neither i_ nor a_: Apptimize may not recognise them.")
    if run.error_message:
        typer.echo(f"{run.error_message} {run.error_advice or ''}".rstrip())


def print_funnel(run: Run) -> None:
    found = match_funnel.get_funnel(run)
    typer.echo(f"Cohort {run.cohort_name}, matched by {run.matched_by.partition(':')[2]} in run {run.id}.")
    counted = [
        ("In cohort, as Mixpanel last counted", found.in_cohort),
        ("With a profile", found.with_profile),
        ("With an id", found.with_id),
        ("Valid", found.valid),
        ("Distinct: the members", found.distinct),
        ("Of these with a prefix", found.prefixed),
        ("  identified (i_)", found.identified),
        ("  anonymous (a_)", found.anonymous),
        ("Left out: unmatched", found.unmatched),
        ("Left out: invalid", found.invalid),
        *((f"  {reason}", number) for reason, number in found.reasons.items()),
        ("Left out: duplicates", found.duplicates),
    ]
    rows = [(label, "" if number is None else f"{number:,}") for label, number in counted]
    print_table(("Users", "Count"), rows, right=(1,))


def print_association(found: Association) -> None:
    from core.associate.rows import PROBLEMS

    typer.echo(f"Association {found.id}: {found.stage}. {found.rows:,} rows, {found.writable:,} to write.")
    for problem, number in found.problems.items():
        typer.echo(f"{number:,} rows are not written: {PROBLEMS.get(problem, problem)}")
    if found.written or found.refused:
        typer.echo(f"{found.written:,} rows written, {found.refused:,} refused by Mixpanel.")
    if found.looked_up and not found.found:
        typer.echo(
            f"Of {found.looked_up:,} rows that were looked up afterwards none has its new id yet: look again in some "
            "minutes; if it stays so, the project token may be another project's."
        )


def print_who(found: user_lookup.UserLookup) -> None:
    typer.echo(f"Distinct ids: {', '.join(found.distinct_ids) or 'none known'}")
    typer.echo(f"Apptimize ids: {', '.join(found.apptimize_ids) or 'none known'}")
    if found.is_cut_short:
        typer.echo("More ids belong together than are followed here: not all of them are shown.")
    rows = [
        (
            one.group.name,
            one.destination,
            "member" if one.is_member else "not known" if one.reason == user_lookup.LOST else "missing",
            time_text(one.since),
            one.reason or ("" if one.is_member else "not in the cohort when it was last read"),
        )
        for one in found.groups
    ]
    print_table(("Group", "Destination", "", "Since", "Why"), rows)


def say(text: str) -> None:
    typer.echo(text, err=True)


def complain(message: str, advice: str) -> None:
    typer.echo(f"{message} {advice}".rstrip(), err=True)
