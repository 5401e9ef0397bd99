"""The original's data: what is read, what is refused with its line, and marks by its rules."""

import hashlib
import json
import re

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from parallelbench.cli import main
from parallelbench.errors import (
    FieldError,
    NotEnumerableError,
    RecordsError,
    RequestError,
    RunFileError,
)
from parallelbench.evaluation import evaluate
from parallelbench.record import to_line
from parallelbench.results import summarize
from parallelbench.rundir import RunDirectory
from parallelbench.runfile import make_runfile
from parallelbench.runner import draw, execute, run
from parallelbench.setting import build, parse_settings
from parallelbench.task import TASKS
from parallelbench.tasks import original_rules as rules
from parallelbench.tasks.original_files import OriginalDataError, bundle_of, read_checkout

LINE = ["Ada Moss", "Ben Stone", "Cy Hill"]
CONFIG = {
    "waiting_line": {
        "copy": {"prompt_template": "Copy: {items}", "metric": "list_match_score"},
        "shuffle": {
            "prompt_template": r"Shuffle this line.\n{items}\n{output_format}",
            "metric": "list_shuffle_score",
        },
        "insert_random": {
            "prompt_template": "Put {name} into {items}.",
            "metric": "list_random_insert_score",
        },
    },
    "puzzle/latin_square": {
        "prompt_template": "{size} of {letters}",
        "metric": "latin_square_score",
    },
    "words_to_sentence": {"prompt_template": "{input}", "metric": "sentence_to_words_score"},
    "summary": {"prompt_template": "{dialogue}", "metric": "summary_score"},
    "paraphrase": {"prompt_template": "{text}", "metric": "paraphrase_score"},
}
SHUFFLE = {
    "input": {
        "items": LINE,
        "icl_examples": [{"input": {"items": ["A", "B"]}, "answer": ["B", "A"]}],
    },
    "answer": ["Ben Stone", "Ada Moss", "Cy Hill"],
    "output_format": "Answer as [a, b].",
    "metadata": {},
}
FILES = {
    "waiting_line/copy.jsonl": [
        {"input": {"items": LINE}, "answer": "[Ada Moss, Ben Stone, Cy Hill]"}
    ],
    "waiting_line/shuffle.jsonl": [SHUFFLE, {**SHUFFLE, "answer": LINE[::-1]}],
    "waiting_line/insert_random.jsonl": [
        {"input": {"items": LINE, "name": "Di Reed"}, "answer": [*LINE, "Di Reed"]}
    ],
    "puzzle/latin_square.jsonl": [
        {
            "input": {"size": 2, "letters": "A and B"},
            "answer": "A B\nB A",
            "metadata": {"first_row": ["A", "B"]},
        }
    ],
    "text/words_to_sentence.jsonl": [{"input": ["cat", "mat"], "answer": "A cat sat on a mat."}],
    "text/summary.jsonl": [
        {"input": {"dialogue": "Ann: Tea?\nBob: Yes."}, "answer": "Bob wants some tea."}
    ],
    "text/paraphrase.jsonl": [
        {
            "input": {"text": "The clock stopped at midnight.", "id": "7"},
            "answer": ["At midnight the clock stopped.", "The clock ended at midnight."],
        }
    ],
}


@pytest.fixture(scope="module")
def text_tasks(tmp_path_factory):
    """Two tasks of free text, a sample of each, and what their products are at most."""
    folder = write_checkout(tmp_path_factory.mktemp("text") / "checkout")
    path = folder.with_suffix(".jsonl")
    assert main(["import", "original", str(folder), "--out", str(path)]) == 0
    factors = {"words_to_sentence": "words_substring", "summary": "rouge_l"}
    return [(*text_of(path, name, grammar="harper"), most) for name, most in factors.items()]


@pytest.fixture
def checkout(tmp_path):
    return write_checkout(tmp_path / "checkout")


def write_checkout(folder):
    for name, rows in FILES.items():
        write(folder / name, "".join(json.dumps(row) + "\n" for row in rows))
    write(folder / "task_config.yaml", yaml.safe_dump(CONFIG))
    return folder


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.fixture
def bundle(checkout, tmp_path, capsys):
    path = tmp_path / "original.jsonl"
    assert main(["import", "original", str(checkout), "--out", str(path)]) == 0
    capsys.readouterr()
    return path


def task_of(bundle, name, *, kind="original", **fields):
    told = "".join(f",{field}={value}" for field, value in fields.items())
    (setting,) = parse_settings(f"{kind}:{bundle}:task={name}{told}", TASKS)
    return build(setting, TASKS)


def text_of(bundle, name, **fields):
    task = task_of(bundle, f"text/{name}", kind="original_text", **fields)
    return task, draw(task, 0, 0)


# From files to samples


def test_every_line_becomes_a_sample_and_the_same_files_give_the_same_bytes(checkout, bundle):
    samples = read_checkout(checkout)
    assert [(sample.task, sample.index) for sample in samples] == [
        ("puzzle/latin_square", 0),
        ("text/paraphrase", 0),
        ("text/summary", 0),
        ("text/words_to_sentence", 0),
        ("waiting_line/copy", 0),
        ("waiting_line/insert_random", 0),
        ("waiting_line/shuffle", 0),
        ("waiting_line/shuffle", 1),
    ]
    assert bundle.read_text() == bundle_of(samples) == bundle_of(read_checkout(checkout))


def test_worked_examples_are_turns_of_the_chat_and_backslash_n_is_a_line_break(bundle):
    sample = draw(task_of(bundle, "waiting_line/shuffle"), 0, 0)
    assert [tuple(message) for message in sample.messages] == [
        ("user", "Shuffle this line.\n[A, B]\nAnswer as [a, b]."),
        ("assistant", "[B, A]"),
        ("user", "Shuffle this line.\n[Ada Moss, Ben Stone, Cy Hill]\nAnswer as [a, b]."),
    ]
    assert sample.reference == "[Ben Stone, Ada Moss, Cy Hill]"
    assert sample.id == "original/waiting_line/shuffle/00000"
    alone = draw(task_of(bundle, "waiting_line/shuffle", shots=0), 0, 0)
    assert alone.messages == sample.messages[2:]


def test_a_sample_is_the_same_whatever_the_seed(bundle):
    task = task_of(bundle, "waiting_line/shuffle")
    assert draw(task, 0, 1).digest == draw(task, 7, 1).digest != draw(task, 0, 0).digest


def test_there_are_as_many_samples_as_lines_and_no_more(bundle):
    task = task_of(bundle, "waiting_line/shuffle")
    assert task.count_samples() == 2
    with pytest.raises(RequestError, match="has 2 samples of waiting_line/shuffle, but number 3"):
        draw(task, 0, 2)


def test_a_configuration_may_stand_in_the_group_and_a_grid_be_a_list_of_rows(tmp_path):
    config = {"prompt_template": "{input}", "metric": "sudoku_score", "max_tokens": 40}
    write(tmp_path / "puzzle" / "task_config.yaml", yaml.safe_dump({"sudoku": config}))
    row = {"input": "1 _\n_ 1", "answer": [[1, 2], [2, 1]], "id": 7}
    write(tmp_path / "puzzle" / "sudoku.jsonl", json.dumps(row))
    (sample,) = read_checkout(tmp_path)
    assert sample.messages == (("user", "1 _\n_ 1"),)
    assert (sample.reference, sample.max_tokens) == ("1 2\n2 1", 40)
    assert rules.original_mark("sudoku_score", sample.facts, "1 2\n2 1")


# Refusals


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("waiting_line/copy.jsonl", '{"input": ', "copy.jsonl line 1 is no JSON"),
        ("waiting_line/copy.jsonl", "[1]", "copy.jsonl line 1 must be a JSON object"),
        ("waiting_line/copy.jsonl", '\n{"input": {"items": []}}', "line 2 has no field 'answer'"),
        ("waiting_line/copy.jsonl", '{"answer": "[A]"}', "line 1 has no field 'input'"),
        (
            "waiting_line/copy.jsonl",
            '{"input": {"itms": "[A]"}, "answer": "[A]"}',
            "line 1 lacks what its prompt template names: no field is called 'items'",
        ),
        (
            "waiting_line/shuffle.jsonl",
            json.dumps({**SHUFFLE, "answer": LINE}),
            "line 1: by list_shuffle_score its own answer",
        ),
        (
            "waiting_line/shuffle.jsonl",
            json.dumps({**SHUFFLE, "input": {"items": LINE, "more": ["A"]}}),
            "its input must hold one list, in brackets or as JSON, got items, more",
        ),
        (
            "waiting_line/shuffle.jsonl",
            json.dumps({**SHUFFLE, "input": {"items": LINE, "icl_examples": [{"input": {}}]}}),
            "line 1, example 1 must have input and answer",
        ),
        (
            "waiting_line/insert_random.jsonl",
            json.dumps({"input": {"items": LINE, "name": "X"}, "answer": LINE}),
            "needs an answer with one item that the given list lacks",
        ),
        (
            "puzzle/latin_square.jsonl",
            json.dumps({"input": {"size": 2, "letters": ""}, "answer": "A B\nB"}),
            "its answer must be a square grid",
        ),
        (
            "waiting_line/copy.jsonl",
            '{"input": {"items": ["A"], "icl_examples": null}, "answer": ["A"]}',
            "copy.jsonl line 1: icl_examples must be a list of worked examples, got null",
        ),
        (
            "waiting_line/copy.jsonl",
            '{"input": {"items": ["A"]}, "answer": [null, "B"]}',
            'copy.jsonl line 1: list_match_score needs a list .* got \\[null, "B"\\]',
        ),
        (
            "waiting_line/copy.jsonl",
            '{"input": {"items": {"a": 1}}, "answer": ["A"]}',
            "line 1: its field 'items' must be a text, a number, a list of those",
        ),
        (
            "waiting_line/copy.jsonl",
            '{"input": {"items": ["A"]}, "answer": [NaN]}',
            "line 1 is no JSON: NaN is no number",
        ),
        (
            "waiting_line/copy.jsonl",
            '{"input": {"items": ["A"]}, "answer": ["\\ud800"]}',
            "line 1 is no JSON: .*surrogates",
        ),
        ("waiting_line/copy.jsonl", "[" * 100_000, "line 1 is no JSON"),
        (
            "waiting_line/copy.jsonl",
            '{"input": {"items": ["Moss, Ada"]}, "answer": ["Moss, Ada", "Ben"]}',
            "line 1: list_match_score reads the item 'Moss, Ada' as 'Moss', 'Ada', so no answer",
        ),
        (
            "waiting_line/shuffle.jsonl",
            json.dumps({**SHUFFLE, "input": {"items": [*LINE[:2], "Hill' "]}}).replace(
                '"Cy Hill"', '"Hill\' "'
            ),
            "line 1: list_shuffle_score reads the item \"Hill' \" as 'Hill'",
        ),
        *(
            (
                "puzzle/latin_square.jsonl",
                json.dumps({"input": {"size": 2, "letters": ""}, "answer": answer}),
                "line 1: its answer must be a square grid",
            )
            for answer in ([1, 2], 5, True, {"rows": [["A", "B"], ["B", "A"]]}, [None], [["A"], 5])
        ),
        (
            "puzzle/latin_square.jsonl",
            json.dumps({"input": {"size": 2, "letters": ""}, "answer": ["A B", "A B"]}),
            "line 1: by latin_square_score its own answer .* is wrong",
        ),
        (
            "puzzle/latin_square.jsonl",
            json.dumps(
                {
                    "input": {"size": 2, "letters": ""},
                    "answer": ["A B", "B A"],
                    "metadata": {"first_row": {"A": "B"}},
                }
            ),
            "line 1: first_row must be a text or a list of symbols",
        ),
        ("task_config.yaml", "made: 2024-13-45", "is no YAML: month must be in 1..12"),
        (
            "task_config.yaml",
            "latin_square: {prompt_template: x, metric: latin_square_score, max_tokens: true}",
            "max_tokens must be 1 or more",
        ),
        ("task_config.yaml", "{", "is no YAML"),
        ("task_config.yaml", "{}", "says anything of puzzle/latin_square"),
        (
            "task_config.yaml",
            yaml.safe_dump({"latin_square": {"prompt_template": "x"}}),
            "needs prompt_template and metric",
        ),
        (
            "task_config.yaml",
            yaml.safe_dump({"latin_square": {"prompt_template": "x", "metric": "latin_score"}}),
            "no metric is called 'latin_score'; did you mean 'latin_square_score'",
        ),
    ],
)
def test_a_file_at_fault_is_refused_with_its_line(checkout, name, text, message):
    write(checkout / name, text)
    with pytest.raises(OriginalDataError, match=message):
        read_checkout(checkout)


def test_nothing_is_written_of_a_checkout_that_is_at_fault(checkout, tmp_path, capsys):
    write(checkout / "waiting_line/copy.jsonl", "{")
    assert main(["import", "original", str(checkout), "--out", str(tmp_path / "o.jsonl")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (tmp_path / "o.jsonl").exists()
    assert not (tmp_path / "o.yaml").exists()


def test_a_folder_without_task_files_and_an_unusable_name_are_refused(tmp_path, capsys):
    assert main(["import", "original", str(tmp_path), "--out", "o.jsonl"]) == 2
    assert "has no files <group>/<task>.jsonl" in capsys.readouterr().err
    assert main(["import", "original", str(tmp_path), "--out", "a,b.jsonl"]) == 2
    assert "have no ','" in capsys.readouterr().err


def test_another_bundle_is_not_written_over_and_the_same_one_may_be(checkout, bundle, capsys):
    again = ["import", "original", str(checkout), "--out", str(bundle)]
    before = bundle.read_bytes()
    assert main(again) == 0
    write(
        checkout / "waiting_line/copy.jsonl",
        json.dumps({"input": {"items": "[A]"}, "answer": "[A]"}),
    )
    assert main(again) == 2
    assert "is there already and holds something else" in capsys.readouterr().err
    assert bundle.read_bytes() == before


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("original", "needs a path"),
        ("original:none.jsonl", "cannot be read"),
        ("original:BUNDLE", "add task=NAME"),
        ("original:BUNDLE:task=waiting_line/copi", "did you mean 'waiting_line/copy'"),
        ("original:BUNDLE:task=waiting_line/copy,digest=0123", "it was made of other files"),
        (
            "original:BUNDLE:task=text/words_to_sentence",
            "marked by sentence_to_words_score: ask for it by original_text:BUNDLE:task=text/words",
        ),
        ("original_text:BUNDLE:task=waiting_line/copy", "ask for it by original:BUNDLE:task=wait"),
        ("original_text:BUNDLE:task=text/summary,grammar=harpr", "did you mean 'harper'"),
        ("original_text:BUNDLE:task=text/summary,bertscore=x", "bertscore=x is for paraphrase_sc"),
    ],
)
def test_a_bundle_that_is_not_what_was_asked_for_is_refused(bundle, asked, message):
    with pytest.raises(FieldError, match=message.replace("BUNDLE", str(bundle))):
        parse_settings(asked.replace("BUNDLE", str(bundle)), TASKS)


def test_a_bundle_that_lost_a_line_is_refused(bundle):
    lines = bundle.read_text().splitlines(keepends=True)
    bundle.write_text("".join(lines[:-2] + lines[-1:]))
    with pytest.raises(FieldError, match="has lost or gained lines"):
        task_of(bundle, "waiting_line/copy")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("reference", None),
        ("index", "0"),
        ("facts", []),
        ("messages", [["user", None]]),
        ("messages", []),
    ],
)
def test_a_bundle_with_a_value_of_another_kind_is_refused(bundle, field, value):
    first, *rest = bundle.read_text().splitlines()
    bundle.write_text("\n".join([json.dumps({**json.loads(first), field: value}), *rest]))
    with pytest.raises(FieldError, match="line 1 is no sample of a bundle"):
        task_of(bundle, "waiting_line/copy")


def test_a_run_whose_bundle_changed_does_not_go_on(bundle, checkout, tmp_path):
    asked = make_runfile(
        {
            "models": "ideal",
            "tasks": f"original:{bundle}:task=waiting_line/shuffle",
            "decoders": "random:k=32",
            "samples": 2,
        }
    )
    first, *_ = execute(asked)
    with RunDirectory.begin(tmp_path / "run", asked).appending() as writer:
        writer.append(first)
    (before,) = first.sources.values()
    lines = bundle.read_text()
    bundle.write_text(lines.replace("[A, B]", "[A, C]"))
    after = hashlib.sha256(bundle.read_bytes()).hexdigest()[:12]
    told = f"path={re.escape(str(bundle))} {before}, and now path=.* {after}; put the old"
    with pytest.raises(RunFileError, match=told):
        run(asked, tmp_path / "run")
    # A release that noted no sources is told by its samples.
    old = first.model_copy(update={"sources": {}})
    assert '"sources"' not in to_line(old)
    with RunDirectory.begin(tmp_path / "old", asked).appending() as writer:
        writer.append(old)
    with pytest.raises(RunFileError, match=f"begun with another sample {first.index} of task"):
        run(asked, tmp_path / "old")
    # Nor are records from both looked at together.
    other = first.model_copy(update={"sources": {"path": after}, "repeat": 1})
    with pytest.raises(RecordsError, match="has samples of task"):
        summarize([first, other])
    bundle.write_text(lines)
    assert len(list(run(asked, tmp_path / "run").records())) == 2


def test_a_glob_of_all_tasks_leaves_out_what_needs_a_file():
    names = {setting.name for setting in parse_settings("*", TASKS)}
    assert not {"original", "original_text"} & names
    assert "waiting_line/copy" in names


# Marks


@pytest.mark.parametrize(
    ("reply", "items"),
    [
        ("[A, B]", ["A", "B"]),
        ("Sure: ['A', \"B\"]. Done", ["A", "B"]),
        ("[no] then [A , B", ["A", "B"]),
        ("A, B", ["A", "B"]),
        ("[A,,B]", ["A", "", "B"]),
        ("[]", [""]),
        ("", [""]),
    ],
)
def test_a_list_is_read_after_the_last_bracket(reply, items):
    assert rules.read_list(reply) == items


REPLACED = {"items": LINE, "new": "Di Reed"}
GIVEN = "Ada Moss, Ben Stone, Cy Hill"
LATIN = {"symbols": ["A", "B", "C"], "first_row": ["A", "B", "C"]}


@pytest.mark.parametrize(
    ("metric", "facts", "reply", "passes"),
    [
        ("list_match_score", {"answer": LINE}, f"[{GIVEN}]", True),
        ("list_match_score", {"answer": LINE}, "[Ben Stone, Ada Moss, Cy Hill]", False),
        ("list_shuffle_score", {"items": LINE}, "[Cy Hill, Ada Moss, Ben Stone]", True),
        ("list_shuffle_score", {"items": LINE}, f"[{GIVEN}]", False),
        ("list_shuffle_score", {"items": LINE}, "[Cy Hill, Cy Hill, Ben Stone]", False),
        ("list_shuffle_score", {"items": ["A", "A", "B"]}, "[A, B, A]", True),
        ("list_shuffle_score", {"items": ["A", "A", "B"]}, "[B, B, A]", False),
        ("list_random_insert_score", REPLACED, f"[{GIVEN}, Di Reed]", True),
        ("list_random_insert_score", REPLACED, f"[Di Reed, {GIVEN}]", True),
        ("list_random_insert_score", REPLACED, f"[{GIVEN}, Di Moss]", False),
        ("list_random_insert_score", REPLACED, "[Ben Stone, Ada Moss, Cy Hill, Di Reed]", False),
        ("list_random_insert_score", REPLACED, f"[{GIVEN}, Di Reed, Di Reed]", False),
        ("list_random_remove_score", {"items": LINE}, "[Ada Moss, Cy Hill]", True),
        ("list_random_remove_score", {"items": LINE}, "[Cy Hill, Ada Moss]", False),
        ("list_random_remove_score", {"items": LINE}, f"[{GIVEN}]", False),
        ("list_random_remove_score", {"items": LINE}, "[Ada Moss]", False),
        ("list_random_replace_score", REPLACED, "[Ada Moss, Di Reed, Cy Hill]", True),
        ("list_random_replace_score", REPLACED, "[Ada Moss, Di Moss, Cy Hill]", False),
        ("list_random_replace_score", REPLACED, "[Di Reed, Di Reed, Cy Hill]", False),
        ("list_random_replace_score", REPLACED, f"[{GIVEN}]", False),
        ("list_random_replace_score", REPLACED, "[Ada Moss, Di Reed]", False),
        ("list_random_replace_score", {"items": LINE, "n_words": 2}, "[X, Y, Cy Hill]", True),
        ("list_random_replace_score", {"items": LINE, "n_words": 2}, "[X, Y, Z]", False),
        ("latin_square_score", LATIN, "A B C\nB C A\nC A B", True),
        ("latin_square_score", LATIN, "Here:\n[A, B, C]\n[B, C, A]\n[C, A, B]\nOK", True),
        ("latin_square_score", LATIN, "B C A\nA B C\nC A B", False),
        ("latin_square_score", {"symbols": ["A", "B", "C"]}, "B C A\nA B C\nC A B", True),
        ("latin_square_score", LATIN, "A B C\nB C A\nB A C", False),
        ("latin_square_score", LATIN, "A B C\nA B C\nA B C", False),
        ("latin_square_score", LATIN, "A B C\nB C A", False),
        ("latin_square_score", LATIN, "A B C\nB C A\nC A B\nA A A", True),
        (
            "sudoku_score",
            {"answer": [["1", "2"], ["2", "1"]], "symbols": ["1", "2"]},
            "1 2\n2 1",
            True,
        ),
        (
            "sudoku_score",
            {"answer": [["1", "2"], ["2", "1"]], "symbols": ["1", "2"]},
            "2 1\n1 2",
            False,
        ),
    ],
)
def test_the_originals_rules_case_by_case(metric, facts, reply, passes):
    assert rules.original_mark(metric, facts, reply) is passes


@settings(max_examples=60)
@given(st.text(max_size=60), st.sampled_from([*rules.LIST_RULES, *rules.GRID_RULES]))
def test_no_reply_makes_a_rule_raise(reply, metric):
    facts = {**REPLACED, "answer": LINE, "symbols": ["A", "B"]}
    assert rules.original_mark(metric, facts, reply) in {True, False}


def test_marks_tell_the_originals_verdict_and_ours_beside_it(bundle):
    task = task_of(bundle, "waiting_line/copy")
    sample = draw(task, 0, 0)
    right = task.score(sample, sample.reference)
    assert (right.strict, right.lenient) == (1, 1)
    assert right.parts == {"original": 1, "ours": 1}
    numbered = task.score(sample, "1. Ada Moss\n2. Ben Stone\n3. Cy Hill")
    assert (numbered.lenient, numbered.problem) == (0, "wrong")
    assert numbered.parts == {"original": 0, "ours": 1}
    quoted = task.score(sample, "['Ada Moss', 'Ben Stone', 'Cy Hill']")
    assert (quoted.strict, quoted.lenient) == (0, 1)


def test_the_law_holds_what_the_rule_passes_and_nothing_else(bundle):
    for name, count in (("copy", 1), ("shuffle", 5), ("insert_random", 4)):
        task = task_of(bundle, f"waiting_line/{name}")
        sample = draw(task, 0, 0)
        law = task.answers(sample)
        assert len(law.texts) == count
        assert all(task.score(sample, text).strict == 1 for text in law.texts)
    task = task_of(bundle, "puzzle/latin_square")
    with pytest.raises(NotEnumerableError, match="latin_square_score"):
        task.answers(draw(task, 0, 0))


def test_the_run_file_that_is_written_asks_for_every_task(bundle):
    plan = yaml.safe_load(bundle.with_suffix(".yaml").read_text())
    assert [(task["name"], task["fields"]["task"]) for task in plan["tasks"]] == [
        ("original", "puzzle/latin_square"),
        ("original_text", "text/paraphrase"),
        ("original_text", "text/summary"),
        ("original_text", "text/words_to_sentence"),
        ("original", "waiting_line/copy"),
        ("original", "waiting_line/insert_random"),
        ("original", "waiting_line/shuffle"),
    ]
    assert plan["tasks"][0]["fields"]["canvas_length"] == 64
    assert plan["tasks"][1]["fields"]["grammar"] == "lingotweaker"
    assert len(make_runfile(plan, where="plan").tasks) == 7


# Free text


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        (
            "words_to_sentence",
            {"input": ["cat", "mat"], "answer": "A cat sat."},
            "its own answer 'A cat sat.' is wrong, for it has not all of the words cat, mat",
        ),
        ("words_to_sentence", {"input": "cat, , mat", "answer": "x"}, "one of the words .* empty"),
        (
            "words_to_sentence",
            {"input": {"input": 3, "a": ["cat"], "b": ["mat"]}, "answer": "cat mat"},
            "hold one list of words that its prompt template names, got a, b",
        ),
        (
            "summary",
            {"input": {"dialogue": "Hm."}, "answer": [1]},
            "summary_score needs a text as its answer, or several",
        ),
        (
            "paraphrase",
            {"input": {"text": ["a"]}, "answer": "x"},
            "paraphrase_score needs one text in its input that .* names, got none",
        ),
    ],
)
def test_free_text_that_lacks_what_its_metric_needs_is_refused_with_its_line(
    checkout, name, row, message
):
    write(checkout / f"text/{name}.jsonl", json.dumps(row))
    with pytest.raises(OriginalDataError, match=f"{name}.jsonl line 1.*{message}"):
        read_checkout(checkout)


@pytest.mark.parametrize(
    ("row", "words", "reference"),
    [
        ({"input": "[cat, mat]", "answer": "A cat, a mat."}, ["cat", "mat"], "A cat, a mat."),
        ({"input": "cat, mat", "answer": ["A cat.", "Mat cat."]}, ["cat", "mat"], "Mat cat."),
        ({"input": {"input": ["cat"], "n": "1"}, "answer": "Cats."}, ["cat"], "Cats."),
        ({"input": ["cat", "mat"], "answer": ["mat", "cat"]}, ["cat", "mat"], ""),
    ],
)
def test_the_words_are_found_however_they_are_written(checkout, row, words, reference):
    write(checkout / "text/words_to_sentence.jsonl", json.dumps(row))
    (sample,) = [each for each in read_checkout(checkout) if each.task.endswith("sentence")]
    assert (sample.facts, sample.reference) == ({"words": words}, reference)


WORDS_SCORE = "sentence_to_words_score@lingotweaker"


@pytest.mark.parametrize(
    ("reply", "marks"),
    [
        # grammar, inclusion, the original's score, ours
        ("A cat sat on a mat.", (1, 1, 1, 1)),
        ("Two cats sat on mats.", (1, 1, 1, 0)),  # inside other words
        ("A cat sat here.", (1, 0.5, 0, 0)),
        ("A cat cat sat on a mat.", (0, 1, 0, 0)),
        ("", (0, 0, 0, 0)),
        (" \n", (0, 0, 0, 0)),
    ],
)
def test_words_count_inside_others_by_the_originals_score_and_not_by_ours(bundle, reply, marks):
    task, sample = text_of(bundle, "words_to_sentence")
    found = task.score(sample, reply)
    names = ("grammar@lingotweaker", "words_substring", WORDS_SCORE, "ours@lingotweaker")
    assert tuple(found.parts[name] for name in names) == marks
    assert (found.lenient, found.strict) == (marks[0], marks[3])
    assert (found.problem is None) == bool(marks[0])


def test_a_reply_without_a_word_passes_the_originals_grammar_and_is_nothing_by_ours(bundle):
    task, sample = text_of(bundle, "paraphrase")
    marks = task.score(sample, "!")
    assert (marks.lenient, marks.strict) == (1, 0)
    assert marks.parts["grammar@lingotweaker"] == 1


def test_a_summary_is_rouge_l_times_grammar_of_the_nearest_answer(bundle, checkout):
    task, sample = text_of(bundle, "summary")
    parts = task.score(sample, "Bob wants tea.").parts
    # 3 of 3 words written are 3 of the 4 in the answer, in its order.
    assert parts["rouge_l"] == parts["summary_score@lingotweaker"] == pytest.approx(6 / 7)
    assert task.score(sample, "Bob wants wants tea.").parts["summary_score@lingotweaker"] == 0
    row = {"input": {"dialogue": "Hm."}, "answer": ["It rained.", "Bob wants tea."]}
    write(checkout / "text/summary.jsonl", json.dumps(row))
    main(["import", "original", str(checkout), "--out", str(bundle.with_name("two.jsonl"))])
    task, sample = text_of(bundle.with_name("two.jsonl"), "summary")
    assert task.score(sample, "Bob wants tea.").parts["rouge_l"] == 1
    assert sample.reference == "It rained."


def test_a_paraphrase_without_a_model_has_no_product(bundle):
    task, sample = text_of(bundle, "paraphrase")
    copied = task.score(sample, "The clock stopped at midnight.")
    assert (copied.lenient, copied.strict) == (1, 0)
    assert list(copied.parts) == [
        "grammar@lingotweaker",
        "one_minus_bleu",
        "ours@lingotweaker",
    ]
    assert task.score(sample, sample.reference).strict > 0.5


def test_other_engines_give_scores_of_other_names_and_the_originals_has_its_own(bundle):
    harper, _ = text_of(bundle, "summary", grammar="harper")
    assert list(harper.engines()) == ["grammar@harper", "rouge_l"]
    assert harper.engines()["grammar@harper"].startswith("harper ")
    theirs, _ = text_of(bundle, "summary", grammar="languagetool")
    assert [theirs._named(score) for score in ("grammar", "summary_score", "rouge_l")] == [
        "grammar",
        "summary_score",
        "rouge_l",
    ]


@settings(max_examples=40, deadline=None)  # the engine starts in the first
@given(st.text(st.characters(exclude_categories=()), max_size=40))
def test_no_reply_makes_a_text_score_raise_or_the_product_exceed_its_factors(text_tasks, reply):
    for task, sample, factor in text_tasks:
        parts = task.score(sample, reply).parts
        product = parts[f"{task.metric}@harper"]
        assert parts["ours@harper"] <= product <= min(parts[factor], parts["grammar@harper"])


def test_oracles_and_the_ideal_model_cannot_be_asked_for_free_text(bundle):
    task, sample = text_of(bundle, "summary")
    with pytest.raises(NotEnumerableError, match="any good text is right"):
        task.answers(sample)
    asked = f"original_text:{bundle}:task=text/summary"
    with pytest.raises(RunFileError, match="must be told the right answers"):
        evaluate(model="mini", tasks=asked, decoders="label", samples=1)


def test_imported_free_text_is_run_and_marked_by_the_originals_names(bundle):
    asked = f"original_text:{bundle}:task=text/words_to_sentence,canvas_length=16"
    (result,) = evaluate(model="mini", tasks=asked, decoders="random:k=16", samples=1).results
    assert {WORDS_SCORE, "grammar@lingotweaker", "words_substring"} < set(result.parts)
    assert result.parts["grammar@lingotweaker"].value == result.accuracy
    assert result.engines["grammar@lingotweaker"].startswith("lingotweaker ")


def test_the_ideal_model_answers_imported_questions(bundle):
    shuffle = f"original:{bundle}:task=waiting_line/shuffle"
    (result,) = evaluate(tasks=shuffle, decoders="one_by_one", samples=2).results
    assert (result.task, result.accuracy, result.samples) == ("original", 1.0, 2)


def test_an_unknown_kind_of_import_is_answered_with_the_known_ones(capsys):
    assert main(["import", "orignal"]) == 2
    assert "did you mean 'original'" in capsys.readouterr().err
