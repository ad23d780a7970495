"""What a channel is and wants, in words."""

from __future__ import annotations

from collections.abc import Mapping

from core.alerts.channels import AlertChannel
from pages.parts.formatting import pluralize

DISABLED, REFUSED, WORKS, UNTRIED = "Disabled", "Not accepted", "Works", "Not tried yet"


def state_text(channel: AlertChannel) -> str:
    """Format whether messages are sent to a channel, and whether the last one was accepted."""
    if not channel.enabled:
        return DISABLED
    if channel.trouble:
        return REFUSED
    return WORKS if channel.checked_at else UNTRIED


def wants_text(channel: AlertChannel) -> str:
    """Format in a few words what a channel is told."""
    return f"{_which_syncs(channel)}, {'warnings too' if channel.warnings else 'critical only'}"


def _which_syncs(channel: AlertChannel) -> str:
    if channel.all_syncs:
        return "All syncs"
    parts = [pluralize(len(channel.sync_ids), "sync")] if channel.sync_ids else []
    if channel.tags:
        parts.append(f"syncs tagged {' or '.join(channel.tags)}")
    text = " and ".join(parts) or "no single sync"
    return text[0].upper() + text[1:]


def sync_names(channel: AlertChannel, names: Mapping[int, str]) -> str:
    """Format the syncs that a channel wants to be told of, by name; one that is not known any more by its id."""
    return ", ".join(names.get(sync_id, f"sync {sync_id} (removed)") for sync_id in channel.sync_ids)
