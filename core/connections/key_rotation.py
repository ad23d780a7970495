"""Key rotation: everything that is sealed is sealed again, and the old key opens nothing any more."""

from __future__ import annotations

from collections.abc import Sequence

from filelock import FileLock

from core.access.roles import Actor, Role, action
from core.bridge import Bridge
from core.errors import SecretKeyLost, SettingsError
from data import sealed
from data.sealed import Sealed


@action(Role.ADMIN)
def rotate_key(bridge: Bridge, actor: Actor) -> int:
    """Seal all secrets with a new key, and return how many those are.

    A key file gets the new key by itself. Keys in the environment are the operator's: put the new one first there, run
    this, then take the old one out. Killed at any point, all secrets can still be read, and it can be run again.

    Raises: SettingsError, SecretKeyLost naming the connection or channel; nothing is changed then.
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
    added = list[str]()

    def prepare(present: Sequence[Sealed]) -> None:
        for each in present:
            _require_readable(bridge, each)
        if vault.path:
            added.append(vault.add_key())

    count = sealed.seal_all_again(bridge.engine, prepare=prepare, seals=vault)
    # The old keys go only once nothing that they sealed is left. Who sealed with one meanwhile waited for the
    # transaction above, and seals again before storing (data.seals.SealAgain).
    for key in added:
        vault.keep_only(key)
    return count


def _require_readable(bridge: Bridge, kept: Sealed) -> None:
    try:
        for text in kept.texts:
            bridge.vault.decrypt(text)
    except SecretKeyLost:
        raise SecretKeyLost(
            f"The secret of the {kept.kind} {kept.name} cannot be read with the available secret keys.",
            advice=f"Restore the key that it was sealed with, or enter that {kept.kind} again; then rotate.",
        ) from None
