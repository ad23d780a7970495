"""The machine around a command, set in unusual ways: it works, or says in a sentence what is wrong."""

from __future__ import annotations

import pytest

from tests.stage.home import Home
from tests.stage.sandbox import Sandbox


@pytest.mark.parametrize(
    "surroundings",
    [
        {"NO_PROXY": "127.0.0.1,::1,[::1]", "HTTPS_PROXY": "http://proxy.example:1"},
        {"no_proxy": "fd00::/8", "HTTP_PROXY": "http://proxy.example:1"},
        {"NO_PROXY": "fd00::/200"},
    ],
    ids=["addresses", "networks", "no proxy at all"],
)
def test_proxies_of_the_environment_leave_our_own_machine_alone(
    sandbox: Sandbox, home: Home, surroundings: dict[str, str]
):
    done = home.run("cohorts", env=surroundings)

    assert (done.code, done.err) == (0, "")


@pytest.mark.parametrize(
    ("variable", "value"),
    [("ALL_PROXY", "socks5://h:1"), ("all_proxy", "socks://h:1/"), ("HTTPS_PROXY", "http://user:hidden@h:port")],
)
def test_a_proxy_that_cannot_be_used_is_named_by_every_command_that_asks(
    sandbox: Sandbox, home: Home, variable: str, value: str
):
    for done in home.run_all(("cohorts",), ("worker", "--once"), env={variable: value}):
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith(f"{variable} cannot be used: ")
        assert len(done.err.splitlines()) == 1
        assert "hidden" not in done.err
    assert sandbox.log()["requests"] == []
