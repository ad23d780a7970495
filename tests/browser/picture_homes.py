"""What the pictures show: exports that fail, a day of recurring syncs, associations, files that are gone."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.browser.stage import Everything
from tests.stage.sandbox import EVERYONE, IMPORTED, NEWSLETTER, POWER, SPENDERS, TRIAL

TIMES = {
    "run": ("queued_at", "started_at", "finished_at"),  # the last as the last: it tells which have ended
    "sync": ("created_at",),
    "sync_pause": ("began_at",),
    "group_at_destination": ("delivered_at", "verified_at", "full_at"),
}


def fill(everything: Everything) -> None:
    """Export this and that, and let three exports fail, each in its own way."""
    for cohort in (POWER, EVERYONE, SPENDERS):
        everything.core("export", str(cohort))
    everything.core("export", str(POWER), "--dry-run")
    for fault, cohort, target in (("unauthorized", NEWSLETTER, "apptimize"), ("total_wrong", IMPORTED, "mixpanel")):
        everything.fault(fault, target=target)
        everything.core("export", str(cohort))
        everything.clear_faults()
    everything.shift(3600)  # or there would be nothing to send
    everything.fault("server_error", target="apptimize")
    everything.core("export", str(SPENDERS))
    everything.clear_faults()


def plenty(everything: Everything) -> None:
    """Let recurring syncs live through a day in which people join and leave, one is held and one is paused."""
    everything.core("connect", "csv", "--folder", str(everything.home / "groups"), "--name", "archive")
    for cohort, every, max_shrink in ((TRIAL, "15", "0"), (SPENDERS, "60", "30"), (POWER, "30", "50")):
        everything.core(
            "syncs", "add", str(cohort), "--every", every, "--max-shrink", max_shrink, "--to", "default",
        )  # fmt: skip
    everything.core("syncs", "pause", str(everything.recurring_sync_id(POWER)))
    for hour, passed in ((2, 1), (5, 3), (9, 4), (14, 5), (20, 6), (24, 4)):
        everything.shift(hour * 3600)
        if hour == 24:
            for cohort, every in ((TRIAL, 15), (SPENDERS, 60)):
                run_by_schedule(everything, everything.recurring_sync_id(cohort), every, still_pass=passed + 2)
        lie_further_back(everything, passed)
        for cohort in (TRIAL, SPENDERS):
            everything.core("export", str(cohort), "--to", "default")
    everything.shift(26 * 3600)
    lie_further_back(everything, 2)
    everything.preview(POWER)


def run_by_schedule(everything: Everything, sync_id: int, every: int, *, still_pass: int) -> None:
    """Let a sync have run at nearly all of its times of the last day, and found nothing changed.

    So many hours pass before the pictures are made, which the runs will lie further back by then.
    """
    by_schedule: dict[str, str] = {
        "write": "'none'", "trigger": "'schedule'", "actor": "'schedule'", "added": "0", "removed": "0",
        "unchanged": "members", "snapshot": "NULL", "difference": "NULL", "excluded": "NULL",
    }  # fmt: skip
    with changing(everything) as database:
        names: list[str] = [name for _, name, *_ in database.execute("PRAGMA table_info(run)") if name != "id"]
        for ago in range(1440, 60, -every):
            if ago % 420 < every:
                continue  # these times were missed
            at = f"strftime('%Y-%m-%d %H:%M:%f', 'now', '{still_pass * 60 - ago:+d} minutes') || '000'"
            values = by_schedule | dict.fromkeys(TIMES["run"], at)
            database.execute(
                f"INSERT INTO run ({', '.join(names)}) SELECT {', '.join(values.get(name, name) for name in names)} "
                "FROM run WHERE id = (SELECT max(id) FROM run WHERE sync_id = ? AND status = 'succeeded')",
                [sync_id],
            )


def lie_further_back(everything: Everything, hours: int) -> None:
    """Let what was done lie some hours further back: unlike the sandbox's clock, this machine's cannot be set."""

    def earlier(match: re.Match[str]) -> str:
        return f'"at": "{(datetime.fromisoformat(match[1]) - timedelta(hours=hours)).isoformat()}"'

    with changing(everything) as database:
        for table, columns in TIMES.items():
            for column in columns:
                at = f"strftime('%Y-%m-%d %H:%M:%f', {column}, '-{hours} hours') || '000'"
                ended = "finished_at IS NOT NULL" if table == "run" else "true"
                database.execute(f"UPDATE {table} SET {column} = {at} WHERE {ended}")
        for run_id, log in database.execute("SELECT run_id, log FROM run_log").fetchall():
            log = re.sub(r'"at": "([^"]+)"', earlier, log)
            database.execute("UPDATE run_log SET log = ? WHERE run_id = ?", [log, run_id])


@contextmanager
def changing(everything: Everything) -> Iterator[sqlite3.Connection]:
    """Open the database, to set up what would take days to come about."""
    with closing(sqlite3.connect(everything.home / "cohort_bridge.db", timeout=30)) as database, database:
        yield database


def let_account_expire(everything: Everything) -> None:
    """Let the service account expire soon."""
    at = datetime.now(UTC) + timedelta(days=3)
    with changing(everything) as database:
        database.execute("UPDATE connection SET account_expires_at = ? WHERE side = 'mixpanel'", [f"{at:%F %T}.000000"])


def lose_members(everything: Everything) -> None:
    """Let the files with members of a group be gone, as on a disk that someone tidied up."""
    with changing(everything) as database:
        for kind in ("snapshot", "difference"):
            query = f"SELECT {kind} FROM run WHERE cohort_id = ? AND {kind} IS NOT NULL"
            for (name,) in database.execute(query, [SPENDERS]).fetchall():
                for file in (everything.home / "snapshots").glob(f"{name}*"):
                    file.unlink()


def a_member(everything: Everything) -> str:
    """Name one who is in a group."""
    return everything.core("groups", "members", str(SPENDERS)).splitlines()[3]


def associate(everything: Everything, folder: Path) -> None:
    """Associate users by hand: one file that is written, one that waits for a word, one that cannot be used."""
    file = folder / "users.csv"
    lines = [f"picture-{number},i_{number}" for number in range(40)]
    file.write_text("\n".join(["distinct_id,apptimize_id", *lines, ",i_77", "bare,4711", "torn,i_1", "=1+1,i_78"]))
    everything.core("associate", "--file", str(file), "--json")
    everything.core("associate", "--file", str(file), "--dry-run")
    file.write_text("name,apptimize_id\nAda,i_1\n")
    everything.core("associate", "--file", str(file), "--json")
