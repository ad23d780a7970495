"""What becomes of several exports that were started together: one progress for all, and a line for each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial

import streamlit as st

from core.access.roles import Actor
from core.bridge import Bridge
from core.connections.failures import is_of_connection
from core.syncs import held_runs, run_again, several
from core.syncs.run_again import RunsAgain
from core.syncs.several import ExportNow
from data.models import FAILED, TO_CLAIM, Run, RunStatus
from pages.export.several import RUNS, SYNCS, listed_ids
from pages.parts import causes, links, run_status, selection, state_chips, tables, whom_to_ask
from pages.parts.actions import perform, show_errors
from pages.parts.formatting import clock, error_text, escape_markdown, message_text, number, pluralize
from pages.parts.selection import opener, read_ids
from pages.shell import gate, page_frame

PLACE = "several"
_OPENED = "several_progress"
# So many cohorts are named beside the cause that they have in common.
_NAMED = 8
_QUEUED = run_status.BADGES[RunStatus.QUEUED].word


def is_asked_for() -> bool:
    """Return whether the address names exports that were started."""
    return bool(st.query_params.get(RUNS) or st.query_params.get(SYNCS))


def show(bridge: Bridge, person: Actor) -> None:
    """Show the exports that the address names, kept up to date while one of them has not ended."""
    (run_ids, no_runs), (sync_ids, no_syncs) = (read_ids(st.query_params.get(name, "")) for name in (RUNS, SYNCS))
    exports = several.get_exports(bridge, person, run_ids, sync_ids)
    if not exports:
        st.warning("These exports are no longer kept.", icon=":material/search_off:")
        return
    lost_runs, lost_syncs = several.list_missing(bridge, person, run_ids, sync_ids)
    _show_missing({"run": [*lost_runs, *no_runs], "sync": [*lost_syncs, *no_syncs]})
    if max(len(run_ids), len(sync_ids)) > several.MOST:
        st.warning(f"Only the first {several.MOST} are shown.", icon=":material/filter_list:")
    st.header(f"{'Syncs' if sync_ids else 'Exports'} of {pluralize(len(exports), 'cohort')}", anchor=False)
    every = "1s" if any(is_open(each) for each in exports) else None
    # A fragment's timer is set where it is made: of what has ended, none runs.
    st.fragment(_show, run_every=every)(bridge, person, run_ids, sync_ids, bool(every))


def _show_missing(missing: dict[str, list[int | str]]) -> None:
    for noun, texts in missing.items():
        if texts:
            listed = listed_ids([str(each) for each in texts])
            st.warning(f"There is no {noun} {listed}: the others are shown.", icon=":material/search_off:")


def is_open(export: ExportNow) -> bool:
    """Return whether an export has not ended, or not begun."""
    return export.run is None or run_status.is_active(export.run)


def _show(bridge: Bridge, person: Actor, run_ids: list[int], sync_ids: list[int], was_open: bool) -> None:
    selection.redraw_if_opened(_OPENED)
    if _is_followed(run_ids):
        st.rerun()
    with show_errors():
        exports = several.get_exports(bridge, person, run_ids, sync_ids)
        if was_open != any(is_open(each) for each in exports):
            gate.redraw()
        done = sum(0.0 if each.run is None else _fraction(each.run) for each in exports)
        st.progress(min(done / max(len(exports), 1), 1.0), text=summary_text(exports))
        _buttons(bridge, person, exports)
        _show_failures(bridge, person, exports)
        _show_lines(exports)


def _is_followed(run_ids: list[int]) -> bool:
    """Return whether a press has other runs take the place of these: this fragment was drawn with those."""
    return _asked_runs() != run_ids


def _asked_runs() -> list[int]:
    return read_ids(st.query_params.get(RUNS, ""))[0]


def _fraction(run: Run) -> float:
    return run_status.fraction(run) if run_status.is_active(run) else 1.0


def summary_text(exports: Sequence[ExportNow]) -> str:
    """Format how many exports are in which state, what is open first."""
    queued = run_status.word_of(RunStatus.QUEUED)
    counts = Counter(run_status.word_of(each.run.told_status) if each.run else queued for each in exports)
    words = [name.lower() for name in run_status.status_names().values()]
    return ", ".join(f"{number(counts[word])} {word}" for word in words if counts[word])


def _buttons(bridge: Bridge, person: Actor, exports: Sequence[ExportNow]) -> None:
    waiting = [each.run.id or 0 for each in exports if each.run and each.run.status in TO_CLAIM]
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            f"Cancel {number(len(waiting))} that {'waits' if len(waiting) == 1 else 'wait'}" if waiting else "Cancel",
            key="several_cancel",
            icon=":material/cancel:",
            disabled=not waiting,
            on_click=_cancel,
            args=(bridge, person, tuple(waiting)),
        )
        if failed := [each.run.id or 0 for each in exports if each.run and held_runs.may_run_again(each.run)]:
            st.button(
                f"Run {number(len(failed))} again",
                key="several_again",
                icon=":material/replay:",
                on_click=_run_again,
                args=(bridge, person, tuple(failed)),
            )
        st.caption(_hint(exports, waiting), width="content")
    page_frame.show_answer(PLACE)


def _run_again(bridge: Bridge, person: Actor, run_ids: Sequence[int]) -> None:
    """Run again what did not succeed, and have the address name the runs that repeat it."""
    done = perform(PLACE, partial(run_again.run_each_again, bridge, person, run_ids))
    if done is None:
        return
    # For a moment: it is so until the first of them begins, and the line of all of them tells on.
    page_frame.toast(f"{pluralize(len(done.queued), 'run')} queued.", ":material/check:")
    if done.refused:
        page_frame.answer(PLACE, _refused_text(done), failed=True)
    if asked := _asked_runs():
        followed = (str(done.queued[each].id if each in done.queued else each) for each in asked)
        selection.set_param(RUNS, ",".join(followed))


def _refused_text(done: RunsAgain) -> str:
    count = len(done.queued) + len(done.refused)
    causes = dict.fromkeys(error_text(exc) for exc in done.refused.values())
    return f"{number(len(done.refused))} of {number(count)} cannot run again: {' '.join(causes)}"


def _show_failures(bridge: Bridge, person: Actor, exports: Sequence[ExportNow]) -> None:
    """Show each cause of failures once, with the cohorts that it kept from their groups, and who can mend it."""
    failed = [(each.cohort_name, each.run) for each in exports if each.run and each.run.status in FAILED]
    names = dict[str, list[str]]()
    for name, run in failed:
        names.setdefault(message_text(run.error_message, run.error_advice), []).append(escape_markdown(name))
    for cause, of in names.items():
        title = f"{number(len(of))} of {number(len(exports))} failed"
        more = f" and {number(len(of) - _NAMED)} more" if len(of) > _NAMED else ""
        st.error(f"{cause}\n\n{', '.join(of[:_NAMED])}{more}", title=title, icon=":material/error:")
    if any(is_of_connection(run.error_code) for _, run in failed if run.status == RunStatus.FAILED):
        whom_to_ask.show_way_to_connections(bridge, person)


def _hint(exports: Sequence[ExportNow], waiting: Sequence[int]) -> str:
    if not any(is_open(each) for each in exports):
        return "All have ended."
    later = [run.waiting_until for each in exports if (run := each.run) and run.id in waiting and run.waiting_until]
    until = f"The next Mixpanel query is free at {clock(min(later))}. " if later else ""
    return f"{until}You can leave this page; the runs continue."


def _cancel(bridge: Bridge, person: Actor, run_ids: Sequence[int]) -> None:
    perform(PLACE, partial(several.cancel_waiting, bridge, person, run_ids), _cancelled_text)


def _cancelled_text(count: int) -> str:
    return f"{pluralize(count, 'run')} cancelled." if count else "None of them is waiting any more."


def _show_lines(exports: Sequence[ExportNow]) -> None:
    states = [state_chips.of_run(each.run) if each.run else [_QUEUED] for each in exports]
    rows = [_row(each, state) for each, state in zip(exports, states, strict=True)]
    tables.rows_to_open(
        rows,
        [each.run.id if each.run else None for each in exports],
        key="several_runs",
        order=tables.filled(rows, "Members", "Detail", "Added", "Removed", "Profiles"),
        label="The exports that were started together",
        go_to=selection.redraw_page_for(_OPENED, opener(links.HISTORY, "run")),
        opens="Cohort",
        opens_width=150,
        columns={
            "State": state_chips.column(states),
            **tables.texts(rows, Detail=230, Destination=120, Run=70),
            **tables.counts("Profiles", "Members", "Added", "Removed"),
        },
    )


def _row(export: ExportNow, states: list[str]) -> dict[str, object]:
    run = export.run
    counts = run if run and run.status in (RunStatus.SUCCEEDED, RunStatus.HELD) else None
    return {
        "Cohort": export.cohort_name,
        "State": states,
        "Members": counts.members if counts else None,
        "Detail": _detail(run),
        "Added": counts.added if counts else None,
        "Removed": counts.removed if counts else None,
        "Profiles": run.profiles if run and run.profiles else None,
        "Destination": export.destination,
        "Run": str(run.id) if run else "",
    }


def _detail(run: Run | None) -> str:
    """Format what a run does, or why it ended as it did."""
    if run is None:
        return "Its first run is queued within seconds"
    if run_status.is_active(run):
        return run_status.step_text(run)
    if run.status == RunStatus.SUCCEEDED:
        return "Nothing to write" if run.write == "none" else ""
    return causes.of_run(run)
