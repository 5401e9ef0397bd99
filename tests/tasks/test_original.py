"""The original's data: what is read, what is refused with its line, and marks by its rules."""

import json

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from parallelbench.cli import main
from parallelbench.errors import FieldError, NotEnumerableError, RequestError
from parallelbench.evaluation import evaluate
from parallelbench.runfile import make_runfile
from parallelbench.runner import draw
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
}


@pytest.fixture
def checkout(tmp_path):
    folder = tmp_path / "checkout"
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


def task_of(bundle, name, **fields):
    told = "".join(f",{field}={value}" for field, value in fields.items())
    (setting,) = parse_settings(f"original:{bundle}:task={name}{told}", TASKS)
    return build(setting, TASKS)


# From files to samples


def test_every_line_becomes_a_sample_and_the_same_files_give_the_same_bytes(checkout, bundle):
    samples = read_checkout(checkout)
    assert [(sample.task, sample.index) for sample in samples] == [
        ("puzzle/latin_square", 0),
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
        ("original:BUNDLE:task=text/words_to_sentence", "sentence_to_words_score"),
    ],
)
def test_a_bundle_that_is_not_what_was_asked_for_is_refused(bundle, asked, message):
    with pytest.raises(FieldError, match=message):
        parse_settings(asked.replace("BUNDLE", str(bundle)), TASKS)


def test_a_bundle_that_lost_a_line_is_refused(bundle):
    lines = bundle.read_text().splitlines(keepends=True)
    bundle.write_text("".join(lines[:-2] + lines[-1:]))
    with pytest.raises(FieldError, match="has lost or gained lines"):
        task_of(bundle, "waiting_line/copy")


def test_a_glob_of_all_tasks_leaves_out_what_needs_a_file():
    names = {setting.name for setting in parse_settings("*", TASKS)}
    assert "original" not in names
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


def test_the_run_file_that_is_written_asks_for_every_task_that_can_be_marked(bundle):
    plan = yaml.safe_load(bundle.with_suffix(".yaml").read_text())
    assert [task["fields"]["task"] for task in plan["tasks"]] == [
        "puzzle/latin_square",
        "waiting_line/copy",
        "waiting_line/insert_random",
        "waiting_line/shuffle",
    ]
    assert plan["tasks"][0]["fields"]["canvas_length"] == 64
    assert len(make_runfile(plan, where="plan").tasks) == 4


def test_the_ideal_model_answers_imported_questions(bundle):
    shuffle = f"original:{bundle}:task=waiting_line/shuffle"
    (result,) = evaluate(tasks=shuffle, decoders="one_by_one", samples=2).results
    assert (result.task, result.accuracy, result.samples) == ("original", 1.0, 2)


def test_an_unknown_kind_of_import_is_answered_with_the_known_ones(capsys):
    assert main(["import", "orignal"]) == 2
    assert "did you mean 'original'" in capsys.readouterr().err
