"""The command that forgets a person."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import asdict
from typing import Annotated, Any

import typer

from core.access.roles import LOCAL
from core.cli.common import FAILED, Json, cancel_when_ended, open_here
from core.cli.output import complain, print_json, say
from core.forgetting import person
from core.forgetting.traces import GROUPS_STAY, Traces, list_consequences, list_found

app = typer.Typer()


@app.command("forget")
def forget(
    user_id: Annotated[str, typer.Argument(metavar="ID")],
    alone: Annotated[
        bool, typer.Option("--alone", help="This id only, and none that belongs together with it.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Remove a person from all that is kept here; groups are not touched, the cohort decides who is in them."""
    bridge = open_here()
    if not as_json and not yes and sys.stdin.isatty():
        for found in list_found(person.find_traces(bridge, LOCAL, user_id, alone=alone)):
            say(found)
        say(GROUPS_STAY)
        typer.confirm("Remove all of it? It cannot be brought back.", abort=True, err=True)
    try:
        traces = person.forget_person(bridge, LOCAL, user_id, alone=alone, when_begun=cancel_when_ended)
    except (KeyboardInterrupt, asyncio.CancelledError):
        complain("It was stopped.", "Forget the person again: that does what is left to do.")
        raise typer.Exit(FAILED) from None
    if as_json:
        print_json(traces_as_json(traces))
        return
    say("Forgotten." if traces.are_any else "Nothing that is kept here had this id.")
    for line in (*list_found(traces), *list_consequences(traces), GROUPS_STAY):
        say(line)


def traces_as_json(traces: Traces) -> dict[str, Any]:
    """Turn what was forgotten into the form that scripts rely on."""
    return {"forgotten": traces.are_any, **asdict(traces), "groups_touched": 0, "notice": GROUPS_STAY}
