"""The secret key: rotated without losing anything, kept from others, and a clear sentence when it is lost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from pydantic import SecretStr
from sqlmodel import col, update

from core.access.roles import LOCAL
from core.bridge import Bridge, open_bridge
from core.connections import key_rotation, lookup, secrets
from core.errors import SecretKeyLost, SettingsError, StorageFailed
from core.settings import Settings
from data import connections
from data.connections import NewConnection
from data.engine import read_session, write_session
from data.models import DESTINATION_SIDE, Connection, ConnectionKind
from tests.stage.processes import ROOT


def put(bridge: Bridge, name: str, secret: str) -> None:
    with write_session(bridge.engine) as session:
        session.add(
            Connection(
                created_at=bridge.clock.now(),
                side="destination",
                kind=ConnectionKind.ENDPOINT,
                name=name,
                secret=bridge.vault.encrypt(secret),
            )
        )


def store(bridge: Bridge, name: str, values: dict[str, object]) -> None:
    """Store a destination whose secret was sealed before."""
    new = NewConnection(DESTINATION_SIDE, ConnectionKind.ENDPOINT, name, LOCAL.name, values, "replace")
    connections.store(bridge.engine, new, seals=bridge.vault, now=bridge.clock.now())


def opened(bridge: Bridge, name: str) -> str:
    by_name = {connection.name: connection for connection in lookup.list_connections(bridge, LOCAL)}
    return bridge.vault.decrypt(by_name[name].secret)


def key_file(bridge: Bridge) -> Path:
    return bridge.settings.home / "secret.key"


def test_after_a_rotation_the_new_key_opens_everything_and_the_old_one_nothing(bridge: Bridge):
    put(bridge, "one", "first")
    put(bridge, "two", "second")
    old = key_file(bridge).read_text().strip()

    assert key_rotation.rotate_key(bridge, LOCAL) == 2

    assert (opened(bridge, "one"), opened(bridge, "two")) == ("first", "second")
    assert key_file(bridge).read_text().strip() != old
    assert key_file(bridge).stat().st_mode & 0o777 == 0o600
    with read_session(bridge.engine) as session:
        sealed = session.get_one(Connection, 1).secret
    with pytest.raises(InvalidToken):
        Fernet(old).decrypt(sealed or "")


def test_a_process_that_was_there_before_the_rotation_continues(bridge: Bridge):
    put(bridge, "one", "first")
    other = open_bridge(bridge.settings)
    assert opened(other, "one") == "first"

    key_rotation.rotate_key(bridge, LOCAL)

    assert opened(other, "one") == "first"
    put(other, "later", "third")
    assert opened(bridge, "later") == "third"
    other.engine.dispose()


def test_what_was_sealed_before_a_rotation_and_stored_after_it_is_sealed_again(bridge: Bridge):
    sealed = bridge.vault.encrypt("s3cret")

    key_rotation.rotate_key(bridge, LOCAL)
    values = {"url": "https://example.com", "folder": "", "secret": sealed, "secret_end": "cret", "practice": False}
    store(bridge, "late", values)

    fresh = open_bridge(bridge.settings)
    assert opened(fresh, "late") == "s3cret"
    fresh.engine.dispose()


def test_a_project_token_that_was_sealed_before_a_rotation_and_stored_after_it_is_sealed_again(bridge: Bridge):
    with write_session(bridge.engine) as session:
        session.add(
            Connection(
                created_at=bridge.clock.now(),
                side="mixpanel",
                kind=ConnectionKind.MIXPANEL,
                name="m",
                secret=bridge.vault.encrypt("s"),
            )
        )
    sealed = bridge.vault.encrypt("t0ken")

    key_rotation.rotate_key(bridge, LOCAL)
    connections.change_mixpanel(
        bridge.engine, 1, {"project_token": sealed}, seen={}, seal_again=bridge.vault.seal_again
    )

    fresh = open_bridge(bridge.settings)
    with read_session(fresh.engine) as session:
        assert fresh.vault.decrypt(session.get_one(Connection, 1).project_token) == "t0ken"
    assert key_rotation.rotate_key(fresh, LOCAL) == 2
    fresh.engine.dispose()


def test_rotations_wait_for_each_other(bridge: Bridge):
    put(bridge, "one", "first")
    settings = {"home": str(bridge.settings.home), "database_url": bridge.settings.database_url}
    code = (
        "from core.connections import key_rotation; from core.access.roles import LOCAL\n"
        "from core.bridge import open_bridge\n"
        "from core.settings import Settings\n"
        f"bridge = open_bridge(Settings(**{settings!r}, _env_file=None))\n"
        "for _ in range(8): key_rotation.rotate_key(bridge, LOCAL)"
    )
    both = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.PIPE) for _ in range(2)]

    assert [(process.communicate()[1], process.returncode) for process in both] == [(b"", 0)] * 2
    fresh = open_bridge(bridge.settings)
    assert opened(fresh, "one") == "first"
    assert "," not in key_file(bridge).read_text()
    fresh.engine.dispose()


def test_nothing_of_a_short_secret_is_shown():
    assert secrets.shown_end("zz") == ""
    assert secrets.shown_end("0123456789ab") == "89ab"


def test_a_key_is_written_in_place_of_a_file_and_of_nothing_else(bridge: Bridge, tmp_path: Path):
    put(bridge, "one", "first")
    elsewhere = tmp_path / "elsewhere"
    key_file(bridge).rename(elsewhere)
    key_file(bridge).symlink_to(elsewhere)
    kept = elsewhere.read_text()

    with pytest.raises(StorageFailed, match="secret.key is a link, and no file"):
        key_rotation.rotate_key(bridge, LOCAL)

    assert (elsewhere.read_text(), opened(open_bridge(bridge.settings), "one")) == (kept, "first")


def test_a_key_file_that_is_none_is_not_waited_for(bridge: Bridge):
    key_file(bridge).unlink()
    os.mkfifo(key_file(bridge), 0o600)
    with pytest.raises(StorageFailed, match="secret key could not be read or made"):
        open_bridge(bridge.settings)

    key_file(bridge).unlink()
    key_file(bridge).write_bytes(b"\xff\xfe no key")
    key_file(bridge).chmod(0o600)
    with pytest.raises(SettingsError, match="does not hold Fernet keys"):
        open_bridge(bridge.settings)


def test_a_rotation_that_was_cut_off_leaves_everything_readable(bridge: Bridge, monkeypatch: pytest.MonkeyPatch):
    put(bridge, "one", "first")
    monkeypatch.setattr(MultiFernet, "rotate", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        key_rotation.rotate_key(bridge, LOCAL)
    monkeypatch.undo()

    assert opened(open_bridge(bridge.settings), "one") == "first"
    assert key_rotation.rotate_key(bridge, LOCAL) == 1
    assert "," not in key_file(bridge).read_text()


def test_keys_of_the_environment_are_rotated_by_the_operator(tmp_path: Path):
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()

    def with_keys(text: str) -> Bridge:
        return open_bridge(Settings(home=tmp_path / "home", secret_key=SecretStr(text), _env_file=None))

    put(with_keys(old), "one", "first")
    with pytest.raises(SettingsError, match="holds one key"):
        key_rotation.rotate_key(with_keys(old), LOCAL)

    assert key_rotation.rotate_key(with_keys(f"{new},{old}"), LOCAL) == 1
    assert opened(with_keys(new), "one") == "first"
    assert not (tmp_path / "home" / "secret.key").exists()


def test_a_secret_that_cannot_be_read_stops_the_rotation_before_anything_changes(bridge: Bridge):
    put(bridge, "one", "first")
    with write_session(bridge.engine) as session:
        foreign = Fernet(Fernet.generate_key()).encrypt(b"x").decode()
        session.exec(update(Connection).where(col(Connection.name) == "one").values(project_token=foreign))
    before = key_file(bridge).read_text()

    with pytest.raises(SecretKeyLost, match="connection one cannot be read"):
        key_rotation.rotate_key(bridge, LOCAL)

    assert key_file(bridge).read_text() == before


@pytest.mark.sqlite_file  # on a server it refuses to start: tests/emulator/test_belonging.py
def test_a_lost_key_is_a_sentence_and_connections_can_be_entered_again(bridge: Bridge):
    put(bridge, "default", "first")
    key_file(bridge).unlink()
    fresh = open_bridge(bridge.settings)
    with pytest.raises(SecretKeyLost, match="cannot be read with the available secret keys"):
        opened(fresh, "default")

    values = {"url": "https://example.com", "folder": "", "secret": fresh.vault.encrypt("again"), "secret_end": "gain"}
    store(fresh, "default", values | {"practice": False})

    assert opened(fresh, "default") == "again"
    fresh.engine.dispose()


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_a_key_that_others_may_read_is_refused(bridge: Bridge, mode: int):
    key_file(bridge).chmod(mode)

    with pytest.raises(SettingsError, match="can be read by others") as caught:
        open_bridge(bridge.settings)

    assert f"chmod 600 {key_file(bridge)}" in caught.value.advice
