"""A million users associated by hand, by a process that is killed half way: no row skipped, none reported wrongly."""

from __future__ import annotations

import csv
import re
import threading
from collections import Counter
from pathlib import Path

import pytest

from core.access.roles import LOCAL
from core.associate import actions
from core.bridge import Bridge
from data.engine import write_session
from data.models import Connection, ImportStage
from tests.faults import process
from tests.faults.receiver import ID, REFUSE_EVERY, USER, Receiver, receiving
from tests.stage.home import Home
from tests.stage.seeds import LONG, SEEDS

# `make faults` does the whole million, `make test` a tenth of it.
ROWS = 1_000_000 if SEEDS else 100_000
# Interpreter, imported program and DuckDB's 80 MB take about 200; a million rows as Python objects would take 400 more.
MOST_MB = 330


def connect_to(bridge: Bridge, receiver: Receiver) -> None:
    with write_session(bridge.engine) as session:
        session.add(
            Connection(
                created_at=bridge.clock.now(),
                side="mixpanel",
                kind="mixpanel",
                name="default",
                project_id=1,
                username="u",
                secret=bridge.vault.encrypt("s"),
                project_token=bridge.vault.encrypt("t"),
                base_url=receiver.url,
            )
        )


def write_file(path: Path) -> None:
    with path.open("w") as file:
        file.write("distinct_id,apptimize_id\n")
        for start in range(1, ROWS + 1, 10_000):
            numbers = range(start, start + 10_000)
            file.write("".join(f"{USER.format(number)},{ID.format(number)}\n" for number in numbers))


def most_memory_mb(pid: int) -> float:
    match = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(match[1]) / 1024 if match else 0.0  # a process that has just ended has none


@LONG
@pytest.mark.slow
def test_rows_killed_half_way_are_each_written_and_told_of_once_it_continues(tmp_path: Path):
    home, file, out = Home(tmp_path / "home"), tmp_path / "users.csv", tmp_path / "outcomes.csv"
    write_file(file)
    half_way = threading.Event()
    with receiving(ROWS) as receiver, home.bridge() as bridge:
        connect_to(bridge, receiver)
        # Batches of 2000, each set and aliased: the first process dies with one of them under way.
        receiver.on_request = lambda number: half_way.set() if number == ROWS // 2000 + 1 else None
        killed = process.start(home, "associate", "--file", str(file), "--json")
        assert half_way.wait(120)
        assert killed.pid is not None
        memory = [most_memory_mb(killed.pid)]
        killed.kill()
        process.finish(killed)
        half = actions.get_association(bridge, LOCAL, 1)
        assert half.stage == ImportStage.WRITING
        assert 0 < half.written < ROWS

        resumed = process.start(home, "associate", "--resume", "1", "--out", str(out))
        assert resumed.pid is not None
        while resumed.exitcode is None:
            memory.append(most_memory_mb(resumed.pid))
            resumed.join(0.2)
        assert resumed.exitcode == 0
        done = actions.get_association(bridge, LOCAL, 1)

    refused = ROWS // REFUSE_EVERY
    assert (done.stage, done.rows, done.written, done.refused) == ("done", ROWS, ROWS - refused, refused)
    assert receiver.wrong == []
    assert receiver.most_records == 2000
    assert receiver.most_bytes < 2**20
    times = Counter(receiver.set_times[1:])
    assert times[0] == refused, "none but the refused was skipped"
    assert times[2] <= 2000, "at most the batch under way was sent twice, with the same ids"
    assert set(times) <= {0, 1, 2}
    assert Counter(receiver.alias_times[1:])[0] == refused
    check_outcomes(out)
    assert max(memory) < MOST_MB, memory


def check_outcomes(out: Path) -> None:
    """Every row is told of once, in order, and what is told is what the receiver saw."""
    with out.open(encoding="utf-8-sig", newline="") as file:
        number = 0
        for number, row in enumerate(csv.DictReader(file), start=1):
            is_refused = number % REFUSE_EVERY == 0
            assert (row["row"], row["distinct_id"]) == (str(number + 1), USER.format(number))
            assert row["outcome"] == ("refused" if is_refused else "written")
            assert row["reason"] == (f"refused {number}" if is_refused else "")
    assert number == ROWS
