"""Choosers of packages that were written for ``choose(statistics, open, progress)``."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from parallelbench.decode import Job, decode
from parallelbench.decoder import Chooser, Progress, Statistics, Step
from parallelbench.decoders.confidence import Confidence
from parallelbench.decoders.confidence_threshold import ConfidenceThreshold
from parallelbench.decoders.margin import Margin
from parallelbench.errors import DecoderError
from support.plain import Scripted, decoded, prompt_of

ROWS = [[True] * 6, [True, False] * 3]


def test_a_former_signature_works_with_a_warning_that_names_its_class_and_what_to_write():
    with pytest.warns(DeprecationWarning, match=r"decoder Former: .* write choose\(self, step\)"):

        @dataclass(frozen=True, kw_only=True)
        class Former(Chooser):
            needs: ClassVar = frozenset({"token", "confidence"})
            adaptive: ClassVar = True

            def choose(self, statistics, open, progress):  # noqa: A002
                late = progress.step[:, None] >= 1
                sure = statistics.confidence >= statistics.confidence.amax(dim=1, keepdim=True)
                return open & (sure | late)

    for outcome in decoded(Former(), Scripted(3), ROWS):
        assert outcome.status == "ok", outcome.error
        assert len(outcome.trace.positions) == 2


def test_a_subclass_may_still_ask_a_strategy_of_the_suite_with_three_arguments():
    with pytest.warns(DeprecationWarning, match="decoder Wider"):

        @dataclass(frozen=True, kw_only=True)
        class Wider(Confidence):
            def choose(self, statistics, open, progress):  # noqa: A002
                return super().choose(statistics, open, progress)

    ours, former = (decoded(kind(k=2), Scripted(3), ROWS) for kind in (Confidence, Wider))
    assert [each.trace for each in former] == [each.trace for each in ours]


def test_a_step_has_only_what_the_decoder_needs_whatever_others_of_the_batch_need():
    tokens = torch.zeros(1, 2, dtype=torch.long)
    step = Step(
        Statistics(tokens, confidence=torch.tensor([[0.5, 0.9]])),
        tokens == 0,
        Progress(step=torch.tensor([0]), initial=torch.tensor([2])),
    )
    assert ConfidenceThreshold().choose(step).tolist() == [[False, True]]
    with pytest.raises(DecoderError, match=r"a decoder reads 'margin', .* add 'margin' to needs"):
        _ = step.margin


@dataclass(frozen=True, kw_only=True)
class Undeclared(Chooser):
    """Reads a margin that it does not declare."""

    needs: ClassVar = frozenset({"token", "confidence"})

    def choose(self, step):
        return step.open & (step.margin > 0)


def test_what_is_not_declared_is_missing_also_beside_a_decoder_that_declares_it():
    jobs = [Job(prompt_of([True] * 4), kind(), kind.__name__) for kind in (Margin, Undeclared)]
    errors = {outcome.job.key: outcome.error for outcome in decode(jobs, Scripted(3))}
    assert errors["Margin"] is None
    assert (
        "a decoder reads 'margin', a statistic that its needs do not name" in errors["Undeclared"]
    )
