"""DiffusionGemma: the network through its class, the adapter, and decodes with it."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from parallelbench import evaluate
from parallelbench.decode.lanes import Job
from parallelbench.decode.loop import decode
from parallelbench.decoder import DECODERS
from parallelbench.errors import CheckpointError
from parallelbench.model import Row
from parallelbench.models.checkpoint import CheckpointRequest, load_checkpoint
from parallelbench.models.uniform import UniformModel, noise_tokens
from parallelbench.setting import build, parse_settings
from support import checkpoints, diffusion_gemma
from support.diffusion_gemma import CANVAS, WINDOW, golden_logits
from support.toys import Revising, Surest, Wavering, prompts

TOLERANCE = 1e-5
VOCABULARY = diffusion_gemma.TEXT["vocab_size"]
KNOWN = len(diffusion_gemma.SPECIAL) + checkpoints.WORDS  # to its tokenizer
LENGTHS = (3, WINDOW - 1, WINDOW, 3 * WINDOW + 5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return diffusion_gemma.write_checkpoint(tmp_path_factory.mktemp("gemma"))


def load(folder, **fields):
    wanted = CheckpointRequest(path=str(folder), dtype="float32", device="cpu", **fields)
    return load_checkpoint(wanted)


@pytest.fixture(scope="module")
def checkpoint(folder):
    return load(folder)


@pytest.fixture
def model(checkpoint):
    """A model that has encoded nothing yet."""
    return UniformModel(checkpoint)


def ids(count, seed):
    return torch.randint(KNOWN, (count,), generator=torch.Generator().manual_seed(seed))


def prompt_of(model, length, *, seed=0, index=0):
    """Return a prompt of so many random tokens."""
    prompt = prompts(model.codec, index + 1, canvas_length=CANVAS)[index]
    return replace(prompt, ids=ids(length, 100 + seed))


def canvas_of(model, *, open_places, length=CANVAS, seed=0):
    canvas = ids(length, 200 + seed)
    canvas[list(open_places)] = model.codec.mask_id
    return canvas


def row_of(model, prompt, canvas, wanted=None):
    return Row(prompt, canvas, canvas == model.codec.mask_id if wanted is None else wanted)


def ragged(model):
    """Four rows whose prompts end before, at and behind the window's reach."""
    return [
        row_of(
            model,
            prompt_of(model, length, seed=seed, index=seed),
            canvas_of(model, open_places=range(seed, CANVAS, seed + 1), seed=seed),
        )
        for seed, length in enumerate(LENGTHS)
    ]


def shown(model, row):
    """Return the canvas as the network is meant to see it."""
    noise = noise_tokens(row.prompt.sample.id, row.canvas, VOCABULARY)
    return torch.where(row.canvas == model.codec.mask_id, noise, row.canvas)


def golden(folder, model, row):
    return golden_logits(folder, row.prompt.ids, shown(model, row))[row.wanted]


def gap(first, second):
    assert first.shape == second.shape
    return float((first - second).abs().max())


def split(prediction, rows):
    return prediction.logits.split([int(row.wanted.sum()) for row in rows])


@pytest.fixture
def fed(model):
    """Every id that the encoder's and the decoder's embedding was given, call by call."""
    seen = {"encoder": [], "decoder": []}
    parts = {
        "encoder": model.network.model.encoder.language_model.embed_tokens,
        "decoder": model.network.model.decoder.embed_tokens,
    }
    hooks = [
        part.register_forward_pre_hook(lambda _, given, name=name: seen[name].append(given[0]))
        for name, part in parts.items()
    ]
    yield seen
    for hook in hooks:
        hook.remove()


# The network


@pytest.mark.parametrize("length", [1, *LENGTHS])
def test_golden_logits_are_those_of_the_class_in_transformers(length, folder, checkpoint):
    prompt, canvas = ids(length, 1), ids(CANVAS, 2)
    native = checkpoint.network(input_ids=prompt[None], decoder_input_ids=canvas[None]).logits[0]
    assert gap(native, golden_logits(folder, prompt, canvas)) <= TOLERANCE


def test_one_seed_writes_one_checkpoint_in_two_shards(folder, tmp_path):
    again = diffusion_gemma.write_checkpoint(tmp_path)
    files = sorted(path.name for path in folder.iterdir())
    assert files == sorted(path.name for path in again.iterdir())
    assert len([name for name in files if name.endswith(".safetensors")]) == 2
    assert all((folder / file).read_bytes() == (again / file).read_bytes() for file in files)
    assert sum(path.stat().st_size for path in folder.iterdir()) < 3_000_000


def say(**fields):
    """Write other values into the config of the text part."""

    def alter(config, weights):
        text = config["text_config"]
        assert all(text[name] != value for name, value in fields.items())
        text.update(fields)

    return alter


def say_of_positions(kind, **fields):
    def alter(config, weights):
        parameters = config["text_config"]["rope_parameters"][kind]
        assert all(parameters[name] != value for name, value in fields.items())
        parameters.update(fields)

    return alter


def blank(ending):
    """Set every tensor whose name ends so to zero."""

    def alter(config, weights):
        names = [name for name in weights if name.endswith(ending)]
        assert names
        for name in names:
            weights[name] = torch.zeros_like(weights[name])

    return alter


def even(*parts):
    """Set every tensor that has these parts in its name to one."""

    def alter(config, weights):
        names = [name for name in weights if all(part in name for part in parts)]
        assert names
        for name in names:
            weights[name] = torch.ones_like(weights[name])

    return alter


FAULTS = {
    "window one longer": say(sliding_window=WINDOW + 1),
    "one expert more": say(top_k_experts=3),
    "other cap": say(final_logit_softcapping=30.0),
    "other rotary base in sliding layers": say_of_positions("sliding_attention", rope_theta=100.0),
    "other rotary base in full layers": say_of_positions("full_attention", rope_theta=100.0),
    "whole heads turned in full layers": say_of_positions(
        "full_attention", partial_rotary_factor=1.0
    ),
    "encoder without its scalars": even("encoder", "layer_scalar"),
    "decoder without its scalars": even("decoder", "layer_scalar"),
    "router without scale": even("router.scale"),
    "experts without scale": even("router.per_expert_scale"),
    "no experts": blank("experts.down_proj"),
    "no dense part": blank("mlp.down_proj.weight"),
    "queries without scale": even("q_norm"),
    "keys without scale": even("k_norm"),
    "no norm before attention": even("input_layernorm"),
    "no norm behind attention": even("post_attention_layernorm"),
    "no norm before the dense part": even("pre_feedforward_layernorm.weight"),
    "no norm before the experts": even("pre_feedforward_layernorm_2"),
    "no norm behind both parts": even("post_feedforward_layernorm.weight"),
    "no norm behind the dense part": even("post_feedforward_layernorm_1"),
    "no norm behind the experts": even("post_feedforward_layernorm_2"),
    "no last norm": even("decoder.norm"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_is_left_out_shows_in_the_golden_logits(fault, folder, tmp_path):
    config = json.loads((folder / "config.json").read_text())
    weights = {}
    for file in folder.glob("*.safetensors"):
        weights |= load_file(file)
    FAULTS[fault](config, weights)
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file(weights, tmp_path / "model.safetensors")
    prompt, canvas = ids(3 * WINDOW, 1), ids(CANVAS, 2)
    sound = golden_logits(folder, prompt, canvas)
    assert gap(golden_logits(tmp_path, prompt, canvas), sound) > 1e-2


# What the adapter predicts


def test_a_chat_is_read_and_ended_as_the_checkpoint_says(model):
    special, codec = diffusion_gemma.SPECIAL, model.codec
    assert codec.mask_id == VOCABULARY > codec.size == KNOWN
    assert codec.ends == {special["<eos>"], special["<turn|>"]}
    (prompt,) = prompts(codec, canvas_length=CANVAS)
    names = {"user": "user", "assistant": "model"}
    turns = [
        f"<|turn>{names[message.role]}\n{message.content}<turn|>\n"
        for message in prompt.sample.messages
    ]
    assert prompt.text == "".join(["<bos>", *turns, "<|turn>model\n"])
    assert prompt.ids[:2].tolist() == [special["<bos>"], special["<|turn>"]]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_every_row_of_a_ragged_batch_has_the_golden_logits(attention, folder):
    model = UniformModel(load(folder, attention=attention))
    rows = ragged(model)
    for row, logits in zip(rows, split(model.predict(rows), rows), strict=True):
        assert gap(logits, golden(folder, model, row)) <= TOLERANCE


def test_canvases_of_different_lengths_share_a_call(folder, model, fed):
    rows = [
        row_of(
            model,
            prompt_of(model, 5 * length, seed=length),
            canvas_of(model, open_places=range(0, length, 2), length=length),
        )
        for length in (CANVAS, 3, CANVAS - 1, 8)
    ]
    for row, logits in zip(rows, split(model.predict(rows), rows), strict=True):
        assert gap(logits, golden(folder, model, row)) <= TOLERANCE
    assert len(fed["decoder"]) == 1


def test_logits_at_wanted_positions_are_those_of_the_class_itself(model):
    for row in ragged(model):
        native = model.network(
            input_ids=row.prompt.ids[None], decoder_input_ids=shown(model, row)[None]
        )
        prediction = model.predict([row])
        assert prediction.token_ids is None
        assert gap(prediction.logits, native.logits[0, row.wanted]) <= TOLERANCE


def test_any_position_can_be_wanted(folder, model):
    row = ragged(model)[1]
    whole = replace(row, wanted=torch.ones_like(row.wanted))
    (logits,) = split(model.predict([whole]), [whole])
    assert gap(logits, golden(folder, model, whole)) <= TOLERANCE
    assert gap(logits[row.wanted], model.predict([row]).logits) <= TOLERANCE


def test_a_row_without_wanted_positions_contributes_no_line(folder, model):
    rows = ragged(model)
    rows[1] = replace(rows[1], wanted=torch.zeros_like(rows[1].wanted))
    parts = split(model.predict(rows), rows)
    assert [len(part) for part in parts] == [int(row.wanted.sum()) for row in rows]
    assert gap(parts[2], golden(folder, model, rows[2])) <= TOLERANCE
    assert model.predict([rows[1]]).logits.shape == (0, VOCABULARY)


def test_a_row_alone_is_predicted_as_in_a_batch(checkpoint):
    rows = [*ragged(UniformModel(checkpoint)), *reversed(ragged(UniformModel(checkpoint)))]
    together = split(UniformModel(checkpoint).predict(rows), rows)
    alone = UniformModel(checkpoint)
    for row, logits in zip(rows, together, strict=True):
        by_itself = alone.predict([row]).logits
        assert gap(logits, by_itself) <= TOLERANCE
        assert torch.equal(logits.argmax(dim=1), by_itself.argmax(dim=1))


def test_what_was_asked_before_changes_nothing(model):
    first, second = ragged(model)[2:]
    before = model.predict([first]).logits.clone()
    model.predict([second, first])
    assert torch.equal(model.predict([first]).logits, before)


# Noise


def test_the_network_never_sees_a_mask(model, fed):
    assert model.codec.mask_id == VOCABULARY
    model.predict(ragged(model))
    assert fed["encoder"]
    assert max(int(given.max()) for given in (*fed["encoder"], *fed["decoder"])) < VOCABULARY


def test_what_is_written_is_shown_as_it_is(model, fed):
    row = ragged(model)[3]
    model.predict([row])
    (given,) = fed["decoder"]
    written = row.canvas != model.codec.mask_id
    assert torch.equal(given[0, written], row.canvas[written])


def test_noise_is_a_matter_of_sample_and_canvas_alone():
    canvas, other = torch.full((8,), VOCABULARY), torch.full((8,), VOCABULARY)
    other[3] = 5
    first = noise_tokens("a", canvas, VOCABULARY).tolist()
    assert first == noise_tokens("a", canvas.clone(), VOCABULARY).tolist()
    assert first != noise_tokens("b", canvas, VOCABULARY).tolist()
    # A change anywhere is new noise everywhere.
    moved = zip(first, noise_tokens("a", other, VOCABULARY).tolist(), strict=True)
    assert sum(before == now for before, now in moved) <= 1


def test_noise_is_the_same_in_every_release():
    canvas = torch.tensor([VOCABULARY, 1, 2, VOCABULARY])
    assert noise_tokens("waiting_line/copy-0000", canvas, 448).tolist() == [296, 173, 307, 12]


def test_noise_is_uniform_over_the_vocabulary():
    canvas = torch.zeros(256, dtype=torch.long)
    rows = [noise_tokens(str(number), canvas, 16) for number in range(64)]
    counts = torch.cat(rows).bincount(minlength=16)
    assert len(counts) == 16
    # Each count has mean 1024 and standard deviation 31.
    assert int((counts - 1024).abs().max()) < 5 * 31


def test_what_a_decoder_opens_again_is_noise_again(model, fed):
    prompt = prompt_of(model, 9)
    row = row_of(model, prompt, canvas_of(model, open_places=[2, 3]))
    opened = row_of(model, prompt, canvas_of(model, open_places=[2, 3, 7]))
    model.predict([row])
    model.predict([opened])
    before, after = (given[0] for given in fed["decoder"])
    assert before[7] == row.canvas[7] != after[7]
    assert after[7] == shown(model, opened)[7]
    assert before[2] != after[2]


def test_written_tokens_condition_the_prediction(folder, model):
    row = ragged(model)[1]
    position = int((row.canvas != model.codec.mask_id).nonzero()[0])
    canvas = row.canvas.clone()
    canvas[position] += 1
    changed = replace(row, canvas=canvas)
    # Under one noise, so that only the written token differs.
    noise = shown(model, row)
    kept = torch.where(torch.arange(CANVAS) == position, canvas, noise)
    alone = golden_logits(folder, row.prompt.ids, kept)[row.wanted]
    assert gap(golden(folder, model, row), alone) > 0.05
    assert gap(model.predict([changed]).logits, golden(folder, model, changed)) <= TOLERANCE


# What is encoded


def test_a_prompt_is_encoded_once(model, fed):
    first, second, *_ = ragged(model)
    model.predict([first, second, first])
    model.predict([second, replace(first, canvas=ids(CANVAS, 9))])
    assert sum(len(given) for given in fed["encoder"]) == 2


def test_a_prompt_that_had_to_make_room_is_encoded_again(folder, checkpoint, fed):
    model = UniformModel(checkpoint)
    model._store._room = 0
    rows = ragged(model)
    for _ in range(2):
        for row, logits in zip(rows, split(model.predict(rows), rows), strict=True):
            assert gap(logits, golden(folder, model, row)) <= TOLERANCE
    assert sum(len(given) for given in fed["encoder"]) > len(rows)


def test_prompts_are_encoded_in_batches_that_fit(folder, model, fed):
    model._bytes = 1
    rows = ragged(model)
    for row, logits in zip(rows, split(model.predict(rows), rows), strict=True):
        assert gap(logits, golden(folder, model, row)) <= TOLERANCE
    assert [len(given) for given in fed["encoder"]] == [1] * len(rows)


def test_a_sliding_layer_keeps_no_more_than_it_reaches(model):
    row = ragged(model)[3]
    model.predict([row])
    kept = model._store[tuple(row.prompt.ids.tolist())]
    lengths = {kind: keys.shape[1] for kind, keys in zip(model._kinds, kept.keys, strict=True)}
    assert lengths == {"sliding_attention": WINDOW - 1, "full_attention": LENGTHS[3]}


def test_an_encoder_that_sees_ahead_is_refused(tmp_path):
    folder = diffusion_gemma.write_checkpoint(tmp_path, use_bidirectional_attention="all")
    with pytest.raises(CheckpointError, match="covered: None, 'vision'"):
        UniformModel(load(folder))


# A canvas longer than the network's own


def long_row(model, *, finished, wanted=None):
    """A canvas of two and a half blocks, of which the first ones are finished."""
    length = 2 * CANVAS + CANVAS // 2
    canvas = canvas_of(model, open_places=range(finished * CANVAS, length, 3), length=length)
    return row_of(model, prompt_of(model, 7), canvas, wanted)


def golden_block(folder, model, row, start, end):
    before = torch.cat([row.prompt.ids, row.canvas[:start]])
    return golden_logits(folder, before, shown(model, row)[start:end])[row.wanted[start:end]]


@pytest.mark.parametrize("finished", [0, 1, 2])
def test_finished_blocks_are_encoded_and_later_ones_are_not_seen(finished, folder, model):
    row = long_row(model, finished=finished)
    start, end = finished * CANVAS, min((finished + 1) * CANVAS, len(row.canvas))
    row.wanted[end:] = False
    expected = golden_block(folder, model, row, start, end)
    assert gap(model.predict([row]).logits, expected) <= TOLERANCE
    assert model.compute_cost(row) == (end - start, 7 + start)


def test_a_block_is_predicted_alike_from_what_is_kept_and_from_nothing(checkpoint, fed):
    stepwise = UniformModel(checkpoint)
    rows = [long_row(stepwise, finished=finished) for finished in (0, 1, 2)]
    for row in rows:
        row.wanted[(row.wanted.nonzero()[0] // CANVAS + 1) * CANVAS :] = False
        told = stepwise.predict([row]).logits
        assert gap(told, UniformModel(checkpoint).predict([row]).logits) <= TOLERANCE
    # Step by step, the encoder reads each token once; from nothing, all of them again.  Each model
    # is tried with two tokens when it is made.
    lengths = [given.shape[1] for given in fed["encoder"]]
    assert [length for length in lengths if length != 2] == [7, 7, 16, 23, 16, 39]


def test_what_is_wanted_reaches_over_several_blocks(folder, model):
    row = long_row(model, finished=1)
    expected = golden_block(folder, model, row, CANVAS, len(row.canvas))
    assert gap(model.predict([row]).logits, expected) <= TOLERANCE
    ahead = row.wanted.clone()
    ahead[: 2 * CANVAS] = False
    # An unfinished block is shown, not encoded, even where nothing in it is wanted.
    expected = golden_block(folder, model, replace(row, wanted=ahead), CANVAS, len(row.canvas))
    assert gap(model.predict([replace(row, wanted=ahead)]).logits, expected) <= TOLERANCE


def test_a_finished_block_that_is_wanted_is_shown(folder, model):
    row = long_row(model, finished=2)
    row.wanted[:] = False
    row.wanted[CANVAS + 3] = True
    expected = golden_block(folder, model, row, CANVAS, 2 * CANVAS)
    assert gap(model.predict([row]).logits, expected) <= TOLERANCE


def test_rows_in_different_blocks_share_a_call(folder, model, fed):
    rows = [long_row(model, finished=finished) for finished in (2, 0, 1)]
    for row in rows:
        row.wanted[(row.wanted.nonzero()[0] // CANVAS + 1) * CANVAS :] = False
    model.predict([rows[1]])  # so that the others have begun differently
    fed["decoder"].clear()
    logits = split(model.predict(rows), rows)
    for row, finished, part in zip(rows, (2, 0, 1), logits, strict=True):
        start, end = finished * CANVAS, min((finished + 1) * CANVAS, len(row.canvas))
        assert gap(part, golden_block(folder, model, row, start, end)) <= TOLERANCE
    assert len(fed["decoder"]) == 1


# Whole decodes


def decoded(model, decoders, *, count=3, length=CANVAS, batch_size=64):
    jobs = [
        Job(prompt=prompt, decoder=decoder, key=f"{number}/{place}", tag=f"{number}/{place}")
        for number, prompt in enumerate(prompts(model.codec, count, canvas_length=length))
        for place, decoder in enumerate(decoders)
    ]
    done = {outcome.job.tag: outcome for outcome in decode(jobs, model, batch_size=batch_size)}
    assert len(done) == len(jobs)
    return done


def shipped(text):
    (setting,) = parse_settings(text, DECODERS)
    return build(setting, DECODERS)


def test_decodes_replay_and_count_one_auxiliary_call(model, fed):
    done = decoded(model, [shipped("confidence:k=2"), shipped("random:k=3"), Revising()])
    for outcome in done.values():
        prompt, trace, counts = outcome.job.prompt, outcome.trace, outcome.counts
        assert outcome.status == "ok"
        assert trace.replay(prompt.canvas.tolist()) == outcome.output_ids
        assert max(outcome.output_ids) < model.codec.size
        assert trace.auxiliary_calls == [1] + [0] * (len(trace.rows) - 1)
        assert counts.auxiliary_calls == 1
        assert counts.token_positions == len(prompt.ids) + counts.nfe * CANVAS
    # Three samples: each prompt went through the encoder once, for three decoders.
    assert sum(len(given) for given in fed["encoder"]) == 3
    assert done["0/0"].counts.nfe == CANVAS // 2


def test_a_decode_is_the_same_alone_and_in_a_batch(checkpoint):
    decoders = [shipped("confidence:k=3"), Revising(rounds=4), Surest()]
    together = decoded(UniformModel(checkpoint), decoders)
    alone = decoded(UniformModel(checkpoint), decoders, batch_size=1)
    for tag, outcome in together.items():
        assert outcome.output_ids == alone[tag].output_ids
        assert outcome.trace == alone[tag].trace
        assert outcome.counts == alone[tag].counts


def test_a_token_that_was_opened_again_is_dated_by_its_last_change(model):
    changed = 0
    for outcome in decoded(model, [Wavering()]).values():
        trace, mask_id = outcome.trace, model.codec.mask_id
        assert outcome.status == "ok"
        assert trace.replay(outcome.job.prompt.canvas.tolist()) == outcome.output_ids
        assert outcome.counts.auxiliary_calls == 1
        assert outcome.counts.revisions == CANVAS // 2
        first = trace.first_commit(CANVAS, mask_id)
        last = trace.last_commit(CANVAS, mask_id)
        dates = list(zip(first, last, strict=True))
        assert sorted(dates) == [(0, 2)] * (CANVAS // 2) + [(1, 1)] * (CANVAS // 2)
        written = dict(zip(trace.positions[0], trace.ids[0], strict=True))
        changed += sum(outcome.output_ids[place] != token for place, token in written.items())
    assert changed > 0


def test_a_long_canvas_is_decoded_block_by_block(model, fed):
    length = 2 * CANVAS + 5
    for outcome in decoded(model, [shipped("confidence:k=4")], length=length).values():
        trace, prompt = outcome.trace, outcome.job.prompt
        assert outcome.status == "ok"
        blocks = [{position // CANVAS for position in step} for step in trace.positions]
        assert blocks == [{0}] * 4 + [{1}] * 4 + [{2}] * 2
        # The prompt, then each finished block before the next.
        assert trace.auxiliary_calls == [1, 0, 0, 0, 1, 0, 0, 0, 1, 0]
        passed = len(prompt.ids) + 2 * CANVAS + 8 * CANVAS + 2 * 5
        assert outcome.counts.token_positions == passed
    assert max(int(given.max()) for given in (*fed["encoder"], *fed["decoder"])) < VOCABULARY


def test_an_evaluation_runs_from_question_to_mark(folder):
    evaluation = evaluate(
        model=f"hf:{folder}:device=cpu",
        tasks="waiting_line/copy:canvas_length=64",
        decoders="confidence:k=2,one_by_one",
        samples=2,
    )
    assert len(evaluation.records) == 4
    for record in evaluation.records:
        assert record.status == "ok"
        assert record.marks.strict == 0
        assert record.decoding.trace.replay(record.decoding.canvas) == record.decoding.output_ids
        # The prompt, and each block of 16 tokens but the last.
        assert record.decoding.counts.auxiliary_calls == 4


def test_facts_name_what_differs_from_the_published_sampler(model):
    facts = model.provenance()
    assert facts["self_conditioning"] == "by decoders that bring it"
    assert facts["canvas_length"] == CANVAS
    assert facts["variant"] == f"canvas_length={CANVAS}"
    assert facts["kind"] == "uniform"
    assert model.capabilities == {"noise", "self_conditioning"}
    assert (model.stops, model.uses_window_snapshot) == (False, False)
