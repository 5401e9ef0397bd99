"""Grammar engines: programs that find faults in English sentences.

An engine is an imperfect judge.  Two engines, or two versions of one, find different
faults, so their pass rates are different metrics and never stand in one column: a task
names its engine in a field, and each record the version.

``lingotweaker``
    LanguageTool's rules in Rust: no Java, no server.  Its typographic rule EN_ELLIPSIS is
    off, which minds three dots for an ellipsis and nothing of grammar.
``harper``
    Small and for any platform.  Of its findings only those of grammar count, not those of
    spelling and style, and a rule of ours adds doubled words, many of which it misses.
``languagetool``
    LanguageTool itself with all its default rules, as in the paper: on a server of yours,
    or unpacked on this machine beside Java.

A word that is doubled, an article or an agreement that is wrong are found by all; a
sentence of right grammar that means nothing passes with each of them.
"""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Any, ClassVar

from parallelbench.errors import EngineError
from parallelbench.registry import Registry

#: Names the address of a LanguageTool server, such as ``http://127.0.0.1:8081``.
SERVER_VARIABLE = "LANGUAGETOOL_URL"


@dataclass(frozen=True, slots=True)
class Problem:
    """A fault that an engine found.

    Attributes:
        rule: The engine's id of the rule that was broken.
        message: What is wrong, in the engine's words.
        span: Where: start and end in characters.
    """

    rule: str
    message: str
    span: tuple[int, int]


class GrammarEngine(ABC):
    """Finds faults in sentences of American English; the same ones every time.

    Attributes:
        name: As registered.
        extra: Of this package, with what the engine needs.
        version: Of everything that can change what it finds.

    Raises:
        EngineError: It is not installed, or does not start.
    """

    name: ClassVar[str]
    extra: ClassVar[str]
    version: str

    def problems(self, sentences: Sequence[str]) -> list[list[Problem]]:
        """Return what is wrong with each of ``sentences``, in the order of the text.

        Raises:
            EngineError: The engine stopped answering.
        """
        # Half of a surrogate pair is no Unicode text, and no engine would take it.
        texts = [sentence.encode(errors="replace").decode() for sentence in sentences]
        return [sorted(self._check(text), key=_place) for text in texts]

    @abstractmethod
    def _check(self, text: str) -> list[Problem]:
        """Return what is wrong with ``text``, in any order."""


ENGINES: Registry[type[GrammarEngine]] = Registry("grammar engine")


@cache
def open_engine(name: str) -> GrammarEngine:
    """Return the engine called ``name``, started once in this process.

    Raises:
        UnknownNameError: There is none of that name.
        EngineError: It is not installed; the message says which extra to install.
    """
    kind = ENGINES[name]
    try:
        return kind()
    except ImportError as error:
        others = " or ".join(f"grammar={other}" for other in ENGINES if other != name)
        raise EngineError(
            f"grammar engine {name!r} is not installed: pip install 'parallelbench[{kind.extra}]', "
            f"or choose {others}, which are other metrics ({error})"
        ) from error


@ENGINES.register("lingotweaker")
class LingoTweaker(GrammarEngine):
    """LanguageTool's rules in Rust, on Linux x86-64: two seconds to start, 430 MB of memory."""

    name = "lingotweaker"
    extra = "text"

    def __init__(self) -> None:
        # On other platforms pip may install an empty placeholder of that name.
        import lingotweaker_data_en  # noqa: F401
        import lt_py

        self._engine: Any = lt_py.Engine("en-US", disabled_rules=["EN_ELLIPSIS"])
        self.version = f"{version('lingotweaker')}+data-{version('lingotweaker-data-en')}"

    def _check(self, text: str) -> list[Problem]:
        coded = text.encode()
        found = []
        for match in self._engine.check(text):
            # It counts in bytes.
            start, end = match["offset"], match["offset"] + match["length"]
            span = (len(coded[:start].decode()), len(coded[:end].decode()))
            found.append(Problem(match["rule_id"], match["message"], span))
        return found


@ENGINES.register("harper")
class Harper(GrammarEngine):
    """A small checker for every platform; its findings of grammar, and doubled words."""

    name = "harper"
    extra = "harper"

    #: Its kinds of findings that are about grammar; wrong articles are ``Miscellaneous``.
    KINDS: ClassVar[frozenset[str]] = frozenset(
        {"Agreement", "Grammar", "Miscellaneous", "Repetition"}
    )

    def __init__(self) -> None:
        import harper

        self._linter: Any = harper.Linter(harper.Dialect.AMERICAN)
        self._form = harper.Language.PLAINTEXT
        self.version = f"{version('harper-py')}+doubled-words-1"

    def _check(self, text: str) -> list[Problem]:
        found = [
            Problem(lint.lint_kind, lint.message, (lint.span.start, lint.span.end))
            for lint in self._linter.lint(text, language=self._form)
            if lint.lint_kind in self.KINDS
        ]
        return found + list(_doubled_words(text))


#: Words that may rightly stand twice: "the one that that house belongs to", "had had".
_MAY_STAND_TWICE = frozenset({"had", "that"})
_DOUBLED = re.compile(r"\b([^\W\d_]+)\s+\1\b", re.IGNORECASE)


def _doubled_words(text: str) -> Iterator[Problem]:
    for found in _DOUBLED.finditer(text):
        if found[1].lower() not in _MAY_STAND_TWICE:
            yield Problem("doubled word", f"{found[1]!r} stands twice", found.span())


@ENGINES.register("languagetool")
class LanguageTool(GrammarEngine):
    """LanguageTool itself, on a server of yours or unpacked on this machine beside Java.

    Nothing is downloaded: the variable LANGUAGETOOL_URL names a server, or
    ``language_tool_python`` finds a copy that is already here.
    """

    name = "languagetool"
    extra = "languagetool"

    def __init__(self) -> None:
        import language_tool_python

        address = os.environ.get(SERVER_VARIABLE)
        arguments, self.version = _at_server(address) if address else _unpacked()
        self._errors = language_tool_python.exceptions.LanguageToolError
        try:
            self._tool: Any = language_tool_python.LanguageTool("en-US", **arguments)
        except (self._errors, OSError) as error:
            raise EngineError(f"LanguageTool does not start: {error}") from error

    def _check(self, text: str) -> list[Problem]:
        try:
            matches = self._tool.check(text)
        except (self._errors, OSError) as error:
            raise EngineError(f"LanguageTool stopped answering: {error}") from error
        return [
            Problem(match.rule_id, match.message, (match.offset, match.offset + match.error_length))
            for match in matches
        ]


def _at_server(address: str) -> tuple[dict[str, Any], str]:
    import httpx

    try:
        # Only a check tells the version of a server.
        asked = {"language": "en-US", "text": "Yes."}
        reply = httpx.post(f"{address.rstrip('/')}/v2/check", data=asked).raise_for_status()
        told = reply.json()["software"]["version"]
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, LookupError, TypeError) as error:
        raise EngineError(
            f"{SERVER_VARIABLE}={address} is not a LanguageTool server that answers: {error}"
        ) from error
    return {"remote_server": address}, str(told)


def _unpacked() -> tuple[dict[str, Any], str]:
    from language_tool_python.download_lt import LocalLanguageTool

    found: Any = LocalLanguageTool.get_latest_installed_version()
    if found is None:
        raise EngineError(
            "grammar engine 'languagetool' needs LanguageTool, of which there is no copy here: set "
            f"{SERVER_VARIABLE} to the address of a server, or unpack one as language_tool_python "
            "does (with Java 17 or newer), or choose grammar=lingotweaker, which is another metric"
        )
    return {"language_tool_download_version": found.version_name}, str(found.version_name)


def _place(problem: Problem) -> tuple[tuple[int, int], str]:
    return problem.span, problem.rule
