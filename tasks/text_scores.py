"""Scores of free text, for tasks whose right answers cannot be listed.

Each score lies in [0, 1].  Scores of external packages use them unchanged, with their own
tokenization, and :func:`engine_versions` returns their releases.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable
from functools import cache
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from parallelbench.errors import EngineError, FieldError

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")  # noqa: RUF001  as in "don't" and "rose-red"

#: Characters of the longest reply that is judged, far more than any task asks for: the time of a
#: grammar engine grows with the square of the length, from 0.4 s for these to 5 s for 16,384.
MOST_CHARACTERS = 4096

#: Tokenization of sacrebleu: the one of the machine translation workshops.
BLEU_TOKENIZATION = "13a"
_HOW_BLEU = f", tok:{BLEU_TOKENIZATION}, not smoothed"


def plain_text(reply: str) -> str:
    """Return ``reply`` without surrounding white space, as valid Unicode.

    An unpaired surrogate becomes a question mark.
    """
    return reply.encode(errors="replace").decode().strip()


def words_of(text: str) -> list[str]:
    """Return the words of ``text`` in lower case, without punctuation."""
    return _WORD.findall(text.lower())


def share_of_words(asked: Collection[str], reply: str) -> float:
    """Return the share of the words ``asked`` for that occur in ``reply`` as whole words.

    Case is ignored; another form of a word is another word.

    Example:
        >>> share_of_words(["cat", "mat"], "The cat sat on mats.")
        0.5
    """
    written = set(words_of(reply))
    return sum(word.lower() in written for word in asked) / len(asked)


def share_of_substrings(asked: Collection[str], reply: str) -> float:
    """Return the share of the words ``asked`` for that occur in ``reply`` as substrings.

    This is the original benchmark's form: it finds "mat" in "mats" and "format", not in "Mat".

    Example:
        >>> share_of_substrings(["cat", "mat"], "The cat sat on mats.")
        1.0
    """
    return sum(word in reply for word in asked) / len(asked)


def rouge_l(reference: str, reply: str) -> float:
    """Return ROUGE-L: the F-measure of the longest common subsequence of words.

    Words are runs of ASCII letters and digits in lower case; those of more than three characters
    are stemmed by Porter's rules, as in the original benchmark.

    Source:
        Lin (2004), "ROUGE: a package for automatic evaluation of summaries".
    """
    return float(_rouge().score(reference, reply)["rougeL"].fmeasure)


def one_minus_bleu(sentence: str, reply: str) -> float:
    """Return 1 - BLEU of ``reply`` against ``sentence``: 0 for a copy, 1 for other words.

    Corpus BLEU of this one sentence, as in the original benchmark: words split by
    :data:`BLEU_TOKENIZATION`, n-grams up to 4, no smoothing.  BLEU is therefore 0 where no four
    consecutive words are shared, and for fewer than four words.

    Source:
        Papineni et al. (2002), "BLEU"; Post (2018), "A call for clarity in reporting BLEU
        scores" (arXiv:1804.08771).
    """
    score = float(_bleu().corpus_score([reply], [[sentence]]).score) / 100
    return min(max(1 - score, 0.0), 1.0)


def bertscore_f1(folder: str, sentence: str, reply: str) -> float:
    """Return F1 of BERTScore of ``reply`` against ``sentence``, clipped to [0, 1].

    Cosine similarity of one layer of the model in ``folder``, not rescaled, without idf weights:
    the layer that bert-score recommends for a model of the folder's name, else the last.  Scores
    by different models are different metrics.

    Source:
        Zhang et al. (2020), "BERTScore" (arXiv:1904.09675).
    """
    if not words_of(reply):
        return 0.0
    _, _, f1 = _bertscorer(folder).score([reply], [sentence])
    return min(max(float(f1[0]), 0.0), 1.0)


@cache
def check_bertscore(folder: str) -> None:
    """Try the model in ``folder`` on a word.

    Raises:
        EngineError: The package bert-score is not installed.
        FieldError: The folder has no model that bert-score can use.
    """
    _import("bert_score", "bert-score", "bertscore")
    if not (Path(folder) / "config.json").is_file():
        raise FieldError(
            f"bertscore={folder} must be a folder with a model and its tokenizer, as transformers "
            "saves them; nothing is fetched from a hub"
        )
    try:
        bertscore_f1(folder, "Yes.", "Yes.")
    # bert-score lets any exception of a model through.
    except Exception as error:
        raise FieldError(
            f"bertscore={folder} cannot be used by bert-score: {type(error).__name__}: {error}"
        ) from error


@cache
def bertscore_source(folder: str | None) -> dict[str, str]:
    """Return the digest of the files of a model for BERTScore, by the field that names it."""
    if folder is None:
        return {}
    content = hashlib.sha256()
    for file in sorted(path for path in Path(folder).rglob("*") if path.is_file()):
        content.update(f"{file.relative_to(folder)}\0{file.stat().st_size}\0".encode())
        with file.open("rb") as stream:
            content.update(hashlib.file_digest(stream, "sha256").digest())
    return {f"bertscore={folder}": content.hexdigest()}


def engine_versions(names: Iterable[str]) -> dict[str, str]:
    """Return the release of the external package behind each score, by score.

    Args:
        names: Scores among ``rouge_l``, ``one_minus_bleu`` and ``bertscore_f1``.

    Raises:
        EngineError: A package is not installed; the message names the extra to install.
    """
    versions = {}
    for name in names:
        package, module, extra, how = _PACKAGES[name]
        _import(module, package, extra)
        versions[name] = f"{package} {version(package)}{how}"
    return versions


_PACKAGES = {
    "rouge_l": ("rouge-score", "rouge_score.rouge_scorer", "text", ", F-measure, stemmed"),
    "one_minus_bleu": ("sacrebleu", "sacrebleu.metrics", "text", _HOW_BLEU),
    "bertscore_f1": ("bert-score", "bert_score", "bertscore", ""),
}


def _import(module: str, package: str, extra: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise EngineError(
            f"this task is scored with {package}, which is not installed: "
            f"pip install 'parallelbench[{extra}]' ({error})"
        ) from error


@cache
def _rouge() -> Any:
    scorer = _import("rouge_score.rouge_scorer", "rouge-score", "text")
    return scorer.RougeScorer(["rougeL"], use_stemmer=True)


@cache
def _bleu() -> Any:
    metrics = _import("sacrebleu.metrics", "sacrebleu", "text")
    return metrics.BLEU(tokenize=BLEU_TOKENIZATION, smooth_method="none")


@cache
def _bertscorer(folder: str) -> Any:
    package = _import("bert_score", "bert-score", "bertscore")
    from transformers import AutoConfig, AutoTokenizer, GPT2Tokenizer, RobertaTokenizer

    layers = AutoConfig.from_pretrained(folder, trust_remote_code=False).num_hidden_layers
    advised = import_module("bert_score.utils").model2layers.get(Path(folder).name, layers)
    scorer = package.BERTScorer(model_type=folder, num_layers=advised, device="cpu")
    if isinstance(scorer._tokenizer, GPT2Tokenizer | RobertaTokenizer):  # noqa: SLF001
        # For these, bert-score passes add_prefix_space with each text.  transformers 5 accepts it
        # only when a tokenizer is loaded, and bert-score offers no option for that.
        scorer._tokenizer = AutoTokenizer.from_pretrained(  # noqa: SLF001
            folder, use_fast=False, add_prefix_space=True, trust_remote_code=False
        )
    return scorer
