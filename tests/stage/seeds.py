"""How much is to be tried: the short form is part of `make test`, the long one is what `make faults` is for."""

from __future__ import annotations

import os

import pytest

# 0: the short form; else how many seeds each case is tried with.
SEEDS = int(os.environ.get("COHORT_BRIDGE_FAULT_SEEDS") or 0)
# The size of the pages that Mixpanel is asked for, as the setting of that name takes it; empty: the usual one.
PAGE_SIZE = os.environ.get("COHORT_BRIDGE_FAULT_PAGE_SIZE", "")

# What takes long and has a sibling in the short form, or goes a way through the browser that other tests go in parts.
LONG = pytest.mark.long


def few(number: int) -> pytest.MarkDecorator:
    """Mark a test of which the short form runs only so many of its cases, spread evenly over all of them."""
    return pytest.mark.few(number)


def some(number: int) -> pytest.MarkDecorator:
    """Mark a file of which the short form runs only so many tests, spread evenly over all of them."""
    return pytest.mark.some(number)


def is_short(turn: int, *, of: int, number: int) -> bool:
    """Return whether the case at this place of so many is one of the few that the short form runs."""
    return number >= of or turn in {place * of // number for place in range(number)}
