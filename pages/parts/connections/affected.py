"""What depends on a connection: its groups, and the recurring syncs that keep them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import streamlit as st

from core.access.roles import Actor
from core.bridge import Bridge
from core.syncs import groups, listing
from data.models import MIXPANEL_SIDE, Connection, Group, Sync, SyncKind
from pages.parts.formatting import escape_markdown, number, pluralize

_MOST_NAMES = 8


@dataclass(frozen=True)
class Affected:
    """The names of the groups that a connection was used for, and how many recurring syncs use it."""

    groups: list[str]
    syncs: int


def find_affected(bridge: Bridge, person: Actor, connections: Iterable[Connection]) -> dict[int, Affected]:
    """Return what depends on each connection, by its id."""
    delivered, placed = groups.list_groups(bridge, person), listing.list_placed(bridge, person)
    return {connection.id or 0: _affected(connection, delivered, placed) for connection in connections}


def _affected(connection: Connection, delivered: list[Group], placed: list[tuple[Sync, Group]]) -> Affected:
    if connection.side == MIXPANEL_SIDE:
        own = [(sync, group) for sync, group in placed if sync.mixpanel_id == connection.id]
        fed = {group.id for _, group in own}
        names = [group.name for group in delivered if group.id in fed]
    else:
        own = [(sync, group) for sync, group in placed if group.destination_id == connection.id]
        names = [group.name for group in delivered if group.destination_id == connection.id]
    return Affected(names, sum(sync.kind == SyncKind.RECURRING for sync, _ in own))


# What becomes of groups whose destination is replaced.
IN_DOUBT = "will be in doubt, so that the next run writes all members again:"


def show_affected(affected: Affected, what_happens: str) -> None:
    """Show the groups that are affected, and what happens to them; nothing where there is none."""
    if not affected.groups:
        return
    has_once = affected.syncs < len(affected.groups)
    st.write(f"{pluralize(len(affected.groups), 'group')}{_kept_by(affected, has_once=has_once)} {what_happens}")
    st.markdown("\n".join(f"- {escape_markdown(name)}" for name in affected.groups[:_MOST_NAMES]))
    if len(affected.groups) > _MOST_NAMES:
        st.caption(f"and {pluralize(len(affected.groups) - _MOST_NAMES, 'more', 'more')}")
    if has_once and what_happens == IN_DOUBT:
        st.caption("A group without a recurring sync stays in doubt until its cohort is exported again.")


def _kept_by(affected: Affected, *, has_once: bool) -> str:
    if not affected.syncs:
        return ""
    if has_once:
        return f", {number(affected.syncs)} of them with a recurring sync,"
    return f", kept by {pluralize(affected.syncs, 'recurring sync')},"
