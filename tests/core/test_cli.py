"""The command line: what it prints, where, and how it refuses."""

import dataclasses
import json
import os
import subprocess
import sys
import typing
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

from parallelbench.cli.program import main
from parallelbench.errors import RequestError
from parallelbench.run import runfile
from parallelbench.run.rundir import RunDirectory
from support.checkpoints import write_checkpoint
from support.servers import Scripted, fails, says

SMALL = ("--tasks", "choices/city", "--decoders", "random:k=4", "--samples", "3")
VERBS = (
    *("run", "estimate", "report", "show", "list", "doctor", "bounds", "judge", "train", "merge"),
    *("check-decoder", "decoder-table", "export", "replay"),
)


@pytest.fixture
def refused(call):
    """Run a command that must be refused in one line; return the line."""

    def run(*arguments):
        status, output, errors = call(*arguments)
        assert status == 2, errors
        assert output == ""
        assert len(errors.splitlines()) == 1, errors
        assert errors.startswith("parallelbench: ")
        return errors.removeprefix("parallelbench: ").strip()

    return run


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# What it does.


def test_a_run_leaves_a_run_directory_and_prints_its_results(call, tmp_path):
    status, output, errors = call("run", *SMALL, "--out", "run")
    assert status == 0
    assert "choices/city" in output
    assert errors.splitlines()[0] == "3 decodes into run"
    assert {"run.yaml", "environment.json", "records-0.jsonl", "results.json", "report.html"} <= {
        path.name for path in (tmp_path / "run").iterdir()
    }


def test_without_options_a_first_look_is_taken_which_says_that_it_is_one(
    call, tmp_path, monkeypatch
):
    small = "{models: [ideal, mini], tasks: choices/dice, decoders: 'random:k=32', samples: 2}"
    (tmp_path / "small.yaml").write_text(small)
    monkeypatch.setitem(runfile.EMBEDDED, "default", tmp_path / "small.yaml")
    status, output, errors = call("run", "--out", "run")
    assert status == 0
    assert "ideal" in output
    assert "mini" in output
    assert "a first look, with 2 samples of 1 tasks" in errors
    assert "parallelbench run sweep" in errors
    status, _, errors = call("run", "--decoders", "random:k=16", "--out", "other")
    assert (status, "first look" in errors) == (0, False)
    frozen = yaml.safe_load((tmp_path / "other" / "run.yaml").read_text())
    assert [model["name"] for model in frozen["models"]] == ["ideal"]
    assert frozen["samples"] == 100


def test_an_embedded_run_is_asked_for_by_its_name(call, tmp_path):
    options = ("--model", "ideal", *SMALL, "--out", "run")
    assert call("run", "sweep", *options)[0] == 0
    assert call("run", *options)[2].startswith("3 decodes into run, 3 recorded before")


@pytest.mark.parametrize("verb", ["run", "report"])
def test_results_as_json_are_all_that_stands_on_stdout(call, verb):
    arguments = {"run": ("run", *SMALL, "--out", "run"), "report": ("report", "run")}
    call(*arguments["run"])
    status, output, _ = call(*arguments[verb], "--json")
    assert status == 0
    (result,) = json.loads(output)
    assert {"task", "fields", "interval", "answer_tokens_per_step", "nfe"} <= set(result)
    assert result["decoder"] == "random"
    assert result["fields"]["k"] == 4
    assert result["count"] == 3
    assert result["statuses"] == {"ok": 3}
    assert result["interval"][0] <= result["accuracy"] <= result["interval"][1]
    assert result["tokens_per_step"] == 4.0


def test_without_a_folder_the_run_goes_where_its_digest_says(call, tmp_path):
    call("run", *SMALL)
    (folder,) = (tmp_path / "runs").iterdir()
    assert RunDirectory.open(folder).runfile.digest.startswith(folder.name)


def test_a_finished_run_is_not_decoded_again_and_says_so(call, tmp_path):
    _, first, _ = call("run", *SMALL, "--out", "run")
    before = contents(tmp_path / "run")
    status, second, errors = call("run", *SMALL, "--out", "run")
    assert status == 0
    assert errors.splitlines()[0] == (
        "3 decodes into run, 3 recorded before: nothing is left to decode"
    )
    assert second == first
    after = contents(tmp_path / "run")
    for kept in ("records-0.jsonl", "run.yaml", "environment.json", "results.json"):
        assert after[tmp_path / "run" / kept] == before[tmp_path / "run" / kept]


def test_options_override_the_run_file(call, tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "models: ideal\ntasks: choices/*\ndecoders: [one_by_one]\nsamples: 50\nseed: 4\n"
    )
    status, _, errors = call("run", "mine.yaml", *SMALL, "--repeats", "2", "--out", "run")
    assert status == 0, errors
    content = yaml.safe_load((tmp_path / "run" / "run.yaml").read_text())
    assert [task["name"] for task in content["tasks"]] == ["choices/city"]
    assert [decoder["fields"]["k"] for decoder in content["decoders"]] == [4]
    assert (content["samples"], content["repeats"], content["seed"]) == (3, 2, 4)


def test_the_run_file_of_a_run_makes_the_same_run_elsewhere(call, tmp_path):
    call("run", *SMALL, "--out", "first")
    status, _, errors = call("run", tmp_path / "first" / "run.yaml", "--out", "second")
    assert status == 0, errors
    first, second = (RunDirectory.open(tmp_path / name) for name in ("first", "second"))
    assert first.runfile == second.runfile


def test_a_terminal_gets_a_bar(call, monkeypatch):
    monkeypatch.setattr("parallelbench.cli.program.sys.stderr.isatty", lambda: True)
    status, _, errors = call("run", *SMALL, "--out", "run")
    assert status == 0
    assert "decoding" in errors
    assert "3 of 3" in errors


def test_list_tells_every_name_with_its_fields(call):
    status, output, _ = call("list", "--json")
    listed = json.loads(output)
    assert status == 0
    assert set(listed) == {"tasks", "decoders", "models"}
    (confidence,) = [each for each in listed["decoders"] if each["name"] == "confidence"]
    assert confidence["fields"] == {"block_length": None, "temperature": 0.0, "k": 1}
    assert confidence["summary"].startswith("Commit the ``k`` positions of highest confidence")
    _, decoders, _ = call("list", "decoders", "--json")
    assert json.loads(decoders) == listed["decoders"]
    _, text, _ = call("list")
    for kind in listed.values():
        for each in kind:
            assert f"\n  {each['name']}\n" in text
    assert "``" not in text
    assert "surest" not in text
    assert "answer distribution known; scores: " in text


def test_show_prints_samples_with_a_right_answer_and_how_many_there_are(call):
    task = "list_operations/shuffle:length=3"
    status, output, _ = call("show", task, "--count", 2, "--seed", 1, "--json")
    shown = json.loads(output)
    assert status == 0
    assert [each["id"] for each in shown] == [f"list_operations/shuffle/0000{i}" for i in (0, 1)]
    assert {each["right_answers"] for each in shown} == {"5"}
    assert {"messages", "reference", "facts", "digest"} <= set(shown[0])
    _, text, _ = call("show", task, "--count", 2, "--seed", 1)
    assert f"a right answer: {shown[1]['reference']}" in text
    assert shown[1]["messages"][-1]["content"] in text


def test_show_says_when_there_are_too_many_answers_to_list(call):
    status, output, _ = call("show", "waiting_line/shuffle:length=15", "--count", "1")
    assert status == 0
    assert "1,307,674,367,999 right answers, over the limit" in output


def test_doctor_ends_with_our_fault_where_the_batch_changes_the_tokens(call, monkeypatch):
    from parallelbench.checks import doctor

    honest = doctor.execute

    def dependent_on_the_batch(plan, *, parts, batch_size):
        changed = dataclasses.replace(plan, seed=batch_size)
        return honest(changed, parts=parts, batch_size=batch_size)

    monkeypatch.setattr(doctor, "execute", dependent_on_the_batch)
    status, output, _ = call("doctor", "--json")
    assert status == 1
    assert json.loads(output)["healthy"] is False


def test_doctor_marks_the_oracles(call):
    _, output, _ = call("doctor", "--json")
    served = json.loads(output)["decoders"]
    marked = {name for name, value in served.items() if "(an oracle: it is given" in value}
    assert marked == {"information", "label"}
    assert served["confidence"] == "yes"


def test_doctor_finds_this_installation_healthy(call):
    status, output, _ = call("doctor", "--json")
    found = json.loads(output)
    assert status == 0
    assert found["healthy"] is True
    assert found["same_tokens_at_batch_1_and_8"] == "24 of 24"
    assert {"python", "packages", "family", "memory_bytes"} <= set(found)
    assert found["decoders"]["confidence"] == "yes"


def test_doctor_says_what_a_checkpoint_is_and_what_it_lacks(call, tmp_path, monkeypatch):
    from parallelbench.decoder import DECODERS

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Curious(DECODERS["confidence"]):
        needs: typing.ClassVar = frozenset({"token", "confidence", "hidden"})

    monkeypatch.setitem(DECODERS._entries, "curious", Curious)
    folder = write_checkpoint("sdar", tmp_path / "sdar")
    status, output, errors = call("doctor", "--model", f"hf:{folder}", "--json")
    found = json.loads(output)
    assert (status, errors) == (0, "")
    assert (found["family"], found["network"]) == ("sdar", "Qwen3ForCausalLM")
    assert (found["dtype"], found["attention"]) == ("float32", "sdpa")
    assert found["memory_bytes"] > 10**6
    assert found["decoders"]["curious"] == "no: needs hidden"
    assert found["decoders"]["confidence"] == "yes"


def test_a_chat_template_is_given_beside_a_checkpoint_without_one(call, refused, tmp_path):
    folder = write_checkpoint("dream", tmp_path / "dream")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    template = tmp_path / "chat.jinja"
    template.write_text(settings.pop("chat_template"))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    command = ["run", "--model", f"hf:{folder}", "--tasks", "choices/city", "--samples", 2]
    command += ["--decoders", "confidence:k=8", "--json", "--out", tmp_path / "run"]
    assert "--template" in refused(*command)
    status, output, _ = call(*command, "--template", template)
    assert status == 0
    assert json.loads(output)
    assert "takes no chat template" in refused("run", "--template", template)


def test_decodes_that_ended_in_an_error_are_told_and_tried_again(call, tmp_path):
    with Scripted(says("New York"), fails(400, b"tired")) as server:
        model = f"api:{server.url}:model=m,concurrency=1"
        command = ["run", "--model", model, "--tasks", "choices/city", "--samples", 3]
        command += ["--out", tmp_path / "run"]
        status, output, errors = call(*command)
        assert status == 1
        assert "unfinished: 1 of 3 decodes are marked" in output
        assert "2 of 3 decodes ended in an error and are not counted; the first: " in errors
        assert "tired" in errors
        server.script = [says("New York")]
        status, output, errors = call(*command)
    assert status == 0
    assert "3 ok" in output
    assert "ended in an error" not in errors


def test_the_list_of_verbs_does_not_wait_for_torch():
    script = (
        "import sys\n"
        "from parallelbench.cli.program import main\n"
        "main(['--help'])\n"
        "sys.exit(sorted({'torch', 'transformers', 'numpy'} & set(sys.modules)) or None)\n"
    )
    shown = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    assert b"train" in shown.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_every_verb_has_an_example(call, verb):
    status, output, errors = call(verb, "--help")
    assert (status, errors) == (0, "")
    assert "Example" in output
    assert f"parallelbench {verb}" in output.partition("Example")[2]


def test_the_command_alone_prints_its_help(call):
    for arguments in ((), ("--help",), ("-h",)):
        status, output, errors = call(*arguments)
        assert (status, errors) == (0, "")
        assert all(f"\n  {verb} " in output for verb in VERBS)
    status, output, _ = call("--version")
    assert (status, output) == (0, f"parallelbench, version {version('parallelbench')}\n")


# What it refuses.


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--tasks", "choices/citi"), "no task is called 'choices/citi'; did you mean 'choices/"),
        (("--tasks", "shuffle"), "did you mean 'list_operations/shuffle' or 'waiting_line/shuf"),
        (("--tasks", "nothing/*"), "no task matches 'nothing/*'; parallelbench list tasks shows"),
        (("--tasks", ""), "no task is named: the name is empty; parallelbench list tasks shows"),
        (("--tasks", "waiting_line"), "did you mean 'waiting_line/*' or 'waiting_line/copy'?"),
        (("--decoders", "confidense"), "did you mean 'confidence'"),
        (("--model", "idael"), "no model is called 'idael'; did you mean 'ideal'?"),
        (("--model", "ORG/NAME"), "no model is called 'ORG/NAME'; did you mean 'hf:ORG/NAME'?"),
        (("--model", "http://h:1/v1"), "did you mean 'api:http://h:1/v1'?"),
        (("--decoders", "confidence:kk=1"), "no field is called 'kk'; did you mean 'k'?"),
        (("--decoders", "confidence:k=0"), "k must be at least 1 token per step, got 0"),
        (("--decoders", "confidence:k=-1"), "k must be at least 1 token per step, got -1"),
        (("--decoders", "confidence:k=two"), "'k' must be a whole number, got 'two'"),
        (
            ("--decoders", "confidence_threshold:threshold=1.5"),
            "threshold must lie in (0, 1], got 1.5",
        ),
        (("--decoders", "confidence_threshold:threshold=0"), "must lie in (0, 1], got 0.0"),
        (("--tasks", "waiting_line/copy:length=500"), "needs 1 to 100 people, got length=500"),
        (("--tasks", "choices/city:canvas_length=1"), "takes 2 tokens, but the canvas has 1"),
        (("--tasks", "waiting_line/shuffle:length=15"), "set canvas_length=46 or more"),
        (
            ("--tasks", "waiting_line/shuffle:length=15,canvas_length=64"),
            "1,307,674,367,999 right answers, over the limit of 100,000",
        ),
        (("--model", "ideal:tokenizer=/nowhere"), "no tokenizer can be loaded from '/nowhere'"),
        (("--samples", "0"), "it must be 1 to 10,000,000, got 0"),
        (("--samples", "many"), "'many' is not a valid integer"),
        (("--seed", "-1"), "it must be 0 to 2^128 - 1, got -1"),
        (("--batch-size", "0"), "it must be 1 to 1,000,000, got 0"),
        (("--sampels", "3"), "'--samples'"),
        (
            ("missing.yaml",),
            "there is no run file missing.yaml: give the path of a YAML file, or one of",
        ),
        (("--out", "x" * 300), "cannot be used: file name too long"),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, tuple) else "",
)
def test_a_run_that_cannot_be_is_refused_in_one_line_and_leaves_nothing(
    refused, tmp_path, arguments, sentence
):
    assert sentence in refused("run", *SMALL, "--out", "run", *arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("rum",), "no verb is called 'rum'; did you mean 'run'?"),
        (("list", "taks"), "'taks' is not one of 'tasks', 'decoders', 'models'"),
        (("show", "choices/citi"), "did you mean 'choices/city'"),
        (("show",), "Missing argument 'TASK'"),
        (("show", "choices/city", "--count", "0"), "it must be 1 to 10,000,000, got 0"),
        (("doctor", "--model", "idael"), "did you mean 'ideal'?"),
        (("report", "."), ". is not a run directory: it holds no run.yaml"),
        (("report", "missing"), "missing is not a run directory"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_any_other_wrong_request_is_refused_in_one_line(refused, arguments, sentence):
    assert sentence in refused(*arguments)


def test_a_run_file_with_an_unknown_key_is_refused(refused, tmp_path):
    (tmp_path / "mine.yaml").write_text("models: ideal\ndecoder: random\n")
    line = refused("run", "mine.yaml")
    assert line == "mine.yaml: no key is called 'decoder'; did you mean 'decoders'?"


def test_a_run_that_changed_since_it_began_is_refused_with_the_difference(call, refused, tmp_path):
    call("run", *SMALL, "--out", "run")
    before = contents(tmp_path)
    line = refused("run", *SMALL, "--seed", "1", "--samples", "4", "--out", "run")
    assert "run holds another run: now asked for samples 4 instead of 3; seed 1 instead of" in line
    assert contents(tmp_path) == before


def test_a_folder_that_cannot_be_written_is_refused(refused, tmp_path):
    (tmp_path / "file").touch()
    line = refused("run", *SMALL, "--out", "file/run")
    assert line.startswith("file/run cannot be used: not a directory; ")


def test_records_sent_to_a_full_device_are_refused(call, refused, tmp_path):
    call("run", *SMALL, "--out", "run")
    records = tmp_path / "run" / "records-0.jsonl"
    records.unlink()
    records.symlink_to("/dev/full")
    assert "is not a file that can keep records" in refused("run", *SMALL, "--out", "run")


@pytest.mark.parametrize("verb", ["run", "report"])
def test_a_spoilt_record_is_refused_and_nothing_is_deleted(call, refused, tmp_path, verb):
    call("run", *SMALL, "--out", "run")
    records = tmp_path / "run" / "records-0.jsonl"
    first, middle, last = records.read_bytes().splitlines(keepends=True)
    records.write_bytes(first + middle.replace(b'"strict":', b'"strict":1') + last)
    before = contents(tmp_path)
    arguments = ("run", *SMALL, "--out", "run") if verb == "run" else ("report", "run")
    assert refused(*arguments) == (
        "run/records-0.jsonl line 2 was altered: its digest does not match what it says; "
        "delete that line and start the run again to do its sample again"
    )
    assert contents(tmp_path) == before


def test_a_torn_last_record_is_refused_by_the_report_and_done_again_by_the_run(
    call, refused, tmp_path
):
    call("run", *SMALL, "--out", "run")
    records = tmp_path / "run" / "records-0.jsonl"
    records.write_bytes(records.read_bytes()[:-40])
    line = refused("report", "run")
    assert line.startswith("run/records-0.jsonl line 3 is torn")
    assert line.endswith("start the run again to drop that line and do its sample again")
    status, _, errors = call("run", *SMALL, "--out", "run")
    assert status == 0
    assert "3 decodes into run, 2 recorded before" in errors
    assert call("report", "run")[0] == 0


def test_an_interruption_ends_in_one_line_and_its_own_status(call, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("parallelbench.run.runner.run", interrupt)
    status, _, errors = call("run", *SMALL, "--out", "run")
    assert status == 130
    assert errors.strip() == "parallelbench: interrupted; no decode was finished"
    monkeypatch.setattr("parallelbench.run.merge.merge", interrupt)
    status, _, errors = call("merge", "run", "--out", "whole")
    assert (status, errors.strip()) == (130, "parallelbench: interrupted")


@pytest.mark.parametrize("command", [["list", "tasks"], ["list", "decoders"], ["--help"]])
def test_output_that_cannot_be_written_is_one_sentence(command, capsys, monkeypatch):
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        monkeypatch.setattr("sys.stdout", full)
        status = main(command)
    assert status == 1
    assert capsys.readouterr().err == (
        "parallelbench: standard output cannot be written: no space left on device\n"
    )


def test_a_reader_that_leaves_and_a_closed_output_are_no_crash(capsys, monkeypatch):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w", encoding="utf-8") as left:
        monkeypatch.setattr("sys.stdout", left)
        with pytest.raises(SystemExit) as ended:
            main(["list", "tasks"])
    assert ended.value.code == 1
    monkeypatch.setattr("sys.stdout", None)
    assert main(["list", "decoders"]) == 0
    assert capsys.readouterr().err == ""


def test_what_another_library_says_in_many_lines_is_put_in_one(refused, monkeypatch):
    def refuse(*_, **__):
        raise RequestError("it said:\n\n  no\n  and no")

    monkeypatch.setattr("parallelbench.run.runner.run", refuse)
    assert refused("run", *SMALL, "--out", "run") == "it said: no and no"


def test_a_fault_of_ours_keeps_its_traceback(call, monkeypatch):
    def fail(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr("parallelbench.run.runner.run", fail)
    with pytest.raises(ZeroDivisionError):
        call("run", *SMALL, "--out", "run")


# As a program of its own.


def program(*arguments, folder, **environment):
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_program_runs_in_any_folder_and_encoding(tmp_path):
    done = program(
        *("-m", "parallelbench", "run", *SMALL, "--out", "here"),
        folder=tmp_path,
        PYTHONIOENCODING="ascii",
    )
    assert done.returncode == 0, done.stderr
    assert "choices/city" in done.stdout
    assert (tmp_path / "here" / "report.html").exists()


def test_the_program_refuses_with_status_2_and_one_line(tmp_path):
    done = program("-m", "parallelbench", "show", "choices/citi", folder=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "did you mean 'choices/city'" in done.stderr


def test_asking_for_help_loads_nothing_heavy(tmp_path):
    script = (
        "import sys; from parallelbench.cli.program import main; main(['--help']); "
        "print([name for name in ('torch', 'transformers', 'matplotlib', 'scipy', 'pydantic') "
        "if name in sys.modules])"
    )
    done = program("-c", script, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
