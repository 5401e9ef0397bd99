"""Causal language models against transformers' own generation and the golden forward."""

import json
from dataclasses import replace

import pytest
import torch
import transformers

from parallelbench.checks import doctor
from parallelbench.decode.lanes import Job
from parallelbench.decode.loop import decode
from parallelbench.decoder import DECODERS
from parallelbench.errors import CheckpointError
from parallelbench.model import Row
from parallelbench.models.autoregressive import AutoregressiveModel
from parallelbench.models.hf import HuggingFace
from parallelbench.models.keyvalue import KVStore
from parallelbench.models.network import NetworkModel
from parallelbench.setting import build, parse_settings, split_settings
from support import checkpoints, golden
from support.toys import prompts

TOLERANCE = 1e-5
FAMILIES = ("llama", "qwen3")
CANVAS = 24
PROMPTS = (5, 11, 2, 17)
DECODERS_TRIED = "one_by_one,confidence:k=8,random:k=4,entropy_bound,confidence:k=4,block_length=3"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("autoregressive")
    return {family: checkpoints.write_checkpoint(family, root / family) for family in FAMILIES}


@pytest.fixture(params=FAMILIES)
def folder(request, folders):
    return folders[request.param]


def opened(folder, **fields):
    return HuggingFace(path=str(folder), **fields).open()


def tokens(count, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(checkpoints.WORDS, (count,), generator=generator)


def prompt_of(codec, length, canvas=CANVAS, seed=0):
    (plain,) = prompts(codec, 1, canvas_length=canvas)
    return replace(plain, ids=tokens(length, seed + length))


def decoded(model, decoders=DECODERS_TRIED, batch_size=64, seeds=(0,)):
    settings = [s for text in split_settings(decoders) for s in parse_settings(text, DECODERS)]
    kinds = [build(setting, DECODERS) for setting in settings]
    jobs = [
        Job(prompt_of(model.codec, length, seed=seed), kind, key=f"{seed}/{length}/{place}")
        for seed in seeds
        for length in PROMPTS
        for place, kind in enumerate(kinds)
    ]
    done = decode(jobs, model, batch_size=batch_size)
    return {outcome.job.key: outcome for outcome in done}


def told(outcome):
    return outcome.output_ids, outcome.status, outcome.error, outcome.trace, outcome.counts


def gap(first, second):
    return float((first - second).abs().max())


def generated(network, prompt, ends):
    """Return the output of transformers itself, up to the first end of text."""
    out = network.generate(
        prompt.ids[None],
        attention_mask=torch.ones_like(prompt.ids[None]),
        do_sample=False,
        max_new_tokens=len(prompt.canvas),
        eos_token_id=sorted(ends),
        pad_token_id=min(ends),
        # Ids that stand for no token are never written by us.
        suppress_tokens=list(range(prompt.codec.size, network.config.vocab_size)),
    )
    return out[0, len(prompt.ids) :].tolist()


def test_every_decoder_writes_what_transformers_generates(folder):
    model = opened(folder)
    # So many ends that some replies stop early.
    model.codec = replace(model.codec, stop_ids=frozenset(range(12)))
    done = decoded(model, seeds=range(2))
    stopped, replies = 0, {}
    for key, outcome in done.items():
        prompt = outcome.job.prompt
        text = tuple(prompt.ids.tolist())
        if text not in replies:
            replies[text] = generated(model.network, prompt, prompt.codec.ends)
        expected = replies[text]
        stopped += len(expected) < CANVAS
        filled = [prompt.codec.end_id] * (CANVAS - len(expected))
        assert outcome.output_ids == expected + filled, key
        assert outcome.status == "ok"
        assert outcome.counts.tokens_per_step == 1
        assert outcome.counts.nfe == outcome.counts.canvas_tokens == len(expected)
        assert outcome.trace.stopped == (len(expected) < CANVAS)
        steps = outcome.trace.positions[: len(expected)]
        assert steps == [[place] for place in range(len(expected))]
        assert outcome.counts.token_positions == len(prompt.ids) + len(expected) - 1
        assert outcome.counts.auxiliary_calls == 0
    assert 0 < stopped < len(done)


def causal(length):
    return torch.ones(length, length, dtype=torch.bool).tril()


@torch.inference_mode()
def test_predictions_are_golden_kept_or_not(folder):
    model = opened(folder)
    rows, expected = [], []
    for length, written in ((5, 0), (11, 7), (2, 1), (17, 20)):
        prompt = prompt_of(model.codec, length)
        canvas = prompt.canvas.clone()
        canvas[:written] = tokens(written, seed=9)
        wanted = torch.zeros(CANVAS, dtype=torch.bool)
        wanted[written] = True
        rows.append(Row(prompt, canvas, wanted))
        ids = torch.cat([prompt.ids, canvas[:written]])
        expected.append(golden.logits(folder, ids, causal(len(ids)), torch.arange(len(ids)))[-1])
    expected = torch.stack(expected)
    assert gap(model.predict(rows).logits, expected) <= TOLERANCE
    # The next token of each, from what was kept for the one before.
    nexts, again = [], []
    for number, row in enumerate(rows):
        place = int(row.wanted.nonzero())
        canvas = row.canvas.clone()
        canvas[place] = 7 + number
        wanted = row.wanted.roll(1)
        nexts.append(Row(row.prompt, canvas, wanted))
        ids = torch.cat([row.prompt.ids, canvas[: place + 1]])
        again.append(golden.logits(folder, ids, causal(len(ids)), torch.arange(len(ids)))[-1])
    passed = []
    model.network.model.register_forward_pre_hook(
        lambda _, __, kwargs: passed.append(kwargs["input_ids"].shape), with_kwargs=True
    )
    assert gap(model.predict(nexts).logits, torch.stack(again)) <= TOLERANCE
    assert passed == [(4, 1)]
    assert [model.compute_cost(row).tokens for row in nexts] == [1, 1, 1, 1]
    model._store = KVStore(1)
    assert gap(model.predict(nexts).logits, torch.stack(again)) <= TOLERANCE
    assert passed[1][1] > 1


def test_a_decode_is_the_same_in_any_batch_and_when_all_is_forgotten(folder):
    decoders = "confidence:k=8,random:k=4,temperature=0.9"
    batched = decoded(opened(folder), decoders)
    forgetful = opened(folder)
    forgetful._store = KVStore(1)
    alone = decoded(forgetful, decoders, batch_size=1)
    for key, outcome in batched.items():
        assert told(alone[key]) == told(outcome)


def test_pre_filled_tokens_are_read_and_counted_and_never_written(folder):
    model = opened(folder)
    prompt = prompt_of(model.codec, 7, canvas=9)
    prompt.canvas[[0, 3, 4, 8]] = torch.tensor([11, 12, 13, 14])
    prompt = replace(prompt)
    (decoder,) = [build(s, DECODERS) for s in parse_settings("confidence:k=8", DECODERS)]
    passed = []
    model.network.model.register_forward_pre_hook(
        lambda _, __, kwargs: passed.append(kwargs["input_ids"].shape[1]), with_kwargs=True
    )
    (outcome,) = decode([Job(prompt, decoder, "0")], model)
    assert outcome.trace.positions == [[1], [2], [5], [6], [7]]
    # Prompt and first filling; one token; then the pair behind it too; one; one.
    assert passed == outcome.trace.row_tokens == [8, 1, 3, 1, 1]
    canvas = outcome.job.prompt.canvas.clone()
    for place in (1, 2, 5, 6, 7):
        ids = torch.cat([prompt.ids, canvas[:place]])
        line = golden.logits(folder, ids, causal(len(ids)), torch.arange(len(ids)))[-1]
        line[model.codec.size :] = -torch.inf
        canvas[place] = line.argmax()
    assert outcome.output_ids == canvas.tolist()


def test_rows_that_ask_for_nothing_are_told_nothing(folder):
    model = opened(folder)
    prompt = prompt_of(model.codec, 5)
    row = Row(prompt, prompt.canvas, torch.zeros(CANVAS, dtype=torch.bool))
    assert model.predict([row, row]).logits.shape == (0, checkpoints.ROWS)
    assert model.compute_cost(row).tokens == 0


def written_from(config, folder, tokenizer):
    """A checkpoint of another class of transformers, with a tokenizer that it may borrow."""
    torch.manual_seed(0)
    network = transformers.AutoModelForCausalLM.from_config(config)
    network.save_pretrained(folder, save_original_format=False)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (folder / file).write_bytes((tokenizer / file).read_bytes())
    return folder


SIZE = {
    "vocab_size": checkpoints.ROWS,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.3,
    "bos_token_id": 320,
    "eos_token_id": 324,
    "pad_token_id": 321,
}
OTHERS = {
    "every layer slides": lambda: transformers.MistralConfig(**SIZE, sliding_window=4),
    "some layers slide": lambda: transformers.Gemma3TextConfig(
        **SIZE, head_dim=16, sliding_window=4
    ),
    "some layers convolve": lambda: transformers.Lfm2Config(**SIZE, full_attn_idxs=[1, 3]),
}


@pytest.mark.parametrize("what", OTHERS)
def test_where_a_layer_forgets_every_token_is_read_anew(what, folders, tmp_path):
    model = opened(written_from(OTHERS[what](), tmp_path, folders["llama"]))
    done = decoded(model, "confidence:k=8")
    for outcome in done.values():
        prompt = outcome.job.prompt
        expected = generated(model.network, prompt, prompt.codec.ends)
        assert outcome.output_ids[: len(expected)] == expected
        # Nothing is kept: each step reads all that stands before.
        lengths = range(len(prompt.ids), len(prompt.ids) + len(expected))
        assert outcome.trace.row_tokens[: len(expected)] == list(lengths)


@pytest.mark.parametrize("family", [None, "autoregressive"])
@pytest.mark.parametrize("named", [["BertModel"], ["T5ForConditionalGeneration"], None])
def test_what_is_no_causal_language_model_is_refused(named, family, folders, tmp_path):
    for file in folders["llama"].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "architectures": named}))
    with pytest.raises(CheckpointError, match=r"causal language model.*") as told:
        opened(tmp_path, family=family)
    assert str(named or []) in str(told.value)


def test_a_kernel_that_a_class_lacks_is_told_with_the_way_out(folders, tmp_path):
    config = transformers.Gemma2Config(**SIZE, head_dim=16, sliding_window=4)
    folder = written_from(config, tmp_path, folders["llama"])
    with pytest.raises(CheckpointError, match=r"; say attention=eager$"):
        opened(folder)
    assert decoded(opened(folder, attention="eager"), "confidence:k=8", batch_size=4)


# Classes that do not obey the mask of padding.


SMALL = {"vocab_size": checkpoints.ROWS, "pad_token_id": 321, "eos_token_id": 324}
SHORT = {"max_position_embeddings": 256, "is_decoder": True}
BART = {
    **SMALL,
    **SHORT,
    "d_model": 64,
    "decoder_layers": 2,
    "decoder_attention_heads": 4,
    "decoder_ffn_dim": 96,
    "encoder_layers": 2,
    "is_encoder_decoder": False,
}
ROFORMER = {
    **SMALL,
    **SHORT,
    "hidden_size": 64,
    "intermediate_size": 96,
    "initializer_range": 0.3,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
DEPENDENT = {
    # Counts positions by itself, from the first column of the batch.
    "float32": lambda: transformers.BartConfig(**BART),
    # Its table of rotations is no rotation any more once it is rounded.
    "bfloat16": lambda: transformers.RoFormerConfig(**ROFORMER),
}


@pytest.mark.parametrize("dtype", DEPENDENT)
def test_a_class_whose_answers_depend_on_the_batch_is_refused(dtype, folders, tmp_path):
    folder = written_from(DEPENDENT[dtype](), tmp_path, folders["llama"])
    with pytest.raises(CheckpointError) as told:
        opened(folder, attention="eager", dtype=dtype)
    assert "ForCausalLM of transformers depends on the batch" in str(told.value)
    assert "\n" not in str(told.value)


def test_a_class_that_is_taken_answers_alike_in_every_batch(folders, tmp_path):
    folder = written_from(DEPENDENT["bfloat16"](), tmp_path, folders["llama"])
    many = decoded(opened(folder, attention="eager", dtype="float32"), "confidence:k=8")
    alone = decoded(opened(folder, attention="eager"), "confidence:k=8", batch_size=1)
    for key, outcome in many.items():
        assert told(alone[key]) == told(outcome)


def test_a_class_that_takes_no_cache_is_refused_in_a_sentence(folders, tmp_path):
    config = transformers.OpenAIGPTConfig(**SMALL, n_embd=64, n_layer=2, n_head=4)
    folder = written_from(config, tmp_path, folders["llama"])
    with pytest.raises(
        CheckpointError, match="does not store keys and values in the cache"
    ) as told:
        opened(folder, attention="eager")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_classes_that_obey_the_mask_are_taken_in_every_precision(dtype, folder):
    model = opened(folder, dtype=dtype)
    assert model.network.dtype == getattr(torch, dtype)
    # Nothing of the check is kept.
    assert not model._store._entries


def test_half_precision_of_a_large_network_is_measured_by_the_median(folder, monkeypatch):
    monkeypatch.setattr("parallelbench.models.autoregressive._SMALL", 0)
    model = opened(folder, dtype="bfloat16")
    flipped = torch.tensor([0.01, 0.02, 0.0, 0.08])
    monkeypatch.setattr(model, "_padding_gaps", lambda: flipped)
    model.check_padding()
    monkeypatch.setattr(model, "_padding_gaps", lambda: flipped + 0.06)
    with pytest.raises(CheckpointError, match=r"changes its logits by 0\.07 "):
        model.check_padding()


def test_doctor_pads_prompts_of_very_different_length(folders, monkeypatch):
    lengths = []

    def padded(self, sequences):
        lengths.append(sorted(map(len, sequences)))
        return NetworkModel.padded(self, sequences)

    monkeypatch.setattr(AutoregressiveModel, "padded", padded)
    report = doctor.examine(f"hf:{folders['llama']}")
    assert report["healthy"], report
    assert report["trial_decodes"] == 3 * (4 + 4)
    assert any(len(each) == 8 and 2 * each[0] < each[-1] for each in lengths)
