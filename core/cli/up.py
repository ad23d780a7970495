"""Everything for one machine in one terminal: worker, dashboard, and the sandbox in practice mode."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import NoReturn, TypeVar

import httpx
from pydantic import SecretStr

from core.access.roles import LOCAL
from core.bridge import Bridge
from core.connections import lookup, mixpanel_connection
from core.connections.destinations import connect_endpoint
from core.errors import CohortBridgeError, SettingsError
from core.hosts import is_loopback_host
from core.settings import Settings
from core.signals import end_signals
from data.models import DESTINATION_SIDE, MIXPANEL_SIDE, Connection, SignInKind

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[2]
_DASHBOARD = ROOT / "app.py"
_SIGN_IN_FILE = ROOT / ".streamlit" / "secrets.toml"
LOOPBACK = "127.0.0.1"
_START_WITHIN_S = 60.0
_END_WITHIN_S = 12.0
_PR_SET_PDEATHSIG = 1


@dataclass
class Service:
    """One of the processes, and where its output goes."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path


def run(
    bridge: Bridge, *, port: int, sandbox_port: int, notify: Callable[[str], object], address: str = LOOPBACK
) -> int:
    """Start everything, print the address, and end all of it on a signal or when one of them dies.

    The dashboard listens at `address`; it refuses any but this machine's own while sign-in is not set up.

    Returns the exit status: 0 when it was asked to end, 1 when one died. Raises SettingsError when a port is taken.
    """
    for_worker = _own_metrics_port(bridge.settings, port)
    stop = Event()
    for number in end_signals():
        signal.signal(number, lambda _number, _frame: stop.set())
    _require_loopback(address)
    _require_free(port, "--port")
    bridge.find_storage_trouble()  # said now, and not only when a run fails
    services = list[Service]()
    try:
        if _is_practice(bridge):
            # The dashboard starts last: its port is free until then, and not for others.
            usual = sandbox_port if sandbox_port != port else _any_port()
            sandbox_url = _start_sandbox(bridge, services, usual, stop)
            if not stop.is_set():
                connect_sandbox(bridge, sandbox_url)
                notify(f"Practice sandbox  {sandbox_url}")
        services.append(_start(bridge, "worker", "worker", **for_worker))
        services.append(_start_dashboard(bridge, address, port))
        host = _local_host(address)
        url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        # The port was free before, so it is the dashboard that answers.
        path = _wait_until_up(services, lambda: _find_path(url), stop)
        if not stop.is_set():
            notify(f"Cohort Bridge     {url}{path or ''}")
            notify("Ctrl-C ends everything.")
        return _watch(services, stop)
    finally:
        _end(services)


def _own_metrics_port(settings: Settings, port: int) -> dict[str, str]:
    """Return what the worker's environment needs so that health and metrics do not take the dashboard's port.

    Raises SettingsError where that very port was chosen for them.
    """
    if settings.metrics_at is None or settings.metrics_at[1] != port:
        return {}
    if settings.metrics_address != Settings.model_fields["metrics_address"].default:
        raise SettingsError(
            f"Port {port} is that of COHORT_BRIDGE_METRICS_ADDRESS too.",
            advice="Choose another one there, or with --port.",
        )
    return {"COHORT_BRIDGE_METRICS_ADDRESS": f"{LOOPBACK}:{port + 1}"}


def _is_practice(bridge: Bridge) -> bool:
    connections = lookup.list_connections(bridge, LOCAL)
    return not connections or any(connection.practice for connection in connections)


def _start_sandbox(bridge: Bridge, services: list[Service], port: int, stop: Event) -> str:
    if not _is_free(port):
        port = _any_port()  # another sandbox on this machine has the usual one
    services.append(_start(bridge, "sandbox", "sandbox", "--port", str(port)))
    url = f"http://{LOOPBACK}:{port}"
    _wait_until_up(services, lambda: _answers(f"{url}/sandbox/api/project") or None, stop)
    return url


def connect_sandbox(bridge: Bridge, url: str) -> None:
    """Connect the practice project and the practice destination, where nothing else is connected under those names."""
    from core.sandbox import people

    connections = lookup.list_connections(bridge, LOCAL)
    mixpanel = [connection for connection in connections if connection.side == MIXPANEL_SIDE]
    destinations = [connection for connection in connections if connection.side == DESTINATION_SIDE]
    if _is_outdated(mixpanel, url) if mixpanel else not destinations:
        # The sandbox stands in for the vendor's hosts, for this connection only.
        practice = replace(bridge, settings=bridge.settings.model_copy(update={"mixpanel_url": url}))
        form = mixpanel_connection.MixpanelForm(
            username=people.ADMIN_USERNAME,
            secret=SecretStr(people.ADMIN_SECRET),
            project_id=people.PROJECT_ID,
            project_token=SecretStr(people.PROJECT_TOKEN),
        )
        mixpanel_connection.connect_mixpanel(practice, LOCAL, form, if_taken="replace")
    endpoint = f"{url}/apptimize/cohort-sync"
    if _is_outdated(destinations, endpoint) if destinations else not mixpanel or mixpanel[0].practice:
        answer = httpx.post(
            f"{url}/sandbox/api/tokens", json={"name": "Cohort Bridge"}, timeout=30, trust_env=False
        ).raise_for_status()
        token = SecretStr(answer.json()["token"])
        # Who connected another workspace of the sandbox said then that its groups are kept apart.
        connect_endpoint(bridge, LOCAL, url=endpoint, token=token, if_taken="replace", apart=True)


def _is_outdated(connections: Sequence[Connection], url: str) -> bool:
    """Return whether the connection called default is the sandbox's, at a port that it no longer has.

    A receiver of the sandbox's that is no Apptimize was connected there by a person, and is theirs.
    """
    return any(
        connection.practice
        and connection.name == "default"
        and connection.sign_in == SignInKind.APPTIMIZE
        and url not in (connection.url, connection.base_url)
        for connection in connections
    )


def _require_loopback(address: str) -> None:
    """Refuse at once what the dashboard would refuse later: to be open to other machines without sign-in."""
    if not is_loopback_host(address) and not _SIGN_IN_FILE.exists():
        raise SettingsError(
            f"Sign-in is not set up, and at {address} other machines could open the dashboard.",
            advice="Set up sign-in first (docs/sign-in), or omit --address.",
            code="open_to_others",
        )


def _local_host(address: str) -> str:
    """Return where this machine finds what listens at an address."""
    return LOOPBACK if address in ("0.0.0.0", "::") else address  # noqa: S104  (compared, not listened at)


def become_dashboard(bridge: Bridge, *, address: str, port: int) -> NoReturn:
    """Become the process of the dashboard, as what is asked to end the one ends the other.

    That this one could be opened has shown that its database, key and storage belong together. Raises SettingsError.
    """
    _require_loopback(address)
    _require_free(port, "--port")
    bridge.engine.dispose()
    os.chdir(ROOT)
    environment = _environment(bridge)
    os.execve(sys.executable, _dashboard_command(address, port), environment)  # noqa: S606  (our own program)


def _start_dashboard(bridge: Bridge, address: str, port: int) -> Service:
    return _spawn(bridge, "dashboard", _dashboard_command(address, port))


def _dashboard_command(address: str, port: int) -> list[str]:
    options = {
        "server.port": str(port),
        "server.address": address,
        "server.headless": "true",
        "browser.gatherUsageStats": "false",
    }
    return [sys.executable, str(_DASHBOARD), *(f"--{name}={value}" for name, value in options.items())]


def _start(bridge: Bridge, name: str, *arguments: str, **more: str) -> Service:
    return _spawn(bridge, name, [sys.executable, "-m", "core", *arguments], **more)


def _spawn(bridge: Bridge, name: str, command: list[str], **more: str) -> Service:
    """Start a process; `more` is added to its environment."""
    folder = bridge.settings.home / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / f"{name}.log"
    environment = _environment(bridge) | more
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603  (our own modules)
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Ctrl-C reaches this process alone, which then ends the others in order.
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )
    return Service(name, process, log)


def _environment(bridge: Bridge) -> dict[str, str]:
    encoding = {"PYTHONUTF8": "1", "PYTHONIOENCODING": "utf-8"}  # whatever the locale of this terminal says
    return os.environ | encoding | {"COHORT_BRIDGE_HOME": str(bridge.settings.home)}


def _die_with_parent() -> None:
    """Have Linux end this process when its parent is killed, so that no port stays taken."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _wait_until_up(services: list[Service], ask: Callable[[], T | None], stop: Event) -> T | None:
    """Wait until the last service answers, and return the answer; None when one ended, or all are to end.

    Raises SettingsError when it is not in time.
    """
    deadline_s = time.monotonic() + _START_WITHIN_S
    while time.monotonic() < deadline_s:
        if any(service.process.poll() is not None for service in services):
            return None  # the watch that follows says which, and why
        if (answer := ask()) is not None or stop.wait(0.1):
            return answer
    raise SettingsError(f"The {services[-1].name} did not start in time.", advice=f"See {services[-1].log}.")


def _find_path(url: str) -> str | None:
    """Return the path below which the dashboard is served, empty for none; None while it does not answer.

    It leads there itself. No proxy is asked: where one is set, it knows nothing of this machine.
    """
    try:
        answer = httpx.get(url, timeout=5, trust_env=False)
    except (httpx.ConnectError, httpx.TimeoutException):
        return None
    except httpx.HTTPError:
        return ""  # something answers, though not in plain HTTP
    path = answer.headers.get("Location", "") if answer.is_redirect else ""
    return path.rstrip("/") if path.startswith("/") else ""


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def _watch(services: list[Service], stop: Event) -> int:
    while not stop.wait(0.3):
        for service in services:
            if service.process.poll() is not None:
                raise CohortBridgeError(
                    f"The {service.name} ended on its own, so everything was stopped.{_last_line(service.log)}",
                    advice=f"All of its output is in {service.log}.",
                    code="service_died",
                )
    return 0


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return f" The last line of its output: {lines[-1][:300]}" if lines else ""


def _end(services: list[Service]) -> None:
    for service in services:
        if service.process.poll() is None:
            service.process.terminate()
    deadline_s = time.monotonic() + _END_WITHIN_S
    for service in services:
        try:
            service.process.wait(max(0.1, deadline_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            service.process.kill()
            service.process.wait()


def _require_free(port: int, option: str) -> None:
    if not _is_free(port):
        raise SettingsError(
            f"Port {port} is used by another program.", advice=f"End it, or choose another one with {option}."
        )


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def _any_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return probe.getsockname()[1]
