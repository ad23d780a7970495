"""The pages of a long list: which one is shown, which rows it has, and the buttons to the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import streamlit as st

from core.text import parse_id
from pages.parts.formatting import number
from pages.parts.selection import set_param


class _Page(Protocol):
    @property
    def total(self) -> int: ...


AnyPage = TypeVar("AnyPage", bound=_Page)


@dataclass(frozen=True)
class Pager:
    """The pages of one list, so many rows each. `name` is the parameter of the address that names the page, if any."""

    key: str
    rows: int = 25
    name: str = ""

    @property
    def page(self) -> int:
        """The page that was chosen, or that the address asks for, from 1."""
        if self.name:
            self._follow_address()
        return st.session_state.get(self.key, 1)

    def offset(self, total: int | None = None) -> int:
        """Return how many rows come before those of the page; a page beyond the last of `total` rows is the last."""
        page = self.page if total is None else min(self.page, max(1, self._pages(total)))
        return (page - 1) * self.rows

    def find(self, find: Callable[[int], AnyPage]) -> AnyPage:
        """Find the rows of the page: `find` takes how many come before. Beyond the last page, that one is found."""
        page = find(self.offset())
        return find(self.offset(page.total)) if self.offset() >= page.total > 0 else page

    def to_first_page(self) -> None:
        """Begin at the first page again, because something else is asked for."""
        st.session_state[self.key] = 1
        self._keep()

    def range_text(self, shown: int, of: str, *, total: int | None = None) -> str:
        """Format which rows are shown: `26–50 of 120 runs`, when `of` is "120 runs"."""
        first = self.offset(total) + 1
        return f"{number(first)}–{number(first + shown - 1)} of {of}"

    def buttons(self, total: int) -> None:
        """Show the buttons to the other pages, where there are any."""
        pages = self._pages(total)
        if pages > 1:
            if self.key in st.session_state:
                st.session_state[self.key] = min(st.session_state[self.key], pages)
            st.pagination(pages, key=self.key, on_change=self._keep)

    def _pages(self, total: int) -> int:
        return -(-total // self.rows)

    def _follow_address(self) -> None:
        asked = st.query_params.get(self.name, "")
        if self.key not in st.session_state or st.session_state.get(self._followed) != asked:
            st.session_state[self.key] = max(parse_id(asked) or 1, 1)
            st.session_state[self._followed] = asked

    def _keep(self) -> None:
        """Keep the page in the address; the first one needs no word."""
        if self.name:
            page = st.session_state[self.key]
            st.session_state[self._followed] = "" if page == 1 else str(page)
            set_param(self.name, None if page == 1 else page)

    @property
    def _followed(self) -> str:
        return f"{self.key}_asked"
