"""Find a task, decoder or model by the name that run files and records use for good.

A registry is a dictionary that explains itself when a name is wrong.  The wings of this
package fill it when they are imported, and so does any other package that declares an
entry point in the group ``parallelbench.plugins``: insiders and outsiders use one door.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from importlib.metadata import entry_points
from typing import TypeVar

from parallelbench.errors import UnknownNameError

T = TypeVar("T")


class Registry(Mapping[str, T]):
    """Map names to objects of one kind; a name is taken once, for good.

    Args:
        kind: What is kept here, in the singular, for error messages: ``"task"``.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that files its object under ``name``.

        Raises:
            ValueError: ``name`` is already taken by another object.
        """

        def file(entry: T) -> T:
            held = self._entries.setdefault(name, entry)
            if held is not entry:
                raise ValueError(f"{self.kind} {name!r} is already {held!r}")
            return entry

        return file

    def matching(self, pattern: str) -> list[str]:
        """Return the names that ``pattern`` stands for, in alphabetical order.

        Args:
            pattern: A name, or a glob such as ``waiting_line/*``.

        Raises:
            UnknownNameError: Nothing has that name or matches that glob.
        """
        found = [name for name in self if fnmatchcase(name, pattern)]
        if not found:
            raise UnknownNameError(unknown(self.kind, pattern, self))
        return found

    def __getitem__(self, name: str) -> T:
        try:
            return self._entries[name]
        except KeyError:
            raise UnknownNameError(unknown(self.kind, name, self)) from None

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._entries))

    def __len__(self) -> int:
        return len(self._entries)


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """Return the sentence for a wrong name: the nearest right one, or all of them."""
    names = sorted(known)
    # A glob or a bare last part ("shuffle") should still find "waiting_line/shuffle".
    near = difflib.get_close_matches(name, names, n=3) or [n for n in names if name in n][:3]
    hint = (
        f"did you mean {' or '.join(repr(n) for n in near)}?"
        if near
        else f"known: {', '.join(names) or 'none'}"
    )
    return f"no {kind} is called {name!r}; {hint}"


@functools.cache
def load_plugins() -> tuple[str, ...]:
    """Import every installed plugin, so that it registers itself; return their names."""
    found = entry_points(group="parallelbench.plugins")
    for plugin in found:
        plugin.load()
    return tuple(sorted(plugin.name for plugin in found))
