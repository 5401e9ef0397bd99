"""The board's pages as files: what is in them, and that nothing in them is markup of others."""

import html
import io
import json
import re
import threading
import urllib.request
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner

import parallelbench.leaderboards
from parallelbench.console.tables import new_console
from parallelbench.errors import StorageError
from parallelbench.leaderboards.board import standings as of_standings
from parallelbench.leaderboards.board.pages import LEVELS, build_site, season_data
from parallelbench.leaderboards.board.standings import PERCENTS, standings
from parallelbench.leaderboards.commands.actions import leaders
from parallelbench.leaderboards.commands.site import build, server_of
from support.board_entries import PRACTICE, decodes, entry_of
from support.fabricated import altered

EVIL = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"
RECORDS = [
    *decodes("confidence:k=1", 1.0, 32),
    *decodes("confidence:k=2", lambda _, index: float(index % 5 > 0), 16),
]


class Tags(HTMLParser):
    """Every element of a page, with its attributes."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def tags(path):
    return Tags(path.read_text("utf-8")).found


@pytest.fixture(scope="module")
def evil():
    """An entry with a script in every text that its submitter may write."""
    records = [
        altered(
            record,
            model=EVIL,
            decoder_label=f"{EVIL}:k={record.decoder.fields['k']}",
            text=EVIL,
            marks=record.marks.model_copy(update={"lenient": 0.0, "problem": EVIL}),
            engines={EVIL: EVIL},
        )
        for record in RECORDS
    ]
    entry = entry_of(
        records,
        remarks=[EVIL],
        title=EVIL,
        submitter=EVIL,
        contact=EVIL,
        disclosure=EVIL,
        library_version=EVIL,
    )
    said = entry.submission.models[0].model_copy(
        update={"name": EVIL, "revision": EVIL, "licence": EVIL}
    )
    submission = entry.submission.model_copy(update={"models": (said,)})
    return entry_of(records).__class__("evil", submission, records, "recomputed", [EVIL])


def test_a_page_of_an_entry_with_many_settings_is_cut_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("parallelbench.leaderboards.board.pages.MOST_TABLE_ROWS", 1)
    build_site([entry_of(RECORDS, "one")], tmp_path)
    page = (tmp_path / "entries" / "one.html").read_text("utf-8")
    tables = page.count('<table class="sortable results"')
    rows = page.partition('id="-tables"')[2].count('<th scope="row">')
    assert rows == tables > 0
    assert page.count("Shown: 1 of 2 settings. The file results.json") == tables


def test_a_board_is_a_page_and_a_page_for_each_entry(tmp_path):
    boards, index = build_site([entry_of(RECORDS, "one"), entry_of(RECORDS, "two")], tmp_path)
    assert index == tmp_path / "index.html"
    assert sorted(path.name for path in (tmp_path / "entries").iterdir()) == [
        "one.html",
        "two.html",
    ]
    links = [attrs["href"] for tag, attrs in tags(index) if tag == "a"]
    assert {"entries/one.html", "entries/two.html"} <= set(links)
    assert [board.season for board in boards] == [PRACTICE]


def test_the_page_of_a_withdrawn_entry_goes(tmp_path):
    build_site([entry_of(RECORDS, "one"), entry_of(RECORDS, "two")], tmp_path)
    build_site([entry_of(RECORDS, "two")], tmp_path)
    assert [path.name for path in (tmp_path / "entries").iterdir()] == ["two.html"]
    assert "one.html" not in (tmp_path / "index.html").read_text()


def test_an_entry_page_says_what_is_claimed_how_far_it_was_checked_and_what_it_reached(tmp_path):
    entry = entry_of(
        RECORDS,
        "one",
        level="spot-checked",
        remarks=["12 samples were decoded again; all agree."],
        link="https://example.org/report",
        disclosure="Trained on nothing of this.",
    )
    build_site([entry], tmp_path)
    path = tmp_path / "entries" / "one.html"
    text = path.read_text()
    assert "How far it was checked: spot-checked" in text
    assert "12 samples were decoded again; all agree." in text
    assert 'disclosure <span class="claim">claimed</span>' in text
    (link,) = [attrs for tag, attrs in tags(path) if attrs.get("href", "").startswith("https")]
    assert link["rel"] == "noopener nofollow ugc noreferrer"
    # 2 tokens per step reach 80 %: four of five samples of the test part.
    assert re.search(r"confidence,<wbr> varying k.*?2\.00", text, re.DOTALL)
    assert text.count('<h3>choices/city: <q class="theirs"><bdi>mini</bdi></q></h3>') == 1


def test_an_incomplete_row_says_what_is_missing(tmp_path):
    build_site([entry_of(RECORDS[:-1], "one")], tmp_path)
    for page in ("index.html", "entries/one.html"):
        assert "has no mark and speed for 1 of 100 decodes" in (tmp_path / page).read_text()


def test_the_page_of_a_server_says_why_nothing_is_replayed(tmp_path):
    served = [altered(record, decoding=None) for record in RECORDS]
    build_site([entry_of(served, "one", level="self-reported")], tmp_path)
    text = (tmp_path / "entries" / "one.html").read_text()
    assert "a server decoded them" in text
    assert "What a cheat could still do:</b> have another model" in text


def test_an_empty_board_says_how_to_enter(tmp_path):
    boards, index = build_site([], tmp_path / "new" / "board")
    assert boards == []
    assert "parallelbench leaderboard pack RUN" in index.read_text()
    assert "No entry yet" in index.read_text()


def test_no_text_of_an_entry_becomes_markup(evil, tmp_path):
    build_site([evil], tmp_path)
    for path in (tmp_path / "index.html", tmp_path / "entries" / "evil.html"):
        found = tags(path)
        assert not [attrs for tag, attrs in found if attrs.get("src") == "x"]
        assert not [attrs for _, attrs in found if any(name.startswith("on") for name in attrs)]
        scripts = [attrs for tag, attrs in found if tag == "script"]
        # Of all scripts one is run, and that one is ours: data is of another type.
        assert [attrs for attrs in scripts if attrs.get("type") != "application/json"] == [{}]


def test_every_page_allows_our_script_by_its_digest_and_no_other_source(tmp_path):
    build_site([entry_of(RECORDS, "one")], tmp_path)
    for path in (tmp_path / "index.html", tmp_path / "entries" / "one.html"):
        (policy,) = [attrs["content"] for tag, attrs in tags(path) if "http-equiv" in attrs]
        assert policy.startswith("default-src 'none'; ")
        assert re.search(r"script-src 'sha256-[^']+'$", policy)
        assert "http" not in policy
        loads = [(tag, attrs) for tag, attrs in tags(path) if "src" in attrs or tag == "link"]
        assert loads == []


def test_a_seasons_data_holds_what_the_table_shows(tmp_path):
    (board,) = standings([entry_of(RECORDS, "one")])
    data = json.loads(json.dumps(season_data(board, {"one": "one"}), allow_nan=False))
    (row,) = data["rows"]
    figures = row["figures"][0]
    reached = board.sections[0].rows[0].figures["all tasks"].at
    assert [point[:2] for point in figures["points"]] == [[1.0, 1.0], [2.0, 0.8]]
    assert len(figures["at"]) == len(reached) == len(PERCENTS)
    assert figures["at"][30][0] == pytest.approx(reached[80].interval, abs=1e-4)
    assert data["oracles"][row["oracle"]]["scopes"][0][80] == 2.0


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"the board cannot be written into .*file"):
        build_site([], tmp_path / "file")


def test_build_prints_where_the_page_is(tmp_path):
    (tmp_path / "none").mkdir()
    asked = ["--board", str(tmp_path / "none"), "--out", str(tmp_path / "out")]
    said = CliRunner().invoke(build, asked, catch_exceptions=False)
    assert "holds no entry yet" in said.output
    assert f"board: {tmp_path / 'out' / 'index.html'}" in said.output


def test_the_terminal_tells_who_leads_and_obeys_no_text_of_an_entry():
    records = [altered(r, model="[red]mine\x1b[31m") for r in RECORDS]
    (board,) = standings([entry_of(records, "one")])
    console = new_console(width=120, record=True, file=io.StringIO())
    console.print(leaders(board, board.sections[0]))
    said = console.export_text()
    assert "Networks, closed division (Practice)" in said
    assert "[red]mine\N{SYMBOL FOR ESCAPE}[31m" in said
    assert [part.strip() for part in said.splitlines()[4].split("\u2502")[1:3]] == ["1", "2.00"]


def test_the_server_shows_the_folder_to_this_machine_only(tmp_path):
    build_site([], tmp_path)
    with server_of(tmp_path, 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        host, port = server.server_address[:2]
        assert host == "127.0.0.1"
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as answer:
            assert answer.read() == (tmp_path / "index.html").read_bytes()
        with pytest.raises(StorageError, match=f"port {port} of 127.0.0.1 cannot be had"):
            server_of(tmp_path, port)
        server.shutdown()


def test_a_reader_sees_which_words_are_a_submitters(tmp_path):
    lie = "mini\u201d, reproduced by the board \u201c"
    entry = entry_of(
        decodes("confidence:k=1", 1.0, 32, model=f"hf:{lie}"),
        "one",
        title=lie,
        submitter="M\u0456ni",
        link="https://Example.org/report",
        runs_made=3,
    )
    build_site([entry], tmp_path)
    page, index = ((tmp_path / name).read_text() for name in ("entries/one.html", "index.html"))
    boxed = f'<q class="theirs"><bdi>{lie}</bdi></q>'
    assert f"<h1>{boxed}</h1>" in page
    assert "<title>ParallelBench: entry one</title>" in page
    assert boxed in index
    assert f'<h3><q class="theirs"><bdi>hf:{lie}</bdi></q></h3>' in page
    # Whatever is shown stands in its box, or quoted in a sentence; the script boxes its data.
    shown = re.sub(r'<script.*?</script>| data-name="[^"]*"', "", page + index, flags=re.DOTALL)
    places = re.findall(rf"<bdi>(?:hf:)?{lie}</bdi></q>|&#39;hf:{lie}&#39;", shown)
    assert len(places) == shown.count(lie) > 5
    assert '<bdi>M\u0456ni</bdi></q> <span class="claim">Cyrillic and Latin letters</span>' in page
    assert "to <b>example.org</b>: <a" in page
    assert 'runs made <span class="claim">claimed</span></dt><dd>3</dd>' in page
    assert "runs made: 3" in index


def test_rules_and_pages_say_the_same_of_each_level(tmp_path):
    rules = (Path(parallelbench.leaderboards.__path__[0]) / "RULES.md").read_text("utf-8")
    for level, told in LEVELS.items():
        build_site([entry_of(RECORDS, "one", level=level)], tmp_path)
        assert f"| {level} | {told.done} | {told.left} |" in rules
        for page in ("entries/one.html", "index.html"):
            text = html.unescape((tmp_path / page).read_text())
            assert told.left in text
            assert told.done in text
            assert "runs made" in text
        assert "not said" in text


def test_strategies_beyond_the_cap_are_named_on_the_entrys_page(tmp_path, monkeypatch):
    monkeypatch.setattr(of_standings, "MOST_ROWS", 1)
    records = [*RECORDS, *decodes("margin:k=2", 1.0, 16), *decodes("random:k=2", 1.0, 16)]
    (board,), index = build_site([entry_of(records, "one")], tmp_path)
    assert [row.strategy for s in board.sections for row in s.rows] == ["confidence, varying k"]
    text = (tmp_path / "entries" / "one.html").read_text()
    assert "The other 2 have their figures here only" in text
    assert "margin:k=2 with <q" in text
    assert "2 strategies more than the board ranks" in index.read_text()
