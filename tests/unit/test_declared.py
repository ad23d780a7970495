"""Declared state as a file: every line is found, every mistake is told, and what is written back plans nothing."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlmodel import delete, select

from core.access.roles import LOCAL
from core.bridge import Bridge, open_bridge
from core.declared import applying, exporting
from core.declared.entries import FileRefused
from core.declared.reading import read_document, read_file
from core.declared.toml import NotToml, read_toml, write_text
from core.declared.toml import Path as TomlPath
from core.rules import schedules
from core.settings import Settings
from data.alert_models import AlertChannel
from data.engine import write_session
from data.models import (
    DESTINATION_SIDE,
    MIXPANEL_SIDE,
    Connection,
    ConnectionKind,
    Group,
    MemberId,
    Person,
    SignInKind,
    Sync,
    SyncKind,
    SyncState,
)
from tests.stage.processes import ROOT

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=30)

# --- TOML ----------------------------------------------------------------------------------------------------------


@given(TEXTS)
def test_a_text_is_read_back_as_it_was(text: str):
    written = write_text(text)

    assert tomllib.loads(f"a = {written}") == {"a": text}
    assert written.isprintable() or not text.isprintable()
    assert "\n" not in written


ODD = """\
schema = 1   # a comment with [[syncs]] in it

[[syncs]]
cohort_id = 1
tags = [
  "a]", # "b"
  "c",
]
"group_name" = '''
[[syncs]]
cohort_id = 7
'''

[[ syncs ]]
cohort_id = 2
secret.env = "A"
[syncs.inner]
deep = { x = 1, y = [1, 2] }

[[mixpanel]]
name = "it's"
"""


def test_everything_of_a_file_has_its_line():
    values, lines = read_toml(ODD)

    numbered = ODD.splitlines()
    assert [each["cohort_id"] for each in values["syncs"]] == [1, 2]
    places: dict[TomlPath, str] = {
        ("schema",): "schema = 1",
        ("syncs", 0): "[[syncs]]",
        ("syncs", 0, "tags"): "tags = [",
        ("syncs", 0, "group_name"): '"group_name"',
        ("syncs", 1): "[[ syncs ]]",
        ("syncs", 1, "cohort_id"): "cohort_id = 2",
        ("syncs", 1, "secret", "env"): "secret.env",
        ("syncs", 1, "inner", "deep", "y", 1): "deep",
        ("mixpanel", 0, "name"): "name",
        ("mixpanel", 0, "nothing"): "[[mixpanel]]",
    }
    for path, beginning in places.items():
        assert numbered[lines.find(path) - 1].startswith(beginning), path


TABLES = st.lists(st.dictionaries(TEXTS, TEXTS | st.integers() | st.lists(TEXTS, max_size=3), max_size=4), max_size=4)


@given(TABLES)
def test_the_line_of_every_field_of_any_table_is_found(tables: list[dict[str, Any]]):
    written, expected = list[str](), dict[TomlPath, int]()
    for number, table in enumerate(tables):
        written += ["", "[[t]]"]
        for key, value in table.items():
            expected["t", number, key] = len(written) + 1
            if isinstance(value, list):
                inner = ",\n".join(write_text(each) for each in value)
                written += f"{write_text(key)} = [\n{inner}\n]".split("\n")
            else:
                written.append(f"{write_text(key)} = {write_text(value) if isinstance(value, str) else value}")

    values, lines = read_toml("\n".join(written))

    assert values.get("t", []) == tables
    assert {path: lines.find(path) for path in expected} == expected


@pytest.mark.parametrize(("text", "line"), [("a = 1\nb = = 2\n", 2), ("a = 1\na = 2\n", 2), ('a = 1\nb = """\n\n', 4)])
def test_what_is_no_toml_is_refused_with_its_line(text: str, line: int):
    with pytest.raises(NotToml) as refused:
        read_toml(text)

    assert refused.value.line == line


def test_nested_brackets_without_end_are_refused():
    with pytest.raises(NotToml):
        read_toml("a = " + "[" * 100_000)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a = 1\n" + "b." * 5000 + "c = 1", 2),
        ("\n[" + "b." * 60 + "c]", 2),
        ("a = { " + "b . " * 60 + "c = 1 }", 1),
        ("a = 1\nb = " + "1" * 5000, 2),
        ("a = 1\nb = [\n1,\n-" + "1_1" * 3000 + "]", 4),
    ],
)
def test_keys_within_keys_and_digits_without_end_are_refused_with_their_line(text: str, line: int):
    with pytest.raises(NotToml, match="too many|Too many") as refused:
        read_toml(text)

    assert refused.value.line == line


def test_lines_are_found_in_a_time_that_grows_as_the_file_does():
    many = 20_000
    text = "a = [\n" + "".join(f'  {{ b = {number}, c = "]" }}, # }}\n' for number in range(many)) + "]\nd = 1\n"

    _, lines = read_toml(text)

    assert (lines.find(("a", many - 1)), lines.find(("d",))) == (1, many + 3)


# --- mistakes ------------------------------------------------------------------------------------------------------

WRONG = b"""\
schema = 1
colour = "red"

[[mixpanel]]
name = "default"
username = "u"
secret = "hunter2hunter2"
project_id = "12"
region = "mars"

[[destinations]]
name = "a"
endpoint = "https://a.example/"
secret = { env = "AWS_SECRET_ACCESS_KEY" }
members = "adds"
auth_name = "x"

[[destinations]]
name = "a"
kind = "csv"

[[people]]
email = "nobody"
role = "owner"

[[syncs]]
cohort_id = 0
every_minutes = 20
schedule = "sometimes"
paused_until = 2026-11-30T08:00:00
max_shrink = 101
tags = ["a", 1]
match_property = "$email"
state = "stopped"
every = 15

[[syncs]]
cohort_id = 5
every_minutes = true

[[syncs]]
cohort_id = 6

[[syncs]]
cohort_id = 6

[alerts]
failing_after = 0
"""


_CHANNEL = b'schema = 1\n[[channels]]\nname = "a"\naddress = { env = "COHORT_BRIDGE_X" }\n'


def test_every_mistake_of_a_file_is_told_with_line_and_field():
    with pytest.raises(FileRefused) as refused:
        read_document(WRONG)

    told = [(mistake.line, mistake.field) for mistake in refused.value.mistakes]
    assert told == [
        (2, "colour"),
        (7, "mixpanel.secret"),
        (8, "mixpanel.project_id"),
        (9, "mixpanel.region"),
        (14, "destinations.secret"),
        (16, "destinations.auth_name"),
        (18, "destinations.folder"),
        (23, "people.email"),
        (24, "people.role"),
        (27, "syncs.cohort_id"),
        (28, "syncs.every_minutes"),
        (29, "syncs.schedule"),
        (29, "syncs.schedule"),
        (30, "syncs.paused_until"),
        (31, "syncs.max_shrink"),
        (32, "syncs.tags"),
        (33, "syncs.match_property"),
        (34, "syncs.state"),
        (35, "syncs.every"),
        (39, "syncs.every_minutes"),
        (44, "syncs"),
        (48, "alerts.failing_after"),
    ]
    assert refused.value.message == "The file has 22 mistakes."
    assert "hunter2" not in "".join(mistake.message for mistake in refused.value.mistakes)


@pytest.mark.parametrize(
    ("content", "line", "field"),
    [
        (b"", 1, "schema"),
        (b"[[syncs]]\ncohort_id = 1\n", 1, "schema"),
        (b"\n\nschema = 2\n", 3, "schema"),
        (b"schema = true\n", 1, "schema"),
        (b"schema = 1\nsyncs = 5\n", 2, "syncs"),
        (b"schema = 1\nsyncs = [1]\n", 2, "syncs"),
        (b"schema = 1\n\n\xff", 3, "file"),
        (b"schema = 1\n[[syncs\n", 2, "file"),
        (b"schema = 0x" + b"f" * 9000, 1, "schema"),
        (b"schema = 1\n[[syncs]]\ncohort_id = 0x1" + b"0" * 9000, 3, "syncs.cohort_id"),
        (b"schema = 1\n[[syncs]]\ncohort_id = 1\nmax_shrink = inf", 4, "syncs.max_shrink"),
        (b"schema = 1\n[[syncs]]\ncohort_id = 2026-11-26", 3, "syncs.cohort_id"),
        (_CHANNEL + b"syncs = [{ cohort_id = 0x" + b"f" * 9000 + b" }]", 5, "channels.syncs"),
        (_CHANNEL + b"syncs = [{ cohort_id = true }]", 5, "channels.syncs"),
    ],
)
def test_what_is_no_file_of_ours_is_refused(content: bytes, line: int, field: str):
    with pytest.raises(FileRefused) as refused:
        read_document(content)

    assert [(mistake.line, mistake.field) for mistake in refused.value.mistakes] == [(line, field)]


SECRET = 'schema = 1\n[[destinations]]\nname = "a"\nendpoint = "https://a.example/"\nsecret = {}\n'


@pytest.mark.parametrize(
    ("named", "is_taken"),
    [
        ('{ env = "COHORT_BRIDGE_TOKEN_OF_A" }', True),
        ('{ env = "COHORT_BRIDGE_APPTIMIZE_TOKEN" }', True),
        ('{ env = "COHORT_BRIDGE_SECRET_KEY" }', False),
        ('{ env = "COHORT_BRIDGE_METRICS_TOKEN" }', False),
        ('{ env = "COHORT_BRIDGE_DATABASE_URL" }', False),
        ('{ env = "HOME" }', False),
        ('{ env = "cohort_bridge_token" }', False),
        ('{ env = "COHORT_BRIDGE_A", file = "x" }', False),
        ("{ env = 1 }", False),
        ('"literal"', False),
    ],
)
def test_a_secret_is_named_and_no_other_program_s_can_be(named: str, is_taken: bool):
    content = SECRET.format(named).encode()

    if is_taken:
        assert read_document(content).destinations[0].name == "a"
    else:
        with pytest.raises(FileRefused, match="1 mistake"):
            read_document(content)


def test_an_address_that_is_the_secret_cannot_stand_in_the_file():
    content = SECRET.replace("secret = {}", 'auth = "none"').encode()

    with pytest.raises(FileRefused) as refused:
        read_document(content)

    assert [mistake.field for mistake in refused.value.mistakes] == ["destinations.endpoint"]


def test_what_is_no_file_is_refused(tmp_path: Path):
    for path in (tmp_path, tmp_path / "missing.toml"):
        with pytest.raises(Exception, match=path.name):
            read_file(path)


def test_the_example_of_the_documents_is_read(bridge: Bridge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    [example] = re.findall(r"```toml\n(.*?)```", (ROOT / "docs/operate/declared.md").read_text(), re.DOTALL)
    monkeypatch.setenv("COHORT_BRIDGE_MIXPANEL_DEFAULT_SECRET", "a secret")
    monkeypatch.setenv("COHORT_BRIDGE_DESTINATION_APPTIMIZE_SECRET", "a token")
    monkeypatch.setenv("COHORT_BRIDGE_CHANNEL_OPS_ADDRESS", "https://alerts.example.com/x")
    path = tmp_path / "bridge.toml"
    path.write_text(example)

    plan = applying.plan_config(bridge, LOCAL, path).plan

    assert [f"{change.action} {change.kind} {change.name}" for change in plan.changes] == [
        "add mixpanel default",
        "add destination apptimize",
        "add destination files",
        "add person ada@example.com",
        "add sync cohort 5167402 to apptimize",
        "add sync cohort 5167409 to files",
        "add channel ops",
    ]
    assert plan.notes == ["The cohorts of default are looked up once it is connected."]


# --- written back unchanged ----------------------------------------------------------------------------------------

NAMES = st.text(st.sampled_from("ab é東\"'\\#[]=\u202e"), max_size=6).map(lambda text: f"n{text}".strip())
PROPERTIES = st.sampled_from(["$apptimize_user_id", "$user_id", "plan id", 'odd "id"'])


@st.composite
def endpoints(draw: st.DrawFn) -> dict[str, Any]:
    sign_in = draw(st.sampled_from(list(SignInKind)))
    member_id = draw(st.sampled_from(list(MemberId)))
    return {
        "kind": ConnectionKind.ENDPOINT,
        "sign_in": sign_in,
        "sign_in_name": {SignInKind.BASIC: "käte", SignInKind.HEADER: "X-Key"}.get(sign_in, "").replace("ä", "ae"),
        "url": draw(st.sampled_from(["https://a.example", "https://b.example/x?key=1"])),
        "hidden": sign_in is SignInKind.ADDRESS or draw(st.booleans()),
        "member_id": member_id,
        "member_property": draw(PROPERTIES) if member_id is MemberId.PROPERTY else "",
        "member_key": draw(st.sampled_from(["", "uid"])),
        "adds_only": draw(st.booleans()),
        "apart": draw(st.booleans()),
    }


FOLDERS = st.fixed_dictionaries({"kind": st.just(ConnectionKind.CSV), "folder": st.just("/nowhere")})
PROJECTS = st.fixed_dictionaries(
    {
        "username": st.just("account"),
        "project_id": st.integers(1, 4),
        "workspace_id": st.none() | st.integers(1, 9),
        "region": st.sampled_from(["us", "eu", "in"]),
        "id_merge": st.sampled_from(["original", "simplified"]),
        "match_property": PROPERTIES,
        "expects_prefix": st.none() | st.booleans(),
        "has_token": st.booleans(),
        "practice": st.booleans(),
    }
)
SCHEDULES = st.sampled_from(
    [
        schedules.parse("weekdays at 08:00 Europe/Berlin"),
        schedules.parse("hourly at :05 UTC"),
        schedules.from_cron("*/20 8-17 1 * *", "America/New_York"),
        schedules.from_cron("0 0 * * 1; 30 12 * * 2", "UTC"),
    ]
)
SYNCS = st.fixed_dictionaries(
    {
        "timing": st.sampled_from([15, 30, 60, 1440]) | SCHEDULES,
        "paused_until": st.none() | st.sampled_from([NOW, NOW + timedelta(microseconds=5), NOW - timedelta(days=400)]),
        "max_shrink": st.none() | st.integers(0, 100),
        "tags": st.lists(NAMES, max_size=3, unique=True).map(lambda tags: sorted(tags, key=str.casefold)),
        "match_property": st.none() | PROPERTIES,
        "expects_prefix": st.none() | st.booleans(),
        "state": st.sampled_from([SyncState.ACTIVE, SyncState.PAUSED]),
        "own_name": st.none() | NAMES,
        "is_delivered": st.booleans(),
    }
)
CHANNELS = st.fixed_dictionaries(
    {
        "all_syncs": st.booleans(),
        "numbers": st.lists(st.integers(0, 3), unique=True),
        "tags": st.lists(NAMES, max_size=2, unique=True).map(lambda tags: sorted(tags, key=str.casefold)),
        "warnings": st.booleans(),
        "enabled": st.booleans(),
    }
)
HOMES = st.fixed_dictionaries(
    {
        "mixpanel": st.dictionaries(NAMES, PROJECTS, max_size=2),
        "destinations": st.dictionaries(NAMES, endpoints() | FOLDERS, max_size=3),
        "channels": st.dictionaries(NAMES, CHANNELS, max_size=2),
        "people": st.dictionaries(
            st.sampled_from(["a@x.example", "käte@x.example", "b@x"]),
            st.tuples(st.sampled_from(["viewer", "analyst", "admin"]), st.booleans()),
        ),
        "syncs": st.lists(st.tuples(SYNCS, st.integers(0, 2), st.integers(0, 1)), max_size=4),
    }
)


@pytest.fixture(scope="module")
def one_home(migrated_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bridge]:
    """A home whose rows are other ones for each example."""
    settings = Settings(home=tmp_path_factory.mktemp("declared") / "home", _env_file=None)  # type: ignore[call-arg]
    bridge = open_bridge(settings)
    yield bridge
    bridge.engine.dispose()


def fill(bridge: Bridge, home: dict[str, Any]) -> None:
    """Put the rows of a home in place of those before."""
    seal = bridge.vault.encrypt
    with write_session(bridge.engine) as session:
        for table in (AlertChannel, Sync, Group, Connection, Person):
            session.exec(delete(table))  # type: ignore[call-overload]
        session.add_all(
            Person(email=email, role=role, disabled=disabled, created_at=NOW)
            for email, (role, disabled) in home["people"].items()
        )
        sides = list[list[Connection]]()
        for side, name in ((MIXPANEL_SIDE, "mixpanel"), (DESTINATION_SIDE, "destinations")):
            rows = list[Connection]()
            for called, values in home[name].items():
                kept = {"kind": ConnectionKind.MIXPANEL, **values}
                token, hidden = kept.pop("has_token", False), kept.pop("hidden", False)
                row = Connection(side=side, name=called, created_at=NOW, **kept)
                row.secret = seal(f"secret of {called}")
                row.project_token = seal("token") if token else None
                if hidden:
                    row.address, row.url = seal(row.url), "https://a.example"
                rows.append(row)
            session.add_all(rows)
            session.flush()
            sides.append(rows)
        for number, (values, to, through) in enumerate(home["syncs"] if all(sides) else []):
            add_sync(session, number, dict(values), sides[0][through % len(sides[0])], sides[1][to % len(sides[1])])
        ids = session.exec(select(Sync.id).order_by("id")).all()
        for name, values in home["channels"].items():
            told_of = [ids[number] for number in values["numbers"] if number < len(ids) and not values["all_syncs"]]
            kept = {key: value for key, value in values.items() if key != "numbers"}
            if values["all_syncs"]:
                kept["tags"] = []
            session.add(
                AlertChannel(
                    name=name, kind="webhook", address=seal("https://a.example/secret of it"), sync_ids=told_of,
                    created_at=NOW, **kept,
                )
            )  # fmt: skip


def add_sync(session: Any, number: int, values: dict[str, Any], mixpanel: Connection, destination: Connection) -> None:
    own_name, is_delivered = values.pop("own_name"), values.pop("is_delivered")
    timing = values.pop("timing")
    if values["state"] == SyncState.ACTIVE:
        values["paused_until"] = None
    group = Group(
        destination_id=destination.id or 0, project_id=mixpanel.project_id, cohort_id=number + 1,
        cohort_name=f"Cohort\n{number}", own_name=own_name and f"{own_name}{number}", name="x",
        delivered_at=NOW if is_delivered else None, created_at=NOW,
    )  # fmt: skip
    session.add(group)
    session.flush()
    sync = Sync(
        kind=SyncKind.RECURRING, mixpanel_id=mixpanel.id or 0, group_id=group.id or 0, created_at=NOW,
        project_id=mixpanel.project_id, cohort_id=number + 1, **values,
    )  # fmt: skip
    sync.set_timing(timing)
    session.add(sync)


def is_sole_place(home: dict[str, Any]) -> bool:
    """Whether each destination leads to a place of its own: others are refused when they are connected."""
    places = [(row.get("url"), row.get("folder")) for row in home["destinations"].values()]
    return len(set(places)) == len(places)


@given(HOMES.filter(is_sole_place))
def test_a_home_that_is_written_back_plans_nothing(one_home: Bridge, tmp_path_factory: Any, home: dict[str, Any]):
    fill(one_home, home)
    path = Path(one_home.settings.home) / "bridge.toml"
    path.write_text(exporting.export_config(one_home, LOCAL, practice=True), encoding="utf-8")

    outcome = applying.plan_config(one_home, LOCAL, path, prune=True)

    assert (outcome.plan.changes, outcome.plan.mistakes) == ([], [])
    assert exporting.export_config(one_home, LOCAL, practice=True) == path.read_text(encoding="utf-8")
    assert "secret of" not in path.read_text(encoding="utf-8")
    assert "?key" not in path.read_text(encoding="utf-8")


@given(HOMES.filter(is_sole_place))
def test_what_leads_to_the_sandbox_is_left_out_and_left_alone(one_home: Bridge, home: dict[str, Any]):
    fill(one_home, home)
    path = Path(one_home.settings.home) / "bridge.toml"
    path.write_text(exporting.export_config(one_home, LOCAL), encoding="utf-8")

    outcome = applying.plan_config(one_home, LOCAL, path, prune=True)

    assert (outcome.plan.changes, outcome.plan.mistakes) == ([], [])
    document = read_file(path)
    assert {each.name for each in document.mixpanel} == {
        name for name, values in home["mixpanel"].items() if not values["practice"]
    }
