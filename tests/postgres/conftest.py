"""What is PostgreSQL's own is tried where there is a server: `make test-postgres`."""

from __future__ import annotations

from tests.stage import databases

collect_ignore_glob = [] if databases.SERVER else ["test_*.py"]
