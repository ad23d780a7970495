"""Matching: which profiles of a cohort become members of its group, which do not, and how to fix that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import streamlit as st

from core.access.roles import Actor, Role
from core.bridge import Bridge
from core.connections.lookup import choose_mixpanel
from core.reports import match_funnel
from core.reports.match_funnel import CohortRead, Funnel
from core.rules.id_words import IdWords, id_words
from core.rules.matching import id_kind
from core.text import parse_id
from data.models import Run
from pages.parts import flow, links, matching_charts, run_status, tables, user_reasons
from pages.parts.actions import show_errors
from pages.parts.associate import screen as associate
from pages.parts.excluded_profiles import PAGER, explain_reasons, show_excluded
from pages.parts.filters import Filters
from pages.parts.formatting import age, fine_percent, in_gray, percent_number, pluralize
from pages.parts.member_words import words_for
from pages.parts.selection import tell_apart
from pages.shell import gate, page_frame, resources

FUNNEL, ASSOCIATE = "From cohort to group", "Associate by hand"
IN_ADDRESS = {FUNNEL: "funnel", ASSOCIATE: "associate"}
ALL = "All cohorts"
# So many reads, the latest of all cohorts, are drawn at most.
MOST_READS = 500


def show_funnel(bridge: Bridge, person: Actor) -> None:
    """Show the funnel of a cohort, or of all of them, and whom it excludes."""
    latest = match_funnel.latest_reads(bridge, person)
    if not latest:
        st.info(
            "Export a cohort, or preview one: every read shows here how many users can be targeted.",
            title="No cohort was read yet",
            icon=":material/filter_alt:",
        )
        links.pick_cohort()
        return
    reads = by_key(latest)
    lead_to_read(bridge, person, reads)
    filters = Filters("matching", PAGER)
    key = filters.one(
        st.selectbox, "Cohort", "cohort", labels_of(reads), default="", width=420,
        unknown="No read of a cohort {} is kept: all cohorts are shown.",
    )  # fmt: skip
    filters.show_unknown()
    chosen = reads.get(key)
    if chosen:
        show_cohort(bridge, person, chosen)
    else:
        show_all(bridge, person, latest)
    explain_reasons(chosen.run.matched_by if chosen else "")


def by_key(latest: Sequence[CohortRead]) -> dict[str, CohortRead]:
    """Key reads as the address names them: by the cohort, and its project where several have one of that number."""
    projects = {(read.run.cohort_id, read.project_id) for read in latest}
    counts = Counter(cohort_id for cohort_id, _ in projects)
    return {
        key_with_project(read) if counts[read.run.cohort_id] > 1 else key_without_project(read): read for read in latest
    }


def key_without_project(read: CohortRead) -> str:
    """Return what the address calls the only read of a cohort, with its kind of id where that is not Apptimize's."""
    return f"{read.run.cohort_id} {id_kind(read.run.matched_by)}".rstrip()


def key_with_project(read: CohortRead) -> str:
    """Return what the address calls a read where another project has a cohort of the same number."""
    return f"{read.run.cohort_id}-{read.project_id} {id_kind(read.run.matched_by)}".rstrip()


def labels_of(reads: Mapping[str, CohortRead]) -> dict[str, str]:
    """Label the choice of all cohorts, and each cohort by its name, with its id where another has the same label."""
    names = {"": ALL} | {key: label_of(read.run) for key, read in reads.items()}
    return tell_apart(names, lambda key: f" (cohort {_number_of(key, reads[key])})" if key else "")


def _number_of(key: str, read: CohortRead) -> str:
    has_project = key == key_with_project(read)
    return f"{read.run.cohort_id} of project {read.project_id}" if has_project else str(read.run.cohort_id)


def label_of(run: Run) -> str:
    """Label a cohort by its name, and by what it was matched by where that is not the Apptimize id."""
    words = id_words(run.matched_by)
    return run.cohort_name if words.is_apptimize else f"{run.cohort_name}, by {words.name}"


def lead_to_read(bridge: Bridge, person: Actor, reads: Mapping[str, CohortRead]) -> None:
    """Let the address of a run lead to the latest read of its cohort, that of a cohort to the first of its reads."""
    run_id = parse_id(st.query_params.pop("run", ""))
    of_run = match_funnel.find_read(bridge, person, run_id) if run_id else None
    asked = st.query_params.get("cohort", "")
    by_project = {key_with_project(read): key for key, read in reads.items()}
    key = by_project.get(key_with_project(of_run)) if of_run else None
    if key is None and asked not in reads:
        names = {key: (key_without_project(read), str(read.run.cohort_id)) for key, read in reads.items()}
        key = by_project.get(asked) or next((key for key, own in names.items() if asked in own), None)
    if key:
        st.query_params["cohort"] = key


def show_all(bridge: Bridge, person: Actor, latest: Sequence[CohortRead]) -> None:
    """Show all cohorts together, and each of them in a line."""
    ours = [read for read in latest if not id_kind(read.run.matched_by)]
    if ours:
        st.caption(f"The latest read of {pluralize(len(ours), 'cohort')}; a user in two of them counts twice.")
        show_numbers(match_funnel.add_up([match_funnel.get_funnel(read.run) for read in ours]), words_for(""))
    if len(ours) < len(latest):
        st.caption("Reads for destinations that know people by another id are listed, and not added up.")
    show_cohorts(latest)
    shares = match_funnel.list_shares(bridge, person, limit=MOST_READS)
    matching_charts.show_shares(shares, [(read.project_id, read.run.cohort_id) for read in ours])


def show_cohort(bridge: Bridge, person: Actor, latest: CohortRead) -> None:
    """Show one cohort: its latest read, the reads before, and the excluded profiles."""
    run, project_id = latest
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        words = words_for(run.matched_by)
        how = f", {words.how}" if words.how else ""
        st.caption(f"Read {age(run.finished_at)}{how}.", width="content")
        run_status.link(run)
    if words.note:
        st.caption(words.note)
    show_numbers(match_funnel.get_funnel(run), words)
    kind = id_kind(run.matched_by)
    every = match_funnel.list_reads(bridge, person, project_id, run.cohort_id)
    reads = [read for read in every if id_kind(read.matched_by) == kind]
    matching_charts.show_trend(reads)
    if run.excluded:
        show_excluded(bridge, person, run, explanation(bridge, person, run))
    elif run.only_counts:
        show_excluded_before(bridge, person, run, reads)
    elif run.profiles > run.members:
        st.caption("The excluded profiles are no longer kept: the next export or preview keeps them.")


def explanation(bridge: Bridge, person: Actor, run: Run) -> Callable[[str], None]:
    """Return what shows what became of a user whom a search does not find among the excluded."""
    title = "No excluded profile matches the search."
    return partial(user_reasons.explain_search, bridge, person, run.group_id, title=title)


def show_excluded_before(bridge: Bridge, person: Actor, run: Run, reads: list[Run]) -> None:
    """Show those of the last read that kept them, in place of those that a dry run from the terminal only counted."""
    kept = next((read for read in reversed(reads) if not read.only_counts), None)
    if run.profiles > run.members:
        st.caption(f"The excluded profiles of this read are not kept. {run_status.ONLY_COUNTS}")
    if kept and kept.excluded:
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.caption(f"Below are those of the read before that kept them, {age(kept.finished_at)}.", width="content")
            run_status.link(kept)
        show_excluded(bridge, person, kept, explanation(bridge, person, kept))


def show_numbers(funnel: Funnel, words: IdWords) -> None:
    """Show the way from cohort to group, and beside its numbers what the members' ids start with."""
    flow.show(funnel, words, key="matching", beside=partial(_show_prefixes, funnel))


def _show_prefixes(funnel: Funnel) -> None:
    if funnel.expects_prefix and funnel.distinct:
        parts = [
            (funnel.identified, "are identified (`i_`)"),
            (funnel.anonymous, "anonymous (`a_`)"),
            (funnel.unprefixed, "without a prefix"),
        ]
        shares = [f"{fine_percent(part / funnel.distinct)} {what}" for part, what in parts]
        st.caption(f"Of the members {', '.join(shares)}.", width="content")


def show_cohorts(latest: Sequence[CohortRead]) -> None:
    """Show every cohort with its share of users who can be targeted."""
    st.header("By cohort", anchor=False)
    rows = [table_row(read, match_funnel.get_funnel(read.run)) for read in latest]
    told = {
        "Project": len({read.project_id for read in latest}) > 1,
        "Member id": any(id_kind(read.run.matched_by) for read in latest),
    }
    st.dataframe(
        rows,
        column_order=[name for name in rows[0] if told.get(name, True)],
        key="matching_cohorts",
        hide_index=True,
        height=tables.height(len(latest), most=12),
        placeholder="",
        alt="Cohorts with their matching",
        column_config={
            "Cohort": st.column_config.TextColumn(width="medium"),
            "Matched": st.column_config.NumberColumn(
                format="%.1f%%", help="Profiles with a usable id, when the cohort was last read."
            ),
            **tables.counts("Profiles", "Members", "Unmatched", "Invalid", "Duplicates", "No prefix"),
        },
    )


def table_row(read: CohortRead, funnel: Funnel) -> dict[str, object]:
    """Format a cohort for the table."""
    run = read.run
    return {
        "Cohort": run.cohort_name,
        "Project": str(read.project_id),
        "Member id": id_words(run.matched_by).title,
        "Profiles": funnel.with_profile,
        "Members": funnel.distinct,
        "Matched": percent_number(funnel.valid / funnel.with_profile if funnel.with_profile else None),
        "Unmatched": funnel.unmatched,
        "Invalid": funnel.invalid,
        "Duplicates": funnel.duplicates,
        "No prefix": funnel.unprefixed,
        "Read": age(run.finished_at),
    }


def choose_view(person: Actor) -> str:
    """Show the field that looks a user up, and the choice of a view, which the address names, to those who have it."""
    if "association" in st.query_params and "view" not in st.query_params:
        st.query_params["view"] = IN_ADDRESS[ASSOCIATE]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        view = FUNNEL
        if person.role >= Role.ANALYST:
            view = Filters("matching").one(
                st.segmented_control,
                "View",
                "view",
                {name: in_gray(name) for name in IN_ADDRESS},
                default=FUNNEL,
                in_address=IN_ADDRESS,
                required=True,
                label_visibility="collapsed",
            )
        user_reasons.lookup_field("matching_lookup")
    return view


def lead_to_user(person: Actor) -> None:
    """Lead on to the screen that looks a user up, where an address of this one once did."""
    shows_association = "association" in st.query_params and person.role >= Role.ANALYST
    if not shows_association and (user_id := st.query_params.get("id")):
        st.switch_page(links.USERS, query_params={"id": user_id})


person = gate.require(Role.VIEWER)
lead_to_user(person)
bridge = resources.bridge()
connections = page_frame.open_page(
    bridge,
    person,
    "Matching",
    "Which profiles of a cohort become members of its group, which do not, and how to fix it.",
)
with show_errors():
    if choose_view(person) == ASSOCIATE:
        associate.show(bridge, person, choose_mixpanel(connections))
    else:
        show_funnel(bridge, person)
