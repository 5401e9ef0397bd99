"""Refusals of records that do not belong together: other models, engines, sources or samples.

Digests tell: two records of one model label must come from the same weights, two of one task from
the same scorers and the same samples, or their figures have no common meaning.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from parallelbench.errors import RecordsError, RequestError
from parallelbench.record import shown_sources
from parallelbench.results.record_summary import AnyRecord


class Consistency:
    """Remembers what was met first under each label, and refuses anything else after it.

    Every method takes the place where something was met, for the error's sentence: a folder, or
    words such as ``this installation``.  Values that were not recorded are not compared.

    Args:
        advice: End of the error's sentence: what to do about it.
        error: Class of the error.
    """

    def __init__(self, advice: str, error: Callable[[str], RequestError] = RecordsError) -> None:
        self._advice = advice
        self._error = error
        self._models: dict[str, tuple[str, str]] = {}
        self._engines: dict[str, tuple[Mapping[str, str], str]] = {}
        self._sources: dict[str, tuple[Mapping[str, str], str]] = {}
        self._samples: dict[tuple[str, int], tuple[str, str]] = {}

    @property
    def samples(self) -> Collection[tuple[str, int]]:
        """The samples met so far: label of the task, and number."""
        return self._samples.keys()

    def record(self, record: AnyRecord, place: str) -> None:
        """Refuse a record whose model, engines, sources or sample differ from those before it.

        Raises:
            RecordsError: They differ; or the class of error that was given.
        """
        self.model(record.model.label, record.model.digest, place)
        self.engines(record.task_label, record.task.engines, place)
        self.sample_of(record, place)

    def sample_of(self, record: AnyRecord, place: str) -> None:
        """Refuse a record of another sample than one of the same task and number before it."""
        self.sources(record.task_label, record.task.sources, place)
        self.sample(record.task_label, record.index, record.sample_digest, place)

    def model(self, label: str, digest: str, place: str) -> None:
        """Refuse a model with another digest than the first of its label."""
        known, first = self._models.setdefault(label, (digest, place))
        if digest != known:
            raise self._error(
                f"{place} has another {label!r} than {first}: digest {digest[:12]} and not "
                f"{known[:12]} (other weights, another tokenizer, or other installed tasks); "
                f"{self._advice}"
            )

    def engines(self, task: str, engines: Mapping[str, str], place: str) -> None:
        """Refuse other scoring engines, or other releases of them, than the first of a task."""
        known, first = self._engines.setdefault(task, (engines, place))
        if engines != known:
            raise self._error(
                f"task {task!r} is marked by {dict(engines)} in {place}, and by {dict(known)} in "
                f"{first}: marks by different engines are different metrics; {self._advice}"
            )

    def sources(self, task: str, sources: Mapping[str, str], place: str) -> None:
        """Refuse samples drawn from other files than the first of a task.

        Nothing is compared where no sources are known: earlier releases recorded none.
        """
        if not sources:
            return
        known, first = self._sources.setdefault(task, (sources, place))
        if sources != known:
            raise self._error(
                f"{place} has samples of task {task!r} from {shown_sources(sources)}, and {first} "
                f"from {shown_sources(known)}; {self._advice}"
            )

    def sample(self, task: str, index: int, digest: str, place: str) -> None:
        """Refuse another sample than the first of its task and number."""
        known, first = self._samples.setdefault((task, index), (digest, place))
        if digest != known:
            raise self._error(
                f"{place} has another sample {index} of task {task!r} than {first}: digest "
                f"{digest[:12]} and not {known[:12]} (what it was drawn from has changed); "
                f"{self._advice}"
            )
