"""A headless Chromium that opens a page from disk and tells what the page did."""

import shutil
from contextlib import contextmanager

import pytest

#: A text of a model or a user that would run, were it not shown as text.
EVIL = "<img src=x onerror=alert(1)></script><script>alert(2)</script>\u2028"

NAMES = ("chromium", "chromium-browser", "google-chrome")


def executable():
    """Where the browser is; None where none is installed."""
    return next(filter(None, map(shutil.which, NAMES)), None)


NEEDED = pytest.mark.skipif(
    executable() is None,
    reason="no Chromium is installed here; `make test` installs Debian's as root",
)


@contextmanager
def running():
    """Start the browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        # Its sandbox needs rights that containers do not give; the pages are our own.
        browser = driver.chromium.launch(executable_path=executable(), args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(browser, path, address="", **looks):
    """Open the page at ``path``; refuse it if it complained, or asked for anything.

    Args:
        browser: Of :func:`running`.
        path: Of the page.
        address: What stands behind it, such as ``#replay/0/1``.
        looks: Of the window, such as ``color_scheme="dark"``.
    """
    context = browser.new_context(**looks)
    page = context.new_page()
    page.set_default_timeout(10_000)
    complaints, asked = [], []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: (complaints.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: asked.append(request.url))
    try:
        page.goto(f"{path.as_uri()}{address}")
        yield page
    finally:
        context.close()
    fetched = [url for url in asked if not url.startswith((path.as_uri(), "data:"))]
    assert not complaints
    assert not fetched
