"""DuckDBs that are used again: by one piece of work at a time, with nothing left in them, wherever they spill to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from data.engine import StorageError
from data.members.collector import Collector
from data.members.duck import give_back, reused, take

MEMORY_MB = 61  # a size of this file's own: what other tests left idle has another


def test_a_piece_of_work_is_given_what_the_one_before_gave_back(tmp_path: Path):
    with reused(tmp_path, memory_mb=MEMORY_MB) as first:
        pass
    with reused(tmp_path, memory_mb=MEMORY_MB) as second, reused(tmp_path, memory_mb=MEMORY_MB) as beside:
        assert second is first
        assert beside is not first
    with reused(tmp_path, memory_mb=MEMORY_MB) as third:  # of two that are idle, the one that was given back last
        assert third is second


def test_as_many_are_kept_as_the_runs_of_a_worker_use_at_once(tmp_path: Path):
    used = [take(tmp_path, memory_mb=MEMORY_MB) for _ in range(8)]
    for db in used:
        give_back(db, memory_mb=MEMORY_MB)

    again = [take(tmp_path, memory_mb=MEMORY_MB) for _ in range(8)]

    assert set(map(id, again)) == set(map(id, used))
    for db in again:
        db.close()


def test_one_whose_reader_wants_no_more_rows_is_used_again(tmp_path: Path):
    def read() -> Iterator[object]:
        with reused(tmp_path, memory_mb=MEMORY_MB) as db:
            yield db
            yield from db.execute("FROM range(1000000)").fetchmany(1000)

    reading = read()
    first = next(reading)
    next(reading)
    reading.close()

    with reused(tmp_path, memory_mb=MEMORY_MB) as second:
        assert second is first
        assert second.execute("SELECT 7").fetchone() == (7,)


def test_one_in_which_anything_was_raised_is_not_used_again(tmp_path: Path):
    with pytest.raises(StorageError), reused(tmp_path, memory_mb=MEMORY_MB) as broken:
        broken.execute("FROM read_parquet('no-such.parquet')")

    with reused(tmp_path, memory_mb=MEMORY_MB) as next_one:
        assert next_one is not broken


def test_one_that_has_spilled_is_not_used_where_it_would_spill_elsewhere(tmp_path: Path):
    spilled = take(tmp_path / "one", memory_mb=MEMORY_MB)
    spilled.execute("CREATE TABLE many AS SELECT hash(i) AS id, repeat('x', 40) AS text FROM range(3000000) t(i)")
    assert list((tmp_path / "one").iterdir())
    spilled.execute("DROP TABLE many")
    give_back(spilled, memory_mb=MEMORY_MB)

    other = take(tmp_path / "other", memory_mb=MEMORY_MB)

    (folder,) = other.execute("SELECT current_setting('temp_directory')").fetchone() or ()
    assert Path(folder) == tmp_path / "other"
    other.close()


def test_a_read_finds_nothing_of_the_one_before_in_its_duckdb(tmp_path: Path):
    for ids in (["i_1", "i_2"], ["i_3"]):
        with Collector(tmp_path, memory_mb=MEMORY_MB) as collector:
            collector.add(distinct_ids=["a", "b"][: len(ids)], apptimize_ids=ids, unusable_ids=["\r"], reasons=["odd"])
            tally = collector.tally()
            collector.write_excluded(tmp_path / "excluded.parquet")

        assert (tally.seen, tally.members, tally.reasons) == (len(ids) + 1, len(ids), {"odd": 1})


def test_a_read_that_ends_early_leaves_nothing_to_the_next(tmp_path: Path):
    cancelled = Collector(tmp_path, memory_mb=MEMORY_MB)
    cancelled.add(distinct_ids=["a"], apptimize_ids=["i_1"])
    cancelled.tally()
    cancelled.close()

    with Collector(tmp_path, memory_mb=MEMORY_MB) as collector:
        assert collector.tally().seen == 0
