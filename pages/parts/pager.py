"""The pages of a long list: which one is shown, which rows it has, and the buttons to the others."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from pages.parts.formatting import number


@dataclass(frozen=True)
class Pager:
    """The pages of one list, so many rows each."""

    key: str
    rows: int = 25

    @property
    def page(self) -> int:
        """The page that was chosen, from 1."""
        return st.session_state.get(self.key, 1)

    def offset(self, total: int | None = None) -> int:
        """Return how many rows come before those of the page; a page beyond the last of `total` rows is the last."""
        page = self.page if total is None else min(self.page, max(1, self._pages(total)))
        return (page - 1) * self.rows

    def to_first_page(self) -> None:
        """Begin at the first page again, because something else is asked for."""
        st.session_state[self.key] = 1

    def range_text(self, shown: int, of: str, *, total: int | None = None) -> str:
        """Format which rows are shown: `26–50 of 120 runs`, when `of` is "120 runs"."""
        first = self.offset(total) + 1
        return f"{number(first)}–{number(first + shown - 1)} of {of}"

    def buttons(self, total: int) -> None:
        """Show the buttons to the other pages, where there are any."""
        pages = self._pages(total)
        if pages > 1:
            st.pagination(pages, key=self.key)

    def _pages(self, total: int) -> int:
        return -(-total // self.rows)
