"""Cost of the standard sweep: the plain reference loop against ours, on the same weights.

    python benchmarks/sweep.py --shape mini
    python benchmarks/sweep.py --shape a       # width 512, 8 layers, 126,464 tokens; on a processor
    python benchmarks/sweep.py --shape 8b      # LLaDA-8B's; needs an accelerator

Both decode the same samples with every setting of the sweep, each in a process of its own
with the same number of threads, one process after the other.  What is measured is written
into ``docs/speed.md``, where it is explained too.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import platform
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial, wraps
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from mini import table, write
from network import SHAPE, checkpoint_of
from network import network as network_of
from safetensors.torch import load_file, save_file
from smoke import add_smoke_option, workplace
from torch import nn
from torch.profiler import ProfilerActivity, profile

import reference
from parallelbench.decode import loop
from parallelbench.decode.lanes import Cohort, Job
from parallelbench.decode.loop import decode, predict_log_probs
from parallelbench.decode.statistics import FlatStatistics
from parallelbench.decoder import DECODERS
from parallelbench.model import Model, Prediction, Row
from parallelbench.models.hf import HuggingFace
from parallelbench.models.masked import MaskedModel
from parallelbench.models.mini import FOLDER, Mini
from parallelbench.models.word_tokenizer import word_tokenizer
from parallelbench.prompt import Prompt, build_prompt
from parallelbench.registry import load_plugins
from parallelbench.run import runner
from parallelbench.run.recording import draw_sample
from parallelbench.run.rundir import RecordWriter, RunDirectory
from parallelbench.run.runfile import EMBEDDED, make_runfile
from parallelbench.setting import Setting, build, parse_settings
from parallelbench.task import TASKS
from parallelbench.training.data import task_words
from parallelbench.training.folder import TrainingFolder
from parallelbench.training.plan import Scratch
from parallelbench.training.start import write_random

DOCUMENT = Path("docs/speed.md")
#: Free and short answers, long lists, and a grid of 64 tokens.
MINI_TASKS = (
    "waiting_line/copy",
    "waiting_line/replace_random",
    "waiting_line/shuffle",
    "choices/city",
    "puzzles/sudoku",
)
#: With the one-shot example before them, prompts of 150 to 200 tokens.
LONG_TASKS = ("waiting_line/copy", "waiting_line/replace_random", "waiting_line/shuffle")
VOCABULARY = 126464
SIZES = Scratch(hidden=512, layers=8, heads=8, feed_forward=1536)
#: Standard deviation of a random network's logits.  At 1 no token of so many ever reaches one
#: in a hundred, and every rule that waits for confidence writes one by one; at this one the
#: confidences of a step lie anywhere between 0 and 1, as a trained network's do.
SPREAD = 12.0

REST = "the loop itself"
#: In the order of the tables.
PARTS = (
    "network",
    "head",
    "statistics",
    "rows",
    "sharing",
    "lanes",
    "prompts",
    "records",
    "choice",
    REST,
)
MODEL = ("network", "head")


@dataclass(frozen=True, kw_only=True)
class Way:
    """A way of doing the sweep.

    Attributes:
        title: Title in the tables.
        plainly: True for the reference loop, which ignores all other fields.
        everywhere: True to compute logits and statistics for every position.
        batch_size: Most decodes at a time.
        share: True to send equal rows of several settings once.
        recorded: True to score replies and write records, like ``parallelbench run``.
    """

    title: str
    plainly: bool = False
    everywhere: bool = False
    batch_size: int = 512
    share: bool = True
    recorded: bool = False


PLAIN = Way(title="reference loop", plainly=True)
OURS = Way(title="ours")
WHOLE = Way(title="ours, replies marked and records written", recorded=True)
#: What is added to the reference loop, one measure after the other.
ADDED = (
    Way(title="ours with none of the three", everywhere=True, batch_size=1, share=False),
    Way(title="open positions only", batch_size=1, share=False),
    Way(title="and batches", share=False),
    replace(OURS, title="and sharing: ours"),
)
#: What is taken from ours, one measure at a time.
TAKEN = (
    Way(title="ours, logits of every position", everywhere=True),
    Way(title="ours, one decode at a time", batch_size=1),
)
#: The ways of a smoke run; the one that replaces a part of the loop comes last.
SMOKED = (PLAIN, ADDED[-1], WHOLE, ADDED[0])


@dataclass(frozen=True, kw_only=True)
class Work:
    """The work, common to all ways.

    Attributes:
        shape: Shape of the network.
        folder: Folder of its checkpoint; None if it is made on the device.
        device: Torch device; None takes the best available.
        tasks: Task settings.
        samples: Samples per task.
        decoders: Decoder settings.
        threads: Threads of torch.
        spread: Standard deviation of a random network's logits.
        smoke: True for a smoke run, which may run in one process.
    """

    shape: str
    folder: str | None
    device: str | None
    tasks: tuple[str, ...]
    samples: int
    decoders: tuple[str, ...]
    threads: int
    spread: float = SPREAD
    smoke: bool = False


class Key(NamedTuple):
    """Names one decode."""

    task: str
    index: int
    decoder: str


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Cost of one way.

    Attributes:
        told: Tokens and model calls of each decode.
        seconds: Time between the first prompt and the last decode.
        sent: Sequences that went through the network.
        tokens: Tokens of those sequences, padding not counted.
        operations: Floating-point operations that they cannot do without, padding and
            positions that nobody wants not counted.
        parts: Seconds by part; they add up to ``seconds``.
        loaded: Memory in use before, in MiB.
        peak: Memory in use at most, in MiB.
        rate: Floating-point operations per second of a large matrix product.
        device: Name.
        dtype: Data type of the weights.
    """

    told: dict[Key, reference.Decoded]
    seconds: float
    sent: int
    tokens: int
    operations: float
    parts: dict[str, float]
    loaded: float
    peak: float
    rate: float
    device: str
    dtype: str

    @property
    def each(self) -> float:
        """Seconds for one decode."""
        return self.seconds / len(self.told)

    @property
    def calls(self) -> int:
        """Model calls that the decodes count for themselves."""
        return sum(each.calls for each in self.told.values())

    @property
    def outside(self) -> float:
        """The share of the time that passes outside of the network and its head."""
        return 1 - sum(self.parts.get(part, 0) for part in MODEL) / self.seconds


class Clock:
    """Gives each second to the innermost of the parts that are under way."""

    def __init__(self, device: torch.device) -> None:
        self.seconds: Counter[str] = Counter()
        self._device = device
        self._under_way: list[str] = []
        self._since = 0.0

    def enter(self, part: str) -> None:
        """Begin a part, within the one under way."""
        self._pass()
        self._under_way.append(part)

    def leave(self) -> None:
        """Go on with the part around this one."""
        self._pass()
        self._under_way.pop()

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``function`` as a part."""

        @wraps(function)
        def inner(*args: Any, **named: Any) -> Any:
            self.enter(part)
            try:
                return function(*args, **named)
            finally:
                self.leave()

        return inner

    def watch(self, holder: Any, part: str, *names: str) -> None:
        """Make functions of a module, or methods of a class, a part."""
        for name in names:
            setattr(holder, name, self.timed(part, getattr(holder, name)))

    def watch_module(self, module: nn.Module, part: str) -> None:
        """Make a part of a network a part."""
        module.register_forward_pre_hook(lambda *_: self.enter(part))
        module.register_forward_hook(lambda *_: self.leave(), always_call=True)

    def _pass(self) -> None:
        if self._device.type != "cpu":
            torch.accelerator.synchronize(self._device)
        now = time.perf_counter()
        if self._under_way:
            self.seconds[self._under_way[-1]] += now - self._since
        self._since = now


class EveryPosition(MaskedModel):
    """Computes the logits of every position, as published samplers do."""

    def predict(self, rows: Sequence[Row]) -> Prediction:
        """Return the logits of the wanted positions, and keep those of all."""
        batch = self.padded(self.sequences(rows))
        hidden = self.network.model(
            input_ids=batch.ids,
            attention_mask=self._mask(rows, batch),
            position_ids=batch.positions,
            use_cache=False,
        ).last_hidden_state
        self._all = Prediction(self._head(hidden).flatten(0, 1))
        loop.forbid_unwritable(self._all, self.codec)
        self._lines = self._predicting(rows, hidden.shape[1]).flatten().nonzero().flatten()
        return Prediction(self._all.logits[self._lines])

    def statistics_of(self, told: Callable[..., FlatStatistics]) -> Callable[..., FlatStatistics]:
        """Return ``told``, which computes statistics, as computing those of all positions."""

        def everywhere(
            _: Prediction, needs: Any, __: Any, size: int, *, lines: torch.Tensor | None
        ) -> FlatStatistics:
            wanted = told(self._all, needs, None, size).at(self._lines)
            return wanted if lines is None else wanted.at(lines)

        return everywhere

    def _bytes_of(self, size: Any) -> int:
        return super()._bytes_of(size._replace(canvas=size.tokens))


def write_shape_a(folder: Path, spread: float) -> None:
    """Write a random network of shape A, in LLaDA's layout."""
    words = task_words([task() for task in TASKS.values()], seed=0)
    # All of a full vocabulary may be written: nothing is saved on ids without a token.
    lacking = VOCABULARY - len(word_tokenizer(words))
    write_random(
        SIZES, [*words, *(f"w{n}w" for n in range(lacking))], 1024, 0, TrainingFolder(folder)
    )
    held = load_file(folder / "model.safetensors")
    for tensor in held.values():
        if tensor.dim() == 2:
            # A random layer at the scale that training begins with changes next to nothing.
            tensor.mul_(tensor.shape[1] ** -0.5 / tensor.std())
    held["model.transformer.wte.weight"].mul_(SIZES.hidden**0.5)
    held["model.transformer.ff_out.weight"].mul_(spread)
    save_file(held, folder / "model.safetensors", metadata={"format": "pt"})


def opened(work: Work) -> MaskedModel:
    """Return the model."""
    if work.shape == "8b":
        device = torch.device(work.device)
        torch.manual_seed(0)
        made = network_of(32, device, torch.bfloat16).requires_grad_(requires_grad=False)
        made.lm_head.weight.mul_(work.spread * SHAPE["hidden_size"] ** -0.5 / 0.02)
        return MaskedModel(checkpoint_of(made, device))
    if work.shape == "mini":
        return Mini(device=work.device or "auto").open()
    return HuggingFace(path=work.folder, device=work.device or "auto").open()


def settings_of(texts: Iterable[str]) -> list[Setting]:
    """Return the decoder settings that ``texts`` stand for."""
    return [each for text in texts for each in parse_settings(text, DECODERS)]


def prompts(work: Work, model: Model) -> Iterator[tuple[str, int, Prompt]]:
    """Yield every sample that is decoded."""
    for name in work.tasks:
        task = build(parse_settings(name, TASKS)[0], TASKS)
        for index in range(work.samples):
            yield (
                name,
                index,
                build_prompt(task, draw_sample(task, 0, index), model.codec),
            )


def jobs(work: Work, model: Model) -> Iterator[Job]:
    """Yield every decode, sample by sample as a run does."""
    built = [(each, build(each, DECODERS)) for each in settings_of(work.decoders)]
    for task, index, prompt in prompts(work, model):
        for setting, decoder in built:
            key = Key(task, index, setting.label)
            yield Job(prompt, decoder, key="/".join(map(str, key)), tag=key)


def plainly(work: Work, model: MaskedModel) -> dict[Key, reference.Decoded]:
    """Decode by the reference loop."""
    rules = [(each.label, reference.Rule.of(each)) for each in settings_of(work.decoders)]
    return {
        Key(task, index, label): reference.decode_plainly(model.network, prompt, rule)
        for task, index, prompt in prompts(work, model)
        for label, rule in rules
    }


def by_us(work: Work, model: MaskedModel, way: Way) -> dict[Key, reference.Decoded]:
    """Decode by our loop."""
    done = decode(jobs(work, model), model, batch_size=way.batch_size, share=way.share)
    return {each.job.tag: reference.Decoded(each.output_ids, each.trace.nfe) for each in done}


def recorded(work: Work, model: MaskedModel, way: Way) -> dict[Key, reference.Decoded]:
    """Decode, mark and write records, as ``parallelbench run`` does."""
    runfile = make_runfile(
        {
            "models": "mini",
            "tasks": list(work.tasks),
            "decoders": list(work.decoders),
            "samples": work.samples,
        }
    )
    parts = runner.Parts(
        models=[(runfile.models[0], model)],
        tasks=[(each, build(each, TASKS)) for each in runfile.tasks],
        decoders=[(each, build(each, DECODERS)) for each in runfile.decoders],
    )
    told: dict[Key, reference.Decoded] = {}
    with tempfile.TemporaryDirectory() as folder:
        directory = RunDirectory.begin(Path(folder) / "run", runfile)
        with directory.appending() as writer:
            for each in runner.execute(runfile, parts=parts, batch_size=way.batch_size):
                writer.append(each)
                key = Key(each.task_label, each.index, each.decoder_label)
                decoding = each.require_decoding()
                told[key] = reference.Decoded(decoding.output_ids, decoding.counts.nfe)
    return told


def watch(clock: Clock, model: MaskedModel) -> None:
    """Tell the parts of a run apart."""
    clock.watch_module(model.network.model, "network")
    clock.watch_module(model.network.lm_head, "head")
    clock.watch(reference, "statistics", "forbid", "scores")
    clock.watch(loop, "statistics", "forbid_unwritable", "statistics_of")
    clock.watch(loop, "sharing", "cache_keys", "concatenate")
    clock.watch(loop.PredictionBatcher, "sharing", "predict", "scatter")
    clock.watch(type(model), "rows", "predict", "batches")
    clock.watch(Cohort, "lanes", "plan", "step", "drop", "admit")
    for each in {type(build(setting, DECODERS)) for setting in settings_of(sweep())}:
        clock.watch(each, "choice", "choose")
    clock.watch(runner, "prompts", "build_prompt", "draw_sample")
    clock.watch(runner, "records", "record_of")
    clock.watch(RecordWriter, "records", "append")


class Counted:
    """Counts what goes through a network.

    Args:
        model: Model of the network.
    """

    def __init__(self, model: MaskedModel) -> None:
        linear = [part for part in model.network.model.modules() if isinstance(part, nn.Linear)]
        config = model.network.config
        self.sent = self.tokens = 0
        self.operations = 0.0
        self._each_token = 2 * sum(part.weight.numel() for part in linear)
        self._each_pair = 4 * config.hidden_size * config.num_hidden_layers
        self._each_wanted = 2 * config.hidden_size * config.vocab_size
        self._predict = model.predict

    def predict(self, rows: Sequence[Row]) -> Prediction:
        """Return the network's predictions."""
        told = self._predict(rows)
        for row in rows:
            self.add(row.prompt.ids.numel() + row.canvas.numel(), 0)
        self.operations += self._each_wanted * len(told.logits)
        return told

    def add(self, tokens: int, wanted: int) -> None:
        """Count one sequence."""
        self.sent += 1
        self.tokens += tokens
        pairs = self._each_pair * tokens**2
        self.operations += self._each_token * tokens + pairs + self._each_wanted * wanted


def measure(work: Work, way: Way) -> Measured:
    """Return the cost of ``work`` in one way, including the peak memory of this process."""
    load_plugins()
    torch.set_num_threads(work.threads)
    model = opened(work)
    rate = products_per_second(model, 256 if work.smoke else None)
    if way.everywhere:
        model = EveryPosition(model.checkpoint)
        loop.statistics_of = model.statistics_of(loop.statistics_of)
    clock = Clock(model.device)
    watch(clock, model)
    counted = Counted(model)
    warm_up(work, model)
    if not way.plainly:
        model.predict = counted.predict
    do = plainly if way.plainly else partial(recorded if way.recorded else by_us, way=way)
    gc.collect()
    clock.seconds.clear()
    loaded = memory(model.device, at_most=False)
    began = time.perf_counter()
    clock.enter(REST)
    decoded = do(work, model)
    clock.leave()
    seconds = time.perf_counter() - began
    peak = memory(model.device, at_most=True)
    if way.plainly:
        count_plain_calls(counted, decoded, work, model)
    return Measured(
        told=decoded,
        seconds=seconds,
        sent=counted.sent,
        tokens=counted.tokens,
        operations=counted.operations,
        parts=dict(clock.seconds),
        loaded=loaded,
        peak=peak,
        rate=rate,
        device=name_of(model.device),
        dtype=str(model.network.dtype).removeprefix("torch."),
    )


def count_plain_calls(
    counted: Counted, decoded: dict[Key, reference.Decoded], work: Work, model: MaskedModel
) -> None:
    """Add the calls of the reference loop, which does not go through ``model.predict``."""
    lengths = {(task, index): len(each.ids) for task, index, each in prompts(work, model)}
    for key, each in decoded.items():
        for _ in range(each.calls):
            counted.add(lengths[key.task, key.index] + len(each.ids), len(each.ids))


def warm_up(work: Work, model: MaskedModel) -> None:
    """Call the network twice, because torch is slower the first time."""
    _, _, prompt = next(prompts(work, model))
    for _ in range(2):
        predict_log_probs(
            [Row(prompt, prompt.canvas.to(model.device), prompt.open.to(model.device))], model
        )


def memory(device: torch.device, *, at_most: bool) -> float:
    """Return the memory in use, in MiB; at most since the last time that it was asked for."""
    if device.type == "cuda":
        if at_most:
            return torch.cuda.max_memory_allocated(device) / 2**20
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device) / 2**20
    if not at_most:
        Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    field = "VmHWM:" if at_most else "VmRSS:"
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 2**10


def products_per_second(model: MaskedModel, width: int | None = None) -> float:
    """Return the floating-point operations per second of a large matrix product.

    Args:
        model: Model with the measured device and precision.
        width: Rows and columns of the matrices; None for as many as fill the device.
    """
    width = width or (2048 if model.device.type == "cpu" else 8192)
    left, right = torch.randn(2, width, width, device=model.device, dtype=model.network.dtype)
    best = 0.0
    for _ in range(8):
        began = time.perf_counter()
        left @ right
        if model.device.type != "cpu":
            torch.accelerator.synchronize(model.device)
        best = max(best, 2 * width**3 / (time.perf_counter() - began))
    return best


def name_of(device: torch.device) -> str:
    """Return the name of a device."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def operators(work: Work) -> list[tuple[str, int, float]]:
    """Return the operators that ours spends most time in: name, calls, share of all."""
    load_plugins()
    torch.set_num_threads(work.threads)
    model = opened(work)
    warm_up(work, model)
    on_device = model.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_device else [])]
    with profile(activities=activities) as told:
        by_us(work, model, OURS)
    kind = "self_device_time_total" if on_device else "self_cpu_time_total"
    found = [(each.key, each.count, getattr(each, kind)) for each in told.key_averages()]
    total = sum(spent for *_, spent in found)
    found.sort(key=lambda each: -each[2])
    return [(name, calls, spent / total) for name, calls, spent in found]


def alone(action: Callable[..., Any], work: Work, *args: Any) -> Any:
    """Return the result of ``action`` in a new process; in this one for a smoke run."""
    if work.smoke:
        return action(work, *args)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(action, (work, *args))


def sweep() -> tuple[str, ...]:
    """Return the decoders of the standard sweep."""
    return tuple(yaml.safe_load(EMBEDDED["sweep"].read_text())["decoders"])


def differing(plain: Measured, ours: Measured) -> tuple[int, int, list[Key]]:
    """Compare each decode that leaves nothing to chance.

    Returns:
        How many were compared, how many have other tokens, and which need another number
        of calls for the same.
    """
    fixed = [key for key in plain.told if not key.decoder.startswith("random:")]
    other = [key for key in fixed if plain.told[key].ids != ours.told[key].ids]
    calls = [
        key
        for key in plain.told
        if key not in other and plain.told[key].calls != ours.told[key].calls
    ]
    return len(fixed), len(other), calls


def costs(found: dict[Way, Measured]) -> str:
    """Return the table of the costs of all ways."""
    plain = found[PLAIN]
    return table(
        [
            "",
            "decodes",
            "seconds",
            "ms a decode",
            "times the reference",
            "calls",
            "rows sent",
            "outside the model, in %",
            "memory: loaded, at most (MiB)",
        ],
        (
            [
                way.title,
                f"{len(each.told):,}",
                f"{each.seconds:.1f}",
                f"{1e3 * each.each:.1f}",
                f"{plain.each / each.each:.1f}",
                f"{each.calls:,}",
                f"{each.sent:,}",
                f"{100 * each.outside:.0f}",
                f"{each.loaded:,.0f}, {each.peak:,.0f}",
            ]
            for way, each in found.items()
        ),
    )


def parts_of(found: dict[Way, Measured]) -> str:
    """Return the table of the time by part of the work."""
    present = [part for part in PARTS if any(part in each.parts for each in found.values())]
    return table(
        ["% of the time in", *(way.title for way in found)],
        (
            [
                part,
                *(
                    f"{100 * each.parts[part] / each.seconds:.1f}" if part in each.parts else ""
                    for each in found.values()
                ),
            ]
            for part in present
        ),
    )


def report(work: Work, found: dict[Way, Measured], larger: dict[Way, Measured]) -> str:
    """Return all that was measured, in Markdown."""
    plain = found[PLAIN]
    more = {replace(way, title=f"{way.title}; more samples"): each for way, each in larger.items()}
    parts = [
        conditions(work, plain, larger[WHOLE]),
        costs({**found, **more}),
        agreement(plain, found[ADDED[-1]]),
        parts_of({PLAIN: plain, **more}),
        floor(plain, larger[WHOLE]),
    ]
    return "\n\n".join(parts)


def conditions(work: Work, plain: Measured, most: Measured) -> str:
    """Return a sentence on machine, versions, date and size of the work."""
    settings = len(settings_of(work.decoders))
    samples = len(most.told) // len(work.tasks) // settings
    tasks = ", ".join(f"`{task}`" for task in work.tasks)
    random = "" if work.shape == "mini" else f", logits of standard deviation {work.spread:g}"
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {plain.device}, {work.threads} threads, "
        f"{plain.dtype}{random}; Python {platform.python_version()}, torch {torch.__version__}, "
        f"transformers {version('transformers')}. {settings} settings of {tasks}; samples of "
        f"each task: {work.samples}, and {samples} where it says more samples."
    )


def agreement(plain: Measured, ours: Measured) -> str:
    """Return a sentence on the agreement of the decodes."""
    compared, other, calls = differing(plain, ours)
    settings = Counter(key.decoder for key in calls)
    told = ", ".join(f"`{label}` ({count})" for label, count in settings.items()) or "none"
    return (
        f"Deterministic decodes compared: {compared}; with other tokens: **{other}**. Decodes "
        f"with the same tokens in another number of calls: {told}."
    )


def floor(plain: Measured, most: Measured) -> str:
    """Return a sentence comparing the time with the floor of the network's multiplications."""
    least = most.operations / most.rate
    return (
        f"Floor of the last row: {most.operations / 1e12:.2f} T floating-point operations for "
        f"{most.sent:,} rows of {most.tokens:,} tokens, at {most.rate / 1e9:.0f} G a second in "
        f"a large matrix product, take {least:.1f} s. Ours takes {most.seconds / least:.1f} "
        f"times that, the reference loop {plain.each * len(most.told) / least:.0f} times."
    )


def profile_of(work: Work) -> str:
    """Return the operators that ours spends most time in, in Markdown."""
    found = alone(operators, work)
    return table(
        ["operator", "calls", "share of the time in operators, in %"],
        ([f"`{name}`", f"{calls:,}", f"{100 * share:.1f}"] for name, calls, share in found[:12]),
    )


def read_options() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=("mini", "a", "8b"), default="mini")
    parser.add_argument("--samples", type=int, default=1, help="samples per task, all ways")
    parser.add_argument("--more", type=int, default=None, help="samples per task, ours only")
    parser.add_argument("--tasks", nargs="+", default=None)
    parser.add_argument("--decoders", nargs="+", default=list(sweep()))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default=None)
    parser.add_argument(
        "--spread",
        type=float,
        default=SPREAD,
        help="standard deviation of the logits",
    )
    parser.add_argument("--document", type=Path, default=DOCUMENT)
    add_smoke_option(parser)
    options = parser.parse_args()
    if options.smoke:
        options.shape, options.tasks, options.more, options.threads = "mini", ["choices/city"], 1, 1
        options.decoders = ["confidence:k=2|8", "random:k=2"]
    return options


def main() -> None:
    """Measure, and write the figures into the document."""
    options = read_options()
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if options.shape == "8b" and options.device is None and accelerator is None:
        print("no accelerator here: LLaDA-8B's shape is not measured")
        return
    load_plugins()
    with tempfile.TemporaryDirectory() as folder:
        if options.shape == "a":
            write_shape_a(Path(folder), options.spread)
        work = Work(
            shape=options.shape,
            folder={"mini": str(FOLDER), "a": folder, "8b": None}[options.shape],
            device=options.device or (str(accelerator) if options.shape == "8b" else "cpu"),
            tasks=tuple(options.tasks or (MINI_TASKS if options.shape == "mini" else LONG_TASKS)),
            samples=options.samples,
            decoders=tuple(options.decoders),
            threads=options.threads,
            spread=options.spread,
            smoke=options.smoke,
        )
        operator_table = profile_of(work)
        samples = options.more or (20 if options.shape == "mini" else 4) * options.samples
        larger = {way: alone(measure, replace(work, samples=samples), way) for way in (OURS, WHOLE)}
        found: dict[Way, Measured] = {}
        for way in SMOKED if work.smoke else (PLAIN, *ADDED, *TAKEN, WHOLE):
            found[way] = alone(measure, work, way)
            print(f"{way.title}: {found[way].seconds:.1f} s", flush=True)
        content = report(work, found, larger)
    for name, part in {
        options.shape: content,
        f"{options.shape} operators": operator_table,
    }.items():
        print(f"\n{part}")
        with workplace(smoke=options.smoke):
            write(options.document, name, part)


if __name__ == "__main__":
    main()
