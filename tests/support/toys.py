"""A toy task, a toy network and toy strategies: small enough to reason about in a test."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from parallelbench.decoder import Chooser, Decoder, Update
from parallelbench.model import Model, Prediction, Row
from parallelbench.models.word_tokenizer import word_tokenizer
from parallelbench.prompt import Codec, build_prompt
from parallelbench.score import Marks
from parallelbench.task import Answers, Question, Task, sample_rng

WORDS = ("red", "green", "blue", "black", "white", "grey")


@dataclass(frozen=True, kw_only=True)
class Colours(Task):
    """Ask for two different colours."""

    name: ClassVar[str] = "toy/colours"
    templates: ClassVar = {"default": "Name two of {colours}.", "terse": "{colours}: two?"}
    words: ClassVar = WORDS

    canvas_length: int = 6
    infill: bool = False

    def pose(self, rng, index):
        first, second = rng.sample(WORDS, 2)
        reference = f"{first}, {second}"
        spans = ((0, len(first)), (len(first) + 2, len(reference)))
        return Question(
            slots={"colours": ", ".join(WORDS), "number": str(index)},
            reference=reference,
            facts={},
            open_spans=spans if self.infill else None,
        )

    def score(self, sample, reply):
        first, _, second = reply.partition(", ")
        right = first in WORDS and second in WORDS and first != second
        return Marks(float(right), float(right), failure=None if right else "wrong")

    def answers(self, sample, limit=100_000):
        return Answers.uniform(f"{a}, {b}" for a in WORDS for b in WORDS if a != b)


def toy_codec():
    tokenizer = word_tokenizer(WORDS)
    return Codec(tokenizer, tokenizer.mask_token_id, tokenizer.eos_token_id)


def prompts(codec, count=1, **fields):
    task = Colours(**fields)
    return [
        build_prompt(task, task.draw(sample_rng(0, task.name, index), index), codec)
        for index in range(count)
    ]


class ToyNetwork(Model):
    """Random weights: what stands at every position moves the logits at every other.

    Each row is computed by itself, so its prediction cannot depend on the batch.
    """

    digest = "toy"

    def __init__(self, *, columns=40, length=64, scale=2.0):
        self.codec = toy_codec()
        self.calls = []
        generator = torch.Generator().manual_seed(7)
        size = max(columns, self.codec.size) + 5
        self._place = torch.randn(length, size, generator=generator, dtype=torch.float64) * scale
        self._token = torch.randn(size, size, generator=generator, dtype=torch.float64)

    def predict(self, rows):
        self.calls.append([row.canvas.clone() for row in rows])
        lines = []
        for row in rows:
            written = row.canvas[row.canvas != self.codec.mask_id]
            logits = self._place[: len(row.canvas)] + self._token[written].sum(dim=0) / 4
            lines.append(logits[row.wanted].float())
        return Prediction(logits=torch.cat(lines))

    def provenance(self):
        return {}


@dataclass(frozen=True, kw_only=True)
class Surest(Chooser):
    """Commit the surest position: the shape that most strategies have."""

    needs: ClassVar = frozenset({"token", "confidence"})

    def choose(self, step):
        best = step.confidence.masked_fill(~step.open, -torch.inf).argmax(dim=1)
        return torch.nn.functional.one_hot(best, step.open.shape[1]).bool()


@dataclass(frozen=True, kw_only=True)
class Revising(Decoder):
    """Fill everything, then open the least sure half again, ``rounds`` times."""

    needs: ClassVar = frozenset({"token", "confidence"})
    remasks: ClassVar = True

    rounds: int = 3

    def start(self, view):
        return {"round": 0}

    def step(self, state, view, statistics):
        state["round"] += 1
        tokens = torch.where(view.open, statistics.token[0], view.canvas)
        write = view.open.clone()
        if state["round"] < self.rounds:
            order = statistics.confidence[0].masked_fill(~view.open, torch.inf).argsort()
            again = order[: max(1, view.remaining // 2)]
            tokens[again] = view.mask_id
        return Update(write=write, tokens=tokens)


@dataclass(frozen=True, kw_only=True)
class Wavering(Decoder):
    """Write the surer half; write the rest and open that half again; write it anew."""

    needs: ClassVar = frozenset({"token", "confidence"})
    remasks: ClassVar = True

    def start(self, view):
        return {"first": None}

    def step(self, state, view, statistics):
        if state["first"] is not None:
            tokens = torch.where(state["first"] & ~view.open, view.mask_id, statistics.token[0])
            return Update(write=view.open | state["first"], tokens=tokens)
        confidence = statistics.confidence[0].masked_fill(~view.open, -torch.inf)
        state["first"] = torch.zeros_like(view.open)
        state["first"][confidence.argsort(descending=True)[: view.remaining // 2]] = True
        return Update(write=state["first"], tokens=statistics.token[0])


@dataclass(frozen=True, kw_only=True)
class Steady(Decoder):
    """Commit what two calls in a row agree on in full distribution; else the surest."""

    needs: ClassVar = frozenset({"token", "confidence", "distribution"})
    adaptive: ClassVar = True

    def start(self, view):
        return {"before": None}

    def step(self, state, view, statistics):
        now = statistics.distribution[0]
        write = torch.zeros_like(view.open)
        if state["before"] is not None:
            write = view.open & ((now - state["before"]).abs().sum(dim=1) < 0.5)
        write[statistics.confidence[0].masked_fill(~view.open, -torch.inf).argmax()] = True
        state["before"] = now
        return Update(write=write, tokens=statistics.token[0])


@dataclass(frozen=True, kw_only=True)
class Branching(Decoder):
    """Send the canvas and a branch of it; keep the branch if its rest looks surer."""

    needs: ClassVar = frozenset({"token", "confidence"})

    def start(self, view):
        return {"guess": None}

    def plan(self, state, view):
        rows = [Row(view.prompt, view.canvas, view.open)]
        if state["guess"] is not None:
            position, token = state["guess"]
            canvas = view.canvas.clone()
            canvas[position] = token
            wanted = view.open.clone()
            wanted[position] = False
            rows.append(Row(view.prompt, canvas, wanted))
        return rows

    def step(self, state, view, statistics):
        confidence = statistics.confidence.masked_fill(~view.open, -torch.inf)
        write = torch.zeros_like(view.open)
        tokens = statistics.token[0].clone()
        best = int(confidence[0].argmax())
        write[best] = True
        if len(confidence) == 2 and confidence[1].max() > confidence[0].max():
            position, token = state["guess"]
            write[position], tokens[position] = True, token
        left = (view.open & ~write).nonzero().flatten()
        state["guess"] = (int(left[0]), int(statistics.token[0][left[0]])) if len(left) else None
        return Update(write=write, tokens=tokens)


@dataclass(frozen=True, kw_only=True)
class Resting(Decoder):
    """Make a call only in every other step; write what it said in the step between."""

    def start(self, view):
        return {"tokens": None}

    def plan(self, state, view):
        return [Row(view.prompt, view.canvas, view.open)] if state["tokens"] is None else []

    def step(self, state, view, statistics):
        write = torch.zeros_like(view.open)
        if state["tokens"] is None:
            state["tokens"] = statistics.token[0]
            return Update(write=write, tokens=view.canvas)
        write[view.open.nonzero()[0]] = True
        tokens, state["tokens"] = state["tokens"], None
        return Update(write=write, tokens=tokens)


@dataclass(frozen=True, kw_only=True)
class Sliding(Decoder):
    """Write the first open position of a window that moves with it."""

    width: int = 2

    def step(self, state, view, statistics):
        write = torch.zeros_like(view.open)
        first = int(view.open.nonzero()[0])
        write[first] = True
        end = min(first + 1 + self.width, len(view.canvas))
        return Update(
            write=write,
            tokens=statistics.token[0],
            window=(first + 1, end),
            done=first + 1 == len(view.canvas),
        )


FULL_CONTRACT = (Revising(), Wavering(), Steady(), Branching(), Resting(), Sliding())
