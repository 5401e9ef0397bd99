"""Which finished runs may become an entry, and of which season."""

from parallelbench.errors import RunFileError, SubmissionError
from parallelbench.leaderboards.entry.season import Season, seasons
from parallelbench.run.runfile import RunFile
from parallelbench.setting import Setting


def season_of(runfile: RunFile, where: str) -> Season:
    """Return the season whose samples ``runfile`` decodes.

    Raises:
        RunFileError: There is none; the message says what differs from each.
    """
    told = []
    for season in seasons().values():
        lacking = differing_samples(runfile, season)
        if not lacking:
            return season
        told.append(f"{season.name}: {lacking}")
    raise RunFileError(
        f"{where} decodes the samples of no season ({'; '.join(told)}); "
        "`parallelbench leaderboard run-file SEASON` writes a run file that does"
    )


def refuse_published(runfile: RunFile, where: str) -> None:
    """Refuse a run of replies that others published: no entry can be made of them.

    Raises:
        SubmissionError: A model of the run is one of which only replies are at hand.
    """
    for label in sorted(runfile.published):
        raise SubmissionError(
            f"{where} has model {label!r:.80}, whose replies others published: nothing of how they "
            "came to be can be checked, so they are no entry; decode with the model itself"
        )


def differing_samples(runfile: RunFile, season: Season) -> str:
    """Return in words how the samples of a run differ from those of a season; else nothing."""
    told = [
        f"{name} is {of_run} and must be {of_season}"
        for name, of_run, of_season in (
            ("seed", runfile.seed, season.seed),
            ("samples", runfile.samples, season.samples),
        )
        if of_run != of_season
    ]
    ours = {setting.key: setting.label for setting in runfile.tasks}
    theirs = {setting.key: setting.label for setting in season.tasks}
    lacking = [label for key, label in theirs.items() if key not in ours]
    beside = [label for key, label in ours.items() if key not in theirs]
    told += [
        f"{what} {', '.join(labels)}"
        for what, labels in (("without", lacking), ("with other tasks", beside))
        if labels
    ]
    return ", ".join(told)


def reads_a_file(decoder: Setting) -> bool:
    """Return whether a decoder's choices depend on a file that no entry holds."""
    nested = (str(value) for value in decoder.fields.values() if isinstance(value, str))
    return decoder.fields.get("table") is not None or any("table=" in text for text in nested)
