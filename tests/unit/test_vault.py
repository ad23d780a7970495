"""The vault seals secrets, and opens them with the key they were sealed with."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr

from core import vault
from core.errors import SecretKeyLost, SettingsError


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
    old = Fernet.generate_key().decode()
    new = Fernet.generate_key().decode()
    sealed = vault.open_vault(SecretStr(old), tmp_path).encrypt("s3cret")

    assert vault.open_vault(SecretStr(f"{new},{old}"), tmp_path).decrypt(sealed) == "s3cret"


def test_something_that_is_no_key_is_refused(tmp_path: Path):
    with pytest.raises(SettingsError, match="COHORT_BRIDGE_SECRET_KEY"):
        vault.open_vault(SecretStr("not a key"), tmp_path)
