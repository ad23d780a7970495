"""Key rotation: everything that is sealed is sealed anew, and the old key opens nothing any more."""

from __future__ import annotations

from filelock import FileLock
from sqlmodel import col, select

from core.access.roles import Actor, Role, action
from core.bridge import Bridge
from core.connections.connect import SEALED
from core.errors import SecretKeyLost, SettingsError
from data.engine import write_session
from data.models import Connection


@action(Role.ADMIN)
def rotate_key(bridge: Bridge, actor: Actor) -> int:
    """Seal all secrets with a new key, and return how many those are.

    A key file gets the new key by itself. Keys in the environment are the operator's: put the new one first there, run
    this, then take the old one out. Killed at any point, all secrets can still be read, and it can be run again.

    Raises: SettingsError, SecretKeyLost naming the connection; nothing is changed then.
    """
    # Two at once would each drop the key that the other has just sealed with.
    with FileLock(bridge.settings.home / "rotate.lock", timeout=60):
        return _rotate(bridge)


def _rotate(bridge: Bridge) -> int:
    vault = bridge.vault
    configured = bridge.settings.secret_key
    if configured and configured.get_secret_value().count(",") < 1:
        raise SettingsError(
            "COHORT_BRIDGE_SECRET_KEY holds one key, and there is none to change to.",
            advice="Put a new key and a comma in front of it, run this again, then take the old key out.",
        )
    with write_session(bridge.engine) as session:
        found = session.exec(select(Connection).where(col(Connection.removed).is_(False))).all()
        for one in found:
            _require_readable(bridge, one)
        added = vault.add_key() if vault.path else None
        count = 0
        for one in found:
            for name in SEALED:
                if sealed := getattr(one, name):
                    setattr(one, name, vault.seal_again(sealed))
                    count += 1
            session.add(one)
        session.flush()
    # The old keys go only once nothing that they sealed is left. Whoever sealed with one meanwhile waited for the
    # transaction above, and seals again before storing (connections._store).
    if added:
        vault.keep_only(added)
    return count


def _require_readable(bridge: Bridge, connection: Connection) -> None:
    try:
        for name in SEALED:
            if sealed := getattr(connection, name):
                bridge.vault.decrypt(sealed)
    except SecretKeyLost:
        raise SecretKeyLost(
            f"The secret of the connection {connection.name} cannot be read with the secret key at hand.",
            advice="Restore the key that it was sealed with, or enter that connection anew; then rotate.",
        ) from None
