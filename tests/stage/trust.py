"""Whom tests trust over TLS: next to nobody, for to read all certificates of a machine takes longer than most tests."""

from __future__ import annotations

import os

from tests.stage.processes import ROOT


def trust_few() -> None:
    """Let this process, and those it starts, trust one authority, by which nothing was signed: its key is gone."""
    os.environ["SSL_CERT_FILE"] = str(ROOT / "tests" / "fixtures" / "authority.pem")
