"""Settings: each is explained, and one that cannot be used is named, in the environment and in the file alike."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from core import settings
from core.bridge import open_bridge
from core.errors import SettingsError, StorageFailed
from core.settings import Settings
from tests.stage.processes import ROOT

ODD = {
    "HOME": ["~nobody-of-this-name/x", "/dev/null/x", os.fsdecode(b"/tmp/\xe9")],
    "DATABASE_URL": ["cohorts.db", "postgresql://h:port/d", "mysql://h/d", "sqlite://", "sqlite:///", "oracle://h/d"],
    "SECRET_KEY": ["no key", ",", "ключ"],
    "MIXPANEL_URL": [
        "mixpanel.com", "ftp://mixpanel.com", "http://", "http://[::1", "http://h:port", "https://u:p@h",
        "https://h/?x=1", "https://h/#x", "https://a b", "https://h:0",
    ],
    "ALLOW_PRIVATE_HOSTS": ["perhaps", "2"],
    "ADMINS": ["boss", "a@example.com;b@example.com", "a@example.com b@example.com", "@example.com", "a@b@c"],
    "ALLOWED_DOMAINS": ["@example.com", "https://example.com", "a.example b.example", "a.example;b.example"],
    "FIRST_SIGN_IN": ["admin", "Viewer"],
    "SIGN_IN_HOURS": ["0", "-1", "nan", "inf", "1e9", "twelve"],
    "SIGN_IN_IDLE_MINUTES": ["0", "nan", "many"],
    "MESSAGES_IN_FLIGHT": ["0", "17", "2.5", "many"],
    "RUNS_IN_FLIGHT": ["0", "33", "x"],
    "DISPATCH": ["celery", "1", "table"],
    "PAGE_SIZE": ["99", "50001", "all", "-1000", "1e3", "1000.5", "٥٠٠٠", "9" * 30, "vendors"],
    "RETRY_OVER_S": ["0", "601", "nan"],
    "STORAGE_URL": ["gs://bucket/members", "s3://", "s3://key:secret@bucket", "https://bucket.example/members"],
    "CACHE_MB": ["12", "9" * 30, "2 GB"],
    "SNAPSHOT_MEMORY_MB": ["39", "9" * 30, "80 MB"],
    "LOG_LEVEL": ["VERBOSE", "10", "NOTSET", "debug info"],
    "METRICS_ADDRESS": ["8502", "127.0.0.1", "127.0.0.1:70000", "http://127.0.0.1:8502", "[::1:8502", "a b:1"],
    "METRICS_TOKEN": ["short", "with blanks in its middle", "a-token-of-some-lengthä"],
    "METRICS_NAMES": ["perhaps"],
    "DASHBOARD_URL": ["bridge.example.com", "ftp://h", "https://u:p@h", "https://h/?x=1", "https://a b"],
    "PING_URL": ["hc-ping.com/x", "http://hc-ping.com/x", "https://u:p@h/x", "https://h/a b", "https://h:port/"],
}  # fmt: skip
# What is entered there is checked where it is used: by the commands that connect.
SECRETS = {"MIXPANEL_SECRET", "MIXPANEL_PROJECT_TOKEN", "APPTIMIZE_TOKEN", "RECEIVER_URL"}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be in a folder of one's own: that is where the file is looked for."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.delenv("COHORT_BRIDGE_METRICS_ADDRESS")
    return tmp_path / "here"


def test_every_setting_is_explained_in_the_example():
    explained = (ROOT / ".env.example").read_text()

    missing = [name for name in Settings.model_fields if f"COHORT_BRIDGE_{name.upper()}=" not in explained]

    assert missing == []


def test_a_setting_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COHORT_BRIDGE_MESSAGES_IN_FLIGHT", "many")

    with pytest.raises(SettingsError, match="COHORT_BRIDGE_MESSAGES_IN_FLIGHT"):
        settings.read()


def test_no_setting_is_left_out_below():
    assert {name.upper() for name in Settings.model_fields} == set(ODD) | SECRETS


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in ODD.items() for value in values])
def test_an_odd_value_of_any_setting_is_refused_by_its_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str):
    monkeypatch.setenv(f"COHORT_BRIDGE_{name}", value)

    with pytest.raises((SettingsError, StorageFailed)) as caught:
        open_bridge(settings.read())

    assert isinstance(caught.value, SettingsError) or value == "/dev/null/x", "a folder that cannot be made"
    assert (f"COHORT_BRIDGE_{name}" if value != "/dev/null/x" else value) in caught.value.message
    assert caught.value.advice
    assert "Input should" not in caught.value.message, "a sentence for a person, not for a programmer"
    assert name not in ("DATABASE_URL", "SECRET_KEY", "ADMINS") or value not in caught.value.message


@pytest.mark.parametrize("kind", ["postgresql", "postgresql+psycopg", "postgresql+none"])
def test_a_missing_driver_is_said_with_how_it_is_installed(monkeypatch: pytest.MonkeyPatch, kind: str):
    monkeypatch.setenv("COHORT_BRIDGE_DATABASE_URL", f"{kind}://somebody:secret@127.0.0.1:1/none")

    with monkeypatch.context() as machine:
        machine.setitem(sys.modules, "psycopg", None)
        with pytest.raises(SettingsError) as caught:
            open_bridge(settings.read())

    assert caught.value.message == (
        "COHORT_BRIDGE_DATABASE_URL cannot be used: the driver that it needs is not installed."
    )
    assert "pip install -r requirements-postgres.txt" in (caught.value.advice or "")


@pytest.mark.sqlite_file
@pytest.mark.parametrize("name", [name for name in Settings.model_fields if name != "home"])
def test_a_blank_setting_is_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch, name: str):
    usual = settings.read()

    for blank in ("", "  "):
        monkeypatch.setenv(f"COHORT_BRIDGE_{name.upper()}", blank)
        assert settings.read() == usual


def test_blank_in_the_environment_takes_back_what_the_file_says(folder: Path, monkeypatch: pytest.MonkeyPatch):
    (folder / ".env").write_text("COHORT_BRIDGE_ADMINS=boss@example.com\n")
    assert settings.read().admins == "boss@example.com"

    monkeypatch.setenv("COHORT_BRIDGE_ADMINS", "")

    assert settings.read().admins == ""


@pytest.mark.parametrize("level", ["debug", "Warning", " ERROR ", "CRITICAL"])
def test_a_level_may_be_written_in_small_letters(monkeypatch: pytest.MonkeyPatch, level: str):
    monkeypatch.setenv("COHORT_BRIDGE_LOG_LEVEL", level)

    assert settings.read().log_level == level.strip().upper()


@pytest.mark.parametrize(
    ("text", "page_size"),
    [("100", 100), ("50000", 50_000), (" 1000 ", 1000), ("vendor", "vendor"), ("Vendor ", "vendor")],
)
def test_the_size_of_pages_is_a_number_or_left_to_the_vendor(
    monkeypatch: pytest.MonkeyPatch, text: str, page_size: int | str
):
    monkeypatch.setenv("COHORT_BRIDGE_PAGE_SIZE", text)

    assert settings.read().page_size == page_size


@pytest.mark.sqlite_file
@pytest.mark.parametrize("name", ["what?", "50%", "a%20b", "東京", "a#b", "a b;c"])
def test_a_home_of_any_name_holds_its_database(tmp_path: Path, name: str):
    bridge = open_bridge(Settings(home=tmp_path / name, _env_file=None))  # type: ignore[call-arg]

    assert (tmp_path / name / "cohort_bridge.db").is_file()
    bridge.engine.dispose()


# --- the file ------------------------------------------------------------------------------------------------------

LINE = "COHORT_BRIDGE_ADMINS=käthe@example.com\n"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (LINE.encode("utf-16"), "not text in UTF-8"),
        (LINE.encode("utf-16-le"), "not text in UTF-8"),
        ("COHORT_BRIDGE_PAGE_SIZE=100\n".encode("utf-16-le"), "not text in UTF-8"),
        (LINE.encode("latin-1"), "not text in UTF-8"),
        (b"COHORT_BRIDGE_PAGE_SIZE=1\0 0\n", "not text in UTF-8"),
        (b"COHORT_BRIDGE_PAGE_SIZE=100\n" * 50_000, "larger than a megabyte"),
        (b"# fine\nCOHORT_BRIDGE_PAGE_SIZE=100\nCOHORT_BRIDGE_ADMINS 'boss\n", "line 3 is not NAME=VALUE"),
    ],
)
def test_a_file_that_is_not_read_as_it_is_meant_is_refused(folder: Path, content: bytes, why: str):
    (folder / ".env").write_bytes(content)

    with pytest.raises(SettingsError, match=rf"^The file \.env of this folder cannot be used: .*{why}") as caught:
        settings.read()

    assert "boss" not in caught.value.message


def test_what_is_no_file_is_neither_read_nor_waited_for(folder: Path):
    os.mkfifo(folder / ".env")
    with pytest.raises(SettingsError, match=r"\.env .* a pipe"):
        settings.read()

    (folder / ".env").unlink()
    (folder / ".env").mkdir()
    with pytest.raises(SettingsError, match=r"\.env .* a folder"):
        settings.read()

    (folder / ".env" / "pyvenv.cfg").touch()
    assert settings.read().admins == ""


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_a_file_that_may_not_be_read_is_refused(folder: Path):
    (folder / ".env").write_text(LINE, encoding="utf-8")
    (folder / ".env").chmod(0)

    with pytest.raises(SettingsError, match=r"\.env .* cannot be read \(Permission denied\)"):
        settings.read()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_file_in_utf8_is_read_with_its_mark_or_without(folder: Path, encoding: str):
    (folder / ".env").write_text(f"{LINE}\n# a remark\nexport COHORT_BRIDGE_MIXPANEL_SECRET='a b'\n", encoding=encoding)

    read = settings.read()

    assert (read.admins, read.mixpanel_secret) == ("käthe@example.com", SecretStr("a b"))
