"""The ten operations, in both families: their laws, and the wrong replies that look right."""

import dataclasses
import itertools
import json
import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import parallelbench.tasks  # noqa: F401  fills the registry
from parallelbench.errors import NotEnumerableError
from parallelbench.task import TASKS, sample_rng

OPERATIONS = [name.partition("/")[2] for name in TASKS.matching("list_operations/*")]
ALL = TASKS.matching("list_operations/*") + TASKS.matching("waiting_line/*")
FORMS = ["free", "infill"]
FEWEST = {"shuffle": 2, "remove_index": 2, "remove_random": 2}
GROWTH = {"insert": 1, "remove": -1}
COUNTS = {
    "shuffle": lambda n: math.factorial(n) - 1,
    "replace_random": lambda n: n,
    "insert_random": lambda n: n + 1,
    "remove_random": lambda n: n,
}
# Surrogates and control characters included: a decoder may write any token anywhere.
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=100)


def draw(name, index=0, seed=0, **fields):
    task = TASKS[name](**fields)
    return task, task.draw(sample_rng(seed, name, index), index)


def lengths(name, most):
    return range(FEWEST.get(name.partition("/")[2], 1), most + 1)


def written(items):
    return "[" + ", ".join(items) + "]"


def entropy(counts):
    total = sum(counts)
    return -sum(count / total * math.log2(count / total) for count in counts if count)


def total_correlation(answers):
    """The total correlation of equally likely answers in bits, one token per item."""
    places = zip(*answers, strict=True)
    return sum(entropy(Counter(place).values()) for place in places) - math.log2(len(answers))


def posed(name, **facts):
    """A task and a sample of it with ``facts`` in place of the drawn ones."""
    task, sample = draw(name)
    return task, dataclasses.replace(sample, facts=facts)


def problem_of(operation, reply, **facts):
    task, sample = posed(f"list_operations/{operation}", items=["C", "A", "B"], **facts)
    return task.score(sample, reply).failure


# The laws.


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ALL)
def test_every_right_answer_scores_one(name, form):
    for length in lengths(name, 5):
        task, sample = draw(name, length=length, form=form)
        for answer in task.answers(sample).texts:
            marks = task.score(sample, answer)
            assert (marks.strict, marks.lenient, marks.failure) == (1, 1, None)
            assert marks.parts == {"items": 1}


@pytest.mark.parametrize("name", ALL)
def test_nothing_but_a_right_answer_scores_one(name):
    task, sample = draw(name, length=3)
    right = set(task.answers(sample).texts)
    listed, new = sample.facts["items"], sample.facts.get("new")
    pool = [*listed, *([new] if new else []), "Stranger Here"]
    for count in range(len(listed) + 2):
        for items in itertools.product(pool, repeat=count):
            marks = task.score(sample, written(items))
            assert (marks.strict == marks.lenient == 1) == (written(items) in right)


@pytest.mark.parametrize("name", ALL)
def test_as_many_answers_as_the_closed_form_says_and_all_alike(name):
    for length in lengths(name, 6):
        task, sample = draw(name, length=length)
        law = task.answers(sample)
        assert len(law) == COUNTS.get(name.partition("/")[2], lambda _: 1)(length)
        assert set(law.weights) == {1}
        assert sum(law.probabilities) == pytest.approx(1)


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6])
@pytest.mark.parametrize("family", ["list_operations", "waiting_line"])
def test_the_law_has_the_total_correlation_that_the_module_states(family, n):
    def bits(operation, **fields):
        task, sample = draw(f"{family}/{operation}", length=n, **fields)
        return total_correlation([text[1:-1].split(", ") for text in task.answers(sample).texts])

    assert bits("copy") == bits("sort") == bits("insert_index") == 0
    shuffle = n * math.log2(n) - math.log2(math.factorial(n))  # equation 4
    assert bits("shuffle", allow_identity=True) == pytest.approx(shuffle)
    replace = (n - 1) * (math.log2(n) - math.log2(n - 1))  # equation 3
    assert bits("replace_random") == pytest.approx(replace)
    insert = sum(entropy([1, j, n - j]) for j in range(n + 1)) - math.log2(n + 1)
    assert bits("insert_random") == pytest.approx(insert)
    remove = sum(entropy([j, n - j]) for j in range(1, n)) - math.log2(n)
    assert bits("remove_random") == pytest.approx(remove)


def test_the_identity_counts_only_where_it_is_allowed():
    for allowed in (False, True):
        task, sample = draw("list_operations/shuffle", length=3, allow_identity=allowed)
        identity = written(sample.facts["items"])
        assert (identity in task.answers(sample).texts) == allowed
        assert task.score(sample, identity).lenient == allowed
        assert ("even the same one" in sample.messages[-1].content) == allowed


def test_a_law_too_long_to_list_is_refused_by_its_number():
    task, sample = draw("list_operations/shuffle", length=15)
    with pytest.raises(NotEnumerableError, match=r"15 items has 1,307,674,367,999 right answers"):
        task.answers(sample)


def test_a_list_too_long_to_enumerate_is_marked_all_the_same():
    task, sample = draw("list_operations/shuffle", length=26)
    items = sample.facts["items"]
    assert task.score(sample, written(items[1:] + items[:1])).strict == 1
    assert task.score(sample, written(items)).failure == "identity"
    assert task.score(sample, written([items[0], *items[:-1]])).failure == "repeated item"


@pytest.mark.parametrize("name", ALL)
def test_laws_and_marks_outlive_a_journey_through_a_record(name):
    task, sample = draw(name, length=3)
    read_back = dataclasses.replace(sample, facts=json.loads(json.dumps(sample.facts)))
    assert read_back.digest == sample.digest
    assert task.answers(read_back) == task.answers(sample)
    assert task.score(read_back, sample.reference).strict == 1


@pytest.mark.parametrize(
    ("operation", "facts", "right"),
    [
        ("copy", {}, ["[D, A, C, B]"]),
        ("reverse", {}, ["[B, C, A, D]"]),
        ("sort", {}, ["[A, B, C, D]"]),
        ("replace_index", {"new": "X", "position": 2}, ["[D, X, C, B]"]),
        ("insert_index", {"new": "X", "position": 2}, ["[D, X, A, C, B]"]),
        ("remove_index", {"position": 2}, ["[D, C, B]"]),
        (
            "replace_random",
            {"new": "X"},
            ["[X, A, C, B]", "[D, X, C, B]", "[D, A, X, B]", "[D, A, C, X]"],
        ),
        (
            "insert_random",
            {"new": "X"},
            [
                "[X, D, A, C, B]",
                "[D, X, A, C, B]",
                "[D, A, X, C, B]",
                "[D, A, C, X, B]",
                "[D, A, C, B, X]",
            ],
        ),
        ("remove_random", {}, ["[A, C, B]", "[D, C, B]", "[D, A, B]", "[D, A, C]"]),
    ],
)
def test_a_small_list_worked_by_hand(operation, facts, right):
    task, sample = posed(f"list_operations/{operation}", items=["D", "A", "C", "B"], **facts)
    assert sorted(task.answers(sample).texts) == sorted(right)


# Wrong replies that look right.


@pytest.mark.parametrize(
    ("operation", "reply", "problem", "facts"),
    [
        # The list came back as it was.
        ("reverse", "[C, A, B]", "unchanged", {}),
        ("sort", "[C, A, B]", "unchanged", {}),
        ("shuffle", "[C, A, B]", "identity", {}),
        ("replace_index", "[C, A, B]", "unchanged", {"new": "X", "position": 2}),
        ("replace_random", "[C, A, B]", "unchanged", {"new": "X"}),
        ("insert_index", "[C, A, B]", "unchanged", {"new": "X", "position": 2}),
        ("insert_random", "[C, A, B]", "unchanged", {"new": "X"}),
        ("remove_index", "[C, A, B]", "unchanged", {"position": 2}),
        ("remove_random", "[C, A, B]", "unchanged", {}),
        # An item comes twice.
        ("copy", "[C, A, A]", "repeated item", {}),
        ("shuffle", "[A, C, A]", "repeated item", {}),
        ("copy", "[C, A, B, B]", "repeated item", {}),
        ("replace_random", "[X, A, X]", "repeated item", {"new": "X"}),
        ("insert_random", "[X, C, A, X]", "repeated item", {"new": "X"}),
        ("insert_random", "[X, C, A, B, X]", "repeated item", {"new": "X"}),
        ("remove_random", "[A, A]", "repeated item", {}),
        # An item comes from elsewhere.
        ("copy", "[C, A, D]", "unknown item", {}),
        ("copy", "[c, A, B]", "unknown item", {}),
        ("copy", "[C A, B]", "unknown item", {}),
        ("copy", "[C, , B]", "unknown item", {}),
        ("replace_index", "[C, Y, B]", "unknown item", {"new": "X", "position": 2}),
        # Too few or too many.
        ("copy", "[C, A]", "wrong length", {}),
        ("shuffle", "[A, C]", "wrong length", {}),
        ("replace_index", "[C, X, A, B]", "wrong length", {"new": "X", "position": 2}),
        ("replace_random", "[X, A]", "wrong length", {"new": "X"}),
        ("insert_index", "[C, X, B]", "wrong length", {"new": "X", "position": 2}),
        ("remove_index", "[C]", "wrong length", {"position": 2}),
        ("remove_random", "[B]", "wrong length", {}),
        # The new item is forgotten.
        ("replace_index", "[C, B, A]", "new item missing", {"new": "X", "position": 2}),
        ("replace_random", "[A, B, C]", "new item missing", {"new": "X"}),
        # Right items, wrong order.
        ("copy", "[A, B, C]", "wrong order", {}),
        ("reverse", "[B, C, A]", "wrong order", {}),
        ("sort", "[C, B, A]", "wrong order", {}),
        ("sort", "[A, C, B]", "wrong order", {}),
        ("replace_index", "[B, X, C]", "wrong order", {"new": "X", "position": 2}),
        ("replace_random", "[A, C, X]", "wrong order", {"new": "X"}),
        ("insert_index", "[A, X, C, B]", "wrong order", {"new": "X", "position": 2}),
        ("insert_random", "[C, B, A, X]", "wrong order", {"new": "X"}),
        ("remove_index", "[B, C]", "wrong order", {"position": 2}),
        ("remove_random", "[B, C]", "wrong order", {}),
        # Right items in the right order, one place beside the right one.
        ("replace_index", "[X, A, B]", "wrong place", {"new": "X", "position": 2}),
        ("replace_index", "[C, A, X]", "wrong place", {"new": "X", "position": 2}),
        ("replace_index", "[X, C, B]", "wrong place", {"new": "X", "position": 2}),
        ("replace_random", "[X, C, B]", "wrong place", {"new": "X"}),
        ("insert_index", "[X, C, A, B]", "wrong place", {"new": "X", "position": 2}),
        ("insert_index", "[C, A, X, B]", "wrong place", {"new": "X", "position": 2}),
        ("remove_index", "[A, B]", "wrong place", {"position": 2}),
        ("remove_index", "[C, A]", "wrong place", {"position": 2}),
        # Nothing to read.
        ("copy", "", "unreadable", {}),
        ("copy", "[]", "unreadable", {}),
    ],
)
def test_a_wrong_reply_is_called_by_its_fault(operation, reply, problem, facts):
    assert problem_of(operation, reply, **facts) == problem


@pytest.mark.parametrize(
    ("operation", "reply", "facts"),
    [
        ("replace_index", "[X, A, B]", {"new": "X", "position": 1}),
        ("replace_index", "[C, A, X]", {"new": "X", "position": 3}),
        ("insert_index", "[X, C, A, B]", {"new": "X", "position": 1}),
        ("insert_index", "[C, A, B, X]", {"new": "X", "position": 4}),
        ("remove_index", "[A, B]", {"position": 1}),
        ("remove_index", "[C, A]", {"position": 3}),
    ],
)
def test_positions_count_from_one_to_the_end(operation, reply, facts):
    assert problem_of(operation, reply, **facts) is None


def test_of_two_faults_the_first_of_the_documented_order_is_named():
    # Repeated and unknown and too long; unknown and too long; too long and disordered.
    assert problem_of("copy", "[C, C, Z, A, B]") == "repeated item"
    assert problem_of("copy", "[C, Z, A, B]") == "unknown item"
    assert problem_of("replace_index", "[B, A, C, X]", new="X", position=1) == "wrong length"


def test_replacing_two_items_is_replacing_one_too_many():
    task, sample = posed("list_operations/replace_random", items=["C", "A", "B"], new="X")
    assert task.score(sample, "[X, A, B]").strict == 1
    assert task.score(sample, "[X, X, B]").failure == "repeated item"
    assert task.score(sample, "[X, B]").failure == "wrong length"


@pytest.mark.parametrize("name", ALL)
def test_repeating_the_answer_of_the_worked_example_is_wrong(name):
    task, sample = draw(name, shots=1)
    assert task.score(sample, sample.messages[1].content).failure == "unknown item"


# The readings.


@settings(deadline=None, max_examples=10)
@given(ANY_TEXT)
@pytest.mark.parametrize("name", ALL)
def test_any_text_gets_a_mark(name, reply):
    task, sample = draw(name, length=3)
    items = written([*sample.facts["items"], reply])
    for text in (reply, items, reply + sample.reference, sample.reference[:5] + reply):
        marks = task.score(sample, text)
        assert marks.strict <= marks.lenient
        assert set(marks.parts) == {"items"}
        assert 0 <= marks.parts["items"] <= 1


@pytest.mark.parametrize("name", ALL)
def test_the_lenient_mark_forgives_form_and_never_content(name):
    task, sample = draw(name, length=4)
    items = sample.reference[1:-1].split(", ")
    quoted = ", ".join(f'"{item}"' for item in items)
    numbered = "\n".join(f"{place}. {item}" for place, item in enumerate(items, start=1))
    for reply in (f"Sure: {sample.reference}.", f"[{quoted}]", numbered, "\n".join(items)):
        marks = task.score(sample, reply)
        assert (marks.strict, marks.lenient) == (0, 1), reply
    for other in (items[:-1], [*items, items[0]], [items[0].lower(), *items[1:]]):
        if other != [] and written(other) not in task.answers(sample).texts:
            assert task.score(sample, f"Sure: {written(other)}.").lenient == 0


@pytest.mark.parametrize("name", ALL)
def test_the_part_items_is_the_best_share_over_all_right_answers(name):
    task, sample = draw(name, length=3)
    answers = [set(text[1:-1].split(", ")) for text in task.answers(sample).texts]
    pool = [*sample.facts["items"], sample.facts.get("new", "Zoe")]
    for items in itertools.product(pool, repeat=3):
        shares = [len(set(items) & answer) / len(answer) for answer in answers]
        assert task.score(sample, written(items)).parts["items"] == max(shares)


# The draw.


@pytest.mark.parametrize("name", ALL)
def test_a_sample_can_be_drawn_alone(name):
    task = TASKS[name]()
    run = [task.draw(sample_rng(7, name, index), index) for index in range(5)]
    assert task.draw(sample_rng(7, name, 3), 3) == run[3]
    assert len({sample.digest for sample in run}) == len(run)
    assert draw(name, index=3, seed=8)[1].facts != run[3].facts


@pytest.mark.parametrize("name", ALL)
def test_wording_and_examples_do_not_change_the_problem(name):
    _, plain = draw(name)
    questions = {plain.messages[-1].content}
    for template in TASKS[name].templates:
        for shots in (0, 2):
            _, other = draw(name, template=template, shots=shots)
            assert (other.facts, other.reference) == (plain.facts, plain.reference)
            assert len(other.messages) == 2 * shots + 1
        questions.add(other.messages[-1].content)
    assert len(questions) == len(TASKS[name].templates) >= 3


@pytest.mark.parametrize("name", ALL)
def test_every_wording_tells_all_that_is_needed(name):
    for template in TASKS[name].templates:
        _, sample = draw(name, template=template)
        question = sample.messages[-1].content
        told = [written(sample.facts["items"])]
        told += [str(sample.facts[fact]) for fact in ("new", "position") if fact in sample.facts]
        told += ["square bracket", "comma and a space"]
        assert [part for part in told if part not in question] == []


@pytest.mark.parametrize("name", ALL)
def test_both_forms_pose_the_same_problem(name):
    free, infill = (draw(name, form=form)[1] for form in FORMS)
    assert free.open_spans is None
    assert dataclasses.replace(infill, open_spans=None) == free


@pytest.mark.parametrize("name", ALL)
def test_open_spans_cover_the_items_and_nothing_else(name):
    _, sample = draw(name, form="infill", length=4)
    items = [sample.reference[start:end] for start, end in sample.open_spans]
    assert written(items) == sample.reference
    assert items == sample.reference[1:-1].split(", ")


@pytest.mark.parametrize("name", ALL)
def test_lists_have_no_item_twice_and_lack_the_new_one(name):
    for index in range(20):
        _, sample = draw(name, index=index)
        items = [*sample.facts["items"], sample.facts.get("new", "none")]
        assert len(set(items)) == len(items)


@pytest.mark.parametrize(
    ("operation", "places"),
    [("replace_index", {1, 2, 3}), ("insert_index", {1, 2, 3, 4}), ("remove_index", {1, 2, 3})],
)
def test_every_position_is_asked_for_at_some_time(operation, places):
    name = f"list_operations/{operation}"
    drawn = {draw(name, index, length=3)[1].facts["position"] for index in range(60)}
    assert drawn == places


@pytest.mark.parametrize("operation", ["shuffle", "replace_random", "insert_random"])
def test_the_reference_is_any_of_the_right_answers(operation):
    name = f"list_operations/{operation}"
    task, sample = draw(name, length=3)
    right = {tuple(text[1:-1].split(", ")) for text in task.answers(sample).texts}
    asked = task.operation.from_facts(sample.facts)
    drawn = {asked.one_result(sample_rng(0, name, index)) for index in range(100)}
    assert drawn == right


def test_items_are_letters_or_words():
    for items in ("letters", "words"):
        task, sample = draw("list_operations/copy", items=items, length=20)
        assert set(sample.facts["items"]) <= set(task.words)
        assert {len(item) == 1 for item in sample.facts["items"]} == {items == "letters"}
        assert items in sample.messages[-1].content


def test_both_families_have_the_same_ten_operations():
    assert [f"waiting_line/{operation}" for operation in OPERATIONS] == TASKS.matching(
        "waiting_line/*"
    )
    assert len(OPERATIONS) == 10
    assert all(TASKS[name].name == name for name in ALL)


# The refusals.


@pytest.mark.parametrize(
    ("operation", "fields", "sentence"),
    [
        ("copy", {"length": 0}, "copy needs 1 to 26 letters, got length=0"),
        ("copy", {"length": 27}, "copy needs 1 to 26 letters, got length=27"),
        ("shuffle", {"length": 1}, "shuffle needs 2 to 26 letters, got length=1"),
        ("remove_index", {"length": 1}, "remove_index needs 2 to 26 letters, got length=1"),
        ("remove_random", {"length": 1}, "remove_random needs 2 to 26 letters, got length=1"),
        ("insert_random", {"length": 26}, "insert_random needs 1 to 25 letters, got length=26"),
        ("replace_index", {"length": -1}, "replace_index needs 1 to 25 letters, got length=-1"),
        ("sort", {"length": 500, "items": "words"}, r"sort needs 1 to \d+ words, got length=500"),
        ("copy", {"template": "long"}, "no template is called 'long'; known: default, story"),
        ("copy", {"shots": -1}, "shots must be 0 to 1,000 examples, got -1"),
    ],
)
def test_a_list_without_an_answer_cannot_be_asked_for(operation, fields, sentence):
    with pytest.raises(ValueError, match=sentence):
        TASKS[f"list_operations/{operation}"](**fields)


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("form", "open", "no form is called 'open'; known: free, infill"),
        ("items", "digits", "no kind of item is called 'digits'; known: letters, words"),
    ],
)
def test_an_unknown_form_or_kind_of_item_is_refused_with_those_known(field, value, sentence):
    task = TASKS["list_operations/copy"]()
    # The type checks of this test run would refuse the value before the task can.
    object.__setattr__(task, field, value)
    with pytest.raises(ValueError, match=sentence):
        task.__post_init__()


@pytest.mark.parametrize("name", ALL)
def test_the_shortest_and_the_longest_list_can_be_drawn(name):
    most = 100 if name.startswith("waiting_line") else 26
    most -= "replace" in name or "insert" in name
    for length in (FEWEST.get(name.partition("/")[2], 1), most):
        task, sample = draw(name, length=length, form="infill")
        change = GROWTH.get(name.partition("/")[2].partition("_")[0], 0)
        assert len(sample.open_spans) == length + change
        assert task.score(sample, sample.reference).strict == 1


def test_only_shuffling_knows_the_identity():
    for name in ALL:
        fields = {field.name for field in dataclasses.fields(TASKS[name])}
        assert ("allow_identity" in fields) == name.endswith("/shuffle")
