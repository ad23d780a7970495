"""What is logged holds no secret, and text of other origin in it steers no terminal and forges no line."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager

import pytest

from core import log
from core.errors import CohortBridgeError

NAME = "Everyone\n2026-11-23T12:00:00 INFO core run ended\x1b[2J\x9b1m\u202e\u2028"


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


@contextmanager
def logging_as_the_program_does() -> Generator[logging.Logger]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    log.configure()
    try:
        yield logging.getLogger("core.of_this_test")
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


def test_a_name_in_a_log_stays_within_its_line(capsys: pytest.CaptureFixture[str]):
    with logging_as_the_program_does() as logger:
        logger.warning("run lost reason=%s", f"{NAME} is taken")

    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("is taken")
    assert line.isprintable()


def test_a_traceback_is_indented_and_holds_nothing_that_steers(capsys: pytest.CaptureFixture[str]):
    with logging_as_the_program_does() as logger:
        try:
            raise ValueError(NAME)
        except ValueError:
            logger.exception("run failed unexpectedly")

    first, *others = capsys.readouterr().err.splitlines()
    assert first.endswith("run failed unexpectedly")
    assert all(line.startswith("  ") and line.isprintable() for line in others)
    assert any("ValueError: Everyone" in line for line in others)


def test_an_error_is_one_line_that_is_not_long():
    error = CohortBridgeError(f"The group {NAME * 1000} is taken.", advice=f"Rename {NAME}.")

    assert error.message.isprintable()
    assert error.advice.isprintable()
    assert len(error.message) <= 1000
    assert str(error) == error.message


def test_a_library_that_connects_again_by_itself_says_so_in_a_line(capsys: pytest.CaptureFixture[str]):
    class ConnectorException(Exception):
        """Of the library's name."""

    with logging_as_the_program_does():
        for error in (ConnectorException("no server"), ValueError("a mistake")):
            logging.getLogger("procrastinate.worker.worker").error("it failed: %s", error, exc_info=error)

    lost, mistake, *traceback = capsys.readouterr().err.splitlines()
    assert (lost.rpartition(": ")[2], mistake.rpartition(": ")[2]) == ("no server", "a mistake")
    assert traceback[-1] == "  ValueError: a mistake"
