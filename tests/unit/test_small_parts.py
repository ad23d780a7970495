"""Settings, secrets, logs, roles, addresses and files: each does the one thing it is for."""

from __future__ import annotations

import csv
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from core import log, settings, vault
from core.access import roles
from core.access.roles import Actor, Role
from core.bridge import Bridge
from core.errors import NotAllowed, SecretKeyLost, SettingsError, StorageFailed
from core.syncs import one_time, runs
from core.vendors import addresses, csv_files
from tests.stage.processes import ROOT


def test_core_never_imports_streamlit_nor_data_core():
    code = (
        "import sys, pkgutil, importlib, data.engine, data.runs, data.members.snapshots, data.models\n"
        "assert not [name for name in sys.modules if name.startswith('core')], 'data imports core'\n"
        "import core\n"
        "for found in pkgutil.walk_packages(core.__path__, 'core.'):\n"
        "    if not found.name.endswith('__main__'): importlib.import_module(found.name)\n"
        "assert 'streamlit' not in sys.modules, 'core imports streamlit'"
    )

    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)

    assert ended.stderr == ""


def test_the_command_line_does_without_pandas_and_pyarrow():
    code = "import sys, core.cli.app; assert not {'pandas', 'pyarrow', 'numpy'} & set(sys.modules)"

    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)

    assert ended.stderr == ""


def test_every_setting_is_explained_in_the_example():
    explained = (ROOT / ".env.example").read_text()

    missing = [name for name in settings.Settings.model_fields if f"COHORT_BRIDGE_{name.upper()}=" not in explained]

    assert missing == []


def test_a_setting_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COHORT_BRIDGE_MESSAGES_IN_FLIGHT", "many")

    with pytest.raises(SettingsError, match="COHORT_BRIDGE_MESSAGES_IN_FLIGHT"):
        settings.read()


def test_a_secret_is_sealed_and_opened_again(tmp_path: Path):
    keys = vault.open_vault(None, tmp_path)

    sealed = keys.encrypt("s3cret")

    assert "s3cret" not in sealed
    assert vault.open_vault(None, tmp_path).decrypt(sealed) == "s3cret"


def test_the_key_is_made_for_its_owner_alone(tmp_path: Path):
    vault.open_vault(None, tmp_path)

    assert stat.S_IMODE((tmp_path / "secret.key").stat().st_mode) == 0o600


def test_a_lost_key_is_said_in_a_sentence(tmp_path: Path):
    sealed = vault.open_vault(None, tmp_path).encrypt("s3cret")
    (tmp_path / "secret.key").unlink()

    with pytest.raises(SecretKeyLost, match="cannot be read") as caught:
        vault.open_vault(None, tmp_path).decrypt(sealed)

    assert "s3cret" not in str(caught.value)


def test_an_older_key_still_opens_what_it_sealed(tmp_path: Path):
    old = vault.Fernet.generate_key().decode()
    new = vault.Fernet.generate_key().decode()
    sealed = vault.open_vault(SecretStr(old), tmp_path).encrypt("s3cret")

    assert vault.open_vault(SecretStr(f"{new},{old}"), tmp_path).decrypt(sealed) == "s3cret"


def test_something_that_is_no_key_is_refused(tmp_path: Path):
    with pytest.raises(SettingsError, match="COHORT_BRIDGE_SECRET_KEY"):
        vault.open_vault(SecretStr("not a key"), tmp_path)


@pytest.mark.parametrize(
    "line",
    [
        "Authorization: s3cret",
        "token=s3cret rest",
        "POST https://user:s3cret@example.com/x",
        "GET https://example.com/x?token=s3cret&a=1",
        "ApptimizeApiToken: s3cret",
    ],
)
def test_logs_hold_no_secrets(line: str):
    assert "s3cret" not in log.redact(line)


def test_who_lacks_the_role_is_refused_before_anything_is_done(bridge: Bridge):
    with pytest.raises(NotAllowed, match="needs the role analyst"):
        one_time.start_export(bridge, Actor("pm@example.com", Role.VIEWER), 1)

    assert runs.list_runs(bridge, roles.LOCAL) == []


def test_each_role_may_do_what_the_roles_below_it_may():
    roles.require(Actor("a", Role.ADMIN), Role.VIEWER)
    with pytest.raises(NotAllowed):
        roles.require(Actor("a", Role.ANALYST), Role.ADMIN)


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("", "whole address"),
        ("example.com/groups", "whole address"),
        ("ftp://example.com", "whole address"),
        ("https://", "whole address"),
        ("http://example.com/groups", "only https"),
        ("https://user:pass@example.com", "user name and password"),
        ("https://127.0.0.1/groups", "private address"),
        ("https://10.0.0.8/groups", "private address"),
        ("https://169.254.169.254/latest", "private address"),
        ("https://[::1]/groups", "private address"),
        ("https://[fe80::1]/groups", "private address"),
        ("https://2130706433/groups", "private address"),
        ("https://example.com:99999/", "not a web address"),
    ],
)
def test_an_endpoint_must_be_a_public_https_address(url: str, sentence: str):
    with pytest.raises(SettingsError, match=sentence):
        addresses.check_endpoint(url, allow_private=False)


def test_private_addresses_are_accepted_where_that_is_allowed():
    assert addresses.check_endpoint(" http://10.0.0.8:9/x ", allow_private=True) == "http://10.0.0.8:9/x"


ids = st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=8)


@given(st.lists(ids, max_size=20))
def test_the_csv_holds_the_ids_byte_for_byte(members: list[str]):
    text = "".join(csv_files.csv_lines(members))

    rows = list(csv.reader(text.split("\n")[:-1]))
    assert rows == [["user_id"], *([one] for one in members)]


def test_ids_that_a_spreadsheet_would_run_are_not_changed():
    assert list(csv_files.csv_lines(["=1+1", "+7", "-7", "@x", "007"]))[1:] == [
        "=1+1\n",
        "+7\n",
        "-7\n",
        "@x\n",
        "007\n",
    ]


def test_a_failure_half_way_leaves_the_previous_file_in_place(tmp_path: Path):
    target = tmp_path / "payers.csv"
    target.write_text("user_id\ni_old\n")

    with pytest.raises(StorageFailed):
        csv_files.write_group_file(iter(["i_1", "i_2"]), target, expected=3)

    assert target.read_text() == "user_id\ni_old\n"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Power users", "Power-users-7.csv"),
        ("../../etc/passwd", "etc-passwd-7.csv"),
        ('"Big <b>spenders</b>" & Käufer 東京', "Big-b-spenders-b-Käufer-東京-7.csv"),
        ("***", "cohort-7.csv"),
        (".hidden", "hidden-7.csv"),
    ],
)
def test_a_csv_is_named_after_the_group_without_what_file_systems_mind(name: str, expected: str):
    assert csv_files.csv_name(name, 7) == expected


def test_a_long_name_still_fits_a_file_system():
    assert len(csv_files.csv_name("東" * 300, 7).encode()) < 255
