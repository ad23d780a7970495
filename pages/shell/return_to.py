"""The page that was asked for before signing in: the provider leads back to the first page, this leads on."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from threading import Lock

import streamlit as st
from streamlit.navigation.page import StreamlitPage
from streamlit.web.server.starlette.starlette_app_utils import decode_xsrf_token_string

from pages.parts.selection import all_params

_KEPT_FOR_S = 15 * 60
# Visits that never lead to a sign-in must not fill the memory.
_MOST = 1000
_LONGEST = 2000

Target = tuple[str, Mapping[str, str | list[str]]]
"""The address of a page, and the parameters of its address."""


class ReturnTargets:
    """The latest pages that browsers asked for, each kept for a while and taken once."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._targets: dict[str, tuple[float, Target]] = {}

    def remember(self, browser: str, target: Target) -> None:
        """Keep the page that a browser asked for; the oldest gives way when there are too many."""
        with self._lock:
            self._targets.pop(browser, None)
            while len(self._targets) >= _MOST:
                del self._targets[next(iter(self._targets))]
            self._targets[browser] = (time.monotonic(), target)

    def take(self, browser: str) -> Target | None:
        """Return the page that a browser asked for, and forget it."""
        with self._lock:
            at_s, target = self._targets.pop(browser, (0.0, None))
        return target if target and time.monotonic() - at_s < _KEPT_FOR_S else None


@st.cache_resource(show_spinner=False)
def _targets() -> ReturnTargets:
    return ReturnTargets()


def remember(page: StreamlitPage) -> None:
    """Keep which page was asked for by a browser that has to sign in first, parameters included."""
    browser, asked = _browser(), all_params()
    is_elsewhere = bool(page.url_path or asked)
    if browser and is_elsewhere and sum(len(name) + sum(map(len, values)) for name, values in asked.items()) < _LONGEST:
        _targets().remember(browser, (page.url_path, asked))


def follow(page: StreamlitPage, pages: Sequence[StreamlitPage]) -> None:
    """Go to the page that was asked for before signing in."""
    browser = _browser()
    if not browser or page.url_path or st.query_params:
        return
    target = _targets().take(browser)
    asked = target and next((each for each in pages if each.url_path == target[0]), None)
    if target and asked:
        st.switch_page(asked, query_params=target[1])


def _browser() -> str | None:
    """Distinguish browsers by the secret in the cookie that Streamlit keeps other sites out with."""
    token, _ = decode_xsrf_token_string(st.context.cookies.get("_streamlit_xsrf", ""))
    return hashlib.sha256(token).hexdigest() if token else None
