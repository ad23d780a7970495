"""The server that `make test-postgres` starts: what it is made of, and what is said where there is nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.postgres import __main__ as postgres
from tests.postgres import cluster, short
from tests.stage.processes import ROOT


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without PostgreSQL, on which it may be put where Debian puts it."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(cluster, "INSTALLED", str(tmp_path / "postgresql" / "*" / "bin"))
    return tmp_path


def install(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).touch(0o755)
    return folder


def test_without_postgresql_one_sentence_says_what_to_install(machine: Path, capsys: pytest.CaptureFixture[str]):
    install(machine / "postgresql" / "15" / "bin", "psql")  # the client alone is no server

    assert postgres.main([]) == 1

    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert "install" in said.err


def test_the_newest_that_debian_has_is_taken_unless_one_is_on_the_path(machine: Path):
    for version in ("9.6", "15", "17"):
        newest = install(machine / "postgresql" / version / "bin", "initdb", "postgres")
    assert cluster.find_programs() == newest

    own = install(machine / "bin", "initdb", "postgres")
    assert cluster.find_programs() == own


def test_the_short_form_names_tests_that_are_there():
    for test in short.list_tests():
        path, _, name = test.partition("::")
        assert (ROOT / path).exists(), path
        assert not name or f"def {name}(" in (ROOT / path).read_text(encoding="utf-8"), test


def test_the_driver_is_pinned_and_not_part_of_what_every_installation_needs():
    needed = [(ROOT / f"requirements{of}.txt").read_text().split() for of in ("", "-postgres")]

    assert [any(line.startswith("psycopg[binary]==") for line in lines) for lines in needed] == [False, True]
