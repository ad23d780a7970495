"""What a run reports of itself: its progress while it works, its outcome at the end. Plain values, no columns."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from data.audit.scope import Scope
from data.failure import Failure
from data.members.changes import Difference
from data.members.proof import Proof
from data.models import Connection, RunStatus


@dataclass(frozen=True)
class RunProgress:
    """How far a run is. Requests and queries count those of earlier attempts too."""

    step: str
    expected: int | None = None
    profiles: int = 0
    pages: int = 0
    pages_expected: int | None = None
    messages: int = 0
    messages_expected: int | None = None
    requests: int = 0
    queries: int = 0


@dataclass(frozen=True)
class ReadCounts:
    """What was read: `profiles` = `members` + `duplicates` + `unmatched` + `invalid`."""

    profiles: int
    members: int
    duplicates: int = 0
    unmatched: int = 0
    invalid: int = 0
    unprefixed: int = 0
    identified: int = 0
    anonymous: int = 0
    reasons: dict[str, int] = field(default_factory=dict[str, int])  # of the invalid ones


@dataclass(frozen=True)
class RunFiles:
    """The names of the files that are kept with a run; None: it keeps none of the kind."""

    snapshot: str | None = None
    difference: str | None = None
    excluded: str | None = None


@dataclass(frozen=True)
class Pause:
    """Why the recurring sync of a run is paused, and as whose action the audit log shows that."""

    reason: str
    scope: Scope


@dataclass(frozen=True)
class NewBase:
    """The snapshot that a group holds from now on."""

    snapshot: str
    members: int
    matched_by: str
    proof: Proof | None = None


@dataclass(frozen=True)
class Delivered:
    """A delivery that was accepted whole."""

    group_name: str
    in_full: bool


@dataclass(frozen=True)
class GroupOutcome:
    """What a run that succeeded means for its group; None: that part of the group stays as it is.

    The group stays in doubt when its destination was replaced since it was read as `destination`, or when something
    else put it in doubt since it had `doubts` of those.
    """

    destination: Connection
    base: NewBase | None = None
    delivered: Delivered | None = None
    doubts: int | None = None
    equals_cohort: bool = True  # False: the group was rolled back


@dataclass(frozen=True)
class RunOutcome:
    """How a run ended, and all that is recorded with it. None: not known, because the run did not get that far."""

    status: RunStatus
    finished_at: datetime
    progress: RunProgress | None = None  # None: as its last heartbeat left it
    in_cohort: int | None = None
    matched_by: str = ""
    counts: ReadCounts | None = None
    fingerprint: str | None = None
    difference: Difference | None = None
    write: str | None = None
    files: RunFiles = RunFiles()
    failure: Failure | None = None
    notice: str | None = None  # a sentence for people on something that did not stop the run
    group: GroupOutcome | None = None
    pause: Pause | None = None
    log: dict[str, Any] | None = None
    hold: dict[str, Any] | None = None  # of a held run: what an approval of it will store
