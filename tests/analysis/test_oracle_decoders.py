"""The oracles: hand-worked schedules, their definitions, and what they can never do."""

import dataclasses
import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch

from parallelbench import evaluate
from parallelbench.analysis.theory import oracles
from parallelbench.analysis.theory.bounds import OverLimitError
from parallelbench.analysis.theory.fewest_steps import largest_set
from parallelbench.analysis.theory.oracles import Information, Label
from parallelbench.analysis.theory.structured_oracles import structured_answers
from parallelbench.decode.lanes import Job
from parallelbench.decode.loop import decode
from parallelbench.errors import FieldError, NotEnumerableError
from parallelbench.model import Row
from parallelbench.models.ideal import Ideal, IdealModel
from parallelbench.prompt import build_prompt, lay_out
from parallelbench.run.recording import draw_sample
from parallelbench.setting import build, parse_settings
from parallelbench.task import TASKS, Answers
from support.toys import WORDS, Colours, ToyNetwork, prompts, toy_codec

TASKS_OF_ALL_KINDS = [
    "choices/city",
    "choices/capital",
    "choices/sum",
    "choices/date",
    "choices/dice:rolls=3",
    "choices/roster",
    "list_operations/*:length=4",
    "waiting_line/*:length=3",
    "puzzles/latin_square:size=3",
    "puzzles/sudoku",
]


@pytest.fixture(scope="module")
def ideal():
    return Ideal().open()


def prompt_of(text, model, index=0):
    task = build(parse_settings(text, TASKS)[0], TASKS)
    return build_prompt(task, draw_sample(task, 0, index), model.codec)


# --- information ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "steps"),
    [
        # The end-of-text tail is certain and free; the words of a place agree with each other.
        ("choices/city", 2),
        ("choices/dice", 1),
        ("choices/roster", 2),
        ("choices/capital", 2),
        ("waiting_line/copy:length=4", 1),
        ("list_operations/sort:length=4", 1),
        ("puzzles/sudoku", 1),
        # Never two items at once, but the last is certain when its turn comes; and where
        # all but two stand as they were, the identity is forbidden: one step less.
        ("list_operations/shuffle:length=3", 3 - 1 / 5),
        ("list_operations/shuffle:length=4", 4 - 1 / 23),
        ("list_operations/shuffle:length=5", 5 - 1 / 119),
        ("list_operations/shuffle:length=4,form=infill", 4 - 1 / 23),
        # Asked about position by position until the new item is found, then the rest.
        ("list_operations/replace_random:length=4", 2 / 4 + 3 / 4 + (4 + 4) / 4),
    ],
)
def test_hand_worked_schedules(ideal, task, steps):
    decoder, prompt = Information(), prompt_of(task, ideal)
    assert decoder.method_for(prompt) == "exact"
    assert decoder.expected_steps(prompt) == pytest.approx(steps)


def test_two_cities_that_share_a_bit_go_together_once_a_bit_is_allowed(ideal):
    prompt = prompt_of("choices/city", ideal)
    law = lay_out(prompt, prompt.answers).numpy()
    varying = np.flatnonzero((law != law[0]).any(axis=0))
    assert len(varying) == 2
    assert [Information(eps=e).expected_steps(prompt) for e in (0.5, 0.99, 1.0)] == [2, 2, 1]


@pytest.mark.parametrize("temperature", [0, 1])
@pytest.mark.parametrize("method", ["auto", "greedy"])
def test_without_error_the_ideal_model_is_always_right(method, temperature):
    done = evaluate(
        tasks=TASKS_OF_ALL_KINDS,
        decoders=f"information:method={method},temperature={temperature}",
        samples=5,
    )
    assert len(done.results) > 20
    for result in done.results:
        assert result.accuracy_strict == 1.0, result.task
    assert all(
        record.decoder.oracle and record.decoding.counts.off_law_calls == 0
        for record in done.records
    )


def test_the_measured_steps_are_the_expected_ones(ideal):
    for text in ("list_operations/insert_random:length=6", "choices/sum"):
        done = evaluate(tasks=text, decoders="information:temperature=1", samples=100)
        expected = [
            Information().expected_steps(prompt_of(text, ideal, index)) for index in range(100)
        ]
        gap = np.array([record.decoding.counts.nfe for record in done.records]) - np.array(expected)
        assert abs(gap.mean()) < 4 * gap.std() / math.sqrt(100)


@pytest.mark.parametrize("block_length", [3, 8])
def test_blocks_are_each_filled_without_error(block_length):
    done = evaluate(
        tasks=["list_operations/insert_random:length=5", "choices/roster"],
        decoders=f"information:block_length={block_length},temperature=1",
        samples=20,
    )
    assert [result.accuracy_strict for result in done.results] == [1.0, 1.0]
    # Roster: 6 words and their separators in the first blocks; the tail a step a block.
    assert all(record.decoding.counts.nfe >= 32 / block_length for record in done.records)


def test_more_bits_a_step_never_need_more_expected_steps(ideal):
    for text in ("list_operations/shuffle:length=4", "choices/roster", "choices/sum"):
        prompt = prompt_of(text, ideal)
        steps = [Information(eps=e).expected_steps(prompt) for e in (0.0, 0.2, 1.0, 3.0, 50.0)]
        assert steps == sorted(steps, reverse=True)
        assert steps[-1] == 1


def test_greedy_beyond_the_limit_and_the_sample_alone_decides(ideal, monkeypatch):
    prompt = prompt_of("list_operations/shuffle:length=4", ideal)
    assert Information().method_for(prompt) == "exact"
    assert Information(method="greedy").method_for(prompt) == "greedy"
    assert Information(method="greedy").expected_steps(prompt) is None
    monkeypatch.setattr(oracles, "CHOICE_LIMIT", 5)
    assert Information().method_for(prompt) == "greedy"
    (outcome,) = decode([Job(prompt, Information(), "0")], ideal)
    assert prompt.codec.decode(outcome.output_ids) in prompt.answers.texts
    with pytest.raises(OverLimitError, match=r"more than 5 pairs .* law of 23 right answers"):
        list(decode([Job(prompt, Information(method="exact"), "0")], ideal))


@dataclass(frozen=True, kw_only=True)
class Listed(Colours):
    """Any law over words, written out."""

    law: ClassVar = {}
    canvas_length: int = 4

    def answers(self, sample, limit=100_000):
        return Answers(tuple(self.law), tuple(self.law.values()))

    def pose(self, rng, index):
        from parallelbench.task import Question

        slots = {"colours": "colours", "number": str(index)}
        return Question(slots=slots, reference=next(iter(self.law)), facts={}, open_spans=None)


def listed(law, codec):
    task = type("Law", (Listed,), {"law": law})()
    return build_prompt(task, draw_sample(task, 0, 0), codec)


def test_unlikely_answers_are_schedules_too():
    # red, then blue or grey by what stands first; the first word is worth asking about.
    codec = toy_codec()
    prompt = listed({"red blue": 3, "green blue": 1, "green grey": 4}, codec)
    assert Information().expected_steps(prompt) == pytest.approx(2)
    model = IdealModel(codec, noise=0.0, seed=0, limit=10)
    jobs = [Job(prompt, Information(temperature=1.0), str(i)) for i in range(200)]
    texts = [codec.decode(outcome.output_ids) for outcome in decode(jobs, model)]
    assert set(texts) == set(prompt.answers.texts)
    assert texts.count("green grey") / 200 == pytest.approx(0.5, abs=0.15)


class Scripted(ToyNetwork):
    """Predicts one text whatever stands, sure of some words more than of others."""

    def __init__(self, text, sureness):
        super().__init__()
        ids = self.codec.encode([text])[0]
        length = len(sureness)
        self.ids = torch.tensor(ids + [self.codec.end_id] * (length - len(ids)))
        self.sureness = torch.tensor(sureness)

    def predict(self, rows):
        super().predict(rows)
        logits = torch.zeros(len(rows), len(self.ids), self.codec.size)
        logits[:, torch.arange(len(self.ids)), self.ids] = self.sureness
        wanted = torch.stack([row.wanted for row in rows])
        from parallelbench.model import Prediction

        return Prediction(logits=logits[wanted])


def test_off_the_law_the_answers_that_agree_most_are_the_law():
    model = Scripted("black white grey", [5.0, 5.0, 5.0, 5.0])
    law = {"red green blue": 1, "red blue green": 1, "white green blue": 1}
    (outcome,) = decode([Job(listed(law, model.codec), Information(), "0")], model)
    assert outcome.status == "ok"
    # Position 3 is certain, 0 or one of 1 and 2 uncertain; what is written fits nothing, so
    # all three answers stay and so does what is open: never all at once.
    assert outcome.trace.positions == [[1, 3], [0], [2]]


@pytest.fixture
def greedy_choices(monkeypatch):
    """The states in which the greedy choice was asked for."""
    asked = []

    def spied(state, eps):
        asked.append(state)
        return largest_set(state, eps)

    monkeypatch.setattr(oracles, "largest_set", spied)
    return asked


def test_the_exact_policy_is_followed_on_the_law_and_the_greedy_choice_off_it(greedy_choices):
    law = {"red green blue": 1, "red blue green": 1, "white green blue": 1}
    for text, steps_off_law in (("red green blue", 0), ("black white grey", 2)):
        greedy_choices.clear()
        model = Scripted(text, [5.0, 5.0, 5.0, 5.0])
        list(decode([Job(listed(law, model.codec), Information(), "0")], model))
        assert len(greedy_choices) == steps_off_law


#: The same colour twice, then any colour: two bits in the first block, none across blocks.
TWICE = {f"{a} {a} {b}": 1 for a in WORDS[:4] for b in WORDS[:4]}


def test_a_block_is_judged_by_what_its_own_positions_share():
    codec = toy_codec()
    model = IdealModel(codec, noise=0.0, seed=0, limit=20)
    for eps, steps in (
        (0.0, [[0], [1], [2, 3]]),
        (1.0, [[0], [1], [2, 3]]),
        (2.0, [[0, 1], [2, 3]]),
    ):
        decoder = Information(eps=eps, block_length=2)
        (outcome,) = decode([Job(listed(TWICE, codec), decoder, "0")], model)
        assert outcome.trace.positions == steps


def test_every_block_is_exact_if_it_can_be(greedy_choices, monkeypatch):
    monkeypatch.setattr(oracles, "CHOICE_LIMIT", 0)
    codec = toy_codec()
    model = IdealModel(codec, noise=0.0, seed=0, limit=20)
    list(decode([Job(listed(TWICE, codec), Information(block_length=2), "0")], model))
    # Only the first choice of all is over this limit; the last block ends at once.
    assert [len(state.weights) for state in greedy_choices] == [4]


def test_what_is_certain_is_written_at_once():
    model = Scripted("red green grey", [5.0, 1.0, 1.0, 5.0])
    law = {"red green blue": 1, "red blue green": 1}
    (outcome,) = decode([Job(listed(law, model.codec), Information(), "0")], model)
    assert outcome.trace.positions == [[0, 1, 3], [2]]


@pytest.mark.parametrize("eps", [-0.1, math.nan, math.inf])
def test_bits_that_are_no_bound_are_refused(eps):
    with pytest.raises(ValueError, match=rf"eps must lie in \[0, inf\) .*, got {eps}"):
        Information(eps=eps)


def test_settings_are_read_shown_and_refused_like_any_other():
    labels = [
        parse_settings(text, oracles.DECODERS)[0].label
        for text in ("information", "information:eps=0.5,method=greedy", "label")
    ]
    assert labels == ["information:eps=0.0", "information:eps=0.5,method=greedy", "label"]
    for text in ("information:eps=nan", "information:eps=-1", "information:method=best"):
        with pytest.raises(FieldError):
            parse_settings(text, oracles.DECODERS)


# --- right answers with structure -------------------------------------------------------

STRUCTURED = [
    "plans/shifts:length=7,people=3",
    "plans/round_table:length=6",
    "routes/walk:length=7",
    "checks/luhn:length=4,numbers=2",
    "agreement/pronoun",
    "sequences/mirror:length=4",
]


@pytest.mark.parametrize("temperature", [0, 1])
def test_without_error_structured_answers_are_right(temperature):
    done = evaluate(tasks=STRUCTURED, decoders=f"information:temperature={temperature}", samples=4)
    assert [result.accuracy_strict for result in done.results] == [1.0] * len(STRUCTURED)
    steps = {record.task.label: record.decoding.counts.nfe for record in done.records}
    assert list(steps.values()) == [3, 4, 3, 2, 2, 2]
    assert {record.decoding.note for record in done.records} == {"separators policy"}


def test_separators_list_nothing_and_the_other_methods_say_how_many_there_are(ideal):
    prompt = prompt_of("plans/shifts", ideal)
    assert Information().method_for(prompt) == "separators"
    assert Information().expected_steps(prompt) is None
    for decoder in (Information(method="greedy"), Information(method="exact")):
        with pytest.raises(NotEnumerableError, match="5,587,935,447,692,871,093,750 right answers"):
            list(decode([Job(prompt, decoder, "0")], ideal))
    few = prompt_of("plans/shifts:length=4,people=3", ideal)
    assert Information(method="exact").method_for(few) == "exact"


def test_bits_allowed_in_a_step_save_steps_and_lose_answers():
    done = evaluate(
        tasks="plans/shifts",
        decoders=["information:eps=0.0", "information:eps=1.0", "information:eps=100.0"],
        samples=10,
    )
    calls = [result.nfe for result in done.results]
    assert calls[0] == 5
    assert calls[0] > calls[1] > calls[2] == 1
    assert done.results[0].accuracy_strict == 1.0
    assert done.results[2].accuracy_strict < 0.5


def test_blocks_of_structured_answers_are_each_filled_without_error():
    done = evaluate(
        tasks="routes/walk:length=15",
        decoders="information:block_length=8,temperature=1",
        samples=5,
    )
    assert done.results[0].accuracy_strict == 1.0


def test_off_the_law_a_token_that_fits_nothing_is_taken_as_open(ideal):
    prompt = prompt_of("plans/shifts:length=3,people=3", ideal)
    (people,) = prompt.codec.encode([", ".join(prompt.sample.facts["people"])])
    one, other = people[0], people[2]
    canvas = prompt.canvas.clone()
    canvas[0], canvas[2] = one, one  # the same person twice
    structure = structured_answers(prompt)
    is_open = (canvas == prompt.codec.mask_id).numpy()
    chosen = structure.independent(canvas.numpy(), is_open, 0.0)
    # One of the two is taken as open, and so is not written; the end is certain.
    assert set(range(5, len(canvas))) <= set(chosen)
    predicted = canvas.clone()
    predicted[4] = other
    agreeing = structure.agreeing(canvas.numpy(), predicted.numpy(), is_open)
    assert np.flatnonzero(agreeing).tolist() == [4]


@pytest.mark.parametrize("text", ["plans/shifts:length=4,people=3", "checks/parity:length=4"])
def test_the_label_oracle_agrees_as_often_as_by_listing(text, ideal):
    prompt = prompt_of(text, ideal)
    structure, listing = structured_answers(prompt), oracles._canvas_answers(prompt)
    rng = np.random.default_rng(0)
    answers = listing.rows
    for _ in range(40):
        canvas, mixed = (
            np.where(
                rng.random(answers.shape[1]) < 0.3,
                answers[rng.integers(len(answers))],
                answers[rng.integers(len(answers))],
            )
            for _ in range(2)
        )
        canvas = np.where(rng.random(len(canvas)) < 0.7, prompt.codec.mask_id, canvas)
        is_open = canvas == prompt.codec.mask_id
        found = structure.agreeing(canvas, mixed, is_open)
        assert found.sum() == listing.agreeing(canvas, mixed, is_open).sum()


# --- label ------------------------------------------------------------------------------


def chosen_by_definition(rows, canvas, token, confidence, mask_id):
    """The largest set that agrees with one answer, tried answer by answer."""
    still_open = [p for p, symbol in enumerate(canvas) if symbol == mask_id]
    written = [p for p in range(len(canvas)) if p not in still_open]
    fits = [sum(row[p] == canvas[p] for p in written) for row in rows]
    best = []
    for row, fit in zip(rows, fits, strict=True):
        if fit == max(fits):
            agreeing = [p for p in still_open if row[p] == token[p]]
            best = agreeing if len(agreeing) > len(best) else best
    return best or [max(still_open, key=lambda p: (confidence[p], -p))]


def replayed(model, outcome):
    """Each step of a decode at temperature 0: the canvas, and what was predicted for it."""
    prompt = outcome.job.prompt
    canvas = prompt.canvas.clone()
    for positions, ids in zip(outcome.trace.positions, outcome.trace.ids, strict=True):
        is_open = canvas == prompt.codec.mask_id
        prediction = model.predict([Row(prompt, canvas.clone(), is_open)])
        logits = prediction.logits.float()
        if prediction.token_ids is None:
            logits[:, prompt.codec.mask_id] = -torch.inf
            logits[:, prompt.codec.size :] = -torch.inf
        best = logits.argmax(dim=1)
        token, confidence = canvas.clone(), torch.full(canvas.shape, -torch.inf)
        token[is_open] = (
            best
            if prediction.token_ids is None
            else prediction.token_ids.gather(1, best[:, None])[:, 0]
        )
        confidence[is_open] = torch.softmax(logits, dim=1).amax(dim=1)
        yield canvas.tolist(), token.tolist(), confidence.tolist(), positions
        canvas[positions] = torch.tensor(ids)


def check_label(model, outcomes):
    sizes = set()
    for outcome in outcomes:
        prompt = outcome.job.prompt
        rows = lay_out(prompt, prompt.answers).tolist()
        for canvas, token, confidence, positions in replayed(model, outcome):
            mask_id = prompt.codec.mask_id
            assert positions == chosen_by_definition(rows, canvas, token, confidence, mask_id)
            sizes.add(len(positions))
    return sizes


def test_label_on_a_network_commits_what_its_definition_says():
    model = ToyNetwork(scale=1.0)
    jobs = [
        Job(prompt, Label(), f"{infill}/{number}")
        for infill in (False, True)
        for number, prompt in enumerate(prompts(model.codec, 4, infill=infill))
    ]
    assert len(check_label(model, list(decode(jobs, model)))) > 0


def test_label_on_the_ideal_model_commits_what_its_definition_says_and_is_always_right(ideal):
    for text in ("list_operations/shuffle:length=4", "choices/roster", "choices/sum"):
        jobs = [Job(prompt_of(text, ideal, i), Label(), str(i)) for i in range(5)]
        outcomes = list(decode(jobs, ideal))
        assert len(check_label(ideal, outcomes)) > 1
        for outcome in outcomes:
            prompt = outcome.job.prompt
            assert prompt.codec.decode(outcome.output_ids) in prompt.answers.texts


def test_label_takes_the_first_of_equally_good_answers_and_then_only_those_that_fit():
    model = Scripted("red white blue", [1.0, 2.0, 3.0, 4.0])
    # Both agree with "red" or "blue" and the end; the first listed answer wins.
    law = {"green grey blue": 1, "red grey black": 1}
    (outcome,) = decode([Job(listed(law, model.codec), Label(), "0")], model)
    # Then nothing of what is left agrees: the surest first.
    assert outcome.trace.positions == [[2, 3], [1], [0]]


def test_label_takes_the_end_of_a_turn_for_the_end_of_an_answer():
    # A chat model writes its end of turn where the laid-out answer has an end-of-text.
    model = Scripted("red blue white", [1.0, 2.0, 3.0, 4.0])
    (white,) = model.codec.encode(["white"])[0]
    law = {"red blue": 1}
    (strict,) = decode([Job(listed(law, model.codec), Label(), "0")], model)
    assert strict.trace.positions == [[0, 1, 3], [2]]
    model.codec = dataclasses.replace(model.codec, stop_ids=frozenset({white}))
    (outcome,) = decode([Job(listed(law, model.codec), Label(), "0")], model)
    assert outcome.trace.positions == [[0, 1, 2, 3]]
    assert outcome.output_ids[2] == white
    assert model.codec.decode(outcome.output_ids) == "red blue"
    (seen,) = decode([Job(listed(law, model.codec), Information(), "0")], model)
    assert seen.status == "ok"


def test_label_where_nothing_agrees_commits_the_surest_position_and_the_lower_of_equals():
    model = Scripted("black black black black", [1.0, 4.0, 4.0, 2.0])
    law = {"red green blue": 1, "green red blue": 1}
    (outcome,) = decode([Job(listed(law, model.codec), Label(), "0")], model)
    assert outcome.trace.positions == [[1], [2], [3], [0]]


# --- both -------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_an_oracle_decodes_the_same_in_any_batch(batch_size):
    def told(size):
        model = ToyNetwork()
        jobs = [
            Job(prompt, decoder, f"{number}/{place}")
            for number, prompt in enumerate(prompts(model.codec, 4))
            for place, decoder in enumerate(DECODED)
        ]
        done = {outcome.job.key: outcome for outcome in decode(jobs, model, batch_size=size)}
        return {key: (one.output_ids, one.trace, one.counts) for key, one in done.items()}

    assert told(batch_size) == told(7)


DECODED = (
    Information(),
    Information(eps=1.0, temperature=1.0),
    Information(method="greedy", block_length=2),
    Label(),
    Label(temperature=1.0, block_length=4),
)


def test_an_oracle_is_one_call_a_step_and_told_apart_in_its_records():
    done = evaluate(tasks="choices/city", decoders=["information", "label", "random"], samples=3)
    for record in done.records:
        assert record.decoder.oracle == (record.decoder.name != "random")
        assert (
            record.decoding.counts.nfe
            == record.decoding.counts.rows
            == record.decoding.counts.steps
        )


@pytest.mark.parametrize("decoder", [Information(), Label()])
def test_a_law_that_cannot_be_listed_is_refused(decoder):
    class Boundless(Colours):
        def answers(self, sample, limit=100_000):
            raise NotEnumerableError("too many")

    task, model = Boundless(), ToyNetwork()
    prompt = build_prompt(task, draw_sample(task, 0, 0), model.codec)
    with pytest.raises(NotEnumerableError, match="too many"):
        list(decode([Job(prompt, decoder, "0")], model))


@pytest.mark.parametrize("method", ["exact", "greedy"])
def test_a_record_says_which_policy_decoded_it(method):
    (record,) = evaluate(
        tasks="choices/city", decoders=f"information:method={method}", samples=1
    ).records
    assert record.decoding.note == f"{method} policy"
    assert record.decoder.oracle


def test_a_record_of_a_decoder_without_a_word_has_no_note():
    (record,) = evaluate(tasks="choices/city", decoders="label", samples=1).records
    assert record.decoding.note is None


@pytest.mark.parametrize(
    "task",
    ["list_operations/insert_random:length=6", "list_operations/replace_random:length=5"],
)
def test_the_ideal_model_is_always_right_in_the_expected_number_of_steps(task, ideal):
    samples = 120
    (result,) = (
        evaluation := evaluate(
            tasks=f"{task},form=infill",
            decoders="information:eps=0,temperature=1",
            samples=samples,
        )
    ).results
    assert result.accuracy == 1.0
    expected = Information().expected_steps(prompt_of(f"{task},form=infill", ideal))
    steps = np.array([record.decoding.counts.nfe for record in evaluation.records])
    # 99.9 % of a normal law: the mean of 120 counts.
    assert abs(steps.mean() - expected) <= 3.29 * steps.std(ddof=1) / math.sqrt(samples)
