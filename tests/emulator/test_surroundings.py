"""The machine around a command, set in unusual ways: it works, or says in a sentence what is wrong."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.cli.app import command
from core.sandbox import people
from data.models import RunStatus
from tests.stage.home import Home, export, newest_run
from tests.stage.sandbox import SPENDERS, Sandbox
from tests.stage.seeds import LONG, some
from tests.stage.terminal import Terminal

pytestmark = some(9)


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


# --- output that is not UTF-8 --------------------------------------------------------------------------------------

COMMANDS: list[tuple[str, int]] = [
    ("connect mixpanel --username {user} --project-id {project} --name Käufer", 0),
    ("connect csv --folder {folder}/東京 --name 東京😀", 0),
    ("connect apptimize --endpoint http://bücher.example/東京", 2),
    ("cohorts", 0),
    ("cohorts --json", 0),
    ("export {cohort} --to 東京😀", 0),
    ("export {cohort} --to 東京😀 --group 東京", 1),
    ("export {cohort} --to 東京😀 --full --json", 0),
    ("match {cohort} --to 東京😀", 0),
    ("syncs add {cohort} --to 東京😀 --tag 東京", 0),
    ("syncs list", 0),
    ("syncs list --json", 0),
    ("syncs edit 2 --tag 😀", 0),
    ("syncs run 2", 0),
    ("run cancel 4", 0),
    ("run apply 4", 2),
    ("run discard 4", 2),
    ("run undo 1", 0),
    ("syncs pause 2", 0),
    ("syncs resume 2", 0),
    ("worker --once", 0),
    ("syncs remove 2", 0),
    ("runs", 0),
    ("runs --json", 0),
    ("run show 1", 0),
    ("run show 1 --json", 0),
    ("groups", 0),
    ("groups --json", 0),
    ("groups members {cohort} --to 東京😀", 0),
    ("groups overlap {cohort} --to 東京😀", 0),
    ("groups members {cohort} --out {folder}/東京/😀.csv", 0),
    ("who 東京😀", 1),
    ("who 東京😀 --json", 1),
    ("associate --file {folder}/東京.csv --dry-run", 0),
    ("people add someone@example.com", 0),
    ("people role someone@example.com analyst", 0),
    ("people disable someone@example.com", 0),
    ("people enable someone@example.com", 0),
    ("people sign-out someone@example.com", 0),
    ("people list", 0),
    ("audit verify", 0),
    ("audit download", 0),
    ("rotate-key", 0),
    ("installation adopt --key --storage", 0),
    ("forget 東京😀 --yes", 0),
    ("config export --practice", 0),
    ("config plan {folder}/東京.toml --prune", 2),
    ("config apply {folder}/東京.toml", 0),
    ("backup {folder}/東京.backup", 0),
    ("restore {folder}/東京.backup", 1),
]
SERVERS = {"dashboard", "up", "sandbox"}  # what they print is ours alone


def leaves(group: Any, path: str = "") -> Iterator[str]:
    """Yield each command that does something."""
    subcommands = getattr(group, "commands", {})
    if not subcommands or group.invoke_without_command:
        yield path
    for name, subcommand in subcommands.items():
        yield from leaves(subcommand, f"{path} {name}".strip())


def test_every_command_is_tried_below():
    there = set(leaves(command().load_all()))

    assert {path for path in there if not any(line.startswith(path) for line, _ in COMMANDS)} == SERVERS


@pytest.mark.sqlite_file
def test_output_that_is_not_utf8_changes_the_end_of_no_command(
    sandbox: Sandbox, empty_home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    (tmp_path / "東京.toml").write_text('schema = 1\n[[people]]\nemail = "someone@example.com"\nrole = "admin"\n')
    (tmp_path / "東京.csv").write_text("distinct_id,apptimize_id\n東京,i_1\n", encoding="utf-8")
    empty_home.env = {"COHORT_BRIDGE_MIXPANEL_URL": sandbox.url, "COHORT_BRIDGE_APPTIMIZE_TOKEN": "x"}
    empty_home.env |= {"COHORT_BRIDGE_MIXPANEL_SECRET": people.ADMIN_SECRET}
    terminal = Terminal(monkeypatch, empty_home)
    given = {"user": people.ADMIN_USERNAME, "project": people.PROJECT_ID, "cohort": SPENDERS, "folder": tmp_path}

    for line, code in COMMANDS:
        ended, out, err = terminal.run(*line.format(**given).split(" "))

        assert ended == code, (line, err)
        assert "unexpected" not in err
        if "--json" in line:
            assert out.isascii()
            assert line.startswith("who") or "Käufer 東京" in json.dumps(json.loads(out), ensure_ascii=False)
        elif line in ("cohorts", "runs", "run show 1", "groups", "syncs list"):
            assert b"& K?ufer ??" in out
        elif line == "audit download":
            assert "東京😀" in out.decode()
    assert [path.name for path in (tmp_path / "東京").iterdir() if "東京" in path.name]


@pytest.mark.parametrize("encoding", ["cp1252", "utf-8", "utf-16", "shift_jis"])
def test_json_holds_the_same_in_every_encoding(
    sandbox: Sandbox, home: Home, monkeypatch: pytest.MonkeyPatch, encoding: str
):
    code, out, _ = Terminal(monkeypatch, home, encoding).run("cohorts", "--json")

    names = [cohort["name"] for cohort in json.loads(out.decode(encoding))]
    assert (code, '"Big <b>spenders</b>" & Käufer 東京' in names) == (0, True)
    assert ("東京" in out.decode(encoding)) == encoding.startswith("utf")


@pytest.mark.parametrize("arguments", [("runs", "--json"), ("groups", "members", str(SPENDERS)), ("audit", "download")])
def test_output_that_cannot_be_written_is_said(
    sandbox: Sandbox, home: Home, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
):
    with home.bridge() as bridge:
        export(bridge, SPENDERS)
    terminal, err = Terminal(monkeypatch, home), io.BytesIO()

    with open("/dev/full", "w") as full:
        code = terminal.run_into(full, err, *arguments)

    assert code == 1
    assert err.getvalue().decode().startswith("What was printed could not be written: No space left on device. ")
    assert len(err.getvalue().splitlines()) == 1


def test_a_command_needs_no_standard_output(sandbox: Sandbox, home: Home, monkeypatch: pytest.MonkeyPatch):
    terminal, err = Terminal(monkeypatch, home), io.BytesIO()

    code = terminal.run_into(None, err, "export", str(SPENDERS))

    assert (code, err.getvalue()) == (0, b"")


@pytest.mark.parametrize(("variable", "width"), [("COLUMNS", "0"), ("COLUMNS", "1"), ("TERMINAL_WIDTH", "none")])
def test_a_terminal_without_a_width_is_no_reason_to_show_nothing(
    sandbox: Sandbox, home: Home, monkeypatch: pytest.MonkeyPatch, variable: str, width: str
):
    monkeypatch.setenv(variable, width)
    terminal = Terminal(monkeypatch, home)

    code, out, _ = terminal.run("cohorts")
    refused, _, why = terminal.run("exports")

    assert (code, b"spenders" in out) == (0, True)
    assert (refused, "No such command" in why) == (2, True)


NO_TEXT = os.fsdecode(b"\xe9")  # as Python gives an argument that is not UTF-8
TEXTS = [
    "connect mixpanel --username {} --project-id 1",
    "connect csv --folder {}",
    "connect apptimize --endpoint {}",
    "export {}",
    "export 1 --group {}",
    "export 1 --to {}",
    "match {}",
    "syncs add 1 --tag {}",
    "syncs list --tag {}",
    "who {}",
    "associate --file x --prefix {}",
    "people add {}",
    "people role {} admin",
    "audit verify --head {}",
    "up --address {}",
]


def test_an_argument_that_is_no_text_is_refused_by_its_name(
    empty_home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    terminal = Terminal(monkeypatch, empty_home, "utf-8")

    for line in TEXTS:
        code, out, err = terminal.run(*line.format(NO_TEXT).split(" "))

        assert (code, out) == (2, b""), line
        assert re.fullmatch(r"(--)?[\w-]+: this is not UTF-8\. .+\n", err), line
    assert not empty_home.path.exists()


def test_a_file_may_have_a_name_that_is_no_text(
    sandbox: Sandbox, home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    (tmp_path / f"{NO_TEXT}.csv").write_text("distinct_id,apptimize_id\nu-1,i_1\n")
    with home.bridge() as bridge:
        export(bridge, SPENDERS)
    terminal = Terminal(monkeypatch, home)

    checked = terminal.run("associate", "--file", str(tmp_path / f"{NO_TEXT}.csv"), "--dry-run")
    saved = terminal.run("groups", "members", str(SPENDERS), "--out", str(tmp_path / f"{NO_TEXT}.out"))

    assert (checked[0], saved[0]) == (0, 0), (checked, saved)
    assert (tmp_path / f"{NO_TEXT}.out").read_text().startswith("user_id\n")


@LONG
def test_in_a_locale_without_utf8_names_are_the_same(sandbox: Sandbox, home: Home, tmp_path: Path):
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": ""}

    connected = home.finish(home.start("connect", "csv", "--folder", str(tmp_path / "東京"), env=locale))
    exported = home.finish(home.start("export", str(SPENDERS), "--to", "csv", "--json", env=locale))

    assert (connected.code, exported.code) == (0, 0), connected.err + exported.err
    assert exported.out.isascii()
    assert "Käufer 東京" in exported.json["cohort_name"]
    assert [path.name for path in (tmp_path / "東京").iterdir() if "東京" in path.name]


def test_streams_that_are_closed_are_not_taken_for_files(sandbox: Sandbox, home: Home):
    closed = home.start("export", str(SPENDERS), stdin=None, preexec_fn=lambda: os.closerange(0, 3))

    assert closed.wait(40) == 0
    with home.bridge() as bridge:
        assert newest_run(bridge).status == RunStatus.SUCCEEDED
    for stream in filter(None, (closed.stdout, closed.stderr)):
        stream.close()


def test_a_secret_that_is_typed_in_another_encoding_is_refused(sandbox: Sandbox, empty_home: Home):
    master, slave = pty.openpty()
    process = empty_home.start(
        "connect", "mixpanel", "--username", "someone", "--project-id", "1", stdin=slave,
        start_new_session=True, preexec_fn=lambda: fcntl.ioctl(slave, termios.TIOCSCTTY, 0),
    )  # fmt: skip
    os.close(slave)
    assert os.read(master, 100)  # it asks at the terminal now
    os.write(master, b"gr\xfc\xdfe\n")

    done = empty_home.finish(process)

    os.close(master)
    assert (done.code, done.out) == (2, "")
    assert "Service account secret: this is not UTF-8. Enter it in a terminal of UTF-8." in done.err
