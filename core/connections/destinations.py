"""Connecting a destination: a receiver of messages, or a folder of CSV files. Each is tried before it is stored."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from core.access.roles import Actor, Role, action
from core.bridge import Bridge
from core.connections import attempts, entering
from core.connections.receiver_form import (
    NO_RECEIVER,
    ReceiverForm,
    checked,
    checked_members,
    checked_sign_in,
    full_address,
    member_values,
    sign_in_values,
)
from core.connections.secrets import sealed
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
from data.models import DESTINATION_SIDE, Connection, ConnectionKind, SignInKind
from data.same_place import normal_address
from data.seen import Seen

# A folder may be on another machine, and not answer.
_TRIED_S = 10.0


@action(Role.ADMIN)
def connect_receiver(
    bridge: Bridge,
    actor: Actor,
    form: ReceiverForm,
    *,
    name: str = "default",
    if_taken: IfTaken = "take_over",
    apart: bool = False,
) -> Connection:
    """Test a receiver of cohort-sync messages, then store all that was entered of it.

    `apart` says that it is another workspace than the others at this address: its groups are kept apart.
    Raises: SettingsError naming the field, VendorAuthFailed (what signs in), VendorUnavailable (the address),
    NameInUse, PlaceInUse.
    """
    with attempts.noted(bridge, actor, "connect_receiver", attempts.receiver(bridge, name, form)):
        return _connect(bridge, actor, form, name, if_taken, apart)


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
    """Connect an endpoint of Apptimize's with its token, as `connect_receiver` does; raises what that raises."""
    form = ReceiverForm(SecretStr(url), secret=token)
    with attempts.noted(bridge, actor, "connect_endpoint", attempts.receiver(bridge, name, form)):
        return _connect(bridge, actor, form, name, if_taken, apart)


def _connect(bridge: Bridge, actor: Actor, form: ReceiverForm, name: str, if_taken: IfTaken, apart: bool) -> Connection:
    form = checked(form)
    values = sign_in_values(bridge, form, practice=test_sign_in(bridge, form)) | member_values(form)
    new = NewConnection(DESTINATION_SIDE, ConnectionKind.ENDPOINT, name, actor.name, values, if_taken, apart)
    return entering.store(bridge, new)


@action(Role.ADMIN)
def replace_token(
    bridge: Bridge, actor: Actor, connection_id: int, token: SecretStr, *, seen: Seen | None = None
) -> Connection:
    """Test another token of Apptimize's at a destination's address, as `replace_sign_in` does."""
    known = connections.get_connection(bridge.engine, connection_id)
    with attempts.noted(bridge, actor, "replace_token", attempts.present(known)):
        return _replace_sign_in(bridge, known, ReceiverForm(SecretStr(""), secret=token), seen)


@action(Role.ADMIN)
def replace_sign_in(
    bridge: Bridge, actor: Actor, connection_id: int, form: ReceiverForm, *, seen: Seen | None = None
) -> Connection:
    """Test how a destination is signed in to from now on, then store it; the groups there are in doubt.

    Of the form only the sign-in counts. The address stays, and none needs to be entered, unless it is what signs in;
    which id is sent stays too: see `change_receiver`. No one may change the connection meanwhile, nor since it was
    `seen`. Raises: SettingsError, VendorAuthFailed, VendorUnavailable, NotFound, PlaceInUse, ChangedMeanwhile.
    """
    known = connections.get_connection(bridge.engine, connection_id)
    with attempts.noted(bridge, actor, "replace_sign_in", attempts.present(known)):
        return _replace_sign_in(bridge, known, form, seen)


def _replace_sign_in(bridge: Bridge, known: Connection | None, form: ReceiverForm, seen: Seen | None) -> Connection:
    present = require_kind(known, ConnectionKind.ENDPOINT)
    is_entered = form.sign_in == SignInKind.ADDRESS
    where = form.url if is_entered else SecretStr(full_address(bridge, present))
    form = checked_sign_in(replace(form, url=where))
    is_hidden = present.address is not None and not is_entered
    values = sign_in_values(bridge, form, practice=test_sign_in(bridge, form), is_hidden=is_hidden)
    return entering.replace(bridge, present, values, seen=seen)


@action(Role.ADMIN)
def change_address(
    bridge: Bridge,
    actor: Actor,
    connection_id: int,
    form: ReceiverForm,
    *,
    apart: bool = False,
    seen: Seen | None = None,
) -> Connection:
    """Have a destination lead to another address; its groups are in doubt.

    All that signs in is entered again: no one sends it anywhere without knowing it. Which id is sent stays.
    No one may change the connection meanwhile, nor since it was `seen`.
    Raises: SettingsError, VendorAuthFailed, VendorUnavailable, NotFound, PlaceInUse, ChangedMeanwhile.
    """
    known = connections.get_connection(bridge.engine, connection_id)
    with attempts.noted(bridge, actor, "change_address", attempts.receiver(bridge, attempts.name_of(known), form)):
        present = require_kind(known, ConnectionKind.ENDPOINT)
        form = checked_sign_in(form)
        values = sign_in_values(bridge, form, practice=test_sign_in(bridge, form))
        return entering.replace(bridge, present, values, apart=apart, seen=seen)


@action(Role.ADMIN)
def change_receiver(
    bridge: Bridge,
    actor: Actor,
    connection_id: int,
    *,
    member_id: str,
    member_property: str = "",
    member_key: str = "",
    adds_only: bool = False,
    seen: Seen | None = None,
) -> Connection:
    """Change which id a receiver is sent, under which key, and whether it removes anybody by itself.

    The groups there are in doubt, unless nothing of it is another. No one may have changed the connection since it was
    `seen`. Raises: SettingsError, NotFound, ChangedMeanwhile.
    """
    known = connections.get_connection(bridge.engine, connection_id)
    with attempts.noted(bridge, actor, "change_receiver", attempts.present(known)):
        present = require_kind(known, ConnectionKind.ENDPOINT)
        entered = ReceiverForm(
            SecretStr(""),
            member_id=member_id,
            member_property=member_property,
            member_key=member_key,
            adds_only=adds_only,
        )
        values = member_values(checked_members(entered))
        if all(getattr(present, column) == value for column, value in values.items()):
            return present
        return entering.replace(bridge, present, values, seen=seen)


@action(Role.ADMIN)
def change_folder(
    bridge: Bridge, actor: Actor, connection_id: int, *, folder: str, seen: Seen | None = None
) -> Connection:
    """Have a destination write to another folder; its groups are in doubt.

    No one may change the connection meanwhile, nor since it was `seen`.
    Raises: SettingsError, StorageFailed, NotFound, PlaceInUse, ChangedMeanwhile.
    """
    known = connections.get_connection(bridge.engine, connection_id)
    with attempts.noted(bridge, actor, "change_folder", attempts.folder(attempts.name_of(known), folder)):
        present = require_kind(known, ConnectionKind.CSV)
        values = tested_folder(bridge, folder)
        return entering.replace(bridge, present, values, seen=seen)


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


def find_at(bridge: Bridge, address: str, connections: Iterable[Connection]) -> list[Connection]:
    """Return which of these destinations lead to an address already, however it is spelled."""
    return [
        connection
        for connection in connections
        if connection.kind == ConnectionKind.ENDPOINT and _leads_to(bridge, connection, address)
    ]


def _leads_to(bridge: Bridge, connection: Connection, address: str) -> bool:
    if connection.address is None:
        return normal_address(connection.url) == normal_address(address)
    return connection.address_hash == bridge.vault.hash_text(normal_address(address))


def are_apart(connection: Connection, other: Connection) -> bool:
    """Return whether it was said that the groups of two destinations at one address are kept apart."""
    return receivers.are_apart(connection, other)


def require_kind(known: Connection | None, kind: ConnectionKind) -> Connection:
    """Return a connection that is there, and of this kind. Raises NotFound."""
    connection = entering.require_present(known)
    if connection.kind != kind:
        raise NotFound("This connection is of another kind.")
    return connection


def entered_receiver(form: ReceiverForm) -> Receiver:
    """Return the receiver of a checked form, as far as it is signed in to."""
    return Receiver(
        form.url.get_secret_value(), form.secret.get_secret_value(), SignInKind(form.sign_in), form.sign_in_name
    )


def test_sign_in(bridge: Bridge, form: ReceiverForm) -> bool:
    """Test a receiver with what was entered of its sign-in; returns whether it is the practice sandbox's.

    Raises: SettingsError, VendorAuthFailed, VendorUnavailable, VendorError.
    """
    return asyncio.run(_test_receiver(bridge, entered_receiver(form)))


async def _test_receiver(bridge: Bridge, receiver: Receiver) -> bool:
    loopback = is_loopback(receiver.url)
    allowed = bridge.settings.allow_private_hosts
    checked_url = await asyncio.to_thread(check_endpoint, receiver.url, allow_private=allowed or loopback)
    practice = False
    if loopback:
        async with connect_entered(Reach.LOOPBACK) as http:
            practice = await is_sandbox(http, checked_url)
        if not practice and not allowed:
            raise SettingsError(
                "Endpoint: this leads to this machine itself, and what answers is not the practice sandbox.",
                advice="Set COHORT_BRIDGE_ALLOW_PRIVATE_HOSTS=1 if groups are meant to go there.",
            )
    async with connect_entered(allowed_reach(allow_private=allowed, practice=practice)) as http:
        await test_endpoint(http, receiver)
    return practice


@action(Role.ADMIN)
def connect_csv(
    bridge: Bridge, actor: Actor, *, folder: str, name: str = "csv", if_taken: IfTaken = "take_over"
) -> Connection:
    """Store a folder that groups are written to as CSV files; it is made if need be, and tried.

    Raises: SettingsError, StorageFailed, NameInUse, PlaceInUse.
    """
    with attempts.noted(bridge, actor, "connect_csv", attempts.folder(name, folder)):
        values = tested_folder(bridge, folder)
        new = NewConnection(DESTINATION_SIDE, ConnectionKind.CSV, name, actor.name, values, if_taken)
        return entering.store(bridge, new)


def tested_folder(bridge: Bridge, folder: str) -> dict[str, Any]:
    """Make a folder if need be, try it, and return what is stored of it. Raises SettingsError, StorageFailed."""
    entered = clean_line(folder, "Folder")
    try:
        path = in_time(partial(_made_and_tried, entered), within_s=_TRIED_S)
    except (OSError, RuntimeError) as exc:  # a RuntimeError: links that lead in a circle, a home of nobody
        reason = f"it did not answer for {_TRIED_S:.0f} seconds" if isinstance(exc, TimeoutError) else _reason(exc)
        raise StorageFailed(
            f"Folder: it cannot be written ({reason}).", advice="Choose a folder that this program may write to."
        ) from exc
    secret = sealed(bridge, "secret", "")
    return {"folder": os.fspath(path), "url": "", "practice": False, **secret, **NO_RECEIVER}


def _made_and_tried(folder: str) -> Path:
    path = Path(folder).expanduser().resolve()
    path.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=path):
        pass
    return path


def _reason(exc: OSError | RuntimeError) -> str:
    return (exc.strerror if isinstance(exc, OSError) else None) or str(exc)
