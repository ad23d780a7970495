"""What is logged holds no secret."""

from __future__ import annotations

import pytest

from core import log


@pytest.mark.parametrize(
    "line",
    [
        "Authorization: s3cret",
        "token=s3cret rest",
        "POST https://user:s3cret@example.com/x",
        "GET https://example.com/x?token=s3cret&a=1",
        "ApptimizeApiToken: s3cret",
    ],
)
def test_logs_hold_no_secrets(line: str):
    assert "s3cret" not in log.redact(line)
