"""The board in a real browser: what a reader sorts, filters, slides and opens."""

import csv
from pathlib import Path

import pytest

from parallelbench.leaderboards.board.pages import build_site
from support import browser as chromium
from support.board_entries import called, decoded, entry_of
from support.browser import EVIL
from support.fabricated import altered

pytestmark = chromium.NEEDED


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The ideal model, a network that decodes as it does, and an entry full of scripts."""
    records = decoded(
        [
            "one_by_one",
            "random:k=2|8",
            "confidence_threshold:threshold=0.5|0.9",
            "information:eps=0",
        ]
    )
    plain = [record for record in records if not record.decoder.oracle]
    evil = [
        altered(
            record,
            model=EVIL,
            text=EVIL,
            decoder_label=f"{record.decoder_label}{EVIL}",
            marks=record.marks.model_copy(update={"problem": EVIL}),
        )
        for record in plain
        if record.decoder.name != "random"
    ]
    # Another setting of the same speed, which is never right: it does not count.
    wrong = [
        altered(
            record,
            decoder_label="random:k=3",
            decoder_fields={**record.decoder.fields, "k": 3},
            marks=record.marks.model_copy(update={"lenient": 0.0}),
        )
        for record in plain
        if record.decoder_label == "random:k=2"
    ]
    said = {"title": EVIL, "submitter": EVIL, "contact": EVIL, "disclosure": EVIL}
    folder = tmp_path_factory.mktemp("board")
    boards, _ = build_site(
        [
            entry_of(records, "ideal", title="The ideal model"),
            entry_of(
                called([*plain, *wrong], "my-network"), "net", title="A network", level="reproduced"
            ),
            entry_of(evil, "evil", division="open", remarks=[EVIL], **said),
        ],
        folder,
    )
    return folder, boards[0]


@pytest.fixture(scope="module")
def shared(browser, built):
    """One load of the page for all that only look or put back what they changed."""
    with chromium.opened(browser, built[0] / "index.html") as shown:
        yield shown


@pytest.fixture
def page(shared):
    shared.evaluate(RESET)
    return shared


#: Return only after the page has followed the address, which it does some time after the change.
RESET = """() => new Promise((done) => {
  if (location.hash === "#at=80") return done();
  addEventListener("hashchange", () => done(), { once: true });
  location.hash = "#at=80";
})"""


def rows(page):
    return page.locator("#-table tbody tr[data-id]")


def column(page, key):
    return page.locator(f"#-table td[data-key={key}]").all_inner_texts()


def speeds(page):
    """The speed that each row shows; None where it shows none."""
    ids = page.eval_on_selector_all("#-table tr[data-id]", "all => all.map(r => r.dataset.id)")
    texts = [text.split("\n")[0] for text in column(page, "speed")]
    return dict(zip(ids, [None if t == "\N{EN DASH}" else float(t) for t in texts], strict=True))


def slide(page, percent):
    page.locator("#-at").fill(str(percent))


def figures(board, scope):
    return {
        f"{row.entry.name}/{row.model}/{row.strategy}": row.figures[scope]
        for section in board.sections
        for row in section.rows
    }


def test_the_slider_shows_the_speeds_of_python_at_every_accuracy(page, built):
    for scope in ("all tasks", "waiting_line/shuffle"):
        page.locator("[name=scope]").select_option(scope)
        for percent in (50, 63, 80, 85, 100):
            slide(page, percent)
            held = figures(built[1], scope)
            shown = speeds(page)
            assert shown.keys() == held.keys()
            for name, own in held.items():
                wanted = own.at.get(percent)
                if wanted is None:
                    assert shown[name] is None
                else:
                    assert shown[name] == pytest.approx(wanted.speed, abs=0.00501)
            public = sorted(f"{own.published(percent):.2f}" for own in held.values())
            assert sorted(column(page, "published")) == public


def test_ranks_stand_in_the_table_and_oracles_have_none(page, built):
    sections = page.locator("#-table .section").all_inner_texts()
    assert sections == [section.title for section in built[1].sections]
    ranks = column(page, "rank")
    wanted = [
        "\N{EN DASH}" if at is None or at.rank is None else str(at.rank)
        for section in built[1].sections
        for at in (row.figures["all tasks"].at.get(80) for row in section.rows)
    ]
    assert sorted(ranks) == sorted(wanted)
    assert ranks[-1] == "\N{EN DASH}"


def test_a_click_on_a_heading_sorts_within_the_sections(page):
    page.locator("[name=section]").select_option("The ideal model")
    head = page.locator("#-table th[data-key=area]")
    for direction, reverse in (("descending", True), ("ascending", False)):
        head.locator("button").press("Enter")
        assert head.get_attribute("aria-sort") == direction
        shown = [float(text.split("\n")[0]) for text in column(page, "area")]
        assert len(shown) == 3
        assert shown == sorted(shown, reverse=reverse)
    # Whoever sorts by keys stays where they were.
    assert page.evaluate("document.activeElement.parentElement.dataset.key") == "area"


def test_columns_are_chosen_explained_and_saved(page, built):
    page.locator("#-board .columns summary").click()
    page.locator(".choices input[value=published]").uncheck()
    assert page.locator("#-table [data-key=published]").count() == 0
    assert "published," not in page.evaluate("location.hash")
    head = page.locator("#-table th[data-key=speed]")
    head.locator("button").focus()
    assert page.locator("#-tip").inner_text() == head.get_attribute("data-told")
    with page.expect_download() as saved:
        page.locator("#-board .csv").click()
    lines = list(csv.reader(Path(saved.value.path()).read_text(encoding="utf-8").splitlines()))
    assert len(lines) == 1 + rows(page).count()
    place = lines[0].index("canvas tokens per step, at 80 % right answers")
    assert lines[0][place + 1].endswith(" low")
    shown = ["" if value is None else f"{value:.2f}" for value in speeds(page).values()]
    assert [line[place] for line in lines[1:]] == shown
    calls = lines[0].index("model calls, most accurate setting")
    wanted = sorted(f"{own.best.nfe:.1f}" for own in figures(built[1], "all tasks").values())
    assert sorted(line[calls] for line in lines[1:]) == wanted
    # What an entry calls itself is no formula of a spreadsheet.
    assert not any(cell.startswith(("=", "+", "@")) for line in lines for cell in line)
    page.locator(".choices input[value=published]").check()
    assert "columns" not in page.evaluate("location.hash")


def test_no_two_curves_have_one_colour(page):
    for tick in page.locator("#-table input[type=checkbox]").all():
        if tick.is_enabled():
            tick.check()
    colours = page.eval_on_selector_all(
        "#-legend .swatch path", "all => all.map(each => getComputedStyle(each).fill)"
    )
    assert len(colours) > 6
    assert len(set(colours)) == len(colours)


def test_what_is_absent_stands_last_whichever_way_rows_are_sorted(page):
    page.locator("[name=section]").select_option("The ideal model")
    slide(page, 100)
    button = page.locator("#-table th[data-key=speed] button")
    for _ in range(2):
        shown = list(speeds(page).values())
        assert shown[-1] is None
        assert None not in shown[:-1]
        assert len(shown) == 3
        button.click()


def test_filters_leave_rows_out_and_change_no_rank(page):
    before = column(page, "rank")
    page.locator("[name=division]").select_option("open")
    assert rows(page).count() == 2
    page.locator("[name=division]").select_option("")
    page.locator("[name=level]").select_option("reproduced")
    assert set(page.locator("#-table .entry a").all_inner_texts()) == {"A network"}
    page.locator("[name=level]").select_option("spot-checked")
    assert set(page.locator("#-table td.level").all_inner_texts()) == {"reproduced"}
    page.locator("[name=level]").select_option("recomputed")
    assert rows(page).count() == 9
    assert set(column(page, "level")) == {"recomputed", "reproduced"}
    page.locator("[name=level]").select_option("")
    page.locator("[name=text]").fill("ideal random")
    assert rows(page).count() == 1
    assert "1 of 9 rows" in page.locator("#-count").inner_text()
    page.locator("[name=text]").fill("nothing like this")
    assert rows(page).count() == 0
    page.locator("[name=text]").fill("")
    assert column(page, "rank") == before


def test_an_address_opens_what_it_was_taken_from(page, browser, built):
    slide(page, 66)
    page.locator("[name=scope]").select_option("waiting_line")
    page.locator("[name=model]").select_option("ideal")
    page.locator("#-table th[data-key=accuracy] button").click()
    page.get_by_label('Draw the curve of random, varying k, "ideal"').check()
    found = page.evaluate("location.hash")
    shown = page.locator("#-table").inner_text(), page.locator("#-legend").inner_text()
    with chromium.opened(browser, built[0] / "index.html", found) as again:
        assert again.locator("#-at-told").inner_text() == "66 %"
        assert again.locator("[name=scope]").input_value() == "waiting_line"
        assert again.locator("#-table").inner_text() == shown[0]
        assert again.locator("#-legend").inner_text() == shown[1]


def test_an_address_of_nothing_opens_the_board(page):
    page.evaluate("location.hash = '#scope=none&at=1e9&sort=x&model=y&season=z&show=no'")
    page.locator("#-at-told").filter(has_text="100 %").wait_for()
    assert rows(page).count() == 9
    assert page.locator("[name=scope]").input_value() == "all tasks"


def test_curves_stand_beside_the_oracle_and_the_bound(page):
    legend = page.locator("#-legend").inner_text()
    assert "bound of the exact law: the ideal model under the information oracle" in legend
    assert page.locator("#-chart polyline.bound").get_attribute("points")
    assert page.locator("#-chart polyline.oracle").count() == 1
    assert page.locator("#-small svg").count() == 5
    page.locator("#-small button", has_text="choices/city").click()
    assert page.locator("#-curves-head").inner_text() == "Accuracy against speed: choices/city"


def test_keys_walk_along_the_marks_and_read_them(page):
    page.locator("#-chart .point[tabindex='0']").focus()
    read = page.locator("#-readout")
    first = read.inner_text()
    assert "% right (" in first
    assert "canvas tokens per step (" in first
    assert "100 samples" in first
    # Focused again with the key: a page that was drawn anew in between has lost it.
    page.locator("#-chart .point[tabindex='0']").press("ArrowRight")
    assert read.inner_text() != first
    page.keyboard.press("Home")
    assert read.inner_text() == first
    page.keyboard.press("End")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.classList.contains('point')")


def test_what_an_entry_says_is_shown_and_never_obeyed(page, browser, built):
    assert page.locator("img").count() == 0
    assert EVIL.strip() in page.locator("#-table").inner_text()
    path = built[0] / "entries" / "evil.html"
    with chromium.opened(browser, path) as shown:
        assert shown.locator("h1").inner_text().strip() == EVIL.strip()
        assert shown.locator("img").count() == 0
        assert "cannot be shown step by step here" in shown.locator("#-replay").inner_text()


def test_an_entry_page_replays_its_decodes(page, browser, built):
    link = page.locator("#-table .entry a", has_text="The ideal model").first
    path = built[0] / link.get_attribute("href")
    with chromium.opened(browser, path, "#replay/0/0") as shown:
        assert shown.locator("#-failures tbody tr").count() > 0
        shown.get_by_label("Last step").click()
        assert "" not in shown.locator(".side .token").all_inner_texts()[:1]
        assert "of" in shown.locator(".side .status").first.inner_text()
        back = shown.get_by_role("link", name="The board")
        assert (path.parent / back.get_attribute("href")).resolve() == built[0] / "index.html"
        assert shown.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_is_readable_in_any_light(browser, built, scheme):
    looks = {"viewport": {"width": 360, "height": 800}, "color_scheme": scheme}
    with chromium.opened(browser, built[0] / "index.html", **looks) as shown:
        assert shown.evaluate("document.documentElement.scrollWidth <= innerWidth")
        for selector in ("h1", "#-table td.main", "#-table small", "#-readout", ".small button"):
            assert shown.locator(selector).first.evaluate(CONTRAST) >= 4.5  # WCAG 2, level AA


#: The contrast of an element's text with the page, as WCAG 2 defines it.
CONTRAST = """(element) => {
  const light = (colour) => {
    const [r, g, b] = colour.match(/[\\d.]+/g).slice(0, 3).map((v) => {
      const share = v / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const [a, b] = [getComputedStyle(element).color, getComputedStyle(document.body).backgroundColor]
    .map(light).sort((x, y) => x - y);
  return (b + 0.05) / (a + 0.05);
}"""


def test_an_empty_board_shows_how_to_enter(browser, tmp_path):
    _, index = build_site([], tmp_path)
    with chromium.opened(browser, index) as shown:
        assert "parallelbench leaderboard verify FOLDER" in shown.locator("#-empty").inner_text()
