"""Full-canvas models against the golden forward: any batch, any cache, any memory."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from parallelbench.decode.lanes import Job
from parallelbench.decode.loop import decode
from parallelbench.decoder import DECODERS
from parallelbench.model import Row
from parallelbench.models import network
from parallelbench.models.hf import HuggingFace
from parallelbench.models.keyvalue import KVEntry, KVStore
from parallelbench.setting import build, parse_settings, split_settings
from support import checkpoints, golden
from support.toys import FULL_CONTRACT, Branching, Steady, prompts

TOLERANCE = 1e-5
FAMILIES = ("llada", "illada", "llada-moe", "dream")
CANVAS = 16
WINDOW = (4, 10)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("masked")
    return {family: checkpoints.write_checkpoint(family, root / family) for family in FAMILIES}


@pytest.fixture(params=FAMILIES)
def folder(request, folders):
    return folders[request.param]


def opened(folder, **fields):
    return HuggingFace(path=str(folder), **fields).open()


def tokens(count, seed):
    """Ordinary tokens, neither special nor unused."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(6, checkpoints.WORDS, (count,), generator=generator)


def prompt_of(codec, length, canvas=CANVAS, seed=0):
    (plain,) = prompts(codec, 1, canvas_length=canvas)
    return replace(plain, ids=tokens(length, seed + length))


def canvas_of(prompt, written, seed=1):
    canvas = prompt.canvas.clone()
    places = torch.tensor(sorted(written), dtype=torch.long)
    canvas[places] = tokens(len(places), seed + len(places))
    return canvas


def at(places, length=CANVAS):
    wanted = torch.zeros(length, dtype=torch.bool)
    wanted[list(places)] = True
    return wanted


def rows_of_all_kinds(codec):
    """Ragged prompts and canvases; nothing, something and nearly all written."""
    rows = []
    for prompt_length, canvas_length, written in (
        (13, 16, ()),
        (2, 9, (0, 4, 5)),
        (21, 16, (1, 15)),
        (7, 24, range(2, 23)),
    ):
        prompt = prompt_of(codec, prompt_length, canvas_length)
        canvas = canvas_of(prompt, written)
        rows.append(Row(prompt, canvas, canvas == codec.mask_id))
    # Also at a written position, the first of all.
    rows[1] = replace(rows[1], wanted=at([0, 3, 8], 9))
    return rows


def shift_of(folder):
    return 1 if folder.name == "dream" else 0


def expected_of(folder, row, allowed=None, positions=None):
    """The golden logits of the wanted positions of one row."""
    ids = torch.cat([row.prompt.ids, row.canvas])
    if allowed is None:
        allowed = torch.ones(len(ids), len(ids), dtype=torch.bool)
    if positions is None:
        positions = torch.arange(len(ids))
    logits = golden.logits(folder, ids, allowed, positions)
    return logits[len(row.prompt.ids) + row.wanted.nonzero().flatten() - shift_of(folder)]


@torch.inference_mode()
def predicted(model, rows):
    return model.predict(rows).logits.split([int(row.wanted.sum()) for row in rows])


def gap(first, second):
    return float((first - second).abs().max())


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_predictions_are_golden_whatever_stands_beside_a_row(folder, attention):
    model = opened(folder, attention=attention)
    rows = rows_of_all_kinds(model.codec)
    for row, found in zip(rows, predicted(model, rows), strict=True):
        assert gap(found, expected_of(folder, row)) <= TOLERANCE
    for row, found in zip(rows[::-1], predicted(model, rows[::-1]), strict=True):
        assert gap(found, expected_of(folder, row)) <= TOLERANCE
    for row in rows:
        assert gap(predicted(model, [row])[0], expected_of(folder, row)) <= TOLERANCE


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("side", ["left", "right"])
@torch.inference_mode()
def test_padding_on_either_side_is_seen_by_no_token(folder, side, attention):
    network = opened(folder, attention=attention).network
    lengths, longest = (12, 5, 9), 12
    ids = torch.full((3, longest), 7)
    real = torch.zeros(3, longest, dtype=torch.long)
    sequences = [tokens(length, seed=length) for length in lengths]
    for row, sequence in enumerate(sequences):
        first = longest - len(sequence) if side == "left" else 0
        ids[row, first : first + len(sequence)] = sequence
        real[row, first : first + len(sequence)] = 1
    positions = (real.cumsum(1) - 1).clamp(min=0)
    logits = network(input_ids=ids, attention_mask=real, position_ids=positions).logits
    for row, sequence in enumerate(sequences):
        places = torch.arange(len(sequence))
        everybody = torch.ones(len(sequence), len(sequence), dtype=torch.bool)
        expected = golden.logits(folder, sequence, everybody, places)
        assert gap(logits[row, real[row].bool()], expected) <= TOLERANCE


def test_a_causal_network_would_be_noticed(folder):
    model = opened(folder)
    (row, *_) = rows_of_all_kinds(model.codec)
    model.network.config.is_causal = True
    assert gap(predicted(model, [row])[0], expected_of(folder, row)) > 0.1


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_row_may_say_who_attends_to_whom_and_where_it_stands(folder, attention):
    model = opened(folder, attention=attention)
    plain, *rest = rows_of_all_kinds(model.codec)
    generator = torch.Generator().manual_seed(3)
    rows = [plain]
    for number, row in enumerate(rest):
        length = len(row.canvas)
        some = torch.rand(length, length, generator=generator) < 0.4
        some[:, 0] = False
        hidden = torch.rand(length, generator=generator) < 0.5
        order = torch.randperm(length, generator=generator) + number
        rows.append(
            replace(
                row,
                attention=some if number != 1 else None,
                positions=order if number != 0 else None,
                unseen=hidden if number != 2 else None,
            )
        )
    found = predicted(model, rows)
    for row, logits in zip(rows, found, strict=True):
        first, total = len(row.prompt.ids), len(row.prompt.ids) + len(row.canvas)
        allowed = torch.ones(total, total, dtype=torch.bool)
        positions = torch.arange(total)
        if row.attention is not None:
            allowed[first:, first:] = row.attention
        if row.positions is not None:
            positions[first:] = first + row.positions
        if row.unseen is not None:
            allowed[:first, first:] = ~row.unseen
        assert gap(logits, expected_of(folder, row, allowed, positions)) <= TOLERANCE
    # All of it matters: without it another row is predicted.
    for row, logits in zip(rows[1:], found[1:], strict=True):
        assert gap(logits, expected_of(folder, row)) > 0.01
    assert opened(folder, cache="prefix").capabilities == frozenset()
    unshifted = set() if shift_of(folder) else {"unshifted"}
    maps = {"attention", "attention_late", "attention_last_four"}
    given = {"positions", "attention_mask", "shorter_rows"} | maps
    assert model.capabilities == given | unshifted


SETTINGS = "confidence:k=3,random:k=2,temperature=0.7,confidence:k=2,block_length=5"


def strategies(settings=SETTINGS):
    found = [s for text in split_settings(settings) for s in parse_settings(text, DECODERS)]
    return [build(setting, DECODERS) for setting in found]


def decoded(model, decoders, batch_size=64, lengths=(13, 2, 6), canvas=12):
    jobs = [
        Job(prompt_of(model.codec, length, canvas), decoder, key=f"{length}/{place}")
        for length in lengths
        for place, decoder in enumerate(decoders)
    ]
    return {done.job.key: done for done in decode(jobs, model, batch_size=batch_size)}


def told(outcome):
    return outcome.output_ids, outcome.status, outcome.error, outcome.trace, outcome.counts


@pytest.mark.parametrize(
    ("family", "cache"), [("dream", "none"), ("llada", "prefix"), ("dream", "dual")]
)
def test_a_decode_is_the_same_in_any_batch(family, cache, folders):
    decoders = [*strategies(), *FULL_CONTRACT]
    batched = decoded(opened(folders[family], cache=cache), decoders, batch_size=8)
    alone = decoded(opened(folders[family], cache=cache), decoders, batch_size=1)
    for key, outcome in alone.items():
        assert outcome.status == "ok"
        assert outcome.trace.replay(outcome.job.prompt.canvas.tolist()) == outcome.output_ids
        assert told(batched[key]) == told(outcome), key


def test_strategies_that_remember_or_revise_are_decoded_alike_alone_and_in_a_batch(folders):
    model = opened(folders["llada"])
    decoders = strategies(
        "klass,slow_fast,credit,persistence,wino:draft=0.05,verify=0.1,rcr:k=2,saber,"
        "joint_threshold:threshold=0.1,t2m:threshold=0.1,remdm_llada:k=2,remdm"
    )
    alone = decoded(model, decoders, batch_size=1, lengths=(13, 2), canvas=8)
    batched = decoded(model, decoders, lengths=(13, 2), canvas=8)
    assert {key: told(outcome) for key, outcome in alone.items()} == {
        key: told(outcome) for key, outcome in batched.items()
    }
    assert {outcome.status for outcome in alone.values()} <= {"ok", "stalled"}


def test_strategies_of_several_rows_or_calls_are_decoded_alike_alone_and_in_a_batch(folders):
    model = opened(folders["llada"])
    decoders = strategies(
        "one_by_one,free_dave,lopa:threshold=0.1,punt:threshold=0.3,info_gain:candidates=3,"
        "info_gain:objective=lookum,temperature=1"
    )
    alone = decoded(model, decoders, batch_size=1, lengths=(13, 2), canvas=8)
    batched = decoded(model, decoders, lengths=(13, 2), canvas=8)
    for key, outcome in alone.items():
        assert told(outcome) == told(batched[key]), key
        assert outcome.status == "ok"
    for length in (13, 2):
        assert alone[f"{length}/0"].output_ids == alone[f"{length}/1"].output_ids


def loud(folder, target, ids):
    """Make the logits of ``ids`` the largest nearly everywhere."""
    for file in folder.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    for file in target.glob("*.safetensors"):
        weights = load_file(file)
        for name in ("lm_head.weight", "model.transformer.ff_out.weight"):
            if name in weights:
                weights[name][ids] *= 100
        save_file(weights, file, metadata={"format": "pt"})
    return target


def test_the_mask_and_unused_ids_are_never_written_however_likely(folder, tmp_path):
    plain = opened(folder)
    codec = plain.codec
    forbidden = sorted({*codec.unwritable, *range(codec.size, checkpoints.ROWS)})
    assert codec.mask_id in forbidden
    assert codec.ends.isdisjoint(forbidden)
    model = opened(loud(folder, tmp_path, forbidden))
    (logits,) = predicted(model, [rows_of_all_kinds(codec)[0]])
    assert torch.isin(logits.argmax(dim=-1), torch.tensor(forbidden)).all()
    decoders = strategies("confidence:k=3,random:k=3,temperature=2")
    wrong, right = decoded(model, decoders), decoded(plain, decoders)
    for key, outcome in right.items():
        assert set(outcome.output_ids).isdisjoint(forbidden)
        assert told(wrong[key]) == told(outcome)


# The caches of Fast-dLLM.


def golden_from_memory(folder, now, entered, computed):
    """The logits at computed positions; all others are remembered as they were when entered.

    Layer by layer in the words of ``golden.py``: a position that is not computed keeps the
    keys and values that it had in the pass over ``entered``.
    """
    network = golden._read(folder)
    everybody = torch.ones(len(now), len(now), dtype=torch.bool)
    old, new = network.embedding[entered], network.embedding[now]
    for layer in network.layers:
        query, key, value = attended(old, layer, network)
        new_query, new_key, new_value = attended(new, layer, network)
        kept = ~computed[:, None, None]
        new_key, new_value = torch.where(kept, key, new_key), torch.where(kept, value, new_value)
        old = old + golden._mix(query, key, value, everybody)[0] @ layer.output.T
        new = new + golden._mix(new_query, new_key, new_value, everybody)[0] @ layer.output.T
        old, new = (
            hidden + layer.feed_forward(golden._normalise(hidden, layer.feed_norm, network.epsilon))
            for hidden in (old, new)
        )
    return (golden._normalise(new, network.norm, network.epsilon) @ network.head.T).float()


def attended(hidden, layer, network):
    """Queries, keys and values of one layer."""
    seen = golden._normalise(hidden, layer.attention_norm, network.epsilon)
    found = []
    for weight, bias, norm, turned in (
        (layer.query, layer.query_bias, layer.query_norm, True),
        (layer.key, layer.key_bias, layer.key_norm, True),
        (layer.value, layer.value_bias, None, False),
    ):
        heads = seen @ weight.T + (0 if bias is None else bias)
        heads = heads.unflatten(-1, (-1, network.head_width))
        if norm is not None:
            heads = golden._normalise(heads, norm, network.epsilon)
        if turned:
            heads = golden._turn(heads, torch.arange(len(hidden)), network.rotary)
        found.append(heads)
    return found


def entered_and_later(codec):
    """Ragged rows in the middle of a window, each with the canvas that it was entered with."""
    rows = []
    for number, (prompt_length, window) in enumerate(
        ((13, WINDOW), (2, (0, 5)), (21, (10, 16)), (7, WINDOW))
    ):
        prompt = prompt_of(codec, prompt_length)
        entered = canvas_of(prompt, range(window[0]))
        canvas = entered.clone()
        canvas[[window[0] + 1, window[1] - 1]] = tokens(2, seed=50 + number)
        wanted = canvas == codec.mask_id
        wanted[: window[0]] = wanted[window[1] :] = False
        rows.append(Row(prompt, canvas, wanted, window=window, window_snapshot=entered))
    return rows


def first_calls(rows):
    codec = rows[0].prompt.codec
    return [
        replace(
            row,
            canvas=row.window_snapshot,
            wanted=row.wanted | (row.window_snapshot == codec.mask_id),
        )
        for row in rows
    ]


def computed_part(folder, row, cache):
    low, high = row.window
    first = len(row.prompt.ids)
    computed = torch.zeros(first + len(row.canvas), dtype=torch.bool)
    end = first + (high if cache == "dual" else len(row.canvas))
    computed[first + low - shift_of(folder) : end] = True
    return computed


def expected_from_memory(folder, row, cache):
    prompt = row.prompt.ids
    logits = golden_from_memory(
        folder,
        torch.cat([prompt, row.canvas]),
        torch.cat([prompt, row.window_snapshot]),
        computed_part(folder, row, cache),
    )
    return logits[len(prompt) + row.wanted.nonzero().flatten() - shift_of(folder)]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("cache", ["prefix", "dual"])
def test_a_cache_remembers_what_stood_outside_of_the_window(folder, cache, attention):
    model = opened(folder, cache=cache, attention=attention)
    assert model.uses_window_snapshot
    later = entered_and_later(model.codec)
    firsts = first_calls(later)
    for row, found in zip(firsts, predicted(model, firsts), strict=True):
        # The first call of a window is the model itself.
        assert gap(found, expected_of(folder, row)) <= TOLERANCE
        assert model.compute_cost(row).tokens == len(row.prompt.ids) + CANVAS
    asked = seen_by(model)
    expected = [expected_from_memory(folder, row, cache) for row in later]
    for row, found, due in zip(later, predicted(model, later), expected, strict=True):
        assert gap(found, due) <= TOLERANCE
        assert gap(found, expected_of(folder, row)) > 1e-3
        assert model.compute_cost(row).tokens == int(computed_part(folder, row, cache).sum())
        assert model.compute_cost(row).stored == 0
    assert asked == [(4, max(model.compute_cost(row).tokens for row in later))]
    for row, due in zip(later, expected, strict=True):
        assert gap(predicted(model, [row])[0], due) <= TOLERANCE


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("cache", ["prefix", "dual"])
def test_a_cache_serves_any_mixture_of_rows(folder, cache, attention):
    model = opened(folder, cache=cache, attention=attention)
    later = entered_and_later(model.codec)
    firsts = first_calls(later)
    predicted(model, firsts)
    expected = [expected_from_memory(folder, row, cache) for row in later]
    # Another strategy entered the same window of the same prompt with other tokens.
    entered = canvas_of(later[0].prompt, range(WINDOW[0]), seed=77)
    twin = replace(later[0], canvas=entered.clone(), window_snapshot=entered)
    twin.canvas[WINDOW[0] + 1] = 9
    predicted(model, [replace(twin, canvas=entered)])
    found = predicted(model, [later[0], twin])
    assert gap(found[0], expected[0]) <= TOLERANCE
    assert gap(found[1], expected_from_memory(folder, twin, cache)) <= TOLERANCE
    # Evicted entries are computed again, with the same result.
    model._store = KVStore(1)
    for found, due in zip(predicted(model, later), expected, strict=True):
        assert gap(found, due) <= TOLERANCE
    # Both kinds of row in one call, and a wanted position outside of the window.
    outside = replace(later[1], wanted=at([2, 12]))
    mixed = [later[0], firsts[2], outside, later[3]]
    found = predicted(model, mixed)
    assert gap(found[0], expected[0]) <= TOLERANCE
    assert gap(found[1], expected_of(folder, mixed[1])) <= TOLERANCE
    if cache == "dual":
        assert gap(found[2], expected_of(folder, outside)) <= TOLERANCE
    else:
        assert gap(found[2], expected_from_memory(folder, outside, cache)) <= TOLERANCE
    assert gap(found[3], expected[3]) <= TOLERANCE


def seen_by(model):
    """The shapes of ids that go through the network from now on."""
    shapes = []
    model.network.model.register_forward_pre_hook(
        lambda _, __, kwargs: shapes.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    return shapes


@pytest.mark.parametrize("cache", ["prefix", "dual"])
def test_the_loop_tells_the_windows_so_a_cache_shows_only_behind_a_first_call(folder, cache):
    several = strategies("confidence:k=1,block_length=6")
    once = strategies("random:k=6,block_length=6")
    exact, cached = opened(folder), opened(folder, cache=cache)
    for key, outcome in decoded(exact, once).items():
        assert told(decoded(cached, once)[key]) == told(outcome)
    exact, cached = decoded(exact, several), decoded(cached, several)
    assert any(cached[key].output_ids != exact[key].output_ids for key in exact)
    for outcome in cached.values():
        prompt, shift = len(outcome.job.prompt.ids), shift_of(folder)
        spans = (12, 6) if cache == "prefix" else (6, 6)
        expected = [prompt + 12, *[spans[0] + shift] * 5, prompt + 12, *[spans[1] + shift] * 5]
        assert outcome.trace.row_tokens == expected
        assert outcome.counts.auxiliary_calls == 0


# Memory, and rows that cannot be predicted.


@pytest.fixture
def crowd():
    return [*strategies("confidence:k=4,random:k=3"), Branching(), Steady()]


def test_a_batch_that_does_not_fit_is_halved_and_no_token_changes(folders, crowd):
    model, refused, served = opened(folders["llada"]), [], []

    def full(_, __, kwargs):
        count = len(kwargs["input_ids"])
        (refused if count > 3 else served).append(count)
        if count > 3:
            raise torch.OutOfMemoryError("out of memory: tried to allocate a lot")

    model.network.model.register_forward_pre_hook(full, with_kwargs=True)
    plain = decoded(opened(folders["llada"]), crowd)
    halved = decoded(model, crowd)
    assert halved.keys() == plain.keys()
    for key, outcome in plain.items():
        assert told(halved[key]) == told(outcome)
    # It is found out once, and not in every step again.
    assert 0 < len(refused) <= 4
    assert len(served) > 20
    assert max(served) > 1


def test_only_the_lane_that_does_not_fit_alone_ends_in_an_error(folders, crowd):
    model = opened(folders["llada"])

    def full(_, __, kwargs):
        if kwargs["input_ids"].shape[1] > 20:
            raise torch.OutOfMemoryError("out of memory: tried to allocate a lot")

    model.network.model.register_forward_pre_hook(full, with_kwargs=True)
    plain = decoded(opened(folders["llada"]), crowd)
    for key, outcome in decoded(model, crowd).items():
        if key.startswith("13/"):
            assert outcome.status == "error"
            assert outcome.error.startswith("OutOfMemoryError: out of memory")
        else:
            assert told(outcome) == told(plain[key])


@pytest.mark.parametrize("cache", ["none", "dual"])
def test_only_the_lane_without_numbers_ends_in_an_error(cache, folders, crowd):
    model = opened(folders["llada"], cache=cache)
    poisoned = prompt_of(model.codec, 6, canvas=12).ids

    def poison(_, __, kwargs, output):
        ids = kwargs["input_ids"]
        for row in range(len(ids)):
            if ids.shape[1] >= 18 and torch.equal(ids[row, -18:-12], poisoned):
                output.last_hidden_state[row] = torch.nan

    model.network.model.register_forward_hook(poison, with_kwargs=True)
    plain = decoded(opened(folders["llada"], cache=cache), crowd)
    for key, outcome in decoded(model, crowd).items():
        if key.startswith("6/"):
            assert outcome.status == "error"
            assert "not numbers" in outcome.error
        else:
            assert told(outcome) == told(plain[key])


def kept_of(positions):
    """Keys and values of 8 bytes per position."""
    tensor = torch.zeros(1, positions, 1)
    return KVEntry((tensor,), (tensor,))


def test_a_store_forgets_what_was_used_longest_ago():
    store = KVStore(40)
    for name in "abc":
        store[name] = kept_of(1)
    assert store["a"].bytes == 8
    store["d"] = kept_of(3)
    assert [name in store for name in "abcd"] == [True, False, True, True]
    store["d"] = kept_of(1)  # replaced, not added
    store["e"] = kept_of(2)
    assert [name in store for name in "acde"] == [True] * 4
    store["f"] = kept_of(100)  # the newest stays in any case
    assert [name in store for name in "acdef"] == [False] * 4 + [True]


def test_a_processor_is_sent_no_more_tokens_than_are_good_for_it(folders, monkeypatch):
    monkeypatch.setattr(network, "_PROCESSOR_TOKENS", 150)
    model = opened(folders["llada"])
    rows = []
    for length in (90, 40, 10, 45, 10, 200):
        prompt = prompt_of(model.codec, length, 12)
        rows.append(Row(prompt, prompt.canvas, prompt.open))
    assert model.batches(rows) == [[2, 4], [1, 3], [0], [5]]


def test_batches_hold_every_row_once_and_are_as_large_as_the_room_allows(folders, monkeypatch):
    monkeypatch.setattr(network, "_PROCESSOR_TOKENS", 10**12)
    model = opened(folders["llada"])
    generator = torch.Generator().manual_seed(0)
    rows = []
    for prompt_length, canvas_length in torch.randint(1, 60, (40, 2), generator=generator).tolist():
        prompt = prompt_of(model.codec, prompt_length, max(canvas_length, 12))
        rows.append(Row(prompt, prompt.canvas, prompt.open))
    need = [taken(model, rows, [index]) for index in range(40)]
    for room in (1, max(need), 5 * max(need), 10**12):
        model._bytes = room
        batches = model.batches(rows)
        assert sorted(index for batch in batches for index in batch) == list(range(40))
        lengths = [model.compute_cost(rows[index]).tokens for batch in batches for index in batch]
        assert lengths == sorted(lengths)
        for number, batch in enumerate(batches):
            assert len(batch) == 1 or taken(model, rows, batch) <= room
            if number + 1 < len(batches):
                assert taken(model, rows, [*batch, batches[number + 1][0]]) > room
    assert len(batches) == 1


def taken(model, rows, batch):
    """Return the memory of a padded batch, by the model's own estimate of one row."""
    tokens = max(model.compute_cost(rows[index]).tokens for index in batch)
    canvas = max(rows[index].canvas.numel() for index in batch)
    logits = canvas * checkpoints.ROWS * 16
    return len(batch) * (tokens * model._bytes_per_token + logits)
