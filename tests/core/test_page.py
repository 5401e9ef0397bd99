"""The report in a real browser: what a reader clicks, types and sees."""

import csv
import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from parallelbench.analysis.replay.gallery import gallery_of
from parallelbench.analysis.report.page import PageContent, write_report
from parallelbench.evaluation import evaluate
from support import browser as chromium
from support.browser import EVIL
from support.fabricated import altered

pytestmark = chromium.NEEDED


@pytest.fixture(scope="module")
def done():
    return evaluate(
        model="ideal",
        tasks=["choices/city", "waiting_line/shuffle:length=3"],
        decoders=["one_by_one", "random:k=2|32", "information"],
        samples=5,
    )


@pytest.fixture(scope="module")
def gallery(done):
    return gallery_of(done.runfile, done.records)


@pytest.fixture(scope="module")
def report(done, gallery, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    return write_report(
        folder,
        PageContent(results=done.results, facts={"seed": 0}, replays=lambda _: gallery),
    )


@pytest.fixture
def page(browser, report):
    with chromium.opened(browser, report) as shown:
        yield shown


def address(gallery, decoder, task="choices/city", **wanted):
    """Where the first decode of a decoder is on the page, and what is there."""
    index = gallery.index
    for number, text in enumerate(gallery.chunks):
        if index["tasks"][index["samples"][number][0]] != task:
            continue
        for place, decode in enumerate(json.loads(text)["decodes"]):
            label = index["decoders"][decode["decoder"]]
            if label == decoder and wanted.items() <= decode.items():
                return f"{number}/{place}", decode
    raise LookupError(f"no decode of {decoder} on {task} has {wanted}")


def step_of(page):
    return page.locator("#-step-count").inner_text()


def tokens(page, side=0):
    return page.locator(".side").nth(side).locator(".token").all_inner_texts()


def test_the_overview_shows_every_figure_and_nothing_sticks_out(page):
    assert page.locator("h1").inner_text() == "What parallel decoding costs: ideal"
    widths = page.evaluate("[...document.images].map(image => image.naturalWidth)")
    assert len(widths) == 4
    assert min(widths) > 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_click_on_a_heading_sorts_a_table_and_another_turns_it_round(page):
    table = page.locator("#choices-city table.sortable")

    def column():
        texts = table.locator("tbody td:nth-child(2)").all_inner_texts()
        return [float(text.split("\n")[0]) for text in texts]

    heading = table.locator("thead th").nth(1)
    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") == "ascending"
    assert column() == sorted(column())
    heading.locator("button").press("Enter")
    assert heading.get_attribute("aria-sort") == "descending"
    assert column() == sorted(column(), reverse=True)
    assert column()[0] > column()[-1]


def test_the_first_link_leads_to_the_losing_step_with_the_oracle_and_a_right_answer(page):
    page.locator(".lead a").click()
    panel = page.locator("#-replay")
    assert "now" in panel.locator(".log .lost").first.get_attribute("class")
    beside = panel.locator(".side").nth(1)
    assert "(oracle)" in beside.locator(".name").inner_text()
    assert beside.locator(".verdict").inner_text() == "right"
    right = panel.locator(".right").first.inner_text()
    assert right.startswith("The nearest right answer, 1 token away: ")
    assert panel.locator(".token.off").count() >= 1
    assert "(50 %)" in panel.locator(".status").first.inner_text()
    assert "wrong: glued name" in panel.locator(".verdict").first.inner_text()
    assert "which that step could not know" in panel.locator(".told").first.inner_text()
    assert "bits" in panel.locator(".log .lost").first.inner_text()
    expect(panel).to_be_focused()


def test_buttons_walk_through_a_decode(page, gallery, browser, report):
    place, decode = address(gallery, "one_by_one")
    with chromium.opened(browser, report, f"#replay/{place}") as shown:
        assert step_of(shown) == "0 / 32"
        assert set(tokens(shown)) == {""}
        shown.get_by_label("One step forward").click()
        assert step_of(shown) == "1 / 32"
        assert sum(text != "" for text in tokens(shown)) == 1
        shown.get_by_label("One step back").click()
        assert step_of(shown) == "0 / 32"
        shown.get_by_label("Last step").click()
        assert step_of(shown) == "32 / 32"
        words = [text for text in tokens(shown) if text != "\N{END OF PROOF}"]
        assert " ".join(words) == decode["text"]
        shown.locator(".side .log button").nth(4).click()
        assert step_of(shown) == "5 / 32"
        shown.get_by_label("First step").click()
        assert step_of(shown) == "0 / 32"


def test_keys_walk_through_a_decode_and_play_it(browser, report, gallery):
    place, _ = address(gallery, "one_by_one")
    with chromium.opened(browser, report, f"#replay/{place}") as shown:
        for key, expected in (("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1), ("End", 32)):
            shown.keyboard.press(key)
            assert step_of(shown) == f"{expected} / 32"
        shown.keyboard.press("Home")
        shown.locator("[name=speed]").select_option("10")
        shown.locator("#-replay").focus()
        shown.keyboard.press(" ")
        assert shown.locator("[name=play]").get_attribute("aria-pressed") == "true"
        shown.locator("#-step-count").filter(has_not_text="0 / 32").wait_for()
        shown.keyboard.press(" ")
        assert shown.locator("[name=play]").get_attribute("aria-pressed") == "false"
        # Another button has a use of its own for the same key.
        shown.get_by_label("Last step").press(" ")
        assert step_of(shown) == "32 / 32"


def test_the_slider_moves_and_playing_ends_at_the_end(browser, report, gallery):
    place, _ = address(gallery, "random:k=2")
    with chromium.opened(browser, report, f"#replay/{place}") as shown:
        shown.locator("[name=step]").fill("15")
        assert step_of(shown) == "15 / 16"
        shown.locator("[name=play]").click()
        shown.locator("#-step-count").filter(has_text="16 / 16").wait_for()
        assert shown.locator("[name=play]").get_attribute("aria-pressed") == "false"


def test_two_decoders_of_a_sample_stand_side_by_side(browser, report, gallery):
    place, fast = address(gallery, "random:k=32", problem="glued name")
    with chromium.opened(browser, report, f"#replay/{place}") as shown:
        shown.locator("[name=right]").select_option("")
        assert not shown.locator(".side").nth(1).is_visible()
        shown.get_by_label("First step").click()
        options = shown.locator("[name=right] option").all_inner_texts()
        slow = next(each for each in options if "one_by_one" in each)
        shown.locator("[name=right]").select_option(label=slow)
        assert shown.locator(".side").nth(1).is_visible()
        shown.locator("#-replay").focus()
        shown.keyboard.press("ArrowRight")
        # One is finished while the other has written a single token.
        assert "" not in tokens(shown, 0)
        assert sum(text != "" for text in tokens(shown, 1)) == 1
        assert "1.00 bits" in shown.locator(".side .status").first.inner_text()
        shown.locator("[name=step]").fill("3")
        expect(shown).to_have_url(re.compile(r"@3$"))
        found = shown.evaluate("location.hash")
        assert found.startswith(f"#replay/{place}/")
    with chromium.opened(browser, report, found) as again:
        assert again.locator(".side .reply").first.inner_text() == fast["text"]
        assert again.locator(".side").nth(1).is_visible()
        assert step_of(again) == "3 / 32"


def test_another_sample_keeps_the_decoders_that_are_compared(browser, report, gallery):
    place, _ = address(gallery, "random:k=32")
    with chromium.opened(browser, report, f"#replay/{place}") as shown:
        other = shown.locator("[name=sample] option:not(:checked)").first
        shown.locator("[name=sample]").select_option(value=other.get_attribute("value"))
        assert "random:k=32" in shown.locator(".side .name").first.inner_text()
        shown.locator("#-replay [name=task]").select_option(label="waiting_line/shuffle:length=3")
        assert "random:k=32" in shown.locator(".side .name").first.inner_text()
        assert "waiting" in shown.locator("#-question").inner_text()


def test_colour_tells_early_from_late_or_the_bits_and_the_key_says_which(browser, report, gallery):
    place, _ = address(gallery, "random:k=2", task="waiting_line/shuffle:length=3")
    with chromium.opened(browser, report, f"#replay/{place}") as shown:
        shown.keyboard.press("End")
        colours = (
            "[...document.querySelectorAll('.token')].map(t => getComputedStyle(t).backgroundColor)"
        )
        early_to_late = shown.evaluate(colours)
        key = shown.locator("#-key")
        assert "written early" in key.inner_text()
        shown.locator("[name=colour]").select_option("bits")
        assert len(set(early_to_late)) == 16
        by_bits = shown.evaluate(colours)
        assert by_bits != early_to_late
        assert "bits that it could not" in key.inner_text()
        shown.locator("[name=colour]").select_option("chance")
        assert shown.evaluate(colours) not in (by_bits, early_to_late)
        assert "probability 100 %" in key.inner_text()


def test_failures_are_filtered(page, gallery):
    index = gallery.index
    kinds = {index["problems"][failure[5]] for failure in index["failures"]}
    assert len(kinds) > 1
    for kind in kinds:
        page.locator("#-failures [name=problem]").select_option(label=kind)
        shown = page.locator("#-failure-list .kind").all_inner_texts()
        of_kind = sum(index["problems"][failure[5]] == kind for failure in index["failures"])
        assert set(shown) == {kind}
        assert len(shown) == min(30, of_kind)
    page.locator("#-failures [name=problem]").select_option(label="all failures")
    page.locator("#-failures [name=decoder]").select_option(label="random:k=32")
    assert all("random:k=32" in text for text in page.locator(".where").all_inner_texts())
    first = page.locator("#-failure-list a").first
    reply = first.inner_text()
    first.click()
    expect(page.locator(".side .reply").first).to_have_text(reply)


def test_columns_are_chosen_explained_and_remembered_and_three_fit_a_phone(browser, report):
    phone = {"viewport": {"width": 390, "height": 844}}
    with chromium.opened(browser, report, "#choices-city", **phone) as shown:
        section = shown.locator("#choices-city")
        frame = section.locator(".framed").first.bounding_box()
        for key in ("accuracy", "tokens", "calls"):
            box = section.locator(f"th[data-key={key}]").bounding_box()
            assert frame["x"] <= box["x"] < box["x"] + box["width"] <= frame["x"] + frame["width"]
        strict = section.locator("th[data-key=strict]")
        assert not strict.is_visible()
        section.locator(".columns summary").click()
        assert section.locator(".choices input[value=accuracy]").count() == 0
        section.locator(".choices input[value=strict]").check()
        section.locator(".choices input[value=samples]").uncheck()
        assert strict.is_visible()
        head = section.locator("th[data-key=tokens]")
        head.locator("button").focus()
        tip = shown.locator("#-tip")
        expect(tip).to_have_text(head.get_attribute("data-told"))
        shown.keyboard.press("Escape")
        expect(tip).to_be_hidden()
        head.hover()
        expect(tip).to_be_visible()
        found = shown.evaluate("location.hash")
    with chromium.opened(browser, report, found) as again:
        section = again.locator("#choices-city")
        assert section.locator("th[data-key=strict]").is_visible()
        assert not section.locator("th[data-key=samples]").is_visible()
        # A link within the page keeps what was chosen.
        again.locator("nav a", has_text="waiting_line/shuffle").click()
        expect(again).to_have_url(re.compile(r"#waiting_line-shuffle[^&]*&columns=.*strict"))


def test_a_table_is_saved_as_csv_with_every_column_and_both_ends_of_intervals(page, done):
    with page.expect_download() as saved:
        page.locator("#choices-city .csv").first.click()
    assert saved.value.suggested_filename == "choices-city.csv"
    rows = list(csv.DictReader(Path(saved.value.path()).read_text(encoding="utf-8").splitlines()))
    wanted = [result for result in done.results if result.task_label == "choices/city"]
    assert [row["accuracy %"] for row in rows] == [f"{100 * r.accuracy:.1f}" for r in wanted]
    assert [row["accuracy % low"] for row in rows] == [
        f"{100 * r.interval.low:.1f}" for r in wanted
    ]
    assert "strict accuracy % high" in rows[0]
    assert {row["oracle efficiency"] for row in rows} == {""}  # nothing was computed beside them


def test_a_chart_tells_the_values_of_the_mark_that_is_pointed_at(page, done):
    plot = page.locator("#choices-city .plot").first
    result = next(r for r in done.results if r.decoder_label == "random:k=2")
    plot.scroll_into_view_if_needed()
    marks = page.evaluate("JSON.parse(document.getElementById('-marks').textContent)")
    number = int(plot.get_attribute("data-marks"))
    x, y, told = next(mark for mark in marks[number] if mark[2].startswith("random:k=2,"))
    assert f"{100 * result.accuracy:.1f} % right" in told
    box = plot.bounding_box()
    page.mouse.move(box["x"] + x * box["width"] + 3, box["y"] + y * box["height"] - 3)
    expect(page.locator("#-tip")).to_have_text(told)
    page.mouse.move(0, 0)
    plot.focus()
    page.keyboard.press("End")
    expect(page.locator("#-tip")).to_have_text(marks[number][-1][2])


def test_samples_are_searched_by_words_of_prompt_reply_and_right_answer(page, gallery):
    page.locator("[name=words]").fill("sample 3 random:k=2 waiting_line")
    page.locator("#-failures [name=problem]").select_option("every")
    where = page.locator("#-failure-list .where").all_inner_texts()
    assert where == ["waiting_line/shuffle:length=3, sample 3, ideal \N{MIDDLE DOT} random:k=2"]
    page.locator("[name=words]").fill("mexico")
    page.locator("#-failures [name=problem]").select_option("right")
    replies = page.locator("#-failure-list a").all_inner_texts()
    assert replies
    assert set(page.locator("#-failure-list .kind").all_inner_texts()) == {"right"}


def test_the_whole_prompt_opens_with_its_worked_examples(page, gallery):
    prompt = page.locator("#-prompt")
    prompt.locator("summary").click()
    roles = prompt.locator(".turn b").all_inner_texts()
    first = json.loads(gallery.chunks[0])
    assert roles == [*(role for role, _ in first["examples"]), "user"]
    assert prompt.locator(".turn p").last.inner_text() == first["question"].strip()


def test_the_order_of_writing_opens(page):
    details = page.locator("#choices-city details[data-order]")
    details.locator("summary").click()
    # The browser tells of the opening after the click has returned.
    expect(details.locator(".heat tr")).to_have_count(4)
    expect(details.locator(".heat tr").first.locator("td")).to_have_count(32)


def test_the_results_fit_a_window_of_1200_pixels_and_scroll_in_a_narrow_one(browser, report):
    widest = "Math.max(...[...document.querySelectorAll('.results')].map(EXTRA))".replace(
        "EXTRA", "table => table.parentElement.scrollWidth - table.parentElement.clientWidth"
    )
    with chromium.opened(browser, report, viewport={"width": 1200, "height": 800}) as shown:
        assert shown.evaluate(widest) == 0
    with chromium.opened(browser, report, viewport={"width": 600, "height": 800}) as shown:
        assert shown.evaluate(widest) > 0
        assert shown.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_text_is_readable_at_any_width_in_any_light(browser, report, gallery, scheme, width):
    place, _ = address(gallery, "random:k=2", task="waiting_line/shuffle:length=3")
    size = {"width": width, "height": 800}
    looks = {"viewport": size, "color_scheme": scheme}
    with chromium.opened(browser, report, f"#replay/{place}", **looks) as shown:
        shown.keyboard.press("End")
        assert shown.evaluate("document.documentElement.scrollWidth <= innerWidth")
        for colour in ("step", "bits", "chance"):
            shown.locator("[name=colour]").select_option(colour)
            assert shown.evaluate(CONTRAST) >= 4.5  # WCAG 2, level AA


#: The least contrast of a token's text with what is behind it, as WCAG 2 defines it.
CONTRAST = """() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const light = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((v) => {
      const share = v / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  return Math.min(...[...document.querySelectorAll(".token:not(.open):not(.ends)")].map((token) => {
    const style = getComputedStyle(token);
    const [a, b] = [light(style.color), light(style.backgroundColor)].sort();
    return (b + 0.05) / (a + 0.05);
  }));
}"""


def test_what_a_model_writes_is_shown_and_never_obeyed(browser, done, tmp_path):
    evil = [
        altered(
            record,
            text=EVIL,
            marks=record.marks.model_copy(update={"lenient": 0.0, "problem": EVIL}),
        )
        for record in done.records
    ]
    gallery = gallery_of(done.runfile, evil)
    path = write_report(
        tmp_path,
        PageContent(results=done.results, facts={"state": EVIL}, replays=lambda _: gallery),
    )
    with chromium.opened(browser, path, "#replay/0/0") as shown:
        assert shown.locator(".side .reply").first.inner_text().strip() == EVIL.strip()
        assert EVIL.strip() in shown.locator("#-failure-list").inner_text()
        assert shown.locator("main img[src=x]").count() == 0


def test_an_address_that_leads_nowhere_opens_another_decode(browser, report):
    for address_ in ("#replay/999/0", "#replay/0/999", "#replay/0/0/999"):
        with chromium.opened(browser, report, address_) as shown:
            assert shown.locator(".side .reply").first.inner_text()


def test_a_page_without_replays_says_why(browser, done, tmp_path):
    served = [altered(record, decoding=None) for record in done.records]
    gallery = gallery_of(done.runfile, served)
    path = write_report(tmp_path, PageContent(results=done.results, replays=lambda _: gallery))
    with chromium.opened(browser, path) as shown:
        assert "a server decoded them" in shown.locator("#-replay").inner_text()
        assert shown.locator("[name=play]").count() == 0
        assert shown.locator("#-failures tbody tr").count() == len(gallery.kinds)
