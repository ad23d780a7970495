"""Connecting a Mixpanel project: its service account is tried before it is stored."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Any

from pydantic import SecretStr

from core.access.roles import Actor, Role, action
from core.bridge import Bridge
from core.connections import attempts, entering
from core.connections.query_budget import budget_for
from core.connections.secrets import checked_secret, sealed
from core.errors import NotFound, SettingsError
from core.rules.matching import APPTIMIZE_PROPERTY, USER_PROPERTY, IdMerge
from core.rules.personal_properties import require_impersonal
from core.validation import clean_exact_line, whole_number
from core.vendors.addresses import is_loopback
from core.vendors.http import connect_http
from core.vendors.mixpanel import Mixpanel
from core.vendors.mixpanel_answers import Account
from core.vendors.mixpanel_errors import not_an_admin
from core.vendors.mixpanel_project import REGIONS, Project
from core.vendors.practice import is_practice_account, is_sandbox, sandbox_address
from core.vendors.retry import RetryPlan
from data import connections
from data.connections import IfTaken, NewConnection
from data.models import MIXPANEL_SIDE, Connection, ConnectionKind
from data.seen import Seen

_WHERE_IT_IS = "Mixpanel shows it in the project settings."


@dataclass(frozen=True)
class MixpanelForm:
    """What is entered to connect a Mixpanel project. `match_property` empty: the ID merge mode's usual one."""

    username: str
    secret: SecretStr
    project_id: str | int
    region: str = "us"
    workspace_id: str | int | None = None
    id_merge: str = IdMerge.ORIGINAL.value
    match_property: str = ""
    expects_prefix: bool | None = None
    project_token: SecretStr | None = None
    name: str = "default"


@action(Role.ADMIN)
def connect_mixpanel(
    bridge: Bridge, actor: Actor, form: MixpanelForm, *, if_taken: IfTaken = "take_over"
) -> Connection:
    """Check that the service account is an admin or owner of the project, then store it.

    Raises: SettingsError naming the field, VendorError, VendorAuthFailed, NameInUse. Nothing is stored then.
    """
    what = attempts.project(form.name, form.project_id, form.region)
    with attempts.noted(bridge, actor, "connect_mixpanel", what):
        values = checked_values(bridge, form)
        new = NewConnection(MIXPANEL_SIDE, ConnectionKind.MIXPANEL, form.name, actor.name, values, if_taken)
        return entering.store(bridge, new)


@action(Role.ADMIN)
def replace_secret(
    bridge: Bridge,
    actor: Actor,
    connection_id: int,
    *,
    username: str,
    secret: SecretStr,
    seen: Seen | None = None,
) -> Connection:
    """Have a project asked with another service account, or another secret of it.

    No one may change the connection meanwhile, nor since it was `seen`.
    Raises: SettingsError, VendorError, VendorAuthFailed, NotFound, ChangedMeanwhile.
    """
    known = connections.get_connection(bridge.engine, connection_id)
    with attempts.noted(bridge, actor, "replace_secret", attempts.present(known)):
        present = _require_mixpanel(known)
        form = MixpanelForm(
            username=username,
            secret=secret,
            project_id=present.project_id,
            region=present.region,
            workspace_id=present.workspace_id,
            id_merge=present.id_merge,
            match_property=present.match_property,
            expects_prefix=present.expects_prefix,
        )
        values = checked_values(bridge, form, base_url=present.base_url)
        return entering.replace(bridge, present, values, seen=seen)


@action(Role.ADMIN)
def change_project(
    bridge: Bridge, actor: Actor, connection_id: int, form: MixpanelForm, *, seen: Seen | None = None
) -> Connection:
    """Have a connection lead to another project, or ask it in another way; its name stays.

    Syncs of the project before stop, and are not lost: it may be connected again. Groups that are still fed through the
    connection are written in full. No one may change the connection meanwhile, nor since it was `seen`.
    Raises: SettingsError, VendorError, VendorAuthFailed, NotFound, ChangedMeanwhile.
    """
    known = connections.get_connection(bridge.engine, connection_id)
    what = attempts.project(attempts.name_of(known), form.project_id, form.region)
    with attempts.noted(bridge, actor, "change_project", what):
        present = _require_mixpanel(known)
        values = checked_values(bridge, form)
        return entering.replace(bridge, present, values, seen=seen)


def _require_mixpanel(known: Connection | None) -> Connection:
    connection = entering.require_present(known)
    if connection.side != MIXPANEL_SIDE:
        raise NotFound("This connection is of another kind.")
    return connection


def checked_values(bridge: Bridge, form: MixpanelForm, *, base_url: str = "") -> dict[str, Any]:
    """Check the service account with Mixpanel, and return what is stored of what was entered.

    `base_url` is where a connection that stays asks. Raises: SettingsError, VendorError, VendorAuthFailed.
    """
    form = _cleaned(form)
    values = _values(bridge, form)
    values["base_url"] = _host_for(bridge, values["username"], values["region"], base_url)
    project = Project(
        base_url=values["base_url"],
        project_id=values["project_id"],
        username=values["username"],
        secret=form.secret.get_secret_value(),
    )
    account, practice = asyncio.run(_ask_account(bridge, project))
    if account.refusal:
        raise not_an_admin(account.refusal)
    return values | {
        "practice": practice,
        "account_trouble": None,
        "account_expires_at": account.expires_at,
        "account_asked_at": bridge.clock.now(),
    }


def _cleaned(form: MixpanelForm) -> MixpanelForm:
    """Return what was entered as it is both tried and stored. Raises SettingsError naming the field."""
    secret = checked_secret(form.secret, "Secret", "Enter the service account's secret.")
    token = form.project_token.get_secret_value().strip() if form.project_token else ""
    return replace(
        form,
        username=checked_username(form.username),
        secret=SecretStr(secret),
        project_token=SecretStr(_checked_token(SecretStr(token))) if token else None,
    )


def checked_username(username: str) -> str:
    """Return a service account's name. Raises SettingsError."""
    checked = clean_exact_line(username, "Username")
    if not checked.isascii() or ":" in checked:
        raise SettingsError("Username: it holds characters that none has.", advice="Copy it again.")
    return checked


def _checked_token(token: SecretStr) -> str:
    return checked_secret(token, "Project token", _WHERE_IT_IS)


def _values(bridge: Bridge, form: MixpanelForm) -> dict[str, Any]:
    region = form.region.strip().lower()
    if region not in REGIONS:
        raise SettingsError("Region: choose us, eu or in.")
    if form.id_merge not in list(IdMerge):
        raise SettingsError("ID merge: choose original or simplified.")
    has_workspace = form.workspace_id is not None and str(form.workspace_id).strip() != ""
    return {
        "username": form.username,
        "project_id": whole_number(form.project_id, "Project id"),
        "workspace_id": whole_number(form.workspace_id, "Workspace id") if has_workspace else None,
        "region": region,
        "id_merge": form.id_merge,
        "match_property": checked_property(form.match_property, form.id_merge),
        "expects_prefix": form.expects_prefix,
        **sealed(bridge, "secret", form.secret.get_secret_value()),
        **sealed(bridge, "project_token", form.project_token.get_secret_value() if form.project_token else ""),
    }


def _host_for(bridge: Bridge, username: str, region: str, present: str) -> str:
    """Return where an account is asked for: at `present` if its connection stays there, else at its region's host.

    The practice sandbox's accounts are asked for at the sandbox, and no other is: no secret goes where it is not known.
    Raises SettingsError.
    """
    places = connections.list_connections(bridge.engine)
    sandbox, is_practice = sandbox_address(places), is_practice_account(username)
    if present and not is_practice and present == sandbox and present != bridge.settings.mixpanel_url:
        raise SettingsError(
            "Username: this connection leads to the practice sandbox, which has no such account. Nothing was sent.",
            advice="To connect a project of Mixpanel, use Change project, or connect it under a name of its own.",
            code="practice_sandbox",
        )
    host = present or bridge.settings.mixpanel_url or (sandbox if is_practice else None) or REGIONS[region]
    if is_practice and host in REGIONS.values():
        raise SettingsError(
            "Username: this is an account of the practice sandbox, which Mixpanel does not know. Nothing was sent.",
            advice="Enter a service account of your own project, or practise with `make run`.",
            code="practice_account",
        )
    return host.rstrip("/")


def checked_property(entered: str, id_merge: str) -> str:
    """Return the property that users are matched on; entered empty, the usual one of the ID merge mode.

    Raises: SettingsError.
    """
    usual = USER_PROPERTY if id_merge == IdMerge.SIMPLIFIED else APPTIMIZE_PROPERTY
    checked = clean_exact_line(entered.strip() or usual, "Match property")
    require_impersonal(checked, "Match property")
    return checked


async def _ask_account(bridge: Bridge, project: Project) -> tuple[Account, bool]:
    """Ask for the account's role, and whether this is the practice sandbox's project."""
    # A person is waiting: two tries tell a passing failure from a wrong address.
    retry = RetryPlan(attempts=2, over_s=min(bridge.settings.retry_over_s, 15.0))
    async with connect_http() as http:
        practice = is_loopback(project.base_url) and await is_sandbox(http, project.base_url)
        return await Mixpanel(http, project, budget_for(bridge, project.key), retry=retry).account(), practice


@action(Role.ADMIN)
def set_project_token(bridge: Bridge, actor: Actor, connection_id: int, token: SecretStr) -> Connection:
    """Store the project token that profiles are written with. Raises NotFound, SettingsError, ChangedMeanwhile."""
    known = connections.get_connection(bridge.engine, connection_id)
    with attempts.noted(bridge, actor, "set_project_token", attempts.present(known)):
        values = _token_values(bridge, token)
        return entering.change_mixpanel(bridge, _require_mixpanel(known), values)


@action(Role.ADMIN)
def change_match_setting(
    bridge: Bridge,
    actor: Actor,
    connection_id: int,
    *,
    match_property: str,
    expects_prefix: bool | None,
    project_token: SecretStr | None = None,
    seen: Seen | None = None,
) -> Connection:
    """Change which property users are matched on, and whether a prefix is expected; None: as usual in its mode.

    Empty, the property is the mode's usual one. Groups are overwritten in full when another property is matched.
    With a project token that is stored too: all of it, or nothing. No one may have changed the connection since it was
    `seen`. Raises: NotFound, SettingsError, ChangedMeanwhile.
    """
    known = connections.get_connection(bridge.engine, connection_id)
    with attempts.noted(bridge, actor, "change_match_setting", attempts.present(known)):
        present = _require_mixpanel(known)
        checked = checked_property(match_property, present.id_merge)
        values = {"match_property": checked, "expects_prefix": expects_prefix}
        if project_token:
            values |= _token_values(bridge, project_token)
        return entering.change_mixpanel(bridge, present, values, seen=seen)


def _token_values(bridge: Bridge, token: SecretStr) -> dict[str, Any]:
    return sealed(bridge, "project_token", _checked_token(token))
