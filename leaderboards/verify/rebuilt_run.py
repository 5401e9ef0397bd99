"""The run that an entry claims, built again: settings, samples, prompts, each once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from parallelbench.decoder import DECODERS, Decoder
from parallelbench.errors import SubmissionError
from parallelbench.leaderboards.verify.model_facts import ModelFacts
from parallelbench.leaderboards.verify.prompt_rules import PromptRules
from parallelbench.prompt import Codec, Prompt, build_prompt
from parallelbench.record import Record
from parallelbench.run.recording import DecodeId, MarkedReply, RecordKey, draw_sample
from parallelbench.run.runfile import SERVER_DECODER, RunFile
from parallelbench.setting import Setting, build
from parallelbench.task import TASKS, Sample, Task


@dataclass
class RebuiltRun:
    """The parts of a claimed run.

    Attributes:
        runfile: The run file.
        models: Facts about its models, by label.
    """

    runfile: RunFile
    models: Mapping[str, ModelFacts]
    _samples: dict[tuple[str, int], Sample] = field(default_factory=dict)
    _prompts: dict[tuple[str, str, int], Prompt] = field(default_factory=dict)
    _replies: dict[tuple[str, str, int], dict[tuple[int, ...], MarkedReply]] = field(
        default_factory=dict
    )

    @cached_property
    def keys(self) -> Mapping[RecordKey, None]:
        """The keys of its records, in the order of the run."""
        return dict.fromkeys(record_keys(self.runfile))

    @cached_property
    def tasks(self) -> Mapping[str, Task]:
        """The tasks, by label."""
        return {setting.label: build(setting, TASKS) for setting in self.runfile.tasks}

    @cached_property
    def decoders(self) -> Mapping[str, Decoder]:
        """The decoders, by label."""
        return {setting.label: build(setting, DECODERS) for setting in self.runfile.decoders}

    @property
    def submitted_codecs(self) -> Iterator[tuple[str, Codec]]:
        """Labels and codecs of the models whose tokenizer and template the entry contains."""
        for label, model in self.models.items():
            if model.codec is not None and not model.built_in:
                yield label, model.codec

    def decode_id(self, record: Record) -> DecodeId:
        """Return the identity of the decode of a record whose key is one of :attr:`keys`."""
        return DecodeId(
            self._settings["model"][record.model_label],
            self._settings["task"][record.task_label],
            self._settings["decoder"][record.decoder_label],
            record.index,
            record.repeat,
            self._replies.setdefault((record.model_label, record.task_label, record.index), {}),
        )

    def sample(self, task: str, index: int) -> Sample:
        """Return sample ``index`` of the task labelled ``task``."""
        if (task, index) not in self._samples:
            self._samples[task, index] = draw_sample(self.tasks[task], self.runfile.seed, index)
        return self._samples[task, index]

    def prompt(self, model: str, task: str, index: int, codec: Codec) -> Prompt:
        """Return the prompt of a sample for a model.

        Args:
            model: Label of the model.
            task: Label of the task.
            index: The sample's number.
            codec: Codec of the model.

        Raises:
            SubmissionError: The submitted template or tokenizer fails or breaks a rule.
        """
        key = (model, task, index)
        if key not in self._prompts:
            try:
                self._prompts[key] = build_prompt(self.tasks[task], self.sample(task, index), codec)
            except (KeyboardInterrupt, SystemExit, MemoryError):
                raise
            except BaseException as error:  # a submitted template or tokenizer may raise anything
                raise SubmissionError(
                    f"model {model!r:.80} cannot read sample {index} of "
                    f"{task}: {' '.join(str(error).split()):.200}"
                ) from error
            if model in self._prompt_rules:
                self._check_prompt(model, self._prompts[key], f"sample {index} of {task}")
        return self._prompts[key]

    def _check_prompt(self, model: str, prompt: Prompt, which: str) -> None:
        """Refuse a prompt that a submitted template or tokenizer has changed."""
        try:
            faults = list(self._prompt_rules[model].faults(prompt))
        except SubmissionError as error:
            faults = list(error.faults)
        if faults:
            where = f"model {model!r:.80}, {which}"
            advice = "enter with the checkpoint's own tokenizer and chat template"
            raise SubmissionError(*(f"{where}: {fault}; {advice}" for fault in faults))

    @cached_property
    def _prompt_rules(self) -> Mapping[str, PromptRules]:
        return {label: PromptRules(codec) for label, codec in self.submitted_codecs}

    @cached_property
    def _settings(self) -> Mapping[str, Mapping[str, Setting]]:
        decoders = (*self.runfile.decoders, SERVER_DECODER)
        return {
            "model": {setting.label: setting for setting in self.runfile.models},
            "task": {setting.label: setting for setting in self.runfile.tasks},
            "decoder": {setting.label: setting for setting in decoders},
        }


def record_keys(runfile: RunFile) -> Iterator[RecordKey]:
    """Yield the key of every record of a run, in the order of the run."""
    for model in runfile.models:
        for task in runfile.tasks:
            for index in range(runfile.samples):
                for repeat in range(runfile.repeats):
                    for decoder in runfile.decoders_of(model):
                        yield model.label, task.label, index, decoder.label, repeat
