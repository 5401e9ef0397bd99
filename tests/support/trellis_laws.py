"""The token-level law of a task with structured answers, compared with its listing."""

import numpy as np

from parallelbench.distributions.listed import ListedDistribution
from parallelbench.models.ideal import Ideal
from parallelbench.prompt import build_prompt, lay_out
from parallelbench.prompt.distribution import answer_distribution
from parallelbench.task import sample_rng


def check_law_against_listing(task, index=0, rows=60):
    """Compare conditionals, counts and entropies on random canvases, right and wrong ones.

    Args:
        task: A task with few enough right answers to list.
        index: Number of the sample.
        rows: Number of canvases.
    """
    sample = task.draw(sample_rng(0, task.name, index), index)
    prompt = build_prompt(task, sample, Ideal().open().codec)
    law = answer_distribution(prompt)
    answers = task.answers(sample)
    laid = lay_out(prompt, answers).numpy()
    listed = ListedDistribution(laid, np.array(answers.weights), prompt.codec.mask_id)
    assert len(laid) == 1 or not isinstance(law, ListedDistribution)
    assert [part.tolist() for part in law.entries] == [part.tolist() for part in listed.entries]
    canvases = _canvases(laid, prompt.codec.mask_id, rows)
    found, expected = law.condition(canvases), listed.condition(canvases)
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-12, rtol=0)
    np.testing.assert_array_equal(found.fits, expected.fits)
    np.testing.assert_array_equal(found.agreements, expected.agreements)
    np.testing.assert_allclose(found.log2_counts, expected.log2_counts, atol=1e-9)
    np.testing.assert_allclose(found.entropies, expected.entropies, atol=1e-9)
    for canvas in canvases[:10]:
        assert law.count(canvas) == listed.count(canvas)
    assert expected.fits.any()
    assert len(laid) == 1 or not expected.fits.all()
    trellis = task.trellis(sample)
    assert trellis.count == len(answers)
    assert abs(trellis.entropy - float(expected.entropies[0])) < 1e-9


def _canvases(laid, mask_id, rows):
    rng = np.random.default_rng(0)
    one, other = (laid[rng.integers(0, len(laid), rows)] for _ in range(2))
    mixed = np.where(rng.random(one.shape) < 0.3, other, one)
    shown = rng.random((rows, 1))
    canvases = np.where(rng.random(one.shape) < shown, mixed, mask_id)
    canvases[0] = mask_id
    canvases[1::2] = np.where(canvases[1::2] == mask_id, mask_id, one[1::2])
    canvases[2] = other[0]
    canvases[2, 0] = int(laid.max()) + 1  # a token of no right answer
    return canvases
