"""Start the dashboard: `python app.py [options of streamlit run]`.

Plain `streamlit run app.py` works too, but treats the first visitor of a fresh process as if the files in `pages/` were
the pages: a deep link then shows "Page not found" over a page that exists. Here Streamlit is told beforehand that
`app.py` alone says what the pages are. It is also not started where it would only refuse everyone: open to other
machines while there is no sign-in.
"""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

import streamlit as st
from streamlit import config
from streamlit.runtime.pages_manager import PagesManager
from streamlit.web import bootstrap, cli

from core import log, settings
from core.errors import SettingsError
from core.vendors import proxies
from pages.shell import sign_in_setup

APP = Path(__file__).parents[2] / "app.py"


def main() -> None:
    """Serve until stopped, then exit: with 2 and a sentence when sign-in is not set up as it must be."""
    try:
        log.configure(settings.read().log_level)
        options = checked_options(sys.argv[1:])
    except SettingsError as exc:
        print(f"{exc.message} {exc.advice}", file=sys.stderr)
        sys.exit(2)
    PagesManager.uses_pages_directory = False
    cli.main(["run", str(APP), *options], prog_name="streamlit")


def checked_options(given: Sequence[str]) -> list[str]:
    """Return the options, with the name that people reach the dashboard under. Raises SettingsError."""
    known = ArgumentParser(allow_abbrev=False, add_help=False)
    known.add_argument("--server.address", dest="server_address", default=os.environ.get("STREAMLIT_SERVER_ADDRESS"))
    known.add_argument("--secrets.files", dest="secrets_files", action="append")
    chosen = {name: value for name, value in vars(known.parse_known_args(given)[0]).items() if value is not None}
    config._main_script_path = str(APP)  # noqa: SLF001  (settings beside app.py count, as they do for `streamlit run`)
    bootstrap.load_config_options(chosen)
    try:
        if not sign_in_setup.is_set_up():
            sign_in_setup.require_loopback(st.get_option("server.address"))
            return list(given)
        proxies.prepare_for_libraries(os.environ)  # the provider is asked by one
        hosts = [*st.get_option("server.allowedHosts"), sign_in_setup.redirect_host()]
        return [*given, *(f"--server.allowedHosts={host}" for host in hosts if host)]
    finally:
        # Streamlit reads them again, with all options, and would say that they had changed.
        config._config_options = None
