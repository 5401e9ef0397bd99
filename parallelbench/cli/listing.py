"""What there is to say of every task and strategy: ``parallelbench list``.

Nothing in it is written by hand: a strategy declares what it needs, a family of models what it
gives, and who can serve whom follows.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any

from parallelbench.decoder import DECODERS, Decoder
from parallelbench.model import MODELS
from parallelbench.ranges import ranges_of
from parallelbench.task import TASKS, Task

if TYPE_CHECKING:
    from rich.table import Table

#: What is computed at every position for nearly every strategy, and too small to mention.
_PLAIN = frozenset({"token", "confidence", "margin", "logit_margin", "entropy", "uniform"})
#: Below this width, in characters, presets stand under the name of their strategy.
_WIDE = 110


def entry(name: str, kind: type[Any]) -> dict[str, Any]:
    """Return name, summary, fields and ranges of a task, decoder or model, as JSON values."""
    summary = (kind.__doc__ or "").strip().splitlines()[0]
    fields = {
        field.name: "(required)" if field.default is dataclasses.MISSING else field.default
        for field in dataclasses.fields(kind)
    }
    ranges = {field: str(allowed) for field, allowed in ranges_of(kind).items()}
    return {"name": name, "summary": summary, "fields": fields, "ranges": ranges}


def fields_with_ranges(facts: Mapping[str, Any], *, without: AbstractSet[str] = frozenset()) -> str:
    """Return the fields of an :func:`entry` with defaults and ranges, but for some of them."""
    return ", ".join(
        f"{field}={default}" + _in_range(facts["ranges"].get(field))
        for field, default in facts["fields"].items()
        if field not in without
    )


def task_entries() -> list[dict[str, Any]]:
    """Return what there is to say of every task at its defaults, as JSON values."""
    return [{**entry(name, kind), **_facts_of(kind)} for name, kind in TASKS.items()]


def told_of_task(facts: Mapping[str, Any]) -> str:
    """Return one of :func:`task_entries` in a line, but for its name and fields."""
    samples = "any number of" if facts["samples"] is None else facts["samples"]
    law = "known" if facts["law_known"] else "not known"
    return (
        f"{samples} samples, canvas of {facts['canvas']} tokens, law {law}; "
        f"scores: {', '.join(facts['scores'])}; source: {facts['source']} ({facts['licence']})"
    )


def decoder_entries() -> list[dict[str, Any]]:
    """Return all there is to say of every strategy at its defaults, as JSON values."""
    families = _families()
    return [_decoder_entry(name, kind, families) for name, kind in DECODERS.items()]


def decoder_sentences(entries: Sequence[Mapping[str, Any]]) -> Table:
    """Return a table of what each strategy does, in a sentence."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    drawn.add_column("strategy", no_wrap=True)
    drawn.add_column("what it does", overflow="fold")
    for each in entries:
        drawn.add_row(Text(each["name"]), Text(_sentence(each)))
    return drawn


def decoder_table(
    entries: Sequence[Mapping[str, Any]], width: int, *, sentences: bool = False
) -> Table:
    """Return ``entries`` as a table.

    Args:
        entries: As :func:`decoder_entries` makes them.
        width: Of the terminal, in characters.
        sentences: Whether the last column says what each strategy does.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    wide = width >= _WIDE
    names = [
        each["name"] if wide else "\n  ".join((each["name"], *each["presets"])) for each in entries
    ]
    drawn = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    drawn.add_column("strategy" if wide else "strategy\n  presets", no_wrap=True)
    for heading in ("adap-\ntive", "re-\nmasks", "deter-\nmin.", "calls\na step", "rows\na call"):
        drawn.add_column(heading, overflow="fold", max_width=6)
    drawn.add_column("needs", overflow="fold")
    drawn.add_column("fami-\nlies", justify="right", no_wrap=True)
    if wide:
        drawn.add_column("presets", overflow="fold")
    if sentences:
        drawn.add_column("what it does", overflow="fold")
    for name, each in zip(names, entries, strict=True):
        flags = [_yes(each[fact]) for fact in ("adaptive", "remasks", "deterministic")]
        needs = ", ".join(need for need in each["needs"] if need not in _PLAIN)
        served = f"{len(each['families'])}/{len(each['families']) + len(each['not_served_by'])}"
        cells = [name, *flags, each["calls"], each["rows"], needs, served]
        cells += [", ".join(each["presets"])] * wide + [_sentence(each)] * sentences
        drawn.add_row(*map(Text, cells))
    return drawn


def below_table(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the sentences below the table: which families lack what, and how to read it."""
    of_needs: dict[tuple[str, ...], list[Mapping[str, Any]]] = defaultdict(list)
    for each in entries:
        if each["not_served_by"]:
            of_needs[tuple(each["model_needs"])].append(each)
    told = [
        "needs: beside token, confidence, margins, entropy and random numbers, which cost little",
        "families: of models, how many of all can serve it; all of them where nothing is said here",
    ]
    for needs, same in of_needs.items():
        names = ", ".join(each["name"] for each in same)
        served = ", ".join(same[0]["families"]) or "no family known here"
        told.append(f"{names} ({', '.join(needs)}): {served}")
    common = entry("", Decoder)
    told.append(f"fields of every strategy: {fields_with_ranges(common)}")
    for each in entries:
        own = fields_with_ranges(each, without=common["fields"].keys())
        if own:
            told.append(f"fields of {each['name']}: {own}")
    return told


def _facts_of(kind: type[Task]) -> dict[str, Any]:
    canvas = next(field for field in dataclasses.fields(kind) if field.name == "canvas_length")
    return {
        "samples": kind.samples,
        "canvas": canvas.default,
        "law_known": kind.law_known,
        "scores": list(kind.scores),
        "source": kind.origin,
        "licence": kind.licence,
    }


def _decoder_entry(
    name: str, kind: type[Decoder], families: Mapping[str, frozenset[str]]
) -> dict[str, Any]:
    decoder = kind()
    served = [
        family for family, given in families.items() if not decoder.missing_capabilities(given)
    ]
    return {
        **entry(name, kind),
        "adaptive": decoder.adaptive,
        "remasks": decoder.remasks,
        "deterministic": decoder.deterministic,
        "calls": decoder.calls,
        "rows": decoder.rows,
        "needs": sorted(decoder.needs),
        "model_needs": decoder.missing_capabilities(frozenset()),
        "families": served,
        "not_served_by": [family for family in families if family not in served],
        "presets": {
            preset: fields
            for preset, (of, fields) in DECODERS.presets.items()
            if of == name and preset not in DECODERS.former_presets
        },
        "grid": kind.grid,
    }


def _families() -> dict[str, frozenset[str]]:
    """Return what every family of models provides, by its name."""
    return {
        family: given for source in MODELS.values() for family, given in source.families().items()
    }


def _sentence(facts: Mapping[str, Any]) -> str:
    return str(facts["summary"]).replace("``", "")


def _in_range(allowed: str | None) -> str:
    if allowed is None:
        return ""
    return f" in {allowed}" if allowed[0] in "([" else f" ({allowed})"


def _yes(fact: bool) -> str:  # noqa: FBT001  the fact is all it is told
    return "yes" if fact else "no"
