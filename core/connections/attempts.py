"""Attempts to connect, or to replace a connection, that failed: each is in the audit log, and no secret with it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from urllib.parse import urlsplit

from core.access.roles import Actor, note_refusal
from core.bridge import Bridge
from core.connections.receiver_form import ReceiverForm
from core.errors import CohortBridgeError
from core.text import parse_id, shown
from core.vendors.mixpanel_project import REGIONS
from data import connections
from data.models import DESTINATION_SIDE, Connection, ConnectionKind, SignInKind

_LONGEST = 500


@contextmanager
def noted(bridge: Bridge, actor: Actor, action: str, what: str) -> Generator[None]:
    """Note what fails inside, with the reason; `what` says which connection was to lead where."""
    try:
        yield
    except CohortBridgeError as exc:
        note_refusal(bridge, actor.name, action, shown(f"{what}: {exc.message}", most=_LONGEST))
        raise


def receiver(bridge: Bridge, name: str, form: ReceiverForm) -> str:
    """Describe a destination at an address that was entered, without what may be secret in that.

    Whatever else was said to sign in: what follows the host may do so, but at an endpoint of Apptimize's. Where the
    address of another destination is a secret, that host has secret addresses.
    """
    url = form.url.get_secret_value()
    where = _address(url, is_secret=form.sign_in != SignInKind.APPTIMIZE or _has_secret_addresses(bridge, url))
    return f"{_kind(form.sign_in)} {_name(name)} at {where}"


def _has_secret_addresses(bridge: Bridge, url: str) -> bool:
    secret = (row.url for row in connections.list_side(bridge.engine, DESTINATION_SIDE) if row.address is not None)
    return _address(url, is_secret=True) in {_address(each, is_secret=True) for each in secret}


def _kind(sign_in: str) -> str:
    return "Apptimize destination" if sign_in == SignInKind.APPTIMIZE else "Destination"


def folder(name: str, path: str) -> str:
    """Describe a destination in a folder."""
    return f"CSV destination {_name(name)} in {shown(path.strip())}"


def project(name: str, project_id: str | int, region: str) -> str:
    """Describe a connection to a project. What is no number, or no region, may have been meant for another field."""
    number = parse_id(str(project_id).strip())
    where = f", {region.strip().lower()}" if region.strip().lower() in REGIONS else ""
    return f"Mixpanel connection {_name(name)} to " + ("no project" if number is None else f"project {number}{where}")


def present(connection: Connection | None) -> str:
    """Describe a connection that is there."""
    if connection is None:
        return "A connection that does not exist"
    if connection.kind == ConnectionKind.ENDPOINT:
        where = _address(connection.url, is_secret=connection.address is not None)
        return f"{_kind(connection.sign_in)} {_name(connection.name)} at {where}"
    if connection.kind == ConnectionKind.CSV:
        return folder(connection.name, connection.folder)
    return project(connection.name, connection.project_id or "", connection.region)


def name_of(connection: Connection | None) -> str:
    """Return the name of a connection that is to lead elsewhere."""
    return connection.name if connection else ""


def _name(name: str) -> str:
    return shown(name.strip(), most=100) or "without a name"


def _address(url: str, *, is_secret: bool) -> str:
    """Return an address without user name, password and query; of what is none nothing: it may be the token.

    Of one that is a secret the host is left.
    """
    try:
        parts = urlsplit(url.strip())
        if parts.scheme not in ("http", "https") or not parts.hostname:
            return "no address"
    except ValueError:
        return "no address"
    return shown(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{'/…' if is_secret else parts.path}")
