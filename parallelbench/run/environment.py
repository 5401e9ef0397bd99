"""Versions of packages and the machine of a session, as JSON values."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from datetime import UTC, datetime
from typing import Any

_PACKAGES = ("parallelbench", "torch", "transformers", "tokenizers", "numpy", "scipy")


def environment() -> dict[str, Any]:
    """Return the versions and the machine; nothing that names a person or a place."""
    import torch

    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "system": platform.system(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "accelerators": [
            torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())
        ],
    }
