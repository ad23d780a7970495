"""How much is to be tried: the short form is part of `make test`, the long one is what `make faults` is for."""

from __future__ import annotations

import os

# 0: the short form; else how many seeds each case is tried with.
SEEDS = int(os.environ.get("COHORT_BRIDGE_FAULT_SEEDS") or 0)
# The size of the pages that Mixpanel is asked for, as the setting of that name takes it; empty: the usual one.
PAGE_SIZE = os.environ.get("COHORT_BRIDGE_FAULT_PAGE_SIZE", "")
