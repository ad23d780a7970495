"""Whom to ask for what only admins can do."""

from __future__ import annotations

import streamlit as st

from core.access import roles
from core.access.roles import Actor, Role
from core.bridge import Bridge
from pages.parts import links
from pages.parts.formatting import escape_markdown, number

_MOST_NAMES = 3


def admins_text(bridge: Bridge, person: Actor) -> str:
    """Format whom to ask for what only admins can do: by their addresses, where people sign in."""
    admins = [] if person.person_id is None else roles.admins(bridge)
    if not admins:
        return "Ask an admin of Cohort Bridge."
    named = [escape_markdown(address) for address in admins[:_MOST_NAMES]]
    if admins[_MOST_NAMES:]:
        named.append(f"one of {number(len(admins) - _MOST_NAMES)} more")
    return f"Ask {' or '.join(filter(None, [', '.join(named[:-1]), named[-1]]))}."


def show_way_named_in(text: str, bridge: Bridge, person: Actor) -> None:
    """Show the way to Connections where a text names that page."""
    if links.CONNECTIONS_NAME in text:
        show_way_to_connections(bridge, person)


def show_way_to_connections(bridge: Bridge, person: Actor) -> None:
    """Link an admin to Connections; tell others whom to ask."""
    if person.role >= Role.ADMIN:
        st.page_link(links.CONNECTIONS, label="Go to Connections", icon=":material/cable:")
    else:
        st.caption(f"An admin does that, on Connections. {admins_text(bridge, person)}", width="content")
