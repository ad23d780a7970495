"""What tests need to start processes of their own: a free port, a clean environment, the browser."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def find_chromium() -> str | None:
    """Find the system's Chromium: its headless shell, which draws with two thirds of the work, or the whole browser."""
    names = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
    return next((path for path in map(shutil.which, names) if path), None)


def clean_environment() -> dict[str, str]:
    """Return this process's environment without any setting of Cohort Bridge, but for one: no port is taken."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("COHORT_BRIDGE_")}
    return others | {"COHORT_BRIDGE_METRICS_ADDRESS": "off"}
