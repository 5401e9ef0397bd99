"""Entries of models that write in blocks of their own, keep keys and values, or only reply."""

import functools
import shutil

import pytest
import tokenizers
from transformers import PreTrainedTokenizerFast

from parallelbench.errors import SubmissionError
from parallelbench.leaderboards.board.board import add, read_board
from parallelbench.leaderboards.board.standings import standings
from parallelbench.leaderboards.commands.regenerate import regenerated
from parallelbench.leaderboards.verify.verification import verified
from parallelbench.run.recording import draw_sample
from parallelbench.setting import build, parse_settings
from parallelbench.task import TASKS
from support import checkpoints
from support.entries import SEED, TASKS_OF_SEASON, Spoilt, make_entry, merge_steps
from support.fabricated import fabricated_record
from support.servers import Scripted, says

#: Families whose rows are not computed whole: fields, and strategies that they can serve.
KINDS = {
    "llada": (":cache=dual", "confidence:k=4,block_length=16"),
    "sdar": (":block_length=8", "one_by_one:temperature=1,random:k=3,sdar"),
    "nemotron": (":block_length=16", "one_by_one:temperature=1,dus:block_length=16"),
    "llama": ("", "one_by_one:temperature=1"),
}


@pytest.fixture(scope="module")
def entry_of(tiny_season, tmp_path_factory):
    """Make the entry of a family, once."""

    @functools.cache
    def entry_of(family):
        place = tmp_path_factory.mktemp(family)
        path = checkpoints.write_checkpoint(family, place / "checkpoint")
        fields, decoders = KINDS[family]
        return make_entry(place, models=[f"hf:{path}{fields}"], decoders=decoders, repeats=4)

    return entry_of


@pytest.fixture
def copy_of(entry_of, tmp_path):
    """Copy the entry of a family, to spoil it."""
    return lambda family: Spoilt(shutil.copytree(entry_of(family), tmp_path / "entry"))


@pytest.mark.parametrize("family", KINDS)
def test_an_entry_of_any_kind_of_network_is_checked_and_reproduced(family, entry_of):
    found = verified(entry_of(family))
    assert any("does not compute every row whole" in each for each in found.entry.remarks)
    # One that has blocks ends a decode behind the first end-of-text.
    stopped = [record for record in found.entry.records if record.decoding.trace.stopped]
    assert bool(stopped) == (family != "llada")
    again = regenerated(found, None).entry
    assert again.level == "reproduced"
    count = len(found.entry.records)
    assert f"{count} of {count} records were decoded again; {count} came" in again.remarks[-1]


@pytest.mark.parametrize("family", KINDS)
def test_a_strategy_of_fixed_speed_has_its_speed_on_any_network(family, copy_of):
    spoilt = copy_of(family)
    spoilt.change(lambda record: merge_steps(record, 0))
    with pytest.raises(SubmissionError, match=r"step 0 on, and .* always|behind the end 1 of"):
        verified(spoilt.path)


@pytest.mark.parametrize("family", ["sdar", "nemotron"])
def test_a_decode_is_not_ended_within_a_block(family, copy_of):
    spoilt = copy_of(family)
    records = spoilt.records()
    record = next(each for each in records if each["decoding"]["trace"]["stopped"])
    # The last own step never happened: what it wrote is filled like the rest.
    merge_steps(record, len(record["decoding"]["trace"]["rows"]) - 2)
    record["decoding"]["trace"]["rows"][-1] = record["decoding"]["trace"]["row_tokens"][-1] = 0
    record["decoding"]["trace"]["ids"][-1] = [record["decoding"]["end_id"]] * len(
        record["decoding"]["trace"]["ids"][-1]
    )
    spoilt.write_records(records)
    with pytest.raises(SubmissionError, match="its trace was stopped within a block"):
        verified(spoilt.path)


@pytest.mark.parametrize(
    ("blocks", "words"),
    [
        (None, "and random:k=3 always 3, 3, 3, 3"),
        ({"length": 64, "from_prompt": True}, "is said to have blocks of 64"),
        ({"length": 0, "from_prompt": True}, "which is no grid"),
        ({"length": 10**4000, "from_prompt": True}, "which is no grid with a length of 1 to 1,000"),
        ({"length": 8.5, "from_prompt": True}, "which is no grid"),
        ({"length": 8}, "which is no grid"),
        ("8", "which is no grid"),
    ],
)
def test_a_grid_that_is_none_or_not_the_one_asked_for_is_refused(copy_of, blocks, words):
    spoilt = copy_of("sdar")

    def claim(starts):
        (facts,) = starts[-1]["models"].values()
        facts["blocks"] = blocks

    spoilt.change_json("environment.json", claim)
    with pytest.raises(SubmissionError, match=words):
        verified(spoilt.path)


# Servers.


@pytest.fixture(scope="module")
def served(tiny_season, tmp_path_factory):
    with Scripted(says("I do not know", tokens=5)) as server:
        return make_entry(tmp_path_factory.mktemp("served"), models=[f"api:{server.url}:model=m"])


def test_a_servers_entry_is_marked_again_and_shows_no_speed(served, tmp_path):
    entry = add(served, tmp_path)
    assert entry.level == "self-reported"
    assert any("of its speed nothing can be checked" in remark for remark in entry.remarks)
    (board,) = standings(read_board(tmp_path))
    (row,) = [row for section in board.sections for row in section.rows]
    assert all(figures.at == {} for figures in row.figures.values())


def test_nobody_can_make_a_servers_replies_again(served):
    with pytest.raises(SubmissionError, match="whose replies nobody can make again"):
        regenerated(verified(served), None)


STEPS = fabricated_record().decoding.model_dump(mode="json")


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda record: record["marks"].update(lenient=1.0), "claims marks.lenient 1.0, and 0.0"),
        (lambda record: record.update(served=None), "does not say how its server answered"),
        (lambda record: record["served"].update(finish="\u202e"), "RIGHT-TO-LEFT OVERRIDE"),
        (lambda record: record.update(decoding=STEPS), "claims decoding Decoding"),
    ],
)
def test_a_servers_record_that_was_changed_is_refused(served, tmp_path, edit, words):
    spoilt = Spoilt(shutil.copytree(served, tmp_path / "entry"))
    spoilt.change(edit)
    with pytest.raises(SubmissionError, match=words):
        verified(spoilt.path)


# Tokenizers that answer in the model's place.


def test_a_tokenizer_with_a_token_for_every_answer_is_refused(tiny_season, tmp_path):
    settings = [each for text in TASKS_OF_SEASON for each in parse_settings(text, TASKS)]
    tasks = [build(setting, TASKS) for setting in settings]
    answers = [draw_sample(task, SEED, index).reference for task in tasks for index in range(3)]
    model = tokenizers.Tokenizer(tokenizers.models.BPE())
    model.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(
        add_prefix_space=False, use_regex=False
    )
    model.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=20_000,
        min_frequency=1,
        special_tokens=["<end>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
    )
    model.train_from_iterator(answers, trainer)
    folder = tmp_path / "tokenizer"
    PreTrainedTokenizerFast(tokenizer_object=model, eos_token="<end>").save_pretrained(folder)  # noqa: S106
    # Packing verifies, so no entry is made.
    with pytest.raises(SubmissionError, match="right replies of several words are a single token"):
        make_entry(tmp_path, models=[f"ideal:tokenizer={folder}"], decoders="random:k=32")
