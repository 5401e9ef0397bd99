"""The last list in a reply, in the shapes of language models: form never changes content."""

import dataclasses
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parallelbench.registry import load_plugins
from parallelbench.task import TASKS, sample_rng
from parallelbench.tasks.item_lists import read_names, read_numbers

load_plugins()
NAMES = ["Mia", "Leo", "Ida"]
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=60)
LISTLIKE = ["Mia", "leo", "Bob", " ", "\n", ", ", "; ", ": ", ". ", "1", "2.", "-", "*", "|", ">"]
LISTLIKE += ["(", ")", "[", "]", "{", "}", "```", "<", "->", "\u2192", "and ", "Day 3", "\0", "#"]
LISTLIKE_TEXT = st.lists(st.sampled_from(LISTLIKE), max_size=25).map("".join)


def numbered(form):
    return lambda items: "\n".join(form.format(n=n, x=x) for n, x in enumerate(items, 1))


def joined(separator, before="", after="", each="{}"):
    return lambda items: before + separator.join(map(each.format, items)) + after


def table(head, form):
    return lambda items: f"{head}\n{numbered(form)(items)}"


#: Shapes of lists of any entries.
SHAPES = {
    "as asked": joined(", "),
    "no spaces": joined(","),
    "semicolons": joined("; "),
    "full stop": joined(", ", after="."),
    "bold": joined(", ", each="**{}**"),
    "all bold": joined(", ", "**", "**"),
    "quotes": joined(", ", each="\u201c{}\u201d"),
    "code": joined(", ", "`", "`"),
    "fence": joined(", ", "```\n", "\n```"),
    "fence with a language": joined(", ", "Here you are:\n```text\n", "\n```\nDone!"),
    "fence of lines": joined("\n", "```text\n", "\n```"),
    "list of JSON": joined(", ", "[", "]", '"{}"'),
    "list of JSON in lines": joined(",\n", "```json\n[\n", "\n]\n```", '  "{}"'),
    "object of JSON": joined('", "', '{"plan": ["', '"]}'),
    "round brackets": joined(", ", "My answer is (", "), at random."),
    "box": joined(", ", "$\\boxed{", "}$"),
    "arrows": joined(" -> "),
    "long arrows": joined(" --> "),
    "arrows of one character": joined(" \u2192 "),
    "double arrows": joined("=>"),
    "dashes": joined(" \u2013 "),
    "greater than": joined(" > "),
    "bars": joined(" | "),
    "row": joined(" | ", "| ", " |"),
    "spaces": joined(" "),
    "numbers": numbered("{n}. {x}"),
    "numbers and brackets": numbered("{n}) {x}"),
    "numbers in brackets": numbered("({n}) {x}"),
    "numbers and blank lines": numbered("{n}. {x}\n"),
    "numbers and bold": numbered("{n}. **{x}**"),
    "bold numbers": numbered("**{n}.** {x}"),
    "markdown numbers": joined("\n", each="1. {}"),
    "numbers and commas": joined(",\n", each="1. {}"),
    "days": numbered("Day {n}: {x}"),
    "days with dashes": numbered("Day {n} - {x}"),
    "bold days": numbered("**Day {n}:** {x}"),
    "days in bullets": numbered("- **Day {n}**: {x}"),
    "days over entries": numbered("**Day {n}**\n{x}\n"),
    "days in a row": lambda items: ", ".join(f"Day {n}: {x}" for n, x in enumerate(items, 1)),
    "stops": numbered("Stop {n}: {x}."),
    "seats": numbered("Seat #{n} \u2013 {x}"),
    "titles": joined("\n", each="Next: {}"),
    "bullets": joined("\n", each="- {}"),
    "round bullets": joined("\n", each="\u2022 {}"),
    "stars": joined("\n", each="* {}"),
    "boxes to tick": joined("\n", each="- [x] {}"),
    "lines": joined("\n"),
    "lines with commas": joined(",\n"),
    "lines of html": joined("<br>"),
    "arrows over lines": joined("\n\u2192 "),
    "arrows between lines": joined("\n\u2193\n"),
    "quoted lines": joined("\n", each="> {}"),
    "table": table("| Day | Name |\n|-----|------|", "| {n} | {x} |"),
    "table of days": table("| Day | Name |\n| :-- | --: |", "| Day {n} | **{x}** |"),
    "table of one column": table("| Keeper of the light |\n|---|", "| {x} |"),
    "bare table": table("No. | Name\n--- | ---", "{n} | {x}"),
    "answer": joined(", ", "Answer: "),
    "final answer": joined(", ", "**Final answer:** "),
    "answer over a list": joined(", ", "### Answer\n\n"),
    "plan over lines": joined("\n", "**Plan**\n\n"),
    "answer tags": joined(", ", "<answer>", "</answer>"),
    "answer tags before more": joined(", ", "<answer>\n", "\n</answer>\nNot Mia, Leo, Ida."),
    "thinking": joined(", ", "<think>\nMaybe Leo, Leo, 3, 3?\n</think>\n\n"),
    "sentence before": joined(", ", "Sure! Here is a list, made at random: "),
    "sentence before lines": table("Sure, here is a list for you:", "{n}. {x}"),
    "sentences before": joined(", ", "Sure, here it is. I drew it.\n\n"),
    "sentence after": joined(", ", after="\n\nNobody is on twice, as you asked."),
    "sentence on the same line": joined(", ", after=". I hope this helps, and good luck!"),
    "remark after": joined(", ", after=" (drawn at random, as asked)"),
    "list after": joined(", ", after="\n\nNotes:\n- No name is twice in a row.\n- All is well."),
    "enumeration after": joined(", ", after="\n\nMia, Leo, and Ida rest in between."),
    "names after": joined(", ", after="\n\nHere Mia, Leo, Ida are never on twice."),
    "sentence of few words after": joined(", ", after="\n\nEnjoy!"),
    "word after lines": lambda items: numbered("{n}. {x}")(items) + "\nDone.",
    "notes after lines": lambda items: (
        numbered("{n}. {x}")(items) + "\n\nNote: none is next to it."
    ),
}
#: Lists of names and of numbers: any entries, some of them twice, some of them not known.
NAME_LISTS = [
    ["Mia", "Leo", "Ida"],
    ["Leo", "Leo", "Mia", "Ida"],
    ["Bob", "Mia", "Leo", "Ida"],
    ["Mia", "Bob", "Leo"],
    ["Mia", "Leo", "Ida", "Bob"],
]
NUMBER_LISTS = [["2", "5", "9"], ["9", "5", "2", "5"], ["1", "2", "3", "4"], ["0", "999", "60"]]
#: Text before a list that is not part of it; ``{}`` stands for another list.
DRAFTS = [
    "{}\n",
    "{}\n\n",
    "First try: {}. That is wrong.\n",
    "Not {}, but: ",
    "I thought of [{}] at first. Now the answer:\n",
    "[{}]\n",
    "1. {}\nThis repeats an entry.\n\n",
    "<think>{}? No.</think>\n",
    "{}? No.</think>\n",
    "Attempt 1: {}\nAttempt 2: ",
]


@pytest.mark.parametrize("shape", SHAPES)
def test_names_are_read_from_any_shape_in_any_case(shape):
    for items in NAME_LISTS:
        # Words without separators are names only if all of them are.
        expected = items if shape != "spaces" or "Bob" not in items else None
        reply = SHAPES[shape](items)
        assert read_names(reply, NAMES) == expected
        swapped = read_names(reply.swapcase(), NAMES)
        assert swapped == (expected and [item if item in NAMES else "bOB" for item in items])


@pytest.mark.parametrize("shape", SHAPES)
def test_numbers_are_read_from_any_shape(shape):
    for items in NUMBER_LISTS:
        assert read_numbers(SHAPES[shape](items)) == items


@pytest.mark.parametrize("draft", DRAFTS)
def test_a_draft_is_no_part_of_the_list_after_it(draft):
    for items in NAME_LISTS:
        assert read_names(draft.format("Ida, Mia, Ida") + ", ".join(items), NAMES) == items
    for items in NUMBER_LISTS:
        assert read_numbers(draft.format("7, 8, 8") + ", ".join(items)) == items


@pytest.mark.parametrize(
    ("reply", "items"),
    [
        ("Mia, Leo, and Ida", ["Mia", "Leo", "Ida"]),
        ("Mia, Leo and Ida.", ["Mia", "Leo", "Ida"]),
        ("Mia and Leo", ["Mia", "Leo"]),
        ("1. Mia, 2. Leo, 3. Ida", ["Mia", "Leo", "Ida"]),
        ('{"1": "Mia", "2": "Leo"}', ["Mia", "Leo"]),
        ("Leo, Leo,\nMia, Ida", ["Leo", "Leo", "Mia", "Ida"]),
        ("Mia -> Leo ->\n\nIda", ["Mia", "Leo", "Ida"]),
        ("[Mia], [Leo]", ["Mia", "Leo"]),
        ("```Mia, Leo```", ["Mia", "Leo"]),
        ("<ol><li>Mia</li><li>Leo</li></ol>", ["Mia", "Leo"]),
        ("**Mia** (first), Leo (second)", ["Mia", "Leo"]),
        ("- Mia\n- Leo (the last)", ["Mia", "Leo"]),
        ("[Mia\nLeo] (random)", ["Mia", "Leo"]),
        ("(\nMia\nLeo\n)", ["Mia", "Leo"]),
        ("[Mia, Leo, ]", ["Mia", "Leo"]),
        ("\u2192 Mia \u2192 Leo", ["Mia", "Leo"]),
        ("Mia\nLeo\nNote: none", ["Mia", "Leo"]),
        ("Monday: Mia\nFriday: Leo\nNights: 2", ["Mia", "Leo"]),
        ("Week 1: Mia, Leo\nWeek 2: Ida, Mia", ["Mia", "Leo", "Ida", "Mia"]),
        ("Week 1: Mia\nWeek 2: Leo\nWeek 1: Ida\nWeek 2: Mia", ["Ida", "Mia"]),
        ("1. Mia\n2. Leo\n1. Ida\n2. Mia", ["Ida", "Mia"]),
        ("1. Mia\n   - Leo\n2. Ida", ["Mia", "Leo", "Ida"]),
        ("Mia\nLeo\nIda, Mia", ["Ida", "Mia"]),
        ("Draft:\n- Mia\n- Leo\nFinal:\n- Ida\n- Mia", ["Ida", "Mia"]),
        ("Mia, Leo. Better: Ida, Mia. Both are right.", ["Ida", "Mia"]),
        ("I take Mia, or: Leo, Ida", ["Leo", "Ida"]),
        ("Mia, Leo.\nEnjoy, everyone. Yes, no, maybe?", ["Mia", "Leo"]),
        ("From [Mia, Leo] to [Leo, Mia], as asked.", ["Leo", "Mia"]),
    ],
)
def test_other_forms_of_a_list(reply, items):
    assert read_names(reply, NAMES) == items


@pytest.mark.parametrize(
    ("reply", "items"),
    [
        ("Mia, Leo, or Ida", ["Mia", "Leo", "or Ida"]),
        ("Mia, Bob and Ida", ["Mia", "Bob and Ida"]),
        ("Mia / Leo, Ida", ["Mia / Leo", "Ida"]),
        ("Mia, , Leo", ["Mia", "", "Leo"]),
        ("Mia, Leo, ..., Ida", ["Mia", "Leo", "", "Ida"]),
        ("Mia (Leo), Ida", ["Mia (Leo", "Ida"]),
        ("Bob (new), Mia, Leo", ["Bob", "Mia", "Leo"]),
        ("[Bob], Mia, Leo", ["Bob", "Mia", "Leo"]),
        ("(Bob), Mia, Leo", ["Bob", "Mia", "Leo"]),
        ("Mia, (Bob), Leo", ["Mia", "Bob", "Leo"]),
        ("1. (Bob)\n2. Mia", ["Bob", "Mia"]),
        ("* Mia\n* (Bob)\n* Leo", ["Mia", "Bob", "Leo"]),
        ("<Bob>, Mia, Leo", ["<Bob>", "Mia", "Leo"]),
        ("```Bob\nMia\nLeo\n```", ["Bob", "Mia", "Leo"]),
        ("~~Bob~~, Mia, Leo", ["~~Bob~~", "Mia", "Leo"]),
        ("[Bob]\nMia\nLeo", ["Bob", "Mia", "Leo"]),
        ("[Mia, Leo], Ida", ["Mia", "Leo", "Ida"]),
        ("Bob, Ray,\nMia, Leo", ["Bob", "Ray", "Mia", "Leo"]),
        ("Bob\nMia\nLeo", ["Bob", "Mia", "Leo"]),
        ("Bob Ray\n\nMia\nLeo", ["Bob Ray", "Mia", "Leo"]),
        ("Mia\nLeo\nBob.", ["Mia", "Leo", "Bob"]),
        ("Mia, Leo\nIda", ["Mia", "Leo", "Ida"]),
        ("1. Mia\n2. Leo\nIda", ["Mia", "Leo", "Ida"]),
        ("1. Bob from the village by the sea\n2. Mia", ["Bob from the village by the sea", "Mia"]),
        ("- Mia\n- Leo\n- and nobody else", ["Mia", "Leo", "and nobody else"]),
        ("Monday: Bob\nTuesday: Mia\nFriday: Leo", ["Bob", "Mia", "Leo"]),
        ("| 1 | Bob |\n| 2 | Mia |", ["Bob", "Mia"]),
        ("| 1 | Mia | Leo |", ["1", "Mia", "Leo"]),
        ("Day 2: Mia\nDay 1: Leo", ["Leo"]),
        ("Mia, Leo, Ida are on duty", ["Mia", "Leo", "Ida are on duty"]),
    ],
)
def test_content_is_never_forgiven(reply, items):
    assert read_names(reply, NAMES) == items


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "nobody",
        "Bob, Ray",
        "- Bob\n- Ray",
        "Mia is on duty first, then Leo.",
        "Leo works after Mia",
        "<think>Mia, Leo",
        "Mia, Leo <answer></answer>",
        "# Mia's plan",
        "Mia's plan:",
        "| Mia's days |",
        "Days: 3",
        "Mia, Leo, Ida\nNo:\nBob, Ray, Tim",
        "Mia, Leo, Ida\n1. Bob\n2. Ray\n3. Tim",
    ],
)
def test_prose_is_no_list(reply):
    assert read_names(reply, NAMES) is None


@pytest.mark.parametrize(
    ("reply", "items"),
    [
        ("I chose 3 pages, from 2 to 9: 2, 5, 9. All 3 differ.", ["2", "5", "9"]),
        ("2, 5, and 9", ["2", "5", "9"]),
        ("2\n5.\n9.", ["2", "5", "9"]),
        ("1. 2\n2. 5\n3. 9\n\nThe book has 60 pages, so 9 is one.", ["2", "5", "9"]),
        ("Pages 2, 5, 9", ["Pages 2", "5", "9"]),
        ("2, five, 9", ["2", "five", "9"]),
        ("2, 5.5, 9", ["2", "5.5", "9"]),
        ("2, -5, 9", ["2", "-5", "9"]),
        ("2, \u0665, 9", ["2", "\u0665", "9"]),
        ("2, 1234567890", ["2", "1234567890"]),
        ("two, five, nine", None),
        ("2-5-9", None),
        ("There are 3 of them.", None),
    ],
)
def test_numbers_are_read_as_they_stand(reply, items):
    assert read_numbers(reply) == items


@settings(max_examples=300, deadline=None)
@given(st.one_of(ANY_TEXT, LISTLIKE_TEXT))
def test_any_text_is_read(text):
    items = read_names(text, NAMES)
    assert items is None or set(items) & set(NAMES)
    numbers = read_numbers(text)
    assert numbers is None or any(set(item) <= set(string.digits) for item in numbers if item)


TASKS_WITH_LISTS = {
    "plans/shifts": {"length": 3, "people": 3},
    "plans/round_table": {"length": 3, "delegations": 3},
    "plans/chores": {"length": 4, "chains": 2},
    "routes/walk": {"length": 3, "places": 4, "paths": 4},
    "sequences/rising": {"length": 3, "last": 5},
}


@pytest.mark.parametrize("name", TASKS_WITH_LISTS)
def test_a_verdict_depends_on_the_entries_and_not_on_their_shape(name):
    task = TASKS[name](**TASKS_WITH_LISTS[name])
    sample = task.draw(sample_rng(0, name, 0), 0)
    right = {text for text, _ in task.trellis(sample).texts()}
    entries = sorted({entry for text in right for entry in text.split(", ")})
    unknown = "7" if name == "sequences/rising" else "Bob"

    @settings(max_examples=150, deadline=None)
    @given(
        st.one_of(
            st.sampled_from(sorted(right)).map(lambda text: text.split(", ")),
            st.lists(st.sampled_from([*entries, unknown]), min_size=3, max_size=5),
        ),
        st.sampled_from([shape for shape in SHAPES if shape != "spaces"]),
    )
    def check(items, shape):
        marks = task.score(sample, SHAPES[shape](items))
        asked = task.score(sample, ", ".join(items))
        assert asked.strict == asked.lenient == float(", ".join(items) in right)
        assert marks == dataclasses.replace(asked, strict=marks.strict)
        assert marks.strict == (asked.strict if shape == "as asked" else 0)

    check()
