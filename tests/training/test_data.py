"""Training samples: fresh, right, of their law, and never those of an evaluation."""

import itertools
import random
import re
from collections import Counter
from typing import ClassVar

import pytest
import torch
from scipy import stats

from parallelbench.errors import CanvasError
from parallelbench.models.checkpoint import CheckpointRequest, load_checkpoint
from parallelbench.models.word_tokenizer import word_tokenizer
from parallelbench.prompt import Codec
from parallelbench.setting import build, parse_settings
from parallelbench.task import TASKS, sample_rng
from parallelbench.training import Plan
from parallelbench.training import data as training_data
from parallelbench.training.data import (
    check_tasks,
    checking_rng,
    examples,
    floors,
    make_example,
    task_words,
    tasks_of_step,
    training_rng,
)
from support import checkpoints


def codec_of(plan):
    tokenizer = word_tokenizer(task_words(plan.built, plan.seed))
    return Codec(tokenizer, mask_id=tokenizer.mask_token_id, end_id=tokenizer.eos_token_id)


def task_of(text):
    (setting,) = parse_settings(text, TASKS)
    return build(setting, TASKS)


class Spy(random.Random):
    """Notes what it is seeded by."""

    seeds: ClassVar[list] = []

    def __init__(self, seed):
        self.seeds.append(seed)
        super().__init__(seed)


def test_no_evaluation_seed_gives_a_training_sample(monkeypatch):
    monkeypatch.setattr(random, "Random", Spy)
    Spy.seeds.clear()
    for make in (training_rng, checking_rng):
        make(0, "waiting_line/copy", 0)
    examples(Plan(tasks="choices/dice", batch_size=2), codec_of(Plan(tasks="choices/dice")), 3)
    ours = list(Spy.seeds)
    Spy.seeds.clear()
    sample_rng(0, "waiting_line/copy", 0)
    sample_rng(-17, "train/0/waiting_line/copy", 10**9)
    theirs = list(Spy.seeds)
    # A whole number, however written, begins with a digit or a minus; none of ours does.
    assert len(ours) > 60
    assert all(re.match(r"-?\d", text) for text in theirs)
    assert not any(re.match(r"[-+\s\d]", text) for text in ours)


def test_the_generators_of_a_training_are_disjoint_among_themselves():
    kinds = [f"{kind}/0/x/y/1" for kind in ("train", "look", "train-tasks", "train-masks")]
    assert len({text.split("/")[0] for text in kinds}) == len(kinds)
    draws = {
        training_rng(seed, name, number).random()
        for seed, name, number in itertools.product(range(3), ("a/b", "a/c"), range(50))
    }
    assert len(draws) == 300


def test_no_sample_is_drawn_twice_over_the_steps():
    plan = Plan(tasks="waiting_line/copy,waiting_line/sort", batch_size=16)
    codec = codec_of(plan)
    seen = [
        tuple(each.prompt.tolist()) for step in range(6) for each in examples(plan, codec, step)
    ]
    assert len(set(seen)) == 96


def test_a_step_depends_on_nothing_but_plan_and_number():
    plan = Plan(tasks="choices/*", batch_size=8)
    codec = codec_of(plan)
    first, again = examples(plan, codec, 5), examples(plan, codec, 5)
    for one, other in zip(first, again, strict=True):
        assert one.task == other.task
        assert torch.equal(one.prompt, other.prompt)
        assert torch.equal(one.answer, other.answer)


def test_the_answer_is_right_and_followed_by_end_of_text():
    task = task_of("waiting_line/shuffle:canvas_length=40")
    plan = Plan(tasks="waiting_line/shuffle")
    codec = codec_of(plan)
    for number in range(8):
        sample = task.draw(training_rng(0, task.name, number), number)
        example = make_example(0, task, sample, codec)
        assert task.score(sample, codec.decode(example.answer.tolist())).strict == 1
        ids = example.answer.tolist()
        assert set(ids[ids.index(codec.end_id) :]) == {codec.end_id}
        assert len(ids) == 40
        assert example.open.all()


def test_the_infilling_form_leaves_only_its_spans_open():
    task = task_of("list_operations/replace_random:form=infill,length=4")
    plan = Plan(tasks="list_operations/replace_random:form=infill,length=4")
    codec = codec_of(plan)
    sample = task.draw(training_rng(0, task.name, 0), 0)
    example = make_example(0, task, sample, codec)
    written = "".join(sample.reference[low:high] for low, high in sample.open_spans)
    assert codec.decode(example.answer[example.open].tolist()).split() == list(written)
    assert codec.decode(example.answer.tolist()) == sample.reference
    assert not example.open.all()


def items(text):
    return text.strip("[]").split(", ")


def place_of_newcomer(sample):
    ours = items(sample.reference)
    (new,) = [name for name in ours if name not in sample.facts["items"]]
    return ours.index(new)


def order(sample):
    return tuple(sample.facts["items"].index(name) for name in items(sample.reference))


LAWS = {
    "choices/city": lambda sample: sample.reference,
    "choices/dice:rolls=1": lambda sample: sample.reference,
    "waiting_line/insert_random:length=3": place_of_newcomer,
    "waiting_line/shuffle:length=3": order,
    "list_operations/remove_random:length=4": order,
}


@pytest.mark.parametrize("text", LAWS)
def test_references_follow_the_law_of_right_answers(text):
    task = task_of(text)
    counts = Counter()
    for number in range(1200):
        sample = task.draw(training_rng(0, task.name, number), number)
        counts[LAWS[text](sample)] += 1
    law = task.answers(sample)
    assert len(set(law.weights)) == 1
    assert len(counts) == len(law)
    assert stats.chisquare(list(counts.values())).pvalue > 1e-3


def test_tasks_have_their_shares_of_every_batch_and_exactly_in_the_mean():
    plan = Plan(
        tasks="choices/city,choices/dice,choices/sum",
        weights={"choices/sum": 2.5},
        batch_size=10,
    )
    totals = Counter()
    for step in range(400):
        batch = Counter(tasks_of_step(plan, step))
        for place, share in enumerate(plan.shares):
            assert abs(batch[place] - 10 * share) < 1
        totals.update(batch)
    for place, share in enumerate(plan.shares):
        assert abs(totals[place] / 4000 - share) < 0.01


def test_a_task_is_not_tied_to_the_length_that_an_index_gives():
    plan = Plan(tasks="waiting_line/copy,waiting_line/sort", batch_size=4)
    lengths = Counter(
        (place, number % 4)
        for step in range(300)
        for number, place in enumerate(tasks_of_step(plan, step), start=4 * step)
    )
    assert len(lengths) == 8
    assert min(lengths.values()) > 100


def test_words_of_questions_and_answers_are_one_token_each():
    plan = Plan(tasks="waiting_line/shuffle,choices/city")
    codec = codec_of(plan)
    words = ["people", "waiting", "resulting", *plan.built[0].words[:20], *plan.built[1].words]
    assert {len(ids) for ids in codec.encode(words)} == {1}


def test_a_floor_is_the_logarithm_of_the_number_of_right_answers():
    plan = Plan(
        tasks="choices/dice:rolls=3,choices/city,waiting_line/copy,"
        "waiting_line/insert_random:length=4,choices/dice:rolls=30,canvas_length=40"
    )
    expected = [3 * torch.tensor(6.0).log(), torch.tensor(4.0).log(), 0.0, torch.tensor(5.0).log()]
    *known, many = floors(plan)
    assert known == pytest.approx([float(each) for each in expected])
    assert many is None


def test_a_canvas_shorter_than_an_answer_is_refused():
    plan = Plan(tasks="waiting_line/copy:canvas_length=18")
    with pytest.raises(CanvasError, match="set canvas_length="):
        check_tasks(plan, codec_of(plan))


def test_a_tokenizer_of_other_words_is_refused():
    codec = codec_of(Plan(tasks="choices/dice"))
    with pytest.raises(CanvasError, match="knows whole words, but not"):
        check_tasks(Plan(tasks="waiting_line/copy:canvas_length=180"), codec)


def test_a_tokenizer_of_subwords_may_split_names(tmp_path):
    folder = checkpoints.write_checkpoint("llada", tmp_path / "llada")
    codec = load_checkpoint(CheckpointRequest(path=str(folder))).codec
    check_tasks(Plan(tasks="waiting_line/copy:canvas_length=180"), codec)


def test_looking_draws_none_of_the_training_samples():
    assert training_data.checking_rng(0, "a/b", 0).random() != training_rng(0, "a/b", 0).random()
