"""The menu: the pages of every section, and beside each of them a page for the one thing that is open in it.

Streamlit takes a press on the page that is shown for a redrawing, and keeps the address: the link to a section would do
nothing where one run or sync is open in it. So that is a page of its own to Streamlit, of the same file at the same
path, and the link leads back to the list. The menu names what is open below its section.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

import streamlit as st
from streamlit.navigation.page import StreamlitPage

from core.access.roles import Role
from core.invisible import is_unseen
from core.text import shown
from pages.parts.formatting import escape_markdown
from pages.parts.selection import all_params, only_id, read_ids

PRODUCT = "Cohort Bridge"
_FOLDER = "pages"
_NAME_CHARS = 60

# Returns what is called by a parameter of the address and its number; "" where that is not known.
NameOf = Callable[[str, int], str]


@dataclass(frozen=True)
class Section:
    """A page of the menu. `opens` is the parameter of the address that names what is open in it, `noun` its kind.

    `count` stands as a badge beside its title: how many things there wait for a person; none for 0.
    """

    path: str
    title: str
    icon: str
    role: Role = Role.VIEWER
    opens: str = ""
    noun: str = ""
    count: int = 0

    @property
    def _url_path(self) -> str:
        return self.path.partition("/")[2]

    @property
    def _requested(self) -> str:
        return st.query_params.get(self.opens, "") if self.opens else ""

    @property
    def _is_here(self) -> bool:
        """Whether the address leads to this section: other pages filter by the same parameters."""
        url = st.context.url
        return not url or urlsplit(url).path.rstrip("/").endswith(f"/{self._url_path}")

    @property
    def label(self) -> str:
        """The title, with the badge: of what Markdown has it takes code, whose box is what a badge looks like."""
        return f"{self.title} `{self.count:,}`" if self.count else self.title

    def list_page(self, role: Role | None, *, default: bool = False) -> StreamlitPage:
        """Put the section into the menu of those whose role may open it; to the others the page itself says why."""
        return st.Page(
            f"{_FOLDER}/{self.path}.py",
            title=self.label,
            icon=f":material/{self.icon}:",
            url_path=self._url_path,
            visibility="visible" if role is not None and role >= self.role else "hidden",
            default=default,
        )

    def open_page(self, role: Role | None, name_of: NameOf) -> StreamlitPage | None:
        """Return the page of what is open, in the menu while something is; None where nothing can be."""
        if not self.opens:
            return None
        is_shown = bool(self._requested) and self._is_here and role is not None and role >= self.role
        return _OpenPage(
            f"{_FOLDER}/{self.path}.py",
            title=self._open_title(name_of) if is_shown else self.noun,
            icon=":material/subdirectory_arrow_right:",
            url_path=self._url_path,
            visibility="visible" if is_shown else "hidden",
        )

    def tab_title(self, chosen: StreamlitPage) -> str:
        """Return what the browser calls the page: the section, or the kind and number of what is open."""
        return f"{self._open_number() if isinstance(chosen, _OpenPage) else self.title} · {PRODUCT}"

    def _open_title(self, name_of: NameOf) -> str:
        """Return what is open by its name; by its kind and number where that is not known."""
        row_id = self._requested_id
        name = name_of(self.opens, row_id) if row_id is not None else ""
        return self._open_number() if is_unseen(name) else escape_markdown(shown(name, most=_NAME_CHARS))

    def _open_number(self) -> str:
        if self._requested_id is not None:
            return f"{self.noun} {self._requested_id}"
        return f"Several {self.noun.lower()}s" if read_ids(self._requested)[0] else self.noun

    @property
    def _requested_id(self) -> int | None:
        return only_id(self._requested)

    def other_page(self, chosen: StreamlitPage) -> bool:
        """Return whether the address asks for the other one of the section's two pages than the one that is chosen."""
        is_mine = bool(self.opens) and chosen.url_path == self._url_path
        return is_mine and isinstance(chosen, _OpenPage) != bool(self._requested)


class _OpenPage(StreamlitPage):
    """The page of what is open in a section: at the section's own path, and yet another page."""

    @property
    def _script_hash(self) -> str:
        return f"{super()._script_hash}-open"


def choose(
    sections: dict[str, list[Section]], role: Role | None, name_of: NameOf
) -> tuple[StreamlitPage, list[StreamlitPage]]:
    """Show the menu to a person with this role, None: to no one; return the page to run, and all pages.

    `name_of` names what is open, by the parameter of the address and its number. Leads on instead where the address
    asks for the other page of the section.
    """
    lists: dict[Section, StreamlitPage] = {}
    opened: dict[Section, StreamlitPage] = {}
    menu: dict[str, list[StreamlitPage]] = {}
    for name, members in sections.items():
        menu[name] = []
        for section in members:
            lists[section] = section.list_page(role, default=not lists)
            menu[name].append(lists[section])
            if page := section.open_page(role, name_of):
                opened[section] = page
                menu[name].append(page)
    # Expanded: with one thing open there are more pages than it would show.
    chosen = st.navigation(menu, position="hidden" if role is None else "sidebar", expanded=True)
    for section in lists:
        if section.other_page(chosen):
            place = lists if isinstance(chosen, _OpenPage) else opened
            st.switch_page(place[section], query_params=all_params())
    if role is not None:
        shown_section = next(each for each, page in (*lists.items(), *opened.items()) if page is chosen)
        st.set_page_config(page_title=shown_section.tab_title(chosen))
    if not st.query_params:
        # Tells the browser, which otherwise keeps the parameters of the page that the link led from.
        st.query_params.clear()
    return chosen, list(lists.values())
