"""The original's data: what is read, what is refused with its line, and marks by its rules."""

import copy
import hashlib
import json
import re
import shutil

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from parallelbench.cli.program import main
from parallelbench.errors import (
    FieldError,
    NotEnumerableError,
    RecordsError,
    RequestError,
    RunFileError,
)
from parallelbench.evaluation import evaluate
from parallelbench.results.result import summarize
from parallelbench.run.recording import draw_sample
from parallelbench.run.rundir import RunDirectory
from parallelbench.run.runfile import make_runfile
from parallelbench.run.runner import execute, run
from parallelbench.setting import build, parse_settings
from parallelbench.task import TASKS, sample_rng
from parallelbench.tasks import original_rules as rules
from parallelbench.tasks.original_bundle import OriginalDataError, bundle_of
from parallelbench.tasks.original_files import read_checkout
from parallelbench.tasks.original_text import OriginalText
from support import original_checkout
from support.fabricated import altered, line_of_schema_1
from support.original_checkout import LINE, NEW, PLACE, ROWS, write_checkout

CONFIG = "waiting_line/task_config.yaml"
TEXTS = [name for name in ROWS if name.startswith(("words", "paraphrase"))]
LISTS_AND_GRIDS = [name for name in ROWS if name not in TEXTS]
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=60)


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """A bundle of all 27 files, which no test changes."""
    root = tmp_path_factory.mktemp("original")
    write_checkout(root)
    path = root / "original.jsonl"
    assert main(["import", "original", str(root), "--out", str(path)]) == 0
    return path


@pytest.fixture
def bundle(shipped, tmp_path):
    """A copy of it and of its run file."""
    shutil.copy(shipped.with_suffix(".yaml"), tmp_path)
    return shutil.copy(shipped, tmp_path / "original.jsonl")


@pytest.fixture
def checkout(tmp_path):
    """The folder of the groups, with one task of each metric."""
    names = ["copy", "shuffle", "insert_random", "replace_random", "remove_index"]
    few = [f"waiting_line/{name}" for name in names]
    few += [name for name in ROWS if not name.startswith("waiting")]
    return write_checkout(tmp_path / "checkout", {name: ROWS[name] for name in few})


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def task_of(bundle, name, *, kind="original", **fields):
    told = "".join(f",{field}={value}" for field, value in fields.items())
    (setting,) = parse_settings(f"{kind}:{bundle}:task={name}{told}", TASKS)
    return build(setting, TASKS)


def text_of(bundle, name, **fields):
    task = task_of(bundle, name, kind="original_text", **fields)
    return task, draw_sample(task, 0, 0)


def import_of(folder, out):
    return main(["import", "original", str(folder), "--out", str(out)])


# From files to samples


def test_all_17_tasks_and_the_lines_of_15_are_imported(shipped):
    samples = [json.loads(line) for line in shipped.read_text().splitlines()]
    assert [(sample["task"], sample["index"]) for sample in samples] == [
        (name, index) for name in sorted(ROWS) for index in (0, 1)
    ]
    assert len(ROWS) == 17 + 10
    tokens = {sample["task"].partition("/")[0]: sample["max_tokens"] for sample in samples}
    assert tokens == {
        "waiting_line": 32,
        "waiting_line_n15": 128,
        "puzzle": 64,
        "words_to_sentence": 64,
        "paraphrase_summarize": 64,
    }


@pytest.mark.parametrize("given", ["", "dataset", "dataset/parallel_bench", PLACE])
def test_the_checkout_may_be_given_or_any_folder_down_to_the_task_files(tmp_path, given):
    write_checkout(tmp_path)
    # Older files of another form stand higher up in the original.
    old = tmp_path / "dataset/parallel_bench/data/_old"
    write(old / "shuffle_abc.jsonl", "{}")
    write(old / "task_config.yaml", "{}")
    assert len(read_checkout(tmp_path / given).samples) == 54


def test_the_same_files_give_the_same_bytes(checkout):
    assert bundle_of(read_checkout(checkout).samples) == bundle_of(read_checkout(checkout).samples)


@pytest.mark.parametrize(
    ("name", "turns", "reference"),
    [
        (
            "waiting_line/insert_random",
            [
                """Let "Ira Glen" into this line.

["Eve Lake", "Fay Ford", "Gus Wood", "Hal Dale"]
""",
                '["Eve Lake", "Fay Ford", "Ira Glen", "Gus Wood", "Hal Dale"]',
                'Let "Di Reed" into this line.\n\n["Ada Moss", "Ben Stone", "Cy Hill"]\n',
            ],
            '["Ada Moss", "Di Reed", "Ben Stone", "Cy Hill"]',
        ),
        (
            "puzzle/sudoku_n4_12",
            [
                "Fill in the zeros.\n\nGiven:\n4320\n2143\n3012\n1204\n",
                "4321\n2143\n3412\n1234",
                "Fill in the zeros.\n\nGiven:\n1204\n3412\n2043\n0321\n",
            ],
            "1234\n3412\n2143\n4321",
        ),
        (
            "puzzle/latin_square_n4",
            [
                "A Latin square: size 4, symbols [7, B, Q, M].",
                "B,7,M,Q\nQ,M,B,7\n7,B,Q,M\nM,Q,7,B",
                "A Latin square: size 4, symbols [P, 3, X, K].",
            ],
            "P,3,X,K\n3,P,K,X\nX,K,P,3\nK,X,3,P",
        ),
    ],
)
def test_a_line_becomes_a_chat_with_its_worked_example(shipped, name, turns, reference):
    sample = draw_sample(task_of(shipped, name), 0, 0)
    roles = ["user", "assistant", "user"]
    assert [tuple(message) for message in sample.messages] == list(zip(roles, turns, strict=True))
    assert (sample.reference, sample.id) == (reference, f"original/{name}/00000")
    alone = draw_sample(task_of(shipped, name, shots=0), 0, 0)
    assert alone.messages == sample.messages[2:]


def test_a_literal_backslash_n_is_a_line_break_wherever_it_comes_from(checkout):
    row = original_checkout.summary(r"Ann: Tea?\nBob: Yes.", "Bob wants tea.")
    write(checkout / "paraphrase_summarize/samsum.jsonl", json.dumps(row))
    (sample,) = (each for each in read_checkout(checkout).samples if "samsum" in each.task)
    assert sample.messages == (("user", "Sum up:\n\nAnn: Tea?\nBob: Yes.\n"),)


def test_the_facts_of_free_text_are_those_of_the_answer(shipped):
    facts = {name: text_of(shipped, name)[1].facts for name in TEXTS}
    assert facts["words_to_sentence/easy"]["words"] == ["cat", "mat", "sun"]
    assert facts["paraphrase_summarize/samsum"]["references"] == ["Bob wants some tea."]
    assert facts["paraphrase_summarize/chatgpt-paraphrases"]["references"] == [
        "At twelve the clock stood still.",
        "It stopped.",
    ]
    # Where no right text is known none is told.
    assert (
        draw_sample(
            task_of(shipped, "words_to_sentence/hard", kind="original_text"), 0, 1
        ).reference
        == ""
    )


def test_a_sample_is_the_same_whatever_the_seed(shipped):
    task = task_of(shipped, "waiting_line/shuffle")
    assert (
        draw_sample(task, 0, 1).digest
        == draw_sample(task, 7, 1).digest
        != draw_sample(task, 0, 0).digest
    )


def test_there_are_as_many_samples_as_lines_and_no_more(shipped):
    task = task_of(shipped, "waiting_line/shuffle")
    assert task.count_samples() == 2
    with pytest.raises(RequestError, match="has 2 samples of waiting_line/shuffle, but number 3"):
        draw_sample(task, 0, 2)


def test_unknown_fields_are_passed_over_and_told_in_one_line(checkout, tmp_path, capsys):
    row = copy.deepcopy(ROWS["waiting_line/shuffle"][0])
    row |= {"id": 7}
    row["answer"]["source"] = row["input"]["mood"] = "calm"
    write(checkout / "waiting_line/shuffle.jsonl", f"{json.dumps(row)}\n{json.dumps(row)}\n")
    told = yaml.safe_load((checkout / CONFIG).read_text())
    told["waiting_line/copy"]["colour"] = "red"
    write(checkout / CONFIG, yaml.safe_dump(told))
    assert import_of(tmp_path / "checkout", tmp_path / "o.jsonl") == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "ignored" in line)
    assert line.startswith("ignored: 7 values in 4 unknown fields: ")
    assert {"id (2)", "answer.source (2)", "input.mood (2)", "task_config.yaml: colour (1)"} == set(
        line.partition("fields: ")[2].split(", ")
    )


def test_nothing_is_told_of_the_fields_that_the_original_has(shipped, checkout, capsys):
    assert not read_checkout(checkout).passed_over


# Refusals


def changed(name, **fields):
    """The first line of a task with other fields, those of its input and answer by path."""
    row = copy.deepcopy(ROWS[name][0])
    for path, value in fields.items():
        *parents, last = path.split("__")
        place = row
        for parent in parents:
            place = place[int(parent) if parent.isdigit() else parent]
        place[last] = value
    return f"{name}.jsonl", json.dumps(row)


COPY, SHUFFLE, INSERT = (f"waiting_line/{name}" for name in ("copy", "shuffle", "insert_random"))
REMOVE, REPLACE = "waiting_line/remove_index", "waiting_line/replace_random"
LATIN, SUDOKU = "puzzle/latin_square_n4", "puzzle/sudoku_n4_12"
WORDS, SAMSUM = "words_to_sentence/easy", "paraphrase_summarize/samsum"
PARAPHRASES = "paraphrase_summarize/chatgpt-paraphrases"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ((f"{COPY}.jsonl", '{"input": '), "copy.jsonl line 1 is no JSON"),
        ((f"{COPY}.jsonl", "[1]"), "copy.jsonl line 1 must be a JSON object"),
        ((f"{COPY}.jsonl", '\n{"input": {}}'), "copy.jsonl line 2 has no field 'answer'"),
        ((f"{COPY}.jsonl", '{"answer": "[]"}'), "copy.jsonl line 1 has no field 'input'"),
        ((f"{COPY}.jsonl", ""), "copy.jsonl holds no sample: it is empty"),
        ((f"{COPY}.jsonl", "[" * 100_000), "copy.jsonl line 1 is no JSON"),
        ((f"{COPY}.jsonl", '{"input": {}, "answer": NaN}'), "is no JSON: NaN is no number"),
        ((f"{COPY}.jsonl", '{"input": {}, "answer": "\\ud800"}'), "is no JSON: .*surrogates"),
        (changed(COPY, input="[]"), "input must be an object with the fields of the prompt"),
        (changed(COPY, input={}), "its input lacks a field of its prompt: no field .* 'context'"),
        (changed(REMOVE, input__index=None), "its field 'index' must be a text or a number, got"),
        (changed(COPY, input__icl_examples=None), "icl_examples must be a list .* got null"),
        (changed(COPY, input__icl_examples=[3]), "worked example 1 must be an object, got 3"),
        (changed(COPY, input__icl_examples=[{"input": {}}]), "example 1 has no field 'answer'"),
        (changed(COPY, answer=LINE), "list_match_score needs a text as its answer, got"),
        (changed(COPY, answer="[A, B]"), "its answer is no JSON list"),
        (changed(COPY, answer="[]"), "its answer must be a list of texts"),
        (changed(COPY, answer='[null, "B"]'), "an item of its answer must be a text, got null"),
        (changed(COPY, input__context='["A"'), "input.context is no JSON list"),
        (changed(SHUFFLE, answer='["A"]'), "list_shuffle_score needs an object as its answer"),
        (changed(SHUFFLE, answer={"input": LINE}), "needs 'example' in its answer, got input"),
        (changed(INSERT, answer__word=3), "answer.word must be a text, got 3"),
        (changed(LATIN, answer__symbols=[1, 2]), "an item of answer.symbols must be a text, got 1"),
        (changed(SUDOKU, answer={"rows": []}), "sudoku_score needs a text as its answer"),
        (changed(WORDS, answer__words=[]), "answer.words must be a list of texts"),
        (changed(PARAPHRASES, answer__examples="[It"), "is no Python list"),
        (changed(PARAPHRASES, answer__examples="[3]"), "an item of answer.examples must be a text"),
        (changed(SAMSUM, answer__summary=""), "answer.summary must be a text"),
        (
            changed(WORDS, input__icl_examples=[original_checkout.SENTENCES[1]]),
            "worked example 1: it has no right answer",
        ),
        ((CONFIG, "made: 2024-13-45"), "is no YAML: month must be in 1..12"),
        ((CONFIG, "{"), "is no YAML"),
        ((CONFIG, "{}"), "has no configuration of waiting_line/copy"),
        ((CONFIG, "waiting_line/copy: {prompt_template: x}"), "needs prompt and metric"),
        (
            (CONFIG, "waiting_line/copy: {prompt: x, metric: list_mach_score}"),
            "no metric is called 'list_mach_score'; did you mean 'list_match_score'",
        ),
        (
            (CONFIG, "waiting_line/copy: {prompt: 'a {b', metric: list_match_score}"),
            "the prompt of waiting_line/copy is malformed",
        ),
        (
            (CONFIG, "waiting_line/copy: {prompt: '{context:>9}', metric: list_match_score}"),
            "must name its fields as {field}, without a form",
        ),
    ],
)
def test_a_file_at_fault_is_refused_with_its_line(checkout, changes, message):
    name, text = changes
    write(checkout / name, text)
    with pytest.raises(OriginalDataError, match=message) as caught:
        read_checkout(checkout)
    assert name.rpartition("/")[2] in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (changed(COPY, input__context='["A", "B", "A"]'), 'input.context has "A" twice'),
        (changed(COPY, answer='["Ada Moss", "Ada Moss"]'), 'its answer has "Ada Moss" twice'),
        (changed(COPY, answer='["Di Reed"]'), 'its answer has "Di Reed", but its input does not'),
        (changed(COPY, answer='["Ada Moss","Ben Stone"]'), "its own answer .* is wrong"),
        (changed(COPY, answer='["Moss, Ada"]'), '"Moss, Ada", which .* reads as another item'),
        (
            changed(SHUFFLE, answer__example=json.dumps(LINE)),
            "by list_shuffle_score its own answer",
        ),
        (changed(SHUFFLE, answer__input=LINE[::-1]), "answer.input are different lists"),
        (
            changed(SHUFFLE, answer__input=[*LINE, "Cy Hill"], input__context=None),
            'answer.input has "Cy Hill" twice|its list has "Cy Hill" twice',
        ),
        (changed(INSERT, answer__word="X"), "input.word and answer.word are different"),
        (
            changed(INSERT, answer__word="Cy Hill", input__word="Cy Hill"),
            'its list has "Cy Hill" twice',
        ),
        (changed(INSERT, answer__example=json.dumps([*LINE, "X"])), "its own answer .* is wrong"),
        (changed(REPLACE, answer__example=json.dumps([NEW, NEW, "X"])), "its own answer .* wrong"),
        (
            changed(REMOVE, input__icl_examples__0__answer='["Zoe"]'),
            'worked example 1: its answer has "Zoe", but its input does not',
        ),
        (changed(LATIN, answer__example="P,3,X,K"), "by latin_square_score its own answer"),
        (changed(LATIN, answer__symbols=["P", "P"]), 'answer.symbols has "P" twice'),
        (changed(LATIN, input__size=5), "input.size 5 does not match answer.symbols"),
        (changed(LATIN, input__symbols="[A]"), 'input.symbols "\\[A\\]" does not match answer'),
        (changed(SUDOKU, answer="1234\n3412\n2143\n4312"), "each once in every row and column"),
        (changed(SUDOKU, answer="1234\n3412"), "must be rows of digits"),
        (changed(SUDOKU, answer="AB\nBA"), "must be rows of digits"),
        (
            changed(SUDOKU, input__sudoku="2104\n3412\n2043\n0321"),
            "not a solution of input.sudoku",
        ),
        (changed(WORDS, answer__example="A cat sat."), "lacks some of the words cat, mat, sun"),
        (changed(WORDS, answer__example="A Cat, a mat, the sun."), "lacks some of the words"),
        (changed(WORDS, answer__words=["dog"]), 'answer.words has "dog", but input.words does not'),
        (changed(WORDS, answer__words=["cat", "cat"]), 'answer.words has "cat" twice'),
        (changed(SAMSUM, answer__text="Hm."), "input.text and answer.text are different"),
        (changed(PARAPHRASES, answer__text="Hm."), "input.text and answer.text are different"),
    ],
)
def test_a_line_that_contradicts_itself_is_refused_with_file_line_and_reason(
    checkout, tmp_path, capsys, changes, message
):
    name, text = changes
    good = (checkout / name).read_text().splitlines()
    write(checkout / name, f"{good[1]}\n{text}\n")
    out = tmp_path / "new" / "o.jsonl"
    assert import_of(tmp_path / "checkout", out) == 2
    (told,) = capsys.readouterr().err.splitlines()
    assert re.search(f"{name.rpartition('/')[2]} line 2.*{message}", told)
    assert not out.parent.exists()


def test_a_folder_without_task_files_and_an_unusable_name_are_refused(tmp_path, capsys):
    assert import_of(tmp_path, "o.jsonl") == 2
    assert f"or its folder {PLACE}" in capsys.readouterr().err
    assert import_of(tmp_path, "a,b.jsonl") == 2
    assert "have no ','" in capsys.readouterr().err


def test_help_and_docs_name_the_folder(call):
    status, told, _ = call("import", "original", "--help")
    assert status == 0
    assert PLACE in told.replace("\n", " ")


def test_what_is_there_is_not_written_over_and_the_same_may_be(checkout, tmp_path, capsys):
    out = tmp_path / "o.jsonl"
    assert import_of(checkout, out) == 0
    assert import_of(checkout, out) == 0
    before = out.read_bytes()
    # A run file that the reader changed stays as it is.
    edited = out.with_suffix(".yaml").read_text().replace("lingotweaker", "languagetool")
    write(out.with_suffix(".yaml"), edited)
    assert import_of(checkout, out) == 2
    assert "o.yaml exists with other content" in capsys.readouterr().err
    assert out.with_suffix(".yaml").read_text() == edited
    out.with_suffix(".yaml").unlink()
    write(checkout / f"{COPY}.jsonl", json.dumps(ROWS[COPY][1]))
    assert import_of(checkout, out) == 2
    assert "o.jsonl exists with other content" in capsys.readouterr().err
    assert out.read_bytes() == before
    assert not out.with_suffix(".yaml").exists()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("original", "needs a path"),
        ("original:none.jsonl", "cannot be read"),
        ("original:BUNDLE", "add task=NAME"),
        ("original:BUNDLE:task=waiting_line/copi", "did you mean 'waiting_line/copy'"),
        ("original:BUNDLE:task=waiting_line/copy,digest=0123", "it was made from other files"),
        (
            "original:BUNDLE:task=words_to_sentence/easy",
            "scored by sentence_to_words_score: ask for it as original_text:BUNDLE:task=words",
        ),
        ("original_text:BUNDLE:task=waiting_line/copy", "ask for it as original:BUNDLE:task=wait"),
        (f"original_text:BUNDLE:task={SAMSUM},grammar=harpr", "did you mean 'harper'"),
        (f"original_text:BUNDLE:task={SAMSUM},bertscore=x", "bertscore=x is for paraphrase_sc"),
    ],
)
def test_a_bundle_that_is_not_what_was_asked_for_is_refused(shipped, asked, message):
    with pytest.raises(FieldError, match=message.replace("BUNDLE", str(shipped))):
        parse_settings(asked.replace("BUNDLE", str(shipped)), TASKS)


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


def test_a_run_whose_bundle_changed_does_not_go_on(bundle, tmp_path):
    asked = make_runfile(
        {
            "models": "ideal",
            "tasks": f"original:{bundle}:task={SUDOKU}",
            "decoders": "random:k=32",
            "samples": 2,
        }
    )
    first, *_ = execute(asked)
    with RunDirectory.begin(tmp_path / "run", asked).appending() as writer:
        writer.append(first)
    (before,) = first.task.sources.values()
    lines = bundle.read_text()
    bundle.write_text(lines.replace("Fill in", "Fill out"))
    after = hashlib.sha256(bundle.read_bytes()).hexdigest()[:12]
    told = rf"from path.* {after}, and .* from path.* {before[:12]}; restore what the run began"
    with pytest.raises(RunFileError, match=told):
        run(make_runfile(asked.frozen()), tmp_path / "run")  # a new command
    # A release that noted no sources is told by its samples.
    old = altered(first, sources={})
    assert '"sources"' not in line_of_schema_1(old)
    with RunDirectory.begin(tmp_path / "old", asked).appending() as writer:
        writer.append(old)
    with pytest.raises(
        RunFileError, match=f"this installation has another sample {first.index} of task"
    ):
        run(make_runfile(asked.frozen()), tmp_path / "old")
    # Nor are records from both looked at together.
    other = altered(first, sources={"path": after}, repeat=1)
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
    ("reply", "items", "strict"),
    [
        ('["A", "B"]', ["A", "B"], True),
        ('Here: ["A", "B"]. Done', ["A", "B"], True),
        ('["no"] then ["A", "B"]', ["A", "B"], True),
        ('["A", "B",]', ["A", "B"], False),
        ('["A",, "B"]', ["A", "B"], False),
        ('["A","B"]', ["A", "B"], False),
        ('["A", "B"', ["A", "B"], False),
        ("[ A , B ]", ["A", "B"], False),
        ("A, B", ["A", "B"], False),
        ('["A", "", "B"]', ["A", "", "B"], True),
        ("['A', 'B']", ["'A'", "'B'"], False),
        ("1. A\n2. B", ["1. A\n2. B"], False),
        ('["A",\n"B"]', ["A", '\n"B'], False),
        ("[]", [], False),
        ("", [], False),
    ],
)
def test_a_list_is_read_as_the_original_reads_it(reply, items, strict):
    assert rules.read_list(reply) == items
    assert rules.read_list_strictly(reply) == (items if strict else None)


GIVEN = {"items": ["A", "B", "C"], "new": "N", "answer": ["A", "B", "C"]}


@pytest.mark.parametrize(
    ("metric", "right", "wrong"),
    [
        ("list_match_score", ["ABC"], ["ACB", "AB", "ABCC", "abc"]),
        ("list_shuffle_score", ["CAB", "BAC"], ["ABC", "CCB", "CB", "CBAA"]),
        ("list_random_insert_score", ["NABC", "ABCN", "ANBC"], ["ABC", "BACN", "ABCNN", "ABCX"]),
        ("list_random_remove_score", ["AB", "AC", "BC"], ["CA", "ABC", "A", "AA", "AX"]),
        ("list_random_replace_score", ["NBC", "ABN"], ["XBC", "NNC", "ABC", "AN", "NCB"]),
    ],
)
def test_the_rules_of_lists(metric, right, wrong):
    for replies, passes in ((right, True), (wrong, False)):
        for items in replies:
            text = rules.quoted_list(list(items))
            assert rules.original_mark(metric, GIVEN, text) is passes, items
            assert rules.original_strict_mark(metric, GIVEN, text) is passes, items


SQUARE = "P,7,K,M\n7,K,M,P\nK,M,P,7\nM,P,7,K"


@pytest.mark.parametrize(
    ("reply", "passes"),
    [
        (SQUARE, True),
        (f"Here:\n```\n{SQUARE}\n```", True),
        (SQUARE.replace(",", ", ").replace("\n", "\r\n"), True),
        # Only the set of a line's cells counts, and columns end with the shortest line.
        (SQUARE.replace("7,K,M,P\n", "7,K,M,P,7\n"), True),
        ("\n".join(f"{line},{line[0]}" for line in SQUARE.split("\n")), True),
        ("\n".join(f"{line},P" for line in SQUARE.split("\n")), False),
        (f"{SQUARE}\nP,7,K,M", True),
        (SQUARE.replace("K,M,P,7\n", "K,M,P\n"), False),
        (SQUARE.replace("K,M,P,7\n", "P,7,K,M\n"), False),
        (SQUARE.replace("\n", "\r"), False),
        (SQUARE.replace(",", " "), False),
        ("\n".join(f"[{line}]" for line in SQUARE.split("\n")), False),
        ("", False),
    ],
)
def test_the_rule_of_latin_squares(reply, passes):
    facts = {"symbols": ["P", "7", "K", "M"]}
    assert rules.original_mark("latin_square_score", facts, reply) is passes
    assert rules.original_strict_mark("latin_square_score", facts, reply) is passes


GRID = "1234\n3412\n2143\n4321"


@pytest.mark.parametrize(
    ("reply", "passes", "strict"),
    [
        (GRID, True, True),
        (f" {GRID.replace(chr(10), chr(10) * 2)}\n", True, True),
        (f"Output:\n{GRID}", True, False),
        (GRID.replace("1234", "row 1 2,3|4!"), True, False),
        (f"{GRID}\n12", True, False),
        (f"{GRID}\n1234", False, False),
        (GRID.replace("1234", "1. 1234"), False, False),
        (GRID.replace("\n", " "), False, False),
        (GRID.replace("1234", "1324"), False, False),
        (GRID.replace("2", "²"), False, False),
        ("", False, False),
    ],
)
def test_the_rule_of_sudokus(reply, passes, strict):
    facts = {"answer": GRID.split()}
    assert rules.original_mark("sudoku_score", facts, reply) is passes
    assert rules.original_strict_mark("sudoku_score", facts, reply) is strict


@pytest.mark.parametrize("name", LISTS_AND_GRIDS)
def test_a_right_answer_as_the_files_write_it_passes_in_both_readings(shipped, name):
    task = task_of(shipped, name)
    for index in (0, 1):
        sample = draw_sample(task, 0, index)
        marks = task.score(sample, sample.reference)
        assert (marks.strict, marks.lenient, marks.failure) == (1, 1, None)
        assert marks.parts == {"original": 1, "ours": 1}


@pytest.mark.parametrize("name", TEXTS)
def test_a_right_text_passes_in_both_readings(shipped, name):
    task, sample = text_of(shipped, name)
    marks = task.score(sample, sample.reference)
    assert (marks.strict, marks.lenient, marks.failure) == (1, 1, None)


def test_marks_tell_the_originals_verdict_and_ours_beside_it(shipped):
    task = task_of(shipped, COPY)
    sample = draw_sample(task, 0, 0)
    for reply, strict, lenient, ours in (
        ("[Ada Moss, Ben Stone, Cy Hill]", 0, 1, 1),
        ("['Ada Moss', 'Ben Stone', 'Cy Hill']", 0, 0, 1),
        ("1. Ada Moss\n2. Ben Stone\n3. Cy Hill", 0, 0, 1),
        ('["Ada Moss", "Ben Stone"]', 0, 0, 0),
    ):
        marks = task.score(sample, reply)
        assert (marks.strict, marks.lenient) == (strict, lenient)
        assert marks.parts == {"original": lenient, "ours": ours}
        assert marks.failure == (None if lenient else "wrong")
    task = task_of(shipped, LATIN)
    sample = draw_sample(task, 0, 0)
    # One row too long: the original takes it, and we do not.
    ragged = task.score(sample, sample.reference.replace("\n3,P,K,X", "\n3,P,K,X,3"))
    assert (ragged.lenient, ragged.parts["ours"]) == (1, 0)


def test_the_law_holds_what_the_rule_passes_and_nothing_else(shipped):
    counts = {COPY: 1, SHUFFLE: 5, INSERT: 4, REMOVE: 1, REPLACE: 3, SUDOKU: 1}
    for name, count in counts.items():
        task = task_of(shipped, name)
        sample = draw_sample(task, 0, 0)
        law = task.answers(sample)
        assert len(law.texts) == count
        assert all(task.score(sample, text).strict == 1 for text in law.texts)
        assert sample.reference in law.texts
    task = task_of(shipped, LATIN)
    with pytest.raises(NotEnumerableError, match="latin_square_score"):
        task.answers(draw_sample(task, 0, 0))


def test_the_run_file_that_is_written_asks_for_every_task(shipped):
    plan = yaml.safe_load(shipped.with_suffix(".yaml").read_text())
    assert [task["fields"]["task"] for task in plan["tasks"]] == sorted(ROWS)
    told = {task["fields"]["task"]: task for task in plan["tasks"]}
    assert {name for name in told if told[name]["name"] == "original_text"} == set(TEXTS)
    assert told[SAMSUM]["fields"]["grammar"] == "lingotweaker"
    assert told["waiting_line_n15/sort"]["fields"]["canvas_length"] == 128
    assert len(make_runfile(plan, where="plan").tasks) == 27


# No reply makes a scorer raise.


#: What replies are made of: pieces that readers look for.
PIECES = ("[", "]", '"', ", ", ",", "\n", "\r", " ", "1234", "1", "P,3,X,K", "A", "²", "\ud800")
REPLIES = ANY_TEXT | st.lists(st.sampled_from(PIECES) | ANY_TEXT, max_size=30).map("".join)


@pytest.fixture(scope="module")
def samples(shipped):
    """A sample of every task that is registered, and of every one that was imported."""
    found = [(task_of(shipped, name), name) for name in LISTS_AND_GRIDS]
    found += [(text_of(shipped, name, grammar="harper")[0], name) for name in TEXTS]
    for name in sorted(TASKS.keys() - {"original", "original_text"}):
        fields = {"grammar": "harper"} if name.startswith("text_writing") else {}
        found.append((TASKS[name](**fields), name))
    return [(task, task.draw(sample_rng(0, name, 0), 0)) for task, name in found]


@settings(max_examples=30, deadline=None)  # engines start in the first
@given(reply=REPLIES, start=st.none() | st.integers(0, 40))
def test_no_reply_makes_the_score_of_any_task_raise(samples, reply, start):
    for task, sample in samples:
        right = sample.reference
        # Any text, or a right answer with any text put into it.
        text = reply if start is None else right[:start] + reply + right[start:]
        marks = task.score(sample, text)
        assert 0 <= marks.strict <= marks.lenient <= 1
        assert all(0 <= part <= 1 for part in marks.parts.values())


# Free text


WORDS_SCORE = "sentence_to_words_score@lingotweaker"


@pytest.mark.parametrize(
    ("reply", "marks"),
    [
        # grammar, inclusion, the original's score, ours
        ("A cat sat on a mat in the sun.", (1, 1, 1, 1)),
        ("Two cats sat on mats in the sun.", (1, 1, 1, 0)),  # inside other words
        ("Cat and mat lay in the sun.", (1, 2 / 3, 0, 1)),  # in upper case
        ("A cat sat on a mat.", (1, 2 / 3, 0, 0)),
        ("A cat cat sat on a mat in the sun.", (0, 1, 0, 0)),
        ("", (0, 0, 0, 0)),
        (" \n", (0, 0, 0, 0)),
    ],
)
def test_words_count_in_their_case_and_inside_others_by_the_originals_score(shipped, reply, marks):
    task, sample = text_of(shipped, WORDS)
    found = task.score(sample, reply)
    names = ("grammar@lingotweaker", "words_substring", WORDS_SCORE, "ours@lingotweaker")
    assert tuple(found.parts[name] for name in names) == pytest.approx(marks)
    assert (found.lenient, found.strict) == pytest.approx((marks[0], marks[3]))
    assert (found.failure is None) == bool(marks[0])


def test_a_reply_without_a_word_passes_the_originals_grammar_and_is_nothing_by_ours(shipped):
    task, sample = text_of(shipped, PARAPHRASES)
    marks = task.score(sample, "!")
    assert (marks.lenient, marks.strict) == (1, 0)
    assert marks.parts["grammar@lingotweaker"] == 1


def test_a_summary_is_rouge_l_times_grammar(shipped):
    task, sample = text_of(shipped, SAMSUM)
    parts = task.score(sample, "Bob wants tea.").parts
    # 3 of 3 words written are 3 of the 4 in the answer, in its order.
    assert parts["rouge_l"] == parts["summary_score@lingotweaker"] == pytest.approx(6 / 7)
    assert task.score(sample, "Bob wants wants tea.").parts["summary_score@lingotweaker"] == 0
    # Words are stemmed.
    assert task.score(sample, "Bob wanted tea.").parts["rouge_l"] == pytest.approx(6 / 7)


def test_a_paraphrase_without_a_model_has_no_product(shipped):
    task, sample = text_of(shipped, PARAPHRASES)
    copied = task.score(sample, "The clock stopped at midnight.")
    assert (copied.lenient, copied.strict) == (1, 0)
    assert list(copied.parts) == [
        "grammar@lingotweaker",
        "one_minus_bleu",
        "ours@lingotweaker",
    ]


def test_other_engines_give_scores_of_other_names_and_the_originals_has_its_own(shipped):
    harper, _ = text_of(shipped, SAMSUM, grammar="harper")
    assert list(harper.engines()) == ["grammar@harper", "rouge_l"]
    assert harper.engines()["grammar@harper"].startswith("harper ")
    theirs, _ = text_of(shipped, SAMSUM, grammar="languagetool")
    assert [theirs._named(score) for score in ("grammar", "summary_score", "rouge_l")] == [
        "grammar",
        "summary_score",
        "rouge_l",
    ]


@settings(max_examples=30, deadline=None)  # the engine starts in the first
@given(reply=ANY_TEXT)
def test_no_product_exceeds_its_factors(samples, reply):
    factors = {"sentence_to_words_score": "words_substring", "summary_score": "rouge_l"}
    for task, sample in samples:
        if isinstance(task, OriginalText) and task.metric in factors:
            parts = task.score(sample, reply).parts
            most = min(parts[factors[task.metric]], parts["grammar@harper"])
            assert parts[f"{task.metric}@harper"] <= most
            assert parts["ours@harper"] <= parts["grammar@harper"]


def test_oracles_and_the_ideal_model_cannot_be_asked_for_free_text(shipped):
    task, sample = text_of(shipped, SAMSUM)
    with pytest.raises(NotEnumerableError, match="any good text is right"):
        task.answers(sample)
    asked = f"original_text:{shipped}:task={SAMSUM}"
    with pytest.raises(RunFileError, match="must be told the right answers"):
        evaluate(model="mini", tasks=asked, decoders="label", samples=1)


def test_imported_free_text_is_run_and_marked_by_the_originals_names(shipped):
    asked = f"original_text:{shipped}:task={WORDS},canvas_length=16"
    (result,) = evaluate(model="mini", tasks=asked, decoders="random:k=16", samples=1).results
    assert {WORDS_SCORE, "grammar@lingotweaker", "words_substring"} < set(result.parts)
    assert result.parts["grammar@lingotweaker"].value == result.accuracy
    assert result.engines["grammar@lingotweaker"].startswith("lingotweaker ")


def write_byte_tokenizer(folder):
    """A tokenizer with a token for each byte, which writes every text back."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(BPE({letter: index for index, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    marks = {"eos_token": "<end>", "mask_token": "<mask>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **marks).save_pretrained(folder)


def test_the_ideal_model_answers_imported_questions_with_a_tokenizer_that_writes_quotes(
    shipped, tmp_path
):
    write_byte_tokenizer(tmp_path)
    asked = f"original:{shipped}:task={REMOVE},canvas_length=64"
    model = f"ideal:tokenizer={tmp_path}"
    (result,) = evaluate(model=model, tasks=asked, decoders="one_by_one", samples=2).results
    assert (result.task, result.accuracy, result.samples) == ("original", 1.0, 2)
    with pytest.raises(RequestError, match="choose a tokenizer that reproduces it"):
        evaluate(tasks=asked, decoders="one_by_one", samples=1)


def test_an_unknown_kind_of_import_is_answered_with_the_known_ones(capsys):
    assert main(["import", "orignal"]) == 2
    assert "did you mean 'original'" in capsys.readouterr().err
