"""Entries of a board, from records that a test made up or decoded."""

from parallelbench import evaluate
from parallelbench.leaderboards.entry.entry import Entry
from parallelbench.leaderboards.entry.season import season
from parallelbench.leaderboards.entry.submission import Submission, SubmittedDecoder, SubmittedModel
from support.fabricated import altered, fabricated_record

PRACTICE = season("practice")
TASKS = {task.label: task.name for task in PRACTICE.tasks}


def submission_of(records, **said):
    """What an entry with these records says of itself, even what a check would refuse."""
    models = {record.model_label: record.model.digest for record in records}
    decoders = {r.decoder_label: (r.decoder.name, r.decoder.fields) for r in records}
    values = {
        "title": "An entry",
        "submitter": "The ParallelBench authors",
        "division": "closed",
        "trained_on_suite": "no",
        "season": "practice",
        "library_version": "0.1.0",
        "task_versions": {record.task_label: record.task.version for record in records},
        "models": tuple(
            SubmittedModel.model_construct(label=label, name=label, digest=digest)
            for label, digest in models.items()
        ),
        "decoders": tuple(
            SubmittedDecoder.model_construct(label=label, name=name, fields=fields)
            for label, (name, fields) in decoders.items()
        ),
    }
    return Submission.model_construct(**{**values, **said})


def entry_of(records, name="entry", level="recomputed", remarks=(), **said):
    return Entry(name, submission_of(records, **said), records, level, remarks)


def decodes(decoder, right, calls, **changes):
    """A setting on the whole practice season: ``right(task, index)`` and ``calls(task, index)``.

    Either may be a number for all of them; a mark of None is an error.
    """
    key, _, number = decoder.partition(":")[2].partition("=")
    fields = {key: float(number) if "." in number else int(number)} if key else {}
    says = [
        each if callable(each) else (lambda _t, _i, value=each: value) for each in (right, calls)
    ]
    return [
        fabricated_record(
            decoder,
            index,
            says[0](task, index),
            nfe=says[1](task, index),
            task=name,
            task_label=task,
            sample_digest=f"{task} {index}",
            **{"model": "mini", "model_digest": 64 * "1", "decoder_fields": fields, **changes},
        )
        for task, name in TASKS.items()
        for index in range(PRACTICE.samples)
    ]


def decoded(decoders, model="ideal"):
    """Real records of the practice season."""
    return evaluate(
        model=model,
        tasks=list(TASKS),
        decoders=decoders,
        samples=PRACTICE.samples,
        seed=PRACTICE.seed,
    ).records


def called(records, model, **changes):
    """The same decodes, as if another model had made them."""
    return [altered(record, model=model, **changes) for record in records]
