"""The runner: the same records whatever the batch, the interruptions and the order."""

import itertools
import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace
from typing import ClassVar

import pytest
import torch

from parallelbench.decoder import DECODERS, STATISTICS
from parallelbench.errors import (
    CanvasError,
    NotEnumerableError,
    RequestError,
    RunFileError,
    UnreachableError,
)
from parallelbench.model import MODELS
from parallelbench.models.ideal import IdealModel
from parallelbench.registry import load_plugins
from parallelbench.results.result import summarize
from parallelbench.run.recording import draw_sample
from parallelbench.run.rundir import RunDirectory
from parallelbench.run.runfile import make_runfile
from parallelbench.run.runner import execute, run
from parallelbench.setting import build
from parallelbench.task import TASKS
from parallelbench.tasks.choices import City
from support.servers import Scripted, fails, says
from support.toys import Surest

#: What decoders may be combined with.
MORE_DECODERS = [
    "confidence:k=3,block_length=4",
    "random:k=4,temperature=1",
    "confidence_threshold:threshold=0.4,block_length=5,temperature=1",
    "confidence_factor:rule=published",
]
SEVERAL_TASKS = [
    "list_operations/shuffle:length=4,form=free|infill,canvas_length=12",
    "list_operations/sort:canvas_length=12",
    "choices/*:canvas_length=16",
    "waiting_line/insert_random:canvas_length=24",
    "waiting_line/shuffle:form=infill",
    "puzzles/sudoku:form=infill",
]


def plan(**changes):
    small = {
        "models": "ideal",
        "tasks": "list_operations/shuffle:form=infill,length=4",
        "decoders": "random:k=2",
        "samples": 3,
    }
    return make_runfile({**small, **changes})


def told(records):
    """Every record by its key, without the one thing that a clock decides."""
    by_key = {}
    for record in records:
        assert record.key not in by_key, f"{record.key} is recorded twice"
        by_key[record.key] = record.model_dump(exclude={"seconds"})
    return by_key


@pytest.fixture(scope="module")
def wide():
    """A sample of several tasks under every decoder that the ideal model can serve."""
    load_plugins()
    given = STATISTICS | IdealModel.capabilities
    served = [name for name in DECODERS if DECODERS[name]().needs <= given]
    assert len(served) > 30
    return plan(tasks=SEVERAL_TASKS, decoders=[*served, *MORE_DECODERS], samples=1)


@pytest.fixture(scope="module")
def wide_records(wide):
    return list(execute(wide, batch_size=64))


def test_the_batch_size_changes_no_record(wide, wide_records):
    alone = told(execute(wide, batch_size=1))
    assert len(alone) == wide.decodes
    assert alone == told(wide_records)


def test_every_record_replays_to_its_output(wide_records):
    for record in wide_records:
        assert record.status == "ok"
        assert record.decoding.trace.replay(record.decoding.canvas) == record.decoding.output_ids


def test_every_count_follows_from_the_trace_and_the_ids(wide_records):
    for record in wide_records:
        counts, trace = record.decoding.counts, record.decoding.trace
        output = [
            token
            for token, before in zip(
                record.decoding.output_ids, record.decoding.canvas, strict=True
            )
            if before == record.decoding.mask_id
        ]
        ends = [*output, record.decoding.end_id].index(record.decoding.end_id)
        answer = output[:ends]
        behind = [token for token in output[ends:] if token != record.decoding.end_id]
        assert counts.nfe == trace.nfe == sum(rows > 0 for rows in trace.rows)
        assert counts.steps == len(trace.rows)
        assert counts.rows == sum(trace.rows)
        row_length = record.decoding.prompt_tokens + len(record.decoding.output_ids)
        decoder = DECODERS[record.decoder.name]()
        assert counts.token_positions == sum(trace.row_tokens)
        if "shorter_rows" not in decoder.needs:
            assert counts.token_positions == counts.rows * row_length
        assert counts.auxiliary_calls == sum(trace.auxiliary_calls) == 0
        assert counts.canvas_tokens == len(output)
        assert counts.answer_tokens == len(answer)
        assert counts.tokens_after_end == len(behind)
        assert counts.revisions == trace.revisions(record.decoding.mask_id)
        assert decoder.remasks or counts.revisions == 0
        assert counts.tokens_per_step == len(output) / counts.nfe
        assert counts.answer_tokens_per_step == len(answer) / counts.nfe
        assert 0 <= counts.off_law_calls <= counts.nfe


def test_every_reply_and_its_marks_can_be_read_again_from_the_record(wide, wide_records):
    codec = build(wide.models[0], MODELS).open().codec
    tasks = {setting.label: build(setting, TASKS) for setting in wide.tasks}
    for record in wide_records:
        task = tasks[record.task_label]
        sample = draw_sample(task, record.sample.seed, record.index)
        assert (sample.id, sample.digest) == (record.sample.id, record.sample_digest)
        assert codec.decode(record.decoding.output_ids) == record.text
        marks = task.score(sample, record.text)
        assert record.marks.strict == marks.strict
        assert record.marks.lenient == marks.lenient
        assert record.marks.problem == marks.failure
        assert record.marks.parts == dict(marks.parts)


def test_a_server_that_fails_half_way_costs_only_what_it_did_not_answer(tmp_path):
    def served(model):
        return plan(models=[model, "ideal"], tasks="choices/city", samples=4)

    with Scripted(says("Mexico City"), says("Mexico City"), fails(400, b"tired")) as server:
        model = f"api:{server.url}:model=m,concurrency=1,attempts=1"
        directory = run(served(model), tmp_path)
        records = list(directory.records())
        begun = len(server.requests)
        server.script = [says("New York")]
        run(served(model), tmp_path)
        asked = server.requests[begun:]
    own = [record for record in records if record.decoder.name == "server"]
    assert [record.status for record in own] == ["ok", "ok", "error", "error"]
    assert all("tired" in record.error and record.marks is None for record in own[2:])
    assert {record.status for record in records if record.model_label == "ideal"} == {"ok"}
    (result, _) = summarize(records)
    assert (result.count, result.samples, result.statuses) == (2, 2, {"error": 2, "ok": 2})
    assert result.tokens_per_step is result.nfe is None
    assert len(asked) == 2
    (result, _) = summarize({record.key: record for record in directory.records()}.values())
    assert (result.count, result.accuracy) == (4, 1.0)


def test_every_decoder_meets_the_same_samples():
    digests = {}
    decoders = ["random:k=4", "confidence:k=2", "one_by_one"]
    for record in execute(plan(decoders=decoders)):
        digests.setdefault(record.decoder.name, {})[record.index] = record.sample_digest
    first, *others = digests.values()
    assert len(set(first.values())) == 3
    assert others == [first, first]


def test_more_samples_leave_the_first_ones_as_they_are():
    few, many = told(execute(plan())), told(execute(plan(samples=5)))
    assert few.items() <= many.items()


def test_another_seed_gives_other_samples():
    def digests(seed):
        return {record.sample_digest for record in execute(plan(seed=seed))}

    assert digests(0).isdisjoint(digests(1))


def test_repeats_differ_in_their_randomness_and_in_nothing_else():
    orders = {}
    for record in execute(plan(decoders="random:k=1", repeats=3, samples=4)):
        orders.setdefault(record.repeat, {})[record.index] = record.decoding.trace.positions
    assert sorted(orders) == [0, 1, 2]
    assert orders[0] != orders[1] != orders[2] != orders[0]
    first = told(execute(plan(decoders="random:k=1", samples=4)))
    repeated = told(execute(plan(decoders="random:k=1", samples=4, repeats=3)))
    assert first.items() <= repeated.items()


def test_two_models_meet_the_same_randomness():
    records = execute(plan(models="ideal,ideal:noise=0", decoders="random:k=1"))
    orders = {}
    for record in records:
        orders.setdefault(record.model_label, {})[record.index] = record.decoding.trace.positions
    exact, noisy = orders.values()
    assert exact == noisy


def test_settings_of_a_strategy_meet_the_same_randomness():
    records = execute(plan(decoders="random:k=1|2|4", samples=4))
    first = {}
    for record in records:
        first.setdefault(record.index, []).append(
            (record.decoder.fields["k"], record.decoding.trace)
        )
    for traces in first.values():
        one, two, four = (trace for _, trace in sorted(traces, key=lambda pair: pair[0]))
        assert set(one.positions[0]) < set(two.positions[0]) < set(four.positions[0])


def test_another_strategy_draws_other_numbers():
    orders = {}
    for record in execute(plan(decoders="random:k=1,llada:score=random", samples=6)):
        orders.setdefault(record.decoder.name, {})[record.index] = record.decoding.trace.positions
    assert orders["random"] != orders["llada"]


def draws_at(name, temperature):
    try:
        return not DECODERS[name](temperature=temperature).deterministic
    except ValueError:  # its tokens are not drawn
        return False


def test_a_field_that_does_nothing_buys_no_other_randomness():
    """Every strategy that draws, with blocks that are longer than any canvas."""
    load_plugins()
    given = STATISTICS | IdealModel.capabilities
    drawing = [
        name
        for name in DECODERS
        if DECODERS[name]().needs <= given and draws_at(name, temperature=0.7)
    ]
    assert len(drawing) > 20
    decoders = [f"{name}:temperature=0.7,block_length=64|12345" for name in drawing]
    seen = {}
    for record in execute(plan(decoders=decoders, samples=1)):
        seen.setdefault((record.decoder.name, record.index), []).append(
            asdict(record.decoding.trace)
        )
    for (decoder, _), traces in seen.items():
        assert traces[0] == traces[1], decoder


# What stops a run, and how it goes on.


@dataclass(frozen=True, kw_only=True)
class Moody(Surest):
    """Fails on every sample while it is in that mood."""

    bad_mood: ClassVar[bool] = True

    def choose(self, step):
        if Moody.bad_mood:
            raise ZeroDivisionError("half a pair: \ud800")
        return super().choose(step)


@dataclass(frozen=True, kw_only=True)
class Idle(Surest):
    """Never commits anything."""

    def choose(self, step):
        return torch.zeros_like(step.open)


@dataclass(frozen=True, kw_only=True)
class Oracle(Surest):
    """Is told the right answers."""

    needs: ClassVar = frozenset({"token", "confidence", "answers"})


@dataclass(frozen=True, kw_only=True)
class Attentive(Surest):
    """Needs what the ideal model does not have."""

    needs: ClassVar = frozenset({"token", "confidence", "attention"})


@pytest.fixture
def moody(monkeypatch):
    monkeypatch.setitem(DECODERS._entries, "moody", Moody)
    monkeypatch.setattr(Moody, "bad_mood", True)
    return plan(decoders="moody,random:k=2")


def test_a_decode_that_stalls_is_marked_as_wrong_whatever_stands_on_its_canvas(monkeypatch):
    monkeypatch.setitem(DECODERS._entries, "idle", Idle)
    for record in execute(plan(decoders="idle")):
        assert record.status == record.marks.problem == "stalled"
        assert record.marks.strict == record.marks.lenient == 0
        assert (
            record.decoding.trace.replay(record.decoding.canvas)
            == record.decoding.canvas
            == record.decoding.output_ids
        )


def test_a_decoder_that_is_told_the_answers_is_recorded_as_an_oracle(monkeypatch):
    monkeypatch.setitem(DECODERS._entries, "oracle", Oracle)
    records = list(execute(plan(decoders="oracle,random")))
    assert {record.decoder.name: record.decoder.oracle for record in records} == {
        "oracle": True,
        "random": False,
    }


def test_an_error_is_recorded_without_marks_and_the_others_go_on(moody):
    records = list(execute(moody))
    failed = [record for record in records if record.decoder.name == "moody"]
    assert {record.status for record in failed} == {"error"}
    assert all(record.marks is None for record in failed)
    assert all(
        record.error.startswith("ZeroDivisionError: half a pair: \\ud800") for record in failed
    )
    assert len([record for record in records if record.status == "ok"]) == 3


def test_an_error_is_tried_again_at_the_next_start_and_the_last_record_wins(
    moody, tmp_path, monkeypatch
):
    from parallelbench.results.result import summarize

    run(moody, tmp_path / "run")
    monkeypatch.setattr(Moody, "bad_mood", False)
    directory = run(moody, tmp_path / "run")
    records = list(directory.records())
    assert len(records) == moody.decodes + 3
    assert [r.status for r in records if r.decoder.name == "moody"] == ["error"] * 3 + ["ok"] * 3
    statuses = {result.decoder: dict(result.statuses) for result in summarize(records)}
    assert statuses == {"moody": {"ok": 3}, "random": {"ok": 3}}
    run(moody, tmp_path / "run")
    assert len(list(directory.records())) == moody.decodes + 3


class Unmarked(City):
    """Marks no reply: what it does instead is said by its mood."""

    mood: ClassVar[str] = "raise"

    def score(self, sample, reply):
        if Unmarked.mood == "raise" and sample.id.endswith("1"):
            raise ZeroDivisionError("no\nmark")
        if Unmarked.mood == "nothing":
            return None
        marks = super().score(sample, reply)
        return replace(marks, parts={"n": math.nan}) if Unmarked.mood == "nan" else marks

    def draw(self, rng, index):
        if Unmarked.mood == "drawless" and index == 9:
            raise KeyError("no sample")
        return super().draw(rng, index)


@pytest.fixture
def unmarked(monkeypatch):
    monkeypatch.setitem(TASKS._entries, "unmarked", Unmarked)
    monkeypatch.setattr(Unmarked, "mood", "raise")
    return plan(tasks="unmarked,choices/dice")


def test_a_score_that_raises_ends_no_run_and_is_asked_again(unmarked, tmp_path, monkeypatch):
    failed = []
    directory = run(unmarked, tmp_path / "run", failed=failed.append)
    (record,) = failed
    assert (record.status, record.marks, record.index) == ("error", None, 1)
    assert record.error == "the score of task 'choices/city' raised ZeroDivisionError: no mark"
    # What was decoded stays, and can be looked at.
    assert record.decoding.trace.replay(record.decoding.canvas) == record.decoding.output_ids
    assert record.text
    assert [each.status for each in directory.records()].count("ok") == 5
    monkeypatch.setattr(Unmarked, "mood", "well")
    run(unmarked, tmp_path / "run")
    latest = {each.key: each.status for each in directory.records()}
    assert set(latest.values()) == {"ok"}


@pytest.mark.parametrize(("mood", "words"), [("nothing", "None"), ("nan", "finite")])
def test_marks_that_are_none_are_an_error_of_that_decode(unmarked, monkeypatch, mood, words):
    monkeypatch.setattr(Unmarked, "mood", mood)
    errors = [record.error for record in execute(unmarked) if record.status == "error"]
    assert len(errors) == 3
    assert all(words in error for error in errors)


def test_a_score_that_raises_on_a_servers_reply_keeps_the_reply(unmarked):
    with Scripted(says("<think>hm</think>New York", reasoning="so")) as server:
        asked = plan(models=f"api:{server.url}:model=m", tasks="unmarked")
        records = sorted(execute(asked), key=lambda record: record.index)
    assert [record.status for record in records] == ["ok", "error", "ok"]
    assert {record.text for record in records} == {"New York"}
    assert {record.served.content for record in records} == {"<think>hm</think>New York"}
    assert {record.served.reasoning for record in records} == {"so"}


def test_a_task_that_cannot_draw_is_refused_before_anything_is_written(
    unmarked, monkeypatch, tmp_path
):
    monkeypatch.setattr(Unmarked, "mood", "drawless")
    asked = plan(tasks="unmarked", samples=10)
    with pytest.raises(RunFileError, match=r"'unmarked' cannot draw sample 9 .*KeyError: 'no s"):
        run(asked, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_replies_that_a_server_cut_off_are_counted(tmp_path):
    behaviours = says("New York", finish="length"), says("<think>", finish="length"), says("City")
    with Scripted(*behaviours) as server:
        directory = run(
            plan(models=f"api:{server.url}:model=m,concurrency=1", tasks="choices/city"), tmp_path
        )
    (result,) = summarize(directory.records())
    assert result.finishes == {"length": 2, "stop": 1}
    assert result.statuses == {"ok": 2, "error": 1}
    records = [record for record in directory.records() if record.status == "error"]
    assert [(record.text, record.served.content) for record in records] == [("", "<think>")]


@pytest.mark.parametrize(
    ("finished", "words"), [(2, r"every finished decode \(2\) is"), (0, "no decode")]
)
def test_a_run_that_breaks_off_says_what_is_recorded(tmp_path, finished, words):
    gone = [says("New York")] * finished + [fails(400, b"tired")]
    with Scripted(*gone) as server:
        model = f"api:{server.url}:model=m,concurrency=1,attempts=1"
        with pytest.raises(UnreachableError, match=f"20 requests in a row failed.*; {words}"):
            run(plan(models=model, tasks="choices/city", samples=50), tmp_path)


def test_a_decoder_that_needs_what_the_model_lacks_is_refused_first(monkeypatch, tmp_path):
    monkeypatch.setitem(DECODERS._entries, "attentive", Attentive)
    asked = plan(decoders="random,attentive")
    with pytest.raises(RunFileError) as caught:
        execute(asked)
    assert str(caught.value) == (
        "decoder 'attentive' needs attention, which model 'ideal' does not give"
    )
    with pytest.raises(RunFileError):
        run(asked, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("task", "kind", "sentence"),
    [
        (
            "waiting_line/shuffle:length=15",
            CanvasError,
            "takes 46 tokens, but the canvas has 32; set canvas_length=46 or more",
        ),
        (
            "choices/city:canvas_length=1",
            CanvasError,
            "takes 2 tokens, but the canvas has 1; set canvas_length=2 or more",
        ),
        (
            "waiting_line/shuffle:length=15,canvas_length=64",
            NotEnumerableError,
            "has 1,307,674,367,999 right answers, over the limit of 100,000",
        ),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_is_written(task, kind, sentence, tmp_path):
    with pytest.raises(kind) as caught:
        run(plan(tasks=["choices/sum", task]), tmp_path / "run")
    assert sentence in str(caught.value)
    assert issubclass(kind, RequestError)
    assert not (tmp_path / "run").exists()


def test_a_finished_run_is_not_decoded_again(tmp_path, monkeypatch):
    asked = plan()
    directory = run(asked, tmp_path / "run")
    before = {path: path.read_bytes() for path in directory.path.iterdir()}

    def refuse(*_, **__):
        raise AssertionError("a model was opened")

    monkeypatch.setattr(type(build(asked.models[0], MODELS)), "open", refuse)
    seen = []
    run(asked, tmp_path / "run", progress=seen.append)
    assert seen == [(asked.decodes, None, 0)]
    assert {path: path.read_bytes() for path in directory.path.iterdir()} == before


def test_a_run_is_not_continued_with_another_model(tmp_path, monkeypatch):
    from itertools import islice

    from parallelbench.models import own_codec

    begun = RunDirectory.begin(tmp_path / "run", plan())
    with begun.appending() as writer:
        for record in islice(execute(plan()), 1):
            writer.append(record)
    words = own_codec.word_tokenizer
    monkeypatch.setattr(own_codec, "word_tokenizer", lambda own: words([*own, "onemoreword"]))
    with pytest.raises(
        RunFileError, match=r"this installation has another 'ideal' than .*: digest"
    ):
        run(plan(), begun.path)
    assert len(list(begun.records())) == 1


@pytest.fixture
def drawn_formerly(tmp_path):
    """A run of which a release began one strategy that draws and one that does not."""
    asked = plan(decoders="random:k=2,confidence:k=2", samples=3)
    begun = RunDirectory.begin(tmp_path / "run", asked)
    begun.add_environment({"python": "3.12"})
    with begun.appending() as writer:
        for record in execute(asked):
            if record.index == 0:
                writer.append(record)
    return asked, begun


def test_a_run_that_drew_by_the_former_rule_is_not_continued_by_another(drawn_formerly):
    asked, begun = drawn_formerly
    before = len(list(begun.records()))
    with pytest.raises(
        RunFileError, match=r"begun by an earlier release.*left of random:k=2 would"
    ):
        run(asked, begun.path)
    assert len(list(begun.records())) == before


def test_a_run_of_an_earlier_release_is_continued_where_nothing_is_drawn(tmp_path):
    asked = plan(decoders="confidence:k=2", samples=3)
    begun = RunDirectory.begin(tmp_path / "run", asked)
    begun.add_environment({"python": "3.12"})
    with begun.appending() as writer:
        writer.append(next(execute(asked)))
    assert len(list(run(asked, begun.path).records())) == asked.decodes


def test_a_strategy_that_draws_may_be_added_to_a_run_of_an_earlier_release(tmp_path):
    asked = plan(decoders="random:k=2", samples=1)
    begun = run(asked, tmp_path / "run")
    (start,) = begun.environments()
    del start["random_key"]
    begun.write_text("environment.json", json.dumps([start]))
    more = plan(decoders="random:k=2|3", samples=1)
    assert len(list(run(more, begun.path, extend=True).records())) == 2
    with pytest.raises(RunFileError, match="begun by an earlier release"):
        run(plan(decoders="random:k=2|3", samples=2), begun.path, extend=True)


def test_the_environment_says_which_model_made_the_records(tmp_path):
    directory = run(plan(samples=1), tmp_path / "run")
    (start,) = directory.environments()
    (record,) = directory.records()
    assert start["models"]["ideal"]["digest"] == record.model.digest
    assert start["models"]["ideal"]["noise"] == 0.001


def test_progress_counts_every_record_from_what_was_there(tmp_path):
    asked = plan()
    seen = []
    run(asked, tmp_path / "run", progress=seen.append)
    assert seen == [(0, None, 0), (1, "ideal", 2), (2, "ideal", 1), (3, "ideal", 0)]


def test_the_progress_of_several_models_says_how_many_decodes_each_has_left(tmp_path):
    asked = plan(models=["ideal", "ideal:seed=1"])
    begun = RunDirectory.begin(tmp_path / "run", asked)
    with begun.appending() as writer:
        writer.append(next(execute(asked)))
    seen = []
    run(asked, tmp_path / "run", progress=seen.append)
    assert seen == [
        (1, None, 0),
        *((2, "ideal", 1), (3, "ideal", 0)),
        *((4, "ideal:seed=1", 2), (5, "ideal:seed=1", 1), (6, "ideal:seed=1", 0)),
    ]


LONG = {
    "tasks": "waiting_line/*_random",
    "decoders": "confidence:k=1|2,random:temperature=1",
    "samples": 25,
}


def started(folder):
    options = itertools.chain.from_iterable((f"--{key}", str(LONG[key])) for key in LONG)
    command = [sys.executable, "-m", "parallelbench", "run", *options, "--batch-size", "4"]
    return subprocess.Popen(
        [*command, "--out", folder],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder.parent,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def wait_for_more_records(process, file, than):
    """Return as soon as ``file`` holds some records more than ``than``."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if file.exists() and file.read_bytes().count(b"\n") > than + 10:
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    raise TimeoutError


@pytest.fixture(scope="module")
def uninterrupted():
    asked = plan(**LONG)
    return asked, told(execute(asked))


def test_a_run_that_is_killed_and_started_again_ends_as_if_never_killed(tmp_path, uninterrupted):
    asked, expected = uninterrupted
    folder = tmp_path / "run"
    file = folder / "records-0.jsonl"
    recorded = 0
    for _ in range(2):
        process = started(folder)
        wait_for_more_records(process, file, recorded)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        with file.open("ab") as stream:  # as if killed in the middle of a write
            stream.write(file.read_bytes().splitlines()[0][:300])
        before, recorded = recorded, file.read_bytes().count(b"\n")
        assert before < recorded < asked.decodes
    process = started(folder)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert f"{recorded} recorded before" in errors
    assert told(RunDirectory.open(folder).records()) == expected
    assert len(RunDirectory.open(folder).environments()) == 3
    assert (folder / "report.html").stat().st_size > 0


def test_an_interrupted_run_says_so_and_goes_on(tmp_path, uninterrupted):
    asked, expected = uninterrupted
    folder = tmp_path / "run"
    process = started(folder)
    wait_for_more_records(process, folder / "records-0.jsonl", 0)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert [line for line in errors.splitlines() if line][-1] == (
        "parallelbench: interrupted; every finished decode is recorded, "
        "and the same command continues the run"
    )
    assert "Traceback" not in errors
    before = list(RunDirectory.open(folder).records())
    assert told(before).items() <= expected.items()
    assert told(run(asked, folder).records()) == expected
