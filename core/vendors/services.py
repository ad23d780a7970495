"""Services that Apprise speaks to: it works in a process of its own, held by what that may do, for a message long.

So nothing of it is loaded here, a module that hangs is ended with its process, and what is held there holds for it
alone. The address travels on standard input: no list of processes shows it, and the environment holds no secret.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from core.vendors import proxies
from core.vendors.certificates import check_named
from core.vendors.retry import is_gateway_timeout, is_passing, retry_after_s

log = logging.getLogger(__name__)

_ROOT = Path(__file__).parents[2]
# What a process needs to run at all; nothing that is ours.
_KEPT = (
    "PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX",
)  # fmt: skip
_TO_START_S = 20.0  # a busy machine takes long to start it
_LONGEST_ANSWER = 2**20

# Why something was not allowed, as it is told.
PLAIN = "plain"
WHY_DENIED = {
    "file": "it would read a file of this machine",
    "program": "it would start a program on this machine",
    "place": "it leads to a private address",
    "protocol": "it speaks neither HTTPS nor SMTP, the two that alerts are sent by",
    PLAIN: "it would be sent without encryption",
}


@dataclass(frozen=True)
class Spoken:
    """What came of having Apprise say something, or look: `ended` is False where its process had to be ended."""

    ended: bool = False
    begun: bool = False  # something of a message may have left
    unknown: bool = False
    service: str = ""
    generic: bool = False
    targets: int = 1
    accepted: bool = False
    exchanges: tuple[dict[str, Any], ...] = ()
    denied: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()


async def look(address: str, *, anywhere: bool) -> Spoken:
    """Say what an address leads to, and whom it would connect to; nothing is sent, and no name looked up."""
    asked = {"address": address, "title": "x", "body": "x", "kind": "info", "looks_only": True, "anywhere": anywhere}
    return await _speak(asked, within_s=_TO_START_S)


async def send(address: str, title: str, body: str, kind: str, *, anywhere: bool, within_s: float) -> Spoken:
    """Have a text sent to an address, once. `kind` is Apprise's: info, success, warning or failure."""
    asked = {"address": address, "title": title, "body": body, "kind": kind, "looks_only": False, "anywhere": anywhere}
    return await _speak(asked, within_s=within_s)


async def _speak(asked: dict[str, Any], *, within_s: float) -> Spoken:
    check_named()
    told = dict[str, Any]()
    try:
        process = await _start(anywhere=asked["anywhere"])
    except OSError as exc:  # no memory, or too many processes
        log.warning("no process for a service reason=%s", exc.strerror)
        return Spoken()
    try:
        async with asyncio.timeout(within_s):
            await _converse(process, {**asked, "within_s": within_s}, told)
            told["ended"] = await process.wait() == 0
    except (TimeoutError, OSError, ValueError, TypeError):
        pass  # what was told until then counts
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return _read(told)


async def _start(*, anywhere: bool) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "core.vendors.apprise_child",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        cwd=_ROOT,
        env=_environment(anywhere=anywhere),
        limit=_LONGEST_ANSWER,
        start_new_session=True,  # a key that ends this program is not pressed for it
    )


async def _converse(process: asyncio.subprocess.Process, asked: dict[str, Any], told: dict[str, Any]) -> None:
    assert process.stdin
    assert process.stdout
    process.stdin.write(json.dumps(asked).encode())
    await process.stdin.drain()
    process.stdin.close()
    while line := await process.stdout.readline():
        told.update(json.loads(line))


def _read(told: Mapping[str, Any]) -> Spoken:
    def listed(name: str) -> tuple[Any, ...]:
        return tuple(cast("list[Any]", told.get(name, [])))

    return Spoken(
        ended=bool(told.get("ended")),
        begun=bool(told.get("begun")),
        unknown=bool(told.get("unknown")),
        service=str(told.get("service", "")),
        generic=bool(told.get("generic")),
        targets=int(told.get("targets", 1)),
        accepted=bool(told.get("accepted")),
        exchanges=listed("exchanges"),
        denied=listed("denied"),
        hosts=listed("hosts"),
    )


def _environment(*, anywhere: bool) -> dict[str, str]:
    """Return the environment of the process: proxies only where an entered address may lead anywhere (see http.py)."""
    made = {name: os.environ[name] for name in _KEPT if name in os.environ}
    made |= {"PYTHONPATH": os.fspath(_ROOT), "NETRC": os.fspath(_ROOT / "none")}
    if trusted := made.get("SSL_CERT_FILE") or made.get("SSL_CERT_DIR", "").split(os.pathsep)[0]:
        made["REQUESTS_CA_BUNDLE"] = trusted
    if not anywhere:
        return {**made, "NO_PROXY": "*"}
    given = dict(os.environ)
    proxies.prepare_for_libraries(given)
    return made | {name: value for name, value in given.items() if name.lower().endswith("_proxy")}


# --- what came of it ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fate:
    """Whether a message was accepted, refused, failed for now, or may have arrived (`undecided`); and why."""

    what: str
    why: str = ""
    retry_after_s: float | None = None


ACCEPTED, REFUSED, FAILED, UNDECIDED = "accepted", "refused", "failed", "undecided"


def judge(spoken: Spoken) -> Fate:
    """Return what came of a message. Where it may have arrived anywhere, it is not to be sent again."""
    if spoken.unknown:
        return Fate(REFUSED, "does not take this address")
    if not spoken.ended:
        return Fate(UNDECIDED if spoken.begun else FAILED, "did not answer in time")
    if spoken.accepted:
        return Fate(ACCEPTED)
    if any(_is_open(exchange) for exchange in spoken.exchanges):
        return Fate(UNDECIDED, "did not say whether it took the message")
    if spoken.targets > 1 and any(_is_taken(exchange) for exchange in spoken.exchanges):
        return Fate(UNDECIDED, "took the message for some of its recipients, and not for others")
    if spoken.denied:
        return Fate(REFUSED, f"cannot be used: {WHY_DENIED.get(spoken.denied[0], 'it is not allowed')}")
    return _judge_last(spoken.exchanges[-1]) if spoken.exchanges else Fate(REFUSED, "does not take this address")


def _judge_last(last: Mapping[str, Any]) -> Fate:
    if "smtp" in last and last["smtp"] is not None:
        code = int(last["smtp"])
        if 400 <= code < 500:
            return Fate(FAILED, f"did not take the message for now ({code})")
        return Fate(REFUSED, f"refused the message ({code})")
    status = last["status"]
    if status is None:
        return Fate(FAILED, "could not be reached")
    if is_passing(int(status)):
        headers = cast("dict[str, str]", last.get("headers", {}))
        return Fate(FAILED, f"answered with an error of its own ({status})", retry_after_s(headers))
    if 300 <= int(status) < 400:
        return Fate(REFUSED, f"answered that it is elsewhere ({status}), which is not followed")
    if _is_taken(last):
        return Fate(REFUSED, "answered that it does not take the message")
    return Fate(REFUSED, f"refused the message ({status})")


def _is_open(exchange: Mapping[str, Any]) -> bool:
    status = exchange["status"]
    return is_gateway_timeout(int(status)) if status is not None else bool(exchange["sent"])


def _is_taken(exchange: Mapping[str, Any]) -> bool:
    status = exchange["status"]
    return status is not None and 200 <= int(status) < 300
