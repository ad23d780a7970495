"""Cohort Bridge: exports Mixpanel cohorts into Apptimize groups."""
