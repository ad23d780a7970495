"""The command that looks a user up."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from core.access.roles import LOCAL
from core.cli.common import FAILED, Json, open_here
from core.cli.output import complain, print_json, print_table, say, time_text
from core.invisible import INVISIBLE
from core.reports import user_lookup
from core.reports.lookup_json import in_group_as_json
from core.syncs.as_json import time_as_json

app = typer.Typer()


@app.command("who")
def show_user(user_id: Annotated[str, typer.Argument(metavar="ID")], as_json: Json = False) -> None:
    """Look up a user by distinct id or Apptimize id, in what was read and associated; Mixpanel is not asked."""
    user = user_lookup.look_up_user(open_here(), LOCAL, user_id, look_through=user_lookup.FAR_BACK)
    if as_json:
        print_json(user_as_json(user))
    else:
        print_user(user)
    if not user.is_known:
        advice = "Export a cohort that the user is in, or start a preview of it in the browser."
        if INVISIBLE.search(user_id):
            advice = "It holds an invisible character: type it, or paste it as plain text."
        complain("No group and no read had this id.", advice)
        raise typer.Exit(FAILED)


def user_as_json(user: user_lookup.UserLookup) -> dict[str, Any]:
    """Turn what is known of a user into the form that scripts rely on."""
    return {
        "id": user.id,
        "distinct_ids": user.distinct_ids,
        "apptimize_ids": user.apptimize_ids,
        "other_ids": user.other_ids,
        "is_cut_short": user.is_cut_short,
        "known_back_to": time_as_json(user.lookback.back_to),
        "groups": [in_group_as_json(answer) for answer in user.groups],
        "associated": [
            {
                "association_id": association.id,
                "distinct_id": member.distinct_id,
                "apptimize_id": member.apptimize_id,
                "at": time_as_json(association.finished_at or association.started_at),
                "by": association.confirmed_by,
            }
            for association, member in user.associated
        ],
    }


def _why(answer: user_lookup.InGroup) -> str:
    if answer.reason == user_lookup.LOST:
        return "its members are no longer kept: the next run writes it in full"
    return answer.reason or ("" if answer.is_member else "not in the cohort when it was last read")


def _since(answer: user_lookup.InGroup) -> str:
    if answer.since is None and answer.is_member:
        return f"before {time_text(answer.kept_since)}"
    return time_text(answer.since)


def print_user(user: user_lookup.UserLookup) -> None:
    say(f"Distinct ids: {', '.join(user.distinct_ids) or 'none known'}")
    say(f"Apptimize ids: {', '.join(user.apptimize_ids) or 'none known'}")
    if user.other_ids:
        say(f"Ids at other destinations: {', '.join(user.other_ids)}")
    if user.is_cut_short:
        say("More ids belong together than are followed here: not all of them are shown.")
    for association, member in user.associated:
        at = time_text(association.finished_at or association.started_at)
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
            _since(answer),
            _why(answer),
        )
        for answer in user.groups
    ]
    print_table(("Group", "Destination", "State", "Since", "Why"), rows)
