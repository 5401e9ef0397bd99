"""Standings: tables that are worked by hand, who may be compared with whom, and ties."""

import json
from importlib import resources

import numpy as np
import pytest

from parallelbench.analysis.measures.oracle_efficiency import oracle_speed
from parallelbench.analysis.measures.speed import drawn_means, drawn_weights, speed_at, speeds_at
from parallelbench.analysis.measures.sweep import IncompleteSweepError, sweep_of
from parallelbench.decoder import DECODERS
from parallelbench.leaderboards.board.bound import decoded_bound
from parallelbench.leaderboards.board.standings import RESAMPLES, scopes_of, standings
from parallelbench.leaderboards.entry.season import seasons
from parallelbench.results.intervals import percentile_interval
from parallelbench.setting import parse_settings
from support.board_entries import PRACTICE, TASKS, decodes, entry_of
from support.fabricated import altered

DEV, SAMPLES = PRACTICE.dev, PRACTICE.samples


def stored_bound(season):
    file = resources.files("parallelbench.leaderboards") / "seasons" / f"{season}.bound.json"
    return json.loads(file.read_text("utf-8"))


def board_of(*entries):
    (board,) = standings(entries)
    return board


def row_of(board, strategy, entry=None):
    found = [
        row
        for section in board.sections
        for row in section.rows
        if row.strategy.startswith(strategy) and entry in {None, row.entry.name}
    ]
    assert len(found) == 1, [row.strategy for row in found]
    return found[0]


def right_in(share):
    """Right in this share of the test part, and never in the dev part."""
    return lambda _, index: float(DEV <= index < DEV + share * (SAMPLES - DEV))


FIXED = [
    *decodes("confidence:k=1", 1.0, 32),
    *decodes("confidence:k=2", right_in(0.8), 16),
    *decodes("confidence:k=4", right_in(0.5), 8),
]
ADAPTIVE = [
    *decodes("confidence_threshold:threshold=0.9", right_in(0.9), 8),
    *decodes("confidence_threshold:threshold=0.5", right_in(0.7), 4),
]
ORACLE = decodes("label", 1.0, 2, oracle=True)


@pytest.fixture(scope="module")
def board():
    return board_of(entry_of([*FIXED, *ADAPTIVE]))


def figures(row, scope="all tasks"):
    return row.figures[scope]


# Figures


def test_fixed_and_adaptive_strategies_are_read_by_one_rule(board):
    fixed, adaptive = row_of(board, "confidence,"), row_of(board, "confidence_threshold")
    # 100, 80, 50 % at 1, 2, 4 tokens per step; 90 and 70 % at 4 and 8: nothing between settings.
    wanted = {90: 1.0, 80: 2.0, 70: 2.0}
    assert {p: figures(fixed).at[p].speed for p in (90, 80, 70)} == pytest.approx(wanted)
    wanted = {90: 4.0, 80: 4.0, 70: 8.0}
    assert {p: figures(adaptive).at[p].speed for p in (90, 80, 70)} == pytest.approx(wanted)


def test_the_public_rule_stands_beside_and_reads_fixed_strategies_at_their_settings(board):
    fixed, adaptive = row_of(board, "confidence,"), row_of(board, "confidence_threshold")
    assert [figures(fixed).published(p) for p in (90, 80, 70)] == [1, 2, 2]
    assert [figures(adaptive).published(p) for p in (90, 80, 70)] == pytest.approx([4, 6, 8])


@pytest.mark.parametrize(("held", "wanted"), [("confidence_threshold", 1.5), ("confidence", 1.0)])
def test_the_public_rule_reads_a_strategy_of_strategies_as_the_one_that_it_holds(held, wanted):
    records = []
    for length, share, calls in ((16, 1.0, 32), (32, 0.8, 16)):
        (setting,) = parse_settings(f"dsb:strategy={held},length={length}", DECODERS)
        held_fields = {"decoder_fields": dict(setting.fields), "decoder_label": setting.label}
        records += decodes("dsb", right_in(share), calls, **held_fields)
    assert figures(row_of(board_of(entry_of(records)), "dsb")).published(90) == wanted


def test_what_is_never_reached_is_absent_and_0_only_by_the_public_rule(board):
    adaptive = figures(row_of(board, "confidence_threshold"))
    assert 95 not in adaptive.at
    assert adaptive.published(95) == 0.0
    assert max(adaptive.at) == 90


def test_samples_of_the_dev_part_count_for_nothing():
    # All decodes of the dev part are right here; they were all wrong before.
    tuned = [
        altered(record, marks=record.marks.model_copy(update={"lenient": 1.0}))
        if record.index < DEV
        else record
        for record in FIXED
    ]
    for records in (FIXED, tuned):
        found = figures(row_of(board_of(entry_of(records)), "confidence"))
        assert [point.accuracy for point in found.points] == pytest.approx([1.0, 0.8, 0.5])
        assert {point.samples for point in found.points} == {5 * (SAMPLES - DEV)}


def test_a_speed_has_the_interval_of_the_analysis(board):
    test = [record for record in FIXED if record.index >= DEV]
    wanted = speed_at(0.9, sweep_of(test), resamples=RESAMPLES)
    found = figures(row_of(board, "confidence,")).at[90]
    assert found.speed == pytest.approx(wanted.value)
    assert found.interval == pytest.approx(wanted.interval, rel=1e-6)
    assert found.reached == wanted.reached > 0.999


def test_a_speed_that_many_resamples_do_not_reach_has_their_share_and_no_interval(board):
    adaptive = figures(row_of(board, "confidence_threshold")).at[90]
    test = [record for record in ADAPTIVE if record.index >= DEV]
    assert adaptive.reached == speed_at(0.9, sweep_of(test), resamples=RESAMPLES).reached
    assert 0.4 < adaptive.reached < 0.7
    assert adaptive.interval is None


def test_area_is_a_share_of_a_right_answer_in_one_step(board):
    perfect = figures(row_of(board_of(entry_of(decodes("confidence:k=32", 1.0, 1))), "confidence"))
    assert perfect.area.value == pytest.approx(1)
    # Over log2: 0.8, then 0.5 for a doubling each, then nothing for three doublings of five.
    assert figures(row_of(board, "confidence,")).area.value == pytest.approx((0.8 + 0.5) / 5)


def test_the_most_accurate_setting_is_the_fastest_of_equally_accurate_ones():
    records = [*decodes("confidence:k=1", 1.0, 32), *decodes("confidence:k=2", 1.0, 16)]
    best = figures(row_of(board_of(entry_of(records)), "confidence")).best
    assert (best.decoder_label, best.tokens_per_step) == ("confidence:k=2", 2.0)
    # Eight of the 32 tokens of a fabricated canvas stand before the end.
    assert best.answer_tokens_per_step == 0.5


def test_a_family_of_tasks_and_a_task_have_figures_of_their_own():
    records = decodes("confidence:k=2", lambda task, _: float(task == "choices/city"), 16)
    board = board_of(entry_of(records))
    found = row_of(board, "confidence")
    kinds = [scope.kind for scope in board.scopes]
    assert kinds == ["all", "category", "category", *["task"] * 5]
    accuracy = {scope.label: figures(found, scope.label).best.accuracy for scope in board.scopes}
    assert accuracy["all tasks"] == pytest.approx(0.2)
    assert accuracy["choices"] == 0.5
    assert accuracy["choices/city"] == 1.0
    assert accuracy["waiting_line"] == 0
    assert scopes_of(PRACTICE) == board.scopes


# Efficiency


def test_efficiency_is_against_the_oracle_that_the_entry_ran():
    board = board_of(entry_of([*FIXED, *ORACLE]))
    row = row_of(board, "confidence")
    test = [record for record in [*FIXED, *ORACLE] if record.index >= DEV]
    ratios = np.divide(
        *(
            speeds_at(np.array([0.8]), *drawn_means(curve, drawn_weights(curve)))
            for curve in (
                sweep_of(r for r in test if r.decoder.oracle is told) for told in (False, True)
            )
        )
    )[:, 0]
    assert row.oracle_told == "the label oracle of 'mini' in entry entry"
    assert figures(row).at[80].efficiency == pytest.approx(ratios[0]) == pytest.approx(2 / 16)
    # Both draw resamples of their own.
    assert tuple(figures(row).at[80].efficiency_interval) == pytest.approx(
        tuple(percentile_interval(ratios[1:])), rel=0.03
    )


def test_without_an_oracle_efficiency_is_against_hindsight_over_the_entrys_own_settings():
    row = row_of(board_of(entry_of([*FIXED, *ADAPTIVE], "one")), "confidence,")
    every = sweep_of(record for record in [*FIXED, *ADAPTIVE] if record.index >= DEV)
    own = every.of({record.decoder_label for record in FIXED})
    wanted = speed_at(0.8, own).value / oracle_speed(0.8, every, None)
    assert row.oracle == "hindsight"
    assert row.oracle_told == "hindsight over every setting of 'mini' in entry one"
    assert figures(row).at[80].efficiency == pytest.approx(wanted)
    alone = row_of(board_of(entry_of(FIXED, "one")), "confidence,")
    assert figures(alone).at[80].efficiency > figures(row).at[80].efficiency


def test_an_entry_of_strange_oracles_alone_has_speeds_and_no_efficiency():
    board = board_of(entry_of(decodes("clairvoyant:k=1", 1.0, 4, oracle=True)))
    at = figures(row_of(board, "clairvoyant")).at[80]
    assert (at.speed, at.efficiency, at.efficiency_interval, at.rank) == (8.0, None, None, None)


def test_the_bound_is_the_packages_and_the_ideal_models_efficiency_is_against_it():
    ideal = [altered(r, model="ideal") for r in FIXED]
    board = board_of(entry_of(ideal, "ideal"), entry_of([*FIXED, *ORACLE], "net"))
    told = row_of(board, "confidence", "ideal")
    assert told.oracle_told == "the information oracle of this package's ideal model"
    assert row_of(board, "confidence", "net").oracle_told == (
        "the label oracle of 'mini' in entry net"
    )
    # Whole canvases of 32 tokens: copy and dice are written in one step, a city in two.
    speeds = {label: line[100] for label, line in board.bound.speeds.items()}
    assert (speeds["waiting_line/copy"], speeds["choices/city"]) == (32, 16)
    bound = speeds["all tasks"]
    assert figures(told).at[80].efficiency == pytest.approx(2 / bound)


def test_the_bound_that_lies_beside_a_season_is_decoded_again():
    assert decoded_bound(PRACTICE) == stored_bound("practice")


def test_a_bound_of_every_season_lies_there_for_its_test_part():
    for name, of_season in seasons().items():
        held = stored_bound(name)
        assert list(held) == [task.label for task in of_season.tasks]
        assert {len(own) for own in held.values()} == {len(of_season.test)}
        first = of_season.test[0]
        assert decoded_bound(of_season, [first]) == {t: own[:1] for t, own in held.items()}


def test_an_ideal_model_with_fields_of_its_own_is_against_what_its_entry_ran():
    told = [*FIXED, *decodes("information:eps=0.0", 1.0, 4, oracle=True)]
    noisy = [altered(r, model="ideal:noise=0.5") for r in told]
    row = row_of(board_of(entry_of(noisy, "noisy")), "confidence")
    assert row.oracle_told == "the information oracle of 'ideal:noise=0.5' in entry noisy"
    assert figures(row).at[80].efficiency == pytest.approx(2 / 8)


# Who is compared with whom


def test_oracles_the_ideal_model_and_divisions_stand_in_sections_of_their_own():
    ideal = [altered(r, model="ideal") for r in FIXED]
    board = board_of(
        entry_of([*FIXED, *ORACLE], "net"),
        entry_of(ideal, "ideal"),
        entry_of(FIXED, "tuned", division="open"),
    )
    assert [section.title for section in board.sections] == [
        "Networks, closed division",
        "Networks, open division",
        "The ideal model",
        "Oracles, told the right answers",
    ]
    ranks = [figures(s.rows[0]).at[80].rank for s in board.sections]
    assert ranks == [1, 1, 1, None]


def test_other_task_versions_are_never_ranked_together():
    older = [altered(r, task_version=0) for r in FIXED]
    board = board_of(entry_of(FIXED, "new"), entry_of(older, "old"))
    assert len(board.sections) == 2
    assert "waiting_line/copy at version 0" in board.sections[1].title
    assert [figures(s.rows[0]).at[80].rank for s in board.sections] == [1, 1]


def test_other_engines_are_never_ranked_together():
    judged = [altered(r, engines={"grammar": "harper 0.2"}) for r in FIXED]
    board = board_of(entry_of(FIXED, "plain"), entry_of(judged, "judged"))
    assert [section.title for section in board.sections][1].endswith(", grammar by harper 0.2")


def test_other_samples_under_the_same_number_are_refused():
    other = [altered(r, sample_digest="another") for r in FIXED]
    with pytest.raises(IncompleteSweepError, match="two different samples with number"):
        standings([entry_of(FIXED, "one"), entry_of(other, "other")])


def test_an_incomplete_sweep_is_listed_with_its_reason_and_nothing_else():
    def broken(task, index):
        return None if (task, index) == ("choices/city", SAMPLES - 1) else 1.0

    records = [*FIXED, *decodes("random:k=2", broken, 16), *decodes("random:k=4", 1.0, 8)]
    board = board_of(entry_of(records))
    row = row_of(board, "random")
    assert row.missing == (
        "random:k=2 has no mark and speed for 1 of 100 decodes of the test part, "
        f"the first of them choices/city sample {SAMPLES - 1}"
    )
    assert not row.figures
    assert figures(row_of(board, "confidence")).at[80].rank == 1


def test_a_left_out_sample_makes_a_sweep_incomplete():
    records = [r for r in FIXED if (r.decoder_label, r.index) != ("confidence:k=2", SAMPLES - 1)]
    row = row_of(board_of(entry_of(records)), "confidence")
    assert row.missing.startswith("confidence:k=2 has no mark and speed for 5 of 100 decodes")


def test_a_gap_in_the_dev_part_leaves_a_row_as_it_is():
    records = [record for record in FIXED if record.index]
    assert row_of(board_of(entry_of(records)), "confidence").missing is None


@pytest.mark.parametrize("level", ["self-reported", "recomputed"])
def test_what_nobody_can_replay_has_an_accuracy_and_nothing_else(level):
    records = decodes("server", right_in(0.9), 8)
    if level == "recomputed":
        records = [altered(record, decoding=None) for record in records]
    board = board_of(entry_of(records, level=level), entry_of(FIXED, "net"))
    row = row_of(board, "server")
    assert (row.kind, row.missing) == ("self-reported", None)
    found = figures(row)
    assert found.best.accuracy == pytest.approx(0.9)
    assert found.best.interval.low < 0.9 < found.best.interval.high
    assert (dict(found.at), found.area, found.best.tokens_per_step) == ({}, None, None)


def test_the_last_record_of_a_decode_counts():
    failed = [altered(r, marks=None, status="error") for r in FIXED]
    assert row_of(board_of(entry_of([*failed, *FIXED])), "confidence").missing is None


def test_the_order_of_records_changes_nothing():
    slow = decodes("confidence:k=1", 1.0, 32)
    fast = decodes("confidence:k=2", lambda task, index: float(index % len(task) > 4), 16)
    backwards = entry_of([*slow, *fast][::-1], "backwards")
    board = board_of(entry_of([*slow, *fast], "one"), backwards)
    one, other = (figures(row_of(board, "confidence", name)) for name in ("one", "backwards"))
    assert one.at == other.at
    assert one.at[80].interval.low < one.at[80].interval.high


def test_a_board_without_entries_has_no_season():
    assert standings([]) == []


# Ranks


def test_rows_that_cannot_be_told_apart_share_a_rank():
    board = board_of(entry_of(FIXED, "one"), entry_of(FIXED, "same"), entry_of(ADAPTIVE, "faster"))
    ranks = {row.entry.name: figures(row).at[80].rank for row in board.sections[0].rows}
    assert ranks == {"faster": 1, "one": 2, "same": 2}


def test_a_difference_that_three_samples_make_is_a_tie():
    def lucky(task, index):
        return 8 if task == next(iter(TASKS)) and index >= SAMPLES - 3 else 16

    board = board_of(
        entry_of(decodes("confidence:k=2", 1.0, 16), "plain"),
        entry_of(decodes("confidence:k=2", 1.0, lucky), "lucky"),
        entry_of(decodes("confidence:k=2", 1.0, 8), "fast"),
    )
    at = {row.entry.name: figures(row).at[80] for row in board.sections[0].rows}
    assert at["lucky"].speed > at["plain"].speed
    assert {name: each.rank for name, each in at.items()} == {"fast": 1, "lucky": 2, "plain": 2}


def test_twenty_samples_that_are_all_right_rank_nobody_at_nine_in_ten():
    (section,) = board_of(
        entry_of(decodes("confidence:k=2", 1.0, 16), "slow"),
        entry_of(decodes("confidence:k=2", 1.0, 8), "fast"),
    ).sections
    slow, fast = (row.figures[next(iter(TASKS))].at for row in section.rows)
    assert (fast[80].rank, slow[80].rank, fast[80].interval.low) == (1, 2, fast[80].speed)
    assert (fast[90].rank, slow[90].rank, fast[90].interval) == (1, 1, None)
    assert 0.9 < fast[90].reached < 0.975
    # A hundred samples, twenty of each task, do.
    slow, fast = (figures(row).at for row in section.rows)
    assert (fast[90].rank, slow[90].rank, fast[90].interval.low) == (1, 2, fast[90].speed)
