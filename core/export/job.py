"""All that a run needs to know, loaded at its start."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from core.bridge import Bridge
from core.connections.project import match_rule
from core.errors import NotConnected, NotFound, ReceiverShared
from core.rules.matching import MatchRule
from data import runs
from data.members.fingerprint import new_key
from data.members.proof import Proof
from data.members.store import SNAPSHOT
from data.models import Connection, ConnectionKind, Group, Run, Sync
from data.receivers import SharedReceiver
from data.runs import RunRows


@dataclass(frozen=True)
class FileNames:
    """What the files of a run are called, whether it makes them or not.

    `attempt` counts the attempts of the run whose snapshots are kept on: a later one does not write over them. `token`
    makes them names that no other attempt, process or installation has, where machines may share the storage: one
    that was frozen and wakes writes over nothing that a row names by now.
    """

    run_id: int
    attempt: int = 0
    token: str = ""

    @property
    def snapshot(self) -> str:
        """The members that were read."""
        name = f"{SNAPSHOT}{self.run_id:08d}"
        return self._own(f"{name}-{self.attempt}" if self.attempt else name)

    @property
    def difference(self) -> str:
        """The members that the run adds and removes."""
        return self._own(f"difference-{self.run_id:08d}")

    @property
    def leavers(self) -> str:
        """Who may be at a receiver that only adds and is not in the cohort, while the run works."""
        return self._own(f"leavers-{self.run_id:08d}")

    @property
    def tried(self) -> str:
        """Everybody whom this delivery and those before it may have added, where those were many."""
        return self._own(f"tried-{self.run_id:08d}-{self.attempt}")

    @property
    def excluded(self) -> str:
        """The profiles that made no member."""
        return self._own(f"excluded-{self.run_id:08d}")

    def _own(self, name: str) -> str:
        return f"{name}-{self.token}" if self.token else name


@dataclass(frozen=True)
class Job:
    """All that a run needs to know, loaded at its start."""

    run: Run
    sync: Sync
    group: Group
    mixpanel: Connection
    destination: Connection
    approvals: list[dict[str, Any]]  # what people let through: core/rules/holding.py knows what is in it
    log: dict[str, Any] | None = None  # of the run's earlier attempts
    doubts: int = 0  # of the group, when the run learned where it leads to
    base_proof: Proof | None = None  # what the members add up to that the group was given last
    key: str = field(default_factory=new_key)  # of the fingerprint of what is read: that of the group, if it has one

    tried: Sequence[str] = ()  # the snapshots that deliveries began with and that may be there, of one that only adds
    attempt: int = 0  # of this run: see FileNames
    token: str = ""
    untraced: str | None = None  # why it is not known of everybody whom a receiver that only adds may hold

    @property
    def only_adds(self) -> bool:
        """Whether the receiver removes nobody by itself."""
        return self.destination.kind == ConnectionKind.ENDPOINT and self.destination.adds_only

    @property
    def rule(self) -> MatchRule:
        """How the destination knows people; if by Apptimize ids, how the sync or else the connection matches them."""
        return match_rule(self.mixpanel, self.sync, self.destination)

    @property
    def files(self) -> FileNames:
        """What the files of the run are called."""
        assert self.run.id is not None
        return FileNames(self.run.id, self.attempt, self.token)


def find_connections(rows: RunRows) -> tuple[Connection, Connection]:
    """Return what a run reads through, and where it writes. Raises NotConnected."""
    mixpanel, destination = rows.mixpanel, rows.destination
    if mixpanel is None or mixpanel.removed or mixpanel.project_id != rows.sync.project_id:
        raise NotConnected("The Mixpanel connection of this sync was removed, or leads to another project now.")
    if destination is None or destination.removed:
        raise NotConnected(f"The destination {rows.run.destination} was removed.")
    return mixpanel, destination


def load(bridge: Bridge, run_id: int) -> Job:
    """Load a run with all that it needs. Raises NotFound, NotConnected, ReceiverShared."""
    rows = runs.get_with_its_rows(bridge.engine, run_id)
    if rows is None:
        raise NotFound(f"There is no run {run_id}.")
    mixpanel, destination = find_connections(rows)
    if rows.shared:
        raise receiver_shared(rows.shared)
    proof = rows.base_proof
    key = proof.key if proof and proof.key else new_key()
    doubts = rows.group.doubts
    return Job(
        rows.run,
        rows.sync,
        rows.group,
        mixpanel,
        destination,
        rows.approvals,
        rows.log,
        doubts,
        proof,
        key,
        tried=[each.snapshot for each in rows.tried],
        attempt=sum(each.run_id == run_id for each in rows.tried),
        token=secrets.token_hex(4) if bridge.settings.storage_url else "",
        untraced=rows.group.untraced or rows.first_untraced,
    )


def receiver_shared(exc: SharedReceiver) -> ReceiverShared:
    """Build the error for a cohort whose group is kept at one place by two connections."""
    return ReceiverShared(
        f"The connections {exc.names[0]} and {exc.names[1]} lead to the same place, and cohort {exc.cohort_id} has a "
        "group there through each: one would overwrite the other."
    )
