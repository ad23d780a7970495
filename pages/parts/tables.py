"""Lists of which one row can be opened: by its name, by selecting it, or from the keyboard."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from typing import Any, Literal

import streamlit as st

from pages.parts.formatting import number, pluralize

# Rows that are shown without scrolling inside the list, as many as a page of them has; half a row more says that there
# are others.
ROWS = 25
_ROW_PX, _HEADER_PX = 33, 36
# What characters take in the font of lists, and what surrounds the text of a cell, and of the button in one.
_PX_BY_LETTER = {
    each: px for letters, px in (("ijl .,:;'|!", 3.2), ('frst-()/"', 4.9), ("mwMW@%", 10.0)) for each in letters
}
_MOST_COUNT_PX = 100
_SMALL_PX, _CAPITAL_PX, _WIDE_PX, _AROUND_PX, _BUTTON_PX = 6.7, 7.5, 13.0, 17, 26
# Nobody sees it, and a name that begins with it is a name to Streamlit, whatever comes next.
_JOINER = "\u2060"


def height(rows: int, *, most: int = ROWS) -> Literal["content"] | int:
    """Return how high a list of so many rows is, of which at most so many are seen at once."""
    return "content" if rows <= most else _HEADER_PX + _ROW_PX * most + _ROW_PX // 2


def rows_to_open(
    rows: list[dict[str, Any]],
    ids: Sequence[Any],
    *,
    key: str,
    label: str,
    go_to: Callable[[Any], None],
    columns: dict[str, Any] | None = None,
    opens: str = "",
    opens_width: int = 150,
    order: list[str] | None = None,
    button_width: int = 70,
    most_rows: int = ROWS,
) -> None:
    """Show rows, of which a click on the column `opens` calls `go_to` with the row's id out of `ids`.

    That is the column of the names, at most `opens_width` wide, which stays in view when the others are scrolled. A
    narrow window shows only the first of the others: what matters most comes first. A column "" holds the words of
    buttons that do the same. The ids are frozen when the list is drawn: a click opens the row that the person saw. A
    button on a canvas cannot be reached from the keyboard; there a row is chosen by Shift and Space.
    """
    st.dataframe(
        _with_buttons(rows, opens),
        key=f"{key}_table",
        on_select=partial(_select_one, key, tuple(ids), go_to),
        selection_mode="single-row",
        hide_index=True,
        height=height(len(rows), most=most_rows),
        placeholder="",
        column_order=order,
        alt=label,
        column_config={
            **(columns or {}),
            **_button_columns(rows, key, partial(_pressed, tuple(ids), go_to), {opens: opens_width, "": button_width}),
        },
    )


def rows_to_select(
    rows: list[dict[str, Any]],
    ids: Sequence[Any],
    *,
    key: str,
    label: str,
    go_to: Callable[[Any], None],
    columns: dict[str, Any] | None = None,
    opens: str = "",
    opens_width: int = 150,
    order: list[str] | None = None,
    button_width: int = 70,
) -> None:
    """Show rows that are opened as those of `rows_to_open`, and of which any number can be selected: see `selected`."""
    chosen = set(_note_selected(key))
    # Streamlit keeps a selection as row numbers: a list of other rows needs another key, and is drawn with its own.
    table = f"{key}_{hash(tuple(ids)) & 0xFFFFFFFF:x}_{st.session_state.get(_round_key(key), 0)}"
    st.session_state[_drawn_key(key)] = {"table": f"{table}_table", "ids": list(ids)}
    open_it = partial(_pressed, tuple(ids), go_to)
    st.dataframe(
        _with_buttons(rows, opens),
        key=f"{table}_table",
        on_select="rerun",
        selection_mode="multi-row",
        selection_default={"selection": {"rows": [row for row, each in enumerate(ids) if each in chosen]}},
        hide_index=True,
        height=height(len(rows)),
        placeholder="",
        column_order=order,
        alt=label,
        column_config={
            **(columns or {}),
            **_button_columns(rows, table, open_it, {opens: opens_width, "": button_width}),
        },
    )


def selected(key: str, of: Iterable[Any]) -> list[Any]:
    """Return which of these ids are selected in the list of this key, whether it shows them at the moment or not.

    What is selected stays so while other rows are asked for, and on other pages, until `clear_selection`.
    """
    chosen = set(_note_selected(key))
    return [each for each in of if each in chosen]


def selection_text(count: int, noun: str, *, hidden: int) -> str:
    """Format how many are selected, and how many of them the list does not show."""
    of_them = "" if hidden == count else f"{number(hidden)} of them "
    not_here = f", {of_them}not in this list" if hidden else ""
    return f"{pluralize(count, noun)} selected{not_here}."


def clear_selection(key: str) -> None:
    """Select nothing in the list of this key."""
    for name in (_selected_key(key), _drawn_key(key)):
        st.session_state.pop(name, None)
    st.session_state[_round_key(key)] = st.session_state.get(_round_key(key), 0) + 1


def _note_selected(key: str) -> list[Any]:
    """Return the ids that are selected, after taking over what was selected in the list that was drawn last."""
    chosen: list[Any] = st.session_state.get(_selected_key(key), [])
    drawn = st.session_state.get(_drawn_key(key))
    if drawn and (state := st.session_state.get(drawn["table"])):
        ids = drawn["ids"]
        chosen = [each for each in chosen if each not in ids]
        chosen += [ids[row] for row in state["selection"]["rows"] if row < len(ids)]
        st.session_state[_selected_key(key)] = chosen
    return chosen


def _selected_key(key: str) -> str:
    return f"{key}_selected"


def _drawn_key(key: str) -> str:
    """Return where the list that was drawn last is kept: the key of its table, and the ids of its rows."""
    return f"{key}_drawn"


def _round_key(key: str) -> str:
    """Return where it is counted how often the selection was cleared: with the number its table gets another key."""
    return f"{key}_round"


def filled(rows: Sequence[dict[str, Any]], *may_be_empty: str) -> list[str]:
    """Return the columns of a list in their order, without those of these that no row has anything in.

    They would only take room from the others.
    """
    empty = {name for name in may_be_empty if all(row[name] in (None, "") for row in rows)}
    return [name for name in (rows[0] if rows else ()) if name not in empty]


def texts(rows: Sequence[dict[str, Any]], **most: int) -> dict[str, Any]:
    """Return the configuration of columns of texts: each as wide as its widest text, up to so many pixels."""
    return {
        name: st.column_config.TextColumn(width=_fit([name, *(str(row[name] or "") for row in rows)], px))  # type: ignore[arg-type]  # pixels are taken as well
        for name, px in most.items()
        if rows and name in rows[0]
    }


def _fit(texts: Iterable[str], most: int, around: int = _AROUND_PX) -> int:
    """Return how many pixels the widest of these texts needs, `most` at most."""
    return min(max(round(text_px(text)) + around for text in texts), most)


@lru_cache(maxsize=16_384)  # a list has much the same texts each time that it is drawn
def text_px(text: str) -> float:
    """Return how many pixels a text takes in the font of lists."""
    return sum(map(_width_of, text))


def _width_of(character: str) -> float:
    if unicodedata.east_asian_width(character) in "WF":
        return _WIDE_PX
    return _PX_BY_LETTER.get(character, _CAPITAL_PX if character.isupper() else _SMALL_PX)


def numbers(rows: Sequence[dict[str, Any]], **helps: str) -> dict[str, Any]:
    """Return the configuration of columns of counts, each with its help: with thousands separators, not too wide."""
    return {
        name: st.column_config.NumberColumn(
            format="localized",
            width=_fit([name, *("" if row[name] is None else number(row[name]) for row in rows)], _MOST_COUNT_PX),  # type: ignore[arg-type]  # pixels are taken as well
            help=text or None,
        )
        for name, text in helps.items()
    }


def counts(*names: str) -> dict[str, Any]:
    """Return the configuration of columns that hold counts: with thousands separators."""
    return {name: st.column_config.NumberColumn(format="localized") for name in names}


def _button_columns(
    rows: list[dict[str, Any]], key: str, pressed: Callable[[str], None], widths: dict[str, int]
) -> dict[str, Any]:
    """Return the configuration of the columns whose cells are pressed: the names, and the words of buttons."""
    there = [name for name in widths if rows and name in rows[0]]
    widths = {name: _fit([name, *(str(row[name]) for row in rows)], widths[name], _BUTTON_PX) for name in there}
    return {
        name: st.column_config.ButtonColumn(
            width=widths[name],
            on_click=pressed,
            args=(f"{key}_name" if name else f"{key}_open",),
            key=f"{key}_name" if name else f"{key}_open",
            type="tertiary" if name else "secondary",
            alignment="left" if name else None,
            pinned=bool(name),
        )
        for name in there
    }


def _with_buttons(rows: list[dict[str, Any]], opens: str) -> list[dict[str, Any]]:
    return [row | {opens: _button_text(str(row[opens]))} for row in rows] if opens else rows


def _button_text(name: str) -> str:
    """Return a name as the text of its button: without one there would be nothing to click on.

    Streamlit would take one in brackets for a list of buttons, and one between colons for an icon.
    """
    return f"{_JOINER}{name}" if name.lstrip().startswith(("[", ":")) else name if name.strip() else "(no name)"


def _select_one(key: str, ids: tuple[Any, ...], go_to: Callable[[Any], None]) -> None:
    rows = st.session_state[f"{key}_table"]["selection"]["rows"]
    if rows:
        go_to(ids[rows[0]])


def _pressed(ids: tuple[Any, ...], go_to: Callable[[Any], None], key: str) -> None:
    go_to(ids[st.session_state[key]["row"]])
