"""Eligibility of finished runs: the season that a run decodes, and the runs that cannot enter."""

from parallelbench.errors import RunFileError, SubmissionError
from parallelbench.leaderboards.entry.season import Season, seasons
from parallelbench.run.runfile import RunFile
from parallelbench.setting import Setting


def season_of(runfile: RunFile, where: str) -> Season:
    """Return the season whose samples ``runfile`` decodes.

    Raises:
        RunFileError: There is none; the message lists the differences from each season.
    """
    differences = []
    for season in seasons().values():
        missing = differing_samples(runfile, season)
        if not missing:
            return season
        differences.append(f"{season.name}: {missing}")
    raise RunFileError(
        f"{where} decodes the samples of no season ({'; '.join(differences)}); "
        "`parallelbench leaderboard run-file SEASON` writes a run file that does"
    )


def refuse_published(runfile: RunFile, where: str) -> None:
    """Refuse a run of published replies: no entry can be made of them.

    Raises:
        SubmissionError: Only published replies exist of a model of the run.
    """
    for label in sorted(runfile.published):
        raise SubmissionError(
            f"{where} has model {label!r:.80}, whose replies others published: nothing of how they "
            "came to be can be checked, so they are no entry; decode with the model itself"
        )


def differing_samples(runfile: RunFile, season: Season) -> str:
    """Return a clause on the differences between the samples of a run and a season, or ``""``."""
    clauses = [
        f"{name} is {of_run} and must be {of_season}"
        for name, of_run, of_season in (
            ("seed", runfile.seed, season.seed),
            ("samples", runfile.samples, season.samples),
        )
        if of_run != of_season
    ]
    ours = {setting.key: setting.label for setting in runfile.tasks}
    theirs = {setting.key: setting.label for setting in season.tasks}
    missing = [label for key, label in theirs.items() if key not in ours]
    superfluous = [label for key, label in ours.items() if key not in theirs]
    clauses += [
        f"{what} {', '.join(labels)}"
        for what, labels in (("without", missing), ("with other tasks", superfluous))
        if labels
    ]
    return ", ".join(clauses)


def reads_a_file(decoder: Setting) -> bool:
    """Return True if a decoder reads a file, which no entry contains."""
    nested = (str(value) for value in decoder.fields.values() if isinstance(value, str))
    return decoder.fields.get("table") is not None or any("table=" in text for text in nested)
