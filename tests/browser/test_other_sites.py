"""Other web sites in a real browser: none shows the dashboard in a page of its own, or reaches it by its own name."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import stage
from tests.browser.signed import PEOPLE_PLEASE
from tests.stage.processes import find_chromium
from tests.stage.seeds import few

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def dashboard(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a dashboard without sign-in: whoever is shown its pages may do everything."""
    with stage.dashboard_alone(tmp_path_factory.mktemp("home")) as running:
        yield int(running.url.rsplit(":", 1)[1])


@pytest.fixture(scope="module")
def other_site(dashboard: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of another site, whose page shows the dashboard, by each of its names, and for comparison itself."""
    folder = tmp_path_factory.mktemp("site")
    framed = {
        "by-number": f"http://127.0.0.1:{dashboard}/connections", "by-name": f"http://localhost:{dashboard}/",
        "by-its-own-name": f"http://evil.example:{dashboard}/", "a-file": f"http://127.0.0.1:{dashboard}/favicon.png",
        "health": f"http://127.0.0.1:{dashboard}/_stcore/health", "itself": "/inside.html",
    }  # fmt: skip
    (folder / "inside.html").write_text("<h1>Seen</h1>")
    frames = "".join(f'<iframe name="{name}" src="{address}"></iframe>' for name, address in framed.items())
    (folder / "index.html").write_text(frames)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()
    thread.join()


class Quiet(SimpleHTTPRequestHandler):
    """Serve files, and write nothing about it."""

    def log_message(self, format: str, *args: object) -> None:
        """Leave it out."""


@pytest.fixture(scope="module")
def misled(chromium: Browser) -> Iterator[Page]:
    """A browser for which a name of another site leads to this machine."""
    rules = "--host-resolver-rules=MAP evil.example 127.0.0.1"
    browser = chromium.browser_type.launch(executable_path=find_chromium(), args=[*stage.ARGUMENTS, rules])
    yield browser.new_page()
    browser.close()


# Speaks as the dashboard's own page does, and returns all that it is drawn.
ASK_FOR_A_PAGE = """([url, asked]) => new Promise(done => {
    const socket = new WebSocket(url, ["streamlit"]);
    let drawn = "";
    socket.binaryType = "arraybuffer";
    socket.onopen = () => socket.send(new Uint8Array(asked));
    socket.onmessage = message => {
        drawn += new TextDecoder("latin1").decode(message.data);
        if (drawn.includes("acts as its admin")) done(drawn);
    };
    socket.onclose = () => done(drawn + " closed");
})"""


def test_without_sign_in_what_comes_through_a_proxy_or_from_another_site_sees_nothing(
    chromium: Browser, dashboard: int, other_site: int
):
    context = chromium.new_context(extra_http_headers={"X-Forwarded-For": "203.0.113.9"})
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{dashboard}/people")
    expect(page.get_by_text("you come from elsewhere")).to_be_visible()
    context.close()

    # What another program serves on this machine, at whatever port, is another site.
    page = chromium.new_page()
    page.goto(f"http://localhost:{other_site}/inside.html")
    drawn = page.evaluate(ASK_FOR_A_PAGE, [f"ws://127.0.0.1:{dashboard}/_stcore/stream", list(PEOPLE_PLEASE)])
    assert drawn == " closed"
    page.close()


@few(1)
@pytest.mark.parametrize("site", ["localhost", "evil.example"])
def test_no_other_page_shows_the_dashboard_in_a_frame(misled: Page, dashboard: int, other_site: int, site: str):
    misled.goto(f"http://{site}:{other_site}/", wait_until="load")

    seen = {frame.name: (frame.url, frame.locator("body").inner_text()) for frame in misled.frames[1:]}
    assert seen.pop("itself")[1] == "Seen"
    assert len(seen) == 5
    assert {url for url, _ in seen.values()} == {"chrome-error://chromewebdata/"}, seen


def test_a_name_of_another_site_that_leads_here_is_answered_with_a_sentence(misled: Page, dashboard: int):
    for path in ("", "connections", "_stcore/health", "_stcore/host-config", "favicon.png"):
        answer = misled.goto(f"http://evil.example:{dashboard}/{path}")
        assert answer
        assert answer.status == 400
        assert "not one that the dashboard answers to" in misled.locator("body").inner_text()

    answer = misled.goto(f"http://127.0.0.1:{dashboard}/_stcore/health")
    assert answer
    assert answer.ok


def test_a_page_that_came_from_the_dashboard_itself_shows_it_in_no_frame_either(misled: Page, dashboard: int):
    misled.goto(f"http://127.0.0.1:{dashboard}/_stcore/health")
    with misled.expect_console_message(lambda message: "frame" in message.text):
        misled.evaluate("document.body.append(Object.assign(document.createElement('iframe'), {src: '/', name: 'in'}))")
    misled.wait_for_function("frames.length === 1")
    frame = misled.frame("in")
    assert frame
    assert "Cohort Bridge" not in frame.locator("body").inner_text()
