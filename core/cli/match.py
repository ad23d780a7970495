"""The command that reads a cohort, and says how many of its users can be targeted."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from core.access.roles import LOCAL
from core.bridge import Bridge
from core.cli.common import CohortId, Json, Mixpanel, To, Wait, open_here, patience, whole_number
from core.cli.output import print_json, print_table, say
from core.cli.run_here import fail, run_here
from core.reports import match_funnel
from core.rules.id_words import id_words
from core.rules.matching import read_rule
from core.syncs import one_time
from core.syncs.as_json import time_as_json
from core.text import shown
from data.models import Run, RunStatus

app = typer.Typer()


@app.command("match")
def show_match(
    cohort_id: CohortId,
    to: To = None,
    mixpanel: Mixpanel = None,
    last: Annotated[bool, typer.Option("--last", help="As of the last read; Mixpanel is not asked.")] = False,
    wait: Wait = False,
    as_json: Json = False,
) -> None:
    """Read a cohort: how many of its users can be targeted, and why the others cannot; nothing is written."""
    number, bridge = whole_number(cohort_id, "COHORT_ID"), open_here()
    if last:
        run = match_funnel.find_last_read(bridge, LOCAL, number, to=to, mixpanel=mixpanel)
    else:
        run = _read_now(bridge, number, to=to, mixpanel=mixpanel, patience_s=patience(wait))
    if as_json:
        print_json(funnel_as_json(run))
    else:
        print_funnel(run)


def _read_now(bridge: Bridge, cohort_id: int, *, to: str | None, mixpanel: str | None, patience_s: float | None) -> Run:
    run = run_here(
        bridge,
        lambda lease_owner: one_time.start_export(
            bridge, LOCAL, cohort_id, to=to, mixpanel=mixpanel, dry_run=True, trigger="cli", lease_owner=lease_owner
        ),
        patience_s=patience_s,
    )
    if run.status not in (RunStatus.SUCCEEDED, RunStatus.HELD):
        fail(run)
    return run


def funnel_as_json(run: Run) -> dict[str, Any]:
    rule, words = read_rule(run.matched_by), id_words(run.matched_by)
    return {
        "cohort_id": run.cohort_id,
        "cohort_name": run.cohort_name,
        "run_id": run.id,
        "read_at": time_as_json(run.finished_at),
        "id_merge": str(rule.id_merge) if rule and rule.is_apptimize else None,
        "match_property": rule.match_property if rule and words.code != "distinct" else None,
        "known_by": words.code,
        **asdict(match_funnel.get_funnel(run)),
    }


def print_funnel(run: Run) -> None:
    funnel, words, rule = match_funnel.get_funnel(run), id_words(run.matched_by), read_rule(run.matched_by)
    by = words.name if not words.is_apptimize else rule.match_property if rule else ""
    say(f"Cohort {shown(run.cohort_name)}, matched by {by} in run {run.id}.")
    if words.note:
        say(words.note)
    prefixes = [
        ("Of these with a prefix", funnel.prefixed),
        ("  identified (i_)", funnel.identified),
        ("  anonymous (a_)", funnel.anonymous),
    ]
    counts = [
        ("In cohort, as Mixpanel last counted", funnel.in_cohort),
        ("With a profile", funnel.with_profile),
        ("With an id", funnel.with_id),
        ("Valid", funnel.valid),
        ("Distinct: the members", funnel.distinct),
        *(prefixes if words.is_apptimize else []),
        ("Excluded: unmatched", funnel.unmatched),
        ("Excluded: invalid", funnel.invalid),
        *((f"  {reason}", number) for reason, number in funnel.reasons.items()),
        ("Excluded: duplicates", funnel.duplicates),
    ]
    rows = [(label, "" if number is None else f"{number:,}") for label, number in counts]
    print_table(("Users", "Count"), rows, right=(1,))
