"""What a file would change: the changes, what is not in the file, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import SecretStr

from core.bridge import Bridge
from core.connections.mixpanel_connection import MixpanelForm
from core.connections.receiver_form import ReceiverForm
from core.declared.entries import Document, Entry, Mistake, Variable
from core.declared.environment import Environment
from core.declared.present import Present, PresentSync
from core.text import shown
from data.alert_models import AlertChannel
from data.models import Connection, Group, Person

Action = Literal["add", "change", "remove"]
# Of a secret, or an address that is one, nothing is shown.
NOT_SHOWN = "(not shown)"
# Removed with --prune alone.
NOT_IN_FILE = "It is not in the file."


@dataclass(frozen=True)
class Change:
    """One thing that is added, changed or removed, field by field, before and after."""

    action: Action
    kind: str
    name: str
    fields: Mapping[str, tuple[Any, Any]]
    notes: tuple[str, ...] = ()
    entry: Entry | None = None
    present: Connection | Person | PresentSync | Group | AlertChannel | None = field(default=None, repr=False)
    # What was put together to connect it, secrets and all.
    form: MixpanelForm | ReceiverForm | None = field(default=None, repr=False)
    secret: SecretStr | None = field(default=None, repr=False)

    @property
    def summary(self) -> tuple[Any, ...]:
        """What two plans of one file are compared by."""
        return self.action, self.kind, self.name, dict(self.fields)


@dataclass
class Plan:
    """What a file would change. `unset` are variables whose secrets are there, and were not compared."""

    changes: list[Change] = field(default_factory=list["Change"])
    left: list[Change] = field(default_factory=list["Change"])
    mistakes: list[Mistake] = field(default_factory=list["Mistake"])
    notes: list[str] = field(default_factory=list[str])
    unset: list[str] = field(default_factory=list[str])

    @property
    def summary(self) -> list[tuple[Any, ...]]:
        """What two plans of one file are compared by."""
        return [change.summary for change in self.changes]


@dataclass
class Planning:
    """A plan while it is made, and all that it is made from."""

    bridge: Bridge
    document: Document
    present: Present
    environment: Environment
    prune: bool
    plan: Plan = field(default_factory=Plan)

    def refuse(self, entry: Entry, name: str, message: str) -> None:
        """Note a mistake in a field of an entry."""
        self.plan.mistakes.append(self.document.mistake(entry, name, message))

    def refuse_unset(self, entry: Entry, name: str, variable: Variable) -> None:
        """Note that a secret is needed, and not there."""
        self.refuse(entry, name, f"the environment variable {variable.name} is not set, and its secret is needed.")

    def note_unset(self, *variables: Variable | None) -> None:
        """Note which secrets are not compared, since nothing needs them."""
        unset = [each.name for each in variables if each and self.environment.find(each) is None]
        self.plan.unset.extend(unset)


def differences(pairs: Mapping[str, tuple[Any, Any]]) -> dict[str, tuple[Any, Any]]:
    """Return the pairs whose two values are not equal."""
    return {name: (before, after) for name, (before, after) in pairs.items() if before != after}


def added(values: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the values of what is new, but for empty ones, with nothing before them."""
    return {name: (None, value) for name, value in values.items() if value not in (None, "", (), [])}


def called(name: str) -> str:
    """Return a name of other origin as it may stand in a sentence."""
    return shown(name, most=100)
