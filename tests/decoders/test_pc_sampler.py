"""PC-Sampler: its rule, its table of token counts, and the verb that makes one."""

import json
import math
import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parallelbench import evaluate
from parallelbench.cli.program import main
from parallelbench.decoder import DECODERS
from parallelbench.decoders.pc_sampler import PCSampler
from parallelbench.errors import FieldError, RequestError, RunFileError
from parallelbench.models.hf import HuggingFace
from parallelbench.models.ideal import Ideal
from parallelbench.models.mini import Mini
from parallelbench.models.unigram_table import UnigramTable, count_tokens, read_table
from parallelbench.run.runfile import make_runfile
from parallelbench.run.runner import run
from parallelbench.setting import build, make_setting, parse_settings
from support import checkpoints
from support.landscapes import CODEC, MASK, WORD, batches, decoded, played, written
from support.references import blocks as plain
from support.toys import WORDS

A, B, C, *_ = WORD
SEEN = {A: 90, B: 9, C: 1}


def table_of(folder, counts, tokenizer=CODEC.tokenizer_digest, name="table.json"):
    path = Path(folder) / name
    path.write_text(UnigramTable(tokenizer, counts).to_json())
    return str(path)


@pytest.fixture
def table(tmp_path):
    return table_of(tmp_path, SEEN)


def places(decoder, call, canvas=None):
    outcome, _ = played(decoder, [call] * 9, canvas)
    return [sorted(step) for step in written(outcome)]


# The rule


def test_of_equally_sure_tokens_the_rare_one_goes_first(table):
    call = [(A, 0.8), (B, 0.8), (C, 0.8)]
    assert places(PCSampler(table=table, decay=0.0), call) == [[2], [1], [0]]


def test_a_common_token_waits_even_if_it_is_surer(table):
    # .95 of 0.105 nats against .5 of 4.6.
    call = [(A, 0.95), (C, 0.5)]
    assert places(PCSampler(table=table, decay=0.0), call) == [[1], [0]]


def test_a_token_that_was_not_counted_is_as_rare_as_one_counted_once(table):
    unseen = WORD[5]
    sampler = PCSampler(table=table, decay=0.0)
    assert places(sampler, [(C, 0.5), (unseen, 0.6)]) == [[1], [0]]
    assert places(sampler, [(C, 0.5), (unseen, 0.5)]) == [[0], [1]]


def test_the_start_is_preferred_the_more_the_faster_scores_decay(table):
    # Scores of .4 and .5 nats' worth, one position apart: exp(-.25) < .8 < exp(-.2).
    call = [(C, 0.4), (C, 0.5), (A, 0.3)]
    assert places(PCSampler(table=table, decay=0.25), call)[0] == [0]
    assert places(PCSampler(table=table, decay=0.2), call)[0] == [1]


def test_above_the_ceiling_nothing_counts_more(table):
    call = [(C, 0.5), (C, 0.9)]
    assert places(PCSampler(table=table, decay=0.0), call)[0] == [1]
    assert places(PCSampler(table=table, decay=0.0, ceiling=2.0), call)[0] == [0]


def test_offsets_are_counted_in_each_block_and_its_end_takes_what_is_left(table):
    call = [(C, 0.5)] * 5
    assert places(PCSampler(table=table, k=2), call) == [[0, 1], [2, 3], [4]]
    assert places(PCSampler(table=table, k=2, block_length=3), call) == [[0, 1], [2], [3, 4]]


def test_what_stands_before_the_first_open_position_changes_no_ranking(table):
    call = [(C, 0.4), (C, 0.4), (C, 0.4), (C, 0.5)]
    canvas = [A, A, None, None]
    assert places(PCSampler(table=table), call, canvas)[0] == [2]
    assert places(PCSampler(table=table, decay=0.2), call, canvas)[0] == [3]


counted = st.dictionaries(st.sampled_from(WORD), st.integers(1, 50), min_size=2)
chosen = st.fixed_dictionaries(
    {
        "k": st.integers(1, 4),
        "decay": st.sampled_from([0.0, 0.25, 0.5, 2.0]),
        "ceiling": st.sampled_from([0.5, 1.0, 10.0]),
        "block_length": st.sampled_from([None, 2, 3, 5]),
    }
)


@settings(max_examples=200, deadline=None)
@given(counted, chosen, batches())
def test_pc_sampler_agrees_with_its_rule_in_plain_python(counts, fields, batch):
    landscape, canvases = batch
    with tempfile.TemporaryDirectory() as folder:
        decoder = PCSampler(table=table_of(folder, counts), **fields)
    expected = []
    for canvas in canvases:
        ids = [MASK if token is None else token for token in canvas]
        found = plain.pc_sampler(landscape.probabilities, ids, MASK, counts=counts, **fields)
        expected.append((*found, None))
    assert decoded(decoder, landscape, canvases, batch_size=2) == expected


# The setting


def test_a_setting_holds_the_digest_of_its_table_and_can_be_typed_again(table):
    [setting] = parse_settings(f"pc_sampler:table={table}", DECODERS)
    digest = read_table(table).digest[:16]
    assert setting.fields["digest"] == digest
    assert setting.label == f"pc_sampler:table={table},k=1,decay=0.25,digest={digest}"
    assert parse_settings(setting.label, DECODERS) == [setting]
    assert make_setting("pc_sampler", json.loads(json.dumps(setting.fields)), DECODERS) == setting
    assert build(setting, DECODERS).needs == {"token", "confidence"}


def test_a_frozen_setting_refuses_a_table_that_has_changed_since(table, tmp_path):
    [setting] = parse_settings(f"pc_sampler:table={table}", DECODERS)
    table_of(tmp_path, {A: 1, B: 2})
    with pytest.raises(FieldError, match=r"is not the requested one: its digest begins"):
        make_setting("pc_sampler", setting.fields, DECODERS)


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("k", 0, "k must be at least 1 token per step, got 0"),
        ("decay", -0.1, r"decay must lie in \[0, inf\) per position, got -0\.1"),
        ("decay", math.nan, "decay must lie in .* got nan"),
        ("ceiling", 0.0, r"ceiling must lie in \(0, inf\) nats, got 0\.0"),
        ("ceiling", math.inf, "ceiling must lie in .* got inf"),
        ("digest", "ab", "table None is not the requested one.* leave digest out"),
    ],
)
def test_a_value_out_of_range_is_refused(field, value, sentence):
    with pytest.raises(ValueError, match=sentence):
        PCSampler(**{field: value})


BAD = {
    "": "cannot be read: Expecting value",
    "[1]": "is not a JSON object with form 'parallelbench unigram table 1'",
    '{"form": "parallelbench unigram table 2"}': "is not a JSON object with form",
    '{"form": "parallelbench unigram table 1"}': "needs a string tokenizer and an object counts",
    '{"counts": {"3": -1}}': r"counts must be whole numbers of 1 or more .* got '3': -1",
    '{"counts": {"3": 1.5}}': "got '3': 1.5",
    '{"counts": {"3": true}}': "got '3': True",
    '{"counts": {"-3": 1}}': "got '-3': 1",
    '{"counts": {"²": 1}}': "got '²': 1",
    '{"counts": {}}': "contains no counts",
    '{"counts": {"3": 2}, "total": 3}': "was changed or cut short: its total is 3, but .* give 2",
    '{"counts": {"3": 2}, "total": 2, "digest": "x"}': "its digest is .x., but its counts give",
}


@pytest.mark.parametrize("content", BAD)
def test_a_bad_table_is_refused_when_it_is_asked_for(content, tmp_path):
    if content.startswith('{"counts"'):
        whole = {"form": "parallelbench unigram table 1", "tokenizer": "x", **json.loads(content)}
        sentence, content = BAD[content], json.dumps(whole)
    else:
        sentence = BAD[content]
    (tmp_path / "bad.json").write_text(content)
    with pytest.raises(FieldError, match=sentence) as refusal:
        parse_settings(f"pc_sampler:table={tmp_path}/bad.json", DECODERS)
    assert len(str(refusal.value).splitlines()) == 1


def test_a_table_that_is_not_there_is_refused_with_how_to_make_one(tmp_path):
    with pytest.raises(FieldError, match=r"cannot be read: .*No such file.*decoder-table FILE"):
        parse_settings(f"pc_sampler:table={tmp_path}/none.json", DECODERS)


# The run


def asked(decoder, **more):
    return make_runfile({"models": "ideal", "tasks": "choices/city", "decoders": decoder, **more})


@pytest.fixture
def fitting(tmp_path):
    """A table for the tokenizer of the ideal model."""
    codec = Ideal().open_codec()
    path = tmp_path / "fitting.json"
    path.write_text(count_tokens([" ".join(WORDS), "Rome"], codec).to_json())
    return str(path)


def test_a_run_writes_what_the_table_ranks_and_records_which_it_was(fitting):
    evaluation = evaluate(
        tasks="choices/city", decoders=f"pc_sampler:table={fitting}", model="ideal", samples=2
    )
    for record in evaluation.records:
        assert record.status == "ok"
        assert record.decoder.fields["digest"] == read_table(fitting).digest[:16]


def test_a_run_does_not_go_on_with_another_table(fitting, tmp_path):
    text = f"pc_sampler:table={fitting}"
    run(asked(text, samples=1), tmp_path / "run")
    counts = read_table(fitting).counts
    tokenizer = read_table(fitting).tokenizer
    table_of(tmp_path, {**counts, 3: 7}, tokenizer, name="fitting.json")
    with pytest.raises(RunFileError, match=r"decoders .*digest="):
        run(asked(text, samples=1), tmp_path / "run")


@pytest.mark.parametrize("other", [True, False])
def test_without_a_table_of_its_tokenizer_no_model_is_served(other, table, tmp_path):
    text = f"pc_sampler:table={table}" if other else "pc_sampler"
    sentence = (
        "was made with another tokenizer .* decoder-table FILE"
        if other
        else "pc_sampler needs a table of token counts: write one with"
    )
    table_of(tmp_path, SEEN, tokenizer="0" * 64)
    with pytest.raises(RequestError, match=sentence):
        run(asked(text), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_choice_without_a_table_is_the_fault_of_who_skipped_the_check():
    outcome, _ = played(PCSampler(), [[(A, 0.5)]])
    assert outcome.status == "error"
    assert outcome.error.startswith("DecoderError: pc_sampler chooses without a table")


# The verb


@pytest.fixture
def count(capsys, tmp_path):
    """Count the tokens of texts; return exit status, output, errors and where the table is."""

    def called(*texts, model="mini", more=()):
        files = []
        for number, text in enumerate(texts):
            files.append(tmp_path / f"{number}.txt")
            files[-1].write_bytes(text if isinstance(text, bytes) else text.encode())
        out = tmp_path / "counted.json"
        words = ["decoder-table", *files, "--model", model, "--out", out, *more]
        status = main([str(word) for word in words])
        captured = capsys.readouterr()
        return status, captured.out, captured.err, out

    return called


@pytest.mark.parametrize("model", ["ideal", "mini"])
def test_a_table_of_spelled_words_is_told_to_say_little(count, model):
    *_, errors, _ = count("Zebras play the xylophone quietly.", model=model)
    assert f"of the tokens are single letters: the tokenizer of {model} has tokens for" in errors
    *_, errors, _ = count("the list of the line", model="mini")
    assert errors == ""


def test_the_verb_counts_every_token_of_every_file(count):
    status, told, _, out = count("the the\nlist\n", "the")
    assert status == 0
    codec = Mini().open_codec()
    [[the], [listed], [end]] = codec.encode(["the", "list", "\n"])
    table = read_table(str(out))
    assert table.counts == {the: 3, listed: 1, end: 2}
    assert table.tokenizer == codec.tokenizer_digest
    assert told == f"{out}: 6 tokens of 3 kinds; use it as pc_sampler:table={out}\n"


def test_what_the_verb_says_as_json_holds_the_digest(count):
    _, told, _, out = count("the", more=["--json"])
    content = json.loads(told)
    assert content == {
        "out": str(out),
        "tokens": 1,
        "kinds": 1,
        "digest": read_table(str(out)).digest,
    }


@pytest.mark.parametrize(
    ("text", "model", "sentence"),
    [
        ("", "mini", "no token was counted: .*0.txt hold no text"),
        (b"\xff\xfe\x00", "mini", "0.txt cannot be read as UTF-8 text: "),
        ("red", "mini:cache=none|dual", "--model must name one model, got .*, which is 2"),
        ("red", "api:http://127.0.0.1:1/v1:model=x", "a server exposes no tokenizer; name the"),
        ("red", "hf:/nowhere/at/all", "is neither a folder nor a hub id"),
    ],
)
def test_the_verb_refuses_what_it_cannot_count(count, text, model, sentence):
    status, told, refusal, out = count(text, model=model)
    assert (status, told) == (2, "")
    assert re.search(sentence, refusal)
    assert len(refusal.splitlines()) == 1
    assert not out.exists()


def test_a_table_that_cannot_be_written_is_said_so(count, tmp_path):
    status, _, refusal, _ = count("red", more=["--out", str(tmp_path / "none" / "t.json")])
    assert status == 2
    assert "the table cannot be written to" in refusal


@pytest.mark.parametrize("family", ["llada", "sdar"])
def test_a_tokenizer_alone_is_that_of_the_whole_checkpoint(family, tmp_path):
    checkpoints.write_checkpoint(family, tmp_path)
    source = HuggingFace(path=str(tmp_path), device="cpu")
    whole = source.open().codec
    for file in tmp_path.glob("*.safetensors"):
        file.unlink()
    assert source.open_codec().digest == whole.digest
