"""What is decoded again must come out as it was handed in, or rounding must explain it."""

import shutil
from pathlib import Path

import pytest

import parallelbench.models
from parallelbench.errors import SubmissionError
from parallelbench.leaderboards.commands.regenerate import regenerated
from parallelbench.leaderboards.entry.entry import Redecoded, level_of
from parallelbench.leaderboards.verify import redecode
from parallelbench.leaderboards.verify.verification import verified
from parallelbench.model import MODELS
from parallelbench.models.mini import Mini
from parallelbench.run.rundir import RunDirectory
from parallelbench.run.runfile import make_runfile
from parallelbench.run.runner import run
from parallelbench.setting import build
from support.entries import Spoilt, make_entry, results_of
from support.fabricated import altered

#: Looks back on what it wrote, so that rounding is not asked for an explanation.
REVISING = "rcr"


def a_run(out, decoders, **changes):
    asked = {"models": "mini", "tasks": "choices/city", "samples": 40, "seed": 3}
    return RunDirectory.open(run(make_runfile(asked | {"decoders": decoders} | changes), out).path)


def again(directory, records, model=None):
    (setting,) = directory.runfile.models
    opened = model or build(setting, MODELS).open()
    return redecode.decoded_again(directory.runfile, setting, opened, records)


@pytest.fixture(scope="module")
def revising(tmp_path_factory):
    """A run of a strategy that rounding is not asked about, beside one that is told."""
    return a_run(tmp_path_factory.mktemp("revising") / "run", "rcr:k=16,label,confidence:k=16")


@pytest.fixture(scope="module")
def rough(tmp_path_factory):
    """A run of the weights of mini in half of the precision."""
    path = str(Path(parallelbench.models.__path__[0]) / "data" / "mini")
    return a_run(
        tmp_path_factory.mktemp("rough") / "run",
        "confidence:k=4,confidence:k=8",
        tasks="waiting_line/shuffle",
        models=[{"name": "hf", "fields": {"path": path, "dtype": "bfloat16"}}],
        samples=12,
    )


def with_calls(record, more):
    counts = record.decoding.counts
    return altered(record, counts=counts.model_copy(update={"nfe": counts.nfe + more}))


def of(records, decoder):
    return [record for record in records if record.decoder.name == decoder]


def test_honest_records_come_out_the_same(revising):
    records = list(revising.records())
    assert again(revising, records) == len(records) == 120


@pytest.mark.attack("refused")
def test_an_invented_row_is_not_paid_for_with_spoilt_oracle_records(revising):
    records = list(revising.records())
    claims = {record.key: with_calls(record, -1) for record in of(records, REVISING)[:10]}
    claims |= {record.key: with_calls(record, 1) for record in of(records, "label")[:10]}
    with pytest.raises(SubmissionError, match=rf"of {REVISING}.* 10 claim better calls .* 0 worse"):
        again(revising, [claims.get(record.key, record) for record in records])


def test_differences_in_both_directions_alike_are_no_favour(revising):
    records = list(revising.records())
    own = of(records, REVISING)[:10]
    claims = {each.key: with_calls(each, place % 2 * 2 - 1) for place, each in enumerate(own)}
    claimed = [claims.get(record.key, record) for record in records]
    assert again(revising, claimed) == len(records) - len(claims)


@pytest.mark.attack("refused")
def test_many_small_losses_do_not_pay_for_a_few_great_gains(revising, monkeypatch):
    precisions = redecode._PRECISIONS
    monkeypatch.setitem(precisions, "float32", precisions["float32"]._replace(differing=0.999))
    own = of(revising.records(), REVISING)
    with pytest.raises(SubmissionError, match=r"20 claim better calls .* 20 worse, and together"):
        again(revising, [with_calls(each, 1 - place % 2 * 31) for place, each in enumerate(own)])


@pytest.mark.parametrize("gain", [1.0, 7.0])
def test_what_is_rarer_than_any_number_is_told_too(gain):
    gains = [gain] * 2000 + [-1.0] * (2000 if gain > 1 else 0)
    told = redecode._chance_message(gains, "calls", 0.01)
    assert "1,000,000,000,000 times" in told


@pytest.mark.attack("refused")
def test_records_that_mostly_differ_are_refused_though_they_claim_nothing_better(revising):
    records = of(revising.records(), REVISING)
    with pytest.raises(SubmissionError, match=r"40 of 40 records .* accounts for 10 %"):
        again(revising, [with_calls(each, place % 2 * 2 - 1) for place, each in enumerate(records)])


@pytest.mark.attack("refused")
@pytest.mark.parametrize(
    ("what", "claims"), [("prompt", {"prompt_digest": "0" * 64}), ("text", {"text": "New York"})]
)
def test_another_tokenizer_or_template_than_the_checkpoints_is_found(revising, what, claims):
    record = altered(next(revising.records()), **claims)
    with pytest.raises(SubmissionError, match=f"the {what} of choices/city sample .* is another"):
        again(revising, [record])


@pytest.mark.attack("refused")
def test_what_no_rounding_leads_to_is_refused(revising):
    records = list(revising.records())
    claims = {record.key: with_calls(record, -1) for record in of(records, "confidence")[:2]}
    with pytest.raises(SubmissionError, match="2 came out otherwise and follow from no rounding"):
        again(revising, [claims.get(record.key, record) for record in records])


def test_rounding_explains_what_another_precision_wrote(rough, monkeypatch):
    records, exact = list(rough.records()), Mini().open()
    with pytest.raises(SubmissionError, match="came out otherwise"):
        again(rough, records, exact)
    precisions = redecode._PRECISIONS
    monkeypatch.setitem(precisions, "float32", precisions["bfloat16"])
    same = again(rough, records, exact)
    assert same < len(records) - 1
    monkeypatch.setitem(precisions, "float32", precisions["float32"]._replace(move=2e-5))
    with pytest.raises(SubmissionError, match="follow from no rounding"):
        again(rough, records, exact)


@pytest.mark.attack("refused")
def test_right_answers_under_the_digest_of_mini_are_refused(tiny_season, tmp_path):
    entry = make_entry(tmp_path, models=["mini"], decoders="confidence_threshold:threshold=0.9")
    spoilt = Spoilt(shutil.copytree(entry, tmp_path / "spoilt"))
    records = spoilt.records()
    for record in records:
        trace, ids = record["decoding"]["trace"], record["decoding"]["output_ids"]
        trace |= {"positions": [list(range(len(ids)))], "ids": [ids], "rows": [1]}
        trace |= {"row_tokens": trace["row_tokens"][:1], "auxiliary_calls": [0]}
        record["decoding"]["counts"] |= {
            "nfe": 1,
            "rows": 1,
            "steps": 1,
            "tokens_per_step": float(len(ids)),
        }
        record["decoding"]["counts"] |= {"token_positions": trace["row_tokens"][0]}
        record["decoding"]["counts"] |= {
            "answer_tokens_per_step": float(record["decoding"]["counts"]["answer_tokens"])
        }
    spoilt.write_records(records)
    spoilt.write("results.json", results_of(records))
    assert verified(spoilt.path, redecode=False).entry.level == "recomputed"
    with pytest.raises(SubmissionError, match="they were not decoded as claimed"):
        verified(spoilt.path)
    assert verified(entry).entry.level_told == "reproduced: 6 of 6 records, 100.0 % the same"


def test_a_few_records_are_no_spot_check(small):
    with pytest.raises(ValueError, match="count must be 20 or more, got 19"):
        regenerated(verified(small), 19)


def test_the_level_is_that_of_the_model_that_was_checked_least():
    whole, part = Redecoded(records=9, of=9, same=8), Redecoded(records=5, of=9, same=5)
    assert level_of("ab", {"a": whole, "b": whole}) == "reproduced"
    assert level_of("ab", {"a": whole, "b": part}) == "spot-checked"
    assert level_of("ab", {"a": whole}) == "recomputed"
    with pytest.raises(ValueError, match="no more can be the same"):
        Redecoded(records=5, of=4, same=5)
