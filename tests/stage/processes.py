"""What tests need to start processes of their own: a free port, and an environment without settings."""

from __future__ import annotations

import os
import socket
from pathlib import Path

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def clean_environment() -> dict[str, str]:
    """Return this process's environment without any setting of Cohort Bridge."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COHORT_BRIDGE_")}
