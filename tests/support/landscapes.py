"""Models for the tests of strategies with a memory: one that is random, one that is told.

A *landscape* is a random network in miniature: what stands at every visible place moves
the prediction at every other, so that another canvas, a hidden place or a shorter row is
another prediction.  A *script* says what is predicted in each call.
"""

import dataclasses
import functools
from dataclasses import replace

import torch
from hypothesis import strategies as st

from parallelbench.decode.lanes import Job
from parallelbench.decode.loop import decode
from parallelbench.model import Model, Prediction
from support.toys import WORDS, prompts, toy_codec

CODEC = toy_codec()
MASK = CODEC.mask_id
#: Six ordinary tokens, ascending: the only ones that a landscape predicts.
WORD = sorted(CODEC.encode([word])[0][0] for word in WORDS)
SYMBOL = {token: number for number, token in enumerate([*WORD, MASK])}
#: The tokens that may be written.
WRITABLE = [token for token in range(CODEC.size) if token not in CODEC.unwritable]
LONGEST = 24


class Landscape(Model):
    """Random weights; small ``pull`` makes predictions calm, large ``scale`` makes them sure."""

    capabilities = frozenset({"positions", "attention_mask", "shorter_rows", "unshifted"})
    digest = "landscape"

    def __init__(self, seed, scale=2.0, pull=1.0):
        self.codec = CODEC
        generator = torch.Generator().manual_seed(seed)

        def random(*shape):
            return torch.randn(*shape, len(WORD), generator=generator, dtype=torch.float64)

        self._place = random(LONGEST) * scale
        self._token = random(LONGEST, len(WORD) + 1) * pull
        self._own = random(len(WORD) + 1) * scale
        self._own[-1] = 0

    def logits(self, canvas, positions=None, attention=None):
        """What is predicted at every place of one canvas; plain lists will do."""
        canvas = torch.tensor([SYMBOL[token] for token in torch.as_tensor(canvas).tolist()])
        places = torch.arange(len(canvas)) if positions is None else torch.as_tensor(positions)
        sees = torch.ones(len(canvas), len(canvas)) if attention is None else attention
        sees = torch.as_tensor(sees).double()
        pulled = torch.einsum("ij,jv->iv", sees, self._token[places, canvas])
        logits = torch.full((len(canvas), CODEC.size), -torch.inf)
        logits[:, WORD] = (self._place[places] + pulled + self._own[canvas]).float()
        return logits

    def probabilities(self, canvas, positions=None, attention=None):
        """What a strategy is told: the probability of each token, place by place."""
        lines = torch.softmax(self.logits(canvas, positions, attention), dim=-1)[:, WORD]
        return [dict(zip(WORD, line, strict=True)) for line in lines.tolist()]

    def predict(self, rows):
        lines = [self.logits(row.canvas, row.positions, row.attention)[row.wanted] for row in rows]
        return Prediction(logits=torch.cat(lines))

    def provenance(self):
        return {}


class Script(Model):
    """Predicts in each call what is written for it: per place some tokens and probabilities.

    The rest of the probability is spread evenly over all other tokens that may be written.
    ``given`` is what it gives beside, by name, in every call or call by call.
    """

    digest = "script"

    def __init__(self, calls, given=()):
        self.codec = CODEC
        self.calls = calls
        self.given = [dict(given)] * len(calls) if isinstance(given, dict) else list(given)
        self.capabilities = Landscape.capabilities.union(*self.given)
        self.rows = []

    def predict(self, rows):
        (row,) = rows
        said = self.calls[len(self.rows)]
        given = self.given[len(self.rows)] if self.given else {}
        self.rows.append(row)
        extras = {name: [each] for name, each in given.items()}
        return Prediction(logits=_lines(row, said), extras=extras)

    def provenance(self):
        return {}


class Tale(Model):
    """Predicts for each canvas what is written for it, as a script does for each call.

    Of any other canvas it says what it says of the empty one.
    """

    capabilities = Landscape.capabilities
    digest = "tale"

    def __init__(self, told):
        self.codec = CODEC
        self.told = told
        self.calls = []

    def predict(self, rows):
        shown = [[None if i == MASK else i for i in row.canvas.tolist()] for row in rows]
        self.calls.append(shown)
        said = [self.told.get(tuple(canvas), self.told[None]) for canvas in shown]
        return Prediction(
            logits=torch.cat([_lines(*each) for each in zip(rows, said, strict=True)])
        )

    def provenance(self):
        return {}


def _lines(row, said):
    places = row.wanted.nonzero().flatten().tolist()
    lines = torch.full((len(places), CODEC.size), -torch.inf)
    for line, place in zip(lines, places, strict=True):
        likely = dict([said[place]] if isinstance(said[place], tuple) else said[place])
        rest = (1 - sum(likely.values())) / (len(WRITABLE) - len(likely))
        line[WRITABLE] = torch.tensor(max(rest, 0.0)).log()
        for token, probability in likely.items():
            line[token] = torch.tensor(probability).log()
    return lines


def prompt_of(canvas):
    """A sample whose canvas begins as given; None is an open place."""
    ids = [MASK if token is None else token for token in canvas]
    return replace(_plain(), canvas=torch.tensor(ids))


@functools.cache
def _plain():
    (prompt,) = prompts(CODEC, 1)
    return prompt


def played(decoder, calls, canvas=None, given=()):
    """Decode by a script; return the outcome and the rows that were asked."""
    script = Script(calls, given)
    canvas = [None] * len(calls[0]) if canvas is None else canvas
    (outcome,) = decode([Job(prompt_of(canvas), decoder, key="0")], script, share=False)
    return outcome, script.rows


def written(outcome):
    """What was written, step by step: place and token, None for a place opened again."""
    return [
        {place: None if token == MASK else token for place, token in zip(*step, strict=True)}
        for step in zip(outcome.trace.positions, outcome.trace.ids, strict=True)
    ]


#: Canvases of which some places are filled before the start, and one at least is not.
canvases = st.lists(
    st.one_of(st.none(), st.none(), st.none(), st.sampled_from(WORD)), min_size=3, max_size=6
).filter(lambda canvas: None in canvas)


@st.composite
def batches(draw, count=3):
    """A landscape and some canvases of one length."""
    landscape = draw(
        st.builds(
            Landscape,
            seed=st.integers(0, 2**32),
            scale=st.sampled_from([0.5, 2.0, 4.0]),
            pull=st.sampled_from([0.0, 0.02, 0.1, 0.5, 1.0]),
        )
    )
    first = draw(canvases)
    others = [
        draw(
            st.lists(
                st.one_of(st.none(), st.none(), st.sampled_from(WORD)),
                min_size=len(first),
                max_size=len(first),
            ).filter(lambda canvas: None in canvas)
        )
        for _ in range(count - 1)
    ]
    return landscape, [first, *others]


def outcomes(decoder, landscape, canvases, batch_size=8):
    """Decode the canvases; return what became of each, in order."""
    jobs = [
        Job(prompt_of(canvas), decoder, key=str(index)) for index, canvas in enumerate(canvases)
    ]
    done = decode(jobs, landscape, batch_size=batch_size, share=False)
    return sorted(done, key=lambda outcome: int(outcome.job.key))


def decoded(decoder, landscape, canvases, batch_size=8):
    """Decode the canvases; return ids, calls and error of each, in order."""
    return [
        (outcome.output_ids, outcome.counts.nfe, outcome.error)
        for outcome in outcomes(decoder, landscape, canvases, batch_size)
    ]


def fields_of(decoder):
    """The fields of a strategy's rule."""
    names = {field.name for field in dataclasses.fields(decoder)} - {"temperature"}
    return {name: getattr(decoder, name) for name in names}


def assert_agrees(rule, decoder, batch, **each):
    """Compare a batched decoder with its rule in plain Python, canvas by canvas.

    The rule returns the ids and the number of calls, and that of rows if it sends several a
    call.  ``each`` makes further arguments of the rule from the landscape and the key of a decode.
    """
    landscape, canvases = batch
    # Fewer at a time than there are, so that they meet at different progress.
    for outcome in outcomes(decoder, landscape, canvases, batch_size=2):
        assert outcome.error is None
        more = {name: made(landscape, outcome.job.key) for name, made in each.items()}
        ids = outcome.job.prompt.canvas.tolist()
        expected = rule(landscape.probabilities, ids, MASK, **fields_of(decoder), **more)
        counts = outcome.counts
        assert (outcome.output_ids, counts.nfe, counts.rows)[: len(expected)] == tuple(expected)
