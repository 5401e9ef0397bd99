"""Published results of the original: read, marked again, reported beside own runs, never packed."""

import json
import shutil

import pytest

from parallelbench.analysis.measures.board_speeds import agreements, board_speeds
from parallelbench.analysis.measures.joined_runs import JoinedRuns, open_runs
from parallelbench.analysis.report.page import shortfall
from parallelbench.cli.program import main
from parallelbench.evaluation import evaluate
from parallelbench.record_line import from_line, to_line
from parallelbench.results.result import average_over_tasks, summarize
from parallelbench.run.rundir import RunDirectory
from parallelbench.tasks.original_bundle import OriginalDataError
from parallelbench.tasks.original_results import read_results
from support.published_results import LISTS, MODEL, SETTINGS, TASKS, line, write


def results_of(folder, tasks=("waiting_line_copy", "waiting_line_shuffle"), count=4, wrong=1):
    """Write results of three settings of two strategies, ``wrong`` replies of each task wrong."""
    for strategy, settings, request, nfe in (
        ("random", "k1", {"k": 1}, 32),
        ("random", "k4", {"k": 4}, 8),
        ("confidence_threshold", "t0.5", {"alg_threshold": 0.5}, 4),
    ):
        for task in tasks:
            lines = [
                line(task, n, right=n >= wrong, strategy=strategy, nfe=nfe, request=request)
                for n in range(count)
            ]
            write(folder, task, lines, strategy=strategy, settings=settings)
    return folder / MODEL.replace("/", "__")


def test_every_task_and_strategy_is_read_with_what_was_published(tmp_path):
    for number, task in enumerate(TASKS):
        strategy = list(SETTINGS)[number % len(SETTINGS)]
        rows = [line(task, n, right=n == 0, strategy=strategy) for n in range(2)]
        write(tmp_path, task, rows, strategy=strategy)
    found = read_results(tmp_path)
    assert found.remarks == []
    assert {sample.task.replace("/", "_") for sample in found.samples} == set(TASKS)
    assert {reply.decoder.label for reply in found.replies} == {
        "random:k=2",
        "left_to_right:k=1",
        "confidence:k=16",
        "entropy:k=4",
        "margin:k=8",
        "confidence_threshold:threshold=0.9",
        "confidence_factor:factor=1.3,rule=published",
        "klass:threshold=0.95,divergence=0.01",
        "slow_fast:threshold=1.0",
        "dus:base=2,block_length=4,skip_below=0.3",
    }
    assert {reply.model for reply in found.replies} == {MODEL}
    of_copy = [reply for reply in found.replies if reply.task == "waiting_line/copy"]
    assert [reply.index for reply in of_copy] == [0, 1]
    assert [reply.text for reply in of_copy] == ['["Ada B", "Ben C"]', '["Ben C", "Ada B"]']
    figures = of_copy[0].figures
    assert (figures.nfe, figures.canvas_tokens, figures.tokens_per_step) == (16, 32, 2.0)
    assert (figures.score, figures.score_strict) == (1.0, 1.0)
    by_task = {sample.task: sample for sample in found.samples}
    assert by_task["waiting_line/insert_random"].facts["new"] == "Cy D"
    assert by_task["text_writing/paraphrasing"].facts["references"][1] == "It's raining."
    assert by_task["waiting_line/copy"].max_tokens == 32
    assert by_task["waiting_line_n15/copy"].max_tokens == 128


def test_numbers_that_are_left_out_and_lines_in_any_order_make_no_gap(tmp_path):
    rows = [line("waiting_line_copy", n, right=True) for n in (8, 0, 16)]
    write(tmp_path, "waiting_line_copy", rows)
    found = read_results(tmp_path)
    assert [reply.index for reply in found.replies] == [1, 0, 2]
    assert [sample.messages[-1][1][-2:] for sample in found.samples] == [" 0", " 8", "16"]


def test_of_runs_of_a_setting_the_newest_that_has_a_task_counts(tmp_path):
    for run, right in (("20260101_000000_all", False), ("20260102_000000_a1b2", True)):
        write(tmp_path, "waiting_line_copy", [line("waiting_line_copy", 0, right=right)], run=run)
    write(tmp_path, "waiting_line_sort", [line("waiting_line_sort", 0, right=False)])
    found = read_results(tmp_path)
    scores = {reply.task: reply.figures.score for reply in found.replies}
    assert scores == {"waiting_line/copy": 1.0, "waiting_line/sort": 0.0}
    assert found.remarks == ["passed over: 1 files of runs that were made again since"]


def test_what_is_unknown_is_passed_over_in_one_line(tmp_path):
    row = line("waiting_line_copy", 0, right=True)
    row |= {"colour": "red", "doc": {**row["doc"], "mood": 1}}
    file = write(tmp_path, "waiting_line_copy", [row])
    shutil.copy(file, file.with_name("samples_parallelbench_waiting_line_dance.jsonl"))
    write(tmp_path, "waiting_line_sort", [row], strategy="oracle", settings="x1")
    found = read_results(tmp_path)
    assert len(found.replies) == 1
    (remark,) = found.remarks
    for told in (
        "'colour' of a line",
        "'mood' of doc",
        "strategy 'oracle'",
        "task 'waiting_line_dance'",
    ):
        assert told in remark


def changed(task="waiting_line_shuffle", **fields):
    row = line(task, 1, right=True)
    for path, value in fields.items():
        place, *names = [row, *path.split("__")]
        for name in names[:-1]:
            place = place[name]
        place[names[-1]] = value
    return task, row


SHUFFLED = {"input": ["Ada B", "Ben C"], "example": '["Ada B", "Ben C"]'}


@pytest.mark.parametrize(
    ("changed_line", "message"),
    [
        (changed(doc__label=SHUFFLED), "contradicts itself: by list_shuffle_score the answer"),
        (
            changed(doc__label={"input": ["A", "A"], "example": '["A", "A"]'}),
            "'A' occurs 2 times in its label",
        ),
        (changed(doc__label=None), "its label has no right answer"),
        (changed(doc__label={"input": [1], "example": "[2]"}), "must hold a list of texts"),
        (changed(doc__index=0), "is number 0, like .* line 1"),
        (changed(doc__index=-1), "index must be a whole number from 0"),
        (changed(doc__messages=[]), "messages must be a chat"),
        (changed(doc__messages=[{"role": "system", "content": "x"}]), "messages must be a chat"),
        (changed(doc=3), "has no doc that is a JSON object"),
        (changed(nfe=2.5), "nfe must be a whole number"),
        (changed(nfe=float("nan")), "nfe must be a whole number"),
        (changed(nfe=10**30), "nfe must be a whole number"),
        (changed(nfe=64), "64 calls with 2 tokens each are no canvas"),
        (changed(tokens_per_step=1.99), "16 calls with 1.99 tokens each are no canvas"),
        (changed(tokens_per_step=0), "tokens_per_step must be above 0"),
        (changed(score=1.5), "score must be from 0 to 1"),
        (changed(score_strict="yes"), "score_strict must be from 0 to 1"),
        (changed(filtered_resps=["a", "b"]), "must hold one reply"),
        (changed(filtered_resps=[None]), "must hold one reply"),
        (changed(arguments={}), "has no gen_args_0"),
        (changed(arguments__gen_args_0__arg_1__unmasking="klass"), "with unmasking 'klass'"),
        (changed(arguments__gen_args_0__arg_1__k=3), "no parameter of 2, .* says k 2"),
        (changed("puzzles_sudoku_n4", doc__label="1234\n3412\n2143\n4312"), "is no grid"),
        (changed("puzzles_sudoku_n4", doc__label=""), "is no grid"),
        (
            changed("puzzles_latin_square_n4", doc__label__symbols=["A", "B", "C", "D"]),
            "has other symbols than its label",
        ),
        (changed("text_writing_summarization", doc__label={"text": "x"}), "has no right answer"),
    ],
)
def test_a_line_at_fault_is_refused_with_its_place_and_nothing_is_written(
    tmp_path, capsys, changed_line, message
):
    task, row = changed_line
    file = write(tmp_path / "results", task, [line(task, 0, right=True), row])
    with pytest.raises(OriginalDataError, match=message) as refused:
        read_results(tmp_path / "results")
    assert f"{file} line 2" in str(refused.value)
    out = tmp_path / "runs" / "published"
    assert main(["import", "results", str(tmp_path / "results"), "--out", str(out)]) == 2
    assert f"{file.name} line 2" in capsys.readouterr().err
    assert not out.parent.exists()


@pytest.mark.parametrize("content", ["{", "[" * 100_000, '{"doc": "\\ud800"}', "3", "\udcff"])
def test_a_line_that_is_no_object_is_refused_with_its_place(tmp_path, content):
    file = write(tmp_path, "waiting_line_copy", [])
    file.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(OriginalDataError, match="line 1"):
        read_results(tmp_path)


def test_other_data_under_the_same_number_is_refused(tmp_path):
    write(tmp_path, "waiting_line_copy", [line("waiting_line_copy", 0, right=True)])
    other = line("waiting_line_copy", 0, right=True, strategy="klass")
    other["doc"]["messages"][0]["content"] = "another example"
    write(tmp_path, "waiting_line_copy", [other], strategy="klass")
    with pytest.raises(OriginalDataError, match="results are on different data"):
        read_results(tmp_path)


@pytest.mark.parametrize(
    ("settings", "strategy", "message"),
    [
        ("k2_extra", "random", "was renamed"),
        ("t0.9", "random", "names the parameters t, and random has k"),
        ("k0", "random", "is no setting of random"),
    ],
)
def test_a_folder_of_another_form_is_refused(tmp_path, settings, strategy, message):
    rows = [line("waiting_line_copy", 0, right=True)]
    write(tmp_path, "waiting_line_copy", rows, strategy=strategy, settings=settings)
    with pytest.raises(OriginalDataError, match=message):
        read_results(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "model_name must be a hub id"),
        ('{"model_name": "other/model"}', "is in the folder of"),
        (None, "cannot be read"),
    ],
)
def test_the_model_is_named_by_the_run_and_its_folder_alike(tmp_path, content, message):
    file = write(tmp_path, "waiting_line_copy", [line("waiting_line_copy", 0, right=True)])
    told = file.with_name("results_parallelbench.json")
    told.unlink() if content is None else told.write_text(content)
    with pytest.raises(OriginalDataError, match=message):
        read_results(tmp_path)


def test_a_folder_without_results_is_refused(tmp_path):
    with pytest.raises(OriginalDataError, match="give results/MODEL of a checkout"):
        read_results(tmp_path)


def imported(tmp_path, monkeypatch, **results):
    monkeypatch.chdir(tmp_path)
    folder = results_of(tmp_path / "results", **results)
    assert main(["import", "results", str(folder), "--out", "runs/published"]) == 0
    return tmp_path / "runs" / "published"


def test_replies_become_records_with_their_marks_beside_ours_and_without_steps(
    tmp_path, monkeypatch, capsys
):
    path = imported(tmp_path, monkeypatch)
    told = capsys.readouterr().out
    assert "published, rescored" in told
    run = RunDirectory.open(path)
    records = list(run.records())
    assert len(records) == 3 * 2 * 4
    for record in records:
        assert record.model_label == f"published:{MODEL}"
        assert record.decoding is None
        assert record.published is not None
        assert record.marks.lenient == record.published.score == float(record.index >= 1)
        assert record.marks.parts["published"] == record.published.score
        assert record.marks.parts["agreement"] == 1.0
        assert from_line(to_line(record), "here") == record
    results = {(each.task_fields["task"], each.decoder_label): each for each in summarize(records)}
    fast = results["waiting_line/copy", "confidence_threshold:threshold=0.5"]
    assert (fast.accuracy, fast.tokens_per_step, fast.nfe) == (0.75, 8.0, 4.0)
    assert fast.pooled_tokens_per_step == 8.0
    assert fast.interval.low < 0.75 < fast.interval.high
    assert (fast.answer_tokens_per_step, fast.off_law_share) == (None, None)
    assert fast.parts["agreement"].value == 1.0


def test_a_mark_that_differs_from_ours_is_kept_and_counted(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = [line("waiting_line_copy", n, right=True) for n in range(3)]
    rows[0]["score"] = 0.0
    write(tmp_path / "results", "waiting_line_copy", rows)
    assert main(["import", "results", "results", "--out", "published", "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert told == {
        "task": "waiting_line/copy",
        "replies": 3,
        "right": 3,
        "published_right": 2,
        "agree": 2,
    }


@pytest.mark.parametrize("task", [*LISTS, "puzzles_latin_square_n4", "puzzles_sudoku_n4"])
def test_a_right_reply_of_every_list_is_right_and_a_wrong_one_wrong(tmp_path, monkeypatch, task):
    path = imported(tmp_path, monkeypatch, tasks=(task,), count=2)
    assert {
        (record.marks.lenient, record.published.score)
        for record in RunDirectory.open(path).records()
    } == {(0.0, 0.0), (1.0, 1.0)}


def test_the_report_labels_them_and_shows_pbx_and_agreement(tmp_path, monkeypatch, capsys):
    path = imported(tmp_path, monkeypatch, tasks=("waiting_line_copy",))
    assert main(["runs", "runs"]) == 0
    assert "complete" in capsys.readouterr().out
    assert main(["report", str(path)]) == 0
    told = capsys.readouterr().out
    assert "published, rescored" in told
    assert "PB90" in told
    assert "unfinished" not in told
    page = (path / "report.html").read_text()
    assert "published, rescored" in page
    assert "PB80" in page


def test_a_run_of_ones_own_on_the_same_questions_stands_beside_them(tmp_path, monkeypatch):
    path = imported(tmp_path, monkeypatch, tasks=("waiting_line_copy",), count=2)
    (task,) = RunDirectory.open(path).runfile.tasks
    own = tmp_path / "runs" / "mine"
    evaluate(model="mini", tasks=task.label, decoders="random:k=32", samples=1, out=own)
    runs = JoinedRuns.of(open_runs([path, own], "apart"), tmp_path / "both")
    results = summarize(runs.records())
    assert {each.model: each.count for each in results} == {f"published:{MODEL}": 2, "mini": 1}
    assert {each.task_label for each in results} == {task.label}
    assert runs.decodes == 1
    assert "unfinished" not in str(shortfall(runs, results))
    # Ours met nothing that was published, and published ones no other rule than ours.
    assert {each.model for each in agreements(results)} == {f"published:{MODEL}"}
    assert {each.model for each in board_speeds(results, average_over_tasks(results))} == {
        f"published:{MODEL}",
        "mini",
    }


def test_pbx_is_the_published_rule_on_means_over_tasks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for nfe, wrong in ((16, 1), (4, 3)):
        request, settings = {"alg_threshold": 1 - nfe / 100}, f"t{1 - nfe / 100:g}"
        for strategy in ("confidence_threshold", "confidence_topk"):
            if strategy == "confidence_topk":
                request, settings = {"k": 32 // nfe}, f"k{32 // nfe}"
            rows = [
                line(
                    "waiting_line_copy",
                    n,
                    right=n >= wrong,
                    strategy=strategy,
                    nfe=nfe,
                    request=request,
                )
                for n in range(10)
            ]
            write(
                tmp_path / "results",
                "waiting_line_copy",
                rows,
                strategy=strategy,
                settings=settings,
            )
    assert main(["import", "results", "results", "--out", "published"]) == 0
    results = summarize(RunDirectory.open(tmp_path / "published").records())
    found = {each.strategy: each for each in board_speeds(results, average_over_tasks(results))}
    threshold = next(each for name, each in found.items() if "threshold" in name)
    fixed = next(each for name, each in found.items() if "threshold" not in name)
    # 2 tokens per step at 90 %, 8 at 70 %: half way at 80 % for the adaptive one only.
    assert threshold.speeds == pytest.approx({90: 2.0, 80: 5.0, 70: 8.0, 60: 8.0})
    assert fixed.speeds == pytest.approx({90: 2.0, 80: 2.0, 70: 8.0, 60: 8.0})


def test_the_average_of_tasks_has_an_interval(tmp_path, monkeypatch):
    path = imported(tmp_path, monkeypatch)
    averages = average_over_tasks(summarize(RunDirectory.open(path).records()))
    assert [round(each.accuracy, 6) for each in averages] == [0.75] * 3
    assert all(each.interval.low < 0.75 < each.interval.high for each in averages)


def test_a_folder_in_use_is_refused_and_what_stands_there_stays(tmp_path, monkeypatch, capsys):
    path = imported(tmp_path, monkeypatch)
    before = (path / "run.yaml").read_bytes()
    arguments = ["import", "results", "results", "--out", "runs/published"]
    assert main(arguments) == 2
    assert "is not empty" in capsys.readouterr().err
    assert (path / "run.yaml").read_bytes() == before
    assert (tmp_path / "runs" / "published.jsonl").exists()


def test_an_engine_that_is_missing_leaves_nothing_behind(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    task = "text_writing_summarization"
    write(tmp_path / "results", task, [line(task, 0, right=True)])
    arguments = ["import", "results", "results", "--out", "runs/published"]
    assert main([*arguments, "--grammar", "nobody"]) == 2
    assert "nobody" in capsys.readouterr().err
    assert list((tmp_path / "runs").iterdir()) == []
    assert main([*arguments, "--without-text"]) == 2
    assert "holds no results that are read" in capsys.readouterr().err


def test_nothing_can_be_asked_of_a_published_model(capsys):
    assert main(["run", "--model", f"published:{MODEL}", "--samples", "1"]) == 2
    assert "cannot decode; name the model itself" in capsys.readouterr().err


def test_published_results_are_never_packed(tmp_path, monkeypatch, capsys):
    path = imported(tmp_path, monkeypatch)
    arguments = ["leaderboard", "pack", str(path), "--submitter", "me", "--out", "entry"]
    assert main(arguments) == 2
    assert "they are no entry" in capsys.readouterr().err
    assert not (tmp_path / "entry").exists()


def test_settings_stand_in_the_order_of_their_numbers(tmp_path):
    for k in (16, 2, 4):
        lines = [line("waiting_line_copy", 0, right=True, nfe=32 // k, request={"k": k})]
        write(tmp_path, "waiting_line_copy", lines, settings=f"k{k}")
    found = read_results(tmp_path)
    assert [reply.decoder.label for reply in found.replies] == [
        "random:k=2",
        "random:k=4",
        "random:k=16",
    ]
