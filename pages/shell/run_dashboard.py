"""Start the dashboard: `python app.py [options of streamlit run]`, or `streamlit run app.py`.

In both ways Streamlit's server imports `app.py`, which asks here for what it serves. The first way also says what is
wrong before a port is taken. It is not started where it would only refuse everyone: open to other machines while there
is no sign-in.
"""

from __future__ import annotations

import os
import re
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import streamlit as st
from starlette.types import ASGIApp
from streamlit import config, file_util
from streamlit.runtime.pages_manager import PagesManager
from streamlit.web import bootstrap, cli

from core import log, settings
from core.encoding import prepare_streams, start_in_utf8
from core.errors import SettingsError
from core.vendors import proxies
from pages.shell import sign_in_setup
from pages.shell.index_page import IndexPage
from pages.shell.protection import Protection
from pages.shell.static_files import StaticFiles

APP = Path(__file__).parents[2] / "app.py"
# What lets other sites, or anyone who says to be somebody, in where it is not so.
_MUST_BE = {
    "server.enableCORS": True,
    "server.enableXsrfProtection": True,
    "server.trustedUserHeaders": {},
    "global.developmentMode": False,
}
# Such a path leads elsewhere in an address, or stands for any path.
_NO_PATH = re.compile(r"[\\%?#{}:\x00-\x1f\x7f]|(^|/)\.{1,2}(/|$)|./+/.")


def main() -> None:
    """Serve until stopped, then exit: with 2 and a sentence when sign-in is not set up as it must be."""
    start_in_utf8()
    prepare_streams()
    try:
        log.configure(settings.read().log_level)
        check_options(sys.argv[1:])
    except SettingsError as exc:
        _exit(exc)
    cli.main(["run", str(APP), *sys.argv[1:]], prog_name="streamlit")


def protect(app: ASGIApp) -> Protection:
    """Return what is served instead of Streamlit's bare app. Exits as `main` does."""
    try:
        log.configure(settings.read().log_level)
        check_protection()
        _require_sign_in_or_loopback()
        proxies.prepare_for_libraries(os.environ)  # the provider of sign-in is asked by one
        folder, base = Path(file_util.get_static_dir()), st.get_option("server.baseUrlPath") or ""
        page = IndexPage(app, folder, base)
        protected = Protection(StaticFiles(page, folder / "static", base), page.text)
    except SettingsError as exc:
        _exit(exc)
    # Else the first visitor of a process is shown the files in `pages/` as if they were the pages.
    PagesManager.uses_pages_directory = False
    return protected


def check_options(given: Sequence[str]) -> None:
    """Refuse options that open the dashboard to others while sign-in is not set up. Raises SettingsError."""
    known = ArgumentParser(allow_abbrev=False, add_help=False)
    known.add_argument("--server.address", dest="server_address", default=os.environ.get("STREAMLIT_SERVER_ADDRESS"))
    known.add_argument("--server.baseUrlPath", dest="server_baseUrlPath")
    known.add_argument("--secrets.files", dest="secrets_files", action="append")
    chosen = {name: value for name, value in vars(known.parse_known_args(given)[0]).items() if value is not None}
    config._main_script_path = str(APP)  # noqa: SLF001  (settings beside app.py count, as they do for `streamlit run`)
    bootstrap.load_config_options(chosen)
    try:
        check_protection()
        _require_sign_in_or_loopback()
    finally:
        # Streamlit reads them again, with all options, and would say that they had changed.
        config._config_options = None


def check_protection() -> None:
    """Refuse settings of Streamlit that open what is closed here, or serve nothing. Raises SettingsError."""
    for name, value in _MUST_BE.items():
        if (st.get_option(name) or type(value)()) != value:
            raise _setting(name, "it opens the dashboard to others")
    if _NO_PATH.search(st.get_option("server.baseUrlPath") or ""):
        raise _setting("server.baseUrlPath", "this is no path such as tools/bridge")


def _setting(name: str, why: str) -> SettingsError:
    variable = "STREAMLIT_" + re.sub(r"(?<=[a-z])(?=[A-Z])|\.", "_", name).upper()
    return SettingsError(
        f"{name} cannot be used: {why}.",
        advice=f"Unset {variable} in the environment, or remove --{name} from the command.",
        code="bad_setting",
    )


def _require_sign_in_or_loopback() -> None:
    if not sign_in_setup.is_set_up():
        sign_in_setup.require_loopback(st.get_option("server.address"))


def _exit(exc: SettingsError) -> NoReturn:
    print(f"{exc.message} {exc.advice}", file=sys.stderr)
    sys.exit(2)
