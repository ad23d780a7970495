"""Machines in this process: a home each, over one database and one bucket, on whose way things go wrong."""

from __future__ import annotations

import shutil
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from core.bridge import Bridge
from data import installation, run_retention
from data.engine import write_session
from data.installation import NAME
from data.storage.address import S3Address
from data.storage.s3 import Patience, S3Storage
from tests.stage.clock import FakeClock
from tests.stage.home import Home, group_row
from tests.stage.object_storage import BRIEF, Faults, environ, faults, make_bucket, storage_at, use_keys

PREFIX = "members"
# What lies in a storage beside the files.
NOTES = {NAME, "audit.head", "deliveries.mark"}


@dataclass
class Machines:
    """A database and a key that were made in one home; each machine has these, and nothing else of another's."""

    first: Home
    bucket: str
    way: Faults
    clock: FakeClock
    monkeypatch: pytest.MonkeyPatch
    database_url: str = ""
    homes: dict[str, Home] = field(default_factory=dict[str, Home])

    def home(self, name: str) -> Home:
        """Return a machine's home, made when it is first asked for."""
        if name not in self.homes:
            path = self.first.path.parent / name / "home"
            path.mkdir(parents=True)
            shutil.copy(self.first.path / "secret.key", path)
            env = {"COHORT_BRIDGE_DATABASE_URL": self.database_url, "COHORT_BRIDGE_STORAGE_URL": self.storage_url}
            self.homes[name] = Home(path, env=env | environ(self.way.port))
        return self.homes[name]

    @property
    def storage_url(self) -> str:
        """Where all of them keep members."""
        return f"s3://{self.bucket}/{PREFIX}"

    @contextmanager
    def machine(
        self, name: str, *, patience: Patience = BRIEF, background: Patience = BRIEF, **settings: Any
    ) -> Generator[Bridge]:
        """Open a machine, whose trying again takes no longer than a test may."""

        def open_briefly(*_: object, **__: object) -> S3Storage:
            address = S3Address(self.bucket, PREFIX, f"http://127.0.0.1:{self.way.port}", plain_http=True)
            return S3Storage(address, patience=patience, background=background)

        home = self.home(name)
        self.monkeypatch.setattr("core.bridge.open_storage", open_briefly)
        values = {"database_url": self.database_url, "storage_url": self.storage_url, **settings}
        with home.bridge(clock=self.clock.clock, **values) as bridge:
            yield bridge

    def objects(self) -> set[str]:
        """Return the names of all members' files and associations that lie in the bucket."""
        return {each.name for each in storage_at(self.bucket, prefix=PREFIX).list()} - NOTES


def unbind(home: Home) -> None:
    """Let a home that was opened be bound to whichever storage it is opened with next."""
    with home.bridge() as bridge, write_session(bridge.engine) as session:
        installation.unbind(session)


@contextmanager
def machines_of(home: Home, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Generator[Machines]:
    """Let the home that was connected be one that only others' database and key come from."""
    use_keys(monkeypatch)
    with faults() as way:
        machines = Machines(home, make_bucket(), way, clock, monkeypatch)
        unbind(home)
        with home.bridge(storage_url=machines.storage_url) as bridge:  # the storage is the database's from now on
            machines.database_url = bridge.engine.url.render_as_string(hide_password=False)
        yield machines


def named(bridge: Bridge) -> set[str]:
    """Return the names of the files that rows name."""
    return {f"{name}.parquet" for name in run_retention.named_files(bridge.engine)}


def copies(bridge: Bridge) -> set[str]:
    """Return the names of the files that were copied here."""
    return {path.name for path in bridge.snapshots.folder.rglob("*.parquet")}


def members_of(bridge: Bridge, cohort: int) -> set[str]:
    """Return the members that are kept of a cohort's group."""
    group = group_row(bridge, cohort)
    return {each.apptimize_id for chunk in bridge.snapshots.iterate(group.base_snapshot or "") for each in chunk}
