"""Commands in processes of their own, without the second that each of them would take to import the program.

A process that has imported it forks one for every command: arguments, environment, folder, standard output and
error are the command's own, as with `python -m core`. Where the start or the end of a process is what matters, tests
start a real one: `Home.start`.
"""

from __future__ import annotations

import json
import os
import resource
import runpy
import select
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NoReturn

from core.clock import LEASE_TIMES
from tests.stage.processes import ROOT, clean_environment

# One that waits for what another holds looks again at each heartbeat: sooner here. Leases last as long as ever.
QUICK_HEARTBEAT = replace(LEASE_TIMES, heartbeat_s=0.2)


class ForkServer:
    """The process that forks, as tests see it."""

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.stage.fork_server"],
            env={**clean_environment(), "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def start(
        self,
        arguments: tuple[str, ...],
        *,
        env: dict[str, str],
        folder: Path,
        out: Path,
        err: Path,
        be: Literal["command", "service", "dashboard"] = "command",
        most_bytes: int | None = None,
    ) -> int:
        """Start a command and return its process id; or one that stays, with leases as they are, or `app.py`.

        With `most_bytes` no file that it writes may grow beyond that, as on a disk that has no more.
        """
        given = {"be": be, "arguments": arguments, "env": env, "most_bytes": most_bytes}
        return self._ask(given | {"folder": str(folder), "out": str(out), "err": str(err)}, within_s=30)

    def wait(self, pid: int, *, within_s: float) -> int:
        """Return the exit status of a command; end it when it takes too long."""
        try:
            return self._ask({"wait": pid}, within_s=within_s)
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            self._answer(5)
            raise AssertionError(f"a command did not end within {within_s:.0f} s") from None

    def _ask(self, question: dict[str, Any], *, within_s: float) -> int:
        assert self._server.stdin
        self._server.stdin.write(json.dumps(question) + "\n")
        return self._answer(within_s)

    def _answer(self, within_s: float) -> int:
        assert self._server.stdout
        if not select.select([self._server.stdout], [], [], within_s)[0]:
            raise TimeoutError
        return int(self._server.stdout.readline())

    def close(self) -> None:
        self._server.communicate(timeout=60)  # what it has imported takes a while to go, on a busy machine above all


def serve() -> None:
    """Fork a process for each line of standard input that names a command; wait for those that are asked for."""
    import tests.stage.preload  # noqa: F401

    for line in sys.stdin:
        question = json.loads(line)
        if "wait" in question:
            _, status = os.waitpid(question["wait"], 0)
            answer = os.waitstatus_to_exitcode(status)
        else:
            if question["be"] == "dashboard":
                import tests.stage.preload_dashboard  # noqa: F401
            answer = os.fork() or _be(question)
        print(answer, flush=True)


def _be(command: dict[str, Any]) -> NoReturn:
    """Be the command: never returns."""
    from core.cli.app import main

    code = 70
    try:
        os.chdir(command["folder"])
        os.environ.clear()
        os.environ.update(command["env"])
        for number, path in ((0, os.devnull), (1, command["out"]), (2, command["err"])):
            os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), number)
        if most_bytes := command["most_bytes"]:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
        if command["be"] == "dashboard":
            sys.argv = ["app.py", *command["arguments"]]
            runpy.run_path(str(ROOT / "app.py"), run_name="__main__")
        else:
            sys.argv = ["core", *command["arguments"]]
            main(lease_times=QUICK_HEARTBEAT if command["be"] == "command" else None)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve()
