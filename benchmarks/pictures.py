"""The report and the board as a reader sees them: docs/report.html, report.png and board.png.

    make .venv/installed-for-tests
    python benchmarks/pictures.py

makes the default run and the board of the shipped entries under ``runs/pictures``, opens both in
the system's Chromium and takes a picture of each: of the report where its first line leads, at
the step that lost the answer, beside a decode of the same sample that came out right.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from smoke import add_smoke_option, workplace

from parallelbench.cli.program import main as parallelbench

if TYPE_CHECKING:
    from playwright.sync_api import Page

DOCS = Path("docs")
RUNS = Path("runs/pictures")


@contextmanager
def opened(file: Path, width: int, height: int) -> Iterator[Page]:
    """Open a page from disk."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": width, "height": height})
        page.goto(file.resolve().as_uri())
        yield page
        browser.close()


def main() -> None:
    """Read the options, make the run and the board, and take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_smoke_option(parser)
    smoke = parser.parse_args().smoke
    board = Path("leaderboards/submissions").resolve()
    with workplace(smoke=smoke):
        less: list[str] = []
        if smoke:  # an empty board is a page too
            less = ["--tasks", "waiting_line/shuffle", "--samples", "5"]
            board = Path("empty")
            board.mkdir()
        parallelbench(["run", *less, "--out", str(RUNS / "run")])
        parallelbench(["leaderboard", "build", "--board", str(board), "--out", str(RUNS / "board")])
        take_pictures()


def take_pictures() -> None:
    """Open both pages as a reader does, and take a picture of each."""
    shutil.copy(RUNS / "run" / "report.html", DOCS / "report.html")
    with opened(DOCS / "report.html", 1100, 1040) as page:
        page.locator(".lead a").first.click()
        page.evaluate("document.activeElement.blur()")
        page.screenshot(path=DOCS / "report.png")
    with opened(RUNS / "board" / "index.html", 1280, 1000) as page:
        page.screenshot(path=DOCS / "board.png")


if __name__ == "__main__":
    main()
