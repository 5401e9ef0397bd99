"""Attacks on what was run: settings, labels, counts, statements, and who served what."""

import shutil
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import yaml

from parallelbench.decoder import DECODERS, Chooser
from parallelbench.decoders.selection import top
from parallelbench.errors import RequestError, SubmissionError
from parallelbench.leaderboards.board.standings import standings
from parallelbench.leaderboards.commands.packing import Statement, pack
from parallelbench.leaderboards.commands.regenerate import regenerated
from parallelbench.leaderboards.verify.verification import content_of, verified
from parallelbench.run.runfile import make_runfile
from parallelbench.run.runner import execute
from support import checkpoints
from support.entries import Spoilt, make_entry, make_run
from support.fabricated import altered
from support.servers import Scripted, says

#: What the attacks of this file found: refused with a sentence.
ATTACKS = {}

SCHEDULED = (
    "rcr:k=4,remdm:steps=8,remdm:schedule=conf,steps=8,remdm_llada:k=4,"
    "dus:skip_below=0.5,lopa:branches=2,dream:steps=8"
)


def refused(words, of="scheduled"):
    """Register an attack on one of the entries, and the words that its refusal has."""

    def register(attack):
        assert attack.__name__ not in ATTACKS
        ATTACKS[attack.__name__] = (attack, words, of)
        return attack

    return register


def entry_fixture(name, **of_run):
    @pytest.fixture(scope="session", name=name)
    def made(tiny_season, tmp_path_factory):
        return make_entry(tmp_path_factory.mktemp(name), **of_run)

    return made


scheduled = entry_fixture("scheduled", decoders=SCHEDULED)
network = entry_fixture("network", models=["mini"], decoders="random:k=32")


@pytest.fixture(scope="session")
def cached(tiny_season, tmp_path_factory):
    """An entry of a checkpoint that keeps keys and values."""
    place = tmp_path_factory.mktemp("cached")
    path = checkpoints.write_checkpoint("llada", place / "checkpoint")
    return make_entry(place, models=[f"hf:{path}:cache=dual"], decoders="random:k=32")


@pytest.fixture(scope="session")
def served(tiny_season, tmp_path_factory):
    with Scripted(says("I do not know", tokens=5)) as server:
        return make_entry(tmp_path_factory.mktemp("served"), models=[f"api:{server.url}:model=m"])


def with_decoder(entry, text, **changes):
    """Let the entry say that it ran one more decoder."""
    runfile = make_runfile({"models": "ideal", "tasks": "choices/sum", "decoders": text})
    (setting,) = runfile.decoders
    fields = {**setting.fields, **changes}
    entry.change_yaml(
        "run.yaml", lambda run: run["decoders"].append({"name": setting.name, "fields": fields})
    )
    said = {"label": setting.label, "name": setting.name, "fields": fields}
    entry.change_yaml("submission.yaml", lambda whole: whole["decoders"].append(said))


def in_one_call(record):
    """Say that everything was written in the first call."""
    trace = record["decoding"]["trace"]
    ids = record["decoding"]["output_ids"]
    record["decoding"]["trace"] |= {
        "positions": [list(range(len(ids)))],
        "ids": [ids],
        "rows": trace["rows"][:1],
        "row_tokens": trace["row_tokens"][:1],
        "auxiliary_calls": [0],
    }


# Calls that never happened, where nothing but the schedule tells it.


@refused(r"writes 32 tokens from step 0 on, and rcr:k=4 always")
def a_remasking_strategy_in_one_call(entry):
    entry.change(in_one_call, "rcr")


@refused("writes 32 tokens from step 0 on, and remdm:schedule=cap,steps=8 always")
def a_process_backwards_in_one_call(entry):
    entry.change(in_one_call, "remdm")


@refused("sends none rows from step 1 on, and remdm:schedule=conf,steps=8 always 1, 1")
def a_process_that_follows_confidence_in_one_call(entry):
    records = entry.records()
    in_one_call(next(each for each in records if "conf" in each["decoder"]["label"]))
    entry.write_records(records)


@refused(r"writes 32 tokens from step 0 on, and remdm_llada:k=4,revisions=1 always")
def a_revising_strategy_in_one_call(entry):
    entry.change(in_one_call, "remdm_llada")


@refused("sends none rows from step 1 on, and dus:base=2,skip_below=0.5 always 1, 1")
def dilated_groups_in_one_call(entry):
    entry.change(in_one_call, "dus")


@refused(r"dream:algorithm=origin,steps=8 always")
def a_drawn_schedule_in_one_call(entry):
    entry.change(in_one_call, "dream")


@refused("sends 5 rows, and Lopa sends 3 at most")
def more_rows_than_the_strategy_declares(entry):
    def look_further(record):
        trace = record["decoding"]["trace"]
        each = trace["row_tokens"][0] // trace["rows"][0]
        trace["rows"][1], trace["row_tokens"][1] = 5, 5 * each

    entry.change(look_further, "lopa")


# Settings that the model cannot serve, or that are left out though it can.


@refused("decoder 'dapd.*' needs attention_late, which model 'ideal' does not give")
def a_strategy_that_the_ideal_model_cannot_serve(entry):
    with_decoder(entry, "dapd")


@refused("needs noise, self_conditioning, which model 'mini' does not give", of="network")
def a_strategy_that_mini_cannot_serve(entry):
    with_decoder(entry, "renoise")


@refused("needs head:demask, which model 'mini' does not give; it is the head", of="network")
def a_strategy_with_a_head_that_mini_lacks(entry):
    with_decoder(entry, "demask")


@refused("needs attention_late, which model 'hf:.*' does not give", of="cached")
def a_strategy_that_needs_what_a_cache_hides(entry):
    with_decoder(entry, "dapd")


@refused("needs table, which model 'ideal' does not give|needs a table")
def a_strategy_without_its_table(entry):
    with_decoder(entry, "pc_sampler")


@refused("left_out leaves 'rcr:k=4' out of 'ideal', which gives all that it needs")
def a_bad_setting_left_out(entry):
    entry.change_yaml("run.yaml", lambda run: run.update(left_out={"ideal": ["rcr:k=4"]}))
    records = [each for each in entry.records() if each["decoder"]["name"] != "rcr"]
    entry.write_records(records)


@refused("left_out names 'api:.*', a server", of="served")
def a_setting_left_out_of_a_server(entry):
    def leave_out(run):
        (model,) = run["models"]
        label = f"api:{model['fields']['url']}:model=m"
        run["left_out"] = {label: ["one_by_one"]}

    entry.change_yaml("run.yaml", leave_out)


# One setting under two names, and numbers that no field can use.


@refused("run.yaml is not complete")
def a_second_setting_through_a_negative_zero(entry):
    (label,) = make_runfile(
        {"models": "ideal", "tasks": "choices/sum", "decoders": "rcr:k=4"}
    ).decoders
    entry.change_yaml(
        "run.yaml",
        lambda run: run["decoders"].append(
            {"name": "rcr", "fields": {**label.fields, "temperature": -0.0}}
        ),
    )


@refused("field 'k' must lie between -1,000,000,000 and 1,000,000,000")
def a_giant_field(entry):
    with_decoder(entry, "random:k=3", k=10**12)


@refused("steps must be 1 to 100,000 per block")
def steps_that_fill_the_memory(entry):
    with_decoder(entry, "dream:steps=3", steps=10**9)


# Statements.


@refused("the weights of 'mini' are those of mini, which this package trained", of="network")
def mini_that_never_saw_the_suite(entry):
    entry.change_yaml("submission.yaml", lambda said: said.update(trained_on_suite="no"))


@refused("the weights of 'mini' are those of mini, which this package trained", of="network")
def mini_in_the_closed_division(entry):
    said = {"trained_on_suite": "unknown", "division": "closed"}
    entry.change_yaml("submission.yaml", lambda whole: whole.update(said))


@refused("model 'ideal' is called 'GPT-5' with revision None, and it is 'ideal' of this package")
def the_ideal_model_under_a_famous_name(entry):
    entry.change_yaml("submission.yaml", lambda said: said["models"][0].update(name="GPT-5"))


@refused("model 'mini' is called 'mini' with revision 'reproduced'", of="network")
def mini_of_a_revision_that_is_none(entry):
    changes = {"revision": "reproduced"}
    entry.change_yaml("submission.yaml", lambda said: said["models"][0].update(changes))


@refused("runs_made")
def a_run_that_was_the_best_of_none(entry):
    entry.change_yaml("submission.yaml", lambda said: said.update(runs_made=0))


@refused("runs_made")
def more_runs_than_anybody_makes(entry):
    entry.change_yaml("submission.yaml", lambda said: said.update(runs_made=10**12))


@refused("it has a note, and rcr:k=4 writes none")
def a_note_that_makes_other_records(entry):
    entry.change(lambda record: record["decoding"].update(note="mine"), "rcr")


# Counts.


@refused("claims completion_tokens=-5, and a reply has 0 to", of="served")
def fewer_tokens_than_none(entry):
    entry.change(lambda record: record["served"].update(completion_tokens=-5))


@refused("claims attempts=-1, and a reply has 0 to", of="served")
def fewer_attempts_than_none(entry):
    entry.change(lambda record: record["served"].update(attempts=-1))


@refused("claims drafts=a number over 2\\^53, and a reply has 0 to", of="served")
def drafts_of_four_thousand_digits(entry):
    entry.change(lambda record: record["served"].update(drafts=10**4000 - 1))


@refused(
    "claims a number over 2\\^53 tokens, and prompt and canvas have",
    of="cached",
)
def tokens_of_four_thousand_digits(entry):
    entry.change(
        lambda record: record["decoding"]["trace"]["row_tokens"].__setitem__(0, 10**4000 - 1)
    )


@refused("claims a number over 2\\^53 auxiliary calls", of="cached")
def auxiliary_calls_of_four_thousand_digits(entry):
    entry.change(
        lambda record: record["decoding"]["trace"]["auxiliary_calls"].__setitem__(0, 10**4000 - 1)
    )


@pytest.mark.attack("refused")
@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_on_settings_is_refused_with_its_reason(name, tmp_path, request):
    attack, words, of = ATTACKS[name]
    attack(spoilt := Spoilt(shutil.copytree(request.getfixturevalue(of), tmp_path / "entry")))
    with pytest.raises(SubmissionError, match=words) as refusal:
        verified(spoilt.path)
    assert all(len(fault) < 2000 for fault in refusal.value.faults)


# What is honest holds, and what cannot be checked is said.


def test_strategies_with_a_schedule_are_no_ones_word(scheduled):
    found = verified(scheduled)
    (adaptive,) = [each for each in found.entry.remarks if "adaptive decoder" in each]
    assert adaptive.endswith("shows: lopa")
    assert not any("cannot be told without their model" in each for each in found.entry.remarks)
    assert regenerated(found, None).entry.level == "reproduced"


@dataclass(frozen=True, kw_only=True)
class Attentive(Chooser):
    """Commits half of a canvas, and needs what only its model can give."""

    needs: ClassVar = frozenset({"token", "confidence", "attention"})

    def choose(self, step):
        return top(step.confidence, step.open, 32)


@pytest.mark.attack("marked")
def test_calls_that_only_the_model_could_show_are_the_submitters_word(
    tiny_season, tmp_path, monkeypatch
):
    monkeypatch.setitem(DECODERS._entries, "attentive", Attentive)
    path = make_entry(tmp_path, models=["mini"], decoders="attentive,random:k=32")
    remarks = verified(path).entry.remarks
    (told,) = [each for each in remarks if "cannot be told without their model" in each]
    assert told.endswith("the submitter's word: attentive")


def test_settings_that_only_some_models_serve_may_be_left_out(tiny_season, tmp_path):
    run = make_run(tmp_path / "run", models=["ideal", "mini"], decoders="random:k=32,da?d")
    assert "left_out" in yaml.safe_load((run / "run.yaml").read_text())
    pack(run, tmp_path / "entry", Statement(submitter="us"))
    assert verified(tmp_path / "entry").entry.level == "reproduced"


@pytest.mark.attack("refused")
def test_a_seed_of_the_ideal_models_noise_is_not_for_boards(tiny_season, tmp_path):
    run = make_run(tmp_path / "run", models=["ideal:seed=7"], decoders="random:k=32")
    with pytest.raises(SubmissionError, match=r"'ideal:seed=7' has a seed of its own.*it is 0"):
        pack(run, tmp_path / "entry", Statement(submitter="us"))


@pytest.mark.attack("refused")
def test_one_model_under_two_settings_is_refused(tiny_season, tmp_path):
    run = make_run(tmp_path / "run", models=["ideal", "ideal:limit=60000"], decoders="random:k=32")
    with pytest.raises(SubmissionError, match="'ideal:limit=60000' predicts what 'ideal' does"):
        pack(run, tmp_path / "entry", Statement(submitter="us"))


@pytest.mark.attack("marked")
def test_blocks_longer_than_the_canvas_make_one_row(tiny_season, tmp_path):
    decoders = "random:k=4|16,block_length=100|200|300,temperature=0.5"
    path = make_entry(tmp_path, decoders=decoders)
    entry = verified(path).entry
    (told,) = [each for each in entry.remarks if "which counts once" in each]
    assert "random:k=16,block_length=300,temperature=0.5 as random:k=16,block_length=100" in told
    (board,) = standings([entry])
    rows = [row for section in board.sections for row in section.rows]
    assert len(rows) == 1


def test_how_many_runs_were_made_is_said_if_somebody_says_it(tiny_season, tmp_path):
    run = make_run(tmp_path / "run", decoders="random:k=32")
    said = pack(run, tmp_path / "said", Statement(submitter="us", runs_made=3))
    assert said.runs_made == 3
    assert verified(tmp_path / "said").entry.submission.runs_made == 3
    unsaid = pack(run, tmp_path / "unsaid", Statement(submitter="us"))
    assert unsaid.runs_made is None
    assert "runs_made" not in (tmp_path / "unsaid" / "submission.yaml").read_text()


CHANGES = {
    "another release": {"library_version": "9.9.9"},
    "another note": {"note": "mine"},
    "another model": {"model": "hf:mine", "model_digest": "1" * 64, "weights_digest": "2" * 64},
    "another repeat": {"repeat": 5},
    "another field": {"decoder_fields": {"k": 32, "block_length": 999}, "decoder_label": "x"},
    "another prompt": {"prompt_digest": "3" * 64, "prompt_tokens": 7},
    "another clock": {"seconds": 9.0},
}


@pytest.mark.attack("refused")
@pytest.mark.parametrize("change", CHANGES)
def test_the_same_decodes_are_the_same_content(change):
    asked = {"models": "ideal", "tasks": "choices/sum", "decoders": "random:k=32", "samples": 2}
    records = list(execute(make_runfile(asked)))
    changed = [altered(record, **CHANGES[change]) for record in reversed(records)]
    assert content_of(changed) == content_of(records)
    assert content_of(records[1:]) != content_of(records)


@pytest.mark.attack("refused")
def test_the_same_decode_twice_is_the_same_content():
    asked = {"models": "ideal", "tasks": "choices/sum", "decoders": "confidence:k=32", "samples": 2}
    once = list(execute(make_runfile(asked)))
    twice = list(execute(make_runfile({**asked, "repeats": 2})))
    assert content_of(twice) == content_of(once)


@pytest.mark.attack("refused")
def test_other_token_numbers_are_the_same_content():
    asked = {"models": "ideal", "tasks": "choices/sum", "decoders": "random:k=32", "samples": 1}
    (record,) = execute(make_runfile(asked))
    numbers = [[token + 1 for token in ids] for ids in record.decoding.trace.ids]
    trace = replace(record.decoding.trace, ids=numbers)
    other = altered(record, trace=trace)
    assert content_of([other]) == content_of([record])


@pytest.mark.attack("refused")
def test_two_settings_of_one_label_are_refused(monkeypatch):
    from parallelbench import setting

    monkeypatch.setattr(setting, "_label", lambda *_: "one label")
    asked = {"models": "ideal", "tasks": "choices/sum", "decoders": "random:k=3|4"}
    with pytest.raises(RequestError, match="called 'one label', and differ in k=3 and 4"):
        make_runfile(asked)
