"""The status page in a real Chromium: what is there to be seen, and that it asks nobody else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.request import urlopen

import pytest

from tests.admin.scenes import SCENES
from tests.admin.stage import running_stage
from tests.support.browser import Browser, running_browser

pytestmark = pytest.mark.integration

TOKEN = "the-token-of-the-operator"
SHOWN = "document.body.dataset.shown"
TYPE = "const box = document.querySelector('#filter'); box.value = arguments[0]; box.dispatchEvent(new Event('input'))"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    with running_stage(tmp_path_factory.mktemp("stage"), "healthy") as address:
        yield address


@pytest.fixture
def see(browser, stage):
    """Opens the page on a scene; afterwards nothing but its own origin was asked, and the console is silent."""

    def see(scene, *, width=1280, phone=False):
        urlopen(f"{stage}scene/{scene}").close()
        browser.complaints()
        browser.asked()
        browser.size(width, 900, phone=phone)
        browser.open(stage)
        browser.wait(SHOWN, "the page to show what it has heard")
        return browser

    yield see
    assert browser.complaints() == []
    asked = browser.asked()
    assert f"{stage}status" in asked
    assert [url for url in asked if not url.startswith(stage)] == []


def text(browser, selector):
    return browser.run("return document.querySelector(arguments[0]).innerText", selector)


def texts(browser, selector):
    return browser.run(
        "return [...document.querySelectorAll(arguments[0])].filter((node) => node.offsetParent !== null)"
        ".map((node) => node.innerText)",
        selector,
    )


def test_every_destination_has_a_row_with_its_state_in_words(see):
    browser = see("healthy")
    rows = texts(browser, "#rows tr")
    assert len(rows) == len(SCENES["healthy"]().rows)
    assert sum("OK" in row for row in rows) == 5
    assert "smtp.office365.com:587" in rows[0]
    assert text(browser, "#verdict-words") == "All destinations that are used work"
    assert text(browser, "#fact-sessions") == "9"
    assert texts(browser, "#states button") == ["5 ok", "1 unused"]
    assert text(browser, "#no-failures").startswith("None")


def test_what_fails_comes_first_with_its_error_cause_and_remedy(see):
    browser = see("degraded")
    states = texts(browser, "#rows .chip")
    assert states == ["Failing", "Failing", "Degraded", "Degraded", "OK", "Unused"]
    assert text(browser, "#verdict-words") == "2 of 6 destinations are failing"
    assert "mailproxy itself is ready" in text(browser, "#verdict-more")
    assert "Authentication unsuccessful" in texts(browser, "#rows tr")[0]
    failures = texts(browser, "#failures li")
    assert len(failures) == 3
    assert "230 times" in failures[0]
    assert "Remedy" in failures[0]
    assert "listens where" in text(browser, "#problem-list")
    assert browser.run("return document.title") == "2 failing - mailproxy"


def test_a_session_that_ended_badly_can_be_read_line_by_line(see):
    browser = see("degraded")
    (said,) = texts(browser, "#recordings > li")
    assert "session 000c11 of 127.0.0.1:5000" in said
    assert "server <- DATA" not in said
    browser.run("document.querySelector('#recordings summary').click()")
    lines = text(browser, "#recordings pre").splitlines()
    assert "server <- DATA" in lines
    assert "the time for that is up" in lines
    assert text(see("healthy"), "#no-recordings") == "None is kept."


def test_workers_that_do_not_serve_are_told(see):
    browser = see("crew")
    assert text(browser, "#verdict-words") == "Not all workers serve"
    more = text(browser, "#verdict-more")
    assert "mailproxy itself is ready for clients. 3 of 4 workers cannot be used" in more
    assert "worker 5: has not answered within 0.5 s; seat 3: not running" in more


def test_an_hour_is_plotted(see):
    browser = see("degraded")
    assert browser.run("return document.querySelectorAll('#plot .area').length") == 1
    assert browser.run("return document.querySelectorAll('#plot .failed').length") == 6
    label = browser.run("return document.querySelector('#plot').getAttribute('aria-label')")
    assert re.fullmatch(r"All destinations, last hour: 1[0-9],[0-9]{3} sessions, 36 failures", label)
    assert browser.run("return document.querySelectorAll('#rows svg[role=img] .area').length") > 2


def test_who_was_just_started_says_that_nobody_has_come(see):
    browser = see("empty")
    assert text(browser, "#verdict-words") == "Nobody has come yet"
    assert len(texts(browser, "#rows tr")) == 2


def test_200_destinations_can_be_looked_through(see):
    browser = see("crowd")
    assert len(texts(browser, "#rows tr")) == 40
    assert set(texts(browser, "#rows .chip")[:7]) == {"Failing"}
    browser.run("document.querySelector('#more').click()")
    assert len(texts(browser, "#rows tr")) == 200
    browser.run(TYPE, "tenant-07 dest-03")
    assert len(texts(browser, "#rows tr")) == 1
    assert text(browser, "#shown") == "1 of 200 fit"
    browser.run(TYPE, "")
    browser.run("document.querySelector('#states button').click()")
    assert len(texts(browser, "#rows tr")) == 7
    assert browser.run("return document.querySelector('#states button').getAttribute('aria-pressed')") == "true"


def test_it_keeps_itself_up_to_date_and_what_is_not_changed_stays(see, stage):
    browser = see("healthy")
    browser.run(
        "document.querySelector('#rows tr').dataset.mark = 'the same'; document.querySelector('#filter').focus()"
    )
    browser.run("return fetch('scene/degraded').then(() => true)")
    browser.wait("document.querySelector('#verdict-words').textContent.includes('failing')", "the page to follow")
    assert browser.run("return document.querySelectorAll('tr[data-mark]').length") == 1
    assert browser.run("return document.activeElement.id") == "filter"


def test_nothing_is_wider_than_a_phone(see):
    for scene in ("healthy", "degraded", "crowd"):
        browser = see(scene, width=390, phone=True)
        assert browser.run("return document.documentElement.scrollWidth") <= 390
        assert browser.run("return getComputedStyle(document.querySelector('#rows tr')).display") == "grid"


def test_what_peers_say_is_text(see):
    browser = see("hostile")
    assert browser.run("return window.stolen") is None
    assert browser.run("return document.querySelectorAll('main script, main img, main b').length") == 0
    assert "<script>" in texts(browser, "#rows tr")[0]


def test_it_can_be_read_by_machine(see):
    browser = see("degraded")
    nodes = browser.command("Accessibility.getFullAXTree")["nodes"]
    roles = [node["role"]["value"] for node in nodes if not node["ignored"]]
    assert roles.count("columnheader") == 6
    assert roles.count("row") == 1 + 6
    assert roles.count("heading") >= 4
    named = {node["role"]["value"] for node in nodes if not node["ignored"] and not node.get("name", {}).get("value")}
    assert not named & {"button", "searchbox", "textbox", "link", "image"}
    live = "return document.querySelector('#verdict').getAttribute('aria-live')"
    assert browser.run(live) == "polite"


CONTRAST = """
const bent = (part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
const channel = (value) => bent(value / 255);
const light = ([red, green, blue]) => 0.2126 * channel(red) + 0.7152 * channel(green) + 0.0722 * channel(blue);
const parts = (text) => text.match(/[0-9.]+/g).map(Number);
const ground = (node) => {
  for (let each = node; each; each = each.parentElement) {
    const found = parts(getComputedStyle(each).backgroundColor);
    if (found.length === 3 || found[3] > 0) return found;
  }
  return [255, 255, 255];
};
const poor = [];
for (const node of document.querySelectorAll("body *")) {
  const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
  if (!own || node.offsetParent === null) continue;
  const [one, other] = [light(parts(getComputedStyle(node).color)), light(ground(node))];
  const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
  if (contrast < 4.5) poor.push([node.tagName, node.className, node.textContent.slice(0, 30), contrast.toFixed(2)]);
}
return poor;
"""


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_every_text_can_be_told_from_its_ground(see, browser, colours):
    browser.prefer(prefers_color_scheme=colours, prefers_reduced_motion="reduce")
    for scene in ("degraded", "healthy"):
        assert see(scene).run(CONTRAST) == []
    browser.prefer()


def test_a_server_that_is_gone_is_told_and_its_return_too(browser, tmp_path):
    with running_stage(tmp_path, "healthy") as address:
        browser.open(address)
        browser.wait(SHOWN, "the page to show what it has heard")
    browser.wait("!document.querySelector('#silent').hidden", "the page to notice")
    assert "does not answer" in text(browser, "#silent")
    assert "what you see is from" in text(browser, "#silent")
    browser.open("about:blank")
    browser.complaints()


def test_a_token_is_asked_for_and_kept_nowhere_else(browser, tmp_path):
    with running_stage(tmp_path, "healthy", TOKEN) as address:
        browser.open(address)
        browser.wait("!document.querySelector('#locked').hidden", "the page to ask for the token")
        assert texts(browser, "#rows tr") == []
        for token in ("wrong-token-wrong-token", TOKEN):
            browser.run("document.querySelector('#token').value = arguments[0]", token)
            browser.run("document.querySelector('#token-form button').click()")
            if token != TOKEN:
                browser.wait("document.querySelector('#locked-why').textContent.includes('not the token')", "a refusal")
        browser.wait(SHOWN, "the page to open")
        assert len(texts(browser, "#rows tr")) == 6
        kept = browser.run(
            "return [document.cookie, localStorage.length, sessionStorage.length, location.href,"
            " document.documentElement.outerHTML, document.querySelector('#token').value]"
        )
        assert TOKEN not in str(kept)
        assert kept[:3] == ["", 0, 0]
        browser.open("about:blank")
    browser.complaints()
    browser.asked()
