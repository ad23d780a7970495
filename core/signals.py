"""The signals that end a process from outside, besides the one that cannot be caught."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from contextlib import ExitStack, contextmanager

# Ctrl-C, a service manager, a terminal that is closed.
_ALL = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def end_signals() -> list[signal.Signals]:
    """List what ends this process: under nohup the end of its terminal does not."""
    is_kept = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [number for number in _ALL if number is not signal.SIGHUP or not is_kept]


@contextmanager
def uninterrupted() -> Generator[None]:
    """Let none of them end the process while inside, which must be a moment only."""
    with ExitStack() as handlers:
        if threading.current_thread() is threading.main_thread():
            for number in _ALL:
                before = signal.signal(number, signal.SIG_IGN)
                handlers.callback(signal.signal, number, signal.SIG_DFL if before is None else before)
        yield
