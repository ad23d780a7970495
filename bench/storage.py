"""Measure what members cost in a folder and in object storage: `python -m bench.storage [--members N] [--rounds N]`.

Each step is a process of its own: a snapshot is written, put, fetched, counted, compared with another one of which a
tenth has changed, and read as the JSON that is delivered. The object storage is a server for tests on this machine, in
a process that is not counted: what the network takes is not in it.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from bench import measure
from data.members.snapshots import Snapshots
from data.storage.opening import open_storage

MEMBERS, ROUNDS = 1_000_000, 3
_MEMORY_MB = 80
_KEY = "0123456789abcdef"  # of the members' fingerprint
_NAME, _BASE, _CHANGES = "run-00000002", "run-00000001", "difference-00000002"
_KEYS = {"distinct_id": "mixpanel_distinct_id", "apptimize_id": "$apptimize_user_id"}
_PLACES = ("folder", "s3")


class Work(NamedTuple):
    """Where a step works: the members' files, what was made beforehand, and how many members that are."""

    snapshots: Snapshots
    made: Path
    members: int


def _collect(work: Work, *, first: int, target: Path) -> Callable[[], None]:
    """Collect members, which is no part of any step, and return what writes them."""
    numbers = range(first, first + work.members)
    collector = work.snapshots.collector(key=_KEY)
    for start in range(0, work.members, 10_000):
        some = numbers[start : start + 10_000]
        collector.add(
            distinct_ids=[f"{each * 2654435761 % 2**32:08x}-{each:012d}" for each in some],
            apptimize_ids=[f"i_{each * 2246822519 % 2**32:08x}-{each:012d}" for each in some],
        )
    return lambda: collector.write(target)


def _make(work: Work) -> Callable[[], None]:
    work.made.mkdir()
    _collect(work, first=work.members // 10, target=work.made / "base")()
    return lambda: None


def _write(work: Work) -> Callable[[], None]:
    return _collect(work, first=0, target=work.made / "new")


def _put(work: Work) -> Callable[[], None]:
    work.snapshots.storage.put_file(work.made / "base", f"{_BASE}.parquet")
    work.snapshots.storage.remove(f"{_NAME}.parquet")
    return lambda: work.snapshots.storage.put_file(work.made / "new", f"{_NAME}.parquet")


def _fetch(work: Work) -> Callable[[], None]:
    return lambda: work.snapshots.storage.get_file(f"{_NAME}.parquet", work.made / "got")


def _count(work: Work) -> Callable[[], None]:
    work.snapshots.path(_NAME)  # the copy, where one is needed
    return lambda: _require(work.snapshots.count(_NAME) == work.members)


def _compare(work: Work) -> Callable[[], None]:
    for name in (_NAME, _BASE):
        work.snapshots.path(name)
    work.snapshots.remove(_CHANGES)

    def compare() -> None:
        found = work.snapshots.keep_difference(_CHANGES, _NAME, _BASE, key=_KEY)
        _require((found.added, found.removed) == (work.members // 10,) * 2)

    return compare


def _read(work: Work) -> Callable[[], None]:
    work.snapshots.path(_NAME)
    stored = work.snapshots.stored(_NAME)
    return lambda: _require(sum(chunk.members for chunk in stored.json_chunks(**_KEYS)) == work.members)


# What is measured, in this order: each builds on what those before it left.
STEPS: dict[str, Callable[[Work], Callable[[], None]]] = {
    "written": _write,
    "put": _put,
    "fetched": _fetch,
    "counted": _count,
    "compared": _compare,
    "read as JSON": _read,
}


def _require(is_right: bool) -> None:
    if not is_right:
        raise measure.Failed("A step came to a wrong answer.")


def _do(step: str, url: str, folder: Path, members: int) -> None:
    """Do one step in this process, and print what it took."""
    storage = open_storage(url, default=folder / "snapshots")
    snapshots = Snapshots(
        storage.folder or folder / "cache", scratch=folder / "scratch", memory_mb=_MEMORY_MB, storage=storage
    )
    do = STEPS.get(step, _make)(Work(snapshots, folder / "made", members))
    before, began_s = sum(os.times()[:2]), time.perf_counter()
    do()
    print(json.dumps({"cpu_s": sum(os.times()[:2]) - before, "wall_s": time.perf_counter() - began_s}))


@contextmanager
def _object_storage() -> Generator[dict[str, str]]:
    """Run a server that speaks S3 while inside, with one bucket; gives the environment of whoever uses it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([sys.executable, "-m", "moto.server", "-p", str(port)], **quiet) as server:  # type: ignore[call-overload]
        try:
            for _ in range(100):
                try:
                    urllib.request.urlopen(urllib.request.Request(f"{url}/bucket", method="PUT")).read()
                    break
                except urllib.error.URLError:
                    time.sleep(0.1)
            keys = {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench", "AWS_REGION": "us-east-1"}
            yield {"AWS_ENDPOINT_URL": url, **keys}
        finally:
            server.terminate()


def _measure(step: str, place: str, folder: Path, members: int, environment: Mapping[str, str]) -> measure.Taken:
    url = "s3://bucket/members" if place == "s3" else ""
    arguments = ["-m", "bench.storage", "--do", step, "--url", url, "--folder", str(folder), "--members", str(members)]
    taken = measure.run(arguments, environment)
    said = json.loads(taken.output)
    return measure.Taken(said["wall_s"], taken.peak_mib, said["cpu_s"], "")


def _median(samples: list[measure.Taken]) -> str:
    each = [
        statistics.median(values) for values in zip(*[(t.cpu_s, t.wall_s, t.peak_mib) for t in samples], strict=True)
    ]
    return f"{each[0]:.2f} s | {each[1]:.2f} s | {each[2]:.0f} MB"


def main() -> None:
    """Measure each step at each place, in turn, and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--members", type=int, default=MEMBERS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    for name in ("--do", "--url", "--folder"):
        parser.add_argument(name, default="", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.do:
        _do(asked.do, asked.url, Path(asked.folder), asked.members)
        return
    taken = dict[tuple[str, str], list[measure.Taken]]()
    with tempfile.TemporaryDirectory(prefix="bench-") as made, _object_storage() as environment:
        folders = {place: Path(made) / place for place in _PLACES}
        for folder in folders.values():
            folder.mkdir()
            _measure("make", folder.name, folder, asked.members, environment)
        for _ in range(asked.rounds):
            for step in STEPS:
                for place, folder in folders.items():  # one after the other: what else goes on meets both
                    sample = _measure(step, place, folder, asked.members, environment)
                    taken.setdefault((step, place), []).append(sample)
    print(f"| {asked.members:,} members | " + " | ".join(f"{each}: CPU | wall | memory" for each in _PLACES) + " |")
    print("| --- " * (1 + 3 * len(_PLACES)) + "|")
    for step in STEPS:
        print(f"| {step} | " + " | ".join(_median(taken[step, place]) for place in _PLACES) + " |")
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
