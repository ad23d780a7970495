"""Commands for what belongs to an installation: its key and its storage."""

from __future__ import annotations

from typing import Annotated

import typer

from core.access.roles import LOCAL
from core.cli.common import open_here
from core.cli.output import say
from core.connections import adopting
from core.errors import SettingsError

installation_app = typer.Typer(help="The key and the storage that an installation has.", no_args_is_help=True)


@installation_app.callback()
def group() -> None:
    """Keep this a group, though it has one command."""


@installation_app.command("adopt")
def adopt(
    key: Annotated[bool, typer.Option("--key", help="The secret key that is set here.")] = False,
    storage: Annotated[bool, typer.Option("--storage", help="The storage that is set here.")] = False,
) -> None:
    """Take this machine's key or storage for the installation's, where that is lost for good."""
    if not (key or storage):
        raise SettingsError("Say what to take: --key, --storage or both.")
    adopting.adopt(open_here(must_belong=False), LOCAL, key=key, storage=storage)
    if key:
        say("The secret key of this machine is the installation's now: what another key sealed is to be entered again.")
    if storage:
        say("The storage of this machine is the installation's now: groups are written in full by their next runs.")
