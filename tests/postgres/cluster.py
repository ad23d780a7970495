"""A PostgreSQL server for tests alone: in a folder of its own, on a socket there, gone when its starter is."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from glob import glob
from pathlib import Path

from tests.stage.sandbox import wait_until

# Debian keeps them off the PATH, a folder for each version.
INSTALLED = "/usr/lib/postgresql/*/bin"
_WITHIN_S = 60.0
# Nothing here has to survive a power cut. Each test has a database of its own, and they are small.
OPTIONS = (
    "fsync=off", "full_page_writes=off", "synchronous_commit=off", "autovacuum=off", "wal_level=minimal",
    "max_wal_senders=0", "max_connections=300", "shared_buffers=64MB", "listen_addresses=",
)  # fmt: skip
# The end of standard input is the end of who started it, however that came: killed, too.
_SERVE = """
"$1" -D "$2/data" -k "$2" {options} >"$2/log" 2>&1 &
server=$!
read -r _
kill -INT $server 2>/dev/null
wait $server
rm -rf "$2"
"""


class NoPostgres(Exception):
    """There is no PostgreSQL here that a server could be started of; the message is a whole sentence."""


def find_programs() -> Path:
    """Return the folder of PostgreSQL's programs: on the PATH, or where Debian has the newest. Raises NoPostgres."""
    on_path = shutil.which("initdb")
    places = [Path(on_path).parent] if on_path else []
    places += sorted(map(Path, glob(INSTALLED)), key=lambda place: float(place.parent.name), reverse=True)
    for place in places:
        if all(os.access(place / name, os.X_OK) for name in ("initdb", "postgres")):
            return place
    raise NoPostgres("There is no PostgreSQL on this machine: install it (Debian's package is `postgresql`).")


@contextmanager
def running(programs: Path, options: Sequence[str] = ()) -> Generator[str]:
    """Run a server, and yield the URL of its databases but for their name."""
    user = ordinary_user()
    folder = Path(tempfile.mkdtemp(prefix="cohort-bridge-postgres-"))
    try:
        if user:
            os.chown(folder, user.pw_uid, user.pw_gid)
        _make(programs, folder, user)
        shell = _start(programs, folder, user, (*OPTIONS, *options))
        try:
            wait_for(folder)
            yield f"postgresql+psycopg://tests@/{{}}?host={folder}"
        finally:
            shell.communicate()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def ordinary_user() -> pwd.struct_passwd | None:
    """Return whom the server runs as where we are root, whom it refuses."""
    if os.geteuid() != 0:
        return None
    known = {user.pw_name: user for user in pwd.getpwall()}
    return known.get("postgres") or known["nobody"]


def run_as(user: pwd.struct_passwd | None) -> dict[str, object]:
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}


def _make(programs: Path, folder: Path, user: pwd.struct_passwd | None) -> None:
    command = [programs / "initdb", "-D", folder / "data", "-U", "tests", "-A", "trust", "--no-sync"]
    command += ["--no-instructions", "-E", "UTF8", "--locale=C.UTF-8", *_languages_order(programs)]
    made = subprocess.run(command, cwd=folder, capture_output=True, text=True, **run_as(user))  # type: ignore[call-overload]
    if made.returncode:
        raise NoPostgres(f"PostgreSQL could not make a server's folder: {made.stderr.strip()}")


def _languages_order(programs: Path) -> list[str]:
    """Return the options for an order of texts as servers usually have it, which is not that of their bytes."""
    known = subprocess.run([programs / "initdb", "--help"], capture_output=True, text=True, check=False).stdout
    return ["--locale-provider=icu", "--icu-locale=en-US"] if "--icu-locale" in known else []


def _start(
    programs: Path, folder: Path, user: pwd.struct_passwd | None, options: Sequence[str]
) -> subprocess.Popen[bytes]:
    script = _SERVE.format(options=" ".join(f"-c {option}" for option in options))
    command = ["/bin/sh", "-c", script, "sh", programs / "postgres", folder]
    # In a session of its own: Ctrl+C is for who started it, and reaches the server when that has ended.
    return subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, start_new_session=True, **run_as(user))  # type: ignore[call-overload]


def wait_for(folder: Path) -> None:
    """Return once the server takes connections: it notes that in its file."""
    note = folder / "data" / "postmaster.pid"
    try:
        wait_until(lambda: note.exists() and note.read_text().rstrip().endswith("ready"), within_s=_WITHIN_S)
    except AssertionError:
        raise NoPostgres(f"PostgreSQL did not start: {(folder / 'log').read_text().strip()[-500:]}") from None
