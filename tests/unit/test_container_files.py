"""Dockerfile, .dockerignore and compose.yaml: they name what is there, pin what they take, and hold no secret."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest
import yaml

from core.settings import Settings
from tests.stage.image import COMPOSE, DOCKERFILE, copied, instructions, is_left_out, services
from tests.stage.processes import ROOT

SERVICES = ("worker", "dashboard")


def test_the_base_is_pinned_and_the_same_in_each_stage():
    bases = [one.text for one in instructions() if one.name == "FROM"]
    version = next(one.text for one in instructions() if one.name == "ARG")

    assert [base.split()[0] for base in bases] == ["${BASE}", "${BASE}"]
    assert re.fullmatch(r"BASE=python:3\.11\.\d+-slim-[a-z]+(@sha256:[0-9a-f]{64})?", version)


def test_all_that_is_copied_is_there_and_reaches_the_build():
    sources = [source for source, _ in copied()]

    assert [source for source in sources if not (ROOT / source).exists()] == []
    assert [source for source in sources if is_left_out(source.rstrip("/"))] == []
    # What the program imports, and nothing of what tests and documents need.
    assert {source.rstrip("/") for source in sources} == {
        "requirements.txt", "app.py", "core", "data", "pages", ".streamlit/config.toml",
    }  # fmt: skip


@pytest.mark.parametrize(
    "path",
    [".env", ".streamlit/secrets.toml", ".git/config", "var/secret.key", "tests/conftest.py", "docs/security.md",
     "core/.env", "pages/secrets.toml", "core/__pycache__/errors.cpython-311.pyc", ".venv/bin/python"],
)  # fmt: skip
def test_secrets_data_and_history_do_not_reach_the_build(path: str):
    assert is_left_out(path)


def test_it_runs_as_nobody_of_the_machine_and_owns_its_home_alone():
    last = max(one.stage for one in instructions())
    final = {one.name: one.text for one in instructions() if one.stage == last}

    assert final["USER"] == "10001:10001"
    assert "COHORT_BRIDGE_HOME=/data" in final["ENV"]
    assert "install -d -o 10001 -g 10001 -m 0700 /data" in final["RUN"]
    assert not re.search(r"\b(gcc|build-essential|apt-get|pip)\b", " ".join(final.values()))


def test_it_is_labelled_with_the_version_that_it_is():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

    assert f'org.opencontainers.image.version="{version}"' in DOCKERFILE.read_text()
    assert {service["image"] for service in services().values()} == {f"cohort-bridge:{version}"}


def test_the_image_is_the_worker_and_looks_after_it_as_its_service_does():
    by_name = {one.name: one for one in instructions()}
    worker = services()["worker"]

    assert by_name["CMD"].words == worker["command"]
    assert by_name["HEALTHCHECK"].words == worker["healthcheck"]["test"][1:]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_may_write_to_its_home_and_do_nothing_that_it_need_not(name: str):
    service: dict[str, Any] = services()[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["volumes"] == ["home:/data"]
    assert [mount.partition(":")[0] for mount in service["tmpfs"]] == ["/tmp"]
    assert service["restart"] == "unless-stopped"
    assert {"privileged", "user", "network_mode", "pid", "cap_add"} & service.keys() == set()


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_service_runs_and_is_asked_is_there(name: str):
    service: dict[str, Any] = services()[name]
    kind, *asked = service["healthcheck"]["test"]

    assert (kind, asked[0], service["command"][0]) == ("CMD", "python", "python")
    first = service["command"][1]
    assert (ROOT / (service["command"][2] if first == "-m" else first)).exists()
    compile(asked[2], "health check", "exec")
    port, address = re.search(r"127\.0\.0\.1', (\d+),.*'GET', '([^']+)'", asked[2]).groups()  # type: ignore[union-attr]
    assert (port, address) == {"worker": ("8502", "/readyz"), "dashboard": ("8501", "/_stcore/health")}[name]


def test_the_dashboard_is_published_to_this_machine_alone():
    ports = [port for service in services().values() for port in service.get("ports", [])]

    assert ports == ["127.0.0.1:8501:8501"]


def test_every_setting_that_compose_names_is_one():
    named = {name for service in services().values() for name in service["environment"]}

    assert named <= {f"COHORT_BRIDGE_{name.upper()}" for name in Settings.model_fields}


def test_no_secret_stands_in_the_files():
    values = [
        str(value)
        for service in services().values()
        for name, value in service["environment"].items()
        if re.search("TOKEN|SECRET|KEY|PASSWORD", name)
    ]

    assert values
    assert [value for value in values if not value.startswith("${")] == []
    assert yaml.safe_load(COMPOSE.read_text())["secrets"] == {"sign-in": {"file": ".streamlit/secrets.toml"}}
    assert not re.search("TOKEN=|SECRET=|PASSWORD=", DOCKERFILE.read_text())
