"""Weight files -> a network of transformers, in which every tensor was loaded."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers.utils import logging as library

from parallelbench.errors import CheckpointError
from parallelbench.models.checkpoint import CheckpointFiles, CheckpointRequest
from parallelbench.models.families import Family, stock_class, stock_config


def load_network(
    files: CheckpointFiles, request: CheckpointRequest, dtype: torch.dtype, *, safe: bool
) -> Any:
    """Return the network of a checkpoint, on the CPU, with every weight loaded.

    Args:
        files: Folder, configuration and family.
        request: Attention kernel, and the path for error messages.
        dtype: Data type of the weights.
        safe: True if the weights are safetensors files.

    Raises:
        CheckpointError: A tensor is missing, left over or of another shape, or a file is damaged.
    """
    family, config = files.family, files.config
    made = stock_config(family, config, str(files.folder))
    report: list[str] = []
    try:
        with _quiet(report):
            network, loading = stock_class(family, config).from_pretrained(
                str(files.folder),
                config=made,
                key_mapping=dict(family.renames) or None,
                dtype=dtype,
                attn_implementation=request.attention,
                use_safetensors=safe,
                weights_only=True,
                local_files_only=True,
                output_loading_info=True,
                # Reported below with the tensors' names; transformers would name none.
                ignore_mismatched_sizes=True,
            )
    except MemoryError:
        raise
    except Exception as error:
        # safetensors, pickle and transformers raise different types for files that are
        # damaged, malicious or of another shape.
        raise CheckpointError(
            f"the weights of {request.path} cannot be loaded as family {family.name}: "
            f"{_reason(error, report)}"
        ) from error
    _check_complete(loading, request.path, family)
    return network


def _reason(error: Exception, report: Sequence[str]) -> str:
    """Return the reason of a failed load, in one line."""
    marks = "Error: "
    parts = [line for text in report for line in text.splitlines() if line.startswith(marks)]
    if parts:
        return f"parts are missing or of another shape: {parts[0].removeprefix(marks)}"
    kernel = "support an attention implementation" in str(error)
    return f"{type(error).__name__}: {error}" + ("; say attention=eager" if kernel else "")


def _check_complete(loading: Mapping[str, Any], source: str, family: Family) -> None:
    for what in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        names = sorted(str(name) for name in loading.get(what) or ())
        if names:
            raise CheckpointError(
                f"{source} does not match family {family.name}: "
                f"{what.replace('_', ' ')}: {', '.join(names[:3])}"
                + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            )


@contextmanager
def _quiet(report: list[str]) -> Iterator[None]:
    """Append the loading report of transformers to ``report`` instead of printing it."""

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            report.append(record.getMessage())

    collector = Collector()
    before = library.get_verbosity()
    bar = library.is_progress_bar_enabled()
    library.set_verbosity(logging.WARNING)
    library.disable_default_handler()
    library.add_handler(collector)
    library.disable_progress_bar()
    try:
        yield
    finally:
        library.remove_handler(collector)
        library.enable_default_handler()
        library.set_verbosity(before)
        if bar:
            library.enable_progress_bar()
