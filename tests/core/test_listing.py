"""The table of strategies: it follows from what they declare, and is never cut off."""

import json
import os
import pty
import re
import subprocess
import sys

import pytest

from parallelbench.cli.actions.listing import decoder_entries
from parallelbench.decoder import DECODERS, STATISTICS
from parallelbench.model import MODELS, Model, ModelSource
from parallelbench.models.families import FAMILIES
from parallelbench.registry import load_plugins
from support.toys import ToyNetwork

load_plugins()


@pytest.fixture(scope="module")
def entries():
    return {each["name"]: each for each in decoder_entries()}


def test_every_strategy_says_what_it_needs_costs_and_promises(entries):
    assert list(entries) == list(DECODERS)
    wino = entries["wino"]
    assert (wino["adaptive"], wino["remasks"], wino["deterministic"]) == (True, True, True)
    assert wino["model_needs"] == ["attention_mask", "positions", "unshifted"]
    assert (wino["calls"], wino["rows"]) == ("1", "1")
    assert entries["remdm"]["deterministic"] is False
    assert entries["confidence_threshold"]["presets"] == {
        "fast-dllm": "threshold=0.9,block_length=32",
        "llada2": "threshold=0.95,comparison=gt,block_length=32",
    }
    assert entries["dus"]["grid"] == "block_length=1|2|4|8|16|32,skip_below=0.3"


@pytest.mark.parametrize("name", DECODERS)
def test_no_field_of_a_strategy_hides_a_fact_of_it(name):
    for fact in ("calls", "rows", "grid"):
        assert isinstance(getattr(DECODERS[name](), fact), str)


def test_families_are_those_that_give_what_a_strategy_needs(entries):
    every = {"ideal", *(family.name for family in FAMILIES)}
    for entry in entries.values():
        assert {*entry["families"], *entry["not_served_by"]} == every
        assert bool(entry["not_served_by"]) <= bool(set(entry["needs"]) - STATISTICS)
    assert entries["wino"]["families"] == ["llada", "illada", "llada-moe"]
    assert entries["confidence"]["not_served_by"] == []


def test_a_source_from_outside_brings_its_families(monkeypatch):
    class Elsewhere(ModelSource):
        @classmethod
        def families(cls):
            return {"elsewhere": frozenset({"attention_mask", "positions", "unshifted"})}

    monkeypatch.setitem(MODELS._entries, "elsewhere", Elsewhere)
    served = {each["name"]: each["families"] for each in decoder_entries()}
    assert "elsewhere" in served["wino"]
    assert "elsewhere" not in served["slow_fast"]


def test_a_source_that_says_nothing_is_opened_to_see_what_its_model_gives():
    class Given(ToyNetwork):
        capabilities = frozenset({"hidden"})

    class Source(ModelSource):
        def open(self) -> Model:
            return Given()

    assert Source().capabilities() == {"hidden"}
    assert Source.families() == {}


def listed(*arguments, **options):
    command = [sys.executable, "-m", "parallelbench", "list", "decoders", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, **options).stdout


def test_a_piped_table_has_a_strategy_with_all_its_presets_on_one_line():
    table, _, below = listed().partition("needs: beside")
    lines = table.splitlines()
    for name, kind in DECODERS.items():
        (line,) = [line for line in lines if line.split()[:1] == [name]]
        assert all(preset in line for preset in kind.__dict__.get("presets", ()))
    assert "wino (attention_mask, positions, unshifted): llada, illada, llada-moe" in below


@pytest.mark.parametrize("width", [80, 140])
def test_a_terminal_gets_a_table_of_its_width_in_which_no_name_is_cut(width):
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(width), "TERM": "xterm"}
    command = [sys.executable, "-m", "parallelbench", "list", "decoders"]
    with subprocess.Popen(command, stdout=theirs, env=environment) as process:
        os.close(theirs)
        told = b""
        while part := _read(ours):
            told += part
        assert process.wait() == 0
    os.close(ours)
    text = re.sub(r"\x1b\[[0-9;]*m", "", told.decode()).replace("\r", "")
    table = text[: text.index("needs: beside")]
    assert max(map(len, table.splitlines())) <= width
    words = set(table.replace(",", " ").split())
    presets = DECODERS.presets.keys() - DECODERS.former_presets.keys()
    assert words >= {*DECODERS, *presets, "attention_mask", "12/12", "deter-"}


def _read(descriptor):
    try:
        return os.read(descriptor, 65536)
    except OSError:  # Linux says so where the other end is closed
        return b""


def test_json_holds_all_that_the_table_shows():
    assert json.loads(listed("--json")) == decoder_entries()
