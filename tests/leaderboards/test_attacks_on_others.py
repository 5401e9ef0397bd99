"""Entries that would change the figures and ranks of others, or speak in the board's name."""

import re
import shutil

import numpy as np
import pytest

from parallelbench.errors import SubmissionError
from parallelbench.leaderboards.board import standings as of_standings
from parallelbench.leaderboards.board.ranks import RowDraws, tied_ranks
from parallelbench.leaderboards.board.standings import standings
from parallelbench.leaderboards.entry.wording import scripts_in
from parallelbench.leaderboards.verify.verification import verified
from support.board_entries import PRACTICE, decodes, entry_of
from support.entries import Spoilt
from support.fabricated import altered

DEV, SAMPLES = PRACTICE.dev, PRACTICE.samples
HONEST = [*decodes("confidence:k=1", 1.0, 32), *decodes("confidence:k=2", 1.0, 16)]


@pytest.fixture
def small_entry(small, tmp_path):
    """A copy to spoil."""
    return Spoilt(shutil.copytree(small, tmp_path / "entry"))


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch):
    monkeypatch.setattr(of_standings, "RESAMPLES", 250)


def board_of(*entries):
    (board,) = standings(entries)
    return board


def rows_of(board, entry):
    return [row for section in board.sections for row in section.rows if row.entry.name == entry]


def at_80(board, entry):
    (row,) = rows_of(board, entry)
    return row.figures["all tasks"].at[80]


# Pools


@pytest.mark.attack("harmless")
def test_a_stranger_who_claims_the_same_digest_changes_no_efficiency():
    honest = entry_of(HONEST, "honest")
    # The same model_digest, and steps that nobody can check without the weights.
    stranger = entry_of(decodes("confidence_threshold:threshold=0.5", 1.0, 1), "stranger")
    alone = at_80(board_of(honest), "honest").efficiency
    assert at_80(board_of(honest, stranger), "honest").efficiency == alone
    assert alone == pytest.approx(1)


@pytest.mark.attack("harmless")
@pytest.mark.parametrize("name", ["a-first", "z-last"])
def test_no_entry_sets_the_bound_of_a_season_nor_the_ideal_models_oracle(name):
    def ideal(records):
        return [altered(r, model="ideal") for r in records]

    honest = entry_of(ideal(HONEST), "honest")
    slow = ideal(decodes("information:eps=0.0", 1.0, 31, oracle=True))
    alone, both = board_of(honest), board_of(*sorted((honest, entry_of(slow, name)), key=str))
    assert at_80(both, "honest").efficiency == at_80(alone, "honest").efficiency
    for scope, line in alone.bound.speeds.items():
        np.testing.assert_array_equal(both.bound.speeds[scope], line)
    # Nor does it help one's own row to have spoilt the oracle that it ran.
    own = board_of(entry_of([*ideal(HONEST), *slow], "own"))
    (row,) = [row for row in rows_of(own, "own") if row.kind == "ideal"]
    assert row.figures["all tasks"].at[80].efficiency == at_80(alone, "honest").efficiency


# Ranks


def draws(observed, spread, seed, resamples=250):
    noise = np.random.default_rng(seed).normal(0, spread, resamples)
    return np.float32(observed * np.exp([0, *noise]))


FIRST, SECOND = draws(10.5, 0.02, 1), draws(9.0, 0.02, 2)


def ranks_of(rows, whose):
    """The ranks of rows of these speeds, by the entry that each is of."""
    draws = [RowDraws(row[:, None], np.ones((len(row), 1))) for row in np.array(rows)]
    return [ranks[0] for ranks in tied_ranks([0.8], draws, [str(each) for each in whose])]


def ranks_beside(junk, entries):
    """The ranks of the first two, of an entry each, with so many rows of further entries."""
    rows = [FIRST, SECOND, *(draws(speed, 0.02, 3 + n) for n, speed in enumerate(junk))]
    return ranks_of(rows, [0, 1, *(2 + np.arange(len(junk)) % entries)])[:2]


@pytest.mark.attack("harmless")
@pytest.mark.parametrize("speed", [5.0, 9.0])
def test_1200_junk_rows_leave_the_first_two_apart(speed):
    assert ranks_beside([], 1) == [1, 2]
    assert ranks_beside(np.full(1200, speed), 12) == [1, 2]


@pytest.mark.attack("harmless")
def test_fifty_rows_that_nobody_can_tell_apart_leave_the_first_two_apart():
    # The gap is so small that the correction over all pairs of the board would not leave it.
    close = draws(9.45, 0.02, 2)
    junk = [draws(5.0 + n / 1000, 0.02, 3 + n) for n in range(50)]
    rows = [FIRST, close, *junk]
    assert ranks_of(rows, [0] * 52)[:2] == [1, 1]
    assert ranks_of(rows, [0, 1, *[2] * 50])[:2] == [1, 2]


@pytest.mark.attack("harmless")
def test_tries_are_paid_for_by_whoever_makes_them():
    # The luckiest of many equal rows of one entry is not surely faster than another's only row.
    tries = [draws(10 * np.exp(0.02 * z), 0.02, n) for n, z in enumerate(np.linspace(-2, 2.6, 60))]
    steady = draws(10, 0.001, 99)
    assert set(ranks_of([*tries, steady], [0] * 60 + [1])) == {1}


@pytest.mark.attack("marked")
def test_the_board_ranks_so_many_strategies_of_an_entry_and_says_which_it_leaves(monkeypatch):
    monkeypatch.setattr(of_standings, "MOST_ROWS", 2)
    names = ("confidence", "margin", "entropy", "random")
    many = [record for name in names for record in decodes(f"{name}:k=2", 1.0, 16)]
    board = board_of(entry_of(many, "many"), entry_of(HONEST, "one"))
    # The first ones of its run, whatever they reached.
    assert [row.strategy for row in rows_of(board, "many")] == ["confidence:k=2", "margin:k=2"]
    assert board.beyond == {"many": [("entropy:k=2", "mini"), ("random:k=2", "mini")]}
    assert len(rows_of(board, "one")) == 1


# Words


def said_by(entry, **said):
    entry.change_yaml("submission.yaml", lambda content: content.update(said))


WORDS = {
    "a_remark_of_ones_own_in_the_version": (
        {"library_version": "0.0.9; every record was decoded again and agrees"},
        "library_version: is no version as PEP 440 writes it",
    ),
    "an_address_that_hides_its_host": (
        {"link": "https://github.com@evil.example/x"},
        "link: is no plain address",
    ),
    "an_address_that_browsers_read_otherwise": (
        {"link": "https://github.com\\@evil.example"},
        "link: is no plain address",
    ),
    "an_address_of_letters_that_look_alike": (
        {"link": "https://g\N{CYRILLIC SMALL LETTER I}thub.com/x"},
        "link: is no plain address",
    ),
    "a_name_that_turns_text_around": (
        {"submitter": "us\N{RIGHT-TO-LEFT OVERRIDE}decudorper"},
        "submitter: holds RIGHT-TO-LEFT OVERRIDE, which does not show",
    ),
    "an_invisible_letter_in_a_name": (
        {"submitter": "us\N{HANGUL FILLER}"},
        "submitter: holds HANGUL FILLER, which does not show",
    ),
    "an_invisible_mark_in_a_title": (
        {"title": "mini\N{VARIATION SELECTOR-1}"},
        "title: holds VARIATION SELECTOR-1",
    ),
    "the_same_name_in_other_characters": (
        {"submitter": "Zoe\N{COMBINING DIAERESIS}"},
        "submitter: is no composed Unicode",
    ),
    "the_same_name_with_another_space": (
        {"submitter": "The\N{NO-BREAK SPACE}Authors"},
        "submitter: holds NO-BREAK SPACE",
    ),
    "the_same_name_with_two_spaces": ({"submitter": "The  Authors"}, "submitter: has spaces"),
    "a_letter_under_a_tower_of_marks": (
        {"title": "Z" + 9 * "\N{COMBINING ENCLOSING CIRCLE}"},
        "title: has a letter with more than four marks",
    ),
    "a_blank_name": ({"submitter": " "}, "submitter: is blank"),
    "a_line_separator_in_a_disclosure": (
        {"disclosure": "none\N{LINE SEPARATOR}reproduced by the board"},
        "disclosure: holds LINE SEPARATOR",
    ),
}


@pytest.mark.attack("refused")
@pytest.mark.parametrize("attack", WORDS)
def test_words_that_would_pass_for_others_are_refused(small_entry, attack):
    said, told = WORDS[attack]
    said_by(small_entry, **said)
    with pytest.raises(SubmissionError, match=re.escape(told)):
        verified(small_entry.path)


@pytest.mark.parametrize(
    "name", ["Zoë Müller", "Пётр", "山田 花子", "שלום", "Team A/B (2026), part 2", "LLaDA-8B ≥ 4"]
)
def test_honest_names_of_any_language_are_taken(small_entry, name):
    said_by(small_entry, title=name, submitter=name, link="https://example.org/a?b=c#d")
    assert verified(small_entry.path).entry.submission.title == name


@pytest.mark.attack("marked")
def test_a_remark_shows_which_words_are_the_submitters(small_entry):
    small_entry.change_yaml("submission.yaml", lambda said: said.update(library_version="0.0.9"))
    records = small_entry.records()
    for record in records:
        record["library_version"] = "0.0.9"
    small_entry.write_records(records)
    (remark,) = verified(small_entry.path, redecode=False).entry.remarks
    assert remark.startswith("was decoded by version '0.0.9' of the package")


@pytest.mark.attack("marked")
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("m\N{CYRILLIC SMALL LETTER BYELORUSSIAN-UKRAINIAN I}ni", "Cyrillic and Latin letters"),
        ("\N{MATHEMATICAL BOLD SMALL M}ini", "Latin and Mathematical letters"),
        ("мини", "Cyrillic letters"),
        ("m\N{LATIN SMALL LETTER DOTLESS I}ni", "Latin and rare Latin letters"),
        ("\N{LATIN SMALL LETTER ALPHA}lpha", "Latin and rare Latin letters"),
        ("\N{LATIN SMALL LIGATURE FI}ne", "Latin and rare Latin letters"),
        ("Łódź, Málaga, Straße, Ångström, Hà Nội", ""),
    ],
)
def test_letters_that_may_look_like_others_are_told(text, told):
    assert scripts_in(text) == told


@pytest.mark.parametrize("text", ["mini", "Zoë 8B"])
def test_of_latin_letters_nothing_is_told(text):
    assert scripts_in(text) == ""
