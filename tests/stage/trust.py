"""Whom tests trust over TLS: next to nobody, for to read all certificates of a machine takes longer than most tests."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import certifi

_END = "-----END CERTIFICATE-----\n"


def trust_few() -> None:
    """Let this process, and those it starts, trust one authority that none of them meets."""
    folder = Path(tempfile.mkdtemp(prefix="trusted-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    authority, end, _ = certifi.contents().partition(_END)
    (folder / "one.pem").write_text(authority + end)
    os.environ["SSL_CERT_FILE"] = str(folder / "one.pem")
