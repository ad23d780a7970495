"""Fields that hold what is stored: they follow what others store meanwhile, which a dialog's do not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from core.errors import ChangedMeanwhile

_OPEN_AGAIN = "Close this, look at it as it is now, and begin again."


def offer(key: str, value: object) -> None:
    """Set a field to this where nothing else was entered.

    What was entered stays; what was only offered follows what is chosen beside it, and what others store meanwhile.
    """
    kept, offered = st.session_state, f"{key}_offered"
    if key not in kept or (kept[key] == kept.get(offered) and kept[key] != value):
        kept[key] = value
    kept[offered] = value


@contextmanager
def saving_in_dialog() -> Iterator[None]:
    """Advise to open a dialog again that saves what somebody else has changed: what it holds stays as it was."""
    try:
        yield
    except ChangedMeanwhile as exc:
        raise ChangedMeanwhile(exc.message, advice=_OPEN_AGAIN) from None
