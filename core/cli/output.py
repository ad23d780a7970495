"""What commands print: one JSON document, or tables and sentences."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from core.access.people import PersonView
from core.encoding import can_print, printing
from core.reports import match_funnel, user_lookup
from core.reports.group_state import GroupNow
from core.syncs import held_runs
from core.syncs.listing import SyncView
from core.text import escaped, harmless, shown
from core.vendors.mixpanel_answers import Cohort
from data.models import Association, Group, Run, RunStatus

_is_json_printed = False
# Longer than any line of ours, and any cell: a name of other origin is cut.
_LONGEST_LINE, _LONGEST_CELL = 2000, 300


def print_json(document: Any) -> None:
    global _is_json_printed  # noqa: PLW0603
    _is_json_printed = True
    text = escaped(json.dumps(document, ensure_ascii=False))
    _print(text if can_print(text) else json.dumps(document))


def has_printed_json() -> bool:
    """Return whether this process has printed its one document."""
    return _is_json_printed


def print_note(text: str) -> None:
    """Print to standard error; line breaks in it are ours."""
    with suppress(OSError):  # what is done does not depend on who reads it
        sys.stderr.write(harmless(text, keep="\n") + "\n")
        sys.stderr.flush()


def complain(message: str, advice: str) -> None:
    print_note(shown(f"{message} {advice}".rstrip(), most=_LONGEST_LINE))


def say(text: str) -> None:
    """Print one line: the names of cohorts, ids and messages in it are not ours, and neither steer nor forge."""
    _print(harmless(text))


def _print(line: str) -> None:
    """Print a line as standard output takes it: typer's echo takes ASCII for a mistake, and prints UTF-8 there."""
    with printing():
        sys.stdout.write(f"{line}\n")


def print_csv(lines: Iterable[str]) -> None:
    """Print CSV: UTF-8 whatever the locale says, byte for byte; on a terminal, where it is looked at, harmless."""
    is_looked_at = sys.stdout.isatty()
    with printing():
        for line in lines:
            if is_looked_at:
                sys.stdout.write(harmless(line, keep="\r\n\ufeff"))
            else:
                sys.stdout.buffer.write(line.encode())


# --- tables --------------------------------------------------------------------------------------------------------


def _print_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not rows:
        print_note("None yet.")
        return
    table = Table(box=None, pad_edge=False)
    for number, name in enumerate(header):
        table.add_column(name, justify="right" if number in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(shown(cell, most=_LONGEST_CELL)) for cell in row))  # never markup: names are not ours
    with printing():
        Console(highlight=False).print(table)


def print_cohorts(cohorts: Sequence[Cohort]) -> None:
    rows = [
        (
            str(cohort.id),
            cohort.name,
            "" if cohort.count is None else f"{cohort.count:,}",
            _marks(
                ("hidden", not cohort.is_visible),
                ("not users", cohort.of_groups),
                ("incomplete", cohort.odd_field is not None),
            ),
        )
        for cohort in cohorts
    ]
    _print_table(("Cohort", "Name", "Count", ""), rows, right=(0, 2))


def print_runs(runs: Sequence[Run]) -> None:
    rows = [
        (
            str(run.id),
            f"{_state(run)}{' (dry run)' if run.dry_run else ''}",
            run.group_name,
            f"{run.members:,}",
            run.destination,
            _time_text(run.started_at),
        )
        for run in runs
    ]
    _print_table(("Run", "Status", "Group", "Members", "Destination", "Started"), rows, right=(0, 3))


def print_groups(
    groups: Sequence[Group], destinations: Mapping[int | None, str], states: Mapping[int, GroupNow]
) -> None:
    rows = [
        (
            str(group.cohort_id),
            group.name,
            f"{group.members:,}",
            destinations.get(group.destination_id, "(removed)"),
            _time_text(group.delivered_at),
            str(states[group.id or 0].state).lower() if group.id in states else "",
        )
        for group in groups
    ]
    _print_table(("Cohort", "Group", "Members", "Destination", "Delivered", "State"), rows, right=(0, 2))


def print_syncs(views: Sequence[SyncView]) -> None:
    rows = [
        (
            str(view.sync.id),
            f"every {view.sync.every_minutes} min" if view.sync.every_minutes else "one-time",
            view.sync.state if view.sync.every_minutes else "",
            view.group.name,
            view.destination,
            _time_text(view.sync.next_run_at),
            _state(view.last_run) if view.last_run else "",
            ", ".join(view.sync.tags),
        )
        for view in views
    ]
    _print_table(("Sync", "Kind", "State", "Group", "Destination", "Next run", "Last run", "Tags"), rows, right=(0,))


def print_people(views: Sequence[PersonView]) -> None:
    rows = [
        (
            view.person.email,
            view.role.label,
            _marks(("by setting", view.fixed), ("disabled", view.person.disabled)),
            _time_text(view.person.signed_in_at),
        )
        for view in views
    ]
    _print_table(("Address", "Role", "", "Signed in"), rows)


def _marks(*marks: tuple[str, bool]) -> str:
    return ", ".join(mark for mark, holds in marks if holds)


def _time_text(at: datetime | None) -> str:
    return at.astimezone().strftime("%Y-%m-%d %H:%M") if at else ""


# --- sentences -----------------------------------------------------------------------------------------------------


def print_run(run: Run) -> None:
    done = "would be" if run.dry_run else "are"
    cohort, group = shown(run.cohort_name), shown(run.group_name)
    say(f"Run {run.id}: {_state(run)}. Cohort {cohort} to group {group} ({run.destination}).")
    say(
        f"{run.profiles:,} profiles = {run.members:,} members + {run.duplicates:,} duplicates + "
        f"{run.unmatched:,} unmatched + {run.invalid:,} invalid"
    )
    if run.status == RunStatus.SUCCEEDED:
        say(f"{run.added:,} {done} added, {run.removed:,} removed, {run.unchanged:,} unchanged.")
    if run.status == RunStatus.QUEUED and run.waiting_until:
        say(f"Its process ended before it was done: it is tried again at {_time_text(run.waiting_until)}.")
    if run.unprefixed:
        say(f"{run.unprefixed:,} members start with neither i_ nor a_: Apptimize may not recognize them.")
    if run.notice:
        say(run.notice)
    if run.error_message:
        say(shown(f"{run.error_message} {advice_for(run)}".rstrip(), most=_LONGEST_LINE))


def _state(run: Run) -> str:
    return run.step if held_runs.decision(run) else run.status


def advice_for(run: Run) -> str:
    """Format what can be done about a run that did not succeed, or what has become of one that was held."""
    advice = run.error_advice or ""
    if run.status == RunStatus.HELD and not run.dry_run:
        return f"{advice} To do so: `python -m core run apply {run.id}`, or `python -m core run discard {run.id}`."
    if run.status == RunStatus.SUPERSEDED:
        return "A newer run has taken its place."
    if run.status == RunStatus.CANCELLED and (run.error_code or "").startswith("held"):
        return held_runs.decision(run) or "Its sync was removed."
    return advice


def print_funnel(run: Run) -> None:
    funnel = match_funnel.get_funnel(run)
    say(f"Cohort {shown(run.cohort_name)}, matched by {run.matched_by.partition(':')[2]} in run {run.id}.")
    counts = [
        ("In cohort, as Mixpanel last counted", funnel.in_cohort),
        ("With a profile", funnel.with_profile),
        ("With an id", funnel.with_id),
        ("Valid", funnel.valid),
        ("Distinct: the members", funnel.distinct),
        ("Of these with a prefix", funnel.prefixed),
        ("  identified (i_)", funnel.identified),
        ("  anonymous (a_)", funnel.anonymous),
        ("Excluded: unmatched", funnel.unmatched),
        ("Excluded: invalid", funnel.invalid),
        *((f"  {reason}", number) for reason, number in funnel.reasons.items()),
        ("Excluded: duplicates", funnel.duplicates),
    ]
    rows = [(label, "" if number is None else f"{number:,}") for label, number in counts]
    _print_table(("Users", "Count"), rows, right=(1,))


def print_association(association: Association) -> None:
    from core.associate.rows import ACCEPTABLE, PROBLEMS, Problem

    rows, writable = association.rows, association.writable
    say(f"Association {association.id}: {association.stage}. {rows:,} rows, {writable:,} to write.")
    for problem, number in association.problems.items():
        way_out = f" To write them all the same: --accept {problem}" if problem in ACCEPTABLE else ""
        if problem == Problem.UNPREFIXED:
            way_out = " To write them: --prefix i_, a_ or as-they-are"
        count = "1 row is" if number == 1 else f"{number:,} rows are"
        say(f"{count} not written: {PROBLEMS.get(problem, problem)}{way_out}")
    for problem, number in association.warnings.items():
        count = "1 row has" if number == 1 else f"{number:,} rows have"
        say(f"Of those to write, {count} a warning: {PROBLEMS.get(problem, problem)}")
    if association.written or association.refused:
        say(f"{association.written:,} rows written, {association.refused:,} refused by Mixpanel.")
    if association.looked_up and not association.found:
        say(
            f"Of {association.looked_up:,} rows that were looked up afterwards none has its new id yet: look again in "
            "some minutes; if it stays so, the project token may be another project's."
        )


def _why(answer: user_lookup.InGroup) -> str:
    if answer.reason == user_lookup.LOST:
        return "its members are no longer kept: the next run writes it in full"
    return answer.reason or ("" if answer.is_member else "not in the cohort when it was last read")


def print_user(user: user_lookup.UserLookup) -> None:
    say(f"Distinct ids: {', '.join(user.distinct_ids) or 'none known'}")
    say(f"Apptimize ids: {', '.join(user.apptimize_ids) or 'none known'}")
    if user.is_cut_short:
        say("More ids belong together than are followed here: not all of them are shown.")
    for association, member in user.associated:
        at = _time_text(association.finished_at or association.started_at)
        say(f"{member.apptimize_id} was set on {member.distinct_id} by hand: {association.confirmed_by}, {at}.")
    if user.associated and not all(answer.is_member for answer in user.groups):
        say("A group holds an id that was set by hand from its next run on: below is what its last one knew.")
    rows = [
        (
            answer.group.name,
            answer.destination,
            ("member (in doubt)" if answer.group.in_doubt else "member")
            if answer.is_member
            else "not known"
            if answer.reason == user_lookup.LOST
            else "missing",
            _time_text(answer.since),
            _why(answer),
        )
        for answer in user.groups
    ]
    _print_table(("Group", "Destination", "", "Since", "Why"), rows)
