"""Attention maps against the golden forward, in any batch."""

from dataclasses import replace

import pytest
import torch

from parallelbench import evaluate
from parallelbench.decode.lanes import Job
from parallelbench.decode.loop import Tally, decode
from parallelbench.decoder import DECODERS
from parallelbench.decoders.dapd import Dapd
from parallelbench.decoders.dawn import Dawn
from parallelbench.errors import ModelError, RequestError
from parallelbench.model import Row
from parallelbench.models.attention import AttentionRecorder
from parallelbench.models.hf import HuggingFace
from parallelbench.setting import build, parse_settings
from support import checkpoints, diffusion_gemma, golden
from support.toys import prompts

TOLERANCE = 1e-5
MASKED = ("llada", "illada", "llada-moe", "dream")
BLOCK = ("sdar", "sdar-moe", "llada2", "fast-dllm-v2", "nemotron")
LENGTH = 8  # of a block
NAMES = AttentionRecorder.NAMES


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("attention")
    written = {
        family: checkpoints.write_checkpoint(family, root / family) for family in (*MASKED, *BLOCK)
    }
    # Seven layers, of which two are late; the others have two, of which one is.
    deep = checkpoints.write_checkpoint("llada", root / "deep", n_layers=7)
    return {**written, "deep": deep}


def opened(folder, **fields):
    return HuggingFace(path=str(folder), **fields).open()


def tokens(count, seed):
    """Ordinary tokens, neither special nor unused."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(6, checkpoints.WORDS, (count,), generator=generator)


def row_of(codec, lengths, filled, extras=frozenset(), *, wanted=None):
    """A row of a prompt and a canvas whose masked positions are wanted, unless others are."""
    prompt_length, canvas_length = lengths
    (plain,) = prompts(codec, 1, canvas_length=canvas_length)
    prompt = replace(plain, ids=tokens(prompt_length, prompt_length))
    canvas = prompt.canvas.clone()
    places = torch.tensor(sorted(filled), dtype=torch.long)
    canvas[places] = tokens(len(places), seed=canvas_length)
    asked = canvas == codec.mask_id
    if wanted is not None:
        asked = torch.zeros_like(asked)
        asked[list(wanted)] = True
    return Row(prompt, canvas, asked, extras=extras)


def ragged(codec):
    """Prompts and canvases of different lengths, of which two ask, for different things."""
    return [
        row_of(codec, (13, 16), ()),
        row_of(codec, (2, 9), (0, 4, 5), NAMES),
        row_of(codec, (21, 16), (1, 15)),
        row_of(codec, (7, 24), range(2, 23), frozenset({"attention_late"})),
    ]


def means(folder, row, allowed=None, positions=None):
    """The golden maps of one canvas, by name."""
    ids = torch.cat([row.prompt.ids, row.canvas])
    allowed = torch.ones(len(ids), len(ids), dtype=torch.bool) if allowed is None else allowed
    positions = torch.arange(len(ids)) if positions is None else positions
    each = golden.attention(folder, ids, allowed, positions).mean(dim=1)
    late = max(1, int(0.3 * len(each)))
    first = len(row.prompt.ids)
    return {
        "attention": each.mean(dim=0)[first:, first:],
        "attention_late": each[-late:].mean(dim=0)[first:, first:],
        "attention_last_four": each[-4:].mean(dim=0)[first:, first:],
    }


@torch.inference_mode()
def told(model, rows):
    return model.predict(rows)


def gap(first, second):
    return float((first - second).abs().max())


@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
@pytest.mark.parametrize("family", [*MASKED, "deep"])
def test_a_canvas_attends_as_in_the_golden_forward_whatever_stands_beside_it(
    family, kernel, folders
):
    model = opened(folders[family], attention=kernel)
    rows = ragged(model.codec)
    for some in (rows, rows[::-1], rows[1:2], rows[3:]):
        said = told(model, some)
        assert set(said.extras) == set().union(*(row.extras for row in some))
        for index, row in enumerate(some):
            for name in row.extras:
                found = said.extras[name][index]
                assert found.dtype == torch.float32
                assert gap(found, means(folders[family], row)[name]) <= TOLERANCE
                # The prompt's share is left out.
                assert 0 < float(found.sum(dim=1).max()) < 1


@pytest.mark.parametrize("family", [*MASKED, "deep", *BLOCK])
def test_logits_are_the_same_whether_attention_is_asked_for_or_not(family, folders):
    for kernel, most in (("sdpa", 0.0), ("eager", TOLERANCE)):
        model = opened(folders[family], attention=kernel)
        rows = ragged(model.codec)
        plain = [replace(row, extras=frozenset()) for row in rows]
        said = told(model, plain)
        assert not said.extras
        assert gap(told(model, rows).logits, said.logits) <= most


def test_a_row_that_says_who_attends_to_whom_and_where_it_stands_is_believed(folders):
    model = opened(folders["dream"])
    plain, row, *_ = ragged(model.codec)
    length, first = len(row.canvas), len(row.prompt.ids)
    generator = torch.Generator().manual_seed(3)
    some = torch.rand(length, length, generator=generator) < 0.5
    order = torch.randperm(length, generator=generator)
    row = replace(row, attention=some, positions=order, unseen=order > 4)
    allowed = torch.ones(first + length, first + length, dtype=torch.bool)
    allowed[first:, first:] = some
    allowed[:first, first:] = order <= 4
    positions = torch.cat([torch.arange(first), first + order])
    expected = means(folders["dream"], row, allowed, positions)
    said = told(model, [plain, row])
    for name in NAMES:
        assert gap(said.extras[name][1], expected[name]) <= TOLERANCE
        assert (said.extras[name][1][~some] == 0).all()


def visible(family, row, codec):
    """Return the attention mask of a block model and the canvas positions that a call computes."""
    first, total = len(row.prompt.ids), len(row.prompt.ids) + len(row.canvas)
    origin = first if family == "nemotron" else 0
    asked = first + row.wanted.nonzero().flatten()
    open_ = first + (row.canvas == codec.mask_id).nonzero().flatten()
    begin = int(torch.cat([asked, open_]).min())
    start = begin - (begin - origin) % LENGTH
    end = min(int(asked[-1] - (asked[-1] - origin) % LENGTH) + LENGTH, total)
    places = torch.arange(total)
    block = (places - origin).div(LENGTH, rounding_mode="floor")
    allowed = block <= block[:, None]
    if family == "nemotron":
        allowed[:start] = places <= places[:start, None]
    return allowed, slice(max(start - first, 0), end - first)


@pytest.mark.parametrize("cache", ["block", "none"])
@pytest.mark.parametrize("family", BLOCK)
def test_a_block_model_tells_it_of_what_it_computes_and_0_of_the_rest(family, cache, folders):
    model = opened(folders[family], cache=cache, block_length=LENGTH)
    codec = model.codec
    rows = [
        row_of(codec, (13, 20), ()),
        row_of(codec, (8, 20), {*range(8), 9, 12}, NAMES, wanted=range(10, 12)),
        row_of(codec, (19, 20), {*range(13), 14}, NAMES, wanted=[13, 15]),
        row_of(codec, (3, 20), {1, 3}, NAMES, wanted=[0, 12, 19]),
        row_of(codec, (5, 9), range(9), NAMES, wanted=[]),
    ]
    # The second time, finished blocks are kept.
    for some in (rows, rows[::-1]):
        said = told(model, some)
        for index, row in enumerate(some):
            for name in row.extras:
                found = said.extras[name][index]
                expected = torch.zeros(len(row.canvas), len(row.canvas))
                if row.wanted.any():
                    allowed, computed = visible(family, row, codec)
                    whole = means(folders[family], row, allowed)[name]
                    expected[computed] = whole[computed]
                assert gap(found, expected) <= TOLERANCE


def test_a_row_that_does_not_ask_pays_nothing(folders, monkeypatch):
    recorded = []
    add = AttentionRecorder.add

    def counting(self, layer, query, *rest):
        recorded.append(list(self.rows))
        add(self, layer, query, *rest)

    monkeypatch.setattr(AttentionRecorder, "add", counting)
    model = opened(folders["llada"])
    rows = ragged(model.codec)
    told(model, rows)
    # Two layers.
    assert recorded == [[1, 3], [1, 3]]
    told(model, [rows[0], rows[2]])
    assert len(recorded) == 2


def test_a_batch_leaves_room_for_what_it_is_asked(folders):
    model = opened(folders["llada"])
    one = row_of(model.codec, (5, 24), ())
    plain = [one] * 40
    asking = [replace(one, extras=NAMES)] * 40
    model._bytes = 2**21
    assert len(model.batches(asking)) > len(model.batches(plain)) > 1


def test_a_pass_that_fails_leaves_the_kernel_as_it_was(folders):
    model = opened(folders["llada"])
    recorder = AttentionRecorder(2, NAMES, [0], 4)
    with pytest.raises(ValueError, match="input_ids"):
        recorder.over(model.network)
    assert model.network.config._attn_implementation == "sdpa"


def test_a_network_that_does_not_expose_its_attention_is_an_error_and_no_number(folders):
    model = opened(folders["llada"])
    model.network.config.num_hidden_layers = 1
    # It has, and runs, one layer less than it was built with; now it says two.
    recorder = AttentionRecorder(2, NAMES, [0], 4)
    ids = torch.tensor([[7, 8, 9, 10]])
    model.network.model.layers[0].self_attn.layer_idx = 1
    with pytest.raises(ModelError, match="does not expose the attention of its layers"):
        recorder.over(model.network, input_ids=ids, use_cache=False)


STRATEGIES = (
    Dapd(edge=0.03),
    Dapd(edge=0.05, block_length=5),
    Dawn(threshold=0.2, induce=0.05, low=0.02, edge=0.02, sink=0.3, block_length=6),
)


def jobs(codec, decoders, lengths=((13, 9), (2, 7))):
    for number, (prompt_length, canvas_length) in enumerate(lengths):
        prompt = row_of(codec, (prompt_length, canvas_length), ()).prompt
        for place, decoder in enumerate(decoders):
            yield Job(prompt, decoder, key=f"{number}/{place}", tag=(number, place))


def decoded(model, decoders, **options):
    return {
        outcome.job.tag: (outcome.output_ids, outcome.status, outcome.trace, outcome.error)
        for outcome in decode(jobs(model.codec, decoders), model, **options)
    }


@pytest.mark.parametrize("family", ["dream", "sdar"])
def test_decodes_with_and_without_attention_share_calls_and_no_decode_can_tell(family, folders):
    fields = {"block_length": 4} if family == "sdar" else {}
    model = opened(folders[family], **fields)
    before, behind = (build(s, DECODERS) for s in parse_settings("confidence:k=1|3", DECODERS))
    decoders = [before, *STRATEGIES, behind]
    alone = decoded(model, decoders, batch_size=1, share=False)
    assert {status for _, status, *_ in alone.values()} == {"ok"}
    tally = Tally()
    assert decoded(model, decoders, batch_size=64, tally=tally) == alone
    assert tally.sent < tally.asked
    # As many batches as rows, with extras of different widths.
    model._bytes = 1
    assert decoded(model, decoders, batch_size=64) == alone


def test_a_model_that_cannot_tell_is_refused_before_the_run_starts(folders, tmp_path):
    written = checkpoints.write_checkpoint("qwen3", tmp_path / "qwen3")
    diffusion_gemma.write_checkpoint(tmp_path / "gemma")
    for model in (
        "ideal",
        f"hf:{written}",
        f"hf:{tmp_path / 'gemma'}",
        f"hf:{folders['llada']}:cache=dual",
    ):
        for decoder, need in (("dapd", "attention_late"), ("dawn", "attention_last_four")):
            sentence = (
                rf"decoder '{decoder}:.*' needs {need}, which model '.*' does not give; "
                "masked and block models of hf, and mini, give attention"
            )
            with pytest.raises(RequestError, match=sentence):
                evaluate(tasks="choices/city", decoders=decoder, model=model, samples=1)
