"""What a file would change of alert channels: where each leads, and what it wants to know."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from core.declared.entries import ChannelEntry, SyncEntry
from core.declared.plan import Change, Planning, added, called, differences
from core.declared.plan_connections import of_secret
from core.declared.plan_syncs import find_key
from core.declared.present import PresentSync, SyncKey
from data.alert_models import AlertChannel


def plan_channels(planning: Planning, named: Mapping[SyncKey, SyncEntry], removed: Collection[SyncKey]) -> None:
    """Plan the changes of all channels that the file names; a sync that one of them names has to be there then."""
    there = {*named, *(key for key in planning.present.syncs if key not in removed)}
    for entry in planning.document.channels:
        keys = _list_keys(planning, entry, there)
        if keys is not None:
            _plan_channel(planning, entry, keys)


def _list_keys(planning: Planning, entry: ChannelEntry, there: Collection[SyncKey]) -> set[SyncKey] | None:
    """Return the syncs that a channel names; None where one is not there."""
    keys = set[SyncKey]()
    for name in entry.syncs or ():
        key = find_key(planning, entry, "syncs", name)
        if key is None:
            return None
        if key not in there:
            planning.refuse(entry, "syncs", f"there is no sync of {_told(key)}.")
            return None
        keys.add(key)
    return keys


def _plan_channel(planning: Planning, entry: ChannelEntry, keys: set[SyncKey]) -> None:
    present = planning.present.channels.get(entry.name)
    address = planning.environment.find(entry.address)
    values = {
        "warnings": entry.warnings,
        "tags": None if entry.tags is None and entry.syncs is None else tuple(entry.tags or ()),
        "syncs": None if entry.tags is None and entry.syncs is None else _texts(keys),
        "enabled": entry.enabled,
    }
    if present is None:
        fields = added(values | {"address": entry.address})
    else:
        fields = differences({name: (before, values[name]) for name, before in _present(planning, present).items()})
        fields |= of_secret(planning, "address", present.address, address, entry.address)
    if not fields:
        planning.note_unset(entry.address)
        return
    if present is None and address is None:
        planning.refuse_unset(entry, "address", entry.address)
    if entry.tags == () and entry.syncs is None and not _others(planning, present):
        planning.refuse(entry, "tags", "choose some tags or syncs, or leave both out: then it is told of all.")
    action = "change" if present else "add"
    planning.plan.changes.append(
        Change(action, entry.kind, entry.name, fields, entry=entry, present=present, secret=address)
    )


def _present(planning: Planning, channel: AlertChannel) -> dict[str, Any]:
    return {
        "warnings": channel.warnings,
        "tags": None if channel.all_syncs else tuple(channel.tags),
        "syncs": None if channel.all_syncs else _texts(_covered(planning, channel)),
        "enabled": channel.enabled,
    }


def _covered(planning: Planning, channel: AlertChannel) -> dict[SyncKey, PresentSync]:
    """Return the syncs that a channel is told of and that the file can name."""
    named = planning.present.find_named(channel.sync_ids)
    return {key: each for key, each in named.items() if planning.document.practice or not each.is_practice}


def _others(planning: Planning, channel: AlertChannel | None) -> list[int]:
    """Return the other syncs that a channel is told of: it stays so."""
    if channel is None:
        return []
    covered = {each.sync.id for each in _covered(planning, channel).values()}
    return [sync_id for sync_id in channel.sync_ids if sync_id not in covered]


def list_sync_ids(planning: Planning, entry: ChannelEntry) -> list[int]:
    """Return the syncs that a channel is to be told of, once those of the file are there."""
    keys = [find_key(planning, entry, "syncs", name) for name in entry.syncs or ()]
    named = [planning.present.syncs[key].sync.id or 0 for key in keys if key and key in planning.present.syncs]
    return sorted({*named, *_others(planning, planning.present.channels.get(entry.name))})


def _texts(keys: Collection[SyncKey]) -> tuple[str, ...]:
    return tuple(_told(key) for key in sorted(keys))


def _told(key: SyncKey) -> str:
    return f"cohort {key.cohort_id} of project {key.project_id} to {called(key.destination)}"
