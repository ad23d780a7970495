"""How much is to be tried: the short form is part of `make test`, the long one is what `make faults` is for."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import pytest

# 0: the short form; else how many seeds each case is tried with.
SEEDS = int(os.environ.get("COHORT_BRIDGE_FAULT_SEEDS") or 0)
# The size of the pages that Mixpanel is asked for, as the setting of that name takes it; empty: the usual one.
PAGE_SIZE = os.environ.get("COHORT_BRIDGE_FAULT_PAGE_SIZE", "")

# What takes long and has a sibling in the short form, or goes a way through the browser that other tests go in parts.
LONG = pytest.mark.long


def first(number: int, cases: Iterable[Any]) -> list[Any]:
    """Return cases of a test for `parametrize`, of which only so many are part of the short form."""
    given = [case if isinstance(case, tuple) else (case,) for case in cases]
    return [pytest.param(*case, marks=[LONG] if turn >= number else []) for turn, case in enumerate(given)]
