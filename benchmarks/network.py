"""Time of a call of a network of LLaDA-8B's shape, compared with its floor.

    python benchmarks/network.py                           # needs an accelerator
    python benchmarks/network.py --device cpu --layers 2   # a slice of it, anywhere

The weights are random and need no file.  A call must multiply every weight with every token
of prompt and canvas once; the floor printed is the time that this many multiply-adds take
in plain matrix products of the same width on the same device.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from smoke import add_smoke_option
from transformers import LlamaConfig, LlamaForCausalLM

from parallelbench.decode.loop import predict_log_probs
from parallelbench.model import Row
from parallelbench.models.checkpoint import Checkpoint
from parallelbench.models.families import FAMILIES
from parallelbench.models.masked import MaskedModel
from parallelbench.models.word_tokenizer import word_tokenizer
from parallelbench.prompt import Codec, Prompt, build_prompt
from parallelbench.registry import load_plugins
from parallelbench.run.recording import draw_sample
from parallelbench.setting import build, parse_settings
from parallelbench.task import TASKS

BATCHES = (1, 8, 32)
PROMPT_TOKENS, CANVAS_TOKENS = 200, 32
SHAPE = {
    "hidden_size": 4096,
    "intermediate_size": 12288,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "vocab_size": 126464,
    "rope_theta": 500000.0,
    "tie_word_embeddings": False,
}
#: A network for a smoke run.
SMALL = {**SHAPE, "hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 2}
SMALL |= {"num_key_value_heads": 2, "vocab_size": 2048}


def network(
    layers: int, device: torch.device, dtype: torch.dtype, shape: Mapping[str, Any] = SHAPE
) -> LlamaForCausalLM:
    """Return a network with random weights, by default of LLaDA's width."""
    config = LlamaConfig(**shape, num_hidden_layers=layers, is_causal=False)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with device:
            return LlamaForCausalLM(config).eval()
    finally:
        torch.set_default_dtype(before)


def checkpoint_of(made: LlamaForCausalLM, device: torch.device) -> Checkpoint:
    """Return the network as if it had been loaded, with a small tokenizer."""
    words = {word for task in TASKS.values() for word in task.words}
    tokenizer = word_tokenizer(sorted(words))
    codec = Codec(tokenizer, tokenizer.mask_token_id, tokenizer.eos_token_id)
    family = next(family for family in FAMILIES if family.name == "llada")
    return Checkpoint(
        network=made,
        codec=codec,
        family=family,
        config={},
        device=device,
        weights_digest="random",
        provenance={"family": family.name, "dtype": str(made.dtype)},
    )


def prompts(codec: Codec, count: int) -> Iterable[Prompt]:
    """Return prompts of one length, with an all-masked canvas."""
    task = build(parse_settings("waiting_line/copy:length=3", TASKS)[0], TASKS)
    for index in range(count):
        prompt = build_prompt(task, draw_sample(task, 0, index), codec)
        ids = prompt.ids.repeat(-(-PROMPT_TOKENS // len(prompt.ids)))[:PROMPT_TOKENS]
        yield Prompt(task, prompt.sample, codec, prompt.text, ids, prompt.canvas)


def seconds(action: Callable[[], object], device: torch.device, repeats: int = 5) -> float:
    """Return the median time of ``action``, after one that does not count."""
    times = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        action()
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
        times.append(time.perf_counter() - began)
    return sorted(times[1:])[repeats // 2]


def floor(made: LlamaForCausalLM, tokens: int, device: torch.device) -> float:
    """Return the seconds that the multiply-adds of one call take in plain products."""
    width = made.config.hidden_size
    weight = torch.randn(width, 3 * width, device=device, dtype=made.dtype)
    rows = torch.randn(tokens, width, device=device, dtype=made.dtype)
    product = seconds(lambda: rows @ weight, device)
    body = sum(parameter.numel() for parameter in made.model.layers.parameters())
    return product * body / weight.numel()


def main() -> int:
    """Measure, and print one line for each batch."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default=None)
    parser.add_argument("--layers", type=int, default=32)
    add_smoke_option(parser)
    asked = parser.parse_args()
    if asked.smoke:
        asked.device, asked.layers = "cpu", 1
    found = torch.accelerator.current_accelerator(check_available=True)
    if asked.device is None and found is None:
        print("no accelerator here: nothing is measured; --device cpu --layers 2 runs a slice")
        return 0
    device = torch.device(asked.device) if asked.device else found
    load_plugins()
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    began = time.perf_counter()
    made = network(asked.layers, device, dtype, SMALL if asked.smoke else SHAPE)
    opened = time.perf_counter() - began
    model = MaskedModel(checkpoint_of(made, device))
    parameters = sum(parameter.numel() for parameter in made.parameters())
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    print(f"{name}, {dtype}, {asked.layers} layers, {parameters / 1e9:.2f} G parameters")
    print(f"made in {opened:.1f} s")
    for batch in BATCHES[:1] if asked.smoke else BATCHES:
        rows = [
            Row(prompt, prompt.canvas.to(device), prompt.open.to(device))
            for prompt in prompts(model.codec, batch)
        ]
        taken = seconds(lambda rows=rows: predict_log_probs(rows, model), device)
        tokens = sum(len(row.prompt.ids) + len(row.canvas) for row in rows)
        least = floor(made, tokens, device)
        memory = torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else None
        print(
            f"batch {batch:2}: {1 / taken:7.2f} calls/s, {batch / taken:7.1f} rows/s, "
            f"{taken / least:.2f} times the floor of {1e3 * least:.1f} ms"
            + (f", {memory:.1f} GiB at most" if memory is not None else "")
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
