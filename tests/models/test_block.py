"""Block models against the golden forward under each family's own mask, kept or not."""

from dataclasses import replace

import pytest
import torch
import transformers
from transformers.conversion_mapping import get_checkpoint_conversion_mapping

from parallelbench.decode.lanes import Job
from parallelbench.decode.loop import decode
from parallelbench.decoder import DECODERS
from parallelbench.model import Row
from parallelbench.models.hf import HuggingFace
from parallelbench.models.keyvalue import KVStore
from parallelbench.setting import build, parse_settings, split_settings
from support import checkpoints, golden
from support.toys import Branching, Revising, Sliding, Steady, prompts

TOLERANCE = 1e-5
FAMILIES = ("sdar", "sdar-moe", "llada2", "fast-dllm-v2", "nemotron")
OWN_LENGTH = {"sdar": 4, "sdar-moe": 4, "llada2": 32, "fast-dllm-v2": 32, "nemotron": 32}
LENGTH = 8  # of every block, where a test does not say otherwise
CANVAS = 20
PROMPTS = (13, 8, 19, 3)  # tokens; one fills a block, one is shorter than a block


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("block")
    return {family: checkpoints.write_checkpoint(family, root / family) for family in FAMILIES}


@pytest.fixture
def opened(folders):
    def open_family(family, **fields):
        return HuggingFace(path=str(folders[family]), **{"block_length": LENGTH, **fields}).open()

    return open_family


def tokens(count, seed):
    """Ordinary tokens, neither special nor unused."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(6, checkpoints.WORDS, (count,), generator=generator)


def prompt_of(codec, length, canvas=CANVAS, seed=0):
    (plain,) = prompts(codec, 1, canvas_length=canvas)
    return replace(plain, ids=tokens(length, seed + length))


def canvas_of(prompt, written, seed=1):
    """A canvas with tokens at the written positions and masks at all others."""
    canvas = prompt.canvas.clone()
    places = torch.tensor(sorted(written), dtype=torch.long)
    canvas[places] = tokens(len(places), seed + len(places))
    return canvas


def at(places, length=CANVAS):
    wanted = torch.zeros(length, dtype=torch.bool)
    wanted[list(places)] = True
    return wanted


def masked(codec, canvas, first=0, end=CANVAS):
    places = torch.arange(len(canvas))
    return (canvas == codec.mask_id) & (places >= first) & (places < end)


def rows_at_different_progress(model):
    codec = model.codec
    long, even, longer, short = (prompt_of(codec, length) for length in PROMPTS)
    fresh = long.canvas
    middle = canvas_of(even, {*range(8), 9, 12, 17})
    late = canvas_of(longer, {*range(13), 14, 15})
    early = canvas_of(short, {1, 3, 4, 11})
    full = canvas_of(long, range(CANVAS))
    return [
        Row(long, fresh, masked(codec, fresh)),
        Row(even, middle, masked(codec, middle, 8, 16)),
        Row(longer, late, masked(codec, late, 13, 16)),
        Row(short, early, at([0, 5, 12, 19])),
        # What is written may be asked for again, in a block that looks finished.
        Row(long, full, at([9, 10, 18])),
        Row(even, middle, at([2, 13])),
    ]


def may_see(family, row, length, mask_id):
    """Return the attention mask by the definition of each family, one pair of tokens at a time."""
    first, total = len(row.prompt.ids), len(row.prompt.ids) + len(row.canvas)
    asked_or_open = (row.wanted | (row.canvas == mask_id)).nonzero().flatten().tolist()
    unfinished = first + asked_or_open[0] // length * length
    allowed = torch.zeros(total, total, dtype=torch.bool)
    for query in range(total):
        for key in range(total):
            if family != "nemotron":
                allowed[query, key] = key // length <= query // length
            elif query < unfinished:
                allowed[query, key] = key <= query
            else:
                same_block = (query - first) // length
                allowed[query, key] = key < first + (same_block + 1) * length
    return allowed


def expected_of(family, folder, row, length, mask_id):
    """The golden logits of the wanted positions of one row."""
    ids = torch.cat([row.prompt.ids, row.canvas])
    shift = 1 if family == "fast-dllm-v2" else 0
    logits = golden.logits(
        folder, ids, may_see(family, row, length, mask_id), torch.arange(len(ids))
    )
    return logits[len(row.prompt.ids) + row.wanted.nonzero().flatten() - shift]


def gap(first, second):
    return float((first - second).abs().max())


@torch.inference_mode()
def predicted(model, rows):
    return model.predict(rows).logits.split([int(row.wanted.sum()) for row in rows])


@pytest.mark.parametrize(
    ("cache", "attention"), [("block", "sdpa"), ("block", "eager"), ("none", "sdpa")]
)
@pytest.mark.parametrize("family", FAMILIES)
def test_predictions_are_golden_at_any_progress(family, cache, attention, folders, opened):
    model = opened(family, cache=cache, attention=attention)
    rows = rows_at_different_progress(model)
    for row, found in zip(rows, predicted(model, rows), strict=True):
        expected = expected_of(family, folders[family], row, LENGTH, model.codec.mask_id)
        assert gap(found, expected) <= TOLERANCE


@pytest.mark.parametrize("family", ["sdar", "nemotron"])
def test_not_even_padding_is_left_without_a_key(family, opened):
    # Some kernels answer an empty row of attention with no number, which then spreads.
    model, masks = opened(family), []
    model.network.model.register_forward_pre_hook(
        lambda _, __, kwargs: masks.append(kwargs["attention_mask"]), with_kwargs=True
    )
    predicted(model, rows_at_different_progress(model))
    assert len(masks) > 1
    assert all(mask.dtype == torch.bool and mask.any(dim=-1).all() for mask in masks)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_grid_is_the_one_of_the_checkpoint(family, folders, opened):
    length = OWN_LENGTH[family]
    model = opened(family, block_length=None)
    assert model.blocks == (length, family != "nemotron")
    prompt = prompt_of(model.codec, 37, canvas=64)
    canvas = canvas_of(prompt, range(2, 29))
    row = Row(prompt, canvas, masked(model.codec, canvas, 0, 64))
    (found,) = predicted(model, [row])
    expected = expected_of(family, folders[family], row, length, model.codec.mask_id)
    assert gap(found, expected) <= TOLERANCE


FIELDS = {"sdar": "block_size", "llada2": "block_size", "fast-dllm-v2": "bd_size"}


@pytest.mark.parametrize("family", FIELDS)
def test_the_grid_is_read_from_the_configuration_and_the_setting_goes_before(family, tmp_path):
    folder = checkpoints.write_checkpoint(family, tmp_path, **{FIELDS[family]: 16})
    assert HuggingFace(path=str(folder)).open().blocks.length == 16
    assert HuggingFace(path=str(folder), block_length=2).open().blocks.length == 2


SETTINGS = "confidence:k=3,random:k=2,temperature=0.7,block_length=3"


def strategies(settings=SETTINGS):
    found = [s for text in split_settings(settings) for s in parse_settings(text, DECODERS)]
    return [build(setting, DECODERS) for setting in found]


FULL = (Steady(), Branching(), Sliding(), Revising(block_length=3))


def decoded(model, decoders, batch_size=64, lengths=(13, 3), canvas=12):
    jobs = [
        Job(prompt_of(model.codec, length, canvas), decoder, key=f"{length}/{place}")
        for length in lengths
        for place, decoder in enumerate(decoders)
    ]
    done = decode(jobs, model, batch_size=batch_size)
    return {outcome.job.key: outcome for outcome in done}


def written(outcome):
    return outcome.output_ids, outcome.status, outcome.trace.positions, outcome.trace.ids


def told(outcome):
    return (*written(outcome), outcome.trace, outcome.counts)


@pytest.mark.parametrize("family", FAMILIES)
def test_neither_what_is_kept_nor_the_batch_changes_a_token(family, opened):
    decoders = [*strategies(), *FULL]
    kept = decoded(opened(family), decoders)
    anew = decoded(opened(family, cache="none"), decoders, batch_size=8)
    forgetful = opened(family)
    forgetful._store = KVStore(1)
    alone = decoded(forgetful, decoders, batch_size=1)
    assert {outcome.status for outcome in kept.values()} == {"ok"}
    for key, outcome in kept.items():
        assert outcome.trace.replay(outcome.job.prompt.canvas.tolist()) == outcome.output_ids
        assert written(anew[key]) == written(outcome), key
        assert told(alone[key]) == told(outcome), key
        assert anew[key].counts.auxiliary_calls == 0
        assert anew[key].counts.nfe == outcome.counts.nfe


@pytest.mark.parametrize("family", ["sdar", "nemotron"])
def test_strategies_of_several_rows_or_calls_decode_block_by_block(family, opened):
    decoders = strategies(
        "one_by_one,free_dave,lopa:threshold=0.1,punt:threshold=0.3,info_gain:candidates=3"
    )
    kept = decoded(opened(family), decoders)
    anew = decoded(opened(family, cache="none"), decoders, batch_size=3)
    for key, outcome in kept.items():
        assert outcome.status == "ok"
        assert written(anew[key]) == written(outcome), key
    for length in (13, 3):
        one, drafted = kept[f"{length}/0"], kept[f"{length}/1"]
        assert drafted.output_ids == one.output_ids
        assert drafted.counts.auxiliary_calls == one.counts.auxiliary_calls


# Counts and windows.


def endless(model):
    """Let ``model`` never predict an end, so that every block is decoded."""
    predict = model.predict

    def without_ends(rows):
        prediction = predict(rows)
        prediction.logits[:, sorted(model.codec.ends)] = -torch.inf
        return prediction

    model.predict = without_ends
    return model


def blocks_of(family, prompt, canvas, length):
    """Return the model's blocks on the canvas, by the definition of its grid."""
    first = 0 if family == "nemotron" else prompt
    blocks = {}
    for place in range(canvas):
        blocks.setdefault((first + place) // length, []).append(place)
    return list(blocks.values())


@pytest.mark.parametrize("prompt", [13, 16, 3])
def test_sdar_makes_the_calls_of_its_authors_but_the_one_behind_the_last_block(prompt, opened):
    # Nothing exceeds 1, so that every call writes half a block.
    half = strategies(f"sdar:threshold=1,steps=2,block_length={LENGTH}")
    (outcome,) = decoded(endless(opened("sdar")), half, lengths=[prompt], canvas=20).values()
    calls = [-(-len(block) // (LENGTH // 2)) for block in blocks_of("sdar", prompt, 20, LENGTH)]
    assert outcome.counts.nfe == sum(calls)
    # The whole blocks of the prompt in one, and each block behind its last call.
    theirs = int(prompt >= LENGTH) + sum(count + 1 for count in calls)
    assert outcome.counts.nfe + outcome.counts.auxiliary_calls == theirs - 1


@pytest.mark.parametrize("prompt", [13, 16, 3])
@pytest.mark.parametrize("family", ["sdar", "nemotron"])
def test_calls_and_tokens_are_counted_block_by_block(family, prompt, opened):
    one_by_one = strategies("left_to_right:k=1")
    (outcome,) = decoded(endless(opened(family)), one_by_one, lengths=[prompt], canvas=20).values()
    blocks = blocks_of(family, prompt, 20, LENGTH)
    starts = [prompt + block[0] for block in blocks]
    if family != "nemotron":
        # A block that begins in the prompt is computed with that part of the prompt.
        starts = [start // LENGTH * LENGTH for start in starts]
    ends = [prompt + block[-1] + 1 for block in blocks]
    tokens_due, calls_due, stored = [], [], 0
    for block, start, end in zip(blocks, starts, ends, strict=True):
        whole = [end - start] * len(block)
        calls_due += [int(start > stored), *[0] * (len(block) - 1)]
        whole[0] += start - stored
        tokens_due += whole
        stored = start
    assert outcome.trace.auxiliary_calls == calls_due
    assert outcome.trace.row_tokens == tokens_due
    prefilled = prompt >= LENGTH or family == "nemotron"
    assert outcome.counts.auxiliary_calls == prefilled + len(blocks) - 1
    assert outcome.counts.token_positions == sum(tokens_due)
    (anew,) = decoded(
        endless(opened(family, cache="none")), one_by_one, lengths=[prompt], canvas=20
    ).values()
    reached = [end for block, end in zip(blocks, ends, strict=True) for _ in block]
    assert anew.trace.row_tokens == reached
    assert anew.counts.auxiliary_calls == 0


def test_the_worked_case_of_counts(opened):
    # Prompt 13, blocks of 8: the canvas of 12 has 3 + 8 + 1 tokens.
    model = endless(opened("sdar"))
    (outcome,) = decoded(model, strategies("random:k=8"), lengths=[13]).values()
    assert [len(step) for step in outcome.trace.positions] == [3, 8, 1]
    # 8 of the prompt are kept first, then two blocks; 8, 8 and 1 are computed.
    assert outcome.trace.row_tokens == [8 + 8, 8 + 8, 8 + 1]
    assert outcome.trace.auxiliary_calls == [1, 1, 1]


def test_what_is_counted_went_through_the_network(opened):
    model = endless(opened("sdar"))
    shapes = seen_by(model)
    (outcome,) = decoded(model, strategies("confidence:k=2"), lengths=[13]).values()
    assert sum(rows * length for rows, length in shapes) == outcome.counts.token_positions
    assert len(shapes) == outcome.counts.nfe + outcome.counts.auxiliary_calls


def seen_by(model):
    """The shapes of ids that go through the network from now on."""
    shapes = []
    model.network.model.register_forward_pre_hook(
        lambda _, __, kwargs: shapes.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    return shapes


@pytest.mark.parametrize(
    ("family", "prompt", "block_length", "windows"),
    [
        ("sdar", 13, None, [3, 8, 1]),
        ("sdar", 16, None, [8, 4]),
        ("sdar", 3, None, [5, 7]),
        ("nemotron", 13, None, [8, 4]),
        ("sdar", 13, 3, [1, 2, 3, 3, 2, 1]),
        ("sdar", 16, 3, [3, 3, 2, 3, 1]),
        ("nemotron", 13, 3, [3, 3, 2, 3, 1]),
        ("sdar", 13, 8, [3, 8, 1]),
        ("sdar", 13, 16, [3, 8, 1]),
    ],
)
def test_windows_lie_within_the_blocks_of_the_model(family, prompt, block_length, windows, opened):
    fields = "" if block_length is None else f",block_length={block_length}"
    whole_window = strategies(f"random:k=12{fields}")
    (outcome,) = decoded(endless(opened(family)), whole_window, lengths=[prompt]).values()
    assert [len(step) for step in outcome.trace.positions] == windows
    in_order = [place for step in outcome.trace.positions for place in sorted(step)]
    assert in_order == list(range(12))


# Where a decode stops.


def ending_at(model, place, end=None):
    """Let ``model`` end its reply at one place of the canvas and nowhere else."""
    model = endless(model)
    predict = model.predict
    end = min(model.codec.ends) if end is None else end

    def with_an_end(rows):
        prediction = predict(rows)
        wanted = torch.cat([row.wanted.nonzero().flatten() for row in rows])
        prediction.logits[wanted == place] = -torch.inf
        prediction.logits[wanted == place, end] = 0.0
        return prediction

    model.predict = with_an_end
    return model


@pytest.mark.parametrize("which", [0, -1])
@pytest.mark.parametrize("family", FAMILIES)
def test_behind_the_block_with_an_end_the_rest_is_filled_without_a_call(family, which, opened):
    plain = opened(family)
    end = sorted(plain.codec.ends)[which]
    model = ending_at(plain, 5, end)
    (outcome,) = decoded(model, strategies("confidence:k=1"), lengths=[16], canvas=20).values()
    end_id, trace, counts = model.codec.end_id, outcome.trace, outcome.counts
    assert outcome.output_ids[5] == end
    assert outcome.output_ids[8:] == [end_id] * 12
    # The block is decoded to its end all the same.
    assert model.codec.ends.isdisjoint(outcome.output_ids[:5] + outcome.output_ids[6:8])
    assert trace.stopped
    assert trace.positions[-1] == list(range(8, 20))
    assert trace.ids[-1] == [end_id] * 12
    assert (trace.rows[-1], trace.row_tokens[-1], trace.auxiliary_calls[-1]) == (0, 0, 0)
    assert trace.replay(outcome.job.prompt.canvas.tolist()) == outcome.output_ids
    assert outcome.status == "ok"
    assert (counts.nfe, counts.steps, counts.canvas_tokens, counts.answer_tokens) == (8, 9, 8, 5)
    assert counts.tokens_per_step == 1
    assert counts.tokens_after_end == 2


@pytest.mark.parametrize("place", [0, 2])
def test_an_end_in_a_strategys_own_block_does_not_stop_within_the_models(place, opened):
    model = ending_at(opened("sdar"), place)
    own = strategies("confidence:k=1,block_length=3")
    (outcome,) = decoded(model, own, lengths=[16], canvas=20).values()
    assert [step[0] // 3 for step in outcome.trace.positions[:8]] == [0, 0, 0, 1, 1, 1, 2, 2]
    assert outcome.trace.positions[8] == list(range(8, 20))
    assert outcome.trace.stopped


@pytest.mark.parametrize(("place", "stopped"), [(11, False), (8, False), (7, True)])
def test_where_nothing_is_left_nothing_is_filled(place, stopped, opened):
    model = ending_at(opened("sdar"), place)
    (outcome,) = decoded(model, strategies("confidence:k=4"), lengths=[16]).values()
    assert outcome.trace.stopped == stopped
    assert outcome.counts.canvas_tokens == (8 if stopped else 12)
    assert outcome.trace.filled == (4 if stopped else 0)
    assert outcome.status == "ok"


def test_a_short_first_block_stops_too(opened):
    model = ending_at(opened("sdar"), 1)
    (outcome,) = decoded(model, strategies("confidence:k=1"), lengths=[13]).values()
    assert outcome.counts.canvas_tokens == 3
    assert outcome.output_ids[3:] == [model.codec.end_id] * 9


# Rows and memory.


def test_rows_that_ask_for_nothing_are_told_nothing(opened):
    model = opened("sdar")
    prompt = prompt_of(model.codec, 5)
    row = Row(prompt, prompt.canvas, at([]))
    assert predicted(model, [row, row])[1].shape == (0, checkpoints.ROWS)
    asking = replace(row, wanted=at([1]))
    among = predicted(model, [row, asking, row])
    assert [len(lines) for lines in among] == [0, 1, 0]
    assert gap(among[1], predicted(model, [asking])[0]) <= TOLERANCE


@pytest.mark.parametrize("most", [1, 3])
def test_a_batch_that_does_not_fit_is_halved_and_no_token_changes(most, opened):
    decoders = [*strategies("confidence:k=4"), Branching(), Steady()]
    model, refused = opened("sdar"), []

    def full(_, __, kwargs):
        if len(kwargs["input_ids"]) > most:
            refused.append(len(kwargs["input_ids"]))
            raise torch.OutOfMemoryError("out of memory: tried to allocate a lot")

    model.network.model.register_forward_pre_hook(full, with_kwargs=True)
    plain = decoded(opened("sdar"), decoders)
    halved = decoded(model, decoders)
    for key, outcome in plain.items():
        assert told(halved[key]) == told(outcome)
    assert 0 < len(refused) < 12


def test_the_rules_for_llada2_are_no_rules_for_the_stock_class(opened, folders, tmp_path):
    opened("llada2")  # its rules are known from here on
    config = transformers.Glm4MoeConfig(
        vocab_size=checkpoints.ROWS,
        hidden_size=64,
        intermediate_size=96,
        moe_intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        n_routed_experts=4,
        num_experts_per_tok=2,
        eos_token_id=322,
    )
    torch.manual_seed(0)
    stock = transformers.Glm4MoeForCausalLM(config).eval()
    stock.save_pretrained(tmp_path)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / file).write_bytes((folders["llada2"] / file).read_bytes())
    # Its tokenizer is that of a diffusion model, so the family has to be named.
    network = HuggingFace(path=str(tmp_path), family="autoregressive").open().network
    assert type(network) is transformers.Glm4MoeForCausalLM
    ids = tokens(12, seed=2)[None]
    with torch.inference_mode():
        assert gap(network(ids).logits, stock(ids).logits) <= TOLERANCE
    mapped = get_checkpoint_conversion_mapping("glm4_moe")
    assert "word_embeddings" not in str([rule.source_patterns for rule in mapped])
