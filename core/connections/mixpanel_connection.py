"""Connecting: credentials for a Mixpanel project, and the destinations groups are delivered to. Tested when saved."""

from __future__ import annotations

import asyncio
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import urljoin

import httpx
from pydantic import SecretStr
from sqlmodel import col, select, update

from core.access.roles import Actor, Role, action
from core.bridge import Bridge
from core.connections.query_budget import budget_for
from core.errors import NotFound, SettingsError, StorageFailed
from core.rules.matching import APPTIMIZE_PROPERTY, USER_PROPERTY, IdMerge
from core.validation import clean_line, whole_number
from core.vendors import addresses, cohort_sync, mixpanel, mixpanel_answers, mixpanel_project
from core.vendors.addresses import Reach
from core.vendors.http import connect_entered, connect_http
from core.vendors.mixpanel_errors import not_an_admin
from core.vendors.retry import RetryPlan
from data.engine import read_session, write_session
from data.models import Connection, ConnectionKind, Group, Sync, SyncState, utc_now

MIXPANEL_SIDE = "mixpanel"
DESTINATION_SIDE = "destination"
SEALED = ("secret", "project_token")


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
def connect_mixpanel(bridge: Bridge, actor: Actor, form: MixpanelForm) -> Connection:
    """Check that the service account is an admin or owner of the project, then store it; a name is replaced.

    Raises: SettingsError naming the field, VendorError, VendorAuthFailed. Nothing is stored then.
    """
    values = _mixpanel_values(bridge, form)
    project = mixpanel_project.Project(
        base_url=values["base_url"],
        project_id=values["project_id"],
        username=values["username"],
        secret=form.secret.get_secret_value(),
    )
    account, values["practice"] = asyncio.run(_account(bridge, project))
    if account.refusal:
        raise not_an_admin(account.refusal)
    values |= {"account_trouble": None, "account_expires_at": account.expires_at, "account_asked_at": utc_now()}
    return _store(bridge, actor, MIXPANEL_SIDE, ConnectionKind.MIXPANEL, form.name, values)


def _mixpanel_values(bridge: Bridge, form: MixpanelForm) -> dict[str, Any]:
    region = form.region.strip().lower()
    if region not in mixpanel_project.REGIONS:
        raise SettingsError("Region: choose us, eu or in.")
    if form.id_merge not in list(IdMerge):
        raise SettingsError("ID merge: choose original or simplified.")
    usual = APPTIMIZE_PROPERTY if form.id_merge == IdMerge.ORIGINAL else USER_PROPERTY
    secret = _entered(form.secret, "Secret", "Enter the service account's secret.")
    token = form.project_token.get_secret_value().strip() if form.project_token else ""
    return {
        "username": clean_line(form.username, "Username"),
        "secret": bridge.vault.encrypt(secret),
        "secret_end": _end(secret),
        "project_id": whole_number(form.project_id, "Project id"),
        "workspace_id": whole_number(form.workspace_id, "Workspace id")
        if form.workspace_id not in (None, "")
        else None,
        "region": region,
        "base_url": (bridge.settings.mixpanel_url or mixpanel_project.REGIONS[region]).rstrip("/"),
        "id_merge": form.id_merge,
        "match_property": clean_line(form.match_property or usual, "Match property"),
        "expects_prefix": form.expects_prefix,
        "project_token": bridge.vault.encrypt(token) if token else None,
        "project_token_end": _end(token),
    }


async def _account(bridge: Bridge, project: mixpanel_project.Project) -> tuple[mixpanel_answers.Account, bool]:
    """Ask for the account's standing, and whether this is the practice sandbox's project."""
    # A person is waiting: two tries tell a passing failure from a wrong address.
    retry = RetryPlan(attempts=2, over_s=min(bridge.settings.retry_over_s, 15.0))
    async with connect_http() as http:
        practice = addresses.is_loopback(project.base_url) and await is_sandbox(http, project.base_url)
        return await mixpanel.Mixpanel(http, project, budget_for(bridge, project.key), retry=retry).account(), practice


@action(Role.ADMIN)
def connect_endpoint(bridge: Bridge, actor: Actor, *, url: str, token: SecretStr, name: str = "default") -> Connection:
    """Test the endpoint with the token, then store both; a name is replaced.

    Raises: SettingsError naming the field, VendorAuthFailed (the token), VendorUnavailable (the address).
    """
    secret = _entered(token, "Token", "Make one on Apptimize's Tokens page: New token, a name, Generate.")
    if not secret.isascii() or not secret.isprintable():
        raise SettingsError("Token: it holds characters that no token has.")
    practice = asyncio.run(_test_endpoint(bridge, url, secret))
    values = {
        "url": url.strip(),
        "secret": bridge.vault.encrypt(secret),
        "secret_end": _end(secret),
        "practice": practice,
        "folder": "",
    }
    return _store(bridge, actor, DESTINATION_SIDE, ConnectionKind.ENDPOINT, name, values)


async def _test_endpoint(bridge: Bridge, url: str, token: str) -> bool:
    """Test an endpoint with its token; tells whether it is the practice sandbox."""
    loopback = addresses.is_loopback(url.strip())
    allowed = bridge.settings.allow_private_hosts
    checked = await asyncio.to_thread(addresses.check_endpoint, url, allow_private=allowed or loopback)
    practice = False
    if loopback:
        async with connect_entered(Reach.LOOPBACK) as http:
            practice = await is_sandbox(http, checked)
        if not practice and not allowed:
            raise SettingsError(
                "Endpoint: this leads to this machine itself, and what answers is not the practice sandbox.",
                advice="Set COHORT_BRIDGE_ALLOW_PRIVATE_HOSTS=1 if groups are meant to go there.",
            )
    async with connect_entered(addresses.reach_of(allow_private=allowed, practice=practice)) as http:
        await cohort_sync.test_endpoint(http, checked, token)
    return practice


async def is_sandbox(http: httpx.AsyncClient, url: str) -> bool:
    """Ask whether our own sandbox answers at this address of this machine; nothing secret is sent for asking."""
    try:
        answer = await http.get(urljoin(url, "/sandbox/api/project"), timeout=10.0)
        said: Any = answer.json()
        project: dict[str, Any] = cast("dict[str, Any]", said) if isinstance(said, dict) else {}
        return answer.is_success and project.get("id_merge") in list(IdMerge)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError):
        return False


@action(Role.ADMIN)
def connect_csv(bridge: Bridge, actor: Actor, *, folder: str, name: str = "csv") -> Connection:
    """Store a folder that groups are written to as CSV files; it is made if need be, and tried.

    Raises: SettingsError, StorageFailed.
    """
    path = Path(clean_line(folder, "Folder")).expanduser().resolve()
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as exc:
        raise StorageFailed(
            f"Folder: it cannot be written ({exc.strerror}).", advice="Choose a folder that this program may write to."
        ) from exc
    values = {"folder": os.fspath(path), "url": "", "secret": None, "secret_end": "", "practice": False}
    return _store(bridge, actor, DESTINATION_SIDE, ConnectionKind.CSV, name, values)


def _store(
    bridge: Bridge, actor: Actor, side: str, kind: ConnectionKind, name: str, values: dict[str, Any]
) -> Connection:
    name = clean_line(name, "Name", most=100)
    with write_session(bridge.engine) as session:
        connection = session.exec(select(Connection).where(Connection.side == side, Connection.name == name)).first()
        if connection is None:
            connection = Connection(side=side, kind=kind, name=name, created_by=actor.name)
        elif side == MIXPANEL_SIDE and not values["project_token"] and connection.project_id == values["project_id"]:
            # The same project's: it was entered once, and nothing says that it is another one now.
            values = values | {
                "project_token": connection.project_token,
                "project_token_end": connection.project_token_end,
            }
        elif side == DESTINATION_SIDE and _leads_elsewhere(connection, kind, values):
            # What the new place holds is not known, whatever the old one was given.
            session.exec(update(Group).where(col(Group.destination_id) == connection.id).values(in_doubt=True))
        stored = {**values, **_sealed_now(bridge, values), "kind": kind, "removed": False, "checked_at": utc_now()}
        for key, value in stored.items():
            setattr(connection, key, value)
        session.add(connection)
    return connection


def _leads_elsewhere(connection: Connection, kind: ConnectionKind, values: dict[str, Any]) -> bool:
    return (connection.kind, connection.url, connection.folder) != (kind, values["url"], values["folder"])


@action(Role.ADMIN)
def set_project_token(bridge: Bridge, actor: Actor, connection_id: int, token: SecretStr) -> Connection:
    """Store the project token that profiles are written with. Raises NotFound, SettingsError."""
    text = _entered(token, "Project token", "Mixpanel shows it in the project settings.")
    return _change(
        bridge, connection_id, {"project_token": bridge.vault.encrypt(text), "project_token_end": _end(text)}
    )


@action(Role.ADMIN)
def change_match_setting(
    bridge: Bridge, actor: Actor, connection_id: int, *, match_property: str, expects_prefix: bool | None
) -> Connection:
    """Change which property users are matched on, and whether a prefix is expected; None: as usual in its mode.

    Empty, the property is the mode's usual one. Groups are overwritten in full when another property is matched.
    Raises: NotFound, SettingsError.
    """
    with read_session(bridge.engine) as session:
        connection = session.get(Connection, connection_id)
    usual = USER_PROPERTY if connection and connection.id_merge == IdMerge.SIMPLIFIED else APPTIMIZE_PROPERTY
    wanted = clean_line(match_property.strip() or usual, "Match property")
    return _change(bridge, connection_id, {"match_property": wanted, "expects_prefix": expects_prefix})


def _change(bridge: Bridge, connection_id: int, values: dict[str, Any]) -> Connection:
    with write_session(bridge.engine) as session:
        connection = session.get(Connection, connection_id)
        if connection is None or connection.removed or connection.side != MIXPANEL_SIDE:
            raise NotFound("This connection was removed already.")
        for name, value in (values | _sealed_now(bridge, values)).items():
            setattr(connection, name, value)
        session.add(connection)
    return connection


def _sealed_now(bridge: Bridge, values: dict[str, Any]) -> dict[str, str]:
    """Seal secrets again: the key may have been rotated since, and cannot be while the caller's transaction lasts."""
    return {name: bridge.vault.seal_again(values[name]) for name in SEALED if values.get(name)}


@action(Role.ADMIN)
def remove_connection(bridge: Bridge, actor: Actor, connection_id: int) -> None:
    """Forget a connection's secrets; its groups stay as they are, and its recurring syncs are paused."""
    with write_session(bridge.engine) as session:
        connection = session.get(Connection, connection_id)
        if connection is None or connection.removed:
            raise NotFound("This connection was removed already.")
        connection.removed = True
        connection.secret = connection.project_token = None
        connection.secret_end = connection.project_token_end = ""
        session.add(connection)
        groups = select(Group.id).where(Group.destination_id == connection_id)
        session.exec(
            update(Sync)
            .where(
                (col(Sync.mixpanel_id) == connection_id) | col(Sync.group_id).in_(groups),
                col(Sync.state) == SyncState.ACTIVE,
            )
            .values(state=SyncState.PAUSED, paused_reason=f"The connection {connection.name} was removed.")
        )


def _end(secret: str) -> str:
    """Return what the screens show of a secret; nothing of one that is so short that this would give it away."""
    return secret[-4:] if len(secret) >= 12 else ""


def _entered(secret: SecretStr, field: str, hint: str) -> str:
    text = secret.get_secret_value().strip()
    if not text:
        raise SettingsError(f"{field}: this is needed.", advice=hint)
    if len(text) > 1000 or re.search(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", text):
        raise SettingsError(f"{field}: it holds characters that cannot be used here, or is too long.")
    return text
