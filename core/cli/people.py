"""Commands that manage people."""

from __future__ import annotations

from typing import Annotated

import typer

from core.access import people
from core.access.roles import LOCAL
from core.bridge import Bridge
from core.cli.as_json import person_as_json
from core.cli.common import Json, open_here
from core.cli.output import print_json, say
from core.cli.tables import print_people

people_app = typer.Typer(help="People and their roles.", no_args_is_help=True)


@people_app.command("list")
def list_people(as_json: Json = False) -> None:
    """List the people who signed in or were added."""
    listed = people.list_people(open_here(), LOCAL)
    if as_json:
        print_json([person_as_json(view) for view in listed])
    else:
        print_people(listed)


@people_app.command("add")
def add_person(
    email: Annotated[str, typer.Argument(metavar="EMAIL")],
    role: Annotated[str, typer.Option(help="viewer, analyst or admin.")] = "viewer",
) -> None:
    """Add a person before they sign in for the first time."""
    person = people.add_person(open_here(), LOCAL, email, role)
    say(f"{person.email} may sign in as {person.role}.")


@people_app.command("role")
def change_role(
    email: Annotated[str, typer.Argument(metavar="EMAIL")],
    role: Annotated[str, typer.Argument(metavar="ROLE", help="viewer, analyst or admin.")],
) -> None:
    """Give a person another role, from their next click on."""
    bridge = open_here()
    person = people.change_role(bridge, LOCAL, _person_id(bridge, email), role)
    say(f"{person.email} is {person.role}.")


@people_app.command("disable")
def disable_person(email: Annotated[str, typer.Argument(metavar="EMAIL")]) -> None:
    """Deactivate a person, from their next click on."""
    bridge = open_here()
    person = people.disable_person(bridge, LOCAL, _person_id(bridge, email))
    say(f"{person.email} is deactivated.")


@people_app.command("enable")
def enable_person(email: Annotated[str, typer.Argument(metavar="EMAIL")]) -> None:
    """Activate a person again, with the role that they had."""
    bridge = open_here()
    person = people.enable_person(bridge, LOCAL, _person_id(bridge, email))
    say(f"{person.email} may sign in as {person.role}.")


@people_app.command("sign-out")
def sign_out_person(email: Annotated[str, typer.Argument(metavar="EMAIL")]) -> None:
    """Sign a person out everywhere, from their next click on."""
    bridge = open_here()
    person = people.end_sign_ins(bridge, LOCAL, _person_id(bridge, email))
    say(f"{person.email} is signed out everywhere.")


def _person_id(bridge: Bridge, email: str) -> int:
    person = people.find_person(bridge, LOCAL, email)
    assert person.id is not None
    return person.id
