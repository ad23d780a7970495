"""What is opened once per process and shared by every session."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib import import_module

import streamlit as st

from core import bridge as core_bridge
from core import settings
from core.access.roles import Actor
from core.alerts.attention import count_attention
from core.bridge import Bridge
from core.clock import SYSTEM_CLOCK
from core.errors import CohortBridgeError
from core.reports import overview
from core.reports.on_time_kept import OnTimeKept
from core.reports.open_names import find_open_name
from core.reports.slots import OnTime, list_on_time
from core.syncs.listing import SyncView
from core.text import parse_id
from pages.parts.formatting import error_text

# The clock that the process's bridge is opened with.
CLOCK = SYSTEM_CLOCK


_opened = list[Bridge]()


def _close(bridge: Bridge) -> None:
    _opened[:] = [each for each in _opened if each is not bridge]
    bridge.engine.dispose()


@cache
def _freeze_modules() -> None:
    """Freeze what is loaded for the garbage collector, once a process.

    It stays as long as the process does; each full collection would cost a visitor a quarter of a second.
    """
    import_module("pandas")  # large, and on the first list otherwise
    gc.collect()
    gc.freeze()


@st.cache_resource(show_spinner="Opening …", on_release=_close)
def _open() -> Bridge:
    _freeze_modules()
    _opened.append(core_bridge.open_bridge(settings.read(), clock=CLOCK))
    return _opened[-1]


def opened() -> Bridge | None:
    """Return the process's bridge if a page has opened it: outside of pages nothing is opened."""
    return _opened[-1] if _opened else None


def bridge() -> Bridge:
    """Return the process's bridge. Ends the page with a sentence when the storage cannot be used."""
    try:
        return _open()
    except CohortBridgeError as exc:
        st.error(error_text(exc), icon=":material/database_off:", title="Cohort Bridge cannot open its storage")
        st.button("Try again", key="resources_again")
        st.stop()


def now() -> datetime:
    """Return what time it is, by the bridge's clock: a list asks for it once a row."""
    return (opened() or bridge()).clock.now()


@st.cache_data(ttl=60, max_entries=4, show_spinner=False)
def _trends(home: str, _bridge: Bridge, _person: Actor) -> dict[int, list[int]]:
    return overview.trends(_bridge, _person)


def trends(bridge: Bridge, person: Actor) -> dict[int, list[int]]:
    """Return each group's size on each of the last days; a minute old at most, since each is asked for by itself."""
    return _trends(str(bridge.settings.home), bridge, person)


@st.cache_resource(show_spinner=False)
def _on_time_kept(home: str) -> OnTimeKept:
    return OnTimeKept()


def on_time(bridge: Bridge, person: Actor, views: Sequence[SyncView]) -> dict[int, OnTime]:
    """Return how many of the times of each of these syncs were met: what is the same as before is not counted again."""
    return list_on_time(bridge, person, views, kept=_on_time_kept(str(bridge.settings.home)))


# So old the number beside Overview in the menu may be; Overview itself notes what it has just found.
_ATTENTION_FOR_S = 15.0
_SHOWN = "resources_attention_shown"
# What the menu has called the thing that is open.
_NAMED = "resources_named"


@dataclass
class _AttentionCount:
    """How many things needed a person, and when that was counted, by the clock that never stands still or jumps."""

    count: int = 0
    at_s: float | None = None


@st.cache_resource(show_spinner=False)
def _attention(home: str) -> _AttentionCount:
    return _AttentionCount()


def attention(person: Actor) -> int:
    """Return how many things need a person, for the menu: counted at most once in a while for all who look."""
    try:
        bridge = _open()
        kept, now_s = _attention(str(bridge.settings.home)), bridge.clock.steady_s()
        if kept.at_s is None or now_s - kept.at_s >= _ATTENTION_FOR_S:
            kept.count, kept.at_s = count_attention(bridge, person), now_s
    except CohortBridgeError:
        return 0  # the page itself says what cannot be read
    st.session_state[_SHOWN] = kept.count
    return kept.count


def open_name(person: Actor | None, kind: str, number: int) -> str:
    """Return what a thing that is open is called, for the menu; "" where that is not known."""
    name = _find_name(person, kind, number)
    st.session_state[_NAMED] = {"kind": kind, "number": number, "name": name, "is_compared": False}
    return name


def _find_name(person: Actor | None, kind: str, number: int) -> str:
    try:
        project_id = parse_id(st.query_params.get("project", ""))
        return find_open_name(_open(), person, kind, number, project_id=project_id) if person else ""
    except CohortBridgeError:
        return ""  # the page itself says what cannot be read


def has_other_name(person: Actor) -> bool:
    """Return whether what is open is called otherwise than the menu shows: the page may have read that just now.

    True at most once for each drawing of the menu, so that nobody draws for ever.
    """
    named = st.session_state.get(_NAMED)
    if not named or named["is_compared"]:
        return False
    named["is_compared"] = True
    return _find_name(person, named["kind"], named["number"]) != named["name"]


def note_attention(bridge: Bridge, count: int) -> bool:
    """Note what Overview has found to need a person. Returns whether the menu beside it shows another number."""
    kept = _attention(str(bridge.settings.home))
    kept.count, kept.at_s = count, bridge.clock.steady_s()
    return st.session_state.get(_SHOWN, count) != count


def forget_attention() -> None:
    """Have the menu count again what needs a person: somebody may have done something about it."""
    _attention.clear()
