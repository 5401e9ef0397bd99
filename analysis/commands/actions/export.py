"""The work of the verb ``export``."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from parallelbench.analysis.exports.export import Publisher
from parallelbench.analysis.exports.export import export as write_export
from parallelbench.cli.options import refuse_idle
from parallelbench.console.progress import shown
from parallelbench.console.terminal import tell, warn
from parallelbench.errors import RequestError
from parallelbench.run.rundir import RunDirectory

#: Modules of the forms, and whether a form holds errors and oracles too.
_FORMS = {
    "every-eval-ever": ("every_eval_ever", False),
    "hf": ("hugging_face", False),
    "lm-eval": ("lm_eval", False),
    "parquet": ("parquet", True),
}
#: Options that only some forms have a place for.
_USED_BY = {
    "dataset": ("hf",),
    "source": ("hf", "every-eval-ever"),
    "organization": ("every-eval-ever",),
    "relationship": ("every-eval-ever",),
}


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """The arguments of the verb ``export``; its help explains them."""

    run: Path
    form: str
    out: Path
    dataset: str | None
    source: str | None
    organization: str
    relationship: str


def _module_of(form: str, name: str) -> ModuleType:
    try:
        return importlib.import_module(f"parallelbench.analysis.exports.{name}")
    except ImportError as error:
        if form != "parquet":
            raise
        raise RequestError(
            "--to parquet needs the package datasets: "
            f"pip install 'parallelbench[datasets]' ({error})"
        ) from error


def export(options: ExportOptions) -> None:
    """Write a run in another form, and print the files."""
    for option, forms in _USED_BY.items():
        if options.form not in forms:
            because = f"it is for --to {' and --to '.join(forms)}, and not for {options.form}"
            refuse_idle(because, option)
    name, everything = _FORMS[options.form]
    module = _module_of(options.form, name)
    publisher = Publisher(
        options.organization, options.relationship, options.dataset, options.source
    )
    with shown(f"exporting {options.run}"):
        directory = RunDirectory.open(options.run)
        written = write_export(
            directory, module.write, options.out, publisher, everything=everything
        )
    for remark in written.remarks:
        warn(remark)
    for file in written.files:
        tell(str(file))
