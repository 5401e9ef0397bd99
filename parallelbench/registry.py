"""Find a task, decoder or model by the name that run files and records use for good.

A registry is a dictionary that explains itself when a name is wrong.  The wings of this
package fill it when they are imported, and so does any other package that declares an
entry point in the group ``parallelbench.plugins``: insiders and outsiders use one door.
"""

from __future__ import annotations

import difflib
import functools
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final, NamedTuple, TypeVar

from parallelbench.errors import PluginError, UnknownNameError

T = TypeVar("T")

#: Names that an error suggests at most.
_MOST_NEAR: Final = 3
#: Difference in similarity, in [0, 1], within which a name is suggested next to the nearest.
_AS_NEAR: Final = 0.05
#: Names that an error lists in full at most, where a command lists them too.
_MOST_LISTED: Final = 12
#: Characters that make a name a glob.
_GLOB: Final = re.compile(r"[*?\[]")


class Preset(NamedTuple):
    """A registered name with some of its fields, under a name of its own.

    Attributes:
        name: Registered name.
        fields: Fields as they are typed: ``threshold=0.9,block_length=32``.
    """

    name: str
    fields: str


class Registry(Mapping[str, T]):
    """Map names to objects of one kind; a name is taken once, for good.

    At a Python prompt and in a notebook a class that is defined again takes the place of its
    former version: who runs a cell again means the new one.

    Args:
        kind: Kind of the objects, in the singular, for error messages: ``"task"``.

    Attributes:
        presets: Named settings of the registered classes, former names included.
        former_presets: The name of today of each preset that had another name.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.presets: dict[str, Preset] = {}
        self.former_presets: dict[str, str] = {}
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that files its object under ``name``.

        Raises:
            ValueError: ``name``, or one of the object's ``presets``, is already taken, and not
                by a former version of the same object in an interactive session.
        """

        def file(entry: T) -> T:
            if getattr(entry, "__module__", None) == "__main__":
                load_plugins()  # a name that the suite has is refused here, and not at first use
            held = self._entries.get(name, entry)
            if held is not entry and not _is_former_version(held, entry):
                raise ValueError(f"{self.kind} {name!r} is already {held!r}")
            # Its own: a subclass is another strategy, and its parent's presets are not its.
            own = getattr(entry, "__dict__", {}).get("presets", {})
            former = getattr(entry, "__dict__", {}).get("former_presets", {})
            named = {**own, **{old: own[new] for old, new in former.items()}}
            presets = {preset: Preset(name, fields) for preset, fields in named.items()}
            self._check_free(name, presets)
            self._entries[name] = entry
            for outdated in [each for each, preset in self.presets.items() if preset.name == name]:
                del self.presets[outdated]
            self.presets.update(presets)
            self.former_presets.update(former)
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
            presets = self.presets.keys() - self.former_presets.keys()
            raise UnknownNameError(unknown(self.kind, pattern, [*self, *presets], self._listing))
        return found

    @property
    def _listing(self) -> str:
        return f"parallelbench list {self.kind}s"

    def _check_free(self, name: str, presets: Mapping[str, Preset]) -> None:
        if name in self.presets:
            raise ValueError(
                f"{self.kind} {name!r}: that is a preset of {self.presets[name].name!r}"
            )
        for preset in presets:
            taken = self.presets.get(preset)
            if preset == name or preset in self._entries:
                raise ValueError(f"preset {preset!r} of {self.kind} {name!r} is a {self.kind}")
            if taken is not None and taken.name != name:
                raise ValueError(
                    f"preset {preset!r} of {self.kind} {name!r} is already one of {taken.name!r}"
                )

    def __getitem__(self, name: str) -> T:
        try:
            return self._entries[name]
        except KeyError:
            pass
        if name in self.presets:
            preset = self.presets[name]
            raise UnknownNameError(
                f"{name!r} is a preset, not a {self.kind}: give {self.kind} {preset.name!r} "
                f"with {preset.fields}, or write the preset as text where settings are typed"
            )
        raise UnknownNameError(unknown(self.kind, name, self, self._listing))

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._entries))

    def __len__(self) -> int:
        return len(self._entries)


def _is_former_version(held: object, entry: object) -> bool:
    """Return True if ``entry`` is ``held``, defined again in an interactive session."""
    if not hasattr(sys, "ps1"):  # Python's prompt has it, and so have IPython and Jupyter
        return False
    module = getattr(entry, "__module__", None)
    if module is None or module != getattr(held, "__module__", None):
        return False
    # What is typed may be renamed; a module that is loaded again says the same names.
    names = [getattr(each, "__qualname__", None) for each in (held, entry)]
    return module == "__main__" or names[0] == names[1]


def unknown(kind: str, name: str, known: Iterable[str], listing: str | None = None) -> str:
    """Return the sentence for a wrong name: the nearest right ones, or where to find them.

    Args:
        kind: Kind of the name, in the singular.
        name: The wrong name; may be empty, or a glob that matches nothing.
        known: Right names.
        listing: Command that lists the names, for kinds with more of them than a line holds.
    """
    names = sorted(known)
    near = _nearest(name, names)
    if near:
        hint = f"did you mean {' or '.join(repr(n) for n in near)}?"
    elif listing is not None and len(names) > _MOST_LISTED:
        hint = f"{listing} shows all {len(names)}"
    else:
        hint = f"known: {', '.join(names) or 'none'}"
    if not name.strip():
        return f"no {kind} is named: the name is empty; {hint}"
    if _GLOB.search(name):
        return f"no {kind} matches {name!r}; {hint}"
    return f"no {kind} is called {name!r}; {hint}"


def _nearest(name: str, names: Sequence[str]) -> list[str]:
    """Return the few names that ``name`` may have meant, the nearest first."""
    if not name.strip() or _GLOB.search(name):
        return []
    members = [each for each in names if each.startswith(f"{name}/")]
    if members:  # a family of tasks stands for its members
        return [f"{name}/*", *members[:1]]
    folded: dict[str, str] = {}
    for each in names:
        folded.setdefault(each.casefold(), each)
    wanted = name.casefold()
    near = difflib.get_close_matches(wanted, folded, n=_MOST_NEAR)
    if near:
        # Names that are much less like it than the first would only distract.
        ratios = [difflib.SequenceMatcher(None, each, wanted).ratio() for each in near]
        least = ratios[0] - _AS_NEAR
        return [folded[each] for each, ratio in zip(near, ratios, strict=True) if ratio >= least]
    # A bare last part ("shuffle") should still find "waiting_line/shuffle".
    return [each for each in names if wanted in each.casefold()][:_MOST_NEAR]


@functools.cache
def load_plugins() -> tuple[str, ...]:
    """Import every installed plugin, so that it registers itself; return their names.

    Raises:
        PluginError: A plugin of another package cannot be imported.
    """
    found = entry_points(group="parallelbench.plugins")
    for plugin in found:
        load_plugin(plugin)
    return tuple(sorted(plugin.name for plugin in found))


def load_plugin(plugin: EntryPoint) -> Any:
    """Return the object that an entry point names.

    Raises:
        PluginError: It belongs to another package and importing it fails; a fault of this package
            is not hidden.
    """
    package = plugin.dist.name if plugin.dist is not None else "of no name"
    try:
        return plugin.load()
    # Another package's module may raise anything when it is imported.
    except Exception as error:
        if package == "parallelbench":
            raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise PluginError(
            f"plugin {plugin.name!r} of package {package} cannot be loaded: {reason}; correct or "
            f"uninstall {package}"
        ) from error
