"""The cursor in the first field of a dialog that was just opened, for which Streamlit itself has no word."""

from __future__ import annotations

import streamlit as st

# Fields load their code when they are first needed. Who is elsewhere in the dialog by then stays there.
SCRIPT = """
(() => {
  const until = performance.now() + 5000;
  const look = () => {
    const dialog = document.querySelector('[role="dialog"]'), here = document.activeElement;
    const field = dialog?.querySelector("input");
    if (!field) {
      if (performance.now() < until) requestAnimationFrame(look);
    } else if (here === dialog || !dialog.contains(here)) {
      field.focus();
    }
  };
  look();
})();
"""


def put_cursor_there() -> None:
    """Put the cursor into the first field of the dialog that this is called in, once the browser has drawn it."""
    # Run by browsers because `protection` names it by its hash: no other script within a page is.
    st.html(f"<script>{SCRIPT}</script>", unsafe_allow_javascript=True)
