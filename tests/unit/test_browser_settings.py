"""What Streamlit is told: other sites stay out, errors say nothing of the inside, and uploads have a limit."""

from __future__ import annotations

import tomllib

import pytest

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


def test_files_are_taken_for_associating_alone():
    pages = [page for page in (ROOT / "pages").rglob("*.py") if "file_uploader" in page.read_text()]

    assert [page.relative_to(ROOT).as_posix() for page in pages] == ["pages/parts/associate/screen.py"]


def test_what_holds_secrets_is_not_in_the_repository():
    ignored = (ROOT / ".gitignore").read_text().splitlines()

    assert {".env", ".streamlit/secrets.toml", "var/"} <= set(ignored)
