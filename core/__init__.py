"""Cohort Bridge: exports Mixpanel cohorts into Apptimize groups."""

VERSION = "0.1.0"  # as pyproject.toml has it
