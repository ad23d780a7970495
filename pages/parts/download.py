"""The button that downloads lines as a CSV file, collected only when it is pressed."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from functools import partial

import streamlit as st


def offer_csv(
    lines: Callable[[], Iterable[str]],
    *,
    file_name: str,
    key: str,
    label: str = "Download for a spreadsheet",
    help: str | None = None,  # noqa: A002  (Streamlit's own name)
) -> None:
    """Offer what `lines` yields, each with its end, as a file; the page is not drawn again for it."""
    st.download_button(
        label,
        partial(_collect, lines),
        file_name=file_name,
        mime="text/csv",
        key=key,
        icon=":material/download:",
        help=help,
        on_click="ignore",
    )


def _collect(lines: Callable[[], Iterable[str]]) -> io.BytesIO:
    data = io.BytesIO()
    for line in lines():
        data.write(line.encode())
    data.seek(0)
    return data
