"""What is open: the row of a list that the address names, or the page that a click leads to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import streamlit as st

from core.errors import NotFound
from core.text import parse_id, shown
from pages.parts.formatting import escape_markdown

Row = TypeVar("Row")
Key = TypeVar("Key", int, str)

_LEAVE_FOR = "selection_leave_for"
_LONGEST_SHOWN = 100


@dataclass(frozen=True)
class Selection:
    """A list of which one row can be open; the address names it, so that a reload and a shared link show it too."""

    name: str
    """The parameter of the address."""
    key: str
    """The key of the button that leads back to the list."""
    all_rows: str
    """The text of that button."""
    unknown: str
    """What is shown for an id that names no row, with {} in place of the id."""
    row_params: tuple[str, ...] = ()
    """Other parameters of the address that belong to the open row: they go with it."""

    def go_to(self, row_id: object | None = None) -> None:
        """Open the row with this id, or the list again for None."""
        set_param(self.name, row_id)
        for name in self.row_params:
            set_param(name, None)

    @property
    def requested(self) -> str:
        """What the address asks for; empty when it asks for the list."""
        return st.query_params.get(self.name, "")

    @property
    def requested_id(self) -> int | None:
        """The one id that the address asks for."""
        return only_id(self.requested)

    def find(self, get: Callable[[int], Row | None]) -> Row | None:
        """Return the row that the address names, as `get` has it; None when it names none.

        An id that `get` does not know, by None or by NotFound, is shown as unknown.
        """
        if not self.requested:
            return None
        row_id = self.requested_id
        try:
            row = None if row_id is None else get(row_id)
        except NotFound:
            row = None
        if row is None:
            asked = escape_markdown(shown(self.requested, most=_LONGEST_SHOWN))
            st.warning(self.unknown.format(asked), icon=":material/search_off:")
            self.back_button()
        return row

    def back_button(self) -> None:
        """Show the button that leads back to the list."""
        st.button(self.all_rows, key=self.key, icon=":material/arrow_back:", type="tertiary", on_click=self.go_to)


def read_ids(text: str) -> tuple[list[int], list[str]]:
    """Return the ids that a text of the address lists, each once, and what else it lists; blank parts are nothing."""
    parts = dict.fromkeys(part.strip() for part in text.split(",") if part.strip())
    ids = {part: parse_id(part) for part in parts}
    return (
        list(dict.fromkeys(number for number in ids.values() if number is not None)),
        [part for part, number in ids.items() if number is None],
    )


def only_id(text: str) -> int | None:
    """Return the one id that a text of the address lists, however often; None where it lists more, or what is none."""
    ids, others = read_ids(text)
    return ids[0] if len(ids) == 1 and not others else None


def set_param(name: str, value: object | None) -> None:
    """Set a parameter of the address, once for each text of a list; remove it for None or an empty list."""
    if value is None or value == []:
        st.query_params.pop(name, None)
    else:
        st.query_params[name] = value if isinstance(value, list) else str(value)


def all_params() -> dict[str, list[str]]:
    """Return the parameters of the address, each with all that it says: Streamlit's own dictionary has the last."""
    return {name: st.query_params.get_all(name) for name in st.query_params}


def tell_apart(names: dict[Key, str], detail: Callable[[Key], str], *, is_detail_first: bool = False) -> dict[Key, str]:
    """Label options by their names, with a detail where another has the same name, and the key where that is the same.

    The detail stands behind the name, or before it where the end may be cut off. The browser sends back the label that
    was chosen: two options with one label would be one.
    """
    counts = Counter(names.values())

    def label(key: Key, name: str) -> str:
        return detail(key) + name if is_detail_first else name + detail(key)

    labels = {key: name if counts[name] == 1 else label(key, name) for key, name in names.items()}
    counts = Counter(labels.values())
    return {key: label if counts[label] == 1 else f"{label} ({key})" for key, label in labels.items()}


def opener(page: str, name: str, **params: object) -> Callable[[object | None], None]:
    """Return the callback that leads to another page, with the id it is given as this parameter of the address.

    `params` are other parameters of that address.
    """
    return partial(_leave_for, page, name, {key: str(value) for key, value in params.items()})


def _leave_for(page: str, name: str, params: dict[str, str], row_id: object | None) -> None:
    if row_id is not None:
        st.session_state[_LEAVE_FOR] = {"page": page, "params": params | {name: str(row_id)}}


def follow() -> None:
    """Go to the page that a click chose: a callback cannot, the drawing after it can."""
    if target := st.session_state.pop(_LEAVE_FOR, None):
        st.switch_page(target["page"], query_params=target["params"])


def redraw_page_for(key: str, go_to: Callable[[object | None], None]) -> Callable[[object | None], None]:
    """Return `go_to` for a list inside a fragment, whose click must draw the whole page: see `redraw_if_opened`."""
    return partial(_open_and_redraw, key, go_to)


def _open_and_redraw(key: str, go_to: Callable[[object | None], None], row_id: object | None) -> None:
    go_to(row_id)
    st.session_state[f"{key}_opened"] = True


def redraw_if_opened(key: str) -> None:
    """Draw the whole page when a row of this fragment's list was opened."""
    if st.session_state.pop(f"{key}_opened", False):
        st.rerun()
