"""Slots and cohorts: the decodes in progress, what is written in them, what it cost.

A *slot* is one sample under one decoder.  Slots of the same decoder and canvas length form
a *cohort*, whose canvases are one tensor.  A strategy that raises, or writes where it may
not, ends its slots with status ``error``; the other slots go on.
"""

from __future__ import annotations

import hashlib
import itertools
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from parallelbench.decoder import Decoder, Progress, Statistics, StepBatch, Updates, View
from parallelbench.errors import DecoderError, RequestError
from parallelbench.model import Blocks, Model, Row
from parallelbench.prompt import Prompt
from parallelbench.record import Counts, Status
from parallelbench.trace import Trace

#: What an error says of a strategy that writes what it may not, and of no other.
WROTE = "wrote"


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One decode to be done.

    Attributes:
        prompt: The sample, as token ids and a canvas.
        decoder: The strategy.
        key: Names this decode within its run; its randomness is drawn from nothing else.
        tag: Handed back with the outcome.
    """

    prompt: Prompt
    decoder: Decoder
    key: str
    tag: Any = None


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """One decode, done.

    Attributes:
        job: The requested decode.
        output_ids: The canvas at the end.
        status: Status, as in :class:`~parallelbench.record.Record`.
        error: Message, for status ``error``.
        note: Note of the decoder for the record; None for none.
        trace: Every step.
        off_law_calls: Calls on a canvas that no right answer fits; None if unknown.
        seconds: Wall-clock time while the slot was live.
    """

    job: Job
    output_ids: list[int]
    status: Status
    error: str | None
    note: str | None
    trace: Trace
    off_law_calls: int | None
    seconds: float

    @property
    def counts(self) -> Counts:
        """Costs and products of the decode."""
        codec = self.job.prompt.codec
        open_ids = [
            token
            for token, is_open in zip(self.output_ids, self.job.prompt.open.tolist(), strict=True)
            if is_open
        ]
        before_end = codec.before_end(open_ids)
        behind_end = open_ids[len(before_end) :]
        answer_tokens = sum(token != codec.mask_id for token in before_end)
        canvas_tokens = len(open_ids) - self.trace.filled
        nfe = self.trace.nfe
        return Counts(
            nfe=nfe,
            rows=sum(self.trace.rows),
            token_positions=sum(self.trace.row_tokens),
            auxiliary_calls=sum(self.trace.auxiliary_calls),
            steps=len(self.trace.rows),
            canvas_tokens=canvas_tokens,
            answer_tokens=answer_tokens,
            tokens_after_end=sum(t not in codec.ends | {codec.mask_id} for t in behind_end),
            revisions=self.trace.revisions(codec.mask_id),
            tokens_per_step=canvas_tokens / nfe if nfe else None,
            answer_tokens_per_step=answer_tokens / nfe if nfe else None,
            off_law_calls=self.off_law_calls,
        )


@dataclass(slots=True, eq=False)
class Call:
    """The rows that one cohort sends in one step, and what comes back for them.

    Attributes:
        rows: Rows, in the order of the slots.
        slices: Slice of the rows that belongs to each slot.
        wanted: True at the wanted positions, one line per row, padded to the longest.
        draws: Uniform numbers in [0, 1) that draw the tokens; None at temperature 0.
        uniform: Uniform numbers in [0, 1) for the decoder, one line per slot; None if it needs
            none.
        statistics: Statistics for the decoder.
        off_support: True for each row that no right answer fits; None if the model cannot tell.
    """

    rows: list[Row]
    slices: list[slice]
    wanted: Tensor
    draws: Tensor | None
    uniform: Tensor | None
    statistics: Statistics
    off_support: Sequence[bool] | None = None

    def keep(self, slots: Sequence[int]) -> None:
        """Forget the rows of all other slots."""
        kept = [index for slot in slots for index in range(len(self.rows))[self.slices[slot]]]
        lengths = [self.slices[slot].stop - self.slices[slot].start for slot in slots]
        stops = list(itertools.accumulate(lengths))
        self.rows = [self.rows[index] for index in kept]
        self.slices = [slice(stop - n, stop) for stop, n in zip(stops, lengths, strict=True)]
        self.wanted = self.wanted[kept]
        self.draws = None if self.draws is None else self.draws[kept]
        self.uniform = None if self.uniform is None else self.uniform[list(slots)]


class _CohortView(NamedTuple):
    """The open positions of every slot's window, and the decoder's view of each slot."""

    open: Tensor
    views: list[View]


class Termination(NamedTuple):
    """Status and error of a decode that ended.

    Attributes:
        status: Status, as in :class:`~parallelbench.record.Record`.
        error: Message, for status ``error``.
    """

    status: Status
    error: str | None = None


@dataclass(slots=True, eq=False)
class Slot:
    """One sample under one decoder, while it is being decoded."""

    job: Job
    blocks: list[tuple[int, int]]
    stops: frozenset[int]
    budget: int
    rng: np.random.Generator | None = None
    state: Any = None
    window: tuple[int, int] = (0, 0)
    entered: Tensor | None = None
    initial: int = 0
    step: int = 0
    nfe: int = 0
    stored: int = 0
    off_law_calls: int | None = None
    trace: Trace = field(default_factory=Trace)
    started: float = field(default_factory=time.perf_counter)


def block_ends(prompt: Prompt, blocks: Blocks | None) -> list[int]:
    """Return the ends of the blocks of a model's grid in the canvas of ``prompt``."""
    length = len(prompt.canvas)
    if blocks is None:
        return [length]
    return [*range(_start(prompt, blocks) + blocks.length, length, blocks.length), length]


def window_ends(prompt: Prompt, blocks: Blocks | None, decoder: Decoder) -> list[int]:
    """Return the ends of a decode's windows, ascending, if its decoder moves none.

    The blocks of a strategy lie within those of the model's grid.
    """
    block = decoder.block_length
    ends: list[int] = []
    for low, high in itertools.pairwise([_start(prompt, blocks), *block_ends(prompt, blocks)]):
        ends += range(low + block, high, block) if block else ()
        ends.append(high)
    return [end for end in ends if end > 0]


def _start(prompt: Prompt, blocks: Blocks | None) -> int:
    """Return the start of the block of the canvas's first token; negative in the prompt."""
    return -(len(prompt.ids) % blocks.length) if blocks and blocks.from_prompt else 0


class Cohort:
    """The slots of one decoder and one canvas length.

    Args:
        decoder: The strategy of every slot.
        model: Model whose codec and device are used.

    Attributes:
        slots: Live slots.
    """

    def __init__(self, decoder: Decoder, model: Model) -> None:
        self.decoder = decoder
        self.slots: list[Slot] = []
        self._model = model
        self._codec = model.codec
        self._device = model.device
        self._canvas = torch.empty((0, 0), dtype=torch.long)
        self._writable = torch.empty((0, 0), dtype=torch.bool)
        self._cached_view: _CohortView | None = None

    def admit(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Let ``jobs`` join; return those that failed at once."""
        fresh = range(len(self.slots), len(self.slots) + len(jobs))
        canvases = [job.prompt.canvas.to(self._device) for job in jobs]
        masked = [job.prompt.open.to(self._device) for job in jobs]
        self._canvas = torch.stack([*self._canvas, *canvases])
        self._writable = torch.stack([*self._writable, *masked])
        self.slots += [self._slot(job) for job in jobs]
        for index in fresh:
            self._enter_next_block(self.slots[index], self._canvas[index])
        self._cached_view = None
        try:
            for index in fresh:
                self.slots[index].state = self.decoder.start(self._view.views[index])
        except RequestError:
            raise
        except Exception as error:  # noqa: BLE001  a strategy's fault must not end the run
            return self._finish(dict.fromkeys(fresh, _fault(error)))
        return []

    def plan(self) -> Call | list[Outcome]:
        """Return the call that the decoder plans, or the outcomes if it failed."""
        rows: list[Row] = []
        slices: list[slice] = []
        try:
            for slot, view in zip(self.slots, self._view.views, strict=True):
                planned = self._with_requests(slot, self.decoder.plan(slot.state, view))
                slices.append(slice(len(rows), len(rows) + len(planned)))
                rows.extend(planned)
        except RequestError:
            raise
        except Exception as error:  # noqa: BLE001  a strategy's fault must not end the run
            return self._finish(dict.fromkeys(range(len(self.slots)), _fault(error)))
        return Call(
            rows=rows,
            slices=slices,
            wanted=_padded([row.wanted for row in rows], self._view.open),
            draws=self._draws(rows, slices) if self.decoder.temperature > 0 else None,
            uniform=self._uniform() if "uniform" in self.decoder.needs else None,
            statistics=Statistics(token=self._canvas[:0]),
        )

    def drop(self, call: Call, failed: Mapping[Row, str]) -> list[Outcome]:
        """Take out the slots, and their rows of ``call``, for which there is no prediction.

        Args:
            call: The planned call.
            failed: Reason for each row without a prediction.
        """
        reasons = ([failed[row] for row in call.rows[own] if row in failed] for own in call.slices)
        endings = {index: Termination("error", own[0]) for index, own in enumerate(reasons) if own}
        if endings:
            call.keep([index for index in range(len(self.slots)) if index not in endings])
        return self._finish(endings)

    def step(self, call: Call) -> list[Outcome]:
        """Let the decoder choose, apply and count what it chose; return finished slots."""
        if not self.slots:
            return []
        try:
            endings = self._step(call)
        except RequestError:
            raise
        except Exception as error:  # noqa: BLE001  a strategy's fault must not end the run
            endings = dict.fromkeys(range(len(self.slots)), _fault(error))
        return self._finish(endings)

    def _step(self, call: Call) -> dict[int, Termination]:
        progress = torch.tensor(
            [(slot.step, slot.initial) for slot in self.slots], device=self._device
        )
        batch = StepBatch(
            views=self._view.views,
            states=[slot.state for slot in self.slots],
            open=self._view.open,
            progress=Progress(step=progress[:, 0], initial=progress[:, 1]),
            statistics=call.statistics,
            rows=call.slices,
        )
        updates = self.decoder.step_batch(batch)
        faults = self._faults(updates)
        self._count(call, updates)
        self._canvas = torch.where(updates.write, updates.tokens, self._canvas)
        self._cached_view = None
        done = updates.done or [False] * len(self.slots)
        windows = updates.windows or [None] * len(self.slots)
        before = [slot.window for slot in self.slots]
        endings: dict[int, Termination] = {}
        for index, slot in enumerate(self.slots):
            ending = faults.get(index) or self._next(
                index, slot, done=done[index], window=windows[index]
            )
            if ending:
                endings[index] = ending
        if [slot.window for slot in self.slots] != before:
            self._cached_view = None
        return endings

    def _next(
        self, index: int, slot: Slot, *, done: bool, window: tuple[int, int] | None
    ) -> Termination | None:
        """Move one slot on; return how it ended, if it did."""
        if window is not None:
            slot.window = window
        elif not done and self.decoder.block_done(slot.state, self._view.views[index]):
            done = self._stop(index, slot) or not self._enter_next_block(slot, self._canvas[index])
        if done:
            left = (self._canvas[index] == self._codec.mask_id) & self._writable[index]
            return Termination("unfinished" if left.any() else "ok")
        if len(slot.trace.rows) >= slot.budget:
            return Termination("stalled")
        return None

    def _stop(self, index: int, slot: Slot) -> bool:
        """Fill what is left with end-of-text, if the model stops after the finished block."""
        canvas, end = self._canvas[index], slot.window[1]
        if end not in slot.stops:
            return False
        written = canvas[:end][self._writable[index, :end]].tolist()
        if self._codec.ends.isdisjoint(written):
            return False
        left = (canvas == self._codec.mask_id) & self._writable[index]
        positions = left.nonzero().flatten().tolist()
        if positions:
            self._canvas[index, positions] = self._codec.end_id
            self._cached_view = None
            slot.trace.stop(positions, [self._codec.end_id] * len(positions))
        return True

    def _faults(self, updates: Updates) -> dict[int, Termination]:
        """Return the slots in which the decoder broke its contract."""
        allowed = self._writable if self.decoder.remasks else self._view.open
        outside = (updates.write & ~allowed).any(dim=1)
        masks = self._codec.mask_id == updates.tokens
        known = (updates.tokens >= 0) & (updates.tokens < self._codec.size) & ~masks
        if self.decoder.remasks:
            known = known | masks
        unknown = (updates.write & ~known).any(dim=1)
        faults: dict[int, Termination] = {}
        for index in (outside | unknown).nonzero().flatten().tolist():
            fault = (
                f"{WROTE} outside the open positions of its window"
                if outside[index]
                else f"{WROTE} an id that is no token"
            )
            faults[index] = Termination("error", f"decoder {type(self.decoder).__name__} {fault}")
        return faults

    def _count(self, call: Call, updates: Updates) -> None:
        positions: list[list[int]] = [[] for _ in self.slots]
        ids: list[list[int]] = [[] for _ in self.slots]
        tokens = updates.tokens[updates.write].tolist()
        for (index, position), token in zip(updates.write.nonzero().tolist(), tokens, strict=True):
            positions[index].append(position)
            ids[index].append(token)
        for index, (slot, own) in enumerate(zip(self.slots, call.slices, strict=True)):
            rows = call.rows[own]
            slot.step += 1
            slot.nfe += bool(rows)
            if call.off_support is not None:
                slot.off_law_calls = (slot.off_law_calls or 0) + any(call.off_support[own])
            loads = [self._model.compute_cost(row) for row in rows]
            stored = max((load.stored for load in loads), default=slot.stored)
            grown, slot.stored = max(stored - slot.stored, 0), stored
            slot.trace.add(
                positions[index],
                ids[index],
                rows=len(rows),
                row_tokens=sum(load.tokens for load in loads) + grown,
                auxiliary_calls=int(grown > 0),
            )

    def _with_requests(self, slot: Slot, rows: Sequence[Row]) -> Sequence[Row]:
        """Add to planned rows what the model must know and what the decoder needs of it."""
        extras = self.decoder.extras
        if self._model.uses_window_snapshot:
            rows = [replace(row, window=slot.window, window_snapshot=slot.entered) for row in rows]
        return [replace(row, extras=extras) for row in rows] if extras else rows

    def _slot(self, job: Job) -> Slot:
        own = block_ends(job.prompt, self._model.blocks)
        ends = window_ends(job.prompt, self._model.blocks, self.decoder)
        return Slot(
            job=job,
            blocks=list(itertools.pairwise([0, *ends])),
            stops=frozenset(own if self._model.stops else ()),
            budget=self.decoder.most_steps(int(job.prompt.open.sum())),
        )

    def _enter_next_block(self, slot: Slot, canvas: Tensor) -> bool:
        """Make the next block with an open position the active window, if there is one."""
        while slot.blocks:
            low, high = slot.blocks.pop(0)
            count = int((canvas[low:high] == self._codec.mask_id).sum())
            if count:
                slot.window, slot.initial, slot.step = (low, high), count, 0
                slot.entered = canvas.clone() if self._model.uses_window_snapshot else None
                return True
        return False

    @property
    def _view(self) -> _CohortView:
        """Open positions and views of the slots; rebuilt after any change."""
        if self._cached_view is None:
            self._cached_view = self._build_view()
        return self._cached_view

    def _build_view(self) -> _CohortView:
        windows = [slot.window for slot in self.slots]
        bounds = torch.tensor(windows, dtype=torch.long, device=self._device).view(-1, 2, 1)
        position = torch.arange(self._canvas.shape[1], device=self._device)
        inside = (position >= bounds[:, 0]) & (position < bounds[:, 1])
        is_open = (self._canvas == self._codec.mask_id) & inside
        remaining = is_open.sum(dim=1).tolist()
        columns = zip(self.slots, self._canvas.unbind(), is_open.unbind(), remaining, strict=True)
        views = [
            View(
                prompt=slot.job.prompt,
                canvas=canvas,
                open=own_open,
                window=slot.window,
                remaining=left,
                initial=slot.initial,
                step=slot.step,
                nfe=slot.nfe,
                mask_id=self._codec.mask_id,
            )
            for slot, canvas, own_open, left in columns
        ]
        return _CohortView(is_open, views)

    def _draws(self, rows: Sequence[Row], slices: Sequence[slice]) -> Tensor:
        """Return the numbers that draw the tokens of each row."""
        numbers = [
            self._random(slot, row.canvas.numel())
            for slot, own in zip(self.slots, slices, strict=True)
            for row in rows[own]
        ]
        none = torch.empty(self._canvas.shape, dtype=torch.float64)
        return _padded(numbers, none).to(self._device)

    def _uniform(self) -> Tensor:
        """Return the uniform numbers for the decoder, for every slot, with or without a row."""
        none = torch.empty((0, self.decoder.draws(self._canvas.shape[1])), dtype=torch.float64)
        numbers = [self._random(slot, none.shape[1]) for slot in self.slots]
        return _padded(numbers, none).to(self._device)

    def _random(self, slot: Slot, count: int) -> Tensor:
        # Made when first needed: most strategies at temperature 0 never draw.
        slot.rng = slot.rng or _generator(slot.job.key)
        return torch.from_numpy(slot.rng.random(count))

    def _note(self, slot: Slot, ending: Termination) -> str | None:
        # A decoder that failed may have left a state that it cannot speak of.
        return None if ending.status == "error" else self.decoder.note(slot.state)

    def _finish(self, endings: dict[int, Termination]) -> list[Outcome]:
        """Take the finished slots out of the batch."""
        if not endings:
            return []
        outcomes = [
            Outcome(
                job=self.slots[index].job,
                output_ids=self._canvas[index].tolist(),
                status=ending.status,
                error=ending.error,
                note=self._note(self.slots[index], ending),
                trace=self.slots[index].trace,
                off_law_calls=self.slots[index].off_law_calls,
                seconds=time.perf_counter() - self.slots[index].started,
            )
            for index, ending in endings.items()
        ]
        staying = [index for index in range(len(self.slots)) if index not in endings]
        self.slots = [self.slots[index] for index in staying]
        self._canvas = self._canvas[staying]
        self._writable = self._writable[staying]
        self._cached_view = None
        return outcomes


def _generator(key: str) -> np.random.Generator:
    digest = hashlib.blake2b(key.encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))


def _padded(tensors: Sequence[Tensor], like: Tensor) -> Tensor:
    return pad_sequence(list(tensors), batch_first=True) if tensors else like[:0]


def _fault(error: Exception) -> Termination:
    place = traceback.extract_tb(error.__traceback__)[-1]
    fault = DecoderError(f"{type(error).__name__}: {error} (in {place.name}, line {place.lineno})")
    return Termination("error", str(fault))
