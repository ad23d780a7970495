"""The command that lists the project's cohorts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import typer

from core.access.roles import LOCAL
from core.cli.common import Json, Mixpanel, open_here
from core.cli.output import marks, print_json, print_note, print_table
from core.syncs import cohorts
from core.vendors.mixpanel_answers import Cohort

app = typer.Typer()


@app.command("cohorts")
def list_cohorts(mixpanel: Mixpanel = None, as_json: Json = False) -> None:
    """List the project's cohorts, fresh from Mixpanel."""
    bridge = open_here()
    listed = cohorts.list_cohorts(bridge, LOCAL, mixpanel=mixpanel)
    if as_json:
        print_json([cohort_as_json(cohort) for cohort in listed])
    else:
        print_cohorts(listed)
    if left_out := cohorts.count_cohorts_left_out(bridge, LOCAL, mixpanel=mixpanel):
        print_note(f"Left out, since Mixpanel lists them without a usable “id” of their own: {left_out:,}.")


def cohort_as_json(cohort: Cohort) -> dict[str, Any]:
    return {
        "id": cohort.id,
        "name": cohort.name,
        "description": cohort.description,
        "count": cohort.count,
        "created": cohort.created,
        "is_visible": cohort.is_visible,
        "exportable": cohorts.why_not_exportable(cohort) is None,
        "reason": cohorts.why_not_exportable(cohort),
    }


def print_cohorts(cohorts: Sequence[Cohort]) -> None:
    rows = [
        (
            str(cohort.id),
            cohort.name,
            "" if cohort.count is None else f"{cohort.count:,}",
            marks(
                ("hidden", not cohort.is_visible),
                ("not users", cohort.of_groups),
                ("incomplete", cohort.odd_field is not None),
            ),
        )
        for cohort in cohorts
    ]
    print_table(("Cohort", "Name", "Count", "Note"), rows, right=(0, 2))
