"""Whether the process that is named has ended: known of this machine's own, and of no other is anything claimed."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from data.process_identity import ProcessIdentity, has_ended, identify_process
from tests.stage.processes import ROOT, clean_environment

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the heartbeat alone tells")

_SAY = """
import json, sys
from dataclasses import asdict
from data.process_identity import has_ended, identify_process
print(json.dumps(asdict(identify_process())), flush=True)
"""
_WAIT = "sys.stdin.read()\n"
# The first thread ends by itself, and with it /proc says that the process is a zombie; another thread lives on.
_END_FIRST_THREAD = f"""
import ctypes, threading
threading.Thread(target=sys.stdin.read).start()
ctypes.CDLL(None).syscall({60 if platform.machine() == "x86_64" else 93}, 0)
"""
_IN_NAMESPACE = ("unshare", "--pid", "--fork", "--kill-child")


@contextmanager
def child(code: str = _WAIT, *, under: tuple[str, ...] = ()) -> Generator[tuple[subprocess.Popen[str], list[str]]]:
    """Start a process that prints who it is, and then does this; yields it with what it printed first."""
    process = subprocess.Popen(
        [*under, sys.executable, "-c", _SAY + code],
        env={**clean_environment(), "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    try:
        yield process, [process.stdout.readline()]
    finally:
        process.kill()
        process.communicate()


def identity(lines: list[str]) -> ProcessIdentity:
    return ProcessIdentity(**json.loads(lines[0]))


def ended(process: ProcessIdentity) -> bool:
    return has_ended(process, here=identify_process())


def wait_for_end(process: subprocess.Popen[str]) -> None:
    """Wait until a process has ended, and leave its exit status where it is."""
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)


def can_make_namespaces() -> bool:
    return subprocess.run([*_IN_NAMESPACE, "true"], capture_output=True, check=False).returncode == 0


def test_a_process_that_lives_or_was_stopped_has_not_ended():
    with child() as (process, lines):
        alive = ended(identity(lines))
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)

        assert (alive, ended(identity(lines))) == (False, False)


def test_a_process_that_was_killed_has_ended_before_and_after_its_parent_took_notice():
    with child() as (process, lines):
        process.kill()
        wait_for_end(process)
        before = ended(identity(lines))
        process.communicate()

    assert (before, ended(identity(lines))) == (True, True)


def test_a_process_whose_first_thread_ended_lives_on_with_its_others():
    with child(_END_FIRST_THREAD) as (process, lines):
        stat = Path(f"/proc/{process.pid}/stat")
        while stat.read_text().rpartition(")")[2].split()[0] != "Z":
            os.sched_yield()

        assert not ended(identity(lines))


def test_a_pid_that_was_given_to_another_process_since_is_not_the_one_that_was_meant():
    me = identify_process()
    assert me.process_started is not None

    assert not ended(me)
    assert ended(replace(me, process_started=me.process_started - 1))
    assert not ended(replace(me, process_started=None))


def test_a_fork_is_another_process():
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writer, json.dumps(asdict(identify_process())).encode())
        os._exit(0)
    os.close(writer)
    forked = ProcessIdentity(**json.loads(os.read(reader, 4096)))
    os.close(reader)
    os.waitpid(pid, 0)

    assert (forked.pid, ended(forked), ended(identify_process())) == (pid, True, False)


@pytest.mark.parametrize(
    "elsewhere",
    [{"machine": "another"}, {"machine": None}, {"pid_namespace": "pid:[1]"}, {"pid_namespace": None}, {"pid": 0}],
)
def test_of_a_process_of_another_place_nothing_is_claimed(elsewhere: dict[str, str | None]):
    with child() as (process, lines):
        process.kill()
        process.communicate()

    assert ended(identity(lines))
    assert not ended(replace(identity(lines), **elsewhere))


@pytest.mark.skipif(not can_make_namespaces(), reason="no right to make a namespace")
@pytest.mark.parametrize("proc", [("--mount-proc",), ()], ids=["own /proc", "the other one's /proc"])
def test_namespaces_of_one_machine_claim_nothing_of_each_other_and_each_knows_its_own(proc: tuple[str, ...]):
    ask = (
        "from data.process_identity import ProcessIdentity\n"
        "from dataclasses import replace\n"
        "me, other = identify_process(), ProcessIdentity(**json.loads(sys.stdin.readline()))\n"
        "absent = replace(me, pid=4_000_000)\n"
        "print(json.dumps([has_ended(one, here=me) for one in (me, other, absent)]), flush=True)\n"
    )
    with child() as (gone, told):
        gone.kill()
        gone.communicate()
    with child(ask + _WAIT, under=(*_IN_NAMESPACE, *proc)) as (process, lines):
        inside = identity(lines)
        assert process.stdin
        assert process.stdout
        process.stdin.write(json.dumps(asdict(identity(told))) + "\n")
        process.stdin.flush()
        answers = json.loads(process.stdout.readline())
        while_it_lives = ended(inside)

    assert (inside.pid, answers) == (1, [False, False, True])
    assert (while_it_lives, ended(replace(inside, pid=4_000_000))) == (False, False)
    assert inside.machine == identify_process().machine


@pytest.mark.skipif(not can_make_namespaces(), reason="no right to make a namespace")
def test_the_first_processes_of_two_containers_claim_nothing_of_each_other():
    ask = (
        "from data.process_identity import ProcessIdentity\n"
        "other = ProcessIdentity(**json.loads(sys.stdin.readline()))\n"
        "print(has_ended(other, here=identify_process()), flush=True)\n"
    )
    with (
        child(under=(*_IN_NAMESPACE, "--mount-proc")) as (_, first),
        child(ask, under=(*_IN_NAMESPACE, "--mount-proc")) as (second, told),
    ):
        here, there = identity(told), identity(first)
        answer = second.communicate(json.dumps(asdict(there)) + "\n")[0]

    assert (here.pid, there.pid, here.machine) == (1, 1, there.machine)
    assert answer.strip() == "False"
