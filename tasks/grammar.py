"""Grammar engines: programs that find errors in English sentences.

An engine is an imperfect judge.  Two engines, or two versions of one, find different
errors, so their pass rates are different metrics and never share a column: a task names its
engine in a field, and each record names the version.

``lingotweaker``
    LanguageTool's rules in Rust: no Java, no server.  Its typographic rule EN_ELLIPSIS, which
    flags three dots and has nothing to do with grammar, is off.
``harper``
    Small, for any platform.  Only its grammar findings count, not spelling and style; a rule of
    ours adds doubled words, many of which it misses.
``languagetool``
    LanguageTool itself with all its default rules, as in the paper: on your server, or installed
    on this machine with Java.

All of them find doubled words, wrong articles and wrong agreement; a grammatical sentence without
meaning passes with each of them.
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

#: Environment variable with the address of a LanguageTool server: ``http://127.0.0.1:8081``.
SERVER_VARIABLE = "LANGUAGETOOL_URL"


@dataclass(frozen=True, slots=True)
class GrammarError:
    """An error that an engine found.

    Attributes:
        rule: The engine's id of the violated rule.
        message: The engine's description.
        span: Start and end of the error in characters.
    """

    rule: str
    message: str
    span: tuple[int, int]


class GrammarEngine(ABC):
    """Finds errors in sentences of American English, deterministically.

    Attributes:
        name: Registered name.
        extra: Extra of this package that installs the engine.
        version: Version of everything that can change its findings.

    Raises:
        EngineError: The engine is not installed or does not start.
    """

    name: ClassVar[str]
    extra: ClassVar[str]
    version: str

    def problems(self, sentences: Sequence[str]) -> list[list[GrammarError]]:
        """Return the errors of each of ``sentences``, in the order of the text.

        Raises:
            EngineError: The engine stopped answering.
        """
        # No engine accepts an unpaired surrogate, which is not valid Unicode text.
        texts = [sentence.encode(errors="replace").decode() for sentence in sentences]
        return [sorted(self._check(text), key=_place) for text in texts]

    @abstractmethod
    def _check(self, text: str) -> list[GrammarError]:
        """Return the errors of ``text``, in any order."""


ENGINES: Registry[type[GrammarEngine]] = Registry("grammar engine")


@cache
def open_engine(name: str) -> GrammarEngine:
    """Return the engine called ``name``, started once per process.

    Raises:
        UnknownNameError: No engine has that name.
        EngineError: The engine is not installed; the message names the extra to install.
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
        # On other platforms pip may install an empty placeholder under this name.
        import lingotweaker_data_en  # noqa: F401
        import lt_py

        self._engine: Any = lt_py.Engine("en-US", disabled_rules=["EN_ELLIPSIS"])
        self.version = f"{version('lingotweaker')}+data-{version('lingotweaker-data-en')}"

    def _check(self, text: str) -> list[GrammarError]:
        coded = text.encode()
        found = []
        for match in self._engine.check(text):
            # Offsets are in bytes.
            start, end = match["offset"], match["offset"] + match["length"]
            span = (len(coded[:start].decode()), len(coded[:end].decode()))
            found.append(GrammarError(match["rule_id"], match["message"], span))
        return found


@ENGINES.register("harper")
class Harper(GrammarEngine):
    """A small checker for every platform: its grammar findings, and doubled words."""

    name = "harper"
    extra = "harper"

    #: Kinds of findings about grammar; wrong articles are ``Miscellaneous``.
    KINDS: ClassVar[frozenset[str]] = frozenset(
        {"Agreement", "Grammar", "Miscellaneous", "Repetition"}
    )

    def __init__(self) -> None:
        import harper

        self._linter: Any = harper.Linter(harper.Dialect.AMERICAN)
        self._form = harper.Language.PLAINTEXT
        self.version = f"{version('harper-py')}+doubled-words-1"

    def _check(self, text: str) -> list[GrammarError]:
        found = [
            GrammarError(lint.lint_kind, lint.message, (lint.span.start, lint.span.end))
            for lint in self._linter.lint(text, language=self._form)
            if lint.lint_kind in self.KINDS
        ]
        return found + list(_doubled_words(text))


#: Words that may be doubled: "the one that that house belongs to", "had had".
_MAY_STAND_TWICE = frozenset({"had", "that"})
_DOUBLED = re.compile(r"\b([^\W\d_]+)\s+\1\b", re.IGNORECASE)


def _doubled_words(text: str) -> Iterator[GrammarError]:
    for found in _DOUBLED.finditer(text):
        if found[1].lower() not in _MAY_STAND_TWICE:
            yield GrammarError("doubled word", f"{found[1]!r} stands twice", found.span())


@ENGINES.register("languagetool")
class LanguageTool(GrammarEngine):
    """LanguageTool itself, on your server or installed on this machine with Java.

    Nothing is downloaded: the variable LANGUAGETOOL_URL names a server, or
    ``language_tool_python`` finds an installed copy.
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

    def _check(self, text: str) -> list[GrammarError]:
        try:
            matches = self._tool.check(text)
        except (self._errors, OSError) as error:
            raise EngineError(f"LanguageTool stopped answering: {error}") from error
        return [
            GrammarError(
                match.rule_id, match.message, (match.offset, match.offset + match.error_length)
            )
            for match in matches
        ]


def _at_server(address: str) -> tuple[dict[str, Any], str]:
    import httpx

    try:
        # Only a check returns the version of a server.
        form = {"language": "en-US", "text": "Yes."}
        reply = httpx.post(f"{address.rstrip('/')}/v2/check", data=form).raise_for_status()
        release = reply.json()["software"]["version"]
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, LookupError, TypeError) as error:
        raise EngineError(
            f"{SERVER_VARIABLE}={address} is not a LanguageTool server that answers: {error}"
        ) from error
    return {"remote_server": address}, str(release)


def _unpacked() -> tuple[dict[str, Any], str]:
    from language_tool_python.download_lt import LocalLanguageTool

    installed: Any = LocalLanguageTool.get_latest_installed_version()
    if installed is None:
        raise EngineError(
            "grammar engine 'languagetool' finds no copy of LanguageTool on this machine: set "
            f"{SERVER_VARIABLE} to the address of a server, or install a copy as "
            "language_tool_python does (with Java 17 or newer), or choose grammar=lingotweaker, "
            "which is another metric"
        )
    return {"language_tool_download_version": installed.version_name}, str(installed.version_name)


def _place(error: GrammarError) -> tuple[tuple[int, int], str]:
    return error.span, error.rule
