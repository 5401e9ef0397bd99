"""Agreement: one free choice that many later words must repeat or fit.

*Question:* ``pronoun`` asks for a story about one of several people, in which every pronoun,
possessive and verb fits the person chosen; ``identifier`` asks for a Python function that does
given steps with one local variable, whose name is chosen from a list.

*Why it is hard:* the choice is free, but each later word follows from it.  Words drawn in
parallel, each from its own marginal, give "Mia takes his lamp" and a function with two names for
one variable, and the more words must agree, the surer the mistake.  Yet the choice alone
separates all of them: once the first name is written, every other word can be written in one
step.  The things and places of a story are free and independent.

*Theory:* with n sentences about p people, o things and places to choose from, H(g) bits of entropy
in the pronouns of the person chosen and H(v) in whether that pronoun is "they"; or with m uses of
one of k names:

==========  ===============================================================================
pronoun     entropy log2 p + 2 n log2 o; total correlation (2 n - 1) H(g) + (n - 1) H(v)
identifier  entropy log2 k; total correlation (m - 1) log2 k
==========  ===============================================================================

Two steps suffice for any length: a star with the choice in its middle, of tree depth 2.

*The lenient reading* of a story takes the last sentences of its form with no other word between
them, and ignores case, punctuation and numbering.  That of a function takes the last code block
that has one, or the last ``def`` in the text, and compares syntax trees: white space, comments,
other modules around it and the spelling of numbers do not matter.  Code is parsed, never run.

*Problems of a reply*, first match:

==========  ===============================================================================
pronoun     ``unreadable``: no sentence of the form; ``wrong count`` of sentences; ``unknown
            person``: the story does not begin with a listed name; ``wrong action``: a verb or
            its preposition is not the one asked for; ``wrong pronoun``; ``wrong possessive``;
            ``wrong verb form``; ``not listed``: a thing or place that was not offered
identifier  ``unreadable``: no function is found; ``syntax error``; ``wrong function``: another
            name or argument; ``wrong steps``: other statements; ``mixed names``: the steps are
            right, but the variable has several names; ``not listed``: it has one that was not
            offered
==========  ===============================================================================

Source: agreement with a distant choice is the coupling at issue in parallel decoding (Kang et
al., ParallelBench, arXiv:2510.04767, section 3); names, words and steps are our own.
"""

from __future__ import annotations

import ast
import random
import re
import textwrap
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

from parallelbench.distributions.texts import START, Edge, Stage, TextTrellis, constant_stage
from parallelbench.ranges import MOST_TOKENS, whole
from parallelbench.score import UNREADABLE, Marks
from parallelbench.task import TASKS, Question, Sample, TrellisTask
from parallelbench.tasks.sentences import last_sentences

# --- A story ----------------------------------------------------------------------------

#: The possessive of each pronoun.
POSSESSIVES = {"she": "her", "he": "his", "they": "their"}
#: Names by the pronoun that the prompt gives them.
NAMES = {
    "she": ("Mia", "Ida", "Nora", "Zara", "Lena", "Tess", "Ruth", "Olga"),
    "he": ("Leo", "Omar", "Hugo", "Ivan", "Nils", "Theo", "Carl", "Emil"),
    "they": ("Robin", "Alex", "Sasha", "Kim", "Jules", "Quinn", "Toni", "Remy"),
}
#: The verb of each action: the form for "they", and the form for one person.
VERBS = {
    "take": "takes",
    "find": "finds",
    "leave": "leaves",
    "hide": "hides",
    "lose": "loses",
    "carry": "carries",
    "clean": "cleans",
    "paint": "paints",
    "drop": "drops",
    "keep": "keeps",
    "test": "tests",
    "bring": "brings",
}
#: The preposition of each verb.
PREPOSITIONS = {
    "take": "to",
    "find": "behind",
    "leave": "at",
    "hide": "in",
    "lose": "near",
    "carry": "to",
    "clean": "at",
    "paint": "beside",
    "drop": "near",
    "keep": "in",
    "test": "beside",
    "bring": "to",
}
THINGS = (
    "lamp",
    "map",
    "coat",
    "kite",
    "drum",
    "book",
    "basket",
    "ladder",
    "bicycle",
    "camera",
    "hammer",
    "flute",
)
PLACES = (
    "harbour",
    "mill",
    "inn",
    "market",
    "library",
    "station",
    "garden",
    "tower",
    "school",
    "bakery",
    "forest",
    "museum",
)

_BASE = {form: base for base, third in VERBS.items() for form in (base, third)}
_SENTENCE = (None, frozenset(_BASE), None, None, frozenset(PREPOSITIONS.values()), {"the"}, None)


class _Sentence(NamedTuple):
    """The words of one sentence of a story, in lower case."""

    subject: str
    verb: str
    possessive: str
    thing: str
    preposition: str
    the: str
    place: str


@TASKS.register("agreement/pronoun")
@dataclass(frozen=True, kw_only=True)
class Pronoun(TrellisTask):
    """Ask for a story of ``length`` sentences about one of ``people`` people.

    The parts ``agreement`` and ``choices`` are the shares of sentences whose pronouns and verb
    form fit the person named first, and of those with a thing and place that were offered.

    Attributes:
        length: Number of sentences, 1 to 150.
        people: Number of people offered, 2 to 24; as near as possible equally many with each
            pronoun.
        options: Number of things, and of places, to choose from in each sentence, 1 to 12.

    Raises:
        ValueError: A size is out of range.
    """

    name: ClassVar[str] = "agreement/pronoun"
    words: ClassVar[tuple[str, ...]] = (
        *(word for pair in POSSESSIVES.items() for word in pair),
        *("She", "He", "They", "the"),
        *(name for names in NAMES.values() for name in names),
        *_BASE,
        *dict.fromkeys(PREPOSITIONS.values()),
        *THINGS,
        *PLACES,
    )
    templates: ClassVar[Mapping[str, str]] = {
        "default": (
            "Write a story of {length} sentences about one of these people, chosen at random: "
            "{people}. In each sentence the person does something with a thing of theirs, in this "
            "order: {actions}. Choose a thing and a place at random for each sentence. Things: "
            "{things}. Places: {places}. The first sentence begins with the person's name, every "
            "other with the person's pronoun. Each sentence is of the form subject, verb, "
            'possessive, thing, preposition, "the", place, full stop, like "She sells her boat '
            'at the lake." Possessives and verbs agree with the person. Reply with the sentences, '
            "separated by single spaces, and nothing else."
        ),
        "terse": (
            "One person at random: {people}. Sentences (a random thing and place each, {length} "
            "in all): {actions}. Things: {things}. Places: {places}. Name first, then pronouns; "
            'each like "She sells her boat at the lake." Only the sentences, one space between.'
        ),
        "story": (
            "A teacher of English asks for a tale in the present tense. It follows one of these "
            "people, whichever the pupil likes: {people}. It has {length} sentences, and they "
            "tell of these actions, in order: {actions}. In each the pupil picks one of the "
            "person's things ({things}) and one of the places ({places}). The name stands at "
            "the very beginning and is replaced by the pronoun afterwards; a model sentence on "
            'the board says "She sells her boat at the lake." Whatever has to agree with the '
            "person agrees. Write just the tale, on one line, with one space between sentences."
        ),
    }

    canvas_length: int = whole(1, 128, "tokens", most=MOST_TOKENS)
    length: int = whole(1, 14, "sentences", most=150)
    people: int = whole(2, 6, "people", most=24)
    options: int = whole(1, 4, "things and places", most=len(THINGS))

    def pose(self, rng: random.Random, index: int) -> Question:
        """Return a question about people, actions, things and places drawn at random."""
        facts: dict[str, Any] = {
            "people": self._draw_people(rng),
            "actions": [rng.choice(list(VERBS)) for _ in range(self.length)],
            "things": rng.sample(THINGS, self.options),
            "places": rng.sample(PLACES, self.options),
        }
        trellis = _story_trellis(facts)
        return Question(
            slots={
                "length": str(self.length),
                "people": ", ".join(
                    f"{name} ({pronoun}/{POSSESSIVES[pronoun]})"
                    for name, pronoun in facts["people"]
                ),
                "actions": "; ".join(
                    f"({number}) {verb} ... {PREPOSITIONS[verb]} the ..."
                    for number, verb in enumerate(facts["actions"], 1)
                ),
                "things": ", ".join(facts["things"]),
                "places": ", ".join(facts["places"]),
            },
            reference=trellis.text(trellis.draw(rng)),
            facts=facts,
        )

    def _draw_people(self, rng: random.Random) -> list[list[str]]:
        pronouns = rng.sample(list(NAMES), len(NAMES))
        drawn = {pronoun: rng.sample(NAMES[pronoun], len(NAMES[pronoun])) for pronoun in pronouns}
        people = []
        for number in range(self.people):
            pronoun = pronouns[number % len(pronouns)]
            people.append([drawn[pronoun].pop(), pronoun])
        rng.shuffle(people)
        return people

    def score(self, sample: Sample, reply: str) -> Marks:
        """Return 1 if ``reply`` tells a story asked for, in which every word agrees, else 0."""
        facts = sample.facts
        story = [_Sentence(*words) for words in last_sentences(reply, _SENTENCE)]
        if not story:
            parts = {"agreement": 0.0, "choices": 0.0}
            return Marks(strict=0.0, lenient=0.0, failure=UNREADABLE, parts=parts)
        people = {name.lower(): (name, pronoun) for name, pronoun in facts["people"]}
        name, pronoun = people.get(story[0].subject, ("", ""))
        disagreements = _disagreements(story, pronoun)
        offered = [
            each.thing in facts["things"] and each.place in facts["places"] for each in story
        ]
        failures = {
            "wrong count": len(story) != len(facts["actions"]),
            "unknown person": not name,
            "wrong action": not _does(story, facts["actions"]),
            **{failure: failure in disagreements for failure in _DISAGREEMENTS},
            "not listed": not all(offered),
        }
        failure = next((each for each, holds in failures.items() if holds), None)
        right = failure is None
        return Marks(
            strict=float(right and reply.strip() == _story_text(name, story)),
            lenient=float(right),
            failure=failure,
            parts={
                "agreement": _share([each is None for each in disagreements]),
                "choices": _share(offered),
            },
        )

    def trellis(self, sample: Sample) -> TextTrellis:
        """Return the stories: the pronoun of the person is the state."""
        return _story_trellis(sample.facts)


def _share(right: Sequence[bool]) -> float:
    return sum(right) / len(right)


_DISAGREEMENTS = ("wrong pronoun", "wrong possessive", "wrong verb form")


def _disagreements(story: Sequence[_Sentence], pronoun: str) -> list[str | None]:
    """Return the first disagreement of each sentence with the person; None if all words fit."""
    found = []
    for number, sentence in enumerate(story):
        verb = _verb_form(_BASE[sentence.verb], is_base=pronoun == "they" and number > 0)
        fits = (
            number == 0 or sentence.subject == pronoun,
            sentence.possessive == POSSESSIVES.get(pronoun),
            sentence.verb == verb,
        )
        wrong = (each for each, fit in zip(_DISAGREEMENTS, fits, strict=True) if not fit)
        found.append(next(wrong, None))
    return found


def _verb_form(base: str, *, is_base: bool) -> str:
    return base if is_base else VERBS[base]


def _does(story: Sequence[_Sentence], actions: Sequence[str]) -> bool:
    """Test whether the sentences tell the actions asked for, as far as there are sentences."""
    return all(
        (_BASE[sentence.verb], sentence.preposition) == (action, PREPOSITIONS[action])
        for sentence, action in zip(story, actions, strict=False)
    )


def _story_text(name: str, story: Sequence[_Sentence]) -> str:
    subjects = [name, *(sentence.subject.capitalize() for sentence in story[1:])]
    return " ".join(
        f"{' '.join((subject, *sentence[1:]))}."
        for subject, sentence in zip(subjects, story, strict=True)
    )


def _story_trellis(facts: Mapping[str, Any]) -> TextTrellis:
    return _cached_story_trellis(
        tuple((name, pronoun) for name, pronoun in facts["people"]),
        tuple(facts["actions"]),
        tuple(facts["things"]),
        tuple(facts["places"]),
    )


@lru_cache(maxsize=64)
def _cached_story_trellis(
    people: tuple[tuple[str, str], ...],
    actions: tuple[str, ...],
    things: tuple[str, ...],
    places: tuple[str, ...],
) -> TextTrellis:
    pronouns = tuple(dict.fromkeys(pronoun for _, pronoun in people))

    def fitting(texts: Mapping[str, str]) -> Stage:
        return Stage(Edge(pronoun, texts[pronoun], pronoun) for pronoun in pronouns)

    def chosen(words: Sequence[str]) -> Stage:
        return Stage(Edge(pronoun, f" {word}", pronoun) for pronoun in pronouns for word in words)

    subject = fitting({pronoun: f" {pronoun.capitalize()}" for pronoun in pronouns})
    possessive = fitting({pronoun: f" {POSSESSIVES[pronoun]}" for pronoun in pronouns})
    thing, place = chosen(things), chosen(places)
    the, stop = (constant_stage(text, pronouns) for text in (" the", "."))
    third, later, preposition = {}, {}, {}
    for verb in dict.fromkeys(actions):
        third[verb] = constant_stage(f" {VERBS[verb]}", pronouns)
        later[verb] = fitting(
            {each: f" {_verb_form(verb, is_base=each == 'they')}" for each in pronouns}
        )
        preposition[verb] = constant_stage(f" {PREPOSITIONS[verb]}", pronouns)
    stages: list[Stage] = []
    for number, verb in enumerate(actions):
        if number:
            stages += [subject, later[verb]]
        else:
            stages += [Stage(Edge(START, name, pronoun) for name, pronoun in people), third[verb]]
        stages += [possessive, thing, preposition[verb], the, place, stop]
    return TextTrellis(stages)


# --- A function -------------------------------------------------------------------------

FUNCTIONS = ("adjust", "convert", "update", "compute", "transform", "rescale", "derive", "correct")
ARGUMENTS = ("number", "value", "given", "start")
#: Names of the local variable to choose from.
VARIABLES = (
    "total",
    "result",
    "amount",
    "answer",
    "score",
    "level",
    "weight",
    "price",
    "height",
    "width",
    "depth",
    "speed",
    "count",
    "size",
    "budget",
    "balance",
)
#: The words of a step by its operator.
STEPS = {
    "+=": "add {}",
    "-=": "subtract {}",
    "*=": "multiply by {}",
    "//=": "divide by {} and round down",
    "%=": "take the remainder of a division by {}",
}
_FEWEST_USES = 2
#: Stands for the variable in a syntax tree; no keyword, and no name that is offered.
_ANY_NAME = "_"
_DEFINITION = re.compile(r"^[ \t]*def\s", re.MULTILINE)


@TASKS.register("agreement/identifier")
@dataclass(frozen=True, kw_only=True)
class Identifier(TrellisTask):
    """Ask for a Python function that uses a local variable ``length`` times.

    The parts ``steps`` and ``names`` are 1 where the function does what was asked for under any
    names, and the share of uses with the commonest name of the variable.

    Attributes:
        length: Number of uses of the variable, 2 to 150: the first assigns the argument, the
            last is returned, and the others are steps.
        names: Number of names offered, 2 to 16.

    Raises:
        ValueError: A size is out of range.
    """

    name: ClassVar[str] = "agreement/identifier"
    words: ClassVar[tuple[str, ...]] = (
        "def",
        "return",
        *VARIABLES,
        *FUNCTIONS,
        *ARGUMENTS,
        *dict.fromkeys(word for step in STEPS.values() for word in step.split() if word.isalpha()),
    )
    templates: ClassVar[Mapping[str, str]] = {
        "default": (
            "Write a Python function {function}({argument}) with one local variable. Choose the "
            "name of the variable at random from these: {names}. First set the variable to "
            "{argument}. Then change it in these steps, in this order: {steps}. At the end, "
            "return it. Each step is one augmented assignment (with +=, -=, *=, //= or %=) on a "
            "line of its own. Indent by four spaces and put one space around each operator. Reply "
            "with the code of the function and nothing else, without comments, blank lines or a "
            "code fence."
        ),
        "terse": (
            "Python, plain code only, four spaces of indent, no fence, no comments: def "
            "{function}({argument}), with one local variable named one of {names} (at random). Set "
            "it to {argument}; then one augmented assignment a line: {steps}; return it."
        ),
        "story": (
            "A code review asks for a rewrite of a long formula as a Python function "
            "{function}({argument}). It has to start a local variable at {argument}, update it by "
            "one augmented assignment a line ({steps}) and return it. The team does not mind "
            "which of its usual names the variable gets: {names}. The style guide wants four "
            "spaces of indentation, one space on both sides of every operator, no comments and "
            "no blank lines. Write the function as it would stand in the file, and nothing more."
        ),
    }

    canvas_length: int = whole(1, 128, "tokens", most=MOST_TOKENS)
    length: int = whole(_FEWEST_USES, 14, "uses", most=150)
    names: int = whole(2, 6, "names", most=len(VARIABLES))

    def pose(self, rng: random.Random, index: int) -> Question:
        """Return a question about a function, its steps and names drawn at random."""
        facts: dict[str, Any] = {
            "function": rng.choice(FUNCTIONS),
            "argument": rng.choice(ARGUMENTS),
            "names": rng.sample(VARIABLES, self.names),
            "steps": [
                [rng.choice(list(STEPS)), rng.randint(2, 9)]
                for _ in range(self.length - _FEWEST_USES)
            ],
        }
        trellis = _function_trellis(facts)
        steps = [STEPS[operator].format(number) for operator, number in facts["steps"]]
        return Question(
            slots={
                "function": facts["function"],
                "argument": facts["argument"],
                "names": ", ".join(facts["names"]),
                "steps": ", ".join(steps) or "none",
            },
            reference=trellis.text(trellis.draw(rng)),
            facts=facts,
        )

    def score(self, sample: Sample, reply: str) -> Marks:
        """Return 1 if ``reply`` holds the function, with one listed name throughout, else 0."""
        facts = sample.facts
        parts = {"steps": 0.0, "names": 0.0}
        uses, failure = _read_uses(reply, facts)
        if uses:
            commonest = max(uses.count(name) for name in sorted(set(uses)))
            parts = {"steps": 1.0, "names": commonest / len(uses)}
            if len(set(uses)) > 1:
                failure = "mixed names"
            elif uses[0] not in facts["names"]:
                failure = "not listed"
        right = failure is None
        return Marks(
            strict=float(right and reply.strip() == _code(facts, uses[0])),
            lenient=float(right),
            failure=failure,
            parts=parts,
        )

    def trellis(self, sample: Sample) -> TextTrellis:
        """Return the functions: the name of the variable is the state."""
        return _function_trellis(sample.facts)


_NEXT_LINE = "\n   "
_LAST_LINE = "\n    return"


def _head(facts: Mapping[str, Any]) -> str:
    return f"def {facts['function']}({facts['argument']}):{_NEXT_LINE}"


def _assignments(facts: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the text after each use of the variable, up to the end of the line."""
    steps = (f" {operator} {number}" for operator, number in facts["steps"])
    return f" = {facts['argument']}", *steps


def _code(facts: Mapping[str, Any], name: str) -> str:
    lines = _NEXT_LINE.join(f" {name}{text}" for text in _assignments(facts))
    return f"{_head(facts)}{lines}{_LAST_LINE} {name}"


def _function_trellis(facts: Mapping[str, Any]) -> TextTrellis:
    return _cached_function_trellis(_head(facts), _assignments(facts), tuple(facts["names"]))


@lru_cache(maxsize=64)
def _cached_function_trellis(
    head: str, assignments: tuple[str, ...], names: tuple[str, ...]
) -> TextTrellis:
    first = Stage(Edge(START, f" {name}", name) for name in names)
    again = Stage(Edge(name, f" {name}", name) for name in names)
    fixed = {text: constant_stage(text, names) for text in (*assignments, _NEXT_LINE, _LAST_LINE)}
    stages = [constant_stage(head), first]
    for text in assignments:
        stages += [fixed[text], fixed[_NEXT_LINE], again]
    return TextTrellis([*stages[:-2], fixed[_LAST_LINE], again])


def _read_uses(reply: str, facts: Mapping[str, Any]) -> tuple[list[str], str | None]:
    """Return the names at the uses of the variable; if there are none, the failure."""
    if not _DEFINITION.search(reply):
        return [], UNREADABLE
    parsed = (_parse(code) for code in _code_candidates(reply))
    functions = next(
        (found for tree in parsed if tree is not None and (found := _functions(tree))), None
    )
    if functions is None:
        return [], "syntax error"
    expected = _functions(ast.parse(_code(facts, _ANY_NAME)))[0]
    named = [each for each in functions if each.name == facts["function"]]
    if not named or not _is_same(named[-1].args, expected.args):
        return [], "wrong function"
    function = named[-1]
    used = _replace_names(function)
    _replace_names(expected)
    # The second name is that of the argument, which the variable is set to.
    if not _is_same(function, expected) or used[1] != facts["argument"]:
        return [], "wrong steps"
    return [used[0], *used[2:]], None


def _code_candidates(reply: str) -> Iterator[str]:
    """Yield the texts that may be the code of a reply, the likeliest first."""
    # The word after an opening fence names the language.
    blocks = (block.partition("\n")[2] for block in reply.split("```")[1::2])
    fenced = [block for block in blocks if _DEFINITION.search(block)]
    if fenced:
        yield textwrap.dedent(fenced[-1])
    yield textwrap.dedent(reply)
    lines = reply.splitlines()
    starts = [number for number, line in enumerate(lines) if _DEFINITION.match(line)]
    if starts:
        block = [lines[starts[-1]]]
        margin = _margin(block[0])
        for line in lines[starts[-1] + 1 :]:
            if line.strip() and _margin(line) <= margin:
                break
            block.append(line)
        yield textwrap.dedent("\n".join(block))


def _margin(line: str) -> int:
    return len(line) - len(line.lstrip())


def _parse(code: str) -> ast.Module | None:
    """Return the syntax tree of ``code``; None if it has none."""
    # The parser warns about odd numbers and escapes in texts that it refuses as well.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(code)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


def _functions(tree: ast.Module) -> list[ast.FunctionDef]:
    return [node for node in tree.body if isinstance(node, ast.FunctionDef)]


def _is_same(one: ast.AST, other: ast.AST) -> bool:
    try:
        return ast.dump(one) == ast.dump(other)
    except (RecursionError, MemoryError, ValueError):
        return False


def _replace_names(function: ast.FunctionDef) -> list[str]:
    """Put the same name in the place of every variable; return those that stood there."""
    names = []
    for node in ast.walk(function):
        if isinstance(node, ast.Name):
            names.append(node.id)
            node.id = _ANY_NAME
    return names
