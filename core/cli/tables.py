"""What several commands print for people: lists, and one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from core.cli.output import LONGEST_LINE, marks, print_table, say, time_text
from core.rules.id_words import id_words
from core.rules.schedules import text_of
from core.syncs import held_runs, run_ends
from core.text import shown
from data.models import Group, Run, RunStatus, Schedule, Sync, SyncKind

if TYPE_CHECKING:
    # A command that lists something else does without what makes these.
    from core.access.people import PersonView
    from core.reports.group_state import GroupNow
    from core.reports.overlap import Overlap
    from core.syncs.listing import SyncView


_WHY_NOT = {
    "in_doubt": "what its destination holds is in doubt. The next export ends that.",
    "lost": "its members are no longer kept, or their file is damaged. Export the cohort again.",
}


def print_runs(runs: Sequence[Run]) -> None:
    rows = [
        (
            str(run.id),
            f"{_state(run)}{' (dry run)' if run.dry_run else ''}",
            run.group_name,
            f"{run.members:,}",
            run.destination,
            time_text(run.started_at),
        )
        for run in runs
    ]
    print_table(("Run", "Status", "Group", "Members", "Destination", "Started"), rows, right=(0, 3))


def print_groups(
    groups: Sequence[Group], destinations: Mapping[int | None, str], states: Mapping[int, GroupNow]
) -> None:
    rows = [
        (
            str(group.cohort_id),
            group.name,
            f"{group.members:,}",
            destinations.get(group.destination_id, "(removed)"),
            time_text(group.delivered_at),
            str(states[group.id or 0].state).lower() if group.id in states else "",
        )
        for group in groups
    ]
    print_table(("Cohort", "Group", "Members", "Destination", "Delivered", "State"), rows, right=(0, 2))


def print_overlap(overlap: Overlap) -> None:
    rows = [
        (
            str(pair.first.cohort_id),
            pair.first.name,
            str(pair.second.cohort_id),
            pair.second.name,
            f"{pair.members:,}",
            f"{pair.share_of(pair.first) or 0:.1%}",
            f"{pair.share_of(pair.second) or 0:.1%}",
        )
        for pair in overlap.sharing
    ]
    if rows:
        header = ("Cohort", "Group", "Cohort", "Group", "Shared", "Of the first", "Of the second")
        print_table(header, rows, right=(0, 2, 4, 5, 6))
    else:
        say("No two of these groups share a member, as far as is known.")
    for group, why in overlap.not_compared:
        say(f"{shown(group.name)} was not compared: {_WHY_NOT[why.value]}")
    if len(overlap.kinds) > 1:
        say("Groups that know people by different ids were not compared with each other.")


def print_syncs(views: Sequence[SyncView]) -> None:
    header = ["Sync", "Schedule", "State", "Group", "Destination", "Next run", "Last run", "Tags"]
    rows = [
        [
            str(view.sync.id),
            _often(view.sync),
            _sync_state(view.sync),
            view.group.name,
            view.destination,
            time_text(view.sync.next_run_at),
            _state(view.last_run) if view.last_run else "",
            ", ".join(view.sync.tags),
        ]
        for view in views
    ]
    # A column that is empty for every sync only takes room away from the schedules.
    used = [number for number in range(len(header)) if any(row[number] for row in rows)]
    print_table([header[number] for number in used], [[row[number] for number in used] for row in rows], right=(0,))


def _often(sync: Sync) -> str:
    timing = sync.timing
    if isinstance(timing, Schedule):
        return text_of(timing)
    return f"every {timing} min" if timing else "one-time"


def _sync_state(sync: Sync) -> str:
    if sync.kind != SyncKind.RECURRING:
        return ""
    return f"{sync.state} until {time_text(sync.paused_until)}" if sync.paused_until else sync.state


def print_people(views: Sequence[PersonView]) -> None:
    rows = [
        (
            view.person.email,
            view.role.label,
            marks(("by setting", view.fixed), ("disabled", view.person.disabled)),
            time_text(view.person.signed_in_at),
        )
        for view in views
    ]
    print_table(("Address", "Role", "Note", "Signed in"), rows)


def print_run(run: Run, held: Run | None = None) -> None:
    """Print one run; `held` is the held run that it was queued to let through, if there is one."""
    done = "would be" if run.dry_run else "are"
    cohort, group = shown(run.cohort_name), shown(run.group_name)
    say(f"Run {run.id}: {_state(run)}. Cohort {cohort} to group {group} ({run.destination}).")
    say(
        f"{run.profiles:,} profiles = {run.members:,} members + {run.duplicates:,} duplicates + "
        f"{run.unmatched:,} unmatched + {run.invalid:,} invalid"
    )
    if text := held_runs.follows(run, held):
        say(shown(text, most=LONGEST_LINE))
    if note := id_words(run.matched_by).note:
        say(note)
    if run.worker:
        say(f"Worker: {shown(run.worker)}")
    if run.status == RunStatus.SUCCEEDED:
        say(f"{run.added:,} {done} added, {run.removed:,} removed, {run.unchanged:,} unchanged.")
        if run.only_counts:
            say("Who they are is not kept, nor who is excluded: an export, or a preview in the browser, keeps that.")
    if run.status == RunStatus.QUEUED and run.waiting_until:
        say(f"Its process ended before it was done: it is tried again at {time_text(run.waiting_until)}.")
    if run.unprefixed:
        say(f"{run.unprefixed:,} members start with neither i_ nor a_: Apptimize may not recognize them.")
    if run.notice:
        say(run.notice)
    if run.error_message:
        say(shown(f"{run.error_message} {advice_for(run)}".rstrip(), most=LONGEST_LINE))
    if written := run_ends.written_text(run):
        say(written)


def _state(run: Run) -> str:
    return run.step if held_runs.decision(run) else run.status


def advice_for(run: Run) -> str:
    """Format what can be done about a run that did not succeed, or what has become of one that was held."""
    advice = run.error_advice or ""
    if run.status == RunStatus.HELD and not run.dry_run:
        return f"{advice} To do so: `python -m core run apply {run.id}`, or `python -m core run discard {run.id}`."
    if run.status == RunStatus.SUPERSEDED:
        return held_runs.followed_by(run)
    if run.status == RunStatus.CANCELLED and (run.error_code or "").startswith("held"):
        return f"{held_runs.decision(run)} {held_runs.followed_by(run)}".strip() or "Its sync was removed."
    return advice
