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
from core.connections.receiver_form import ReceiverForm
from core.errors import SettingsError
from data.connections import IfTaken
from data.models import Connection, MemberId, SignInKind

connect_app = typer.Typer(help="Connect a Mixpanel project, or a destination for groups.", no_args_is_help=True)

Replace = Annotated[
    bool,
    typer.Option("--replace", help="Let the connection of this name lead elsewhere; its groups are written again."),
]
Apart = Annotated[
    bool,
    typer.Option("--apart", help="It is another workspace at a connected address: its groups are kept apart."),
]
_SIGN_INS = {(kind.value or "apptimize"): kind for kind in SignInKind}
_MEMBER_IDS = {(which.value or "apptimize"): which for which in MemberId}
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
    endpoint: Annotated[str, typer.Option(metavar="URL", help="Where cohort-sync messages go.")],
    name: Annotated[str, typer.Option(help="What to call the destination.")] = "default",
    replace: Replace = False,
    apart: Apart = False,
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


@connect_app.command("receiver")
def connect_receiver(
    sign_in: Annotated[str, typer.Option(metavar="HOW", help=f"How it is signed in to: {', '.join(_SIGN_INS)}.")],
    endpoint: Annotated[str, typer.Option(metavar="URL", help="Where cohort-sync messages go; no secret.")] = "",
    user_name: Annotated[str, typer.Option(help="The user name, for basic.")] = "",
    header: Annotated[str, typer.Option(help="The name of the header, for header.")] = "",
    member_id: Annotated[
        str, typer.Option(metavar="WHICH", help=f"The id that it knows people by: {', '.join(_MEMBER_IDS)}.")
    ] = "apptimize",
    member_property: Annotated[str, typer.Option(help="The profile property with the id, for property.")] = "",
    member_key: Annotated[str, typer.Option(help="What the id is sent under, if not as usual.")] = "",
    adds_only: Annotated[
        bool, typer.Option("--adds-only/--replaces", help="Whether it removes nobody when it is sent all members.")
    ] = False,
    name: Annotated[str, typer.Option(help="What to call the destination.")] = "default",
    replace: Replace = False,
    apart: Apart = False,
) -> None:
    """Test another receiver of cohort-sync messages, then store how it is signed in to, and which id it is sent.

    Password, token or header's value are asked for, or in COHORT_BRIDGE_RECEIVER_SECRET; with the sign-in address the
    whole address is the secret: it is asked for, or in COHORT_BRIDGE_RECEIVER_URL, and --endpoint is left out.
    """
    kind = _chosen(_SIGN_INS, sign_in, "--sign-in")
    _refuse_unused("--user-name", user_name, kind is SignInKind.BASIC, "--sign-in basic")
    _refuse_unused("--header", header, kind is SignInKind.HEADER, "--sign-in header")
    which = _chosen(_MEMBER_IDS, member_id, "--member-id")
    _refuse_unused("--member-property", member_property, which is MemberId.PROPERTY, "--member-id property")
    bridge = open_here()
    form = ReceiverForm(
        url=_receiver_url(bridge, kind, endpoint),
        sign_in=kind,
        secret=_receiver_secret(bridge, kind),
        sign_in_name=user_name or header,
        member_id=which,
        member_property=member_property,
        member_key=member_key,
        adds_only=adds_only,
    )
    _show_connected(
        destinations.connect_receiver(bridge, LOCAL, form, name=name, if_taken=_if_taken(replace), apart=apart)
    )


def _receiver_url(bridge: Bridge, sign_in: SignInKind, endpoint: str) -> SecretStr:
    if sign_in is not SignInKind.ADDRESS:
        return SecretStr(endpoint)
    if endpoint:
        raise SettingsError(
            "--endpoint: this address is a secret, and what is on a command line is seen by others and kept.",
            advice="Leave it out: it is asked for, or read from COHORT_BRIDGE_RECEIVER_URL.",
        )
    return _secret(bridge.settings.receiver_url, "Endpoint", "COHORT_BRIDGE_RECEIVER_URL")


def _receiver_secret(bridge: Bridge, sign_in: SignInKind) -> SecretStr:
    if sign_in is SignInKind.ADDRESS:
        return SecretStr("")
    if sign_in is SignInKind.APPTIMIZE and bridge.settings.receiver_secret is None:
        return _secret(bridge.settings.apptimize_token, "Apptimize token", "COHORT_BRIDGE_RECEIVER_SECRET")
    return _secret(bridge.settings.receiver_secret, SECRET_LABELS[sign_in], "COHORT_BRIDGE_RECEIVER_SECRET")


def _chosen(choices: Mapping[str, T], entered: str, option: str) -> T:
    if entered not in choices:
        raise SettingsError(f"{option}: choose one of {', '.join(choices)}.")
    return choices[entered]


def _refuse_unused(option: str, entered: str, is_used: bool, used_with: str) -> None:
    if entered and not is_used:
        raise SettingsError(f"{option}: this is for {used_with}.")


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
