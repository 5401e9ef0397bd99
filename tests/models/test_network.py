"""Checks of every network when it is opened."""

import pytest

from parallelbench.errors import CheckpointError
from parallelbench.models.hf import HuggingFace
from support import checkpoints

FAMILIES = [f for f in checkpoints.FAMILIES if f not in {"llama", "qwen3"}]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_network_that_stays_causal_is_noticed_before_it_gives_a_number(
    family, attention, tmp_path
):
    checkpoints.write_checkpoint(family, tmp_path)
    model = HuggingFace(path=str(tmp_path), attention=attention).open()
    # As a release of transformers would that did not look at this field.
    model.network.config.is_causal = True
    with pytest.raises(CheckpointError, match="does not obey the attention"):
        model.check_attention()
