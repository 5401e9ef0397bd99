"""One command for every family: what users type, what they get, and what the docs promise."""

import json
from collections import Counter
from pathlib import Path

import pytest

from parallelbench.cli.program import main
from parallelbench.models.families import FAMILIES
from parallelbench.models.hf import HuggingFace
from parallelbench.run.rundir import RunDirectory
from support import checkpoints, diffusion_gemma

PAGE = Path(__file__).parents[2] / "docs" / "models.md"
CHECKPOINTS = {
    **{family.name: family.name for family in FAMILIES if family.kind in {"masked", "block"}},
    "autoregressive": "qwen3",
}


def written(family, folder):
    if family == "diffusion-gemma":
        diffusion_gemma.write_checkpoint(folder)
    else:
        checkpoints.write_checkpoint(CHECKPOINTS[family], folder)
    return folder


def test_the_same_command_runs_every_family_and_every_record_replays(tmp_path):
    models = {
        f"hf:{written(family.name, tmp_path / family.name)}": family.name for family in FAMILIES
    }
    command = ["run", *(part for model in models for part in ("--model", model))]
    command += ["--tasks", "waiting_line/copy:canvas_length=64,length=3,shots=0"]
    command += ["--decoders", "one_by_one,confidence:k=4,random:k=4,temperature=1,label"]
    command += ["--decoders", "confidence_threshold:threshold=0.5,block_length=16"]
    assert main([*command, "--samples", "2", "--out", str(tmp_path / "run")]) == 0
    (environment,) = json.loads((tmp_path / "run" / "environment.json").read_text())
    facts = {models[model]: told for model, told in environment["models"].items()}
    assert {name: told["family"] for name, told in facts.items()} == {
        family.name: family.name for family in FAMILIES
    }
    decodes = Counter()
    for record in RunDirectory.open(tmp_path / "run").records():
        decodes[models[record.model_label]] += 1
        assert record.status == "ok", record.error
        assert record.decoding.trace.replay(record.decoding.canvas) == record.decoding.output_ids
        assert record.decoding.mask_id not in record.decoding.output_ids
        assert record.decoding.counts.nfe == record.decoding.trace.nfe > 0
        assert record.decoding.counts.canvas_tokens == 64 - record.decoding.trace.filled
        assert record.model.weights_digest == facts[models[record.model_label]]["weights_digest"]
    assert decodes == {family.name: 2 * 5 for family in FAMILIES}


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_what_a_model_will_give_is_known_before_it_is_opened(family, tmp_path):
    path = str(written(family.name, tmp_path))
    caches = ("none", "prefix", "dual") if family.kind == "masked" else (None,)
    for cache in caches:
        source = HuggingFace(path=path, cache=cache)
        assert source.capabilities() == source.open().capabilities
    assert HuggingFace.families()[family.name] == HuggingFace(path=path).capabilities()


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_the_docs_say_for_every_family_how_it_was_checked(family):
    row = f"| `{family.name}` | {family.members} | {family.evidence} |"
    assert row in PAGE.read_text().splitlines()
