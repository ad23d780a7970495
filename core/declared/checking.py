"""What only vendors can say of a file: whether connections may be stored, and which cohorts there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

from core.access.roles import Actor
from core.alerts import channels
from core.bridge import Bridge
from core.connections import attempts, cohort_list
from core.connections.destinations import test_sign_in, tested_folder
from core.connections.mixpanel_connection import MixpanelForm, checked_values
from core.connections.project import project_for
from core.connections.receiver_form import ReceiverForm, member_values, sign_in_values
from core.declared.entries import (
    ChannelEntry,
    Document,
    EndpointEntry,
    FolderEntry,
    Mistake,
    MixpanelEntry,
    SyncEntry,
    Variable,
    sentence,
)
from core.declared.plan import Change, Plan
from core.declared.plan_connections import ASKED_FIELDS, TESTED_FIELDS
from core.errors import CohortBridgeError, StorageFailed, VendorAuthFailed
from core.syncs.cohorts import ask_cohorts, why_not_exportable
from core.vendors.mixpanel_lists import CohortListing
from core.vendors.mixpanel_project import Project
from data import connections
from data.models import MIXPANEL_SIDE, Connection, ConnectionKind, SignInKind

# What is stored of the connections that were tried, by side and name.
Checked = Mapping[tuple[str, str], "CheckedConnection"]


@dataclass(frozen=True)
class CheckedConnection:
    """What is stored of a connection that was tried, by column, secrets sealed."""

    kind: str
    action: str
    values: Mapping[str, Any]


def is_to_be_tried(change: Change) -> bool:
    """Return whether a connection has to be tried before it is stored."""
    entry = change.entry
    if isinstance(entry, MixpanelEntry):
        return change.action == "add" or any(name in change.fields for name in ASKED_FIELDS)
    if isinstance(entry, ChannelEntry):
        return "address" in change.fields
    if isinstance(entry, EndpointEntry | FolderEntry):
        return change.action == "add" or any(name in change.fields for name in TESTED_FIELDS)
    return False


def check_connections(bridge: Bridge, actor: Actor, document: Document, plan: Plan) -> Checked:
    """Try the connections and channels that are new or changed. What is refused is added to the plan's mistakes."""
    checked = dict[tuple[str, str], CheckedConnection]()
    for change in filter(is_to_be_tried, plan.changes):
        assert change.entry is not None
        trial = _trial(bridge, actor, change)
        field = trial.field
        try:
            with trial.noted:
                values = trial.check()
        except StorageFailed as exc:
            if not isinstance(change.entry, FolderEntry):
                raise
            plan.mistakes.append(document.mistake(change.entry, field, sentence(exc)))
        except CohortBridgeError as exc:
            field = "secret" if isinstance(exc, VendorAuthFailed) else field
            plan.mistakes.append(document.mistake(change.entry, field, sentence(exc)))
        else:
            checked[change.kind, change.name] = CheckedConnection(trial.kind, trial.action, values)
    return checked


@dataclass(frozen=True)
class _Trial:
    """How a connection is tried: as which action, what a failure is about, and what notes it."""

    kind: str
    action: str
    field: str
    noted: AbstractContextManager[None]
    check: Callable[[], Mapping[str, Any]]


def _trial(bridge: Bridge, actor: Actor, change: Change) -> _Trial:
    entry, form = change.entry, change.form
    if isinstance(entry, ChannelEntry):
        assert change.secret is not None
        action = "edit_channel" if change.action == "change" else "add_channel"
        noted = channels.noted(bridge, actor, action, entry.name)
        return _Trial("", action, "address", noted, partial(channels.address_values, bridge, change.secret))
    if isinstance(entry, FolderEntry):
        noted = attempts.noted(bridge, actor, "connect_csv", attempts.folder(entry.name, entry.folder))
        check = partial(tested_folder, bridge, entry.folder)
        return _Trial(ConnectionKind.CSV, "connect_csv", "folder", noted, check)
    if isinstance(entry, MixpanelEntry):
        assert isinstance(form, MixpanelForm)
        what = attempts.project(entry.name, entry.project_id, entry.region)
        noted = attempts.noted(bridge, actor, "connect_mixpanel", what)
        check = partial(checked_values, bridge, form, base_url=_kept_base(change))
        return _Trial(ConnectionKind.MIXPANEL, "connect_mixpanel", "username", noted, check)
    assert isinstance(entry, EndpointEntry)
    assert isinstance(form, ReceiverForm)
    is_usual = form == ReceiverForm(form.url, secret=form.secret)
    action = "connect_endpoint" if is_usual else "connect_receiver"
    noted = attempts.noted(bridge, actor, action, attempts.receiver(bridge, entry.name, form))
    check = partial(_receiver_values, bridge, entry, form)
    return _Trial(ConnectionKind.ENDPOINT, action, "endpoint", noted, check)


def _kept_base(change: Change) -> str:
    """Return where a project that stays the same is asked; empty where it is another, and asked as a new one is."""
    present = change.present
    is_same = isinstance(present, Connection) and not {"project_id", "region"} & change.fields.keys()
    return present.base_url if is_same and isinstance(present, Connection) else ""


def _receiver_values(bridge: Bridge, entry: EndpointEntry, form: ReceiverForm) -> Mapping[str, Any]:
    is_hidden = isinstance(entry.endpoint, Variable) and form.sign_in != SignInKind.ADDRESS
    practice = test_sign_in(bridge, form)
    return sign_in_values(bridge, form, practice=practice, is_hidden=is_hidden) | member_values(form)


# --- cohorts -------------------------------------------------------------------------------------------------------


def check_cohorts(bridge: Bridge, document: Document, plan: Plan, checked: Checked | None) -> None:
    """Look up the cohorts of new syncs. One that is not there, or cannot be exported, is added to the plan's mistakes.

    Without `checked`, those of connections that are not stored yet cannot be looked up, and the plan notes that.
    Raises: VendorError, NoQuerySlot.
    """
    asked = dict[str, list[SyncEntry]]()
    for change in plan.changes:
        if change.action == "add" and isinstance(change.entry, SyncEntry):
            asked.setdefault(change.entry.mixpanel or "", []).append(change.entry)
    untried = {change.name for change in plan.changes if change.kind == "mixpanel" and is_to_be_tried(change)}
    for name, entries in asked.items():
        if name in untried and checked is None:
            plan.notes.append(f"The cohorts of {name} are looked up once it is connected.")
            continue
        project = _project(bridge, name, checked or {})
        listing = _listing(bridge, project, {entry.cohort_id for entry in entries})
        plan.mistakes.extend(filter(None, (_objection(document, entry, listing) for entry in entries)))


def _project(bridge: Bridge, name: str, checked: Checked) -> Project:
    if tried := checked.get(("mixpanel", name)):
        values = tried.values
        return Project(
            values["base_url"],
            values["project_id"],
            username=values["username"],
            secret=bridge.vault.decrypt(values["secret"]),
            workspace_id=values["workspace_id"],
        )
    there = {each.name: each for each in connections.list_side(bridge.engine, MIXPANEL_SIDE)}
    return project_for(bridge, there[name])


def _listing(bridge: Bridge, project: Project, wanted: set[int]) -> CohortListing:
    """Return the shared list of cohorts, or, where it lacks one, a new one."""
    shared = cohort_list.get_shared(bridge, project.key)
    if shared is not None and wanted <= {cohort.id for cohort in shared.cohorts}:
        return shared
    return ask_cohorts(bridge, project)


def _objection(document: Document, entry: SyncEntry, listing: CohortListing) -> Mistake | None:
    cohort = cohort_list.pick(listing, entry.cohort_id)
    if cohort is None:
        # It may be one of those that could not be read: its runs will say.
        message = None if listing.left_out else f"Mixpanel has no cohort {entry.cohort_id} in this project."
    else:
        message = why_not_exportable(cohort)
    return document.mistake(entry, "cohort_id", message) if message else None
