"""What every test runs under."""

import os

import pytest

# Before torch is loaded: more threads than cores make small products many times slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(autouse=True, scope="session")
def _registered():
    from parallelbench.registry import load_plugins

    load_plugins()
