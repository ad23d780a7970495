"""What is served of Streamlit's part in the browser: its page with ours in it, and its files from memory."""

from __future__ import annotations

import base64
import gzip
import re
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route
from streamlit import file_util
from streamlit.web.server.starlette.starlette_static_routes import create_streamlit_static_assets_routes

from pages.shell.index_page import LATER_PARTS, PARTS, IndexPage, find_imports, find_parts
from pages.shell.protection import Protection
from pages.shell.static_files import StaticFiles
from tests.stage.serving import serving

THEIRS = Path(file_util.get_static_dir())
SCRIPTS = THEIRS / "static" / "js"
BROWSER = {"Accept": "text/html,*/*", "Accept-Encoding": "gzip", "If-None-Match": "anything"}


async def greet(request: Request) -> HTMLResponse:
    return HTMLResponse("hello", headers={"ETag": "ours"})


@pytest.fixture(scope="module", params=["", "tools/bridge"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    base = request.param
    routes = [Route(f"/{base}/media/greeting".replace("//", "/"), greet), *create_streamlit_static_assets_routes(base)]
    page = IndexPage(Starlette(routes=routes), THEIRS, base)
    with serving(Protection(StaticFiles(page, THEIRS / "static", base), page.text)) as port:
        yield f"http://localhost:{port}/{base}".rstrip("/")


def get(url: str, **headers: str) -> httpx.Response:
    return httpx.get(url, headers=headers, trust_env=False)


@pytest.mark.parametrize("path", ["/", "/cohorts", "/cohorts/of/others"])
def test_every_address_of_a_page_gets_theirs_with_ours_in_it(url: str, path: str):
    page = get(url + path, **BROWSER)

    assert page.status_code == 200
    assert "<style>" in page.text
    assert f'<link rel="modulepreload" crossorigin href="./static/js/{find_parts(SCRIPTS, PARTS)[0]}" />' in page.text
    assert f'"./static/js/{find_parts(SCRIPTS, LATER_PARTS)[-1]}"]' in page.text, (
        "each is loaded before a press needs it"
    )
    ours = set(page.text.splitlines())
    assert all(line in ours for line in (THEIRS / "index.html").read_text().splitlines())
    assert "etag" not in page.headers, "another page of ours would not be fetched"
    assert ("BACKEND_BASE_URL" in page.text) == (path == "/cohorts"), "where the server is one level above"


def test_the_policy_lets_the_scripts_of_the_page_run_and_no_other(url: str):
    page = get(f"{url}/cohorts", **BROWSER)
    policy = page.headers["Content-Security-Policy"]

    within = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
    assert len(within) == policy.count("'sha256-") == 6
    assert all(base64.b64encode(sha256(script.encode()).digest()).decode() in policy for script in within)
    assert "'unsafe-inline'" not in policy.partition("script-src")[2].partition(";")[0]


def test_what_is_no_page_of_theirs_stays_as_it_is(url: str):
    answer = get(f"{url}/media/greeting", **BROWSER)

    assert (answer.text, answer.headers["ETag"]) == ("hello", "ours")
    assert get(f"{url}/nowhere", Accept="*/*").content == (THEIRS / "index.html").read_bytes()


@pytest.mark.parametrize("again", [False, True])
def test_a_file_is_what_it_is_on_the_disk_and_may_be_kept(url: str, again: bool):
    script = SCRIPTS / find_parts(SCRIPTS, PARTS)[0]

    answer = get(f"{url}/static/js/{script.name}", **{"Accept-Encoding": "identity"})

    assert answer.content == script.read_bytes()
    assert "Content-Encoding" not in answer.headers
    assert answer.headers["Content-Type"].startswith("text/javascript")
    assert answer.headers["Vary"] == "Accept-Encoding"
    assert "immutable" in answer.headers["Cache-Control"]


def test_a_text_is_compressed_for_who_takes_it_and_a_font_is_not(url: str):
    script, font = (
        SCRIPTS / find_parts(SCRIPTS, PARTS)[0],
        next((THEIRS / "static" / "media").glob("MaterialSymbols-*")),
    )
    taken = {"Accept-Encoding": "gzip, deflate, br"}

    with httpx.stream("GET", f"{url}/static/js/{script.name}", headers=taken, trust_env=False) as answer:
        assert gzip.decompress(b"".join(answer.iter_raw())) == script.read_bytes()
    sent = get(f"{url}/static/media/{font.name}", **taken)
    assert (sent.content, sent.headers["Content-Type"]) == (font.read_bytes(), "font/woff2")
    assert "Content-Encoding" not in sent.headers


def test_what_is_no_file_is_left_to_streamlit(url: str):
    assert get(f"{url}/static/js/nothing.js").headers["Cache-Control"] == "no-cache"


def test_a_part_of_a_file_is_left_to_streamlit(url: str):
    font = next((THEIRS / "static" / "media").glob("MaterialSymbols-*"))

    answer = get(f"{url}/static/media/{font.name}", Range="bytes=0-9")

    assert (answer.status_code, answer.content) == (206, font.read_bytes()[:10])


def test_each_part_that_is_sent_for_beforehand_is_one_of_the_installed_streamlit():
    names = find_parts(SCRIPTS, PARTS + LATER_PARTS)

    assert [name.partition(".")[0] for name in names] == [*PARTS, *LATER_PARTS]
    assert set(names) < set(find_imports(SCRIPTS, names))
