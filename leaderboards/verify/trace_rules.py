"""Rules that every trace must obey whatever the model predicted: those of canvas, loop and decoder.

A trace that obeys all of them may still have been invented.  Where the schedule of a decoder is
known it proves the number of calls; for a decoder whose speed depends on the predictions only
decoding again proves it, which is what the levels above ``recomputed`` are for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, zip_longest
from typing import Any, Final, NamedTuple

from parallelbench.decode.lanes import block_ends, window_ends
from parallelbench.decoder import Chooser, Decoder
from parallelbench.leaderboards.entry.folder import brief
from parallelbench.leaderboards.verify.model_facts import ModelFacts
from parallelbench.leaderboards.verify.step_schedule import StepSchedule, net_writes
from parallelbench.prompt import Prompt
from parallelbench.record import Record
from parallelbench.trace import Trace

#: Most rows of one call of a decoder that declares no limit.
_MOST_ROWS: Final = 10_000


class StartingCanvas(NamedTuple):
    """The canvas of a prompt as Python values: reading single elements of a tensor is slow.

    Attributes:
        ids: Token ids of the canvas; the mask id where a position is open.
        open_positions: Positions that a decode may write.
    """

    ids: list[int]
    open_positions: frozenset[int]

    @classmethod
    def of(cls, prompt: Prompt) -> StartingCanvas:
        """Return the canvas of ``prompt``."""
        return cls(prompt.canvas.tolist(), frozenset(prompt.open.nonzero().flatten().tolist()))


@dataclass(frozen=True, slots=True)
class TraceExpectations:
    """The facts that the trace of one decode is checked against.

    Attributes:
        prompt: The prompt of the decode.
        start: Canvas of the prompt.
        decoder: The decoder of the decode.
        model: Facts about its model.
        schedule: Steps of the decoder under any model, unless the model ends the decode earlier;
            None if they depend on the predictions.
    """

    prompt: Prompt
    start: StartingCanvas
    decoder: Decoder
    model: ModelFacts
    schedule: StepSchedule | None


class ReplayedTrace(NamedTuple):
    """The canvases of a trace, from one pass over its steps.

    Attributes:
        fault: Sentence on the first write that breaks a rule; None if no write does.
        writes: Positions filled in each step, less those opened again; ends before the step of
            the fault.
        before_last: Canvas before the last step; empty if a fault comes earlier.
        final: Canvas after the last step, or before the step of the fault.
    """

    fault: str | None
    writes: list[int]
    before_last: list[int]
    final: list[int]


def replay_trace(trace: Trace, expectations: TraceExpectations) -> ReplayedTrace:
    """Replay ``trace`` on its starting canvas and check every write, up to the first fault."""
    canvas, before_last = list(expectations.start.ids), []
    windows = _Windows(expectations)
    writes: list[int] = []
    mask_id = expectations.prompt.codec.mask_id
    steps = len(trace.rows)
    for step, (positions, ids) in enumerate(zip(trace.positions, trace.ids, strict=True)):
        if step == steps - 1:
            before_last = canvas.copy()
        fault = _write_fault(positions, ids, canvas, expectations)
        if fault is None and step < steps - trace.stopped:
            fault = windows.fault(canvas, positions)
        if fault is not None:
            return ReplayedTrace(f"step {step} {fault}", writes, before_last, canvas)
        writes.append(net_writes(canvas, positions, ids, mask_id))
        for position, token in zip(positions, ids, strict=True):
            canvas[position] = token
    return ReplayedTrace(None, writes, before_last, canvas)


def trace_faults(
    record: Record, expectations: TraceExpectations, replayed: ReplayedTrace
) -> Iterator[str]:
    """Yield a sentence for each rule that the trace of a record breaks, the first of a kind.

    Args:
        record: A record with a trace and counts.
        expectations: The facts to check it against.
        replayed: Result of :func:`replay_trace` for this trace and these expectations.
    """
    yield from _count_faults(record, expectations.model)
    if replayed.fault is not None:  # further faults would only follow from it
        yield replayed.fault
        return
    yield from _ending_faults(record, expectations, replayed)
    yield from _call_faults(record.require_decoding().trace, expectations)
    if expectations.schedule is not None:
        yield from _schedule_faults(record, expectations, expectations.schedule, replayed.writes)


def _count_faults(record: Record, model: ModelFacts) -> Iterator[str]:
    trace, counts = record.require_decoding().trace, record.require_decoding().counts
    if any(
        n < 0 for column in (trace.rows, trace.row_tokens, trace.auxiliary_calls) for n in column
    ):
        yield "its trace has a count below 0"
    calls = counts.off_law_calls
    if calls is not None and not model.knows_support:
        yield f"it claims off_law_calls={brief(calls)}, which its model cannot know"
    if calls is None and model.knows_support and trace.nfe:
        yield "it claims no off_law_calls, which its model always counts"
    if calls is not None and not 0 <= calls <= trace.nfe:
        yield f"it claims off_law_calls={brief(calls)} of {trace.nfe} calls"
    if record.seconds < 0:
        yield f"it claims seconds={record.seconds}"


def _write_fault(
    positions: list[int],
    ids: list[int],
    canvas: Sequence[int],
    expectations: TraceExpectations,
) -> str | None:
    """Return the fault of the first wrong write of a step; None if there is none."""
    if any(low >= high for low, high in pairwise(positions)):
        return f"writes positions {_first_few(positions)}, not ascending or not once each"
    for position, token in zip(positions, ids, strict=True):
        fault = _position_fault(position, canvas, expectations) or _token_fault(token, expectations)
        if fault:
            return f"writes {fault}"
    return None


def _position_fault(
    position: int, canvas: Sequence[int], expectations: TraceExpectations
) -> str | None:
    """Return the reason why a position may not be written now; None if it may."""
    if position not in expectations.start.open_positions:
        if not 0 <= position < len(canvas):
            return f"position {brief(position)} of a canvas of {len(canvas)}"
        return f"position {position}, which is given by the question"
    decoder = expectations.decoder
    if canvas[position] != expectations.prompt.codec.mask_id and not decoder.remasks:
        return f"position {position} a second time, which {_name(decoder)} never does"
    return None


def _token_fault(token: int, expectations: TraceExpectations) -> str | None:
    """Return the reason why a token may not be written; None if it may."""
    codec, decoder = expectations.prompt.codec, expectations.decoder
    if token == codec.mask_id:
        fault = f"the mask, which opens a position again, and {_name(decoder)} never does"
        return None if decoder.remasks else fault
    if not 0 <= token < codec.size or token in expectations.model.unwritable:
        return f"id {brief(token)}, which is no token"
    return None


class _Windows:
    """The windows of a decoder that writes only in the first one with an open position.

    Decoders that choose their own positions have no windows, and no fault here.
    """

    def __init__(self, expectations: TraceExpectations) -> None:
        prompt, decoder = expectations.prompt, expectations.decoder
        keeps_windows = isinstance(decoder, Chooser) and _inherits(decoder, "step_batch", Chooser)
        self._decoder = decoder
        self._mask = prompt.codec.mask_id
        self._ends = (
            window_ends(prompt, expectations.model.blocks, decoder) if keeps_windows else []
        )

    def fault(self, canvas: list[int], positions: list[int]) -> str | None:
        """Return the fault of a step that writes ``positions``; None if it has none."""
        if not self._ends:
            return None
        if not positions:
            return f"writes nothing, and {_name(self._decoder)} always writes"
        try:
            first_open = canvas.index(self._mask)
        except ValueError:
            return "comes after everything was written"
        end = next(each for each in self._ends if each > first_open)
        if positions[-1] >= end:
            return (
                f"writes position {positions[-1]}, behind the end {end} of the block "
                f"that {_name(self._decoder)} fills at that time"
            )
        return None


def _ending_faults(
    record: Record, expectations: TraceExpectations, replayed: ReplayedTrace
) -> Iterator[str]:
    """Yield the faults of how a decode ended: its status, its budget and a stop of the model."""
    trace = record.require_decoding().trace
    still_open = replayed.final.count(expectations.prompt.codec.mask_id)
    steps = len(trace.rows) - trace.stopped
    budget = expectations.decoder.most_steps(len(expectations.start.open_positions))
    if record.status == "ok" and still_open:
        yield f"it claims status ok, and {still_open} positions are open at the end"
    if record.status == "unfinished" and not still_open:
        yield "it claims status unfinished, and no position is open at the end"
    if steps > budget:
        yield f"it takes {steps} steps, over the budget of {budget}"
    if record.status == "stalled" and steps != budget:
        yield f"it claims status stalled after {steps} steps, and the budget is {budget}"
    if trace.stopped:
        yield from _stop_faults(trace, expectations, replayed.before_last)


def _stop_faults(
    trace: Trace, expectations: TraceExpectations, canvas: Sequence[int]
) -> Iterator[str]:
    """Yield the fault of a stop by the model.

    Args:
        trace: A trace whose last step is the stop.
        expectations: The facts to check it against.
        canvas: Canvas before the stop.
    """
    if not expectations.model.stops:
        yield "its trace was stopped at an end-of-text, which its model never does"
        return
    prompt, codec = expectations.prompt, expectations.prompt.codec
    filled, ids = trace.positions[-1], trace.ids[-1]
    still_open = [position for position, token in enumerate(canvas) if token == codec.mask_id]
    if filled != still_open or set(ids) - {codec.end_id} or trace.rows[-1] or not filled:
        yield "its last step is no stop: that fills what is open with end-of-text, without a call"
        return
    written = sorted(expectations.start.open_positions.difference(still_open))
    ends = [end for end in block_ends(prompt, expectations.model.blocks) if end <= still_open[0]]
    if not written or not ends or written[-1] >= ends[-1]:
        yield f"its trace was stopped within a block, before position {still_open[0]}"
    elif codec.ends.isdisjoint(canvas[place] for place in written):
        yield "its trace was stopped where no end-of-text was written before"


def _call_faults(trace: Trace, expectations: TraceExpectations) -> Iterator[str]:
    """Yield the first fault of the rows that were sent."""
    steps = len(trace.rows) - trace.stopped
    columns = (trace.rows[:steps], trace.row_tokens[:steps], trace.auxiliary_calls[:steps])
    for step, (rows, tokens, auxiliary) in enumerate(zip(*columns, strict=True)):
        fault = _rows_fault(rows, expectations.decoder)
        fault = fault or _tokens_fault(rows, tokens, auxiliary, expectations)
        if fault:
            yield f"step {step} {fault}"
            return
    if not trace.nfe:
        yield "it makes no call at all"


def _rows_fault(rows: int, decoder: Decoder) -> str | None:
    """Return the reason why a step cannot send ``rows`` rows; None if it can."""
    if rows == 0 and "0" not in decoder.calls.split():
        return f"makes no call, and {_name(decoder)} makes one in every step"
    if decoder.most_rows is not None and rows > decoder.most_rows:
        limit = "one" if decoder.most_rows == 1 else f"{decoder.most_rows} at most"
        return f"sends {brief(rows)} rows, and {_name(decoder)} sends {limit}"
    if rows > _MOST_ROWS:
        return f"sends {brief(rows)} rows, and no call has more than {_MOST_ROWS:,}"
    return None


def _tokens_fault(
    rows: int, tokens: int, auxiliary: int, expectations: TraceExpectations
) -> str | None:
    """Return the reason why the rows of a step cannot have ``tokens`` tokens; None if they can."""
    prompt, decoder, uncached = (
        expectations.prompt,
        expectations.decoder,
        expectations.model.uncached,
    )
    whole = len(prompt.ids) + len(prompt.canvas)
    if rows == 0 and (tokens or auxiliary):
        return f"sends no row, and {brief(tokens)} tokens"
    if rows and tokens < rows:
        return f"sends {brief(rows)} rows of {brief(tokens)} tokens"
    if uncached and auxiliary:
        return f"makes {brief(auxiliary)} auxiliary calls, which its model never does"
    if auxiliary not in (0, 1):
        return f"claims {brief(auxiliary)} auxiliary calls; there is one or none"
    sends_canvas = decoder.rows == "1" and _inherits(decoder, "plan", Decoder)
    # A decoder may send the canvas twice, and a model may compute again what it caches.
    most = rows * (whole + len(prompt.canvas)) + auxiliary * whole
    if (uncached and sends_canvas and tokens != whole) or tokens > most:
        return f"claims {brief(tokens)} tokens, and prompt and canvas have {whole}"
    return None


def _schedule_faults(
    record: Record,
    expectations: TraceExpectations,
    schedule: StepSchedule,
    writes: list[int],
) -> Iterator[str]:
    """Yield the first step in which a trace departs from the schedule of its decoder."""
    trace, label = record.require_decoding().trace, record.decoder_label
    # Where the model stopped the decode, only the steps before that can be compared.
    steps = slice(len(trace.rows) - 1 if trace.stopped else None)
    claimed = StepSchedule.of(trace, writes, expectations.prompt)
    compared = [
        ("sends {} rows", claimed.rows, schedule.rows),
        ("sends {} tokens of canvas", claimed.tokens, schedule.tokens),
    ]
    if schedule.writes is not None:
        compared.insert(0, ("writes {} tokens", writes, schedule.writes))
    for clause, ours, theirs in compared if expectations.model.uncached else compared[:-1]:
        if ours[steps] != theirs[steps]:
            pairs = zip_longest(ours[steps], theirs[steps])
            step = next(step for step, (one, other) in enumerate(pairs) if one != other)
            yield (
                f"it {clause.format(_first_few(ours[step:]))} from step {step} on, and {label} "
                f"always {_first_few(theirs[step:])}"
            )
            return


def _inherits(decoder: Decoder, method: str, base: type[Any]) -> bool:
    """Return True if a decoder leaves ``method`` as ``base`` defines it."""
    return getattr(type(decoder), method) is getattr(base, method)


def _name(decoder: Decoder) -> str:
    return type(decoder).__name__


def _first_few(numbers: Sequence[int]) -> str:
    listed = ", ".join(brief(number) for number in numbers[:8])
    return f"{listed}, ..." if len(numbers) > 8 else listed or "none"
