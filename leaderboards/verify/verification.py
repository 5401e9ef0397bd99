"""Rebuild every figure of an entry from its folder alone, and refuse what differs.

Samples are drawn again from seed and number, prompts and canvases built again, traces
replayed, replies decoded and marked again, and the record that follows is compared with the
one that was handed in, to the last byte.  Nothing runs that the entry brings but a tokenizer
and a chat template, which transformers confines to a sandbox; nothing is fetched.  No model is
asked but those of this package, whose records are decoded again.  Whatever is parsed is parsed in a
child process first, whose failure is a refusal; this process reads what a child accepted.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple, overload

from parallelbench.console.progress import SILENT, Progress
from parallelbench.decode.lanes import Job, Outcome
from parallelbench.decoder import DECODERS, Decoder
from parallelbench.errors import RecordsError, SubmissionError
from parallelbench.leaderboards.entry.confined import SECONDS, allow_records, confined
from parallelbench.leaderboards.entry.eligibility import refuse_published
from parallelbench.leaderboards.entry.entry import Entry, Redecoded, level_of
from parallelbench.leaderboards.entry.first_prompt import FirstPrompt, first_prompt
from parallelbench.leaderboards.entry.folder import (
    RESULTS,
    RUN,
    SUBMISSION,
    Folder,
    Read,
    hidden_characters,
    parsed,
    shown,
)
from parallelbench.leaderboards.entry.season import Season, seasons
from parallelbench.leaderboards.entry.submission import Submission
from parallelbench.leaderboards.verify.alike import alike_to_earlier
from parallelbench.leaderboards.verify.cache import Finding, VerificationCache, key_of
from parallelbench.leaderboards.verify.claims import claimed_run, serving_faults, statement_faults
from parallelbench.leaderboards.verify.known import Known, digest_faults, known_models
from parallelbench.leaderboards.verify.prompt_rules import PromptRules
from parallelbench.leaderboards.verify.redecode import built_in_again, remark_of
from parallelbench.leaderboards.verify.reply_rules import ReplyRules
from parallelbench.leaderboards.verify.trace_rules import Conduct, broken_rules
from parallelbench.leaderboards.verify.unseen import Courses, course_of
from parallelbench.model import MODELS, Reply
from parallelbench.prompt import Codec, Prompt, build_prompt
from parallelbench.prompt.thinking import answer_of
from parallelbench.record import Record, from_line, to_line
from parallelbench.registry import load_plugins, unknown
from parallelbench.results.result import summarize
from parallelbench.run.recording import (
    DecodeId,
    MarkedReply,
    RecordKey,
    ReplyContext,
    draw,
    job_key,
    record_of,
    served_record_of,
)
from parallelbench.run.runfile import SERVER_DECODER, RunFile, make_runfile
from parallelbench.run.serve import Answered, Question
from parallelbench.setting import Setting, build
from parallelbench.task import TASKS, Sample, Task

#: So many faults are told of one entry; more would not help to mend it.
MOST_FAULTS = 20
_MOST_NOTE = 1000
#: More than any server counts of one reply.
_MOST_COUNTED = 10**9


@dataclass(frozen=True)
class Verified:
    """An entry that holds what it claims.

    Attributes:
        entry: The entry.
        runfile: What was run.
        digest: SHA-256 of its manifest.
        content: Digest of what was decoded: the same for the same records in any order, whoever
            submits them under whatever name.
        read: How much had to be read for that.
    """

    entry: Entry
    runfile: RunFile
    digest: str
    content: str
    read: Read


def verify_folder(path: Path, name: str | None = None) -> Entry:
    """Return the entry in ``path``, checked as far as that can be done without its models.

    Args:
        path: A folder that ``parallelbench leaderboard pack`` made.
        name: What the board calls it; None takes the folder's name.

    Raises:
        SubmissionError: It is malformed, or claims something that is not found again.
    """
    return verified(path, name).entry


def verified(  # noqa: PLR0913  what follows the path may be left out
    path: Path,
    name: str | None = None,
    *,
    redecode: bool = True,
    cache: VerificationCache | None = None,
    progress: Progress = SILENT,
    seconds: int = SECONDS,
) -> Verified:
    """Return the entry in ``path`` with what else is known of it.

    Args:
        path: As for :func:`verify_folder`.
        name: Likewise.
        redecode: Whether records of built-in models are decoded again, as
            :mod:`~parallelbench.leaderboards.verify.redecode` says.
        cache: What was verified before is taken from it, and what is verified now is kept in
            it; None verifies in any case.
        progress: Shows how far it is.
        seconds: How long reading its claims may take, and then checking them.

    Raises:
        SubmissionError: It is malformed, or claims something that is not found again, or its check
            takes too much time or memory.
    """
    name = name or path.resolve().name
    progress.begin(f"reading {name}")
    folder = Folder.open(path)
    load_plugins()
    in_child = partial(confined, what=name, seconds=seconds, progress=progress)
    said = in_child(partial(_claims, folder, name))
    asked = _ToCheck(
        parsed(Submission, said["submission"], SUBMISSION),
        make_runfile(said["run"], where=RUN),
        redecode,
    )
    keys = _keys_of(folder, asked) if cache is not None else []
    finding = _kept_finding(cache, keys)
    if finding is None:
        found = in_child(partial(_checked_content, folder, name, asked))
        finding = Finding.model_validate(found["finding"])
        folder.read.decompressed, folder.read.lines = found["read"]
        if cache is not None and keys:
            cache.keep(keys[-1], finding)
    entry = Entry(
        name,
        asked.submission,
        StoredRecords(folder, asked.runfile, name, progress),
        finding.level,
        finding.remarks,
        finding.redecoded,
        finding.first_prompts,
    )
    return Verified(entry, asked.runfile, folder.digest, finding.content, folder.read)


class _ToCheck(NamedTuple):
    """What is to be checked of an entry.

    Attributes:
        submission: What it says of itself.
        runfile: What it claims to have run.
        redecode: Whether records of built-in models are decoded again.
    """

    submission: Submission
    runfile: RunFile
    redecode: bool


def _keys_of(folder: Folder, asked: _ToCheck) -> list[str]:
    """Return what findings that will do are kept under, the one to be made last."""
    season = seasons()[asked.submission.season]
    # Who has decoded again has found everything else too.
    keys = [key_of(folder.digest, season, asked.runfile, redecode=True)]
    if not asked.redecode:
        keys.append(key_of(folder.digest, season, asked.runfile, redecode=False))
    return [key for key in keys if key is not None]


def _kept_finding(cache: VerificationCache | None, keys: Sequence[str]) -> Finding | None:
    """Return the first finding that is kept under one of ``keys``; None if none is."""
    findings = (cache.find(key) for key in keys) if cache is not None else ()
    return next((each for each in findings if each is not None), None)


class StoredRecords(Sequence[Record]):
    """The records of an entry that was verified, read when they are asked for.

    Args:
        folder: The entry, which holds what it claims.
        runfile: What it claims to have run: its records come in that order.
        name: What the board calls it.
        progress: Shows how far reading is.
    """

    def __init__(
        self, folder: Folder, runfile: RunFile, name: str, progress: Progress = SILENT
    ) -> None:
        self._folder = folder
        self._runfile = runfile
        self._name = name
        self._progress = progress

    def __len__(self) -> int:
        """Return how many there are, which takes no reading."""
        return self._runfile.decodes

    @overload
    def __getitem__(self, place: int) -> Record: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Record]: ...
    def __getitem__(self, place: int | slice) -> Record | Sequence[Record]:
        """Return one record, or some."""
        return self._read[place]

    def __iter__(self) -> Iterator[Record]:
        """Yield all of them."""
        return iter(self._read)

    def __eq__(self, other: object) -> bool:
        """Return whether ``other`` has the same records in the same order."""
        return isinstance(other, Sequence) and self._read == list(other)

    __hash__ = None  # type: ignore[assignment]

    @cached_property
    def _read(self) -> list[Record]:
        places = {key: place for place, key in enumerate(_keys(self._runfile))}
        self._progress.begin(f"reading {self._name}", len(self), "records")
        lines = self._progress.count(self._folder.lines())
        records = [from_line(line, where) for line, where in lines]
        return sorted(records, key=lambda record: places[record.key])


def content_of(records: Iterable[Record]) -> str:
    """Return a digest of what was decoded: which text stands there, and when each place was filled.

    No order, name, note, clock, number of a token or field that does nothing changes it, nor how
    often the same was decoded.
    """
    digest = hashlib.sha256()
    for each in sorted({hashlib.sha256(_decoded(record)).digest() for record in records}):
        digest.update(each)
    return digest.hexdigest()


def _decoded(record: Record) -> bytes:
    steps = None if record.trace is None else [record.trace.positions, record.trace.rows]
    sample = [record.task, record.task_fields, record.index]
    return json.dumps([sample, record.decoder, record.text, steps], sort_keys=True).encode()


def _claims(folder: Folder, name: str, progress: Progress) -> dict[str, Any]:
    """Return what an entry says of itself and what it claims to have run, as JSON values.

    Raises:
        SubmissionError: It says so in another form than it should, or of no season.
    """
    progress.begin(f"reading {SUBMISSION} of {name}")
    submission: Submission = parsed(Submission, folder.yaml(SUBMISSION), SUBMISSION)
    season = seasons().get(submission.season)
    if season is None:
        raise SubmissionError(f"{SUBMISSION}: {unknown('season', submission.season, seasons())}")
    progress.begin(f"reading {RUN} of {name}")
    runfile = claimed_run(folder.yaml(RUN), season)
    refuse_published(runfile, RUN)
    return {"submission": submission.model_dump(mode="json"), "run": runfile.frozen()}


def _checked_content(
    folder: Folder, name: str, asked: _ToCheck, progress: Progress
) -> dict[str, Any]:
    """Return what is found of an entry and how much was read for it, as JSON values."""
    allow_records(asked.runfile.decodes)
    finding = _found(folder, name, asked, progress)
    read = folder.read
    return {
        "finding": finding.model_dump(mode="json"),
        "read": [read.decompressed, read.lines],
    }


def _found(folder: Folder, name: str, asked: _ToCheck, progress: Progress) -> Finding:
    """Return what is found of an entry that holds what it claims."""
    submission, runfile, redecode = asked
    faults = _Faults()
    faults.extend(statement_faults(submission, runfile))
    faults.refuse()
    progress.begin(f"reading the tokenizers of {name}")
    models = known_models(folder, submission, runfile)
    faults.extend(digest_faults(submission, models))
    faults.extend(serving_faults(runfile, models))
    faults.refuse()
    check = _Check(submission, runfile, models, faults, progress)
    progress.begin(f"verifying {name}", runfile.decodes, "records")
    records = check.records(folder)
    faults.refuse()
    progress.begin(f"verifying {RESULTS} of {name}")
    faults.extend(_result_faults(folder.json(RESULTS), records))
    faults.extend(check.reply_faults())
    faults.refuse()
    redecoded: dict[str, Redecoded] = {}
    if redecode:
        progress.begin(f"decoding records of {name} again")
        redecoded = built_in_again(runfile, models, records)
    serves = any(MODELS[setting.name].serves for setting in runfile.models)
    labels = [setting.label for setting in runfile.models]
    return Finding(
        level="self-reported" if serves else level_of(labels, redecoded),
        remarks=(
            *check.remarks(),
            *_repeated(records),
            *(remark_of(label, each) for label, each in redecoded.items()),
        ),
        redecoded=redecoded,
        content=content_of(records),
        first_prompts=tuple(check.first_prompts(seasons()[submission.season])),
    )


def _repeated(records: Sequence[Record]) -> Iterator[str]:
    """Yield which settings decode as others do, so that a board counts them once."""
    alike = alike_to_earlier(records)
    if alike:
        told = [f"{label} as {earlier}" for (_, label), earlier in alike.items()]
        more = f" and {len(told) - 10} more" if len(told) > 10 else ""
        yield (
            "these settings decode every sample as another does, which counts once: "
            f"{', '.join(told[:10])}{more}"
        )


def _keys(runfile: RunFile) -> Iterator[RecordKey]:
    """Yield the keys of every record of a run, in its order."""
    for model in runfile.models:
        for task in runfile.tasks:
            for index in range(runfile.samples):
                for repeat in range(runfile.repeats):
                    for decoder in runfile.decoders_of(model):
                        yield model.label, task.label, index, decoder.label, repeat


class _Faults:
    """Sentences for the submitter, as many as help."""

    def __init__(self) -> None:
        self._told: list[str] = []

    def add(self, sentence: str) -> None:
        """Tell ``sentence``; end the check where enough was told."""
        self._told.append(sentence)
        if len(self._told) >= MOST_FAULTS:
            raise SubmissionError(*self._told, f"after {MOST_FAULTS} faults the check ended")

    def extend(self, sentences: Iterator[str]) -> None:
        """Tell all of ``sentences``."""
        for sentence in sentences:
            self.add(sentence)

    def refuse(self) -> None:
        """Refuse the entry if anything was told."""
        if self._told:
            raise SubmissionError(*self._told)


@dataclass
class _Check:
    """Checks the records of one entry."""

    submission: Submission
    runfile: RunFile
    models: Mapping[str, Known]
    faults: _Faults
    progress: Progress
    _samples: dict[tuple[str, int], Sample] = field(default_factory=dict)
    _replies: dict[tuple[str, str, int], dict[tuple[int, ...], MarkedReply]] = field(
        default_factory=dict
    )
    _prompts: dict[tuple[str, str, int], Prompt] = field(default_factory=dict)
    _courses: Courses = field(default_factory=Courses)
    _unproven: set[str] = field(default_factory=set)

    def records(self, folder: Folder) -> list[Record]:
        """Return the records that follow from those of ``folder``, in the order of the run."""
        left = self._expected
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
            elif record.key not in left:
                self.faults.add(f"{place} is no decode of {RUN}; leave it out")
            else:
                found[record.key] = self._checked(record, line, place)
        lacking = [key for key in left if key not in found]
        if lacking:
            model, task, index, decoder, repeat = lacking[0]
            self.faults.add(
                f"{len(lacking)} of {len(left)} decodes of {RUN} are left out; the first is "
                f"{model} on {task} sample {index} with {decoder}, repeat {repeat}; enter the "
                "whole run"
            )
        return [found[key] for key in left if key in found]

    def reply_faults(self) -> Iterator[str]:
        """Yield a sentence for every tokenizer that answers in its model's place."""
        for rules in self._reply_rules.values():
            yield from rules.faults()

    def first_prompts(self, season: Season) -> Iterator[FirstPrompt]:
        """Yield what every model that shows it reads of the first sample for figures."""
        task, index = season.tasks[0], season.test[0]
        labels = {setting.key: setting.label for setting in self.runfile.tasks}
        for label, known in self.models.items():
            if known.codec is not None:
                prompt = self._prompts[label, labels[task.key], index]
                # What the ideal model predicts follows from its tokenizer, and so is no claim.
                claimed = not (known.built_in or known.knows_law)
                yield first_prompt(label, task.label, index, prompt, claimed=claimed)

    def remarks(self) -> Iterator[str]:
        """Yield what a reader should know of how far this could be checked."""
        ours = _version()
        if self.submission.library_version != ours:
            yield (
                f"was decoded by version {self.submission.library_version!r} of the package and "
                f"checked by {ours}"
            )
        for label, known in self.models.items():
            told = repr(label)
            if known.codec is None:
                yield (
                    f"{told} is a server: its marks were computed again from its replies, and of "
                    "its speed nothing can be checked"
                )
                continue
            if not known.built_in:
                grid = f", its blocks of {known.blocks.length} tokens" if known.blocks else ""
                yield (
                    f"{told}: its tokenizer, chat template, special ids{grid} and weights digest "
                    "are the submitter's word, until somebody opens the checkpoint"
                )
                yield from self._reply_rules[label].remarks()
            if not known.plain:
                yield (
                    f"{told} does not compute every row whole: how many tokens went through it is "
                    "the submitter's word"
                )
        adaptive = sorted({each.name for each in self.runfile.decoders if _is_adaptive(each)})
        if adaptive and any(known.codec for known in self.models.values()):
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
        """Return the record that follows from what ``record`` cannot have invented."""
        if record.status == "error" or record.error is not None:
            self.faults.add(
                f"{where} ended in an error, and a board cannot compare what is not counted; "
                "run it again, or leave out what fails"
            )
            return record
        hidden = hidden_characters(record.note or "", "\n")
        if hidden or len(record.note or "") > _MOST_NOTE:
            self.faults.add(
                f"{where}: its note holds {', '.join(hidden)[:200] or 'too many characters'}"
            )
        elif record.note is not None and not self._notes(record):
            self.faults.add(f"{where}: it has a note, and {record.decoder_label:.80} writes none")
        known = self.models[record.model]
        expected = (
            self._served(record, where)
            if known.codec is None
            else self._replayed(record, known, known.codec, where)
        )
        if expected is None:
            return record
        if expected.library_version != self.submission.library_version:
            claimed = {"library_version": self.submission.library_version}
            expected = expected.model_copy(update=claimed)
        if to_line(expected) != line:
            told = list(_differences(record, expected))
            for sentence in told or ["is not written as this package writes records"]:
                self.faults.add(f"{where}: {sentence}; pack the run again, and change nothing")
        return expected

    def _served(self, record: Record, where: str) -> Record | None:
        if record.served is None:
            self.faults.add(f"{where} does not say how its server answered; pack the run again")
            return None
        hidden = hidden_characters(record.served.finish or "")
        if hidden:
            self.faults.add(f"{where}: its finish holds {', '.join(hidden)[:200]}")
        for what in ("completion_tokens", "drafts", "attempts"):
            count = getattr(record.served, what)
            if count is not None and not 0 <= count <= _MOST_COUNTED:
                self.faults.add(
                    f"{where} claims {what}={shown(count)}, and a reply has 0 to {_MOST_COUNTED:,}"
                )
        sample = self._sample(record)
        context = ReplyContext(self._decode_id(record), self._tasks[record.task_label], sample)
        reply = Reply(
            text=record.text,
            finish=record.served.finish,
            completion_tokens=record.served.completion_tokens,
            drafts=record.served.drafts,
            attempts=record.served.attempts,
            seconds=record.seconds,
            content=record.served.content,
            reasoning=record.served.reasoning,
        )
        if reply.content is not None and (answer_of(reply.content) or "") != reply.text:
            self.faults.add(f"{where}: its text is not the answer in what its server wrote")
        answered = Answered(Question(sample.messages, "", tag=context), reply, None, record.seconds)
        return served_record_of(answered, self.runfile, self.models[record.model].digest)

    def _replayed(self, record: Record, known: Known, codec: Codec, where: str) -> Record | None:
        try:
            trace = record.decoding.trace
        except RecordsError as error:
            self.faults.add(f"{where}: {error}, but its model is none")
            return None
        prompt = self._prompt(record, codec)
        decoder, decode_id = self._decoders[record.decoder_label], self._decode_id(record)
        key = job_key(self.runfile, decode_id)
        broken = self._broken_rules(record, known, prompt, key)
        if broken:
            self.faults.add(f"{where}: {'; '.join(broken)}")
            return None
        outcome = Outcome(
            job=Job(prompt, decoder, key, tag=decode_id),
            output_ids=trace.replay(prompt.canvas.tolist()),
            status=record.status,
            error=None,
            note=record.note,
            trace=trace,
            off_law_calls=record.decoding.counts.off_law_calls,
            seconds=record.seconds,
        )
        expected = record_of(outcome, self.runfile, known.digest, known.weights_digest)
        if not known.built_in:
            self._reply_rules[record.model].look_at(expected, prompt.sample.reference)
        return expected

    def _broken_rules(self, record: Record, known: Known, prompt: Prompt, key: str) -> list[str]:
        """Return a sentence for each rule that the trace of a record breaks."""
        decoder, labels = self._decoders[record.decoder_label], (record.model, record.decoder_label)
        conduct = Conduct(
            prompt=prompt,
            decoder=decoder,
            course=self._courses.find(prompt, decoder, labels, key, known.blocks),
            unwritable=known.unwritable,
            blocks=known.blocks,
            plain=known.plain,
            stops=known.stops,
            knows_law=known.knows_law,
        )
        if conduct.course is None and not decoder.adaptive and "answers" not in decoder.needs:
            self._unproven.add(record.decoder_label)
        broken = list(broken_rules(record, conduct))
        if broken and conduct.course is not None and not decoder.deterministic:
            # Few of its random numbers were looked at; what they tell of this decode is exact.
            course = course_of(prompt, decoder, key, known.blocks)
            broken = list(broken_rules(record, dataclasses.replace(conduct, course=course)))
        return broken

    def _notes(self, record: Record) -> bool:
        """Return whether the strategy of a record says how a decode went."""
        decoder = self._decoders.get(record.decoder_label)
        return decoder is not None and type(decoder).note is not Decoder.note

    def _decode_id(self, record: Record) -> DecodeId:
        return DecodeId(
            self._settings["model"][record.model],
            self._settings["task"][record.task_label],
            self._settings["decoder"][record.decoder_label],
            record.index,
            record.repeat,
            self._replies.setdefault((record.model, record.task_label, record.index), {}),
        )

    def _sample(self, record: Record) -> Sample:
        key = (record.task_label, record.index)
        if key not in self._samples:
            task = self._tasks[record.task_label]
            self._samples[key] = draw(task, self.runfile.seed, record.index)
        return self._samples[key]

    def _prompt(self, record: Record, codec: Codec) -> Prompt:
        key = (record.model, record.task_label, record.index)
        if key not in self._prompts:
            task, sample = self._tasks[record.task_label], self._sample(record)
            try:
                self._prompts[key] = build_prompt(task, sample, codec)
            except (KeyboardInterrupt, SystemExit, MemoryError):
                raise
            except BaseException as error:  # a stranger's template and tokenizer may fail anyhow
                raise SubmissionError(
                    f"model {record.model!r:.80} cannot read sample {record.index} of "
                    f"{record.task_label}: {' '.join(str(error).split()):.200}"
                ) from error
            if record.model in self._prompt_rules:
                self._check_prompt(record, self._prompts[key])
        return self._prompts[key]

    def _check_prompt(self, record: Record, prompt: Prompt) -> None:
        """Refuse a prompt in which a stranger's template or tokenizer has its say."""
        try:
            faults = list(self._prompt_rules[record.model].faults(prompt))
        except SubmissionError as error:
            faults = list(error.faults)
        if faults:
            where = f"model {record.model!r:.80}, sample {record.index} of {record.task_label}"
            mend = "enter with the checkpoint's own tokenizer and chat template"
            raise SubmissionError(*(f"{where}: {fault}; {mend}" for fault in faults))

    @cached_property
    def _prompt_rules(self) -> dict[str, PromptRules]:
        return {label: PromptRules(codec) for label, codec in self._brought}

    @cached_property
    def _reply_rules(self) -> dict[str, ReplyRules]:
        return {label: ReplyRules(label, codec) for label, codec in self._brought}

    @property
    def _brought(self) -> Iterator[tuple[str, Codec]]:
        """The models whose tokenizer and template are the entry's own, with these."""
        for label, known in self.models.items():
            if known.codec is not None and not known.built_in:
                yield label, known.codec

    @cached_property
    def _expected(self) -> dict[RecordKey, None]:
        return dict.fromkeys(_keys(self.runfile))

    @cached_property
    def _settings(self) -> dict[str, dict[str, Setting]]:
        return {
            "model": {setting.label: setting for setting in self.runfile.models},
            "task": {setting.label: setting for setting in self.runfile.tasks},
            "decoder": {
                setting.label: setting for setting in (*self.runfile.decoders, SERVER_DECODER)
            },
        }

    @cached_property
    def _tasks(self) -> dict[str, Task]:
        return {setting.label: build(setting, TASKS) for setting in self.runfile.tasks}

    @cached_property
    def _decoders(self) -> dict[str, Decoder]:
        return {setting.label: build(setting, DECODERS) for setting in self.runfile.decoders}


def _is_adaptive(setting: Setting) -> bool:
    """Return whether predictions tell how many calls a strategy makes; an oracle has no rank."""
    decoder = build(setting, DECODERS)
    return not decoder.scheduled and "answers" not in decoder.needs


def _version() -> str:
    import importlib.metadata

    return importlib.metadata.version("parallelbench")


def _called(record: Record) -> str:
    return (
        f"{record.model:.60} on {record.task_label:.60} sample {shown(record.index)} with "
        f"{record.decoder_label:.80}"
    )


def _differences(claimed: Record, found: Record) -> Iterator[str]:
    """Yield which fields differ, with both values."""
    for name in Record.model_fields:
        ours, theirs = getattr(found, name), getattr(claimed, name)
        if ours == theirs:
            continue
        if name in ("counts", "marks") and ours is not None and theirs is not None:
            for part in type(ours).model_fields:
                one, other = getattr(ours, part), getattr(theirs, part)
                if one != other:
                    yield f"it claims {name}.{part} {shown(other)}, and {shown(one)} was found"
        else:
            yield f"it claims {name} {shown(theirs)}, and {shown(ours)} was found"


def _result_faults(claimed: Any, records: Sequence[Record]) -> Iterator[str]:
    found = [
        # Earlier releases claimed a sum of times, which they called seconds.
        {**result.as_dict(), "seconds": spent}
        for result, spent in zip(summarize(records), _times_added_up(records), strict=True)
    ]
    if not isinstance(claimed, list) or len(claimed) != len(found):
        yield f"{RESULTS} must have {len(found)} results, one for each model, task and decoder"
        return
    for ours, theirs in zip(found, claimed, strict=True):
        where = f"{RESULTS}: {ours['model']} on {ours['task_label']} with {ours['decoder_label']}"
        if not isinstance(theirs, dict):
            yield f"{where} must be an object, as `parallelbench report` writes it"
            continue
        # An earlier release claims less; what none of ours computes cannot be checked.
        for name, claim in theirs.items():
            if name not in ours:
                yield f"{where} claims {shown(name)}, which is no figure of this release"
            elif not _alike(ours[name], claim):
                found_now = shown(ours[name])
                yield f"{where} claims {name} {shown(claim)}, and the records make {found_now}"


def _times_added_up(records: Sequence[Record]) -> list[float]:
    """Return the sum of the times of each result's decodes, in the order of the results."""
    times: dict[tuple[str, str, str], float] = {}
    for record in {record.key: record for record in records}.values():
        setting = (record.model, record.task_label, record.decoder_label)
        times[setting] = times.get(setting, 0.0) + record.seconds
    return list(times.values())


def _alike(ours: Any, theirs: Any) -> bool:
    """Return whether two values are the same up to the last digits of a number."""
    if isinstance(ours, Mapping):
        return (
            isinstance(theirs, Mapping)
            and ours.keys() == theirs.keys()
            and all(_alike(value, theirs[key]) for key, value in ours.items())
        )
    if isinstance(ours, tuple | list):
        return (
            isinstance(theirs, list)
            and len(ours) == len(theirs)
            and all(_alike(*pair) for pair in zip(ours, theirs, strict=True))
        )
    if isinstance(ours, bool) or isinstance(theirs, bool):
        return ours is theirs
    if isinstance(ours, int | float) and isinstance(theirs, int | float):
        return abs(theirs) < 1e300 and math.isclose(ours, theirs, rel_tol=1e-9, abs_tol=1e-9)
    return bool(ours == theirs)
