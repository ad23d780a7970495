"""The commands whose JSON is recorded, how they are played, and what of their output is compared.

`python -m tests.emulator.record_contract` records them again into `tests/fixtures/recorded-commands.json`. Scripts rely
on what is in there: a change of it should only ever add.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import shlex
import tempfile
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from core.sandbox import people
from core.sandbox.server import running
from tests.stage.home import Done, Home, forked_commands
from tests.stage.processes import ROOT
from tests.stage.sandbox import (
    COMPANIES,
    EVERYONE,
    IMPORTED,
    LATER_S,
    NEWSLETTER,
    NOON,
    POWER,
    PROJECT,
    REFUND,
    SPENDERS,
    TESTERS,
    TRIAL,
    WEB,
    Sandbox,
)

RECORDING = ROOT / "tests" / "fixtures" / "recorded-commands.json"
UNKNOWN = 999
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
# Sentences for people may be reworded: that there is one is compared, not what it says.
SENTENCES = ("message", "advice", "paused_reason", "reason", "problems", "notes")
# How often a failing vendor is tried, and what was on its way by then, depends on the time that it takes.
UNSTEADY = ("requests", "messages")


class Player:
    """Plays commands in one home, and keeps what is compared of each."""

    def __init__(self, sandbox: Sandbox, home: Home) -> None:
        self.sandbox = sandbox
        self.home = home
        self.played: list[dict[str, Any]] = []
        self.told: list[dict[str, Any]] = []  # the objects that were printed, as they were

    def do(self, command: str, *, env: dict[str, str] | None = None) -> None:
        """Play a command, written as in a shell; `SANDBOX` stands for the sandbox's address."""
        self.look(command, env=env)

    def look(self, *commands: str, env: dict[str, str] | None = None) -> None:
        """Play commands side by side: such as change nothing."""
        arguments = [tuple(shlex.split(command.replace("SANDBOX", self.sandbox.url))) for command in commands]
        for command, done in zip(commands, self.home.run_all(*arguments, env=env), strict=True):
            self.played.append({"command": command, **_compared(command, done)})
            if "json" in self.played[-1] and isinstance(done.json, dict):
                self.told.append(done.json)

    def file_written(self, name: str) -> None:
        """Keep what is compared of a file that the last command wrote."""
        self.played[-1]["file"] = _table((self.home.path.parent / name).read_text(encoding="utf-8"))

    def write(self, name: str, *rows: tuple[str, str]) -> None:
        """Put a file of users where commands find it."""
        lines = ["distinct_id,apptimize_id", *(",".join(row) for row in rows)]
        (self.home.path.parent / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _compared(command: str, done: Done) -> dict[str, Any]:
    told: dict[str, Any] = {"exit": done.code, "complains": bool(done.err.strip())}
    if "--json" in shlex.split(command):
        told["json"] = neutral(done.json)
    elif command.startswith(("groups members", "audit download")):
        told["table"] = _table(done.out)
    return told


def neutral(value: Any, name: str = "") -> Any:
    """Replace what differs from one playing to the next, or is worded for people."""
    if name in SENTENCES and value and not isinstance(value, Mapping):
        return "<text>"
    if name in ("head", "worker") and value:
        return f"<{name}>"
    if isinstance(value, str) and TIME.fullmatch(value):
        return "<time>"
    if isinstance(value, list):
        return [neutral(item) for item in value]
    if isinstance(value, dict):
        unsteady = UNSTEADY if value.get("error") else ()
        return {key: "<number>" if key in unsteady else neutral(item, key) for key, item in value.items()}
    return value


def _table(text: str) -> dict[str, Any]:
    """Sum a CSV up: its columns, how many rows it has, and which, or for the outcomes of rows how many of each."""
    rows = list(csv.reader(io.StringIO(text.removeprefix("\ufeff"))))
    if not rows:
        return {"rows": 0}
    header, rest = rows[0], rows[1:]
    told: dict[str, Any] = {"columns": header, "rows": len(rest)}
    if "outcome" in header and "reason" in header:
        told["outcomes"] = Counter(row[header.index("outcome")] for row in rest)
    elif len(header) == 1:
        told["digest"] = hashlib.sha256("\n".join(sorted(row[0] for row in rest)).encode()).hexdigest()
    elif "action" in header:
        told["actions"] = Counter(row[header.index("action")] for row in rest)
    return told


# --- the commands --------------------------------------------------------------------------------------------------


def play(sandbox: Sandbox, home: Home) -> list[dict[str, Any]]:
    """Play every command in an empty home, and return what is compared of each, in order."""
    player = Player(sandbox, home)
    for part in (
        _wrong_usage,
        _before_anything_is_connected,
        _connect,
        _export,
        _export_that_fails,
        _runs,
        _syncs,
        _groups,
        _match,
        _associate,
        _people,
        _audit,
    ):
        part(player)
    return player.played


def _wrong_usage(player: Player) -> None:
    player.look("", "unheard-of", "export --json", "export twelve --json", f"export {POWER} --json --colour")
    player.look("runs --limit none --json", "run show twelve --json", "match twelve --json", "groups members twelve")
    player.look("connect csv", "syncs edit one --json", "sandbox --profiles none.jsonl --cohorts none.json")
    player.look("sandbox --port 0", "up --port 0")


def _before_anything_is_connected(player: Player) -> None:
    player.look("runs --json", "groups --json", "syncs list --json", "people list --json", "audit verify --json")
    player.look("cohorts --json", f"export {POWER} --json", f"syncs add {POWER} --json", f"match {POWER} --json")
    player.do("worker --once")


def _connect(player: Player) -> None:
    mixpanel = f"connect mixpanel --username {people.ADMIN_USERNAME} --project-id {PROJECT}"
    other = f"connect mixpanel --username {people.ANALYST_USERNAME} --project-id {PROJECT}"
    apptimize = "connect apptimize --endpoint SANDBOX/apptimize/cohort-sync"
    at = {"COHORT_BRIDGE_MIXPANEL_URL": player.sandbox.url}
    secret = at | {"COHORT_BRIDGE_MIXPANEL_SECRET": people.ADMIN_SECRET}
    player.look(mixpanel, apptimize)
    player.do(f"{mixpanel} --region mars", env=secret)
    player.do(mixpanel, env=at | {"COHORT_BRIDGE_MIXPANEL_SECRET": "wrong"})
    player.do(other, env=at | {"COHORT_BRIDGE_MIXPANEL_SECRET": people.ANALYST_SECRET})
    player.do(f"{mixpanel} --region eu --id-merge original --name default", env=secret)
    player.do(f"export {POWER} --json")  # there is no destination yet
    player.do(apptimize, env={"COHORT_BRIDGE_APPTIMIZE_TOKEN": "wrong"})
    player.do("connect apptimize --endpoint ftp://example.com/x", env={"COHORT_BRIDGE_APPTIMIZE_TOKEN": "token"})
    player.do(f"{apptimize} --name default", env={"COHORT_BRIDGE_APPTIMIZE_TOKEN": player.sandbox.token})
    player.write("users.csv", ("user-10001", "i_1"))
    player.do("associate --file users.csv --yes --json")  # there is no project token yet
    token = {"COHORT_BRIDGE_MIXPANEL_PROJECT_TOKEN": people.PROJECT_TOKEN}
    player.do(f"{mixpanel} --region eu --match-property $apptimize_user_id", env=secret | token)
    player.do("cohorts --json")


def _export(player: Player) -> None:
    player.sandbox.limit(hourly_limit=7200)  # one query's share of the hour is half a second
    player.sandbox.fault("rate_limit_hour", times=1, path="engage")
    player.do(f"export {WEB} --wait --json")
    player.do(f"export {POWER} --json")
    player.do(f"export {TRIAL} --group 'Trial 東京' --json")
    player.do(f"export {TRIAL} --group Other --json")
    player.do(f"export {IMPORTED} --group 'Power users' --json")
    player.do("connect csv --folder groups --name csv")
    player.do(f"export {POWER} --json")  # which destination is not said
    player.do(f"export {TESTERS} --to csv --json")
    player.sandbox.at(LATER_S)
    player.do(f"export {POWER} --to default --dry-run --json")
    player.do(f"export {POWER} --to default --json")
    player.do(f"export {POWER} --to default --json")
    player.do(f"export {POWER} --to default --full --json")
    player.do(f"export {REFUND} --to default --json")


def _export_that_fails(player: Player) -> None:
    player.do(f"export {UNKNOWN} --to default --json")
    player.do(f"export {COMPANIES} --to default --json")
    player.do(f"export {POWER} --to nowhere --json")
    for cohort, fault, options in (
        (IMPORTED, "unauthorized", {"target": "apptimize"}),
        (IMPORTED, "server_error", {"target": "apptimize"}),
        (IMPORTED, "unauthorized", {"target": "mixpanel"}),
        (IMPORTED, "server_error", {"target": "mixpanel"}),
        (IMPORTED, "page_rows_missing", {"target": "mixpanel"}),
        (TESTERS, "total_wrong", {"by": 3}),
    ):
        player.sandbox.fault(fault, **options)
        player.do(f"export {cohort} --to default --json")
        player.sandbox.clear_faults()


def _runs(player: Player) -> None:
    player.look("runs --json", "runs --limit 2 --json", "runs --sync 1 --json", f"runs --sync {UNKNOWN} --json")
    player.look("run show 1 --json", f"run show {UNKNOWN} --json")
    first, second = (run["id"] for run in player.told if run.get("status") == "held")
    player.do(f"run discard {second} --json")
    player.do(f"run discard {second} --json")
    player.do(f"run discard {UNKNOWN} --json")
    player.do(f"run apply {first} --json")
    player.do("run apply 1 --json")
    player.do(f"run apply {UNKNOWN} --json")
    player.do("worker --once")
    player.do("run undo 2 --json")
    player.do(f"run undo {UNKNOWN} --json")
    player.do("worker --once")
    player.do("runs --limit 2 --json")
    player.do("run cancel 1 --json")
    player.do(f"run cancel {UNKNOWN} --json")


def _syncs(player: Player) -> None:
    # Daily ones: the next slot of a shorter interval may well come while this is played, and queue one more run.
    player.do(f"syncs add {SPENDERS} --every 1440 --to default --max-shrink 40 --tag launch --tag beta --json")
    first = player.told[-1]["id"]
    player.do(f"syncs add {NEWSLETTER} --to csv --group Readers --every 1440 --json")
    second = player.told[-1]["id"]
    player.do(f"syncs add {TRIAL} --to csv --json")
    player.do(f"syncs remove {player.told[-1]['id']} --json")
    player.do(f"syncs add {SPENDERS} --to default --json")
    player.do(f"syncs add {UNKNOWN} --to default --every 1440 --json")
    player.do(f"syncs add {COMPANIES} --to default --json")
    player.do(f"syncs add {TRIAL} --to default --every 7 --json")
    player.do(f"syncs add {TRIAL} --to default --at 'weekdays at 08:00' --json")
    player.do(f"syncs add {TRIAL} --to default --cron '0 8 30 2 *' --zone UTC --json")
    player.do(f"syncs add {TRIAL} --to default --max-shrink 140 --json")
    player.do(f"syncs add {TRIAL} --to nowhere --json")
    player.do("worker --once")
    player.look("syncs list --json", "syncs list --tag beta --json", "syncs list --tag none --json")
    player.do(f"syncs run {first} --json")
    player.do(f"syncs run {first} --json")
    player.do(f"run cancel {player.told[-1]['id']} --json")
    player.do(f"syncs pause {second} --json")
    player.do(f"syncs pause {second} --until 'tomorrow 08:00 UTC' --json")
    player.do(f"syncs pause {second} --until '2020-01-01 08:00 UTC' --json")
    player.do(f"syncs resume {second} --json")
    player.do(f"syncs remove {second} --json")
    player.do(f"syncs resume {second} --json")
    player.do(f"syncs run {second} --json")
    player.do("syncs run 1 --json")
    player.do("syncs pause 1 --json")
    player.look(f"syncs remove {UNKNOWN} --json", f"syncs run {UNKNOWN} --json", f"syncs edit {UNKNOWN} --json")
    _edit(player, first)
    _hold(player, first)


def _edit(player: Player, sync_id: int) -> None:
    for options in (
        "--every 30 --tag one",
        "--max-shrink 5",
        "--no-brake --no-tags",
        "--at 'weekdays at 8:00 and 17:30 europe/berlin'",
        "--max-shrink 7",
        "--cron '0 8 1 * *' --zone UTC",
        "--every 60 --at 'daily at 08:00 UTC'",
        "--every 1440 --max-shrink 0 --tag beta",
        "--every 7",
        "--no-brake --max-shrink 1",
        "--no-tags --tag x",
    ):
        player.do(f"syncs edit {sync_id} {options} --json")


def _hold(player: Player, sync_id: int) -> None:
    """A shrink limit of 0 percent holds each run that removes a member; it is applied once."""
    player.sandbox.at(2 * LATER_S)
    player.do(f"syncs run {sync_id} --json")
    run_id = player.told[-1]["id"]
    player.do("worker --once")
    player.do(f"run show {run_id} --json")
    player.do(f"run apply {run_id} --json")
    player.do("worker --once")
    player.do(f"runs --sync {sync_id} --json")
    player.do("syncs list --json")


def _groups(player: Player) -> None:
    player.look("groups --json", f"groups members {POWER} --to default", f"groups members {TESTERS} --to csv")
    player.look(f"groups members {UNKNOWN}", f"groups members {POWER} --to nowhere")
    overlap = f"groups overlap {POWER} {SPENDERS} {WEB}"
    player.look(f"{overlap} --to default --json", f"{overlap} --json", f"groups overlap {UNKNOWN} --json")
    player.do(f"groups members {SPENDERS} --to default --out members.csv")
    player.file_written("members.csv")


def _match(player: Player) -> None:
    player.do(f"match {IMPORTED} --to default --json")
    player.do(f"match {WEB} --to default --wait --json")
    player.look(f"match {IMPORTED} --last --json", f"match {EVERYONE} --last --json")
    player.do(f"match {UNKNOWN} --to default --json")
    player.sandbox.fault("server_error", target="mixpanel")
    player.do(f"match {IMPORTED} --to default --json")
    player.sandbox.clear_faults()


def _associate(player: Player) -> None:
    ids = [str(profile["$distinct_id"]) for profile in player.sandbox.raw(WEB)]
    good = [(distinct_id, f"i_hand-{number}") for number, distinct_id in enumerate(ids[:4])]
    player.write("users.csv", *good, (ids[5], "4815"), (ids[6], "i_twice"), (ids[7], "i_twice"), ("", "i_nobody"))
    player.write("more.csv", (ids[8], "bare-1"), ("unheard-of", "a_2"))
    player.write("none.csv", (ids[9], "bare-3"))
    (player.home.path.parent / "other.csv").write_text("one,two\n1,2\n")
    player.look("associate --json", "associate --file users.csv --resume 1 --json", "associate --file missing --json")
    player.do("associate --file other.csv --json")
    player.do("associate --file none.csv --yes --json")
    player.do("associate --file users.csv --dry-run --out outcomes.csv --json")
    player.file_written("outcomes.csv")
    player.do("associate --file users.csv --yes --out outcomes.csv --json")
    player.file_written("outcomes.csv")
    player.do("associate --file more.csv --prefix x_ --json")
    player.do("associate --file more.csv --prefix i_ --json")
    player.do("associate --file more.csv --prefix as-they-are --yes --json")
    player.sandbox.fault("server_error", target="ingestion")
    player.do("associate --file users.csv --yes --json --out outcomes.csv")
    player.file_written("outcomes.csv")
    player.sandbox.clear_faults()
    failed = player.told[-1]["id"]
    player.do(f"associate --resume {failed} --json --out outcomes.csv")
    player.file_written("outcomes.csv")
    player.do(f"associate --resume {failed} --json")
    player.do(f"associate --resume {UNKNOWN} --json")
    member = min(player.sandbox.answer(POWER).group)
    player.look(f"who {ids[0]} --json", "who i_hand-1 --json", f"who {member} --json", "who nobody --json")


def _people(player: Player) -> None:
    for command in (
        "add Ada@Example.com --role admin",
        "add noor@example.com",
        "add noor@example.com",
        "add nobody",
        "add ivo@example.com --role king",
        "role noor@example.com analyst",
        "disable noor@example.com",
        "list --json",
        "enable noor@example.com",
        "sign-out noor@example.com",
        "disable stranger@example.com",
    ):
        player.do(f"people {command}")
    player.do("people list --json", env={"COHORT_BRIDGE_ADMINS": "noor@example.com"})


def _audit(player: Player) -> None:
    player.do("rotate-key")
    player.do(f"export {POWER} --to default --json")  # with the new key
    player.look("audit verify --json", "audit download")
    player.look("audit verify --head 1:other --json", "audit verify --head x --json")
    player.do("runs --json", env={"COHORT_BRIDGE_PAGE_SIZE": "much"})


# --- recording -----------------------------------------------------------------------------------------------------


def recorded() -> list[dict[str, Any]]:
    """Read the recording."""
    return json.loads(RECORDING.read_text(encoding="utf-8"))


def record() -> None:
    """Play every command against its own sandbox, and keep what is compared of each."""
    with (
        forked_commands(),
        tempfile.TemporaryDirectory() as folder,
        running(Path(folder) / "sandbox", clock=lambda: NOON) as server,
        closing(Sandbox(server.url)) as sandbox,
    ):
        played = play(sandbox, Home(Path(folder) / "work" / "home"))
    lines = ",\n".join(json.dumps(step, ensure_ascii=False) for step in played)
    RECORDING.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    record()
