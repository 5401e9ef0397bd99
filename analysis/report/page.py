"""One page per run: the cost of parallel decoding, on average and task by task.

The page stands alone: its style, its script, its figures and the replays are inside it, nothing
is fetched, and all text that comes from a run is escaped.  The figures also lie beside it as
files.

Tables and values in charts are moved by some hundred lines of our own.  Measured on the default
run: the page has 3.1 MB and is loaded after 0.8 s; with plotly 7.1 (4.8 MB) drawing the same
charts it has 6.7 MB and takes 4.2 s.  Tabulator and uPlot, 0.5 MB for every page of a board, are
published for npm and would have to be copied into this repository.
"""

from __future__ import annotations

import base64
import gc
import hashlib
import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template
from markupsafe import Markup

from parallelbench.analysis.figures.captions import (
    SampleFacts,
    common_sentences,
    joined,
    sample_facts,
    sentences,
)
from parallelbench.analysis.figures.plots import (
    Images,
    Mark,
    MarkedFigure,
    average_figure,
    images,
    overlay_figure,
    overview_figure,
    task_figure,
)
from parallelbench.analysis.judging.engine_calibration import (
    EngineCalibration,
    shipped_calibrations,
)
from parallelbench.analysis.measures import cells
from parallelbench.analysis.measures.board_speeds import MEANING, PERCENTS, agreements, board_speeds
from parallelbench.analysis.measures.curves import Curve, curves_of
from parallelbench.analysis.measures.decoding_order import OrderStatistics
from parallelbench.analysis.measures.derived_figures import DerivedFigures, derive
from parallelbench.analysis.measures.joined_runs import JoinedRuns
from parallelbench.analysis.measures.losses import is_ideal
from parallelbench.analysis.measures.task_traits import task_traits
from parallelbench.analysis.measures.text_dependence import read_estimates
from parallelbench.analysis.replay.gallery import DEFAULT_BYTES, Gallery, GalleryBuilder
from parallelbench.analysis.report.columns import COLUMNS
from parallelbench.analysis.report.decoding import DecodingReport, decoding_report
from parallelbench.analysis.report.text_report import TextReport, judged_rates, text_report
from parallelbench.console.progress import SILENT, ProgressDisplay
from parallelbench.errors import StorageError
from parallelbench.record import latest_records
from parallelbench.results import throughput
from parallelbench.results.record_summary import RecordSummaries, RecordSummary
from parallelbench.results.result import (
    Result,
    average_over_tasks,
    summarize,
    to_csv,
    to_json,
    with_throughput,
)
from parallelbench.run.rundir import RecordPlace, RunDirectory

#: Bytes of a page without its tables and script, so that all of it stays below 10 MB.
_FIGURES_AND_REPLAYS = 8_500_000
#: Kinds of errors that are listed one by one.
_ERRORS = 5


@dataclass(frozen=True, kw_only=True)
class PageContent:
    """The content of a page.

    Attributes:
        results: One per (model, task, decoder setting).
        facts: Provenance of the results, by name, shown in this order; ``"state"`` is shown at
            the top as well.
        derived: Figures that are computed from several results.
        replays: Function that returns the decodes that can be watched; its argument is the number
            of bytes that the figures leave for them.
        samples: Seed of the samples and versions of the tasks, for the captions.
        texts: Scores and dependence of free text.
        decoding: Decoding order and traits of the tasks.
    """

    results: Sequence[Result]
    facts: Mapping[str, Any] = field(default_factory=dict)
    derived: DerivedFigures = field(default_factory=DerivedFigures)
    replays: Callable[[int], Gallery] = lambda _: Gallery()
    samples: SampleFacts = field(default_factory=SampleFacts)
    texts: TextReport = field(default_factory=TextReport)
    decoding: DecodingReport = field(default_factory=DecodingReport)


def make_report(
    run: RunDirectory,
    calibrations: Mapping[str, EngineCalibration] | None = None,
    most_bytes: int | None = None,
    progress: ProgressDisplay = SILENT,
) -> tuple[list[Result], Path]:
    """Write the results, derived figures, pictures and the page into ``run``.

    The files are ``results.json``, ``results.csv``, ``oracles.json``, ``orders.json``, ``figures/``
    and ``report.html``; if decoders ran with several numbers of tokens per step,
    ``task_traits.json``; if speed was measured, ``throughput.json``; if grammar engines judged,
    ``judges.json``.

    Args:
        run: Run directory, finished or not.
        calibrations: Error rates of grammar engines, by engine and release; they replace the
            shipped ones.
        most_bytes: Size limit of the replays in the page; None for 4 MB, or less where the page
            would exceed 10 MB.
        progress: Shows the stage.

    Returns:
        One result per (model, task, decoder setting), in the order of the run file, and
        the path of the page.

    Raises:
        RecordsError: A record is torn or was altered.
        StorageError: A file cannot be written.
    """
    with _read(run, progress) as records:
        progress.begin(f"making the report of {run.path}")
        known = {**shipped_calibrations(), **(calibrations or {})}
        results = with_throughput(_in_order(run, summarize(records.summaries)), run.environments())
        content = _content(run, records, results, known, most_bytes)
        return results, write_report(run.path, content)


class _Records(NamedTuple):
    """The records of a run, as far as a page needs them.

    Attributes:
        summaries: One summary per record.
        gallery: Collects the decodes that can be watched.
        orders: Collects the decoding orders.
    """

    summaries: list[RecordSummary]
    gallery: GalleryBuilder[RecordPlace]
    orders: OrderStatistics


def _content(
    run: RunDirectory,
    records: _Records,
    results: Sequence[Result],
    calibrations: Mapping[str, EngineCalibration],
    most_bytes: int | None,
) -> PageContent:
    """Compute the content of the page of ``run``, and write the files that hold it."""
    averages = average_over_tasks(results)
    derived = replace(
        derive(records.summaries, [*results, *averages]),
        board=board_speeds(results, averages),
        agreements=agreements(results),
    )
    digests = {record.model_label: record.model.digest for record in records.summaries}
    texts = text_report(results, calibrations, read_estimates(run), digests)
    _write_data(run, results, derived, texts)
    decoding = decoding_report(
        run,
        safe_names(_grouped(results, "model")),
        records.orders.summaries(),
        task_traits(records.summaries),
    )
    return PageContent(
        results=results,
        facts=_facts(run, records.summaries, results, derived, texts),
        derived=derived,
        replays=lambda room: records.gallery.build(
            RecordPlace.read, room if most_bytes is None else most_bytes
        ),
        samples=sample_facts(records.summaries, run.runfile.seed),
        texts=texts,
        decoding=decoding,
    )


def _write_data(
    run: RunDirectory, results: Sequence[Result], derived: DerivedFigures, texts: TextReport
) -> None:
    run.write_text("results.json", to_json(results))
    run.write_text("results.csv", to_csv(results))
    run.write_text("oracles.json", to_json(derived.oracles))
    measured = run.throughput()
    if measured:
        run.write_text("throughput.json", throughput.to_json(measured))
    if texts.scores:
        run.write_text("judges.json", json.dumps(judged_rates(texts.scores), indent=1) + "\n")


def _facts(
    run: RunDirectory,
    records: Sequence[RecordSummary],
    results: Sequence[Result],
    derived: DerivedFigures,
    texts: TextReport,
) -> dict[str, Any]:
    """Return the provenance of the results by name, without entries that are empty."""
    facts = {
        "published": _imported(run),
        "state": shortfall(run, results),
        "cut_off": cut_off(results),
        "errors": _errors(records),
        "oracles": derived.missing,
        "throughput": [str(each) for each in run.throughput()],
    }
    known = {name: value for name, value in facts.items() if value}
    missing = {"dependence": texts.missing} if texts.missing else {}
    return {**known, **run.provenance(), **missing}


@contextmanager
def _read(run: RunDirectory, progress: ProgressDisplay) -> Iterator[_Records]:
    """Hold what the page needs of every record of ``run``.

    All of it stays to the end and none is part of a cycle, so collecting garbage again and again
    would take longer than reading.
    """
    summaries = RecordSummaries()
    records = _Records([], GalleryBuilder(run.runfile), OrderStatistics())
    collects = gc.isenabled()
    gc.disable()
    try:
        progress.begin(f"reading {run.path}", run.decodes, "records")
        for record, place in progress.count(run.located_records()):
            summary = summaries.of(record)
            records.summaries.append(summary)
            records.gallery.add(record, summary, place)
            records.orders.add(record)
        gc.freeze()
    finally:
        if collects:
            gc.enable()
    try:
        yield records
    finally:
        gc.unfreeze()


def _imported(run: RunDirectory) -> str | None:
    """Return in a sentence whose replies were published by others; None if nobody's were."""
    models = sorted(run.runfile.published)
    return (
        f"published, rescored: {', '.join(models)}. Others decoded and published these replies; "
        "they are marked by the rules of this package, and their model calls and tokens per step "
        "are as published, which nothing here can check."
        if models
        else None
    )


def shortfall(run: RunDirectory, results: Sequence[Result]) -> str | None:
    """Return in one line what ``run`` still lacks; None if it is complete.

    A decode that ended in an error is lacking: the run does it again when it is continued.
    """
    told = list(run.remarks) if isinstance(run, JoinedRuns) else []
    if run.shard is not None:
        first, last = run.samples[0], run.samples[-1]
        told.append(
            f"only shard {run.shard} of a run, samples {first} to {last} of "
            f"{run.runfile.samples}; parallelbench merge makes the whole"
        )
    asked = [result for result in results if result.model not in run.runfile.published]
    done, expected = sum(result.count for result in asked), run.decodes
    failed = sum(result.statuses.get("error", 0) for result in asked)
    if done != expected:
        going_on = run.is_going_on()
        state = "still going on" if going_on else "unfinished"
        told.append(f"{state}: {done} of {expected} decodes are marked")
        told += [f"{failed} ended in an error and are not counted"] if failed else []
        told += [] if going_on else [f"to go on: {'; '.join(_commands(run))}"]
    return "; ".join(told) or None


def cut_off(results: Sequence[Result]) -> str | None:
    """Return in one line the number of replies that servers cut off; None if they cut off none."""
    cut = sum(result.finishes.get("length", 0) for result in results)
    if not cut:
        return None
    replies = sum(sum(result.finishes.values()) for result in results)
    return (
        f"{cut} of {replies} replies ended with finish_reason length: the server cut them off; a "
        "larger max_tokens leaves room"
    )


def _commands(run: RunDirectory) -> list[str]:
    """Return the commands that finish ``run``, which may be several runs."""
    runs = run.runs if isinstance(run, JoinedRuns) else (run,)
    commands = []
    for each in runs:
        part = "" if each.shard is None else f" --shard {each.shard}"
        commands.append(f"parallelbench run {each.path / 'run.yaml'} --out {each.path}{part}")
    return commands


def _errors(records: Iterable[RecordSummary]) -> list[str]:
    """Return a sentence per kind of error, most frequent first."""
    latest = latest_records(records)
    counts = Counter(record.error or "" for record in latest if record.status == "error")
    told = [f"{count} decodes: {error}" for error, count in counts.most_common(_ERRORS)]
    rest = len(counts) - _ERRORS
    return [*told, f"{rest} other kind{'s' * (rest > 1)} of errors"] if rest > 0 else told


def _in_order(run: RunDirectory, results: Sequence[Result]) -> list[Result]:
    """Sort by the run file; records come in the order in which they were finished."""
    return sorted(results, key=run.runfile.setting_order)


def write_report(folder: Path, content: PageContent) -> Path:
    """Write ``figures/`` and ``report.html`` into ``folder``; return the page's path.

    Args:
        folder: Existing folder; files of an earlier report are replaced.
        content: Content of the page.

    Raises:
        StorageError: A file cannot be written.
    """
    page = folder / "report.html"
    shown = [*content.results, *content.derived.oracles]
    try:
        sections = _sections(folder / "figures", shown, content.samples)
        drawn = sum(len(block.image) for section in sections for block in section.blocks)
        drawn += sum(len(figure.image) for figure in content.decoding.figures)
        room = max(0, min(DEFAULT_BYTES, _FIGURES_AND_REPLAYS - drawn))
        text = _render(content, sections, content.replays(room))
        page.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise StorageError(f"the report cannot be written into {folder}: {error}") from error
    return page


#: Sections that are no task, with their headings.
_HEADINGS = {"average": "Average over tasks", "overview": "Every task at a glance"}


class _Block(NamedTuple):
    """A figure, and a table under it.

    Attributes:
        section: A task's label, or a key of ``_HEADINGS``.
        model: The model's setting; None where all are in one figure.
        figure: Figure that is not yet rendered.
        results: Results that are drawn.
        tasks: The labels of their tasks.
        behind: Results of the ideal model, drawn behind them.
        tabled: True if a table stands below it.
    """

    section: str
    model: str | None
    figure: MarkedFigure
    results: Sequence[Result]
    tasks: Sequence[str]
    behind: Sequence[Result] = ()
    tabled: bool = True


class _Shown(NamedTuple):
    """A block as the page shows it; ``image`` is a data URI.

    Attributes:
        caption: Sentences by their kind.
        name: Name of its files.
    """

    model: str | None
    image: str
    wide: bool
    caption: Mapping[str, str]
    results: Sequence[Result]
    marks: Sequence[Mark]
    name: str


class _Section(NamedTuple):
    """A part of the page with a heading, and an anchor that leads there."""

    anchor: str
    heading: str
    blocks: list[_Shown]


def _sections(folder: Path, results: Sequence[Result], samples: SampleFacts) -> list[_Section]:
    """Draw every figure, write it into ``folder``, and return the page's sections."""
    folder.mkdir(exist_ok=True)
    names = safe_names([*_HEADINGS, *_grouped(results, "task_label")])
    models = safe_names(_grouped(results, "model"))
    sections: dict[str, _Section] = {}
    for block in _blocks(results, average_over_tasks(results)):
        name = names[block.section]
        several = len(models) > 1 and block.model is not None
        stem = f"{name}--{models[str(block.model)]}" if several else name
        drawn = images(block.figure)
        caption = sentences(block.results, block.tasks, samples, ideal=bool(block.behind))
        _write_figure(folder / stem, drawn, joined(caption.values()), block)
        image = "data:image/svg+xml;base64," + base64.b64encode(drawn.either).decode()
        heading = _HEADINGS.get(block.section, block.section)
        section = sections.setdefault(name, _Section(name, heading, []))
        wide = len(block.figure.axes) > 1
        table = block.results if block.tabled else []
        marks = block.figure.marks
        section.blocks.append(_Shown(block.model, image, wide, caption, table, marks, stem))
    return list(sections.values())


def _write_figure(stem: Path, drawn: Images, told: str, block: _Block) -> None:
    """Write a figure in all its forms, its caption as text, and what is drawn as CSV."""
    files = {
        ".svg": drawn.light,
        "-dark.svg": drawn.dark,
        ".png": drawn.png,
        ".csv": to_csv([*block.results, *block.behind]).encode(),
        ".txt": f"{told}\n".encode(),
    }
    for end, content in files.items():
        stem.with_name(stem.name + end).write_bytes(content)


def _blocks(results: Sequence[Result], averages: Sequence[Result]) -> Iterator[_Block]:
    curves = curves_of(results)
    models = _grouped(results, "model")
    tasks = {model: list(_grouped(own, "task_label")) for model, own in models.items()}
    ideal = [result for result in results if is_ideal(result.model)]
    overlaid = _overlaid(models)
    # Averages over other tasks are other quantities, and never share a figure.
    alike = len({tuple(tasks[model]) for model in overlaid}) == 1
    several = {model for model in models if len(tasks[model]) > 1}
    if alike and several & set(overlaid):
        own = [result for result in averages if result.model in overlaid]
        every = tasks[overlaid[0]]
        figure = overlay_figure(own, curves, f"average over {len(every)} tasks")
        yield _Block("average", None, figure, own, every, tabled=False)
    for model, own in _grouped(averages, "model").items():
        if model in several:
            figure = average_figure(own, curves, len(tasks[model]))
            yield _Block("average", model, figure, own, tasks[model])
    for model, own in models.items():
        if model in several:
            figure = overview_figure(own, curves)
            yield _Block("overview", model, figure, own, tasks[model], tabled=False)
    for task, of_task in _grouped(results, "task_label").items():
        behind = [result for result in ideal if result.task_label == task]
        yield from _of_task(task, of_task, behind, overlaid, curves)


def _of_task(
    task: str,
    results: Sequence[Result],
    ideal: Sequence[Result],
    overlaid: Sequence[str],
    curves: Mapping[str, Curve],
) -> Iterator[_Block]:
    own = [result for result in results if result.model in overlaid]
    if len(_grouped(own, "model")) > 1:
        behind = [result for result in ideal if result.model not in overlaid]
        figure = overlay_figure(own, curves, task, behind)
        yield _Block(task, None, figure, own, [task], behind, tabled=False)
    by_model = _grouped(results, "model")
    first = next((of_model for model, of_model in by_model.items() if is_ideal(model)), [])
    for model, of_model in by_model.items():
        behind = [] if is_ideal(model) else first
        yield _Block(task, model, task_figure(of_model, curves, behind), of_model, [task], behind)


def _overlaid(models: Iterable[str]) -> list[str]:
    """Return the models that are drawn into one figure, none if there is only one.

    The ideal model stands behind every other one already, and competes only with its like.
    """
    every = list(models)
    competing = [model for model in every if not is_ideal(model)] or every
    return competing if len(competing) > 1 else []


def _grouped(results: Sequence[Result], attribute: str) -> dict[str, list[Result]]:
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(getattr(result, attribute), []).append(result)
    return groups


def safe_names(labels: Iterable[str]) -> dict[str, str]:
    """Return a name for each label that fits file systems and anchors, no two alike.

    A name has no ``--``, which may therefore join two of them.
    """
    names: dict[str, str] = {}
    for label in labels:
        safe = re.sub(r"[^A-Za-z0-9_.]+", "-", label).strip("-.")[:80] or "unnamed"
        taken = {name.lower() for name in names.values()}
        copies = (f"{safe}-{number}" for number in itertools.count(2))
        names[label] = next(n for n in itertools.chain([safe], copies) if n.lower() not in taken)
    return names


def _render(content: PageContent, sections: Sequence[_Section], gallery: Gallery) -> str:
    results = content.results
    template = page_template("parallelbench.analysis.report", "page.html.jinja")
    script = page_script("parallelbench.analysis.report", "page.js")
    lead = gallery.lead
    blocks = [block for section in sections for block in section.blocks]
    common = common_sentences([block.caption for block in blocks])
    return template.render(
        models=list(_grouped(results, "model")),
        tasks=len(_grouped(results, "task_label")),
        decoders=len(_grouped(results, "decoder_label")),
        sections=sections,
        leading=sum(section.heading in _HEADINGS.values() for section in sections),
        common=joined(common.values()),
        captions={
            block.name: joined(s for kind, s in block.caption.items() if common.get(kind) != s)
            for block in blocks
        },
        marks=[block.marks for block in blocks],
        numbers={block.name: number for number, block in enumerate(blocks)},
        columns=COLUMNS,
        percents=PERCENTS,
        board_meaning=MEANING,
        facts=content.facts,
        aside=content.derived,
        gallery=gallery,
        texts=content.texts,
        decoding=content.decoding,
        lead=lead if lead is not None and lead.told is not None else None,
        orders={key: number for number, key in enumerate(gallery.orders)},
        script=Markup(script),  # noqa: S704  our own
        script_digest=content_digest(script),
    )


def page_template(package: str, name: str) -> Template:
    """Return the template of a page whose text is escaped; it may extend the report's.

    Args:
        package: Package that holds its source.
        name: Name of the file.
    """
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FunctionLoader(lambda parent: source_of("parallelbench.analysis.report", parent)),
    )
    environment.globals["cells"] = cells
    environment.filters["fact"] = _fact
    environment.filters["embedded"] = embedded
    return environment.from_string(source_of(package, name))


def source_of(package: str, name: str) -> str:
    """Return the text of a file that ships with ``package``."""
    return resources.files(package).joinpath(name).read_text(encoding="utf-8")


def page_script(package: str, name: str) -> str:
    """Return the script of a page: what all pages share, then a file of ``package``."""
    return source_of("parallelbench.analysis.report", "tables.js") + source_of(package, name)


def content_digest(script: str) -> str:
    """Return the hash source of ``script`` for a content security policy that allows no other."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def embedded(content: Any) -> Markup:
    r"""Return JSON that may stand in a ``script`` element, whatever text is in it.

    Args:
        content: JSON values, or a text that is JSON already, in ASCII.

    Example:
        >>> print(embedded(["</script>"]))
        ["\u003c/script\u003e"]
    """
    text = content if isinstance(content, str) else json.dumps(content, separators=(",", ":"))
    # These letters stand in no JSON but within its texts.
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(text)  # noqa: S704  nothing is left in it that could be markup


def _fact(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple) and all(isinstance(part, str) for part in value):
        return "\n".join(value)
    return json.dumps(value, indent=1, ensure_ascii=False, default=str)
