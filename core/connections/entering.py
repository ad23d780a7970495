"""Storing what was entered of a connection: a new one under a free name, or in place of one that is there."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from core.access.roles import Actor, Role, action
from core.bridge import Bridge
from core.connections.receiver_form import shown_address
from core.errors import NameInUse, NotFound, PlaceInUse
from core.seen import saving
from core.validation import clean_line
from data import connections
from data.connections import ConnectionTaken, NewConnection, PlaceTaken
from data.models import MIXPANEL_SIDE, Connection, ConnectionKind, SignInKind
from data.seen import Seen, see

ALREADY_REMOVED = "This connection was removed already."
NAME_LENGTH = 100
_OTHERS = "other credentials"
_WHAT = "this connection"
# What people change of a connection, by one form or another; whatever a form enters again counts up the first.
_ENTERED = ("times_replaced", "match_property", "expects_prefix", "project_token_end", "apart")


def see_connection(connection: Connection) -> Seen:
    """Return what somebody sees who is to change a connection."""
    return see(connection, _ENTERED)


@action(Role.ADMIN)
def suggest_name(bridge: Bridge, actor: Actor, side: str, name: str) -> str:
    """Return a name for a new connection that none has or had, made from the usual one."""
    return connections.free_name(bridge.engine, side, name)


def store(bridge: Bridge, new: NewConnection) -> Connection:
    """Store a connection. Raises NameInUse, PlaceInUse, SettingsError."""
    with _taken():
        name = clean_line(new.name, "Name", most=NAME_LENGTH)
        return connections.store(
            bridge.engine, dataclasses.replace(new, name=name), seals=bridge.vault, now=bridge.clock.now()
        )


def replace(
    bridge: Bridge,
    present: Connection,
    values: dict[str, Any],
    *,
    apart: bool = False,
    seen: Seen | None = None,
) -> Connection:
    """Replace what was entered of a connection, which must still be as it is `present`, or was `seen` before that.

    Raises: NotFound, PlaceInUse, ChangedMeanwhile.
    """
    seen, now = seen or see_connection(present), bridge.clock.now()
    with _taken(), saving(_WHAT):
        connection = connections.replace(
            bridge.engine, present.id or 0, values, apart=apart, seen=seen, seals=bridge.vault, now=now
        )
    return require_present(connection)


def change_mixpanel(
    bridge: Bridge, present: Connection, values: dict[str, Any], *, seen: Seen | None = None
) -> Connection:
    """Change values of a Mixpanel connection, which must still be as it is `present`, or was `seen` before that.

    Raises: NotFound, ChangedMeanwhile.
    """
    seen, seal_again = seen or see_connection(present), bridge.vault.seal_again
    with saving(_WHAT):
        connection = connections.change_mixpanel(
            bridge.engine, present.id or 0, values, seen=seen, seal_again=seal_again
        )
    return require_present(connection)


def keep_apart(bridge: Bridge, connection_id: int) -> Connection:
    """Remember that a destination's groups are kept apart. Raises NotFound, PlaceInUse."""
    with _taken():
        connection = connections.keep_apart(bridge.engine, connection_id, seals=bridge.vault, now=bridge.clock.now())
    return require_present(connection)


def require_present(connection: Connection | None) -> Connection:
    """Return a connection that is there. Raises NotFound."""
    if connection is None or connection.removed:
        raise NotFound(ALREADY_REMOVED)
    return connection


@contextmanager
def _taken() -> Generator[None]:
    try:
        yield
    except ConnectionTaken as exc:
        raise _name_in_use(exc) from None
    except PlaceTaken as exc:
        raise _place_in_use(exc) from None


def _name_in_use(exc: ConnectionTaken) -> NameInUse:
    present, is_project = exc.present, exc.present.side == MIXPANEL_SIDE
    leads = f"project {present.project_id}" if is_project else (present.folder or shown_address(present))
    what = "another project" if is_project else "another place"
    how = f"or replace that one, if it is to lead to {what} (on the command line: --replace)."
    return NameInUse(
        f"Name: there is a connection {present.name} already, which leads to {leads}.",
        advice=f"Choose another name, such as {exc.free_name}; {how}",
    )


def _place_in_use(exc: PlaceTaken) -> PlaceInUse:
    name = exc.other.name
    if exc.other.kind == ConnectionKind.CSV:
        return PlaceInUse(
            f"Folder: the connection {name} writes to this folder already.",
            advice="Use that connection, or choose another folder: files of two would overwrite each other.",
        )
    is_token = exc.entered.sign_in == exc.other.sign_in == SignInKind.APPTIMIZE
    if exc.is_same:
        how = "with this token " if is_token else "with these credentials "
        if exc.other.sign_in == SignInKind.ADDRESS:
            how = ""
        return PlaceInUse(
            f"Endpoint: the connection {name} leads to this address {how}already.",
            advice="Use that connection: two would overwrite each other's groups.",
        )
    credentials = "token" if is_token else "sign-in"
    return PlaceInUse(
        f"Endpoint: this address is connected already as {name}, with {'another token' if is_token else _OTHERS}.",
        advice=f"Replace the {credentials} of {name} (on the command line: --name {name}); or, if this {credentials} "
        "is of another workspace, say that its groups are kept apart (--apart).",
    )
