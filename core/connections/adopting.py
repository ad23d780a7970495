"""Taking what a process has for the installation's own: the way out where a key, or a storage, is lost for good."""

from __future__ import annotations

from core import installation
from core.access.roles import Actor, Role, action, note_done
from core.bridge import Bridge


@action(Role.ADMIN)
def adopt(bridge: Bridge, actor: Actor, *, key: bool, storage: bool) -> None:
    """Let this process's keys, or its storage, be the installation's from now on; other processes have to follow.

    Raises: StorageFailed.
    """
    installation.adopt(bridge, key=key, storage=storage)
    taken = " and ".join(name for name, is_taken in (("secret key", key), ("storage", storage)) if is_taken)
    note_done(bridge, actor.name, "adopt", f"The {taken} of the machine where this was run.")
