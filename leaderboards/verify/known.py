"""What is known of an entry's models without asking them: their codec and their digests."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from parallelbench.analysis.measures.losses import is_ideal
from parallelbench.errors import SubmissionError
from parallelbench.leaderboards.entry.folder import CODEC, ENVIRONMENT, SUBMISSION, Folder, shown
from parallelbench.leaderboards.entry.submission import BUILT_IN, Submission, SubmittedModel
from parallelbench.leaderboards.entry.tokenizer_file import from_file
from parallelbench.model import MODELS, Blocks, Model
from parallelbench.prompt import Codec
from parallelbench.ranges import MOST_IN_A_FIELD
from parallelbench.run.runfile import RunFile
from parallelbench.setting import Setting, build, make_setting


class Known(NamedTuple):
    """What is known of a model without asking it.

    Attributes:
        codec: How it reads and writes text; None for a server.
        digest: What its records must say.
        weights_digest: Likewise.
        built_in: Whether it is part of this package.
        blocks: As in :class:`~parallelbench.leaderboards.verify.trace_rules.Conduct`.
        plain: Likewise.
        stops: Likewise.
        knows_law: Likewise.
        unwritable: Likewise.
        model: The model itself, where it is part of this package; else None.
        provides: What it gives beside logits; None where that is not known.
    """

    codec: Codec | None
    digest: str
    weights_digest: str | None
    built_in: bool
    blocks: Blocks | None
    plain: bool
    stops: bool
    knows_law: bool
    unwritable: frozenset[int]
    provides: frozenset[str] | None
    model: Model | None = None


def known_models(folder: Folder, submission: Submission, runfile: RunFile) -> dict[str, Known]:
    """Return what is known of each model, by label.

    Raises:
        SubmissionError: A tokenizer is missing or not to be trusted.
    """
    environment = folder.json(ENVIRONMENT)
    known = {}
    for number, (setting, claimed) in enumerate(
        zip(runfile.models, submission.models, strict=True)
    ):
        name = CODEC.format(number)
        held = folder.json(name) if name in folder.files else None
        known[setting.label] = _known(setting, claimed, held, name, environment)
    beside = {name for name in folder.files if name.startswith("codec-")}
    beside -= {CODEC.format(number) for number in range(len(runfile.models))}
    if beside:
        raise SubmissionError(f"{', '.join(sorted(beside))} belong to no model of this entry")
    return known


@functools.cache
def digest_of_mini() -> str | None:
    """Return what identifies the weights of the network that ships with this package."""
    return _opened(make_setting("mini", {}, MODELS)).weights_digest


def digest_faults(submission: Submission, known: Mapping[str, Known]) -> Iterator[str]:
    """Yield which digests a submission claims that its models do not have, or two of them share."""
    for claimed in submission.models:
        own = known[claimed.label]
        for what, theirs, ours in (
            ("digest", claimed.digest, own.digest),
            ("weights_digest", claimed.weights_digest, own.weights_digest),
        ):
            if theirs != ours:
                yield (
                    f"{SUBMISSION}: model {claimed.label!r} claims {what} {theirs!s:.12}, and here "
                    f"it is {ours!s:.12}: other weights or another tokenizer, or another version "
                    "of this package"
                )
    first: dict[str, str] = {}
    for label, own in known.items():
        if own.model is not None and first.setdefault(own.digest, label) != label:
            yield (
                f"{SUBMISSION}: {label!r:.80} predicts what {first[own.digest]!r:.80} does, so "
                "each of its strategies would stand on the board twice; leave one out"
            )


def is_ideal_with_other_tokenizer(model: str) -> bool:
    """Return whether the label ``model`` is of the ideal model with a tokenizer that it was given.

    How many tokens an answer has, and so how fast it can be written, is then its submitter's
    choice: such rows are compared with none of another tokenizer.
    """
    return is_ideal(model) and "tokenizer=" in model.partition(":")[2]


def _known(
    setting: Setting, claimed: SubmittedModel, held: Any, name: str, environment: Any
) -> Known:
    if MODELS[setting.name].serves:
        if held is not None:
            raise SubmissionError(f"{name} is there, and {setting.label!r:.80} is a server")
        return _server(claimed)
    own = setting.name in BUILT_IN and setting.fields.get("tokenizer") is None
    if own == (held is not None):
        raise SubmissionError(
            f"model {setting.label!r}: {name} must {'not ' if own else ''}be there"
        )
    if own:
        return _built_in(setting)
    codec, facts = from_file(held, name), _facts(environment, setting.label)
    if facts.get("tokenizer_digest", codec.digest) != codec.digest:
        raise SubmissionError(
            f"{name} has digest {codec.digest[:12]}, and {ENVIRONMENT} says that model "
            f"{setting.label!r:.80} was run with {facts['tokenizer_digest']!s:.12}"
        )
    return _brought(setting, claimed, codec, facts)


def _server(claimed: SubmittedModel) -> Known:
    return Known(
        codec=None,
        digest=claimed.digest,
        weights_digest=claimed.weights_digest,
        built_in=False,
        blocks=None,
        plain=False,
        stops=False,
        knows_law=False,
        unwritable=frozenset(),
        provides=None,
    )


def _built_in(setting: Setting) -> Known:
    model = _opened(setting)
    return Known(
        codec=model.codec,
        digest=model.digest,
        weights_digest=model.weights_digest,
        built_in=True,
        blocks=model.blocks,
        plain=setting.fields.get("cache") in (None, "none"),
        stops=model.stops,
        knows_law=setting.name == "ideal",
        unwritable=frozenset(model.codec.unwritable),
        model=model,
        provides=model.capabilities,
    )


def _brought(
    setting: Setting, claimed: SubmittedModel, codec: Codec, facts: Mapping[str, Any]
) -> Known:
    """Return what is known of a model whose tokenizer the entry brings."""
    ideal = setting.name == "ideal"
    model: Model | None = None
    if ideal:
        from parallelbench.models.ideal import IdealModel

        fields: Mapping[str, Any] = setting.fields
        model = IdealModel(codec, noise=fields["noise"], seed=fields["seed"], limit=fields["limit"])
    uncached = setting.fields.get("cache") in (None, "none")
    return Known(
        codec=codec,
        digest=claimed.digest if model is None else model.digest,
        weights_digest=claimed.weights_digest,
        built_in=False,
        blocks=None if ideal else _blocks(setting, facts),
        plain=ideal or (uncached and facts.get("kind") == "masked"),
        stops=not ideal and facts.get("stops") is True,
        knows_law=ideal,
        unwritable=frozenset(codec.unwritable),
        model=model,
        provides=_given(setting, facts),
    )


def _given(setting: Setting, facts: Mapping[str, Any]) -> frozenset[str] | None:
    """Return what a model gives whose family its entry states; None where it states none."""
    if setting.name == "ideal":
        from parallelbench.models.ideal import IdealModel

        return IdealModel.capabilities
    if setting.name != "hf":
        return None
    from parallelbench.models.capabilities import named_family_capabilities

    family, fields = facts.get("family"), dict[str, Any](setting.fields)
    if not isinstance(family, str):
        return None
    return named_family_capabilities(family, fields.get("cache"))


def _blocks(setting: Setting, facts: Mapping[str, Any]) -> Blocks | None:
    """Return the grid that the submitter states for a model.

    Raises:
        SubmissionError: It is none, or another than the model was asked for.
    """
    told = facts.get("blocks")
    if told is None:
        return None
    asked = setting.fields.get("block_length")
    length = told.get("length") if isinstance(told, dict) else None
    if (
        type(length) is not int
        or not 1 <= length <= MOST_IN_A_FIELD
        or type(told.get("from_prompt")) is not bool
    ):
        raise SubmissionError(
            f"{ENVIRONMENT}: the blocks of model {setting.label!r:.80} are {shown(told)}, which is "
            f"no grid with a length of 1 to {MOST_IN_A_FIELD:,} and whether it begins in the prompt"
        )
    if asked is not None and asked != length:
        raise SubmissionError(
            f"{ENVIRONMENT}: model {setting.label!r:.80} is said to have blocks of {shown(length)}"
        )
    return Blocks(length, told["from_prompt"])


def _opened(setting: Setting) -> Model:
    return _opened_once(setting.name, json.dumps(dict(setting.fields)))


# A board has many entries of the same few models.
@functools.lru_cache(maxsize=8)
def _opened_once(name: str, fields: str) -> Model:
    source: Any = build(make_setting(name, json.loads(fields), MODELS), MODELS)
    if hasattr(source, "device"):  # what it predicts is not asked, and its digest is the same
        source = dataclasses.replace(source, device="cpu")
    model: Model = source.open()
    return model


def _facts(environment: Any, label: str) -> Mapping[str, Any]:
    """Return what the last start says of a model, as far as it has the usual form."""
    start = environment[-1] if isinstance(environment, list) and environment else {}
    models = start.get("models") if isinstance(start, dict) else None
    facts = models.get(label) if isinstance(models, dict) else None
    return facts if isinstance(facts, dict) else {}
