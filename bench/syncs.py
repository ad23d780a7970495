"""Add recurring syncs of many cohorts in one process: `python -m bench.syncs FIRST LAST`, the cohorts' numbers."""

from __future__ import annotations

import sys

from core import settings
from core.access.roles import LOCAL
from core.bridge import open_bridge
from core.syncs import recurring


def main() -> None:
    """Add them, each once a day."""
    bridge = open_bridge(settings.read())
    for cohort_id in range(int(sys.argv[1]), int(sys.argv[2]) + 1):
        recurring.add_sync(bridge, LOCAL, cohort_id, every_minutes=1440)


if __name__ == "__main__":
    main()
