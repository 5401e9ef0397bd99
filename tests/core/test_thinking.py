"""Thinking before an answer: which text is the answer, of servers and of checkpoints."""

import pytest

from parallelbench.models.word_tokenizer import word_tokenizer
from parallelbench.prompt import Codec
from parallelbench.prompt.thinking import MARKS, MOST_BLOCKS, answer_of, opens_thinking


@pytest.mark.parametrize(("opening", "closing"), MARKS)
def test_every_known_block_is_taken_off_and_an_open_one_leaves_nothing(opening, closing):
    assert answer_of(f"{opening}New City?{closing}\n\nNew York") == "New York"
    assert answer_of(f" \n{opening}{closing}{opening}again{closing}New York") == "New York"
    assert answer_of(f"New City?{closing} New York") == "New York"
    assert answer_of(f"{opening}New York") is None
    assert answer_of("New York", opened=True) is None
    assert answer_of(f"New City?{closing}New York", opened=True) == "New York"
    assert opens_thinking(f"assistant: {opening}\n")
    assert not opens_thinking(f"assistant: {opening}{closing}\n\n")


@pytest.mark.parametrize("text", ["", " New York\n", "I <think> New York", "<thinker> New York"])
def test_text_without_thinking_at_its_start_stays_as_it_is(text):
    assert answer_of(text) == text


@pytest.mark.parametrize("block", ["</think>", "<think></think>", "</thinking>\n</think>"])
def test_thinking_without_end_in_many_blocks_leaves_no_answer(block):
    count = MOST_BLOCKS // block.count("</") - 1
    assert answer_of(block * count + "New York") == "New York"
    assert answer_of(block * 10_000 + "New York") is None


@pytest.mark.parametrize("special", [False, True])
def test_a_canvas_is_read_without_its_thinking_whatever_kind_of_tokens_the_marks_are(special):
    tokenizer = word_tokenizer(["New", "York", "City"])
    marks = ["<|channel>thought", "<channel|>"]
    tokenizer.add_tokens(marks, special_tokens=special)
    if special:
        tokenizer.add_special_tokens({"additional_special_tokens": marks})
    vocabulary = tokenizer.get_vocab()
    end = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else 0
    codec = Codec(tokenizer=tokenizer, mask_id=len(vocabulary), end_id=end)

    def read(text, **options):
        (ids,) = codec.encode([text])
        return codec.decode(ids, **options)

    assert read(f"{marks[0]} New City {marks[1]} New York").split() == ["New", "York"]
    assert read(f"{marks[0]} New City") == ""
    assert read("New City", thinking=True) == ""
    assert read("New York").split() == ["New", "York"]
