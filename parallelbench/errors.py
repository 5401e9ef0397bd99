"""Every error that the package raises on purpose, as one tree.

::

    ParallelBenchError
    ├── RequestError            the request is at fault: one line, exit code 2
    │   ├── UnknownNameError    nobody registered that task, decoder, model or field
    │   ├── FieldError          a field's value is of the wrong kind or out of range
    │   ├── NotEnumerableError  the right answers are too many, or cannot be listed
    │   ├── CanvasError         an answer does not fit the canvas or the tokenizer
    │   ├── ChatTemplateError   a chat template has an error, or refuses a chat
    │   ├── RunFileError        a run file is malformed, or changed since its run began
    │   ├── RecordsError        a line of records is torn, corrupted or from elsewhere
    │   ├── StorageError        a folder cannot be read or written, or the disk is full
    │   ├── CheckpointError     a checkpoint cannot be loaded, or is not what it seems
    │   ├── SourceError         texts to draw samples from cannot be had
    │   ├── EngineError         a scoring engine is not installed, or does not answer
    │   ├── SubmissionError     a leaderboard's entry is not what it claims to be
    │   ├── UnreachableError    a server answers nothing at all, so the run was ended
    │   └── WorkersError        workers cannot be had, or die over what they are given
    ├── DecoderError            a strategy broke its contract: the record says so
    ├── ModelError              a model has no prediction for a row: the record says so
    └── ServerError             a server gave no usable reply: the record says so

The analysis adds three requests of its own: ``OverLimitError``, a law too large for an exact
answer, ``IncompleteSweepError``, settings that were not run on the same samples, and
``JudgeError``, verdicts or labels that do not allow what was asked.

A :class:`RequestError` is a sentence for the person who typed the request: what was
asked, the offending value, what is allowed, how to fix it.  Everything outside this
tree is a bug and keeps its traceback.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from parallelbench.model import Reply


class ParallelBenchError(Exception):
    """Any error that this package raises on purpose."""


class RequestError(ParallelBenchError):
    """A request cannot be fulfilled as stated; the message says how to correct it."""


class UnknownNameError(RequestError, LookupError):
    """Nobody registered the task, decoder, model or field that was named."""


class FieldError(RequestError, ValueError):
    """A field has a value of the wrong kind or outside its range."""


class NotEnumerableError(RequestError):
    """The law of a sample's right answers cannot be listed; the message says why."""


class CanvasError(RequestError):
    """An answer does not fit the canvas, or the tokenizer cannot express it."""


class ChatTemplateError(RequestError):
    """A chat template cannot be used, or refuses the turns of a prompt."""


class RunFileError(RequestError):
    """A run file is malformed, or differs from the one its run began with."""


class RecordsError(RequestError):
    """A line of records is torn, corrupted, or belongs to another run."""


class StorageError(RequestError):
    """A folder or file cannot be read or written."""


class CheckpointError(RequestError):
    """A checkpoint cannot be found or loaded, or does not hold what its family needs."""


class SourceError(RequestError):
    """Texts that samples are drawn from cannot be read, or are too few."""


class EngineError(RequestError):
    """An external scoring engine is not installed, or does not answer."""


class SubmissionError(RequestError):
    """An entry of a leaderboard is malformed, or claims what cannot be found again.

    Attributes:
        faults: Each names file and record, what was claimed, what was found, what to do.
    """

    def __init__(self, *faults: str) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


class PluginError(RequestError):
    """A plugin of another package cannot be imported."""


class UnreachableError(RequestError):
    """A server failed so often in a row that going on would only waste time."""


class WorkersError(RequestError):
    """The workers of a cluster cannot be had as asked, or die again and again."""


class DecoderError(ParallelBenchError):
    """A decoding strategy broke its contract, such as writing outside its window."""


class ModelError(ParallelBenchError, ValueError):
    """A model has no prediction for a row: memory ran out, or its logits are no numbers."""


class ServerError(ParallelBenchError):
    """A server gave no usable reply to one request, after every attempt.

    Attributes:
        fragment: Partial reply, such as unfinished thinking; None if nothing arrived.
    """

    def __init__(self, sentence: str, fragment: Reply | None = None) -> None:
        super().__init__(sentence)
        self.fragment = fragment
