"""The filters of a list: the address keeps them, so that a reload and a shared link show the same list.

Streamlit's own binding to the address writes an option's label, its color included, and binds one key on all pages.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Any, TypeVar

import streamlit as st

from core.text import LONGEST_USER_ID, clean_search
from pages.parts import folded
from pages.parts.formatting import escape_markdown, number, pluralize
from pages.parts.pager import Pager
from pages.parts.selection import set_param

Option = TypeVar("Option")

# A calendar's first and last day: Streamlit ends the page at others.
_DAYS = date(2000, 1, 1), date(2099, 12, 31)
# An address may ask for thousands of things that are not there: so many are named.
_MOST_UNKNOWN = 5
_SWITCH = {True: "yes", False: "no"}
_LONGEST_SEARCH = 200


def _clean_search(text: str) -> str:
    return clean_search(text)[:_LONGEST_SEARCH]


def cut_id(text: str) -> str:
    """Return the id of a user as it may stand in an address: one that is too long stays so, and is not the longer."""
    return text[: LONGEST_USER_ID + 1]


@dataclass(frozen=True)
class _Field:
    """How the value of a field is written in the address: by a text for each of `many` values, or by one."""

    default: Any
    read_one: Callable[[str], Any]
    """Return the value that a text names; None when it names none."""
    write_one: Callable[[Any], str | None]
    """Return the text that names a value; None when the value is not there any more."""
    many: bool = False

    def read(self, texts: list[str]) -> tuple[Any, list[str]]:
        """Return the value that texts of the address name, and those of them that name none."""
        values = {text: self.read_one(text) for each in texts for text in self._parts(each)}
        known = list(dict.fromkeys(value for value in values.values() if value is not None))
        unknown = [text for text, value in values.items() if value is None]
        if self.many:
            return known, unknown
        return known[-1] if known else self.default, unknown

    def _parts(self, text: str) -> list[str]:
        """Return the values that a text of the address lists: several in one are written with commas between."""
        if self.read_one(text) is not None:
            return [text]
        return [part.strip() for part in text.split(",") if part.strip()]

    def write(self, value: Any) -> list[str | None]:
        """Return the texts that name a value, none for what is usual."""
        if value is None or value == self.default:
            return []
        return [self.write_one(each) for each in value] if self.many else [self.write_one(value)]


class Filters:
    """The filters of one list, for one drawing of it. Each is a parameter of the address, and its key ends with that.

    After another choice its pagers begin at the first page. What the address asks for and is not there is left out,
    and said by `show_unknown`.
    """

    def __init__(self, prefix: str, *pagers: Pager) -> None:
        self._prefix, self._pagers = prefix, pagers
        self._names: list[str] = []
        self._unknown: list[str] = []
        self._are_seen = True

    @contextmanager
    def behind_button(self, *names: str) -> Generator[None]:
        """Draw the fields inside, which have these names, behind a button that says how many of them are set.

        Until that was pressed they are not drawn, and say all the same what is asked for.
        """
        count = sum(map(self.asks_for, names))
        label = f"More filters ({number(count)})" if count else "More filters"
        box, was_opened = folded.popover_box(label, icon=":material/filter_list:", key=f"{self._prefix}_more")
        self._are_seen = was_opened
        with box:
            yield
        self._are_seen = True

    @property
    def names(self) -> tuple[str, ...]:
        """The filters that were drawn so far, as the address names them."""
        return tuple(self._names)

    def asks_for(self, name: str) -> bool:
        """Return whether the address asks for something by this filter."""
        return bool(_asked(name))

    def text(self, show: Callable[..., str], label: str, name: str, **look: Any) -> str:
        """Show a field for a part of a text; return what was entered, without the blanks around it."""
        field = _Field("", _clean_search, str)
        entered = self._draw(show, label, name, field, type="search", **look)
        return _clean_search(str(entered or "")).strip()

    def user_id(self, show: Callable[..., str], label: str, name: str, **look: Any) -> str:
        """Show a field for the id of a user, which counts as it is, blanks included; `core` refuses one too long."""
        return cut_id(str(self._draw(show, label, name, _Field("", cut_id, cut_id), **look) or ""))

    def one(
        self,
        show: Callable[..., Any],
        label: str,
        name: str,
        options: Mapping[Option, str],
        *,
        default: Any = None,
        in_address: Mapping[Option, str] | None = None,
        unknown: str = "",
        **look: Any,
    ) -> Any:
        """Show the choice of one option by its label; without a default, of none too.

        `in_address` are the names that the options have in the address, if not their own; `unknown` is said of another
        one there, which is put in place of {}.
        """
        if default is None:
            look["index"] = None
        field = _of_options(options, in_address, default)
        return self._draw(show, label, name, field, unknown=unknown, **_choice(options), **look)

    def many(
        self, show: Callable[..., Any], label: str, name: str, options: Mapping[Option, str], **look: Any
    ) -> list[Option]:
        """Show the choice of any number of options by their labels."""
        # Otherwise Enter would choose everything that matches what was typed, and not the first option.
        look["select_all"] = False
        return self._draw(show, label, name, _of_options(options, None, [], many=True), **_choice(options), **look)

    def switch(self, show: Callable[..., Any], label: str, name: str, *, default: bool, **look: Any) -> bool:
        """Show a switch."""
        values = {text: value for value, text in _SWITCH.items()}
        return self._draw(show, label, name, _Field(default, values.get, _SWITCH.get), **look)

    def day(self, show: Callable[..., Any], label: str, name: str, **look: Any) -> date | None:
        """Show the choice of a day, or of none."""
        field, (first, last) = _Field(None, _read_day, date.isoformat), _DAYS
        return self._draw(show, label, name, field, value=None, min_value=first, max_value=last, **look)

    def show_unknown(self) -> None:
        """Say what the address asks for and is not there: the list is not the one that was meant."""
        if self._unknown:
            more = len(self._unknown) - _MOST_UNKNOWN
            others = f" {pluralize(more, 'other')} of what it asks for {'is' if more == 1 else 'are'} left out too."
            text = " ".join(self._unknown[:_MOST_UNKNOWN]) + (others if more > 0 else "")
            st.warning(text, icon=":material/search_off:")

    def show_none(self, sentence: str) -> None:
        """Say that the filters find nothing, and offer to clear them."""
        st.info(sentence, icon=":material/search_off:")
        st.button(
            "Clear filters",
            key=f"{self._prefix}_clear",
            icon=":material/filter_alt_off:",
            on_click=clear,
            args=(self._prefix, tuple(self._names), self._pagers),
        )

    def _draw(
        self, show: Callable[..., Any], label: str, name: str, field: _Field, *, unknown: str = "", **look: Any
    ) -> Any:
        key, asked = f"{self._prefix}_{name}", _asked(name)
        value, not_there = field.read(asked)
        self._names.append(name)
        sentence = unknown or f"“{label}” cannot be “{{}}”, which the address asks for: it is left out."
        self._unknown += [sentence.format(escape_markdown(text[:40])) for text in not_there]
        if not self._are_seen:
            return value
        # The address is followed where it changed, and where a choice is not there any more.
        if (
            key not in st.session_state
            or st.session_state.get(_followed(key)) != asked
            or None in field.write(st.session_state[key])
        ):
            st.session_state[key], st.session_state[_followed(key)] = value, asked
        return show(label, key=key, on_change=partial(_keep, key, name, field, self._pagers), **look)


def clear(prefix: str, names: tuple[str, ...], pagers: tuple[Pager, ...]) -> None:
    """Have nothing filtered by the filters of these names."""
    for name in names:
        set_param(name, None)
        st.session_state.pop(_followed(f"{prefix}_{name}"), None)
    for pager in pagers:
        pager.to_first_page()


def _keep(key: str, name: str, field: _Field, pagers: tuple[Pager, ...]) -> None:
    """Keep in the address what was chosen."""
    texts = [text for text in field.write(st.session_state[key]) if text]
    st.session_state[_followed(key)] = texts
    set_param(name, texts)
    for pager in pagers:
        pager.to_first_page()


def _asked(name: str) -> list[str]:
    return [text for text in st.query_params.get_all(name) if text]


def _followed(key: str) -> str:
    """Name where it is kept what the address asked for when the field last followed it, or was kept there."""
    return f"{key}_asked"


def _of_options(
    options: Mapping[Any, str], in_address: Mapping[Any, str] | None, default: Any, *, many: bool = False
) -> _Field:
    names = {option: (in_address or {}).get(option, str(option)) for option in options}
    return _Field(default, {name: option for option, name in names.items()}.get, names.get, many)


def _choice(options: Mapping[Any, str]) -> dict[str, Any]:
    # A dictionary's method, not a function of our own: what a session keeps must be plain data.
    return {"options": list(options), "format_func": dict(options).__getitem__}


def _read_day(text: str) -> date | None:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    return day if _DAYS[0] <= day <= _DAYS[1] else None
