"""What a file declares, one entry a table, in the words of the file. Checked by `reading`, written by `exporting`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar, cast

from core.connections.receiver_form import ReceiverForm
from core.declared.toml import Lines, Path
from core.errors import CohortBridgeError
from data.models import Schedule, Timing

SCHEMA = 1
ENDPOINT, CSV = "endpoint", "csv"
ACTIVE, PAUSED = "active", "paused"
# How long a name, an address or a note in the file is shown.
SHOWN = 200


@dataclass(frozen=True)
class Variable:
    """The environment variable that holds a secret."""

    name: str


@dataclass(frozen=True)
class Mistake:
    """What is wrong in a file, and where."""

    line: int
    field: str
    message: str


class FileRefused(CohortBridgeError):
    """A file of declared state cannot be used: nothing of it was applied. `mistakes` are all that were found."""

    code = "file_refused"
    default_advice = "Nothing was changed. Correct the file and try again."

    def __init__(self, mistakes: list[Mistake], *, advice: str | None = None) -> None:
        self.mistakes = sorted(mistakes, key=lambda mistake: mistake.line)
        number = len(mistakes)
        super().__init__(f"The file has {number} mistake{'' if number == 1 else 's'}.", advice=advice)


@dataclass(frozen=True)
class Entry(ABC):
    """One table of the file. `path` is where it stands."""

    path: Path = field(default=(), kw_only=True, compare=False)
    kind: ClassVar[str]

    @property
    @abstractmethod
    def label(self) -> str:
        """What the entry is named by, in the file and in what is printed."""


@dataclass(frozen=True)
class NamedEntry(Entry):
    """One table of the file that has a name."""

    name: str

    @property
    def label(self) -> str:
        return self.name


@dataclass(frozen=True)
class MixpanelEntry(NamedEntry):
    """A Mixpanel project."""

    kind: ClassVar[str] = "mixpanel"
    username: str
    secret: Variable
    project_id: int
    region: str
    workspace_id: int | None
    id_merge: str
    match_property: str
    expects_prefix: bool | None
    project_token: Variable | None


@dataclass(frozen=True)
class EndpointEntry(NamedEntry):
    """A destination that takes messages. `form` lacks the secrets, and the address where that is one of them."""

    kind: ClassVar[str] = "destination"
    form: ReceiverForm
    endpoint: str | Variable
    secret: Variable | None
    apart: bool


@dataclass(frozen=True)
class FolderEntry(NamedEntry):
    """A destination that is a folder of CSV files."""

    kind: ClassVar[str] = "destination"
    folder: str


@dataclass(frozen=True)
class PersonEntry(Entry):
    """A person, and as what they may act."""

    kind: ClassVar[str] = "person"
    email: str
    role: str
    disabled: bool

    @property
    def label(self) -> str:
        return self.email


@dataclass(frozen=True)
class SyncEntry(Entry):
    """A recurring sync. Without a state, one that is there stays as it is, and a new one is active."""

    kind: ClassVar[str] = "sync"
    cohort_id: int
    mixpanel: str | None
    destination: str | None
    group_name: str | None
    every_minutes: int | None
    schedule: Schedule | None
    max_shrink: int | None
    tags: tuple[str, ...]
    match_property: str | None
    expects_prefix: bool | None
    state: str | None
    paused_until: datetime | None

    @property
    def timing(self) -> Timing:
        """How often it is to run."""
        return self.schedule or self.every_minutes or 0

    @property
    def label(self) -> str:
        return f"cohort {self.cohort_id} to {self.destination}" if self.destination else f"cohort {self.cohort_id}"


@dataclass(frozen=True)
class SyncName:
    """A sync, as a channel names one."""

    cohort_id: int
    mixpanel: str | None
    destination: str | None


@dataclass(frozen=True)
class ChannelEntry(NamedEntry):
    """A place that alerts are sent to. Without tags and syncs it wants to know of all; with an empty list, of none."""

    kind: ClassVar[str] = "channel"
    address: Variable
    warnings: bool
    tags: tuple[str, ...] | None
    syncs: tuple[SyncName, ...] | None
    enabled: bool


@dataclass(frozen=True)
class AlertsEntry(Entry):
    """What is set for all alerts."""

    kind: ClassVar[str] = "alerts"
    failing_after: int

    @property
    def label(self) -> str:
        return "all"


@dataclass(frozen=True)
class Document:
    """A whole file. `digest` is the SHA-256 of its bytes, `practice` whether it covers the practice sandbox too."""

    lines: Lines
    digest: str
    practice: bool
    mixpanel: list[MixpanelEntry]
    destinations: list[EndpointEntry | FolderEntry]
    alerts: AlertsEntry | None
    channels: list[ChannelEntry]
    people: list[PersonEntry]
    syncs: list[SyncEntry]

    def mistake(self, entry: Entry, name: str, message: str) -> Mistake:
        """Return a mistake in a field of an entry."""
        return Mistake(self.lines.find((*entry.path, name)), f"{entry.path[0]}.{name}", message)


def sentence(exc: CohortBridgeError) -> str:
    """Return an error with its advice, unless that is no more than to correct it."""
    return exc.message if exc.advice == exc.default_advice else f"{exc.message} {exc.advice}"


def time_text(at: datetime) -> str:
    """Format a time as TOML and JSON have it."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def plain(value: Any) -> Any:
    """Return a value of an entry as JSON and tables show it."""
    if isinstance(value, Variable):
        return {"env": value.name}
    if isinstance(value, datetime):
        return time_text(value)
    return list(cast("tuple[Any, ...]", value)) if isinstance(value, tuple) else value
