"""Rebuild every figure of an entry from its folder alone, and refuse what differs.

Samples are drawn again from seed and number, prompts and canvases built again, traces
replayed, replies decoded and marked again, and the record that follows is compared with the
one that was handed in, to the last byte.  Nothing runs that the entry brings but a tokenizer
and a chat template, which transformers confines to a sandbox; no model is asked, except where
decodes are to be regenerated; nothing is fetched.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from parallelbench.decoder import DECODERS, Decoder
from parallelbench.errors import RecordsError, SubmissionError
from parallelbench.lanes import Job, Outcome
from parallelbench.leaderboards.cache import Finding, VerificationCache, key_of
from parallelbench.leaderboards.claims import claimed_run, statement_faults
from parallelbench.leaderboards.entry import Entry
from parallelbench.leaderboards.folder import (
    RESULTS,
    RUN,
    SUBMISSION,
    Folder,
    Read,
    hidden_characters,
    parsed,
    shown,
)
from parallelbench.leaderboards.known import Known, digest_faults, known_models
from parallelbench.leaderboards.season import seasons
from parallelbench.leaderboards.submission import Submission
from parallelbench.leaderboards.tokenizer_file import longest_words
from parallelbench.leaderboards.trace_rules import Conduct, broken_rules
from parallelbench.leaderboards.unseen import Courses
from parallelbench.model import MODELS, Reply
from parallelbench.progress import SILENT, Progress
from parallelbench.prompt import Codec, Prompt, build_prompt
from parallelbench.record import Record, from_line, to_line
from parallelbench.registry import load_plugins, unknown
from parallelbench.results import summarize
from parallelbench.runfile import SERVER_DECODER, RunFile
from parallelbench.runner import (
    Asked,
    Key,
    MarkedReply,
    Origin,
    draw,
    job_key,
    record_of,
    served_record_of,
)
from parallelbench.sample import Sample
from parallelbench.serve import Answered, Question
from parallelbench.setting import Setting, build
from parallelbench.task import TASKS, Task
from parallelbench.thinking import answer_of

#: So many faults are told of one entry; more would not help to mend it.
MOST_FAULTS = 20
_MOST_NOTE = 1000
#: What two records of the same decode may differ in: clock, release, and how a setting is spelled.
_NOT_DECODED = {"seconds", "library_version", "model", "task_label", "decoder_label"}


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


def verified(
    path: Path,
    name: str | None = None,
    *,
    cache: VerificationCache | None = None,
    progress: Progress = SILENT,
) -> Verified:
    """Return the entry in ``path`` with what else is known of it.

    Args:
        path: As for :func:`verify_folder`.
        name: Likewise.
        cache: What was verified before is taken from it, and what is verified now is kept in
            it; None verifies in any case.
        progress: Shows how far it is.

    Raises:
        SubmissionError: It is malformed, or claims something that is not found again.
    """
    name = name or path.resolve().name
    progress.begin(f"verifying {name}")
    folder = Folder.open(path)
    submission: Submission = parsed(Submission, folder.yaml(SUBMISSION), SUBMISSION)
    load_plugins()
    season = seasons().get(submission.season)
    if season is None:
        raise SubmissionError(f"{SUBMISSION}: {unknown('season', submission.season, seasons())}")
    runfile = claimed_run(folder.yaml(RUN), season)
    key = key_of(folder.digest, season, runfile) if cache is not None else None
    finding = cache.find(key) if cache is not None and key is not None else None
    if finding is not None:
        progress.begin(f"reading {name}, verified before", runfile.decodes, "records")
        records = known_records(folder, runfile, progress)
    else:
        progress.begin(f"verifying {name}", runfile.decodes, "records")
        finding, records = _found(folder, submission, runfile, progress)
        if cache is not None and key is not None:
            cache.keep(key, finding)
    entry = Entry(name, submission, records, finding.level, finding.remarks)
    return Verified(entry, runfile, folder.digest, finding.content, folder.read)


def known_records(folder: Folder, runfile: RunFile, progress: Progress = SILENT) -> list[Record]:
    """Return the records of an entry as they stand there, in the order of its run.

    Args:
        folder: The entry.
        runfile: What it claims to have run.
        progress: Shows how far it is.

    Raises:
        SubmissionError: A line is no record.
    """
    places = {key: place for place, key in enumerate(_keys(runfile))}
    try:
        records = [from_line(line, where) for line, where in progress.count(folder.lines())]
        return sorted(records, key=lambda record: places[record.key])
    except RecordsError as error:
        raise SubmissionError(f"{error}; pack the run again") from error
    except KeyError as error:
        raise SubmissionError(f"a record is no decode of {RUN}: {error!s:.200}") from error


def content_of(records: Iterable[Record]) -> str:
    """Return a digest of what was decoded, which no order, name or clock changes."""
    digest = hashlib.sha256()
    for each in sorted(
        hashlib.sha256(record.model_dump_json(exclude=_NOT_DECODED).encode()).digest()
        for record in records
    ):
        digest.update(each)
    return digest.hexdigest()


def _found(
    folder: Folder, submission: Submission, runfile: RunFile, progress: Progress
) -> tuple[Finding, list[Record]]:
    """Return what is found of an entry, and its records as they follow from it."""
    faults = _Faults()
    faults.extend(statement_faults(submission, runfile))
    faults.refuse()
    models = known_models(folder, submission, runfile)
    faults.extend(digest_faults(submission, models))
    check = _Check(submission, runfile, models, faults, progress)
    records = check.records(folder)
    faults.refuse()
    faults.extend(_result_faults(folder.json(RESULTS), records))
    faults.extend(check.spelled_replies())
    faults.refuse()
    serves = any(MODELS[setting.name].serves for setting in runfile.models)
    finding = Finding(
        level="self-reported" if serves else "recomputed",
        remarks=tuple(check.remarks()),
        content=content_of(records),
    )
    return finding, records


def _keys(runfile: RunFile) -> Iterator[Key]:
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
    _written: dict[str, set[int]] = field(default_factory=dict)
    _alone: list[str] = field(default_factory=list)

    def records(self, folder: Folder) -> list[Record]:
        """Return the records that follow from those of ``folder``, in the order of the run."""
        left = self._expected
        found: dict[Key, Record] = {}
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

    def spelled_replies(self) -> Iterator[str]:
        """Yield a sentence where a tokenizer spells whole right answers with one token."""
        if self._alone:
            yield (
                f"{len(self._alone)} right replies of several words are a single token, the first "
                f"{self._alone[0]!r:.80}: such a tokenizer writes answers that no other has to "
                "write in parallel; enter with the checkpoint's own"
            )

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
                    f"{told}: its tokenizer, special ids{grid} and weights digest are the "
                    "submitter's word, until somebody opens the checkpoint"
                )
                several = longest_words(known.codec, self._written.get(label, set()))
                if several:
                    yield (
                        f"{told}: {len(several)} of the tokens that it wrote spell several words "
                        f"at once, such as {several[0]!r:.60}"
                    )
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
            self.faults.add(f"{where} does not say how its server answered")
            return None
        hidden = hidden_characters(record.served.finish or "")
        if hidden:
            self.faults.add(f"{where}: its finish holds {', '.join(hidden)[:200]}")
        sample = self._sample(record)
        asked = Asked(self._origin(record), self._tasks[record.task_label], sample)
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
        answered = Answered(Question(sample.messages, "", tag=asked), reply, None, record.seconds)
        return served_record_of(answered, self.runfile, self.models[record.model].digest)

    def _replayed(self, record: Record, known: Known, codec: Codec, where: str) -> Record | None:
        try:
            trace = record.decoding.trace
        except RecordsError as error:
            self.faults.add(f"{where}: {error}, but its model is none")
            return None
        prompt = self._prompt(record, codec)
        decoder, origin = self._decoders[record.decoder_label], self._origin(record)
        key = job_key(self.runfile, origin)
        conduct = Conduct(
            prompt=prompt,
            decoder=decoder,
            course=self._courses.find(
                prompt, decoder, (record.model, record.decoder_label), key, known.blocks
            ),
            unwritable=known.unwritable,
            blocks=known.blocks,
            plain=known.plain,
            stops=known.stops,
            knows_law=known.knows_law,
        )
        broken = list(broken_rules(record, conduct))
        if broken:
            self.faults.add(f"{where}: {'; '.join(broken)}")
            return None
        outcome = Outcome(
            job=Job(prompt, decoder, key, tag=origin),
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
            self._look_at_tokens(expected, codec)
        return expected

    def _look_at_tokens(self, record: Record, codec: Codec) -> None:
        ids = codec.before_end(record.decoding.output_ids)
        self._written.setdefault(record.model, set()).update(ids)
        several = len(ids) == 1 and longest_words(codec, set(ids))
        if several and record.marks is not None and record.marks.lenient > 0:
            self._alone.append(record.text)

    def _origin(self, record: Record) -> Origin:
        return Origin(
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
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:  # a stranger's template and tokenizer may fail anyhow
                raise SubmissionError(
                    f"model {record.model!r:.80} cannot read sample {record.index} of "
                    f"{record.task_label}: {' '.join(str(error).split()):.200}"
                ) from error
        return self._prompts[key]

    @cached_property
    def _expected(self) -> dict[Key, None]:
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
    kind = DECODERS[setting.name]
    return kind.adaptive and "answers" not in build(setting, DECODERS).needs


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
