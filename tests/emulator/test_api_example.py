"""What docs/operate/api.md shows a pipeline to do, done with a worker."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from core.access.roles import LOCAL
from core.syncs import recurring
from tests.stage.api import new_token
from tests.stage.home import Home
from tests.stage.processes import ROOT, free_port
from tests.stage.sandbox import POWER, Sandbox, wait_until
from tests.stage.seeds import LONG

PAGE = (ROOT / "docs" / "operate" / "api.md").read_text()


def example(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    return found


@LONG
@pytest.mark.slow
def test_the_examples_run_a_sync_and_wait_for_it(home: Home, sandbox: Sandbox, tmp_path: Path):
    port, member = free_port(), next(iter(sandbox.answer(POWER).group))
    with home.bridge() as bridge:
        assert recurring.add_sync(bridge, LOCAL, POWER).id == 1
        token = new_token(bridge)
    address = {"COHORT_BRIDGE_METRICS_ADDRESS": f"127.0.0.1:{port}"}
    worker = home.begin("worker", env=address)
    asking = {
        "COHORT_BRIDGE_API": f"http://127.0.0.1:{port}",
        "COHORT_BRIDGE_API_TOKEN": token,
        "PATH": os.environ["PATH"],
    }

    def run(*command: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, env=asking | more, capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False
        )

    def is_up() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/healthz").status_code == 200
        except httpx.HTTPError:
            return False

    try:
        wait_until(is_up)
        by_shell = run("sh", "-euc", example("sh")) if shutil.which("curl") else None
        by_python = run(sys.executable, "-c", example("python"), MEMBER=member)
        wrong = run(sys.executable, "-c", example("python"), COHORT_BRIDGE_API_TOKEN="cbr_wrong")
    finally:
        worker.terminate()
        home.finish(worker, within_s=10)

    if by_shell:
        assert (by_shell.returncode, by_shell.stderr) == (0, "")
        assert re.fullmatch(r"run \d+: succeeded\n", by_shell.stdout)
    assert (by_python.returncode, by_python.stderr) == (0, "")
    assert by_python.stdout.splitlines()[-1] == "member"
    assert f"{len(sandbox.group(POWER))} members" in by_python.stdout
    assert wrong.returncode != 0
    assert token not in "".join(home.said)
    assert member not in "".join(home.said)
