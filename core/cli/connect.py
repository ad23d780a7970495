"""Commands that connect the vendors. Secrets come from a prompt or the environment, never from arguments."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Annotated, TypeVar

import typer
from pydantic import SecretStr

from core.access.roles import LOCAL
from core.bridge import Bridge
from core.cli.common import open_here
from core.cli.output import say
from core.connections import destinations, mixpanel_connection
from core.connections.receiver_checks import SECRET_LABELS
from core.connections.receiver_form import MEMBERS_WORDS, SIGN_IN_WORDS, ReceiverForm, member_id_of
from core.errors import SettingsError
from core.rules.matching import APPTIMIZE_PROPERTY, DISTINCT_PROPERTY
from data.connections import IfTaken
from data.models import Connection, SignInKind

connect_app = typer.Typer(help="Connect a Mixpanel project, or a destination for groups.", no_args_is_help=True)

Replace = Annotated[
    bool,
    typer.Option("--replace", help="Let the connection of this name lead elsewhere; its groups are written again."),
]
Apart = Annotated[
    bool,
    typer.Option("--apart", help="It is another workspace at a connected address: its groups are kept apart."),
]
T = TypeVar("T")


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
    endpoint: Annotated[
        str, typer.Option(metavar="URL", help="Where cohort-sync messages go; - where it is a secret: it is asked for.")
    ],
    name: Annotated[str, typer.Option(help="What to call the destination.")] = "default",
    auth: Annotated[str, typer.Option(metavar="HOW", help=f"What signs in: {', '.join(SIGN_IN_WORDS)}.")] = "token",
    auth_name: Annotated[str, typer.Option(help="The user name, for basic, or the header's name, for header.")] = "",
    member_id: Annotated[
        str,
        typer.Option(metavar="PROPERTY", help=f"The id it knows people by; {DISTINCT_PROPERTY}: all profiles are."),
    ] = APPTIMIZE_PROPERTY,
    member_key: Annotated[str, typer.Option(help="What the id is sent under, if not as usual.")] = "",
    members: Annotated[
        str, typer.Option(metavar="WHAT", help="What all members do there: replaces, or adds and removes no one.")
    ] = "replaces",
    replace: Replace = False,
    apart: Apart = False,
) -> None:
    """Test the endpoint with what signs in to it, then store both. That is asked for, or in the environment.

    Under a name that is connected to this address it is replaced, and the groups are written in full next.
    Other receivers of cohort-sync messages are connected by --auth, --member-id and --members. With --auth none the
    address is the secret: give --endpoint - and it is asked for, or read from COHORT_BRIDGE_RECEIVER_URL.
    """
    sign_in = _chosen(SIGN_IN_WORDS, auth, "--auth")
    if auth_name and sign_in not in (SignInKind.BASIC, SignInKind.HEADER):
        raise SettingsError("--auth-name: this is for --auth basic and --auth header.")
    kind, member_property = member_id_of(member_id)
    bridge = open_here()
    form = ReceiverForm(
        url=_address(bridge, endpoint),
        sign_in=sign_in,
        secret=_sign_in_secret(bridge, sign_in),
        sign_in_name=auth_name,
        member_id=kind,
        member_property=member_property,
        member_key=member_key,
        adds_only=_chosen(MEMBERS_WORDS, members, "--members"),
    )
    if_taken = _if_taken(replace)
    if form == ReceiverForm(form.url, secret=form.secret):  # Apptimize's way, under the name that its lines always had
        url = form.url.get_secret_value()
        connected = destinations.connect_endpoint(
            bridge, LOCAL, url=url, token=form.secret, name=name, if_taken=if_taken, apart=apart
        )
    else:
        connected = destinations.connect_receiver(bridge, LOCAL, form, name=name, if_taken=if_taken, apart=apart)
    _show_connected(connected)


def _address(bridge: Bridge, endpoint: str) -> SecretStr:
    if endpoint != "-":
        return SecretStr(endpoint)
    return _secret(bridge.settings.receiver_url, "Endpoint", "COHORT_BRIDGE_RECEIVER_URL")


def _sign_in_secret(bridge: Bridge, sign_in: SignInKind) -> SecretStr:
    if sign_in is SignInKind.ADDRESS:
        return SecretStr("")
    label = "Apptimize token" if sign_in is SignInKind.APPTIMIZE else SECRET_LABELS[sign_in]
    return _secret(bridge.settings.apptimize_token, label, "COHORT_BRIDGE_APPTIMIZE_TOKEN")


def _chosen(choices: Mapping[str, T], entered: str, option: str) -> T:
    if entered not in choices:
        raise SettingsError(f"{option}: choose one of {', '.join(choices)}.")
    return choices[entered]


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
