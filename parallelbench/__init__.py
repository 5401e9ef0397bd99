"""ParallelBench: what parallel decoding costs a diffusion language model, measured honestly.

Read the modules in the order of the data: :mod:`~parallelbench.task` ->
:mod:`~parallelbench.prompt` -> :mod:`~parallelbench.model` -> :mod:`~parallelbench.decoder`
-> :mod:`~parallelbench.decode.loop` -> :mod:`~parallelbench.trace` -> :mod:`~parallelbench.score`
-> :mod:`~parallelbench.record` -> :mod:`~parallelbench.results.result`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parallelbench.checks.conformance import check_decoder
    from parallelbench.evaluation import Evaluation, evaluate, load_run

    __version__: str

__all__ = ["Evaluation", "__version__", "check_decoder", "evaluate", "load_run"]


def __getattr__(name: str) -> Any:
    # Loaded when first used: torch takes a second that `parallelbench --help` need not pay.
    if name == "__version__":
        from importlib.metadata import version

        # Kept, so that this function is not called again.
        return globals().setdefault(name, version("parallelbench"))
    if name in __all__:
        from parallelbench import evaluation
        from parallelbench.checks import conformance

        return getattr(conformance if name == "check_decoder" else evaluation, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
