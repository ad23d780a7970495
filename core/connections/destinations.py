"""Connecting a destination: an endpoint with its token, or a folder of CSV files. Each is tried before it is stored."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from core.access.roles import Actor, Role, action
from core.bridge import Bridge
from core.connections import attempts, entering
from core.connections.secrets import checked_secret, sealed
from core.errors import NotFound, SettingsError, StorageFailed
from core.threads import in_time
from core.validation import clean_line
from core.vendors.addresses import Reach, allowed_reach, check_endpoint, is_loopback
from core.vendors.cohort_sync import test_endpoint
from core.vendors.http import connect_entered
from core.vendors.practice import is_sandbox
from core.vendors.receiver import Receiver
from data import connections, receivers
from data.connections import IfTaken, NewConnection
from data.models import DESTINATION_SIDE, Connection, ConnectionKind
from data.same_place import normal_address

# A folder may be on another machine, and not answer.
_TRIED_S = 10.0
_LONGEST_ADDRESS = 2000


@action(Role.ADMIN)
def connect_endpoint(
    bridge: Bridge,
    actor: Actor,
    *,
    url: str,
    token: SecretStr,
    name: str = "default",
    if_taken: IfTaken = "take_over",
    apart: bool = False,
) -> Connection:
    """Test the endpoint with the token, then store both.

    `apart` says that it is another workspace than the others at this address: its groups are kept apart.
    Raises: SettingsError naming the field, VendorAuthFailed (the token), VendorUnavailable (the address), NameInUse,
    PlaceInUse.
    """
    with attempts.noted(bridge, actor, "connect_endpoint", attempts.endpoint(name, url)):
        values = _tested_endpoint(bridge, url, token)
        new = NewConnection(DESTINATION_SIDE, ConnectionKind.ENDPOINT, name, actor.name, values, if_taken, apart)
        return entering.store(bridge, new)


@action(Role.ADMIN)
def replace_token(bridge: Bridge, actor: Actor, connection_id: int, token: SecretStr) -> Connection:
    """Test another token at a destination's address, then store it; the groups there are in doubt.

    Raises: SettingsError, VendorAuthFailed, VendorUnavailable, NotFound, PlaceInUse.
    """
    known = connections.get_connection(bridge.engine, connection_id)
    with attempts.noted(bridge, actor, "replace_token", attempts.present(known)):
        present = _require_kind(known, ConnectionKind.ENDPOINT)
        return entering.replace(bridge, connection_id, _tested_endpoint(bridge, present.url, token), seen=present)


@action(Role.ADMIN)
def change_address(
    bridge: Bridge, actor: Actor, connection_id: int, *, url: str, token: SecretStr, apart: bool = False
) -> Connection:
    """Have a destination lead to another address; its groups are in doubt.

    The token is entered again: no one sends it anywhere without knowing it.
    Raises: SettingsError, VendorAuthFailed, VendorUnavailable, NotFound, PlaceInUse.
    """
    known = connections.get_connection(bridge.engine, connection_id)
    with attempts.noted(bridge, actor, "change_address", attempts.endpoint(attempts.name_of(known), url)):
        _require_kind(known, ConnectionKind.ENDPOINT)
        return entering.replace(bridge, connection_id, _tested_endpoint(bridge, url, token), apart=apart)


@action(Role.ADMIN)
def change_folder(bridge: Bridge, actor: Actor, connection_id: int, *, folder: str) -> Connection:
    """Have a destination write to another folder; its groups are in doubt.

    Raises: SettingsError, StorageFailed, NotFound, PlaceInUse.
    """
    known = connections.get_connection(bridge.engine, connection_id)
    with attempts.noted(bridge, actor, "change_folder", attempts.folder(attempts.name_of(known), folder)):
        _require_kind(known, ConnectionKind.CSV)
        return entering.replace(bridge, connection_id, _tested_folder(bridge, folder))


@action(Role.ADMIN)
def keep_apart(bridge: Bridge, actor: Actor, connection_id: int) -> Connection:
    """Record that a destination is another workspace than the others at its address. Raises NotFound, PlaceInUse."""
    known = connections.get_connection(bridge.engine, connection_id)
    with attempts.noted(bridge, actor, "keep_apart", attempts.present(known)):
        return entering.keep_apart(bridge, connection_id)


@action(Role.ADMIN)
def list_shared(bridge: Bridge, actor: Actor) -> dict[int, list[Connection]]:
    """Return, for each destination that is not alone at its place, the others there."""
    return receivers.list_shared(bridge.engine)


def find_at(address: str, connections: Iterable[Connection]) -> list[Connection]:
    """Return which of these destinations lead to an address already, however it is spelled."""
    return [
        connection
        for connection in connections
        if connection.kind == ConnectionKind.ENDPOINT and normal_address(connection.url) == normal_address(address)
    ]


def are_apart(connection: Connection, other: Connection) -> bool:
    """Return whether it was said that the groups of two destinations at one address are kept apart."""
    return receivers.are_apart(connection, other)


def _require_kind(known: Connection | None, kind: ConnectionKind) -> Connection:
    connection = entering.require_present(known)
    if connection.kind != kind:
        raise NotFound("This connection is of another kind.")
    return connection


def _tested_endpoint(bridge: Bridge, url: str, token: SecretStr) -> dict[str, Any]:
    """Test an endpoint with its token, and return what is stored of both."""
    secret = checked_secret(token, "Token", "Make one on Apptimize's Tokens page: New token, a name, Generate.")
    url = clean_line(url, "Endpoint", most=_LONGEST_ADDRESS)
    practice = asyncio.run(_test_endpoint(bridge, url, secret))
    return {"url": url, "folder": "", "practice": practice, **sealed(bridge, "secret", secret)}


async def _test_endpoint(bridge: Bridge, url: str, token: str) -> bool:
    """Test an endpoint with its token; returns whether it is the practice sandbox."""
    loopback = is_loopback(url)
    allowed = bridge.settings.allow_private_hosts
    checked = await asyncio.to_thread(check_endpoint, url, allow_private=allowed or loopback)
    practice = False
    if loopback:
        async with connect_entered(Reach.LOOPBACK) as http:
            practice = await is_sandbox(http, checked)
        if not practice and not allowed:
            raise SettingsError(
                "Endpoint: this leads to this machine itself, and what answers is not the practice sandbox.",
                advice="Set COHORT_BRIDGE_ALLOW_PRIVATE_HOSTS=1 if groups are meant to go there.",
            )
    async with connect_entered(allowed_reach(allow_private=allowed, practice=practice)) as http:
        await test_endpoint(http, Receiver(checked, token))
    return practice


@action(Role.ADMIN)
def connect_csv(
    bridge: Bridge, actor: Actor, *, folder: str, name: str = "csv", if_taken: IfTaken = "take_over"
) -> Connection:
    """Store a folder that groups are written to as CSV files; it is made if need be, and tried.

    Raises: SettingsError, StorageFailed, NameInUse, PlaceInUse.
    """
    with attempts.noted(bridge, actor, "connect_csv", attempts.folder(name, folder)):
        values = _tested_folder(bridge, folder)
        new = NewConnection(DESTINATION_SIDE, ConnectionKind.CSV, name, actor.name, values, if_taken)
        return entering.store(bridge, new)


def _tested_folder(bridge: Bridge, folder: str) -> dict[str, Any]:
    """Make a folder if need be, try it, and return what is stored of it."""
    entered = clean_line(folder, "Folder")
    try:
        path = in_time(partial(_made_and_tried, entered), within_s=_TRIED_S)
    except (OSError, RuntimeError) as exc:  # a RuntimeError: links that lead in a circle, a home of nobody
        reason = f"it did not answer for {_TRIED_S:.0f} seconds" if isinstance(exc, TimeoutError) else _reason(exc)
        raise StorageFailed(
            f"Folder: it cannot be written ({reason}).", advice="Choose a folder that this program may write to."
        ) from exc
    return {"folder": os.fspath(path), "url": "", "practice": False, **sealed(bridge, "secret", "")}


def _made_and_tried(folder: str) -> Path:
    path = Path(folder).expanduser().resolve()
    path.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=path):
        pass
    return path


def _reason(exc: OSError | RuntimeError) -> str:
    return (exc.strerror if isinstance(exc, OSError) else None) or str(exc)
