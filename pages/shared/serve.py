"""Start the dashboard: `python -m pages.shared.serve [options of streamlit run]`.

Plain `streamlit run app.py` works too, but treats the first visitor of a fresh process as if the files in `pages/` were
the pages: whoever comes by a deep link is told "Page not found" over a page that was found. Here Streamlit is told
beforehand that `app.py` alone says what the pages are.
"""

from __future__ import annotations

import sys
from pathlib import Path

from streamlit.runtime.pages_manager import PagesManager
from streamlit.web import cli

APP = Path(__file__).parents[2] / "app.py"


def main() -> None:
    """Serve until stopped."""
    PagesManager.uses_pages_directory = False
    cli.main(["run", str(APP), *sys.argv[1:]], prog_name="streamlit")


if __name__ == "__main__":
    main()
