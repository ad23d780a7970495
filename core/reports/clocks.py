"""Machines whose clock is not that of the database, which all times come from."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from core.access.roles import LOCAL, Actor, Role, action
from core.bridge import Bridge
from core.reports import overview
from data.models import WorkerHeartbeat
from data.worker_names import host_of, shorten_host

_SHOWN_FROM = timedelta(minutes=1)


@dataclass(frozen=True)
class ClockOff:
    """A machine whose clock is off. `ahead_s` is negative where it is behind."""

    host: str
    ahead_s: float

    @property
    def message(self) -> str:
        """What is not as it should be."""
        minutes = round(abs(self.ahead_s) / 60)
        length = f"{minutes:,} minute{'' if minutes == 1 else 's'}"
        way = "ahead of" if self.ahead_s > 0 else "behind"
        return f"The clock of {self.host} is {length} {way} the database server's."

    @property
    def advice(self) -> str:
        """What to do about it."""
        return (
            "Runs, leases and budgets go by the database server's clock, so nothing is late for it; but sign-ins, "
            "certificates and that machine's log do not. Have both clocks set over the network (NTP)."
        )


@action(Role.VIEWER)
def list_clocks_off(
    bridge: Bridge, actor: Actor, heartbeats: Sequence[WorkerHeartbeat] | None = None
) -> list[ClockOff]:
    """List the machines, this one and those of the workers that are up, whose clock is off by more than a minute.

    The workers are read unless the caller has them.
    """
    up = overview.workers(bridge, actor) if heartbeats is None else heartbeats
    ahead = {host_of(worker.name): worker.clock_ahead_s for worker in up if worker.clock_ahead_s is not None}
    own = bridge.clock.find_ahead_s()
    if own is not None:
        ahead[shorten_host(socket.gethostname())] = own
    off = [ClockOff(host, ahead_s) for host, ahead_s in ahead.items() if abs(ahead_s) > _SHOWN_FROM.total_seconds()]
    return sorted(off, key=lambda clock: clock.host)


def find_warnings(bridge: Bridge) -> list[str]:
    """Return what an installation that works should be told of all the same, a sentence each."""
    return [f"{clock.message} {clock.advice}" for clock in list_clocks_off(bridge, LOCAL)]
