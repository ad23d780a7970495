"""One lease: who holds a piece of work, and is it alive."""

from __future__ import annotations

import os
import secrets
import socket

from core.leases import slots

HEARTBEAT_S = 1.0
LEASE_S = slots.SLOT_LEASE_S
# A lease that was renewed this recently is ours without asking again.
FRESH_S = 5.0


def new_lease_owner() -> str:
    """Name one process's claims: unique, and telling where it runs."""
    return f"{socket.gethostname()[:24]}:{os.getpid()}:{secrets.token_hex(6)}"
