"""Let public readers read every cohort of the sandbox, and tell whether they read it right: `make counterparts`.

`--write` keeps the table in docs/reliability.md where all of it is right; names of readers leave out the others.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.counterparts.compare import Compared, compare_all
from tests.counterparts.environments import NotInstalledError, installed
from tests.counterparts.readers import HERE, NODE, READERS, Reader
from tests.counterparts.stand import Stand, standing
from tests.counterparts.table import Result, format_table, keep
from tests.stage.processes import ROOT, clean_environment
from tests.stage.sandbox import USER_COHORTS

READ_WITHIN_S = 120
PAGE = ROOT / "docs" / "reliability.md"


def main() -> int:
    """Install, read, compare, print. Returns 0 where every reader ran, and read the cohorts."""
    parser = argparse.ArgumentParser(prog="python -m tests.counterparts", description=__doc__)
    parser.add_argument("reader", nargs="*", help="a package's name; all without one")
    parser.add_argument("--write", action="store_true", help="keep the table in docs/reliability.md if all is right")
    given = parser.parse_args()
    chosen = [reader for reader in READERS if reader.package in given.reader or not given.reader]
    unknown = set(given.reader) - {reader.package for reader in READERS}
    if unknown or (given.write and given.reader):
        parser.error(f"no such reader: {', '.join(sorted(unknown))}" if unknown else "--write takes all readers")
    begun = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        environments = list(pool.map(_install, chosen))
    made_s = time.monotonic() - begun
    with tempfile.TemporaryDirectory() as folder, standing(Path(folder)) as stand:
        results = [_ask(reader, environment, stand) for reader, environment in zip(chosen, environments, strict=True)]
    table = format_table(results)
    print(table)
    print(f"Environments {made_s:.0f} s, reading {time.monotonic() - begun - made_s:.0f} s.")
    right = all(result.is_right for result in results)
    if given.write and right and not any(result.missing for result in results):
        keep(table, PAGE)
    return 0 if right else 1


def _install(reader: Reader) -> tuple[list[str], Path] | str:
    try:
        return installed(reader)
    except NotInstalledError as error:
        return str(error)


def _ask(reader: Reader, environment: tuple[list[str], Path] | str, stand: Stand) -> Result:
    compares = "ids and properties" if reader.properties else "ids"
    if isinstance(environment, str):
        allowed = reader.kind == NODE and "missing on this machine" in environment
        return Result(reader.package, reader.version, compares, missing=environment, allowed=allowed)
    stand.sandbox.reset()
    wanted = {cohort: _members(stand, cohort, everyone=reader.everyone) for cohort in USER_COHORTS}
    cohorts = _read(reader, environment, stand, wanted)
    return Result(reader.package, reader.version, compares, cohorts, notes=reader.notes)


def _members(stand: Stand, cohort: int, *, everyone: bool) -> list[dict[str, Any]]:
    asked = {"include_all_users": str(everyone).lower()}
    answer = stand.sandbox.get(f"/sandbox/api/cohorts/{cohort}/profiles", params=asked)
    return answer.raise_for_status().json()


def _read(
    reader: Reader, environment: tuple[list[str], Path], stand: Stand, wanted: Mapping[int, list[dict[str, Any]]]
) -> Sequence[Compared]:
    start, folder = environment
    file = folder / "read.jsonl"
    file.unlink(missing_ok=True)
    try:
        ran = subprocess.run(
            [*start, str(HERE / "drivers" / reader.driver), str(file), *map(str, wanted)],
            cwd=folder,
            env=clean_environment() | stand.environment(),
            capture_output=True,
            text=True,
            timeout=READ_WITHIN_S,
        )
    except subprocess.TimeoutExpired:
        return [Compared(0, differs=f"did not end within {READ_WITHIN_S} s")]
    if ran.returncode:
        said = [line for line in ran.stderr.splitlines() if line.strip()]
        return [Compared(0, differs=f"ended with {ran.returncode}: {said[-1] if said else 'without a word'}")]
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return compare_all(wanted, lines, properties=reader.properties, pages=reader.pages, cannot=reader.cannot)


if __name__ == "__main__":
    sys.exit(main())
