"""Carrying out a plan, through the same actions as pages and commands. What they refuse is a mistake of the file."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from core.access import people, roles
from core.access.roles import Actor, Role
from core.alerts import channels, listing
from core.alerts.channels import ChannelForm
from core.bridge import Bridge
from core.connections import destinations, entering, mixpanel_connection, removal
from core.declared.checking import Checked
from core.declared.entries import (
    PAUSED,
    AlertsEntry,
    ChannelEntry,
    Document,
    EndpointEntry,
    Entry,
    Mistake,
    MixpanelEntry,
    PersonEntry,
    SyncEntry,
    sentence,
)
from core.declared.environment import Environment
from core.declared.plan import Change, Plan, Planning
from core.declared.plan_channels import list_sync_ids
from core.declared.plan_syncs import RESTARTED_FIELDS, TIMED_FIELDS
from core.declared.present import PresentSync, read_present
from core.errors import BudgetTooSmall, CohortBridgeError, CohortNotExportable, GroupTaken, StorageFailed
from core.syncs import recurring, settings
from core.syncs.checks import queries_an_hour
from data.alert_models import AlertChannel
from data.audit import recorder
from data.connections import NewConnection
from data.models import DESTINATION_SIDE, MIXPANEL_SIDE, Connection, Group, Person, Sync

E = TypeVar("E", bound=Entry)
_Step = Callable[[], object]
# Which field a refusal is about, where that is not the first one that changes.
_FIELDS: dict[type[CohortBridgeError], str] = {
    BudgetTooSmall: "every_minutes",
    GroupTaken: "group_name",
    CohortNotExportable: "cohort_id",
}
_EDITED_FIELDS = (*TIMED_FIELDS, "max_shrink", "tags")
_MATCHED_FIELDS = ("match_property", "expects_prefix")
_MEMBER_FIELDS = ("member_id", "member_key", "members")


@dataclass
class Doing:
    """A plan that is carried out."""

    bridge: Bridge
    actor: Actor
    document: Document
    plan: Plan
    checked: Checked
    environment: Environment
    # The syncs that were removed and started again: which took the place of which.
    _restarted: dict[int, int] = field(default_factory=dict[int, int])

    def do_all(self) -> None:
        """Carry out every change, in an order in which none is in the way of another."""
        changes = self.plan.changes
        for change in sorted(self._of("person"), key=lambda each: not _makes_admin(each)):
            self._do(change, partial(self._do_person, change))
        for change in [each for each in changes if each.action == "remove" and each.kind == SyncEntry.kind]:
            self._do(change, partial(recurring.remove_sync, self.bridge, self.actor, _sync_id(change)))
        for change in [each for each in changes if each.action == "remove" and each.kind == ChannelEntry.kind]:
            self._do(change, partial(channels.remove_channel, self.bridge, self.actor, _channel_id(change)))
        for change in [each for each in changes if each.action == "remove" and isinstance(each.present, Connection)]:
            self._do(change, partial(removal.remove_connection, self.bridge, self.actor, _row_id(change)))
        for change in self._of("mixpanel"):
            self._do(change, partial(self._do_mixpanel, change))
        for change in sorted(self._of("destination"), key=lambda each: getattr(each.entry, "apart", False)):
            self._do(change, partial(self._do_destination, change))
        steps = [step for change in self._of("sync") for step in self._sync_steps(change)]
        for _, change, step in sorted(steps, key=lambda each: each[0]):
            self._do(change, step)
        for change in self._of(AlertsEntry.kind):
            failures = _entry(change, AlertsEntry).failing_after
            self._do(change, partial(listing.set_failing_after, self.bridge, self.actor, failures))
        self._do_channels()

    def _of(self, kind: str) -> list[Change]:
        return [change for change in self.plan.changes if change.kind == kind and change.action != "remove"]

    def _do(self, change: Change, step: _Step) -> None:
        with self._noted(change):
            step()

    @contextmanager
    def _noted(self, change: Change) -> Generator[None]:
        """Note what is refused inside as a mistake of the change's entry: nothing of the file is kept then."""
        try:
            yield
        except StorageFailed:
            raise
        except CohortBridgeError as exc:
            if change.entry is None:
                self.plan.mistakes.append(Mistake(1, change.kind, f"{change.name}: {sentence(exc)}"))
                return
            field = _FIELDS.get(type(exc)) or next(iter(change.fields), "name")
            self.plan.mistakes.append(self.document.mistake(change.entry, field, sentence(exc)))

    # --- people and connections ---

    def _do_person(self, change: Change) -> None:
        entry = _entry(change, PersonEntry)
        bridge, actor = self.bridge, self.actor
        if isinstance(change.present, Person):
            person = change.present
        else:
            person = people.add_person(bridge, actor, entry.email, entry.role)
        person_id, was_disabled = person.id or 0, person.disabled
        if was_disabled and not entry.disabled:
            people.enable_person(bridge, actor, person_id)
        if "role" in change.fields and change.action == "change":
            people.change_role(bridge, actor, person_id, entry.role)
        if entry.disabled and not was_disabled:
            people.disable_person(bridge, actor, person_id)

    def _do_mixpanel(self, change: Change) -> None:
        entry = _entry(change, MixpanelEntry)
        bridge, actor = self.bridge, self.actor
        if self._is_entered(change, MIXPANEL_SIDE, apart=False):
            return
        if "match_property" in change.fields or "expects_prefix" in change.fields:
            mixpanel_connection.change_match_setting(
                bridge,
                actor,
                _row_id(change),
                match_property=entry.match_property,
                expects_prefix=entry.expects_prefix,
            )
        token = self.environment.find(entry.project_token)
        if "project_token" in change.fields and token:
            mixpanel_connection.set_project_token(bridge, actor, _row_id(change), token)

    def _do_destination(self, change: Change) -> None:
        entry = change.entry
        if self._is_entered(change, DESTINATION_SIDE, apart=isinstance(entry, EndpointEntry) and entry.apart):
            return
        form = _entry(change, EndpointEntry).form
        if any(name in change.fields for name in _MEMBER_FIELDS):
            destinations.change_receiver(
                self.bridge,
                self.actor,
                _row_id(change),
                member_id=form.member_id,
                member_property=form.member_property,
                member_key=form.member_key,
                adds_only=form.adds_only,
            )
        if "apart" in change.fields:
            destinations.keep_apart(self.bridge, self.actor, _row_id(change))

    def _is_entered(self, change: Change, side: str, *, apart: bool) -> bool:
        """Store a connection that was tried; False where nothing of it needed to be."""
        tried = self.checked.get((change.kind, change.name))
        if tried is None:
            return False
        new = NewConnection(side, tried.kind, change.name, self.actor.name, tried.values, "replace", apart)
        with recorder.acting(roles.scope(self.bridge, self.actor.name, tried.action)):
            entering.store(self.bridge, new)
        return True

    # --- syncs ---

    def _sync_steps(self, change: Change) -> Iterator[tuple[int, Change, _Step]]:
        """Yield what is done to a sync, each step with its turn: what frees queries comes before what needs them."""
        entry = _entry(change, SyncEntry)
        bridge, actor = self.bridge, self.actor
        if change.action == "add":
            yield 4, change, partial(self._start_sync, change, is_paused=entry.state == PAUSED)
            return
        sync, sync_id = _present_sync(change), _sync_id(change)
        if any(name in change.fields for name in RESTARTED_FIELDS):
            is_paused = entry.state == PAUSED or (entry.state is None and sync.state == PAUSED)
            yield 0, change, partial(recurring.remove_sync, bridge, actor, sync_id)
            yield 4, change, partial(self._start_sync, change, is_paused=is_paused)
            return
        state = change.fields.get("state", (None, None))[1]
        if state == PAUSED or "paused_until" in change.fields:
            yield 0, change, partial(recurring.pause_sync, bridge, actor, sync_id, until=entry.paused_until)
        if any(name in change.fields for name in _EDITED_FIELDS):
            yield 2 if self._needs_more(entry, sync) else 1, change, partial(self._edit_sync, sync_id, entry)
        if any(name in change.fields for name in _MATCHED_FIELDS):
            yield 2, change, partial(self._match_sync, sync_id, entry)
        if state not in (None, PAUSED):
            yield 3, change, partial(recurring.resume_sync, bridge, actor, sync_id)

    def _start_sync(self, change: Change, *, is_paused: bool) -> None:
        entry = _entry(change, SyncEntry)
        sync = recurring.add_sync(
            self.bridge,
            self.actor,
            entry.cohort_id,
            every_minutes=entry.every_minutes or 0,
            schedule=entry.schedule,
            group=entry.group_name or _name_of_cohort(change),
            to=entry.destination,
            max_shrink=entry.max_shrink,
            tags=entry.tags,
            mixpanel=entry.mixpanel,
            paused=is_paused,
        )
        kept = change.present.sync.paused_until if isinstance(change.present, PresentSync) else None
        until = entry.paused_until or (kept if entry.state is None and is_paused else None)
        if until and until > self.bridge.clock.now():
            recurring.pause_sync(self.bridge, self.actor, sync.id or 0, until=until)
        if isinstance(change.present, PresentSync):
            self._restarted[change.present.sync.id or 0] = sync.id or 0
        if (sync.match_property, sync.expects_prefix) != (entry.match_property, entry.expects_prefix):
            self._match_sync(sync.id or 0, entry)

    def _needs_more(self, entry: SyncEntry, sync: Sync) -> bool:
        now, before = self.bridge.clock.now(), sync.timing
        return queries_an_hour([entry.timing], now=now) > queries_an_hour([before] if before else [], now=now)

    def _edit_sync(self, sync_id: int, entry: SyncEntry) -> None:
        settings.edit_sync(
            self.bridge,
            self.actor,
            sync_id,
            every_minutes=entry.every_minutes,
            schedule=entry.schedule,
            max_shrink=entry.max_shrink,
            tags=entry.tags,
        )

    def _match_sync(self, sync_id: int, entry: SyncEntry) -> None:
        settings.change_sync_matching(
            self.bridge,
            self.actor,
            sync_id,
            match_property=entry.match_property or "",
            expects_prefix=entry.expects_prefix,
        )

    # --- channels ---

    def _do_channels(self) -> None:
        """Change the channels once the syncs that they name are there."""
        if self.plan.mistakes:
            return
        for old, new in self._restarted.items():
            self._follow_sync(old, new)
        changes = self._of("channel")
        if changes:
            present = read_present(self.bridge)
            planning = Planning(self.bridge, self.document, present, self.environment, prune=False)
            for change in changes:
                self._do(change, partial(self._do_channel, planning, change))

    def _follow_sync(self, old: int, new: int) -> None:
        """Have the channels that were told of a sync be told of the one that took its place."""
        for channel in channels.list_channels(self.bridge, self.actor):
            if old in channel.sync_ids:
                ids = [new if each == old else each for each in channel.sync_ids]
                form = ChannelForm(
                    channel.name,
                    all_syncs=channel.all_syncs,
                    sync_ids=ids,
                    tags=channel.tags,
                    warnings=channel.warnings,
                    may_want_none=True,
                )
                channels.edit_channel(self.bridge, self.actor, channel.id or 0, form)

    def _do_channel(self, planning: Planning, change: Change) -> None:
        entry = _entry(change, ChannelEntry)
        bridge, actor = self.bridge, self.actor
        form = ChannelForm(
            entry.name,
            all_syncs=entry.tags is None and entry.syncs is None,
            sync_ids=list_sync_ids(planning, entry),
            tags=entry.tags or (),
            warnings=entry.warnings,
            may_want_none=True,
        )
        tried = self.checked.get((change.kind, change.name))
        channel_id = _channel_id(change)
        if tried is not None:
            values = {**channels.wanted_values(form), **tried.values}
            with recorder.acting(roles.scope(bridge, actor.name, tried.action)):
                stored = (
                    channels.edited(bridge, channel_id, values) if channel_id else channels.added(bridge, actor, values)
                )
            channel_id = stored.id or 0
        elif change.fields.keys() - {"enabled"}:
            channels.edit_channel(bridge, actor, channel_id, form)
        is_enabled = change.present.enabled if isinstance(change.present, AlertChannel) else True
        if entry.enabled != is_enabled:
            (channels.enable_channel if entry.enabled else channels.disable_channel)(bridge, actor, channel_id)


def _channel_id(change: Change) -> int:
    return (change.present.id or 0) if isinstance(change.present, AlertChannel) else 0


def _makes_admin(change: Change) -> bool:
    return isinstance(change.entry, PersonEntry) and change.entry.role == Role.ADMIN.label and not change.entry.disabled


def _entry(change: Change, kind: type[E]) -> E:
    assert isinstance(change.entry, kind)
    return change.entry


def _name_of_cohort(change: Change) -> str | None:
    """Return what a group is called from now on that had a name of its own and was never delivered."""
    group = change.present.group if isinstance(change.present, PresentSync) else change.present
    return group.cohort_name if isinstance(group, Group) and group.own_name and not group.delivered_at else None


def _row_id(change: Change) -> int:
    assert isinstance(change.present, Connection)
    return change.present.id or 0


def _present_sync(change: Change) -> Sync:
    assert isinstance(change.present, PresentSync)
    return change.present.sync


def _sync_id(change: Change) -> int:
    return _present_sync(change).id or 0
