"""What Streamlit is told: other sites stay out, errors say nothing of the inside, and uploads have a limit."""

from __future__ import annotations

import tomllib

import pytest
from streamlit import config

from core.errors import SettingsError
from pages.shell import run_dashboard
from pages.shell.sign_in_setup import came_through_proxy
from tests.stage.processes import ROOT


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [
        ("server", "address", "127.0.0.1"),
        ("server", "allowedHosts", ["127.0.0.1", "localhost", "::1"]),
        ("server", "enableCORS", True),
        ("server", "enableXsrfProtection", True),
        ("server", "maxUploadSize", 128),
        ("server", "maxMessageSize", 10),
        ("server", "maxWidgetStateSize", 1),
        ("server", "enableAgentApi", False),
        ("client", "showErrorDetails", "none"),
        ("client", "showErrorLinks", False),
        ("client", "toolbarMode", "minimal"),
        ("browser", "gatherUsageStats", False),
        ("secrets", "files", [".streamlit/secrets.toml"]),
    ],
)
def test_a_setting_that_protects_is_as_it_must_be(section: str, name: str, value: object):
    assert tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())[section][name] == value


def test_no_page_renders_html():
    for page in (ROOT / "pages").rglob("*.py"):
        text = page.read_text()
        for forbidden in ("unsafe_allow_html=True", "st.html(", "st.iframe(", "components.v1"):
            assert forbidden not in text, page


def test_what_is_said_for_a_moment_is_said_where_the_whole_page_is_drawn():
    """What a press in a dialog shows by itself takes the dialog's place, and the browser then shows a white page."""
    pages = {
        page.relative_to(ROOT / "pages").as_posix()
        for page in (ROOT / "pages").rglob("*.py")
        if "st.toast(" in page.read_text()
    }

    assert pages == {
        "shell/page_frame.py",
        # Presses on the page itself, which show that another side is being waited for.
        "admin/alerts.py", "admin/connections.py", "admin/receiver_section.py", "export/cohorts.py",
    }  # fmt: skip


def test_files_are_taken_for_associating_alone():
    pages = [page for page in (ROOT / "pages").rglob("*.py") if "file_uploader" in page.read_text()]

    assert [page.relative_to(ROOT).as_posix() for page in pages] == ["pages/parts/associate/screen.py"]


def test_what_holds_secrets_is_not_in_the_repository():
    ignored = (ROOT / ".gitignore").read_text().splitlines()

    assert {".env", ".streamlit/secrets.toml", "var/"} <= set(ignored)


@pytest.mark.parametrize(
    ("name", "value", "variable"),
    [
        ("server.enableCORS", False, "STREAMLIT_SERVER_ENABLE_CORS"),
        ("server.enableXsrfProtection", False, "STREAMLIT_SERVER_ENABLE_XSRF_PROTECTION"),
        ("server.trustedUserHeaders", '{"X-User": "email"}', "STREAMLIT_SERVER_TRUSTED_USER_HEADERS"),
        ("global.developmentMode", True, "STREAMLIT_GLOBAL_DEVELOPMENT_MODE"),
        ("server.baseUrlPath", "a%2fb", "STREAMLIT_SERVER_BASE_URL_PATH"),
        ("server.baseUrlPath", "{path}", "STREAMLIT_SERVER_BASE_URL_PATH"),
        ("server.baseUrlPath", "tools/../bridge", "STREAMLIT_SERVER_BASE_URL_PATH"),
        ("server.baseUrlPath", "tools?bridge#", "STREAMLIT_SERVER_BASE_URL_PATH"),
    ],
)
def test_a_setting_that_opens_the_dashboard_or_closes_it_ends_the_start(name: str, value: object, variable: str):
    before = config.get_option(name)
    config.set_option(name, value)
    try:
        with pytest.raises(SettingsError, match=f"^{name} cannot be used: ") as caught:
            run_dashboard.check_protection()
    finally:
        config.set_option(name, before)
    assert variable in caught.value.advice
    run_dashboard.check_protection()


@pytest.mark.parametrize("path", ["", "/", "tools/bridge", "/tools/bridge/", "//tools/", "a b", "ü", "A.b~c", "..."])
def test_any_other_path_is_one_to_be_served_below(path: str):
    config.set_option("server.baseUrlPath", path)
    try:
        run_dashboard.check_protection()
    finally:
        config.set_option("server.baseUrlPath", "")


@pytest.mark.parametrize(
    "header", ["X-Forwarded-For", "X-Forwarded-Proto", "x-forwarded-server", "CF-Connecting-IP", "True-Client-IP",
               "X-Envoy-External-Address", "X-Original-Host", "Via", "Tailscale-User-Login"],
)  # fmt: skip
def test_what_a_proxy_adds_gives_it_away(header: str):
    assert came_through_proxy(["Host", header])
    assert not came_through_proxy(["Host", "Origin", "User-Agent", "Sec-Fetch-Mode", "Accept-Language", "Cookie"])
