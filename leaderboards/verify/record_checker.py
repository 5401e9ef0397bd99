"""Check the records of an entry: derive each again from its trace or reply, and compare."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from pydantic import BaseModel

from parallelbench import __version__
from parallelbench.console.progress import ProgressDisplay
from parallelbench.decode.lanes import Job, Outcome
from parallelbench.decoder import DECODERS, Decoder
from parallelbench.errors import RecordsError, SubmissionError
from parallelbench.leaderboards.entry.first_prompt import FirstPrompt, first_prompt
from parallelbench.leaderboards.entry.folder import RUN, EntryFolder, brief, hidden_characters
from parallelbench.leaderboards.entry.season import Season
from parallelbench.leaderboards.entry.submission import Submission
from parallelbench.leaderboards.verify.model_facts import ModelFacts
from parallelbench.leaderboards.verify.rebuilt_run import RebuiltRun
from parallelbench.leaderboards.verify.reply_rules import ReplyRules
from parallelbench.leaderboards.verify.step_schedule import StepSchedules, schedule_of
from parallelbench.leaderboards.verify.trace_rules import (
    ReplayedTrace,
    StartingCanvas,
    TraceExpectations,
    replay_trace,
    trace_faults,
)
from parallelbench.model import Reply
from parallelbench.prompt import Codec, Prompt
from parallelbench.prompt.thinking import answer_of
from parallelbench.record import Record
from parallelbench.record_line import from_line, to_line_like
from parallelbench.run.recording import (
    RecordKey,
    ReplyContext,
    job_key,
    record_of,
    served_record_of,
)
from parallelbench.run.serve import Answered, ServerRequest
from parallelbench.setting import Setting, build

#: Faults of one entry that are reported; more would not help its submitter.
MOST_FAULTS = 20
_MOST_NOTE = 1000
#: Above any count that a server reports of one reply.
_MOST_COUNTED = 10**9


class FaultList:
    """The faults of one entry, as sentences for its submitter."""

    def __init__(self) -> None:
        self._sentences: list[str] = []

    def add(self, sentence: str) -> None:
        """Add a fault; refuse the entry once there are :data:`MOST_FAULTS`."""
        self._sentences.append(sentence)
        if len(self._sentences) >= MOST_FAULTS:
            raise SubmissionError(*self._sentences, f"after {MOST_FAULTS} faults the check ended")

    def extend(self, sentences: Iterator[str]) -> None:
        """Add each of ``sentences``."""
        for sentence in sentences:
            self.add(sentence)

    def refuse(self) -> None:
        """Refuse the entry if it has a fault."""
        if self._sentences:
            raise SubmissionError(*self._sentences)


@dataclass
class RecordChecker:
    """Derives the records of one entry again and compares them with the submitted ones.

    Attributes:
        submission: The entry's statement.
        run: The run that it claims, built again.
        faults: Receives a sentence for every fault.
        progress: Shows how many records are checked.
    """

    submission: Submission
    run: RebuiltRun
    faults: FaultList
    progress: ProgressDisplay
    _starts: dict[tuple[str, str, int], StartingCanvas] = field(default_factory=dict)
    _schedules: StepSchedules = field(default_factory=StepSchedules)
    _unproven: set[str] = field(default_factory=set)

    def records(self, folder: EntryFolder) -> list[Record]:
        """Return the records that follow from those of ``folder``, in the order of the run."""
        expected = self.run.keys
        found: dict[RecordKey, Record] = {}
        for line, where in self.progress.count(folder.lines()):
            try:
                record = from_line(line, where)
            except RecordsError as error:
                self.faults.add(f"{error}; pack the run again")
                continue
            place = f"{where} ({_called(record)})"
            if record.key in found:
                self.faults.add(f"{place} stands there a second time; each decode counts once")
            elif record.key not in expected:
                self.faults.add(f"{place} is no decode of {RUN}; leave it out")
            else:
                found[record.key] = self._checked(record, line, place)
        missing = [key for key in expected if key not in found]
        if missing:
            model, task, index, decoder, repeat = missing[0]
            self.faults.add(
                f"{len(missing)} of {len(expected)} decodes of {RUN} are left out; the first is "
                f"{model} on {task} sample {index} with {decoder}, repeat {repeat}; enter the "
                "whole run"
            )
        return [found[key] for key in expected if key in found]

    def reply_faults(self) -> Iterator[str]:
        """Yield a sentence for every tokenizer that does a part of its model's work."""
        for rules in self._reply_rules.values():
            yield from rules.faults()

    def first_prompts(self, season: Season) -> Iterator[FirstPrompt]:
        """Yield each model's prompt of the season's first test sample, servers left out."""
        task, index = season.tasks[0], season.test[0]
        labels = {setting.key: setting.label for setting in self.run.runfile.tasks}
        for label, model in self.run.models.items():
            if model.codec is not None:
                prompt = self.run.prompt(label, labels[task.key], index, model.codec)
                # Predictions of the ideal model follow from its tokenizer, which is no claim then.
                claimed = not (model.built_in or model.knows_support)
                yield first_prompt(label, task.label, index, prompt, claimed=claimed)

    def remarks(self) -> Iterator[str]:
        """Yield the limits of this check, in sentences for the readers of the board."""
        ours = __version__
        if self.submission.library_version != ours:
            yield (
                f"was decoded by version {self.submission.library_version!r} of the package and "
                f"checked by {ours}"
            )
        for label, model in self.run.models.items():
            if model.codec is None:
                yield (
                    f"{label!r} is a server: its marks were computed again from its replies, and "
                    "of its speed nothing can be checked"
                )
                continue
            if not model.built_in:
                grid = f", its blocks of {model.blocks.length} tokens" if model.blocks else ""
                yield (
                    f"{label!r}: its tokenizer, chat template, special ids{grid} and weights "
                    "digest are the submitter's word, until somebody opens the checkpoint"
                )
                yield from self._reply_rules[label].remarks()
            if not model.uncached:
                yield (
                    f"{label!r} does not compute every row whole: how many tokens went through it "
                    "is the submitter's word"
                )
        adaptive = sorted({each.name for each in self.run.runfile.decoders if _is_adaptive(each)})
        if adaptive and any(model.codec for model in self.run.models.values()):
            yield (
                "how many tokens an adaptive decoder writes in a call follows from predictions, "
                f"which only decoding again shows: {', '.join(adaptive)}"
            )
        if self._unproven:
            yield (
                "how many calls these make cannot be told without their model and is the "
                f"submitter's word: {', '.join(sorted(self._unproven))}"
            )

    def _checked(self, record: Record, line: str, where: str) -> Record:
        """Return the record that follows from the trace or reply in ``record``; report faults."""
        if record.status == "error" or record.error is not None:
            self.faults.add(
                f"{where} ended in an error, and a board cannot compare what is not counted; "
                "run it again, or leave out what fails"
            )
            return record
        self._check_note(record, where)
        model = self.run.models[record.model_label]
        expected = (
            self._served(record, where)
            if model.codec is None
            else self._replayed(record, model, model.codec, where)
        )
        if expected is None:
            return record
        if expected.library_version != self.submission.library_version:
            claimed = {"library_version": self.submission.library_version}
            expected = expected.model_copy(update=claimed)
        if to_line_like(expected, line) != line:
            differences = list(_differences(record, expected))
            for sentence in differences or ["is not written as this package writes records"]:
                self.faults.add(f"{where}: {sentence}; pack the run again, and change nothing")
        return expected

    def _check_note(self, record: Record, where: str) -> None:
        """Report a note that is unreadable, too long, or of a decoder that writes none."""
        note = None if record.decoding is None else record.decoding.note
        if note is None:
            return
        hidden = hidden_characters(note, "\n")
        if hidden or len(note) > _MOST_NOTE:
            self.faults.add(
                f"{where}: its note holds {', '.join(hidden)[:200] or 'too many characters'}"
            )
        elif not self._writes_notes(record.decoder_label):
            self.faults.add(f"{where}: it has a note, and {record.decoder_label:.80} writes none")

    def _writes_notes(self, label: str) -> bool:
        decoder = self.run.decoders.get(label)
        return decoder is not None and type(decoder).note is not Decoder.note

    def _served(self, record: Record, where: str) -> Record | None:
        """Return the record that follows from a server's reply; None if there is no reply."""
        served = record.served
        if served is None:
            self.faults.add(f"{where} does not say how its server answered; pack the run again")
            return None
        hidden = hidden_characters(served.finish or "")
        if hidden:
            self.faults.add(f"{where}: its finish holds {', '.join(hidden)[:200]}")
        for name in ("completion_tokens", "drafts", "attempts"):
            count = getattr(served, name)
            if count is not None and not 0 <= count <= _MOST_COUNTED:
                self.faults.add(
                    f"{where} claims {name}={brief(count)}, and a reply has 0 to {_MOST_COUNTED:,}"
                )
        sample = self.run.sample(record.task_label, record.index)
        task = self.run.tasks[record.task_label]
        context = ReplyContext(self.run.decode_id(record), task, sample)
        reply = Reply(
            text=record.text,
            finish=served.finish,
            completion_tokens=served.completion_tokens,
            drafts=served.drafts,
            attempts=served.attempts,
            seconds=record.seconds,
            content=served.content,
            reasoning=served.reasoning,
        )
        if reply.content is not None and (answer_of(reply.content) or "") != reply.text:
            self.faults.add(f"{where}: its text is not the answer in what its server wrote")
        question = ServerRequest(sample.messages, "", tag=context)
        answered = Answered(question, reply, None, record.seconds)
        return served_record_of(
            answered, self.run.runfile, self.run.models[record.model_label].digest
        )

    def _replayed(
        self, record: Record, model: ModelFacts, codec: Codec, where: str
    ) -> Record | None:
        """Return the record that follows from a trace; None if the trace breaks a rule."""
        try:
            decoding = record.require_decoding()
        except RecordsError as error:
            self.faults.add(f"{where}: {error}, but its model is none")
            return None
        prompt = self.run.prompt(record.model_label, record.task_label, record.index, codec)
        decoder, decode_id = self.run.decoders[record.decoder_label], self.run.decode_id(record)
        key = job_key(self.run.runfile, decode_id)
        replayed, faults = self._replay(record, prompt, key)
        if faults:
            self.faults.add(f"{where}: {'; '.join(faults)}")
            return None
        outcome = Outcome(
            job=Job(prompt, decoder, key, tag=decode_id),
            output_ids=replayed.final,
            status=record.status,
            error=None,
            note=decoding.note,
            trace=decoding.trace,
            off_law_calls=decoding.counts.off_law_calls,
            seconds=record.seconds,
        )
        expected = record_of(outcome, self.run.runfile, model.digest, model.weights_digest)
        if not model.built_in:
            self._reply_rules[record.model_label].add(expected, prompt.sample.reference)
        return expected

    def _replay(self, record: Record, prompt: Prompt, key: str) -> tuple[ReplayedTrace, list[str]]:
        """Return the replayed trace of a record, and a sentence for each rule that it breaks."""
        model, decoder = (
            self.run.models[record.model_label],
            self.run.decoders[record.decoder_label],
        )
        labels = (record.model_label, record.decoder_label)
        schedule = self._schedules.find(prompt, decoder, labels, key, model.blocks)
        if schedule is None and not decoder.adaptive and "answers" not in decoder.needs:
            self._unproven.add(record.decoder_label)
        expectations = TraceExpectations(
            prompt, self._start(record, prompt), decoder, model, schedule
        )
        replayed = replay_trace(record.require_decoding().trace, expectations)
        faults = list(trace_faults(record, expectations, replayed))
        if faults and schedule is not None and not decoder.deterministic:
            # The schedule came from two other random keys; the one of this key is exact.
            exact = schedule_of(prompt, decoder, key, model.blocks)
            expectations = dataclasses.replace(expectations, schedule=exact)
            faults = list(trace_faults(record, expectations, replayed))
        return replayed, faults

    def _start(self, record: Record, prompt: Prompt) -> StartingCanvas:
        place = (record.model_label, record.task_label, record.index)
        if place not in self._starts:
            self._starts[place] = StartingCanvas.of(prompt)
        return self._starts[place]

    @cached_property
    def _reply_rules(self) -> Mapping[str, ReplyRules]:
        return {label: ReplyRules(label, codec) for label, codec in self.run.submitted_codecs}


def _is_adaptive(setting: Setting) -> bool:
    """Return True if predictions determine the calls of a decoder that is no oracle."""
    decoder = build(setting, DECODERS)
    return not decoder.scheduled and "answers" not in decoder.needs


def _called(record: Record) -> str:
    return (
        f"{record.model_label:.60} on {record.task_label:.60} sample {brief(record.index)} with "
        f"{record.decoder_label:.80}"
    )


def _differences(claimed: BaseModel, expected: BaseModel, within: str = "") -> Iterator[str]:
    """Yield a sentence for each field that differs, with both values.

    Args:
        claimed: Claimed record, or an object within it.
        expected: Record that was found, or the object in the same place.
        within: Name of that place, with a dot behind it.
    """
    for name in type(expected).model_fields:
        ours, theirs = getattr(expected, name), getattr(claimed, name)
        if ours == theirs:
            continue
        if isinstance(ours, BaseModel) and isinstance(theirs, BaseModel):
            yield from _differences(theirs, ours, f"{within}{name}.")
        else:
            yield f"it claims {within}{name} {brief(theirs)}, and {brief(ours)} was found"
