"""The units for systemd: it takes them, what they start is there, and they may do little else."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from core.settings import Settings
from tests.stage.processes import ROOT

UNITS = sorted((ROOT / "docs" / "operate").glob("*.service"))
INSTALLED = "/opt/cohort-bridge"
# In tenths; what is left is the network, and that the machine's own /proc is seen.
MOST_EXPOSED = 20

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
each_unit = pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)


@pytest.fixture
def here(tmp_path: Path) -> list[str]:
    """The units as they are for a program that is installed in this folder."""
    for unit in UNITS:
        (tmp_path / unit.name).write_text(unit.read_text().replace(INSTALLED, str(ROOT)))
    return [str(path) for path in sorted(tmp_path.iterdir())]


def service(unit: Path) -> dict[str, list[str]]:
    """Read the section of the service: all values of each name, since several may be given."""
    values = dict[str, list[str]]()
    section = unit.read_text().partition("[Service]")[2].partition("[Install]")[0]
    for line in section.splitlines():
        name, is_setting, value = line.partition("=")
        if is_setting and not line.startswith("#"):
            values.setdefault(name, []).append(value)
    return values


def test_there_is_one_for_the_worker_and_one_for_the_dashboard():
    assert [unit.name for unit in UNITS] == ["cohort-bridge-dashboard.service", "cohort-bridge-worker.service"]


@each_unit
def test_what_it_starts_is_there(unit: Path):
    program, *arguments = service(unit)["ExecStart"][0].split()

    assert program == f"{INSTALLED}/.venv/bin/python"
    assert arguments[:3] == ["-m", "core", "worker"] or (ROOT / arguments[0]).name == "app.py"
    assert service(unit)["WorkingDirectory"] == [INSTALLED]


@each_unit
def test_its_settings_are_ours_and_no_secret_is_among_them(unit: Path):
    named = [pair.partition("=")[0] for line in service(unit)["Environment"] for pair in line.split()]

    assert {name for name in named if name.startswith("COHORT_BRIDGE_")} == {"COHORT_BRIDGE_HOME"}
    assert "home" in Settings.model_fields
    assert "Environment=COHORT_BRIDGE_HOME=/var/lib/cohort-bridge" in unit.read_text()
    assert service(unit)["StateDirectory"] == ["cohort-bridge"]


@each_unit
def test_a_setting_that_cannot_be_used_is_not_tried_for_ever(unit: Path):
    assert service(unit)["RestartPreventExitStatus"] == ["2"]
    assert service(unit)["Restart"] == ["always"]


@each_unit
def test_what_is_on_its_way_when_it_ends_may_arrive(unit: Path):
    """A process that sends an alert is not asked to end with the program, which ends it in time by itself."""
    assert service(unit)["KillMode"] == ["mixed"]


def test_both_may_do_the_same():
    worker, dashboard = (service(unit) for unit in reversed(UNITS))

    own = {"ExecStart", "TimeoutStopSec"}
    assert {name: worker[name] for name in worker.keys() - own} == {
        name: dashboard[name] for name in dashboard.keys() - own
    }


@needs_systemd
def test_systemd_takes_them(here: list[str]):
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *here], capture_output=True, text=True, check=False
    )

    assert (checked.returncode, checked.stderr) == (0, "")


@needs_systemd
def test_systemd_finds_them_little_exposed(here: list[str]):
    checked = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={MOST_EXPOSED}", "--no-pager", *here],
        capture_output=True,
        text=True,
        check=False,
    )

    assert checked.returncode == 0, checked.stdout[-300:] + checked.stderr
