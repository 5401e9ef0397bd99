"""A language model as judge, which gets one text at a time and a rubric.

The judge is any server of :mod:`parallelbench.models.api`, with the key in the environment.  The
rubric precedes the text, and the last ``PASS`` or ``FAIL`` in the reply is the verdict; a reply
with neither has no verdict, which is reported and not counted.

Every verdict is appended at once to a file of JSON Lines (see
:mod:`parallelbench.analysis.judging.verdicts`).  Texts with a verdict of the same judge, that is,
of the same server, model and rubric, are not judged again.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from parallelbench.analysis.judging.judges import JudgeError
from parallelbench.analysis.judging.verdicts import Item, item_line, read_items
from parallelbench.errors import RequestError, StorageError, UnreachableError
from parallelbench.model import MODELS, Server
from parallelbench.registry import load_plugins
from parallelbench.run.serve import ServerRequest, serve
from parallelbench.setting import build, parse_settings
from parallelbench.task import Message

#: Default rubric of a judge of grammar; it is part of the judge's digest.
GRAMMAR_RUBRIC = (
    "You check the grammar of English text. The text below fails if it has any grammatical "
    "error: a word that is missing, repeated or in the wrong place, a wrong article, a verb that "
    "does not agree with its subject, or parts that make no sentence together. Style, spelling "
    "variants, names and whether it is true do not matter. Answer with one word: PASS if it is "
    "free of such errors, FAIL if not."
)

_VERDICT = re.compile(r"\b(PASS|FAIL)\b")
#: Digits of the digest in a judge's name, enough to distinguish judges in a file.
_DIGITS = 12


@dataclass(frozen=True)
class LlmJudge:
    """A server that judges texts.

    Attributes:
        label: The server's setting, as typed.
        server: The server.
        rubric: Instructions before each text.
    """

    label: str
    server: Server
    rubric: str = GRAMMAR_RUBRIC

    @classmethod
    def open(cls, setting: str, rubric: str = GRAMMAR_RUBRIC) -> LlmJudge:
        """Return the judge of a model setting such as ``api:URL:model=NAME``.

        Raises:
            RequestError: The setting is not of a server, or the rubric names neither PASS nor FAIL.
        """
        load_plugins()
        settings = parse_settings(setting, MODELS)
        if len(settings) != 1 or not MODELS[settings[0].name].serves:
            raise RequestError(
                f"--judge must be one server, such as api:http://127.0.0.1:8000/v1:model=NAME, "
                f"got {setting!r}"
            )
        if not _VERDICT.findall(rubric):
            raise RequestError("the rubric must tell the judge to answer with PASS or FAIL")
        server = build(settings[0], MODELS).open()
        if not isinstance(server, Server):
            raise TypeError(f"{settings[0].label} says that it serves, but opens no server")
        return cls(settings[0].label, server, rubric)

    @property
    def name(self) -> str:
        """The label with a digest of the server's address and requests and of the rubric."""
        content = json.dumps([self.server.digest, self.rubric])
        return f"{self.label}#{hashlib.sha256(content.encode()).hexdigest()[:_DIGITS]}"

    def messages(self, text: str) -> tuple[Message, ...]:
        """Return the chat that asks about ``text``."""
        return (Message("system", self.rubric), Message("user", text))


@dataclass(frozen=True, slots=True)
class LlmVerdicts:
    """Verdicts of one judge on several texts.

    Attributes:
        judge: Name of the judge.
        verdicts: True for each text that passed, False for each that failed.
        unclear: Number of replies without a verdict.
        failed: Number of texts without a reply.
        error: Error of the first text without a reply; None if there is none.
    """

    judge: str
    verdicts: Mapping[str, bool]
    unclear: int = 0
    failed: int = 0
    error: str | None = None

    def of(self, items: Iterable[Item]) -> list[Item]:
        """Return those of ``items`` whose text has a verdict, with that verdict."""
        return [
            replace(item, verdict=self.verdicts[item.text], judge=self.judge)
            for item in items
            if item.text is not None and item.text in self.verdicts
        ]


def read_verdict(reply: str) -> bool | None:
    """Return True if the last verdict in ``reply`` is PASS, False if FAIL; None without one.

    Example:
        >>> read_verdict("The first word would FAIL, but no: **PASS**"), read_verdict("Passable")
        (True, None)
    """
    verdicts = _VERDICT.findall(reply)
    return verdicts[-1] == "PASS" if verdicts else None


def ask(judge: LlmJudge, items: Iterable[Item], path: Path) -> LlmVerdicts:
    """Return the judge's verdicts on the texts of ``items``, appended to ``path`` as they arrive.

    Items with a verdict are judged, too, since that verdict is of another judge.

    Args:
        judge: The judge.
        items: Items with texts.
        path: A file of JSON Lines, new or continued.

    Raises:
        JudgeError: An item has no text, or ``path`` holds something else.
        StorageError: ``path`` cannot be written.
        UnreachableError: The server does not answer.
    """
    texts = dict.fromkeys(_text(item) for item in items)
    known = _known(path, judge.name)
    unclear, errors = 0, []
    questions = (
        ServerRequest(judge.messages(text), key=text, tag=text)
        for text in texts
        if text not in known
    )
    try:
        with _appended_to(path) as add:
            for answered in serve(list(questions), judge.server):
                if answered.reply is None:
                    errors.append(str(answered.error))
                    continue
                text, verdict = answered.question.tag, read_verdict(answered.reply.text)
                if verdict is None:
                    unclear += 1
                    continue
                known[text] = verdict
                whole = answered.reply.content or answered.reply.text
                add(Item(text, None, verdict, None, judge.name, ""), whole)
    except UnreachableError as error:
        kept = f"every verdict ({len(known)}) is in {path}, and the same command goes on from there"
        raise UnreachableError(f"{error}; {kept if known else 'no verdict came'}") from error
    return LlmVerdicts(judge.name, known, unclear, len(errors), errors[0] if errors else None)


def _text(item: Item) -> str:
    if item.text is None:
        raise JudgeError(f"{item.where} has no text to judge")
    return item.text


def _known(path: Path, judge: str) -> dict[str, bool]:
    if path.suffix.lower() != ".jsonl":
        raise JudgeError(f"verdicts are written as JSON Lines: {path} must end in .jsonl")
    if not path.exists() or path.stat().st_size == 0:
        return {}
    _drop_torn_line(path)
    return {
        item.text: item.verdict
        for item in read_items(path)
        if item.judge == judge and item.text is not None and item.verdict is not None
    }


def _drop_torn_line(path: Path) -> None:
    """Remove a last line that an interruption left incomplete."""
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with path.open("r+b") as file:
            file.truncate(whole)


@contextmanager
def _appended_to(path: Path) -> Iterator[Callable[[Item, str], None]]:
    """Open a file to which each verdict is written at once, with the reply that holds it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:

            def add(item: Item, reply: str) -> None:
                file.write(item_line(item, reply=reply))
                file.flush()

            yield add
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error}") from error
