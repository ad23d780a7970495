"""What `up` finds out about the dashboard that it started: whether it answers yet, and below which path."""

from __future__ import annotations

import socket
from threading import Thread

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from core.cli.up import _find_path, _own_metrics_port  # pyright: ignore[reportPrivateUsage]
from core.errors import SettingsError
from core.settings import Settings
from tests.stage.processes import free_port
from tests.stage.serving import serving


@pytest.mark.parametrize(
    ("answer", "path"),
    [
        (PlainTextResponse("the page"), ""),
        (RedirectResponse("/tools/bridge/"), "/tools/bridge"),
        (RedirectResponse("https://elsewhere.example/"), ""),
        (PlainTextResponse("a name of its own", 400), ""),
    ],
)
def test_the_dashboard_itself_says_below_which_path_it_is(monkeypatch: pytest.MonkeyPatch, answer: Response, path: str):
    for variable in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    with serving(Starlette(routes=[Route("/", lambda _: answer)])) as port:
        assert _find_path(f"http://127.0.0.1:{port}") == path


def test_what_does_not_answer_yet_is_not_up():
    assert _find_path(f"http://127.0.0.1:{free_port()}") is None


def test_what_answers_in_another_way_is_up():
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.settimeout(10)

        def answer() -> None:
            connection, _ = other.accept()
            connection.recv(1000)
            connection.sendall(b"\x15\x03\x03\x00\x02\x02\x16")  # an alert of TLS
            connection.close()

        thread = Thread(target=answer)
        thread.start()
        assert _find_path(f"http://127.0.0.1:{other.getsockname()[1]}") == ""
        thread.join()


@pytest.mark.parametrize(
    ("address", "port", "moved_to"),
    [("127.0.0.1:8502", 8501, None), ("127.0.0.1:8502", 8502, "127.0.0.1:8503"), ("off", 8502, None)],
)
def test_health_and_metrics_make_room_for_the_dashboard(address: str, port: int, moved_to: str | None):
    moved = _own_metrics_port(Settings(metrics_address=address, _env_file=None), port)  # type: ignore[call-arg]

    assert moved == ({"COHORT_BRIDGE_METRICS_ADDRESS": moved_to} if moved_to else {})


def test_a_port_that_was_chosen_for_metrics_is_not_the_dashboards():
    settings = Settings(metrics_address="127.0.0.1:9100", _env_file=None)  # type: ignore[call-arg]

    with pytest.raises(SettingsError, match="Port 9100 is that of COHORT_BRIDGE_METRICS_ADDRESS too"):
        _own_metrics_port(settings, 9100)
