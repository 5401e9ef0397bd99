"""The page: whole, safe, and the same every time; and the verb that writes it."""

import csv
import dataclasses
import html
import json
import re
from html.parser import HTMLParser

import markupsafe
import pytest

from parallelbench.analysis.measures.derived_figures import (
    DerivedFigures,
    OracleReference,
)
from parallelbench.analysis.measures.losses import Loss
from parallelbench.analysis.measures.oracle_efficiency import DEFINITION
from parallelbench.analysis.measures.speed import SpeedEstimate
from parallelbench.analysis.replay.gallery import Gallery
from parallelbench.analysis.report import page as report
from parallelbench.analysis.report.page import PageContent, write_report
from parallelbench.cli.program import main
from parallelbench.errors import StorageError
from parallelbench.record_line import from_line, to_line
from parallelbench.results.intervals import Interval
from parallelbench.run.rundir import RunDirectory
from support.fabricated import altered

EVIL = "<script>alert(1)</script>"


class Page(HTMLParser):
    """Collects what a test asks about, and refuses tags that do not match."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.sources, self.ids, self.links = [], set(), [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.add(tag)
        self.sources += [value for key, value in attrs if key in ("src", "srcset")]
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.links += [attributes["href"]] if "href" in attributes else []
        if tag not in ("meta", "img", "br", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def written(folder, results, facts=None, aside=None):
    folder.mkdir(exist_ok=True)
    derived = aside or DerivedFigures()
    return write_report(folder, PageContent(results=results, facts=facts or {}, derived=derived))


def test_every_task_has_a_heading_an_anchor_a_figure_and_a_table(tmp_path, sweep):
    path = written(tmp_path, sweep)
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    anchors = ["average", "overview", "choices-city", "waiting_line-sort-length-4"]
    assert page.ids[:4] == anchors
    assert len(page.sources) == 4
    assert text.count('<table class="sortable results"') == 3
    assert sorted(page.links) == sorted(f"#{anchor}" for anchor in page.ids if anchor != "-marks")
    assert sorted(file.name for file in (tmp_path / "figures").iterdir()) == sorted(
        f"{anchor}{end}"
        for anchor in anchors
        for end in (".svg", "-dark.svg", ".png", ".csv", ".txt")
    )


def test_replays_fill_what_figures_leave_of_ten_megabytes(tmp_path, sweep, monkeypatch):
    asked = []

    def watched(room):
        asked.append(room)
        return Gallery()

    for name, limit in [("few", report._FIGURES_AND_REPLAYS), ("many", 1_000_000), ("all", 1)]:
        monkeypatch.setattr(report, "_FIGURES_AND_REPLAYS", limit)
        (tmp_path / name).mkdir()
        page = write_report(tmp_path / name, PageContent(results=sweep, replays=watched))
    drawn = sum(map(len, Page(page.read_text(encoding="utf-8")).sources))
    assert asked == [4_000_000, 1_000_000 - drawn, 0]


def test_oracles_are_shown_beside_the_results_and_are_none_of_them(tmp_path, sweep):
    task = sweep[0].task_label
    oracle = dataclasses.replace(
        sweep[0], decoder="sweep_oracle", decoder_label="sweep_oracle", fields={}, oracle=True
    )
    key = (sweep[0].model, task, sweep[0].decoder_label)
    aside = DerivedFigures(
        oracles=[oracle],
        efficiency={
            key: SpeedEstimate(0.4321, Interval(0.31, 0.54), 1.0, 100),
            (*key[:2], sweep[1].decoder_label): SpeedEstimate(0.25, None, 0.893, 100),
        },
        references={key[:2]: OracleReference("label", 16.0)},
        losses={key: Loss(0.125, 0.0625, 0.03)},
    )
    text = written(tmp_path, sweep, aside=aside).read_text(encoding="utf-8")
    assert text.count('<th scope="row">sweep_oracle (oracle)</th>') == 1
    assert '<td>0.43<small class="range">0.31\N{EN DASH}0.54</small></td>' in text
    assert (
        '<td>0.25<small class="range words">reaches 80 % in 89 % of resamples</small></td>' in text
    )
    assert (
        text.count("Oracle efficiency compares speed at 80 % right answers, where the oracle") == 1
    )
    told = markupsafe.escape(DEFINITION)
    assert f'data-told="{told} The oracle is label' in text
    assert "<td>12.5</td>\n<td>6.2</td>\n<td>3.0</td>" in text


def test_nothing_is_fetched(tmp_path, sweep):
    text = written(tmp_path, sweep).read_text(encoding="utf-8")
    page = Page(text)
    assert all(source.startswith("data:image/svg+xml;base64,") for source in page.sources)
    assert all(link.startswith("#") for link in page.links)
    assert "http:" not in text
    assert "https:" not in text
    assert "url(" not in text
    assert "link" not in page.tags


def test_text_from_a_run_is_never_markup(tmp_path, make_result):
    results = [
        make_result(
            f"{EVIL}:k=2",
            f"{EVIL}{number}",
            model=EVIL,
            right=50,
            problems={EVIL: 3},
            statuses={EVIL: 100},
        )
        for number in range(2)
    ]
    facts = {EVIL: EVIL, "state": EVIL, "list": [EVIL], "deep": {"a": {EVIL: [1, EVIL]}}}
    text = written(tmp_path, results, facts).read_text(encoding="utf-8")
    assert EVIL not in text
    assert "&lt;script&gt;" in text
    scripts = re.findall(r"<script[^>]*>", text)
    assert scripts == ['<script type="application/json" id="-marks">', "<script>"]


def test_what_was_not_measured_is_a_dash_and_never_zero(tmp_path, make_result):
    text = written(tmp_path, [make_result(right=None)]).read_text(encoding="utf-8")
    row = text[text.index("<tbody>") : text.index("</tbody>")]
    assert row.count("<td>\N{EN DASH}</td>") == 11
    assert "<td>0" not in row.replace("<td>0</td>", "", 1)  # no sample was marked


def test_the_same_results_give_the_same_bytes(tmp_path, sweep):
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        written(folder, sweep, {"seed": 0, "environments": [{"python": "3.11"}]})
    files = [sorted(folder.rglob("*.*")) for folder in folders]
    assert [file.name for file in files[0]] == [file.name for file in files[1]]
    for first, second in zip(*files, strict=True):
        assert first.read_bytes() == second.read_bytes()


def test_facts_are_shown_in_their_order_and_an_unfinished_state_on_top(tmp_path, sweep):
    facts = {"state": "unfinished: 3 of 9", "run_digest": "abc", "environments": [{"os": "Linux"}]}
    text = written(tmp_path, sweep, facts).read_text(encoding="utf-8")
    assert text.index("unfinished: 3 of 9") < text.index("<nav")
    assert text.index("run digest") < text.index("environments")
    assert "&#34;os&#34;: &#34;Linux&#34;" in text


def test_labels_that_look_alike_as_file_names_are_kept_apart(tmp_path, make_result):
    tasks = ["a/b", "a:b", "A=b", "///"]
    page = Page(
        written(tmp_path, [make_result(task=task) for task in tasks]).read_text(encoding="utf-8")
    )
    assert page.ids[2:6] == ["a-b", "a-b-2", "A-b-3", "unnamed"]
    assert len(list((tmp_path / "figures").iterdir())) == 5 * 6


def test_each_model_has_figures_and_tables_of_its_own(tmp_path, sweep):
    both = sweep + [dataclasses.replace(result, model="ideal:noise=0") for result in sweep]
    text = written(tmp_path, both).read_text(encoding="utf-8")
    assert len(Page(text).sources) == 8 + 3  # two ideal models compete, so all have a figure
    assert (tmp_path / "figures" / "choices-city--ideal.svg").is_file()
    assert (tmp_path / "figures" / "choices-city--ideal-noise-0.svg").is_file()


def test_a_run_without_records_has_a_page_too(tmp_path):
    assert "nothing is recorded yet" in written(tmp_path, []).read_text(encoding="utf-8")


def test_a_folder_that_cannot_be_written_is_named(tmp_path, sweep):
    (tmp_path / "figures").write_text("in the way")
    with pytest.raises(StorageError, match=r"the report cannot be written into .*"):
        written(tmp_path, sweep)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    from parallelbench.run.runfile import make_runfile
    from parallelbench.run.runner import run

    folder = tmp_path_factory.mktemp("runs") / "run"
    asked = {
        "models": "ideal",
        "tasks": ["choices/city", "waiting_line/reverse"],
        "decoders": ["one_by_one", "random:k=2|8"],
        "samples": 3,
    }
    run(make_runfile(asked), folder)
    return folder


def test_the_verb_prints_the_table_and_says_where_the_page_is(run_folder, capsys):
    assert main(["report", str(run_folder)]) == 0
    out, _ = capsys.readouterr()
    assert "average over 2 tasks" in out
    table = out[out.index(" decoder ") :]
    assert table.index("one_by_one") < table.index("random:k=2") < table.index("random:k=8")
    assert out.splitlines()[-1] == f"report: {run_folder / 'report.html'}"
    for name in ("results.json", "results.csv", "report.html", "figures/average.svg"):
        assert (run_folder / name).stat().st_size > 0


def test_the_verb_prints_nothing_but_json_if_asked(run_folder, capsys):
    assert main(["report", str(run_folder), str(run_folder), "--json"]) == 0
    out, told = capsys.readouterr()
    results = json.loads(out)
    assert results == json.loads((run_folder / "results.json").read_text())
    assert len(results) == 6
    assert told == f"report: {run_folder / 'report.html'}\n"  # a run given twice is one run


@pytest.fixture
def copied(run_folder, tmp_path):
    """The same run with other records: some of its lines, after a change."""

    def copy(lines=18, change=lambda record: record, end=""):
        for name in ("run.yaml", "environment.json"):
            (tmp_path / name).write_bytes((run_folder / name).read_bytes())
        whole = (run_folder / "records-0.jsonl").read_text().splitlines(keepends=True)
        records = [change(from_line(line, "here")) for line in whole[:lines]]
        (tmp_path / "records-0.jsonl").write_text("".join(map(to_line, records)) + end)
        return tmp_path

    return copy


def reported(folder, capsys):
    assert main(["report", str(folder)]) == 0
    page = (folder / "report.html").read_text(encoding="utf-8")
    return capsys.readouterr().out, html.unescape(page[: page.index("<nav")])


def test_an_unfinished_run_is_reported_as_far_as_it_is(copied, capsys):
    folder = copied(7)
    out, top = reported(folder, capsys)
    assert f"{folder}: unfinished: 7 of 18 decodes are marked" in out
    assert "unfinished: 7 of 18" in top
    assert f"to go on: parallelbench run {folder}/run.yaml --out {folder}" in top


def test_a_run_that_is_going_on_is_reported_without_the_line_being_written(copied, capsys):
    folder = copied(7)
    records = folder / "records-0.jsonl"
    with RunDirectory.open(folder).appending():
        with records.open("a") as stream:
            stream.write('{"half a record')
        out, top = reported(folder, capsys)
    assert f"{folder}: still going on: 7 of 18 decodes are marked" in out
    assert "still going on: 7 of 18" in top
    assert "to go on" not in top
    assert main(["report", str(folder)]) == 2  # that process is gone, and the line is torn
    assert "start the run again to drop that line" in capsys.readouterr().err


def test_a_run_without_records_says_how_to_begin(copied, capsys):
    folder = copied(0)
    _, top = reported(folder, capsys)
    assert "nothing is recorded yet" in top
    assert f"0 of 18 decodes are marked; to go on: parallelbench run {folder}/run.yaml" in top
    assert "0 decoder settings" not in top


def test_a_run_with_nothing_but_errors_says_which(copied, capsys):
    def failed(record):
        why = "out of memory" if record.index else EVIL
        gone = {"status": "error", "error": why, "marks": None}
        return altered(record, **gone)

    folder = copied(change=failed)
    _, top = reported(folder, capsys)
    assert "0 of 18 decodes are marked; 18 ended in an error and are not counted" in top
    assert "12 decodes: out of memory" in top
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "6 decodes: &lt;script&gt;" in page
    assert "Nothing is marked yet, so there is nothing to watch." in page


def test_a_run_that_a_server_decoded_says_why_it_shows_no_steps(copied, capsys):
    def served(record):
        return altered(record, decoding=None)

    folder = copied(change=served)
    reported(folder, capsys)
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "18 decodes of ideal have no steps to watch: a server decoded them." in page
    assert 'id="-index"' not in page


def test_the_data_of_a_figure_are_what_it_shows(tmp_path, sweep):
    ideal = [dataclasses.replace(result, model="mini") for result in sweep]
    written(tmp_path, [*sweep, *ideal])
    with (tmp_path / "figures" / "choices-city--mini.csv").open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    shown = [(row["model"], row["decoder_label"], float(row["accuracy_low"])) for row in rows]
    own = [r for r in sweep if r.task_label == "choices/city"]
    assert shown == [(m, r.decoder_label, r.interval.low) for m in ("mini", "ideal") for r in own]
    told = (tmp_path / "figures" / "choices-city--mini.txt").read_text(encoding="utf-8")
    page = html.unescape((tmp_path / "report.html").read_text(encoding="utf-8"))
    # On the page stands once what most figures share, and under each only what differs.
    assert page.count("Accuracy is the share of right answers") == 1 + page.count("tasks combined")
    for sentence in told.strip().removesuffix(".").split(". "):
        assert sentence in page


def test_a_folder_that_is_no_run_is_refused_in_one_line(tmp_path, capsys):
    assert main(["report", str(tmp_path)]) == 2
    assert "is not a run directory" in capsys.readouterr().err
