"""Claims of an entry: its run file and its statement must be well-formed and must agree."""

from __future__ import annotations

import dataclasses
import reprlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

from parallelbench.decoder import DECODERS, Decoder
from parallelbench.errors import RequestError, SubmissionError
from parallelbench.leaderboards.entry.eligibility import differing_samples, reads_a_file
from parallelbench.leaderboards.entry.folder import RUN, SUBMISSION, brief
from parallelbench.leaderboards.entry.season import Season
from parallelbench.leaderboards.entry.submission import BUILT_IN, Submission
from parallelbench.leaderboards.verify.model_facts import ModelFacts, digest_of_mini
from parallelbench.model import MODELS
from parallelbench.prompt import Codec
from parallelbench.run.capabilities import missing_capabilities_message
from parallelbench.run.runfile import RunFile, differences, make_runfile
from parallelbench.setting import Setting, build
from parallelbench.task import TASKS

#: Greatest number of decodes of one entry.
MOST_RECORDS: Final = 200_000
_MOST_SETTINGS: Final = {"models": 16, "tasks": 100, "decoders": 300}


def claimed_run(content: Any, season: Season) -> RunFile:
    """Return the run that an entry claims; everything in it must be spelled out.

    Args:
        content: Content of its ``run.yaml``.
        season: Season whose samples it should have decoded.

    Raises:
        SubmissionError: It is no run in its frozen form, not of that season, or too large.
    """
    _check_form(content)
    _check_names(content, season)
    try:
        runfile = make_runfile(content, where=RUN)
    except RequestError as error:
        raise SubmissionError(
            f"{error}; a strategy or model that is not part of this package must be installed, or "
            "be added by the same pull request"
        ) from error
    difference = differing_samples(runfile, season)
    if difference:
        raise SubmissionError(f"{RUN}: not the samples of season {season.name}: {difference}")
    if runfile.frozen() != _with_fields_of_models(content, runfile):
        changed = "; ".join(differences(runfile.frozen(), content))
        raise SubmissionError(
            f"{RUN} is not complete, or in another form than runs have: {changed:.500}"
        )
    if runfile.decodes > MOST_RECORDS:
        raise SubmissionError(
            f"{RUN} asks for {runfile.decodes:,} decodes, and an entry may have "
            f"{MOST_RECORDS:,}; enter in parts"
        )
    return runfile


def _with_fields_of_models(content: Mapping[str, Any], runfile: RunFile) -> dict[str, Any]:
    """Return a claimed run with the fields that its models gained in later releases.

    Records name a model by its setting as it was typed, so these fields do not change them.
    """
    whole = runfile.frozen()["models"]
    if len(whole) != len(content["models"]):
        return dict(content)
    models = [
        {**each, "fields": {**complete["fields"], **each["fields"]}}
        for each, complete in zip(content["models"], whole, strict=True)
    ]
    return {**content, "models": models}


def _check_form(content: Any) -> None:
    """Refuse a run that is not spelled out: grids and globs may stand for many settings."""
    if not isinstance(content, dict):
        raise SubmissionError(f"{RUN} must hold keys such as models, tasks and decoders")
    for key, most in _MOST_SETTINGS.items():
        entries = content.get(key)
        if not isinstance(entries, list) or not 1 <= len(entries) <= most:
            raise SubmissionError(f"{RUN}: {key} must be a list of 1 to {most} settings")
        for each in entries:
            form = each if isinstance(each, dict) else {}
            if not isinstance(form.get("fields"), dict) or not isinstance(form.get("name"), str):
                raise SubmissionError(
                    f"{RUN}: {key} holds {reprlib.repr(each)[:80]}; in an entry every setting is "
                    "spelled out with its name and all its fields, as a run directory has it"
                )


def _check_names(content: Mapping[str, Any], season: Season) -> None:
    """Refuse tasks and decoders that would open a file when they are built."""
    allowed = {setting.name for setting in season.tasks}
    for each in content["tasks"]:
        if each.get("name") not in allowed:
            raise SubmissionError(
                f"{RUN}: task {each.get('name')!r:.80} is none of season {season.name}; make the "
                "run file with `parallelbench leaderboard run-file`"
            )
    for each in content["decoders"]:
        setting = Setting(str(each.get("name")), each["fields"], "")
        if reads_a_file(setting):
            raise SubmissionError(
                f"{RUN}: decoder {setting.name!r:.80} reads a file, which no entry holds; "
                "run it without"
            )


def statement_faults(submission: Submission, runfile: RunFile) -> Iterator[str]:
    """Yield a sentence for each contradiction between a submission and its run."""
    labels = [setting.label for setting in runfile.models]
    if [model.label for model in submission.models] != labels:
        yield (
            f"{SUBMISSION}: models are not those of {RUN}, which are "
            f"{', '.join(labels)}; pack the run again, and change nothing"
        )
    theirs = [(each.label, each.name, each.fields) for each in submission.decoders]
    ours = [(each.label, each.name, dict(each.fields)) for each in runfile.decoders]
    for mine, claimed in zip(ours, theirs, strict=False):
        if mine != claimed:
            yield (
                f"{SUBMISSION}: decoder {claimed[0]!r:.80} has {brief(claimed[2])}, and in {RUN} "
                f"{mine[0]!r:.80} has {brief(mine[2])}; pack the run again, and change nothing"
            )
    if len(ours) != len(theirs):
        yield (
            f"{SUBMISSION} names {len(theirs)} decoders, and {RUN} {len(ours)}; pack the run "
            "again, and change nothing"
        )
    versions = {setting.label: TASKS[setting.name].version for setting in runfile.tasks}
    if submission.task_versions != versions:
        yield (
            f"{SUBMISSION}: task_versions are {brief(submission.task_versions)}, and here they "
            f"are {brief(versions)}; samples or marks differ between versions, so run it again"
        )
    yield from _name_faults(submission, runfile)
    yield from _seed_faults(runfile)
    yield from _training_faults(submission, runfile)
    if submission.division == "closed":
        yield from _closed_faults(submission, runfile)


def serving_faults(runfile: RunFile, models: Mapping[str, ModelFacts]) -> Iterator[str]:
    """Yield a sentence for each decoder that a model cannot serve, or that is left out needlessly.

    Args:
        runfile: The run file.
        models: Facts about its models, by label.
    """
    decoders = [(setting, build(setting, DECODERS)) for setting in runfile.decoders]
    for model in runfile.models:
        facts = models[model.label]
        labels = {each.label for each in runfile.decoders_of(model)}
        if facts.codec is None:
            if runfile.left_out.get(model.label):
                yield f"{RUN}: left_out names {model.label!r:.80}, a server, which takes no decoder"
            continue
        for setting, decoder in decoders:
            if setting.label in labels:
                yield from _unserved(setting, decoder, model, facts, facts.codec)
            elif not decoder.missing_capabilities(facts.provides or frozenset()):
                yield (
                    f"{RUN}: left_out leaves {setting.label!r:.80} out of {model.label!r:.80}, "
                    "which gives all that it needs; enter every decoder that the run names"
                )


def _unserved(
    setting: Setting, decoder: Decoder, model: Setting, facts: ModelFacts, codec: Codec
) -> Iterator[str]:
    try:
        decoder.check(codec)
    except RequestError as error:
        yield f"{RUN}: {error!s:.300}"
    if facts.provides is not None:
        message = missing_capabilities_message(setting, decoder, model, facts.provides)
        if message is not None:
            yield f"{RUN}: {message:.500}"


def _name_faults(submission: Submission, runfile: RunFile) -> Iterator[str]:
    """Yield a sentence for each model of this package under another name or revision."""
    for setting, model in zip(runfile.models, submission.models, strict=False):
        identity = (model.name, model.revision)
        if setting.name in BUILT_IN and identity != (setting.name, None):
            yield (
                f"{SUBMISSION}: model {setting.label!r:.80} is called {brief(model.name)} with "
                f"revision {brief(model.revision)}, and it is {setting.name!r} of this package, "
                "which has none"
            )


def _seed_faults(runfile: RunFile) -> Iterator[str]:
    """Yield a sentence for each setting with a seed of its own, which would be another draw."""
    for kind, settings, registry in (
        ("model", runfile.models, MODELS),
        ("decoder", runfile.decoders, DECODERS),
    ):
        for setting in settings:
            seed = setting.fields.get("seed")
            default = next(
                (
                    each.default
                    for each in dataclasses.fields(registry[setting.name])
                    if each.name == "seed"
                ),
                None,
            )
            # A server's field of that name says whether requests carry one.
            if isinstance(seed, int) and not isinstance(seed, bool) and seed != default:
                yield (
                    f"{RUN}: {kind} {setting.label!r:.80} has a seed of its own, and on a board it "
                    f"is {default!r}: who chooses a seed chooses among draws; run it without"
                )


def _closed_faults(submission: Submission, runfile: RunFile) -> Iterator[str]:
    if submission.trained_on_suite == "yes":
        yield f"{SUBMISSION}: weights trained on this suite belong in division open"
    for setting in runfile.decoders:
        if not DECODERS[setting.name].__module__.startswith("parallelbench."):
            yield (
                f"{SUBMISSION}: decoder {setting.label!r} is no part of this suite, so the entry "
                "belongs in division open"
            )
    for setting in runfile.models:
        if setting.fields.get("peft") is not None:
            yield f"{SUBMISSION}: model {setting.label!r:.80} is adapted, so it belongs in open"
        if setting.fields.get("template") is not None:
            yield (
                f"{SUBMISSION}: model {setting.label!r:.80} reads prompts by a chat template that "
                "is not its checkpoint's, so it belongs in open"
            )


def _training_faults(submission: Submission, runfile: RunFile) -> Iterator[str]:
    """Yield a sentence if a model of this package, trained on the suite, is declared untrained."""
    if submission.trained_on_suite == "yes":
        return
    for setting, model in zip(runfile.models, submission.models, strict=False):
        brought = setting.name not in BUILT_IN and model.weights_digest is not None
        if setting.name == "mini" or (brought and model.weights_digest == digest_of_mini()):
            yield (
                f"{SUBMISSION}: trained_on_suite is {submission.trained_on_suite!r}, and the "
                f"weights of {setting.label!r:.80} are those of mini, which this package trained "
                "on these tasks: say 'yes'"
            )
