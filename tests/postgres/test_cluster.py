"""The server that tests are run on is gone when who started it is, however that came."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.stage.processes import ROOT
from tests.stage.sandbox import wait_until

_RUN = """
import sys
from tests.postgres.cluster import find_programs, running
with running(find_programs()) as server:
    print(server.partition("host=")[2], flush=True)
    sys.stdin.read()
"""


def test_a_server_whose_starter_is_killed_goes_with_its_folder():
    starter = subprocess.Popen(
        [sys.executable, "-c", _RUN], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert starter.stdout
    folder = Path(starter.stdout.readline().strip())
    pid = int((folder / "data" / "postmaster.pid").read_text().split()[0])

    starter.kill()
    starter.communicate()

    wait_until(lambda: not folder.exists() and not Path(f"/proc/{pid}").exists())
