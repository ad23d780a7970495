"""Where somebody was going when they had to sign in: the provider leads back to the first page, this leads on."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from threading import Lock

import streamlit as st
from streamlit.navigation.page import StreamlitPage
from streamlit.web.server.starlette.starlette_app_utils import decode_xsrf_token_string

_KEPT_FOR_S = 15 * 60
# Whoever knocks without ever signing in must not fill the memory.
_MOST = 1000
_LONGEST = 2000

Place = tuple[str, dict[str, str]]


class Ways:
    """The latest places that browsers asked for, each for a while and to be taken once."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._places: dict[str, tuple[float, Place]] = {}

    def remember(self, browser: str, place: Place) -> None:
        """Keep where a browser was going; the oldest gives way when there are too many."""
        with self._lock:
            self._places.pop(browser, None)
            while len(self._places) >= _MOST:
                del self._places[next(iter(self._places))]
            self._places[browser] = (time.monotonic(), place)

    def take(self, browser: str) -> Place | None:
        """Return where a browser was going, and forget it."""
        with self._lock:
            at_s, place = self._places.pop(browser, (0.0, None))
        return place if place and time.monotonic() - at_s < _KEPT_FOR_S else None


@st.cache_resource(show_spinner=False)
def _ways() -> Ways:
    return Ways()


def remember(page: StreamlitPage) -> None:
    """Note which page somebody who has to sign in asked for, and with what in its address."""
    browser, asked = _browser(), st.query_params.to_dict()
    is_somewhere = bool(page.url_path or asked)
    if browser and is_somewhere and sum(map(len, [*asked, *asked.values()])) < _LONGEST:
        _ways().remember(browser, (page.url_path, asked))


def follow(page: StreamlitPage, pages: Sequence[StreamlitPage]) -> None:
    """Lead somebody who just signed in on to the page that they had asked for."""
    browser = _browser()
    if not browser or page.url_path or st.query_params:
        return
    place = _ways().take(browser)
    wanted = place and next((one for one in pages if one.url_path == place[0]), None)
    if place and wanted:
        st.switch_page(wanted, query_params=place[1])


def _browser() -> str | None:
    """Tell browsers apart by the secret in the cookie that Streamlit keeps other sites out with."""
    token, _ = decode_xsrf_token_string(st.context.cookies.get("_streamlit_xsrf", ""))
    return hashlib.sha256(token).hexdigest() if token else None
