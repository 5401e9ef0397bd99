"""Replays in a terminal, as an SVG and as a GIF, and which decode is shown unasked."""

import io
import json
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from PIL import Image, ImageColor
from rich.console import Console

from parallelbench import evaluate
from parallelbench.analysis.replay import terminal
from parallelbench.analysis.replay.choice import ReplayRequest, choose
from parallelbench.analysis.replay.gif import letters, to_gif
from parallelbench.analysis.replay.scene import flowed, readable, scene_of
from parallelbench.analysis.replay.steps import Replay, Replayer, ReplayStep
from parallelbench.analysis.replay.svg import to_svg
from parallelbench.cli.program import main
from parallelbench.errors import RecordsError, RequestError, UnknownNameError
from parallelbench.run.rundir import RunDirectory
from support import browser as chromium
from support.fabricated import END, MASK, altered, traced_record

DOCS = Path(__file__).parents[2] / "docs"
EVIL = "<script>alert(1)</script>&\x1b[2J\u202e"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("replays") / "run"
    evaluate(
        model="ideal",
        tasks=["choices/city", "waiting_line/shuffle:length=3"],
        decoders=["one_by_one", "random:k=1|32"],
        samples=6,
        out=path,
    )
    return RunDirectory.open(path)


@pytest.fixture(scope="module")
def scene(run):
    return scene_of(
        [Replayer(run.runfile).replay(record) for record in choose(run, ReplayRequest())]
    )


def made_up(steps, words, bits=None, **changes):
    """A replay whose tokens read as a test wants; 3 is the first of them."""

    class Worded(Replay):
        def text(self, token):
            return words[token - 3]

    record = traced_record([p for p, _ in steps], ids=[i for _, i in steps], **changes)
    done = tuple(ReplayStep(tuple(p), tuple(i), bits, None) for p, i in steps)
    return Worded(record, None, done, None, None, None)


def printed(draw, **looks):
    console = Console(file=io.StringIO(), width=200, **looks)
    draw(console)
    return console.file.getvalue()


# Which decode.


def test_unasked_the_clearest_failure_is_shown_beside_a_setting_that_got_it_right(run):
    right, wrong = choose(run, ReplayRequest())
    assert wrong.marks.lenient == 0
    assert right.marks.lenient == 1
    # Of the same strategy, though another stands before it in the run file.
    assert [right.decoder_label, wrong.decoder_label] == ["random:k=1", "random:k=32"]
    assert right.key[:3] == wrong.key[:3]


def test_what_is_named_is_shown_in_that_order(run):
    wanted = ReplayRequest("choices/city/4", ("random:k=32", "one_by_one"), "ideal")
    found = choose(run, wanted)
    assert [r.decoder_label for r in found] == ["random:k=32", "one_by_one"]
    assert {(r.task_label, r.index) for r in found} == {("choices/city", 4)}


def test_a_sample_that_nobody_failed_is_shown_alone(tmp_path):
    decoders = "one_by_one,random:k=1"
    evaluate(tasks="choices/dice", decoders=decoders, samples=1, out=tmp_path / "run")
    (record,) = choose(RunDirectory.open(tmp_path / "run"), ReplayRequest())
    assert record.marks.lenient == 1


def test_a_task_may_be_named_without_its_fields_as_in_the_name_of_a_sample(run):
    (record, *_) = choose(run, ReplayRequest("waiting_line/shuffle/00002"))
    assert (record.task_label, record.index) == ("waiting_line/shuffle:length=3", 2)
    assert record.sample.id == "waiting_line/shuffle/00002"


def test_a_decoder_may_be_named_without_its_fields_where_it_has_one_setting(tmp_path):
    decoders = "random:k=1|2,confidence:k=4"
    evaluate(tasks="choices/city", decoders=decoders, samples=1, out=tmp_path / "run")
    run = RunDirectory.open(tmp_path / "run")
    (record,) = choose(run, ReplayRequest(decoders=("confidence",)))
    assert record.decoder_label == "confidence:k=4"
    with pytest.raises(UnknownNameError, match="did you mean 'random:k="):
        choose(run, ReplayRequest(decoders=("random",)))


@pytest.mark.parametrize(
    ("wanted", "error", "told"),
    [
        (ReplayRequest("choices/cty/1"), UnknownNameError, "did you mean 'choices/city'"),
        (ReplayRequest("choices/city/6"), RequestError, "the samples here are 0 to 5"),
        (
            ReplayRequest("3"),
            RequestError,
            r"2 tasks, so say which, such as --sample choices/city/3",
        ),
        (
            ReplayRequest("choices/city"),
            RequestError,
            "does not end in a number; .* choices/city/0",
        ),
        (ReplayRequest(decoders=("random:k=3",)), UnknownNameError, "did you mean 'random:k="),
        (ReplayRequest(decoders=("one_by_one",) * 2), RequestError, "two different ones"),
        (ReplayRequest(model="idea"), UnknownNameError, "did you mean 'ideal'"),
    ],
)
def test_what_the_run_has_not_is_refused_with_the_nearest(run, wanted, error, told):
    with pytest.raises(error, match=told):
        choose(run, wanted)


def test_a_server_shows_no_steps_and_the_refusal_says_so(run, monkeypatch):
    served = [altered(r, decoding=None) for r in run.records()]
    monkeypatch.setattr(RunDirectory, "records", lambda _: iter(served))
    with pytest.raises(RecordsError, match=r"no steps of ideal: a server decoded by itself"):
        choose(run, ReplayRequest())


def test_what_is_not_recorded_yet_is_refused_with_the_way_on(run, monkeypatch):
    one = [r for r in run.records() if r.index == 0 and r.decoder_label == "random:k=32"]
    monkeypatch.setattr(RunDirectory, "records", lambda _: iter(one))
    with pytest.raises(RecordsError, match=r"no decode of sample choices/city/1 yet; parallelbenc"):
        choose(run, ReplayRequest("choices/city/1"))
    with pytest.raises(RecordsError, match="by one_by_one with ideal is not recorded"):
        choose(run, ReplayRequest("choices/city/0", ("one_by_one", "random:k=32")))


def test_a_decode_that_ended_in_an_error_is_shown_and_not_called_wrong(run, monkeypatch):
    broken = next(run.records()).model_copy(
        update={"status": "error", "error": "it broke", "marks": None}
    )
    monkeypatch.setattr(RunDirectory, "records", lambda _: iter([broken]))
    (record,) = choose(run, ReplayRequest())
    (panel,) = scene_of([Replayer(run.runfile).replay(record)]).panels
    assert panel.verdict == "ended in an error, and is not counted"


# What is drawn.


def test_the_last_moment_is_the_reply(scene):
    for panel in scene.panels:
        words = [cell.text for cell in panel.moments[-1].cells if cell.kind == "word"]
        assert not any(cell.kind == "open" for cell in panel.moments[-1].cells)
        assert all(word in "New York Orleans Mexico Panama City" for word in words)


def test_a_moment_marks_what_its_steps_wrote_and_adds_up_their_bits(scene, run):
    right, wrong = (Replayer(run.runfile).replay(r) for r in choose(run, ReplayRequest()))
    fast = scene.panels[1]
    assert fast.moments[1].lost
    assert fast.moments[1].bits == pytest.approx(wrong.steps[0].bits)
    slow = scene.panels[0]
    assert sum(m.last - m.first + 1 for m in slow.moments[1:]) == len(right.steps)
    assert sum(m.bits for m in slow.moments[1:]) == pytest.approx(0)


def test_steps_that_write_only_ends_behind_the_reply_are_one_moment():
    steps = [([0], [3]), ([1], [END]), ([2], [END]), ([3], [END])]
    (panel,) = scene_of([made_up(steps, ["word"])]).panels
    assert [(m.first, m.last) for m in panel.moments] == [(0, 0), (1, 1), (2, 2), (3, 4)]
    assert panel.hidden == 2
    assert panel.moments[-1].told(4) == "steps 3\N{EN DASH}4 of 4: only ends of text"


def test_steps_that_are_told_together_have_their_bits_added_up():
    steps = [([0], [3]), ([1], [END]), ([2], [END]), ([3], [END])]
    (panel,) = scene_of([made_up(steps, ["word"], bits=0.5)]).panels
    assert panel.moments[-1].bits == 1.0
    assert "could not know 1.00 bits" in panel.moments[-1].told(4)


def test_a_step_that_writes_nothing_says_so():
    (panel,) = scene_of([made_up([([], []), ([0], [3])], ["word"])]).panels
    assert panel.moments[1].told(2) == "step 1 of 2: nothing is written"


def test_a_token_that_is_opened_again_is_marked_so():
    steps = [([0, 1], [3, 4]), ([1], [MASK]), ([1], [5])]
    scene = scene_of([made_up(steps, ["a", "b", "longer"])])
    (panel,) = scene.panels
    assert panel.moments[2].opened == {1}
    assert panel.moments[2].told(3) == "step 2 of 3: + 1 opened again"
    text = printed(lambda console: terminal.write_all(console, scene))
    assert [line for line in text.splitlines() if line.startswith("   a") or "+a" in line] == [
        "  +a+b     ",
        "   a-______",
        "   a+longer",
    ]


def test_nothing_that_a_model_writes_commands_the_terminal():
    text = printed(
        lambda console: terminal.write_all(console, scene_of([made_up([([0], [3])], [EVIL])]))
    )
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "<1B>[2J<202E>" in readable(EVIL)


def test_cells_flow_into_rows_and_a_wide_one_stands_alone():
    assert flowed([3, 3, 3], 12) == [[0, 1, 2]]
    assert flowed([3, 3, 3], 11) == [[0, 1], [2]]
    assert flowed([99, 3], 10) == [[0], [1]]


def test_two_decodes_stand_side_by_side_where_there_is_room(scene):
    for width, beside in ((120, True), (60, False)):
        console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
        terminal.show(console, scene, 1)
        titles = [line for line in console.file.getvalue().splitlines() if "random:k=1" in line]
        assert ("random:k=32" in titles[0]) == beside


def test_it_moves_on_a_terminal_and_leaves_the_verdicts(scene):
    text = printed(
        lambda console: terminal.play(console, scene, 0.001),
        force_terminal=True,
        color_system=None,
    )
    assert text.count("step 1 of 1:") >= scene.ticks - 1
    end = text[text.rindex("step 1 of 1:") :]
    assert "wrong: " in end
    assert "they depend on each other by" in " ".join(end.split())


# Pictures.


def test_the_svg_is_well_formed_and_needs_nothing_else(scene):
    text = to_svg(scene, 0.5, "made by -- a test")
    root = ET.fromstring(text)  # noqa: S314  our own
    assert root.tag.endswith("svg")
    assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)|<script|url\(|@import", text)
    assert "prefers-color-scheme: dark" in text
    assert "prefers-reduced-motion" in text


def test_every_moment_of_the_svg_is_shown_once(scene):
    text = to_svg(scene, 0.5)
    styles = dict(re.findall(r"@keyframes (\w+) \{ (.*) \}$", text, flags=re.MULTILINE))
    used = set(re.findall(r'<g class="(w\d+)">', text))
    assert used == set(styles)
    ends = [body for body in styles.values() if "100% { visibility: visible; }" in body]
    at_rest = re.findall(r"\.(\w+) \{ visibility: visible;", text)
    assert len(ends) == len(at_rest)


def test_text_in_the_svg_is_text():
    text = to_svg(scene_of([made_up([([0], [3])], [EVIL])]), 0.5)
    root = ET.fromstring(text)  # noqa: S314  our own
    assert any(EVIL[:8] in "".join(each.itertext()) for each in root.iter())
    assert "<script" not in text


@pytest.mark.skipif(chromium.executable() is None, reason="no Chromium is installed here")
def test_the_svg_moves_in_a_browser(scene, tmp_path):
    file = tmp_path / "replay.svg"
    file.write_text(to_svg(scene, 0.5), encoding="utf-8")
    visible = """at => {
        document.getAnimations().forEach(each => { each.pause(); each.currentTime = at; });
        return [...document.querySelectorAll("g")]
            .filter(each => getComputedStyle(each).visibility === "visible")
            .map(each => each.textContent).join(" ");
    }"""
    with chromium.running() as browser:
        with chromium.opened(browser, file) as page:
            assert "before the first of 1 steps" in page.evaluate(visible, 10)
            assert "wrong" not in page.evaluate(visible, 10)
            behind = page.evaluate(visible, 510)
            assert "before the first of 1 steps" not in behind
            assert "wrong" in behind
        with chromium.opened(browser, file, color_scheme="dark", reduced_motion="reduce") as page:
            paper = "getComputedStyle(document.querySelector('.paper')).fill"
            assert page.evaluate(paper) == "rgb(20, 23, 31)"
            still = """[...document.querySelectorAll("g")]
                .filter(each => getComputedStyle(each).visibility === "visible")
                .map(each => each.textContent).join(" ")"""
            assert "wrong" in page.evaluate(still)


def test_the_gif_has_a_frame_for_every_moment_in_our_colours(scene):
    with Image.open(io.BytesIO(to_gif(scene, 0.5))) as image:
        assert image.n_frames == scene.ticks
        assert image.info["loop"] == 0
        image.seek(1)
        assert image.info["duration"] == 500
        colours = {colour for _, colour in image.convert("RGB").getcolors(1_000_000)}
        assert {ImageColor.getrgb(ink) for ink in ("#ffffff", "#1f2430", "#c2410c")} <= colours


def test_a_letter_that_the_font_has_not_is_shown_by_its_number():
    replay = made_up([([0], [3])], ["\N{CJK UNIFIED IDEOGRAPH-4E2D}a"])
    (panel,) = scene_of([replay], letters()).panels
    assert panel.moments[-1].cells[0].text == "<4E2D>a"
    assert panel.widths[0] == 7
    (wide,) = scene_of([replay]).panels
    assert wide.widths[0] == 3


def test_the_picture_in_the_docs_is_what_mini_does():
    done = evaluate(
        model="mini",
        tasks="waiting_line/shuffle:length=3",
        decoders="left_to_right:k=1|2",
        samples=1,
    )
    drawn = to_svg(scene_of([Replayer(done.runfile).replay(each) for each in done.records]), 0.8)
    kept = re.sub(r"<!-- .* -->\n", "", (DOCS / "replay.svg").read_text(encoding="utf-8"))
    assert kept == drawn
    assert "glued name" in drawn


# The verb.


def call(capsys, *arguments):
    status = main(["replay", *map(str, arguments)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_the_verb_prints_every_step_where_nobody_watches(run, capsys):
    status, output, errors = call(capsys, run.path)
    assert (status, errors) == (0, "")
    assert "step 1 of 1:" in output
    assert "they depend on each other by" in output


def test_the_verb_prints_one_step(run, capsys):
    status, output, _ = call(capsys, run.path, "--step", 1)
    titles = [line for line in output.splitlines() if " \N{MIDDLE DOT} random:k=" in line]
    assert (status, len(titles)) == (0, 2)
    status, output, _ = call(
        capsys, run.path, "--sample", "choices/city/0", "--decoder", "one_by_one", "--step", 1
    )
    assert status == 0
    assert "step 1 of 32" in output
    assert "step 2 of 32" not in output
    status, _, errors = call(
        capsys, run.path, "--sample", "choices/city/0", "--decoder", "one_by_one", "--step", 33
    )
    assert status == 2
    assert "choices/city, sample 0 was decoded in 32 steps" in errors


def test_the_verb_prints_json_from_which_the_canvas_follows(run, capsys):
    status, output, _ = call(capsys, run.path, "--json")
    assert status == 0
    for told in json.loads(output):
        canvas = list(told["canvas"])
        for step in told["steps"]:
            for place, token in zip(step["positions"], step["ids"], strict=True):
                canvas[place] = token
        record = next(r for r in run.records() if r.decoder_label == told["decoder"])
        assert record.decoding.mask_id not in canvas


def test_the_verb_writes_pictures(run, capsys, tmp_path):
    for name, begins in (("a.svg", b"<svg"), ("a.gif", b"GIF89a")):
        status, output, _ = call(capsys, run.path, "--out", tmp_path / name, "--delay", 0.1)
        assert status == 0
        assert output.strip() == str(tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(begins)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--out", "a.mp4"], "files that end in .svg or .gif"),
        (["--out", "no/folder/a.svg"], "cannot be used"),
        (["--all", "--json"], "one of --step, --all, --out and --json"),
    ],
)
def test_the_verb_refuses_in_a_line(run, capsys, arguments, told):
    status, output, errors = call(capsys, run.path, *arguments)
    assert (status, output) == (2, "")
    assert len(errors.splitlines()) == 1
    assert told in errors
