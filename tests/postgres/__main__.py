"""Run tests on a PostgreSQL server of their own: all but those about SQLite's file, or what pytest is told here.

With `--short` those of tests/postgres/short.py, after a list of what they cover.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from importlib.util import find_spec

from tests.postgres import short
from tests.postgres.cluster import NoPostgres, find_programs, running
from tests.stage.memory import use_memory

SHORT = "--short"


def main(arguments: list[str]) -> int:
    """Return pytest's exit status; 1 where there is nothing to run the tests on."""
    use_memory()
    try:
        if find_spec("psycopg") is None:
            raise NoPostgres("The driver is missing: `make test-postgres` installs it (requirements-postgres.txt).")
        if SHORT in arguments:
            arguments = [*(argument for argument in arguments if argument != SHORT), *short.list_tests()]
            print(short.describe(), flush=True)
        with running(find_programs()) as server:
            command = [sys.executable, "-m", "pytest", "-m", "not sqlite_file", *arguments]
            return subprocess.run(command, env={**os.environ, "TEST_POSTGRES_URL": server}, check=False).returncode
    except NoPostgres as exc:
        print(exc, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main(sys.argv[1:]))
