"""Entries on tasks whose right answers have structure: verified, and decoded again."""

from types import MappingProxyType

import pytest

from parallelbench.errors import SubmissionError
from parallelbench.leaderboards.commands.regenerate import regenerated
from parallelbench.leaderboards.entry import eligibility, season
from parallelbench.leaderboards.entry.season import Season, seasons
from parallelbench.leaderboards.verify import verification
from parallelbench.leaderboards.verify.verification import verified
from parallelbench.setting import parse_settings
from parallelbench.task import TASKS
from support.entries import SEED, Spoilt, make_entry

LONG = ("agreement/identifier:length=4,canvas_length=64", "verse/rhyme:length=2,canvas_length=64")


@pytest.fixture
def entry(_registered, tmp_path, monkeypatch):
    """An entry of the ideal model on two tasks with structured answers."""
    settings = tuple(setting for text in LONG for setting in parse_settings(text, TASKS))
    long = Season("long", "Long", SEED, settings, 3, 1)
    known = MappingProxyType({**seasons(), "long": long})
    for module in (eligibility, season, verification):
        monkeypatch.setattr(module, "seasons", lambda: known)
    return make_entry(tmp_path, tasks=list(LONG), decoders="confidence:k=2,one_by_one")


def test_records_of_structured_answers_follow_again_from_their_traces_and_the_model(entry):
    found = verified(entry)
    assert len(found.entry.records) == 12
    assert regenerated(found, None).entry.level == "reproduced"
    assert {record.marks.lenient for record in found.entry.records} == {0, 1}


def test_a_token_that_the_trace_does_not_hold_is_refused(entry):
    spoilt = Spoilt(entry)
    spoilt.change(lambda record: record["decoding"]["output_ids"].reverse())
    with pytest.raises(SubmissionError):
        verified(entry)
