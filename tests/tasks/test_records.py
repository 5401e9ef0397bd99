"""Records of people and orders: their laws, and the wrong replies that look right."""

import itertools
import json
import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parallelbench.analysis.theory.exact_bits import one_step_bits
from parallelbench.errors import CanvasError, NotEnumerableError
from parallelbench.models.ideal import Ideal
from parallelbench.prompt import build_prompt
from parallelbench.prompt.distribution import answer_distribution
from parallelbench.task import TASKS, sample_rng
from parallelbench.tasks.records import ITEMS, PEOPLE
from support.trellis_laws import check_law_against_listing

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=60)


def draw(name, index=0, **fields):
    task = TASKS[f"records/{name}"](**fields)
    return task, task.draw(sample_rng(0, task.name, index), index)


def law_of(task, sample):
    prompt = build_prompt(task, sample, Ideal().open().codec)
    return answer_distribution(prompt), prompt.canvas.numpy()


def person(name, born, now):
    first, last = name.split()
    return {
        "name": name,
        "initials": first[0] + last[0],
        "email": f"{first.lower()}.{last.lower()}@example.org",
        "born": born,
        "age": now - born,
    }


def test_no_two_people_share_a_name_or_initials():
    for number in (0, 1):
        assert len({name.split()[number] for name in PEOPLE}) == len(PEOPLE)
    assert len({name.split()[0][0] + name.split()[1][0] for name in PEOPLE}) == len(PEOPLE)
    assert len(set(ITEMS)) == len(ITEMS)


def test_the_lists_are_those_of_records_that_agree():
    task, sample = draw("people", length=2, people=2, decades=1)
    names, now = sample.facts["people"], sample.facts["now"]
    records = [person(name, born, now) for name in names for born in range(1950, 1960)]
    right = {json.dumps(list(pair)) for pair in itertools.product(records, repeat=2)}
    assert {text for text, _ in task.trellis(sample).texts()} == right
    assert all(task.score(sample, text).strict for text in right)


def test_the_orders_are_those_whose_totals_agree():
    task, sample = draw("orders", length=2, items=2, quantities=2)
    lines = [
        {"item": item, "price": price, "quantity": count, "total": count * price}
        for item, price in sample.facts["prices"]
        for count in (1, 2)
    ]
    right = {
        "\n".join(map(json.dumps, (*pair, {"grand_total": sum(each["total"] for each in pair)})))
        for pair in itertools.product(lines, repeat=2)
    }
    assert {text for text, _ in task.trellis(sample).texts()} == right
    assert all(task.score(sample, text).strict for text in right)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("people", {"length": 1, "people": 3, "decades": 2, "canvas_length": 64}),
        ("people", {"length": 2, "people": 2, "decades": 1, "canvas_length": 128}),
        ("orders", {"length": 2, "items": 3, "quantities": 3, "canvas_length": 96}),
        ("orders", {"length": 3, "items": 2, "quantities": 1, "canvas_length": 128}),
    ],
)
def test_the_law_is_that_of_the_listing(name, fields):
    task, _ = draw(name, **fields)
    check_law_against_listing(task, index=1, rows=30)


def test_counts_at_any_length():
    task, sample = draw("people", length=60, people=24, decades=6, canvas_length=4096)
    assert task.trellis(sample).count == (24 * 60) ** 60
    task, sample = draw("orders", length=15, canvas_length=1024)
    assert task.trellis(sample).count == 12**15
    assert task.trellis(sample).entropy == pytest.approx(15 * math.log2(12))


def entropy(counts):
    total = sum(counts.values())
    return -sum(count / total * math.log2(count / total) for count in counts.values())


def test_records_share_the_bits_of_their_names_and_years():
    task, sample = draw("people", length=2)
    law, canvas = law_of(task, sample)
    now = sample.facts["now"]
    tens = entropy(Counter((now - born) // 10 for born in range(1950, 1990)))
    a_record = 4 * math.log2(6) + math.log2(10) + tens
    assert one_step_bits(law, canvas) == pytest.approx(2 * a_record, abs=1e-9)


def test_orders_share_the_bits_of_what_follows_from_the_choices():
    task, sample = draw("orders", length=3)
    law, canvas = law_of(task, sample)
    lines = [(price, count * price) for _, price in sample.facts["prices"] for count in (1, 2, 3)]
    sums = [sum(total for _, total in three) for three in itertools.product(lines, repeat=3)]

    def digits(numbers):
        texts = [f"{number:>4}" for number in numbers]
        return sum(entropy(Counter(text[place] for text in texts)) for place in range(4))

    in_a_line = digits([price for price, _ in lines]) + digits([total for _, total in lines])
    ends = Counter(len(str(number)) for number in sums)
    shared = one_step_bits(law, canvas)
    assert shared > 3 * in_a_line
    if len(ends) == 1:  # else the end of the reply tells the number of digits
        assert shared == pytest.approx(3 * in_a_line + digits(sums), abs=1e-9)


PROBLEMS_OF_PEOPLE = [
    ("none", "unreadable"),
    ("[1, 2]", "unreadable"),
    ('[{"name": "A', "unreadable"),
    ('[{"a":' * 100_000, "unreadable"),
    ('[{"born": ' + "9" * 5000 + "}]", "unreadable"),
]


@pytest.mark.parametrize(("reply", "problem"), PROBLEMS_OF_PEOPLE)
def test_what_holds_no_list_of_records_is_unreadable(reply, problem):
    task, sample = draw("people")
    marks = task.score(sample, reply)
    assert (marks.strict, marks.lenient, marks.failure) == (0, 0, problem)


def changed(record, **fields):
    return {**record, **fields}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"name": "Ann Lee"}, "unknown name"),
        ({"name": ["Ann Lee"]}, "unknown name"),
        ({"name": None}, "unknown name"),
        ({"initials": "XX"}, "wrong initials"),
        ({"initials": {"a": 1}}, "wrong initials"),
        ({"email": "ann@example.org"}, "wrong e-mail"),
        ({"born": 1949}, "no such year"),
        ({"born": 1960.0}, "no such year"),
        ({"born": "1960"}, "no such year"),
        ({"born": True}, "no such year"),
        ({"age": 3}, "wrong age"),
        ({"age": None}, "wrong age"),
        ({"age": float("nan")}, "wrong age"),
        ({"nickname": "x"}, "wrong keys"),
    ],
)
def test_a_wrong_field_has_its_name(change, problem):
    task, sample = draw("people")
    records = json.loads(sample.reference)
    reply = json.dumps([*records[:-1], changed(records[-1], **change)])
    marks = task.score(sample, reply)
    assert (marks.strict, marks.lenient, marks.failure) == (0, 0, problem)


def test_lists_of_other_lengths_keys_and_values():
    task, sample = draw("people")
    records = json.loads(sample.reference)
    assert task.score(sample, json.dumps(records[:-1])).failure == "wrong count"
    assert task.score(sample, json.dumps([*records, records[0]])).failure == "wrong count"
    assert task.score(sample, json.dumps([*records[:-1], 3])).failure == "wrong keys"
    without = {key: value for key, value in records[0].items() if key != "age"}
    assert task.score(sample, json.dumps([without, *records[1:]])).failure == "wrong keys"
    twice = sample.reference.replace('{"name"', '{"age": 1, "name"', 1)
    assert task.score(sample, twice).failure == "wrong keys"


def test_records_are_read_in_any_notation_of_json():
    task, sample = draw("people")
    records = json.loads(sample.reference)
    turned = [dict(reversed(record.items())) for record in records]
    for reply in (
        json.dumps(records, indent=2),
        json.dumps(turned),
        f"Here they are:\n```json\n{json.dumps(records, indent=1)}\n```\nAll are made up.",
        f"A draft: {json.dumps(records[:2])}\nBetter: {sample.reference}",
    ):
        marks = task.score(sample, reply)
        assert (marks.strict, marks.lenient) == (0, 1)
    # The last list counts, not the best one.
    drafted = f"{sample.reference}\nor {json.dumps(records[:2])}"
    assert task.score(sample, drafted).failure == "wrong count"
    assert task.score(sample, f"\n{sample.reference} ").strict == 1
    # The same age counted as a number with a point is other JSON.
    pointed = sample.reference.replace('"age": ', '"age": 0.0e0', 1)
    assert task.score(sample, pointed).failure == "wrong age"


@pytest.mark.parametrize(
    ("line", "change", "problem"),
    [
        (0, {"item": "table"}, "unknown item"),
        (0, {"item": ["lamp"]}, "unknown item"),
        (0, {"quantity": 0}, "no such quantity"),
        (0, {"quantity": 4}, "no such quantity"),
        (0, {"quantity": True}, "no such quantity"),
        (0, {"quantity": 1.0}, "no such quantity"),
        (1, {"price": 11}, "wrong price"),
        (1, {"price": "10"}, "wrong price"),
        (1, {"total": 1}, "wrong total"),
        (1, {"colour": "red"}, "wrong keys"),
        (-1, {"grand_total": 5}, "wrong grand total"),
        (-1, {"grand_total": None}, "wrong grand total"),
        (-1, {"items": 5}, "wrong keys"),
    ],
)
def test_a_wrong_field_of_an_order_has_its_name(line, change, problem):
    task, sample = draw("orders")
    lines = [json.loads(each) for each in sample.reference.splitlines()]
    lines[line] = changed(lines[line], **change)
    marks = task.score(sample, "\n".join(map(json.dumps, lines)))
    assert (marks.strict, marks.lenient, marks.failure) == (0, 0, problem)


def test_a_consistent_order_with_a_wrong_sum_is_wrong():
    task, sample = draw("orders")
    lines = [json.loads(each) for each in sample.reference.splitlines()]
    other = next(price for item, price in sample.facts["prices"] if item != lines[0]["item"])
    item = next(item for item, price in sample.facts["prices"] if price == other)
    count = lines[0]["quantity"]
    lines[0] = {"item": item, "quantity": count, "price": other, "total": count * other}
    reply = "\n".join(map(json.dumps, lines))
    assert task.score(sample, reply).failure == "wrong grand total"


def test_orders_are_read_in_any_notation_of_json():
    task, sample = draw("orders")
    lines = [json.loads(each) for each in sample.reference.splitlines()]
    for reply in (
        json.dumps(lines, indent=2),
        f"```\n{sample.reference}\n```",
        "\n".join(json.dumps(dict(reversed(each.items()))) for each in lines),
        f"{sample.reference}\nNo, once more:\n{sample.reference}",
        f"{sample.reference}\nThat makes {{all}} of it.",
    ):
        marks = task.score(sample, reply)
        assert (marks.strict, marks.lenient) == (0, 1), reply
    assert task.score(sample, "\n".join(map(json.dumps, lines[1:]))).failure == "wrong count"
    assert task.score(sample, "\n".join(map(json.dumps, lines[:-1]))).failure == "unreadable"
    assert task.score(sample, "").failure == "unreadable"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["{", "}", "[", "]", '"', ":", ",", "grand_total", "1", " "])))
def test_any_pieces_of_json_are_marked(pieces):
    reply = "".join(pieces)
    for name in ("people", "orders"):
        task, sample = draw(name)
        assert task.score(sample, reply).failure
        assert task.score(sample, f'{reply}[{{"a": {reply}}}]{{"grand_total": {reply}}}').failure


@settings(max_examples=60, deadline=None)
@given(ANY_TEXT)
def test_any_text_is_marked(reply):
    for name in ("people", "orders"):
        task, sample = draw(name)
        assert task.score(sample, reply).failure == "unreadable"


def test_what_cannot_be_asked_is_refused_with_the_numbers():
    task, sample = draw("people", length=6)
    with pytest.raises(CanvasError, match=r"takes 295 tokens, but the canvas has 256"):
        law_of(task, sample)
    with pytest.raises(NotEnumerableError, match=r"40 orders of 5 items .* 10,545 sums so far"):
        draw("orders", length=40, items=5)
    with pytest.raises(ValueError, match="people"):
        TASKS["records/people"](people=25)


def test_a_prompt_shows_the_form_and_no_answer():
    for name in ("people", "orders"):
        for template in TASKS[f"records/{name}"].templates:
            _, sample = draw(name, template=template)
            asked = sample.messages[-1].content
            assert "Ann Lee" in asked or '{"item": "table", "price": 10' in asked
            assert sample.reference not in asked
