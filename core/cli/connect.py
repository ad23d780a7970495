"""Commands that connect the vendors. Secrets come from a prompt or the environment, never from arguments."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from pydantic import SecretStr

from core.access.roles import LOCAL
from core.cli.common import open_here
from core.cli.output import say
from core.connections import destinations, mixpanel_connection
from core.errors import SettingsError
from data.connections import IfTaken
from data.models import Connection

connect_app = typer.Typer(help="Connect a Mixpanel project, or a destination for groups.", no_args_is_help=True)

Replace = Annotated[
    bool,
    typer.Option("--replace", help="Let the connection of this name lead elsewhere; its groups are written again."),
]


@connect_app.command("mixpanel")
def connect_mixpanel(
    username: Annotated[str, typer.Option(help="The service account's username.")],
    project_id: Annotated[str, typer.Option(help="The project's number.")],
    region: Annotated[str, typer.Option(help="us, eu or in.")] = "us",
    workspace_id: Annotated[str | None, typer.Option(help="The data view's number, if there is one.")] = None,
    id_merge: Annotated[str, typer.Option(help="original or simplified.")] = "original",
    match_property: Annotated[str, typer.Option(help="The profile property with the Apptimize id.")] = "",
    name: Annotated[str, typer.Option(help="What to call the connection.")] = "default",
    replace: Replace = False,
) -> None:
    """Check the credentials and the account's role, then store them. The secret is asked for, or in the environment."""
    bridge = open_here()
    secret = _secret(bridge.settings.mixpanel_secret, "Service account secret", "COHORT_BRIDGE_MIXPANEL_SECRET")
    form = mixpanel_connection.MixpanelForm(
        username=username,
        secret=secret,
        project_id=project_id,
        region=region,
        workspace_id=workspace_id,
        id_merge=id_merge,
        match_property=match_property,
        project_token=bridge.settings.mixpanel_project_token,
        name=name,
    )
    _show_connected(mixpanel_connection.connect_mixpanel(bridge, LOCAL, form, if_taken=_if_taken(replace)))


@connect_app.command("apptimize")
def connect_apptimize(
    endpoint: Annotated[str, typer.Option(metavar="URL", help="Where cohort-sync messages go.")],
    name: Annotated[str, typer.Option(help="What to call the destination.")] = "default",
    replace: Replace = False,
    apart: Annotated[
        bool,
        typer.Option("--apart", help="It is another workspace at a connected address: its groups are kept apart."),
    ] = False,
) -> None:
    """Test the endpoint with the token, then store both. The token is asked for, or in the environment.

    Under a name that is connected to this address the token is replaced, and the groups are written in full next.
    """
    bridge = open_here()
    token = _secret(bridge.settings.apptimize_token, "Apptimize token", "COHORT_BRIDGE_APPTIMIZE_TOKEN")
    _show_connected(
        destinations.connect_endpoint(
            bridge, LOCAL, url=endpoint, token=token, name=name, if_taken=_if_taken(replace), apart=apart
        )
    )


@connect_app.command("csv")
def connect_csv(
    folder: Annotated[str, typer.Option(metavar="DIR", help="Where a file for each group is written.")],
    name: Annotated[str, typer.Option(help="What to call the destination.")] = "csv",
    replace: Replace = False,
) -> None:
    """Deliver groups as CSV files, as Apptimize's Groups page takes them."""
    _show_connected(destinations.connect_csv(open_here(), LOCAL, folder=folder, name=name, if_taken=_if_taken(replace)))


def _if_taken(replace: bool) -> IfTaken:
    return "replace" if replace else "take_over"


def _secret(configured: SecretStr | None, label: str, variable: str) -> SecretStr:
    if configured is not None:
        return configured
    if not sys.stdin.isatty():
        raise SettingsError(f"{label}: this is needed.", advice=f"Set {variable}, or run this at a terminal.")
    try:
        return SecretStr(typer.prompt(label, hide_input=True, err=True))
    except UnicodeDecodeError:
        raise SettingsError(f"{label}: this is not UTF-8.", advice="Enter it in a terminal of UTF-8.") from None


def _show_connected(connection: Connection) -> None:
    note = " (practice sandbox)" if connection.practice else ""
    apart = " Its groups are kept apart from others at this address." if connection.apart else ""
    say(f"Connected: {connection.name}{note}.{apart}")
