"""Facts about the models of an entry that need no prediction: codecs, digests, capabilities."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from parallelbench.analysis.measures.losses import is_ideal
from parallelbench.errors import SubmissionError
from parallelbench.leaderboards.entry.folder import (
    CODEC,
    ENVIRONMENT,
    SUBMISSION,
    EntryFolder,
    brief,
)
from parallelbench.leaderboards.entry.submission import BUILT_IN, Submission, SubmittedModel
from parallelbench.leaderboards.entry.tokenizer_file import from_file
from parallelbench.model import MODELS, Blocks, Model
from parallelbench.models.capabilities import named_family_capabilities
from parallelbench.models.ideal import IdealModel
from parallelbench.prompt import Codec
from parallelbench.ranges import MOST_IN_A_FIELD
from parallelbench.run.runfile import RunFile
from parallelbench.setting import Setting, build, make_setting


class ModelFacts(NamedTuple):
    """Facts about one model.

    Attributes:
        codec: Tokenizer and chat template; None for a server.
        digest: Model digest that its records must have.
        weights_digest: Weights digest that its records must have; None if it has no weights.
        built_in: True for a model of this package with its own tokenizer.
        blocks: Block grid; None without one.
        uncached: True if it is known to compute every row whole and to cache nothing.
        stops: True if it ends a decode after the block with the first end-of-text.
        knows_support: True if it knows when no right answer fits the canvas any more.
        unwritable: Ids below the size of the tokenizer that stand for no token.
        provides: Capabilities besides logits; None where they are not known.
        model: The model itself where this package can open it; else None.
    """

    codec: Codec | None
    digest: str
    weights_digest: str | None
    built_in: bool
    blocks: Blocks | None
    uncached: bool
    stops: bool
    knows_support: bool
    unwritable: frozenset[int]
    provides: frozenset[str] | None
    model: Model | None = None


def model_facts(
    folder: EntryFolder, submission: Submission, runfile: RunFile
) -> dict[str, ModelFacts]:
    """Return the facts about each model of an entry, by label.

    Raises:
        SubmissionError: A tokenizer is missing, superfluous or not to be trusted.
    """
    environment = folder.json(ENVIRONMENT)
    facts = {}
    for number, (setting, claimed) in enumerate(
        zip(runfile.models, submission.models, strict=True)
    ):
        name = CODEC.format(number)
        held = folder.json(name) if name in folder.files else None
        facts[setting.label] = _facts_of(setting, claimed, held, name, environment)
    superfluous = {name for name in folder.files if name.startswith("codec-")}
    superfluous -= {CODEC.format(number) for number in range(len(runfile.models))}
    if superfluous:
        raise SubmissionError(f"{', '.join(sorted(superfluous))} belong to no model of this entry")
    return facts


@functools.cache
def digest_of_mini() -> str | None:
    """Return the weights digest of the network that ships with this package."""
    return _opened(make_setting("mini", {}, MODELS)).weights_digest


def digest_faults(submission: Submission, facts: Mapping[str, ModelFacts]) -> Iterator[str]:
    """Yield a sentence for each claimed digest that its model does not have or two models share."""
    for claimed in submission.models:
        own = facts[claimed.label]
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
    for label, own in facts.items():
        if own.model is not None and first.setdefault(own.digest, label) != label:
            yield (
                f"{SUBMISSION}: {label!r:.80} predicts what {first[own.digest]!r:.80} does, so "
                "each of its strategies would stand on the board twice; leave one out"
            )


def is_ideal_with_other_tokenizer(model: str) -> bool:
    """Return True if the label ``model`` is of the ideal model with a tokenizer of the submitter.

    The submitter then chooses the number of tokens of an answer, and so its greatest speed: such
    rows are compared only with rows of the same tokenizer.
    """
    return is_ideal(model) and "tokenizer=" in model.partition(":")[2]


def _facts_of(
    setting: Setting, claimed: SubmittedModel, held: Any, name: str, environment: Any
) -> ModelFacts:
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
    codec, claims = from_file(held, name), _environment_of(environment, setting.label)
    if claims.get("tokenizer_digest", codec.digest) != codec.digest:
        raise SubmissionError(
            f"{name} has digest {codec.digest[:12]}, and {ENVIRONMENT} says that model "
            f"{setting.label!r:.80} was run with {claims['tokenizer_digest']!s:.12}"
        )
    return _with_own_tokenizer(setting, claimed, codec, claims)


def _server(claimed: SubmittedModel) -> ModelFacts:
    return ModelFacts(
        codec=None,
        digest=claimed.digest,
        weights_digest=claimed.weights_digest,
        built_in=False,
        blocks=None,
        uncached=False,
        stops=False,
        knows_support=False,
        unwritable=frozenset(),
        provides=None,
    )


def _built_in(setting: Setting) -> ModelFacts:
    model = _opened(setting)
    return ModelFacts(
        codec=model.codec,
        digest=model.digest,
        weights_digest=model.weights_digest,
        built_in=True,
        blocks=model.blocks,
        uncached=setting.fields.get("cache") in (None, "none"),
        stops=model.stops,
        knows_support=setting.name == "ideal",
        unwritable=frozenset(model.codec.unwritable),
        model=model,
        provides=model.capabilities,
    )


def _with_own_tokenizer(
    setting: Setting, claimed: SubmittedModel, codec: Codec, claims: Mapping[str, Any]
) -> ModelFacts:
    """Return the facts about a model whose tokenizer the entry contains."""
    ideal = setting.name == "ideal"
    model: Model | None = None
    if ideal:
        fields: Mapping[str, Any] = setting.fields
        model = IdealModel(codec, noise=fields["noise"], seed=fields["seed"], limit=fields["limit"])
    uncached = setting.fields.get("cache") in (None, "none")
    return ModelFacts(
        codec=codec,
        digest=claimed.digest if model is None else model.digest,
        weights_digest=claimed.weights_digest,
        built_in=False,
        blocks=None if ideal else _blocks(setting, claims),
        uncached=ideal or (uncached and claims.get("kind") == "masked"),
        stops=not ideal and claims.get("stops") is True,
        knows_support=ideal,
        unwritable=frozenset(codec.unwritable),
        model=model,
        provides=_provides(setting, claims),
    )


def _provides(setting: Setting, claims: Mapping[str, Any]) -> frozenset[str] | None:
    """Return the capabilities of a model's stated family; None if the entry states no family."""
    if setting.name == "ideal":
        return IdealModel.capabilities
    if setting.name != "hf":
        return None
    family, fields = claims.get("family"), dict[str, Any](setting.fields)
    if not isinstance(family, str):
        return None
    return named_family_capabilities(family, fields.get("cache"))


def _blocks(setting: Setting, claims: Mapping[str, Any]) -> Blocks | None:
    """Return the block grid that the submitter states for a model.

    Raises:
        SubmissionError: It is no grid, or another one than the setting of the model asks for.
    """
    stated = claims.get("blocks")
    if stated is None:
        return None
    required = setting.fields.get("block_length")
    length = stated.get("length") if isinstance(stated, dict) else None
    if (
        type(length) is not int
        or not 1 <= length <= MOST_IN_A_FIELD
        or type(stated.get("from_prompt")) is not bool
    ):
        raise SubmissionError(
            f"{ENVIRONMENT}: the blocks of model {setting.label!r:.80} are {brief(stated)}, which "
            f"is no grid with a length of 1 to {MOST_IN_A_FIELD:,} and whether it begins in "
            "the prompt"
        )
    if required is not None and required != length:
        raise SubmissionError(
            f"{ENVIRONMENT}: model {setting.label!r:.80} is said to have blocks of {brief(length)}"
        )
    return Blocks(length, stated["from_prompt"])


def _opened(setting: Setting) -> Model:
    return _opened_once(setting.name, json.dumps(dict(setting.fields)))


# Most entries of a board have one of the same few models.
@functools.lru_cache(maxsize=8)
def _opened_once(name: str, fields: str) -> Model:
    source: Any = build(make_setting(name, json.loads(fields), MODELS), MODELS)
    if hasattr(source, "device"):  # its predictions are not needed, and its digest is the same
        source = dataclasses.replace(source, device="cpu")
    model: Model = source.open()
    return model


def _environment_of(environment: Any, label: str) -> Mapping[str, Any]:
    """Return the claims of the last start about a model; empty where they have another form."""
    start = environment[-1] if isinstance(environment, list) and environment else {}
    models = start.get("models") if isinstance(start, dict) else None
    claims = models.get(label) if isinstance(models, dict) else None
    return claims if isinstance(claims, dict) else {}
