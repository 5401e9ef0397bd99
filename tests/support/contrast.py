"""The contrast of a figure's text with the page behind it, read from the SVG that is shipped."""

import re

#: Of our own pages, and of GitHub's, on which README and docs are read.
PAGES = {"light": ("#ffffff", "#f6f8fa"), "dark": ("#11151b", "#0d1117")}

_TEXT = re.compile(r'<g id="text_\d+">\s*(?:<!--(.*?)-->\s*)?<g(?: style="([^"]*)")? ', re.DOTALL)


def text_colours(svg):
    """The text and the colour of everything that matplotlib wrote; its default is black."""
    for words, style in _TEXT.findall(svg):
        fill = re.search(r"fill: (#[0-9a-f]{6})", style)
        yield words.strip(), fill[1] if fill else "#000000"


def contrast(one, other):
    """Contrast ratio of two colours, 1 to 21; source: WCAG 2.2, "contrast ratio"."""
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour):
    shares = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (
        share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def hard_to_read(svg, scheme):
    """What of an SVG's text has less contrast than WCAG 2's level AA asks for."""
    found = list(text_colours(svg))
    assert found
    return [
        (words, colour)
        for words, colour in found
        if min(contrast(colour, page) for page in PAGES[scheme]) < 4.5
    ]
