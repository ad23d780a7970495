"""The way to DuckDB: bounded memory, few threads, errors as ours."""

from __future__ import annotations

import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb  # below it is imported where it is used: most commands end sooner than that takes
from data.engine import StorageError

# Small enough that a sorted file is searched by reading one or two groups, large enough to compress.
ROW_GROUP = 20_000
# Profiles are taken in by batches: each statement costs as much as a page does.
BATCH = 25_000
# Where all members have to be in order, two threads share the memory, and lose more by spilling than they win.
ONE_THREAD = "SET threads = 1"
_EXPORT_AGAIN = "Export the cohort again: then they are kept anew."


def clear_scratch(scratch: Path, *, older_than_s: float, now_s: float) -> None:
    """Remove what reads left behind whose process died; younger folders may still be at work."""
    for folder in scratch.glob("read-*"):
        if now_s - folder.stat().st_mtime > older_than_s:
            shutil.rmtree(folder, ignore_errors=True)


def connect(folder: Path, *, memory_mb: int) -> duckdb.DuckDBPyConnection:
    """Open DuckDB within a memory limit; what does not fit goes to the folder, and nothing to the network."""
    import duckdb

    return duckdb.connect(
        config={
            "memory_limit": f"{memory_mb}MB",
            "threads": "2",
            "temp_directory": str(folder),
            # Nothing is to be fetched from the network at run time.
            "autoinstall_known_extensions": "false",
        }
    )


def quoted(text: str | Path) -> str:
    """Write a text as a literal of SQL."""
    return "'" + str(text).replace("'", "''") + "'"


@contextmanager
def plain_errors() -> Generator[None]:
    """Turn what DuckDB and the disk say into a StorageError with a sentence."""
    import duckdb

    try:
        yield
    except (duckdb.IOException, duckdb.OutOfMemoryException, OSError) as exc:
        reason = str(exc).lower()
        if "no space" in reason or "disk is full" in reason or "max_temp_directory_size" in reason:
            raise StorageError("The disk is full: the members could not be kept.") from exc
        if "no files found" in reason or "does not exist" in reason or "no such file" in reason:
            raise StorageError("The members are no longer kept.", advice=_EXPORT_AGAIN) from exc
        if isinstance(exc, duckdb.OutOfMemoryException):
            raise StorageError("The members did not fit into COHORT_BRIDGE_SNAPSHOT_MEMORY_MB.") from exc
        raise StorageError("The snapshots folder could not be read or written.") from exc
    except duckdb.InvalidInputException as exc:
        if "parquet" not in str(exc).lower():
            raise
        raise StorageError("A file of members is damaged on disk.", advice=_EXPORT_AGAIN) from exc
