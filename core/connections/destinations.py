"""Connecting a destination: an endpoint with its token, or a folder of CSV files. Each is tried before it is stored."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from core.access.roles import Actor, Role, action
from core.bridge import Bridge
from core.connections.mixpanel_connection import NAME_LENGTH
from core.connections.secrets import checked_secret, sealed
from core.errors import SettingsError, StorageFailed
from core.validation import clean_line
from core.vendors.addresses import Reach, allowed_reach, check_endpoint, is_loopback
from core.vendors.cohort_sync import test_endpoint
from core.vendors.http import connect_entered
from core.vendors.practice import is_sandbox
from data import connections
from data.connections import NewConnection
from data.models import DESTINATION_SIDE, Connection, ConnectionKind


@action(Role.ADMIN)
def connect_endpoint(bridge: Bridge, actor: Actor, *, url: str, token: SecretStr, name: str = "default") -> Connection:
    """Test the endpoint with the token, then store both; a name is replaced.

    Raises: SettingsError naming the field, VendorAuthFailed (the token), VendorUnavailable (the address).
    """
    secret = checked_secret(token, "Token", "Make one on Apptimize's Tokens page: New token, a name, Generate.")
    if not secret.isascii() or not secret.isprintable():
        raise SettingsError("Token: it holds characters that no token has.")
    practice = asyncio.run(_test_endpoint(bridge, url, secret))
    values = {"url": url.strip(), "folder": "", "practice": practice, **sealed(bridge, "secret", secret)}
    return _store(bridge, actor, ConnectionKind.ENDPOINT, name, values)


async def _test_endpoint(bridge: Bridge, url: str, token: str) -> bool:
    """Test an endpoint with its token; returns whether it is the practice sandbox."""
    loopback = is_loopback(url.strip())
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
        await test_endpoint(http, checked, token)
    return practice


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
    values = {"folder": os.fspath(path), "url": "", "practice": False, **sealed(bridge, "secret", "")}
    return _store(bridge, actor, ConnectionKind.CSV, name, values)


def _store(bridge: Bridge, actor: Actor, kind: ConnectionKind, name: str, values: dict[str, Any]) -> Connection:
    name = clean_line(name, "Name", most=NAME_LENGTH)
    new = NewConnection(DESTINATION_SIDE, kind, name, actor.name, values)
    return connections.store(bridge.engine, new, seal_again=bridge.vault.seal_again, now=bridge.clock.now())
