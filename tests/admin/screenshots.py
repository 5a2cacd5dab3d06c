"""
Pictures of the status page, to be looked at: `python -m tests.admin.screenshots [FOLDER]`.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.admin.stage import running_stage
from tests.support.browser import Browser, running_browser

SHOTS = [
    ("healthy-light", "healthy", "light", False),
    ("healthy-dark", "healthy", "dark", False),
    ("degraded-light", "degraded", "light", False),
    ("degraded-dark", "degraded", "dark", False),
    ("empty-light", "empty", "light", False),
    ("draining-dark", "draining", "dark", False),
    ("crew-light", "crew", "light", False),
    ("crowd-light", "crowd", "light", False),
    ("healthy-phone-dark", "healthy", "dark", True),
    ("degraded-phone-light", "degraded", "light", True),
    ("crowd-phone-light", "crowd", "light", True),
]
DESKTOP, PHONE = (1280, 900), (390, 844)
FOR_THE_MANUAL = {"degraded-light": 1380, "healthy-phone-dark": 1000}
"""Those in docs/how-to/images, with their height."""
MOST_HEIGHT = 2400
"""Of a picture, in pixels."""


def take(browser: Browser, address: str, colours: str, *, phone: bool, path: Path) -> None:
    """The page as a whole is in a file, or the beginning of it."""
    width, height = PHONE if phone else DESKTOP
    browser.size(width, height, phone=phone)
    browser.prefer(prefers_color_scheme=colours, prefers_reduced_motion="reduce")
    browser.open(address)
    browser.wait("document.body.dataset.shown", "the page to show what it has heard")
    browser.run("for (const each of document.querySelectorAll('details')) each.open = true")
    whole = min(MOST_HEIGHT, browser.run("return document.documentElement.scrollHeight"))
    browser.size(width, max(height, whole), phone=phone)
    browser.picture(path, width, max(height, whole))
    if path.stem in FOR_THE_MANUAL:
        browser.picture(path.with_stem(f"manual-{path.stem}"), width, FOR_THE_MANUAL[path.stem], scale=0.6)


def main(folder: Path) -> None:
    """All pictures are there."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, running_browser() as browser:
        for name, scene, colours, phone in SHOTS:
            with running_stage(Path(scratch), scene) as address:
                take(browser, address, colours, phone=phone, path=folder / f"{name}.png")
        with running_stage(Path(scratch), "healthy", "a-token-for-a-picture") as address:
            browser.size(*DESKTOP)
            browser.open(address)
            browser.wait("!document.getElementById('locked').hidden", "the page to ask for the token")
            browser.picture(folder / "locked-light.png", *DESKTOP)
    sys.stdout.write("".join(f"{path}\n" for path in sorted(folder.glob("*.png"))))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "build/screenshots"))
