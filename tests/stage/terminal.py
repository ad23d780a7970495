"""Commands in this process, without the time that a process of their own takes, and with output of any encoding."""

from __future__ import annotations

import io
import sys
from typing import IO

import pytest

from core.cli import output
from core.cli.app import main
from tests.stage.home import Home


class Terminal:
    """Runs commands in this process, with output in an encoding of its own."""

    def __init__(self, patch: pytest.MonkeyPatch, home: Home, encoding: str = "ascii") -> None:
        self._patch, self.encoding = patch, encoding
        for name, value in home._environment(None).items():
            patch.setenv(name, value)
        patch.chdir(home.path.parent)

    def run(self, *arguments: str) -> tuple[int, bytes, str]:
        """Return the exit status, and what was printed."""
        out, err = io.BytesIO(), io.BytesIO()
        stream = io.TextIOWrapper(out, encoding=self.encoding)
        code = self.run_into(stream, err, *arguments)
        stream.detach()
        return code, out.getvalue(), err.getvalue().decode(self.encoding)

    def run_into(self, out: IO[str] | None, err: io.BytesIO, *arguments: str) -> int:
        with self._patch.context() as patch:
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", io.TextIOWrapper(err, encoding=self.encoding, errors="backslashreplace"))
            patch.setattr(output, "_is_json_printed", False)
            with pytest.raises(SystemExit) as ended:
                main(arguments)
            sys.stdout.close() if out is None else out.flush()
            sys.stderr.flush()
            sys.stderr.detach()  # type: ignore[attr-defined]
        assert isinstance(ended.value.code, int)
        return ended.value.code
