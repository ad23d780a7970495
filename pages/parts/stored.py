"""Fields that hold what is stored: they follow what others store meanwhile, and save over nothing that was not seen."""

from __future__ import annotations

import streamlit as st

from core.errors import SettingsError

_SAVE_AGAIN = "Look at it as it is now, then save again."
# For dialogs: what they hold stays as it was when they were opened.
OPEN_AGAIN = "Close this, look at it as it is now, and begin again."


def offer(key: str, value: object) -> None:
    """Set a field to this where nothing else was entered.

    What was entered stays; what was only offered follows what is chosen beside it, and what others store meanwhile.
    """
    kept, offered = st.session_state, f"{key}_offered"
    if key not in kept or (kept[key] == kept.get(offered) and kept[key] != value):
        kept[key] = value
    kept[offered] = value


def require_unchanged(seen: object, now: object, what: str, *, advice: str = _SAVE_AGAIN) -> None:
    """Raise SettingsError where something was stored since it was seen: a form saves all that it holds.

    `what` is what it is called, such as “this sync”. `now` is None where it is gone: the action itself says so then.
    """
    if now not in (None, seen):
        raise SettingsError(
            f"Somebody else has changed {what} meanwhile. Nothing was saved.",
            advice=advice,
        )
