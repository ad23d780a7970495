"""Homes of Cohort Bridge to measure in: connected once, copied for each measurement; what their databases say."""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bench.measure import run
from bench.names import PROJECT_ID, RECEIVER, SECRET, TOKEN, USERNAME

_TIME = "%Y-%m-%d %H:%M:%S.%f"


class Home:
    """One home, and what is kept in its database: read, and made due, as its own program keeps it."""

    def __init__(self, path: Path, url: str) -> None:
        self.path = path
        self.environment = {
            "COHORT_BRIDGE_HOME": str(path),
            "COHORT_BRIDGE_MIXPANEL_URL": url,
            "COHORT_BRIDGE_MIXPANEL_SECRET": SECRET,
            "COHORT_BRIDGE_APPTIMIZE_TOKEN": TOKEN,
            "COHORT_BRIDGE_ALLOW_PRIVATE_HOSTS": "1",
        }

    def ask(self, query: str, *values: object) -> list[dict[str, Any]]:
        """Return the rows of a query; what it changes is kept."""
        with closing(sqlite3.connect(self.path / "cohort_bridge.db", timeout=60)) as db:
            db.row_factory = sqlite3.Row
            with db:
                return [dict(row) for row in db.execute(query, values).fetchall()]

    def add_sync(self, cohort_id: int) -> int:
        """Add a recurring sync of a cohort, once a day."""
        command = ["-m", "core", "syncs", "add", str(cohort_id), "--every", "1440", "--json"]
        return json.loads(run(command, self.environment).output)["id"]

    def set_due(self, after: timedelta, sync_ids: Sequence[int] = ()) -> datetime:
        """Have these recurring syncs, or all, due after so long, and return when that is."""
        at = datetime.now(UTC) + after
        which = f" AND id IN ({', '.join(map(str, sync_ids))})" if sync_ids else ""
        self.ask(f"UPDATE sync SET next_run_at = ? WHERE kind = 'recurring'{which}", at.strftime(_TIME))
        return at

    def newest_run(self) -> int:
        """Return the number of the newest run."""
        return self.ask("SELECT coalesce(max(id), 0) AS newest FROM run")[0]["newest"]

    def steps(self, run_id: int) -> dict[str, float]:
        """Return how many seconds each step of a run took, as its log says when each began."""
        row = self.ask("SELECT finished_at, log FROM run JOIN run_log ON run_id = id WHERE id = ?", run_id)[0]
        steps = json.loads(row["log"])["steps"]
        began = [(step["name"], datetime.fromisoformat(step["at"])) for step in steps]
        ended = [*(at for _, at in began[1:]), read_time(row["finished_at"])]
        return {name: (end - at).total_seconds() for (name, at), end in zip(began, ended, strict=True)}


def read_time(text: str) -> datetime:
    """Read a time as the database keeps it."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@dataclass
class Homes:
    """A connected home to copy: each run starts with what a new installation has, and with its whole query budget."""

    folder: Path
    url: str
    _made: int = 0

    @property
    def connected(self) -> Home:
        """The home that was connected, and did nothing yet."""
        return Home(self.folder / "connected", self.url)

    @contextmanager
    def copy(self, home: Home | None = None) -> Generator[Home]:
        """Give a copy of the connected home, or of another, and remove it afterwards."""
        self._made += 1
        copied = self.folder / f"home-{self._made}"
        shutil.copytree((home or self.connected).path, copied)
        try:
            yield Home(copied, self.url)
        finally:
            shutil.rmtree(copied)

    @contextmanager
    def empty(self) -> Generator[dict[str, str]]:
        """Give the environment in which mixpanel-headless finds the server, and nothing from before."""
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            yield {
                "MP_API_BASE_URL": self.url,
                "MP_USERNAME": USERNAME,
                "MP_SECRET": SECRET,
                "MP_PROJECT_ID": str(PROJECT_ID),
                "MP_REGION": "us",
                "MP_CONFIG_PATH": f"{folder}/config.toml",
                "MP_STORAGE_DIR": folder,
                "HOME": folder,
            }


@contextmanager
def homes(url: str) -> Generator[Homes]:
    """Connect a home once, and give what makes copies of it, all gone at the end."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        made = Homes(Path(folder), url)
        project = ["--username", USERNAME, "--project-id", str(PROJECT_ID)]
        for connect in (["mixpanel", *project], ["apptimize", "--endpoint", url + RECEIVER]):
            run(["-m", "core", "connect", *connect], made.connected.environment)
        yield made
