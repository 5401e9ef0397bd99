"""What a trace must obey, whatever the model said: the canvas, the loop, the strategy's promises.

A trace that obeys all of this may still have been invented.  Where the course of a strategy is
known the number of calls is proven by it; for one whose speed depends on the predictions only
decoding again proves it, which is what the levels above ``recomputed`` are for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise, zip_longest
from typing import Any, Final

from parallelbench.decode.lanes import block_ends, window_ends
from parallelbench.decoder import Chooser, Decoder
from parallelbench.leaderboards.entry.folder import shown
from parallelbench.leaderboards.verify.unseen import Course
from parallelbench.model import Blocks
from parallelbench.prompt import Prompt
from parallelbench.record import Record
from parallelbench.trace import Trace

#: Rows of one call of a strategy that does not say how many it sends.
_MOST_ROWS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Conduct:
    """What is known of how a decode must have gone.

    Attributes:
        prompt: What was asked, and the canvas at the start.
        decoder: The strategy.
        course: How it goes whatever the model says, unless that ends it earlier; None if that
            depends on it.
        unwritable: The ids below the tokenizer's size that stand for nothing.
        blocks: The grid of the model.
        plain: Whether the model is known to compute every row whole, and to keep nothing
            between calls.
        stops: Whether the model ends a decode behind the block with the first end-of-text.
        knows_law: Whether the model knows when no right answer fits any more.
    """

    prompt: Prompt
    decoder: Decoder
    course: Course | None
    unwritable: frozenset[int]
    blocks: Blocks | None
    plain: bool
    stops: bool
    knows_law: bool


def broken_rules(record: Record, conduct: Conduct) -> Iterator[str]:
    """Yield a sentence for each rule that the trace of ``record`` breaks, the first of a kind.

    The record must have a trace and counts.
    """
    yield from _counted_rules(record, conduct)
    told = next(_writing_rules(record, conduct), None)
    if told is not None:  # what follows from there says nothing new
        yield told
        return
    yield from _ending_rules(record, conduct)
    yield from _calling_rules(record.decoding.trace, conduct)
    if conduct.course is not None:
        yield from _course_rules(record, conduct.prompt, conduct.course, plain=conduct.plain)


def _counted_rules(record: Record, conduct: Conduct) -> Iterator[str]:
    trace, counts = record.decoding.trace, record.decoding.counts
    if any(
        n < 0 for column in (trace.rows, trace.row_tokens, trace.auxiliary_calls) for n in column
    ):
        yield "its trace has a count below 0"
    known = counts.off_law_calls
    if known is not None and not conduct.knows_law:
        yield f"it claims off_law_calls={shown(known)}, which its model cannot know"
    if known is None and conduct.knows_law and trace.nfe:
        yield "it claims no off_law_calls, which its model always tells"
    if known is not None and not 0 <= known <= trace.nfe:
        yield f"it claims off_law_calls={shown(known)} of {trace.nfe} calls"
    if record.seconds < 0:
        yield f"it claims seconds={record.seconds}"


def _writing_rules(record: Record, conduct: Conduct) -> Iterator[str]:
    """Yield what is wrong with what is written where."""
    trace = record.decoding.trace
    canvas = conduct.prompt.canvas.tolist()
    window = _Windows(conduct)
    own = len(trace.rows) - trace.stopped
    for step, (positions, ids) in enumerate(zip(trace.positions, trace.ids, strict=True)):
        if any(low >= high for low, high in pairwise(positions)):
            yield f"step {step} writes positions {_few(positions)}, not ascending or not once each"
        for position, token in zip(positions, ids, strict=True):
            told = _wrong_place(position, canvas, conduct) or _wrong_token(token, conduct)
            if told:
                yield f"step {step} writes {told}"
        if step < own:
            yield from window.leave(step, canvas, positions)
        for position, token in zip(positions, ids, strict=True):
            canvas[position] = token


def _wrong_place(position: int, canvas: Sequence[int], conduct: Conduct) -> str | None:
    """Return why nothing may be written there now; None if it may."""
    if not 0 <= position < len(canvas):
        return f"position {shown(position)} of a canvas of {len(canvas)}"
    if not conduct.prompt.open[position]:
        return f"position {position}, which is given by the question"
    if canvas[position] != conduct.prompt.codec.mask_id and not conduct.decoder.remasks:
        return f"position {position} a second time, which {_name(conduct.decoder)} never does"
    return None


def _wrong_token(token: int, conduct: Conduct) -> str | None:
    """Return why that may not be written; None if it may."""
    codec, decoder = conduct.prompt.codec, conduct.decoder
    if token == codec.mask_id:
        told = f"the mask, which opens a position again, and {_name(decoder)} never does"
        return None if decoder.remasks else told
    if not 0 <= token < codec.size or token in conduct.unwritable:
        return f"id {shown(token)}, which is no token"
    return None


class _Windows:
    """The blocks of a strategy that writes in the first with an open position, and nowhere else."""

    def __init__(self, conduct: Conduct) -> None:
        prompt, decoder = conduct.prompt, conduct.decoder
        kept = isinstance(decoder, Chooser) and _is_own(decoder, "step_batch", Chooser)
        self._decoder = decoder
        self._mask = prompt.codec.mask_id
        self._ends = window_ends(prompt, conduct.blocks, decoder) if kept else []

    def leave(self, step: int, canvas: list[int], positions: list[int]) -> Iterator[str]:
        """Yield what a step writes that it must not, or that it writes nothing."""
        if not self._ends:
            return
        if not positions:
            yield f"step {step} writes nothing, and {_name(self._decoder)} always writes"
            return
        if self._mask not in canvas:
            yield f"step {step} comes after everything was written"
            return
        first = canvas.index(self._mask)
        end = next(each for each in self._ends if each > first)
        if positions[-1] >= end:
            yield (
                f"step {step} writes position {positions[-1]}, behind the end {end} of the block "
                f"that {_name(self._decoder)} fills at that time"
            )


def _ending_rules(record: Record, conduct: Conduct) -> Iterator[str]:
    """Yield what is wrong with how the decode ended."""
    prompt, trace = conduct.prompt, record.decoding.trace
    mask = prompt.codec.mask_id
    end = trace.replay(prompt.canvas.tolist())
    left = sum(token == mask for token in end)
    own = len(trace.rows) - trace.stopped
    budget = conduct.decoder.most_steps(int(prompt.open.sum()))
    if record.status == "ok" and left:
        yield f"it claims status ok, and {left} positions are open at the end"
    if record.status == "unfinished" and not left:
        yield "it claims status unfinished, and no position is open at the end"
    if own > budget:
        yield f"it takes {own} steps, over the budget of {budget}"
    if record.status == "stalled" and own != budget:
        yield f"it claims status stalled after {own} steps, and the budget is {budget}"
    if trace.stopped:
        yield from _stopping_rules(trace, conduct)


def _stopping_rules(trace: Trace, conduct: Conduct) -> Iterator[str]:
    if not conduct.stops:
        yield "its trace was stopped at an end-of-text, which its model never does"
        return
    prompt, codec = conduct.prompt, conduct.prompt.codec
    filled, ids = trace.positions[-1], trace.ids[-1]
    canvas = prompt.canvas.tolist()
    for position, token in chain(*map(zip, trace.positions[:-1], trace.ids[:-1])):
        canvas[position] = token
    left = [position for position, token in enumerate(canvas) if token == codec.mask_id]
    if filled != left or set(ids) - {codec.end_id} or trace.rows[-1] or not filled:
        yield "its last step is no stop: that fills what is open with end-of-text, without a call"
        return
    written = [place for place in prompt.open.nonzero().flatten().tolist() if place not in left]
    ended = [end for end in block_ends(prompt, conduct.blocks) if end <= left[0]]
    if not written or not ended or written[-1] >= ended[-1]:
        yield f"its trace was stopped within a block, before position {left[0]}"
    elif codec.ends.isdisjoint(canvas[place] for place in written):
        yield "its trace was stopped where no end-of-text was written before"


def _calling_rules(trace: Trace, conduct: Conduct) -> Iterator[str]:
    """Yield what is wrong with what was sent, the first of it."""
    own = len(trace.rows) - trace.stopped
    columns = (trace.rows[:own], trace.row_tokens[:own], trace.auxiliary_calls[:own])
    for step, (rows, tokens, aside) in enumerate(zip(*columns, strict=True)):
        told = _wrong_rows(rows, conduct.decoder) or _wrong_load(rows, tokens, aside, conduct)
        if told:
            yield f"step {step} {told}"
            return
    if not trace.nfe:
        yield "it makes no call at all"


def _wrong_rows(rows: int, decoder: Decoder) -> str | None:
    """Return why a step cannot send so many rows; None if it can."""
    if rows == 0 and "0" not in decoder.calls.split():
        return f"makes no call, and {_name(decoder)} makes one in every step"
    if decoder.most_rows is not None and rows > decoder.most_rows:
        told = "one" if decoder.most_rows == 1 else f"{decoder.most_rows} at most"
        return f"sends {shown(rows)} rows, and {_name(decoder)} sends {told}"
    if rows > _MOST_ROWS:
        return f"sends {shown(rows)} rows, and no call has more than {_MOST_ROWS:,}"
    return None


def _wrong_load(rows: int, tokens: int, aside: int, conduct: Conduct) -> str | None:
    """Return why the rows of a step cannot have so many tokens; None if they can."""
    prompt, decoder = conduct.prompt, conduct.decoder
    whole = len(prompt.ids) + len(prompt.canvas)
    if rows == 0 and (tokens or aside):
        return f"sends no row, and {shown(tokens)} tokens"
    if rows and tokens < rows:
        return f"sends {shown(rows)} rows of {shown(tokens)} tokens"
    if conduct.plain and aside:
        return f"makes {shown(aside)} auxiliary calls, which its model never does"
    if aside not in (0, 1):
        return f"claims {shown(aside)} auxiliary calls; there is one or none"
    simple = decoder.rows == "1" and _is_own(decoder, "plan", Decoder)
    # A strategy may show the canvas twice, and a model may compute once more what it keeps.
    most = rows * (whole + len(prompt.canvas)) + aside * whole
    if (conduct.plain and simple and tokens != whole) or tokens > most:
        return f"claims {shown(tokens)} tokens, and prompt and canvas have {whole}"
    return None


def _course_rules(record: Record, prompt: Prompt, course: Course, *, plain: bool) -> Iterator[str]:
    trace, label = record.decoding.trace, record.decoder_label
    # Where the model ended the decode, only what the strategy did before that can be compared.
    own = slice(len(trace.rows) - 1 if trace.stopped else None)
    claimed = Course.of(trace, prompt)
    compared = [
        ("sends {} rows", claimed.rows, course.rows),
        ("sends {} tokens of canvas", claimed.tokens, course.tokens),
    ]
    if course.writes is not None:
        compared.insert(0, ("writes {} tokens", claimed.writes or [], course.writes))
    for what, ours, theirs in compared if plain else compared[:-1]:
        if ours[own] != theirs[own]:
            pairs = zip_longest(ours[own], theirs[own])
            step = next(step for step, (one, other) in enumerate(pairs) if one != other)
            yield (
                f"it {what.format(_few(ours[step:]))} from step {step} on, and {label} always "
                f"{_few(theirs[step:])}"
            )
            return


def _is_own(decoder: Decoder, method: str, of: type[Any]) -> bool:
    """Return whether ``decoder`` does this as ``of`` does."""
    return getattr(type(decoder), method) is getattr(of, method)


def _name(decoder: Decoder) -> str:
    return type(decoder).__name__


def _few(numbers: Sequence[int]) -> str:
    told = ", ".join(shown(number) for number in numbers[:8])
    return f"{told}, ..." if len(numbers) > 8 else told or "none"
