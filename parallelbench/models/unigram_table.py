"""Frequencies of a tokenizer's tokens in a corpus, which distinguish rare from common tokens.

``parallelbench decoder-table`` counts them and writes the table.  The table contains the digest
of the tokenizer, because ids mean other tokens in other tokenizers, and its own digest, by which
a run identifies its table.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from parallelbench.prompt import Codec
from parallelbench.storage.plain_json import json_of, regular_bytes

#: Name and version of the file format.
_FORM = "parallelbench unigram table 1"
#: Lines tokenized in one batch.
_LINES = 1024


@dataclass(frozen=True, eq=False)
class UnigramTable:
    """Token counts.

    Attributes:
        tokenizer: Digest of the tokenizer of the ids.
        counts: Count of each id; ids that do not occur are left out.
    """

    tokenizer: str
    counts: Mapping[int, int]

    @cached_property
    def total(self) -> int:
        """Number of counted tokens."""
        return sum(self.counts.values())

    @cached_property
    def digest(self) -> str:
        """SHA-256 of tokenizer and counts."""
        content = json.dumps([self.tokenizer, sorted(self.counts.items())])
        return hashlib.sha256(content.encode()).hexdigest()

    def to_json(self) -> str:
        """Return the table as the text of its file."""
        content = {
            "form": _FORM,
            "digest": self.digest,
            "tokenizer": self.tokenizer,
            "total": self.total,
            "counts": {str(token): count for token, count in sorted(self.counts.items())},
        }
        return json.dumps(content, indent=0) + "\n"


def count_tokens(lines: Iterable[str], codec: Codec) -> UnigramTable:
    """Count the tokens of ``lines``, each tokenized separately.

    Args:
        lines: Lines of a text, with their line ends.
        codec: Codec of the model; no special tokens are added.
    """
    counts: Counter[int] = Counter()
    rest = iter(lines)
    while some := list(islice(rest, _LINES)):
        for ids in codec.encode(some):
            counts.update(ids)
    return UnigramTable(codec.tokenizer_digest, counts)


def read_table(path: str) -> UnigramTable:
    """Return the table in the file ``path``.

    Raises:
        ValueError: There is no such file, or it contains no table, or an altered one.
    """
    try:
        content = json_of(regular_bytes(Path(path)))
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"table {path!r} cannot be read: {reason}; {_MADE_BY}") from error
    if not isinstance(content, dict) or content.get("form") != _FORM:
        raise ValueError(f"table {path!r} is not a JSON object with form {_FORM!r}; {_MADE_BY}")
    table = UnigramTable(*_parts(path, content))
    if not table.total:
        raise ValueError(f"table {path!r} contains no counts; {_MADE_BY}")
    for name in ("total", "digest"):
        if content.get(name) != getattr(table, name):
            raise ValueError(
                f"table {path!r} was changed or cut short: its {name} is "
                f"{content.get(name)!r}, but its counts give {getattr(table, name)!r}; {_MADE_BY}"
            )
    return table


_MADE_BY = "`parallelbench decoder-table FILE... --model MODEL --out TABLE` makes one"


def _parts(path: str, content: Mapping[str, Any]) -> tuple[str, dict[int, int]]:
    tokenizer, counts = content.get("tokenizer"), content.get("counts")
    if not isinstance(tokenizer, str) or not isinstance(counts, dict):
        raise ValueError(  # noqa: TRY004  the value of a setting is wrong, not the type of an argument
            f"table {path!r} needs a string tokenizer and an object counts; {_MADE_BY}"
        )
    for token, count in counts.items():
        # In Python True is an integer, and "²" is a digit.
        if not (token.isascii() and token.isdigit()) or type(count) is not int or count < 1:
            raise ValueError(
                f"table {path!r}: counts must be whole numbers of 1 or more by token id, "
                f"got {token!r}: {count!r}"
            )
    return tokenizer, {int(token): count for token, count in counts.items()}
