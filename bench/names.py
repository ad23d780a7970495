"""What both sides of the bench's server go by: its account, its cohorts, its addresses. Cheap to import."""

from __future__ import annotations

PROJECT_ID = 2529987
USERNAME = "bench.1a2b3c.mp-service-account"
SECRET = "bench-secret-0123456789"
TOKEN = "bench-token-0123456789"
RECEIVER = "/receiver/cohort-sync"
PROPERTY = "$apptimize_user_id"
PAGE_SIZE = 1000  # the rows of a page when no size is asked for

# The cohorts by size; those of many runs at once are numbered from the last one on.
SIZES = {
    2_000: 5167000,
    10_000: 5167004,
    100_000: 5167001,
    1_000_000: 5167002,
    10_000_000: 5167003,
}
MANY, MANY_SIZE = 5168000, 200
