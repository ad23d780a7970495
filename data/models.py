"""The tables, and plain types that screens share with them. Values are checked at the edge, in core, not here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, Literal, NamedTuple

from sqlalchemy import JSON, Column, ForeignKey, Index, Text, UniqueConstraint
from sqlmodel import Field, SQLModel

from data.lease_models import Lease as Lease
from data.lease_models import LeaseKind as LeaseKind
from data.lease_models import WorkerHeartbeat as WorkerHeartbeat
from data.run_states import APPLIED as APPLIED
from data.run_states import APPLIED_RUN_ID as APPLIED_RUN_ID
from data.run_states import DECISIONS as DECISIONS
from data.run_states import DISCARDED as DISCARDED
from data.run_states import FAILED as FAILED
from data.run_states import HELD_RUN_ID as HELD_RUN_ID
from data.run_states import NOT_DONE as NOT_DONE
from data.run_states import PREVIEW as PREVIEW
from data.run_states import SUPERSEDED_BY_RUN_ID as SUPERSEDED_BY_RUN_ID
from data.run_states import TO_CLAIM as TO_CLAIM
from data.run_states import UNFINISHED as UNFINISHED
from data.run_states import RunStatus as RunStatus
from data.sync_models import VENDOR_ID
from data.sync_models import Pause as Pause
from data.sync_models import Schedule as Schedule
from data.sync_models import Sync as Sync
from data.sync_models import SyncKind as SyncKind
from data.sync_models import SyncState as SyncState
from data.sync_models import TimedRun as TimedRun
from data.sync_models import Timing as Timing

# The most characters of what a person writes on why a held run is let through.
NOTE_LENGTH = 300
# The two sides of a connection: names are unique on each.
MIXPANEL_SIDE, DESTINATION_SIDE = "mixpanel", "destination"


class ConnectionKind(StrEnum):
    """What a connection leads to."""

    MIXPANEL = "mixpanel"
    ENDPOINT = "endpoint"
    CSV = "csv"


class SignInKind(StrEnum):
    """How a receiver is told who sends."""

    APPTIMIZE = ""  # a token in Apptimize's header
    BASIC = "basic"  # a user name and a password
    BEARER = "bearer"  # a token
    HEADER = "header"  # a secret in a header of its own
    ADDRESS = "address"  # nothing beside the address, which is the secret


class MemberId(StrEnum):
    """Which id a receiver knows people by."""

    APPTIMIZE = ""  # the Apptimize id
    DISTINCT = "distinct"  # the distinct id: every profile is a member, matched or not
    PROPERTY = "property"  # what another profile property holds


class DoubtCause(StrEnum):
    """Why it is in doubt what a group holds."""

    DELIVERY = "delivery"  # one began and was not confirmed to its end
    RESTORED = "restored"  # the database is older than what was delivered
    CONNECTION = "connection"  # where the group is delivered to, or with which token, was changed
    FORGOTTEN = "forgotten"  # somebody whom it was given is not kept any more, since they were to be forgotten


class ImportStage(StrEnum):
    """Where an association of users by hand stands."""

    TO_CHECK = "to_check"
    CHECKING = "checking"
    CHECKED = "checked"  # waits for a person to confirm
    TO_WRITE = "to_write"
    WRITING = "writing"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


UNFINISHED_STAGES = (ImportStage.TO_CHECK, ImportStage.CHECKING, ImportStage.TO_WRITE, ImportStage.WRITING)
# What writing a row of an association changes, as far as earlier reads know.
SAME, CHANGED, NEW, UNSEEN = "same", "changed", "new", "unseen"
# Why a profile makes no member whose Apptimize id another one has too: that one is the member.
DUPLICATE = "duplicate"


class Member(NamedTuple):
    """A user in a group: the id that Apptimize knows them by, and the Mixpanel profile that has it.

    The only form in which the two ids travel together: both are texts, and no type check sees a swap of bare pairs.
    """

    apptimize_id: str
    distinct_id: str


MembershipChange = Literal["added", "removed"]


class Person(SQLModel, table=True):
    """Someone who may act, and as what."""

    __tablename__: ClassVar[Any] = "person"

    id: int | None = Field(default=None, primary_key=True)
    email: str = Field(unique=True, max_length=320)
    name: str = ""
    role: str = Field(max_length=16)
    disabled: bool = False
    created_at: datetime
    signed_in_at: datetime | None = None  # the last time; None: added by an admin, and never signed in
    sign_ins_from: datetime | None = None  # signed out everywhere then: older sign-ins count for nothing


class Connection(SQLModel, table=True):
    """Credentials for one Mixpanel project, or one destination that groups are delivered to."""

    __tablename__: ClassVar[Any] = "connection"
    __table_args__: ClassVar[Any] = (UniqueConstraint("side", "name"),)

    id: int | None = Field(default=None, primary_key=True)
    side: str = Field(max_length=16)  # MIXPANEL_SIDE or DESTINATION_SIDE
    kind: str = Field(max_length=16)
    name: str = Field(max_length=100)
    practice: bool = False
    removed: bool = False
    secret: str | None = Field(default=None, sa_column=Column("secret", Text))  # encrypted
    secret_end: str = Field(default="", max_length=4)
    # Mixpanel
    username: str = ""
    project_id: int = 0
    workspace_id: int | None = None
    region: str = Field(default="us", max_length=2)
    base_url: str = ""
    id_merge: str = Field(default="original", max_length=16)
    match_property: str = "$apptimize_user_id"
    expects_prefix: bool | None = None  # None: as usual in its ID merge mode
    project_token: str | None = Field(default=None, sa_column=Column("project_token", Text))  # encrypted
    project_token_end: str = Field(default="", max_length=4)
    # Destination
    url: str = ""
    address: str | None = Field(default=None, sa_column=Column("address", Text))  # encrypted; `url` is its host then
    address_hash: str = Field(default="", max_length=64)  # keyed: two that lead to one place have the same
    sign_in: str = Field(default=SignInKind.APPTIMIZE, max_length=16)
    sign_in_name: str = ""  # the user name, or the name of the header
    member_id: str = Field(default=MemberId.APPTIMIZE, max_length=16)
    member_property: str = ""
    member_key: str = ""  # what the id is sent under; empty: as usual for it
    adds_only: bool = False  # all members that are sent only add, and remove nobody
    folder: str = ""
    apart: bool = False  # its groups are kept apart from those of other connections to the same address
    times_replaced: int = 0  # counts up whenever what it leads to, or a secret of it, is entered again
    created_by: str = ""
    created_at: datetime
    checked_at: datetime | None = None
    account_trouble: str | None = None  # as Mixpanel reports once a day: why the account may not connect any more
    account_expires_at: datetime | None = None
    account_asked_at: datetime | None = None  # tried, with or without an answer


class Group(SQLModel, table=True):
    """A list of Apptimize ids at one destination, fed by one cohort, and what is known of it."""

    __tablename__: ClassVar[Any] = "group_at_destination"
    __table_args__: ClassVar[Any] = (UniqueConstraint("destination_id", "project_id", "cohort_id"),)

    id: int | None = Field(default=None, primary_key=True)
    destination_id: int = Field(foreign_key="connection.id", index=True)
    project_id: int
    cohort_id: int = Field(sa_type=VENDOR_ID)
    cohort_name: str
    own_name: str | None = None  # None: follows the cohort's name
    name: str  # as last asked for
    # What the group is known to hold: the snapshot of the last delivery that was accepted whole.
    base_run_id: int | None = None
    base_snapshot: str | None = None
    base_match: str = ""  # the match setting the base was made with
    delivered_name: str | None = None
    delivered_at: datetime | None = None
    verified_at: datetime | None = None  # when a run last found or made the group equal to its cohort
    full_at: datetime | None = None
    members: int = 0
    in_doubt: bool = False  # set before the first message of a delivery, cleared after the last was accepted
    doubt_cause: str | None = Field(default=None, max_length=16)
    untraced: str | None = Field(default=None, max_length=16)  # see Untraced in data/proof_models.py
    doubts: int = 0  # counts up when anything but a delivery puts it in doubt: a run that began before lifts none
    created_at: datetime

    @property
    def may_exist(self) -> bool:
        """Whether its destination has it, or may have it: it was delivered, or a delivery was begun."""
        return self.delivered_at is not None or self.in_doubt


class Run(SQLModel, table=True):
    """One execution of a sync: its place in the queue, its progress, its counts, its end."""

    __tablename__: ClassVar[Any] = "run"
    __table_args__: ClassVar[Any] = (
        # What the screens ask for among very many runs: on-time runs, the last day. More: data/partial_indexes.py.
        Index("run_slots_met", "trigger", "status", "queued_at", "sync_id"),
        Index("run_by_time", "queued_at", "status", "dry_run"),
        Index("run_group_ended", "group_id", "status", "dry_run", "finished_at"),
        Index("run_by_end", "finished_at", "id"),
        Index("run_of_group_by_end", "group_id", "finished_at", "id"),
    )

    id: int | None = Field(default=None, primary_key=True)
    sync_id: int = Field(foreign_key="sync.id", index=True)
    group_id: int = Field(foreign_key="group_at_destination.id", index=True)
    cohort_id: int = Field(index=True, sa_type=VENDOR_ID)
    cohort_name: str
    group_name: str
    destination: str
    trigger: str = Field(max_length=16)
    actor: str = Field(index=True)
    dry_run: bool = False
    force_full: bool = False
    approved: bool = False  # a person looked at what was held, and let this one write through
    # What they looked at, by cause: core/rules/holding.py knows what is in it, as in the `hold` of a run that was held.
    approvals: list[dict[str, Any]] | None = Field(default=None, sa_column=Column("approvals", JSON(none_as_null=True)))
    hold: dict[str, Any] | None = Field(default=None, sa_column=Column("hold", JSON(none_as_null=True)))
    decided_by: str | None = None  # who applied or discarded it: its step says which
    decision_note: str | None = Field(default=None, max_length=NOTE_LENGTH)  # why it was let through, as they wrote
    # Set before its first message goes out; None: made by an earlier version, which did not note that.
    began_writing: bool | None = False
    restore_snapshot: str | None = None  # an undo: the snapshot that the group is rolled back to
    status: str = Field(default=RunStatus.QUEUED, max_length=16, index=True)
    step: str = Field(default="queued", max_length=16)
    write: str | None = Field(default=None, max_length=8)
    queued_at: datetime = Field(index=True)
    started_at: datetime | None = None
    finished_at: datetime | None = None
    waiting_until: datetime | None = None
    worker: str | None = Field(default=None, max_length=100)  # which process did it: data/worker_names.py
    cancel_asked: bool = False
    # Progress
    in_cohort: int | None = None  # as Mixpanel last counted it, users without a profile included
    expected: int | None = None  # `total` of page 0
    pages: int = 0
    pages_expected: int | None = None
    messages_expected: int | None = None
    # Counts: profiles = members + duplicates + unmatched + invalid
    profiles: int = 0
    members: int = 0
    duplicates: int = 0
    unmatched: int = 0
    invalid: int = 0
    unprefixed: int = 0
    identified: int = 0  # of the members: those that start with i_, and with a_
    anonymous: int = 0
    reasons: dict[str, int] = Field(default_factory=dict, sa_column=Column("reasons", JSON, nullable=False))
    added: int = 0
    removed: int = 0
    unchanged: int = 0
    queries: int = 0
    requests: int = 0
    messages: int = 0
    snapshot: str | None = None  # what the group held after it; runs that changed nothing share one
    difference: str | None = None  # the ids that were, or would have been, added and removed
    excluded: str | None = None  # the profiles that made no member, kept of a group's latest read
    fingerprint: str | None = Field(default=None, max_length=80)  # of the members: see data/members/fingerprint.py
    matched_by: str = ""  # the match setting it read with
    notice: str | None = None  # a sentence for people on something that did not stop it
    error_code: str | None = None
    error_message: str | None = None
    error_advice: str | None = None

    @property
    def told_status(self) -> str:
        """Its status as people are told: of one that was held what was decided, and a preview is no success.

        In statements: `told_status` in data/runs.py.
        """
        if self.status == RunStatus.CANCELLED and self.step in DECISIONS:
            return self.step
        return PREVIEW if self.dry_run and self.status == RunStatus.SUCCEEDED else self.status

    @property
    def held_run_id(self) -> int | None:
        """The held run that this one was queued to let through."""
        return self.approvals[-1].get(HELD_RUN_ID) if self.approvals else None

    @property
    def applied_run_id(self) -> int | None:
        """The run that was queued to let this one through, which was held."""
        return self.hold.get(APPLIED_RUN_ID) if self.hold else None

    @property
    def superseded_by_run_id(self) -> int | None:
        """The run that took the place of this one, which was held; None too for one that an earlier version ended."""
        return self.hold.get(SUPERSEDED_BY_RUN_ID) if self.hold else None

    @property
    def only_counts(self) -> bool:
        """Whether it keeps nothing but this row: a dry run from the terminal, where no list can be looked at."""
        return self.dry_run and self.trigger == "cli"


@dataclass(frozen=True)
class RunFilter:
    """Which runs to list. Empty fields do not filter; `statuses` are those of `Run.told_status`, and PREVIEW any dry
    run.
    """

    sync_id: int | None = None
    group_id: int | None = None
    cohort_id: int | None = None
    statuses: Sequence[str] = ()
    triggers: Sequence[str] = ()
    actor: str = ""
    destination: str = ""
    text: str = ""
    since: datetime | None = None
    until: datetime | None = None
    with_dry_runs: bool = True


class RunLogRow(SQLModel, table=True):
    """What a run did when, and what it was answered: bounded, see core/run_log.py. Goes with its run."""

    __tablename__: ClassVar[Any] = "run_log"

    run_id: int = Field(
        sa_column=Column("run_id", ForeignKey("run.id", ondelete="CASCADE"), primary_key=True, autoincrement=False)
    )
    log: dict[str, Any] = Field(sa_column=Column("log", JSON, nullable=False))


class AuditEntry(SQLModel, table=True):
    """One line of the audit log. Lines are only ever added; each is chained to the one before by its hash."""

    __tablename__: ClassVar[Any] = "audit_entry"

    number: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    at: datetime = Field(index=True)
    who: str = Field(max_length=320, index=True)
    action: str = Field(max_length=64, index=True)
    outcome: str = Field(max_length=16)
    subject: str = Field(default="", sa_column=Column("subject", Text, nullable=False))
    before: dict[str, Any] = Field(default_factory=dict, sa_column=Column("before", JSON, nullable=False))
    after: dict[str, Any] = Field(default_factory=dict, sa_column=Column("after", JSON, nullable=False))
    previous: str = Field(default="", max_length=64)
    hash: str = Field(default="", max_length=64)


class Association(SQLModel, table=True):
    """Apptimize ids that a person sets on Mixpanel profiles: a file of them, checked first, written when confirmed."""

    __tablename__: ClassVar[Any] = "association"

    id: int | None = Field(default=None, primary_key=True)
    mixpanel_id: int = Field(foreign_key="connection.id")
    project_id: int
    actor: str
    source: str = Field(max_length=255)  # the file's name, or empty for one user
    stage: str = Field(default=ImportStage.TO_CHECK, max_length=16, index=True)
    prefix: str | None = Field(default=None, max_length=8)  # given to ids without one; "": they are written as they are
    accepted: str = Field(default="", max_length=255)  # the problems whose rows are written all the same, "a b"
    expects_prefix: bool = True
    match_property: str
    aliases: bool  # each is aliased too: original ID merge
    created_at: datetime
    confirmed_by: str = ""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    cancel_asked: bool = False
    bundle: str = Field(default="", max_length=32)  # the object that has its files, where the storage is no folder
    interruptions: int = 0  # deaths since the last batch that was recorded
    # Counts: rows = writable + the problems
    rows: int = 0
    writable: int = 0
    problems: dict[str, int] = Field(default_factory=dict, sa_column=Column("problems", JSON, nullable=False))
    effects: dict[str, int] = Field(default_factory=dict, sa_column=Column("effects", JSON, nullable=False))
    warnings: dict[str, int] = Field(
        default_factory=dict, sa_column=Column("warnings", JSON, nullable=False)
    )  # writable
    begun: int = 0  # the last row of the batch that was begun: sent, perhaps, and without an outcome until recorded
    written: int = 0
    refused: int = 0
    looked_up: int | None = None  # of the rows written, those asked for afterwards, and those that had their new id
    found: int | None = None
    requests: int = 0
    error_code: str | None = None
    error_message: str | None = None
    error_advice: str | None = None

    @property
    def accepted_problems(self) -> list[str]:
        """The problems that a person accepted: rows that have no other are written."""
        return self.accepted.split()


class AssociationBatch(SQLModel, table=True):
    """The outcome of one batch, recorded together with the lease: what is not recorded is sent again."""

    __tablename__: ClassVar[Any] = "association_batch"

    association_id: int = Field(foreign_key="association.id", primary_key=True)
    start: int = Field(primary_key=True)  # the numbers of its first and its last row in the file
    end: int
    size: int
    refused: dict[str, str] = Field(default_factory=dict, sa_column=Column("refused", JSON, nullable=False))
    unaliased: dict[str, str] = Field(default_factory=dict, sa_column=Column("unaliased", JSON, nullable=False))
