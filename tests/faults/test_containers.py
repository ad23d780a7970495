"""The services of compose.yaml, as their containers run them: nobody may write to the code, and no user has a home.

Where a Docker daemon answers, the image is built too.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.stage.image import lay_out, services
from tests.stage.processes import ROOT, clean_environment, free_port
from tests.stage.sandbox import wait_until
from tests.stage.seeds import LONG, SEEDS

pytestmark = pytest.mark.sqlite_file

SIGN_IN = """
[auth]
redirect_uri = "https://cohorts.example.com/oauth2callback"
cookie_secret = "made-up-and-long-enough-for-a-cookie"
client_id = "made up"
client_secret = "made up"
server_metadata_url = "https://id.example.com/.well-known/openid-configuration"
"""


@dataclass(frozen=True)
class Container:
    """A folder as the image has it, a home, and ports in place of those that the files name."""

    folder: Path
    app: Path
    ports: dict[str, str] = field(default_factory=lambda: {"8501": str(free_port()), "8502": str(free_port())})

    @property
    def home(self) -> Path:
        return self.folder / "data"

    @contextmanager
    def running(self, name: str) -> Generator[subprocess.Popen[str]]:
        service = services()[name]
        process = subprocess.Popen(
            self._command(service["command"]),
            cwd=self.app,
            env=self._environment(service),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    def is_healthy(self, name: str) -> bool:
        service = services()[name]
        command = self._command(service["healthcheck"]["test"][1:])
        asked = subprocess.run(
            command, cwd=self.app, env=self._environment(service), capture_output=True, timeout=30, check=False
        )
        return asked.returncode == 0

    def _command(self, words: list[str]) -> list[str]:
        return [self._own_ports(word) if word != "python" else sys.executable for word in words]

    def _environment(self, service: dict[str, Any]) -> dict[str, str]:
        told = {
            name: re.sub(r"\$\{.*\}", "a-token-of-some-length", text) for name, text in service["environment"].items()
        }
        told = {name: self._own_ports(text) for name, text in told.items()}
        return {
            **clean_environment(),
            **told,
            "COHORT_BRIDGE_HOME": str(self.home),
            "HOME": str(self.folder / "nonexistent"),
            "TMPDIR": str(self.folder / "tmp"),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def _own_ports(self, text: str) -> str:
        for there, here in self.ports.items():
            text = text.replace(there, here)
        return text

    def files(self) -> list[str]:
        """List every file outside of the home."""
        listed = (path for path in self.folder.rglob("*") if self.home not in (path, *path.parents))
        return sorted(f"{path.relative_to(self.folder)} {path.lstat().st_mtime_ns}" for path in listed)


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    app = lay_out(tmp_path / "app")
    (app / ".streamlit").chmod(0o755)
    (app / ".streamlit" / "secrets.toml").write_text(SIGN_IN)
    (app / ".streamlit").chmod(0o555)
    (tmp_path / "tmp").mkdir()
    (tmp_path / "data").mkdir(mode=0o700)
    yield Container(tmp_path, app)
    for folder in [app, *(path for path in app.rglob("*") if path.is_dir())]:
        folder.chmod(0o755)  # or pytest could not remove it


# Both at once, on a home that is empty: one of them makes the database, the other waits for it.
@LONG
def test_services_are_healthy_write_to_their_home_alone_and_end_when_told(container: Container):
    names = ("worker", "dashboard")
    before = container.files()

    with ExitStack() as stack:
        processes = [stack.enter_context(container.running(name)) for name in names]
        for name in names:
            wait_until(lambda name=name: container.is_healthy(name), within_s=60)
        for process in processes:
            process.send_signal(signal.SIGTERM)
        ends = [process.wait(15) for process in processes]

    # The server of the dashboard ends all that is open, and then as what was told of the signal does.
    assert ends == [{"worker": 0, "dashboard": -signal.SIGTERM}[name] for name in names]
    assert container.files() == before
    assert (container.home / "cohort_bridge.db").exists()


def test_a_service_that_is_not_there_is_not_healthy(container: Container):
    assert not container.is_healthy("worker")


def _answering() -> str | None:
    """Return the program whose daemon answers; None where there is none."""
    for program in filter(shutil.which, ("docker", "podman")):
        if subprocess.run([program, "info"], capture_output=True, timeout=60, check=False).returncode == 0:
            return program
    return None


@pytest.mark.skipif(not SEEDS, reason="make faults builds the image")
def test_the_image_is_built_and_runs_as_nobody_of_the_machine(tmp_path: Path):
    program = _answering()
    if program is None:
        pytest.skip("no Docker daemon and no podman answers")
    name = f"cohort-bridge-test:{os.getpid()}"
    subprocess.run([program, "build", "--tag", name, str(ROOT)], check=True, timeout=1200)
    try:
        run = [program, "run", "--rm", "--read-only", "--cap-drop=ALL", "--tmpfs=/tmp", "--volume=/data", name]
        told = subprocess.run(
            [*run, "python", "-c", "import os; print(os.getuid(), os.access('/app', os.W_OK))"],
            capture_output=True, text=True, check=True, timeout=120,
        ).stdout  # fmt: skip
        once = subprocess.run([*run, "python", "-m", "core", "worker", "--once"], check=False, timeout=120)
        assert (told.split(), once.returncode) == (["10001", "False"], 0)
    finally:
        subprocess.run([program, "rmi", "--force", name], check=False, timeout=120)
