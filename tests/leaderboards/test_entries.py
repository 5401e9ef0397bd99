"""From a run to an entry, and from an entry to a board."""

import dataclasses
import json
import lzma
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from parallelbench.cli.program import main
from parallelbench.errors import RequestError, SubmissionError
from parallelbench.leaderboards.board.board import add, read_board
from parallelbench.leaderboards.commands.packing import Statement, pack
from parallelbench.leaderboards.commands.regenerate import regenerated
from parallelbench.leaderboards.entry import folder, tokenizer_file
from parallelbench.leaderboards.entry.eligibility import differing_samples
from parallelbench.leaderboards.entry.season import season
from parallelbench.leaderboards.verify.verification import content_of, verified, verify_folder
from parallelbench.ranges import LEAST_SPOT_CHECK
from parallelbench.record_line import from_line, to_line
from parallelbench.run.rundir import RunDirectory
from parallelbench.run.runfile import make_runfile, read_content
from parallelbench.run.shard import Shard
from support import checkpoints
from support.entries import (
    SEED,
    TASKS_OF_SEASON,
    Spoilt,
    digested,
    make_entry,
    make_run,
    results_of,
)
from support.fabricated import altered, line_of_schema_1


@pytest.fixture(scope="module")
def foreign(tiny_season, tmp_path_factory):
    """An entry of a checkpoint that is no part of this package."""
    place = tmp_path_factory.mktemp("foreign")
    path = checkpoints.write_checkpoint("llada", place / "checkpoint")
    return make_entry(
        place, models=[f"hf:{path}"], decoders="confidence:k=16,random:k=32", repeats=2
    )


def test_an_entry_holds_the_records_of_its_run(good):
    entry = verify_folder(good)
    run = {record.key: record for record in RunDirectory.open(good.parent / "run").records()}
    assert entry.level == "reproduced"
    assert {record.key: record for record in entry.records} == run


def test_an_entry_may_hold_lines_of_both_schemas(entry):
    records = [from_line(digested(record), "here") for record in entry.records()]
    lines = [(line_of_schema_1 if n % 2 else to_line)(each) for n, each in enumerate(records)]
    entry.write_lines(lines)
    assert verify_folder(entry.path).level == "reproduced"
    entry.write_lines([line_of_schema_1(altered(records[0], text="another")), *lines[1:]])
    with pytest.raises(SubmissionError, match="claims text 'another'"):
        verified(entry.path)


def test_an_entry_of_an_earlier_release_may_claim_fewer_figures(entry):
    entry.change_json("results.json", lambda results: [each.pop("parts") for each in results])
    assert verify_folder(entry.path).level == "reproduced"


def test_an_entry_from_before_its_model_gained_a_field_holds(entry):
    entry.change_yaml("run.yaml", lambda run: run["models"][0]["fields"].pop("noise"))
    assert verify_folder(entry.path).level == "reproduced"


def test_an_entry_names_no_place_and_no_key(foreign):
    starts = json.loads((foreign / "environment.json").read_text())
    # A model's setting stays as it was typed: it is its name in every record.
    (facts,) = starts[0]["models"].values()
    (span,) = starts[0]["decoding"]
    spans = {**span, "models": None}
    assert "/" not in json.dumps([facts, spans, {**starts[0], "models": None, "decoding": None}])
    assert "host" not in json.dumps(starts)


def test_a_checkpoints_replies_are_read_again_without_it(foreign):
    shutil.move(foreign.parent / "checkpoint", foreign.parent / "away")
    try:
        found = verify_folder(foreign)
    finally:
        shutil.move(foreign.parent / "away", foreign.parent / "checkpoint")
    assert found.level == "recomputed"
    assert any("the submitter's word" in remark for remark in found.remarks)


def test_the_right_weights_make_an_entry_spot_checked_or_reproduced(foreign):
    rng = random.Random(0)  # noqa: S311  not for secrets
    weights = f"hf:{foreign.parent}/checkpoint"
    spot_checked = regenerated(verified(foreign), LEAST_SPOT_CHECK, rng=rng, weights=weights).entry
    records = len(spot_checked.records)
    assert spot_checked.level_told == (
        f"spot-checked: {LEAST_SPOT_CHECK} of {records} records, 100.0 % the same"
    )
    assert spot_checked.remarks[-1].endswith(
        f"{LEAST_SPOT_CHECK} of {records} records were decoded again; {LEAST_SPOT_CHECK} came out "
        "the same"
    )
    reproduced = regenerated(verified(foreign), None, weights=weights).entry
    assert reproduced.level_told == f"reproduced: {records} of {records} records, 100.0 % the same"


def test_other_weights_do_not_spot_check_an_entry(foreign, tmp_path):
    other = checkpoints.write_checkpoint("llada", tmp_path / "other", seed=1)
    with pytest.raises(SubmissionError, match="they are not those that decoded this entry"):
        regenerated(verified(foreign), None, weights=f"hf:{other}")


def test_an_invented_decode_of_a_built_in_model_fails_since_it_is_decoded_again(entry):
    # One call that writes the right answer: nothing but the model shows that it never happened.
    def invent(record):
        trace = record["decoding"]["trace"]
        ids = record["decoding"]["output_ids"]
        record["decoding"]["trace"] |= {
            "positions": [list(range(len(ids)))],
            "ids": [ids],
            "rows": [1],
            "row_tokens": trace["row_tokens"][:1],
            "auxiliary_calls": [0],
        }
        record["decoding"]["counts"] |= {
            "nfe": 1,
            "rows": 1,
            "token_positions": trace["row_tokens"][0],
            "steps": 1,
            "off_law_calls": 0,
            "tokens_per_step": float(len(ids)),
            "answer_tokens_per_step": float(record["decoding"]["counts"]["answer_tokens"]),
        }

    records = entry.records()
    invent(
        next(
            each
            for each in records
            if each["decoder"]["name"] == "confidence_threshold"
            and each["decoding"]["counts"]["nfe"] > 1
        )
    )
    entry.write_records(records)
    with pytest.raises(SubmissionError) as refusal:
        verified(entry.path)
    assert all("results.json" in fault for fault in refusal.value.faults)
    entry.write("results.json", results_of(records))
    found = verified(entry.path, redecode=False).entry
    assert found.level == "recomputed"
    assert any("adaptive" in remark for remark in found.remarks)
    with pytest.raises(SubmissionError, match="1 of 36 records came out otherwise"):
        verified(entry.path)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda codec: codec.update(end_id=300, digest="0"), "which is the ordinary token"),
        (lambda codec: codec["stop_ids"].append(300), "which is the ordinary token"),
        (lambda codec: codec.update(tokenizer="{}"), "no tokenizer can be made of it"),
        (lambda codec: codec.update(chat_template="{{ 1 / 0 }}"), "claims digest"),
        (lambda codec: codec.update(remote_code="x"), "no key is called 'remote_code'"),
        (lambda codec: codec["special_tokens"].update(auto_map="x"), "is none of"),
    ],
)
def test_a_tokenizer_that_hides_or_runs_something_is_refused(foreign, tmp_path, edit, words):
    spoilt = Spoilt(shutil.copytree(foreign, tmp_path / "entry"))
    codec = json.loads(lzma.decompress((spoilt.path / "codec-00.json.xz").read_bytes()))
    edit(codec)
    spoilt.write("codec-00.json.xz", lzma.compress(json.dumps(codec).encode()))
    with pytest.raises(SubmissionError, match=words):
        verified(spoilt.path)


def test_a_chat_template_without_end_is_refused_in_time(foreign, tmp_path, capsys):
    spoilt = Spoilt(shutil.copytree(foreign, tmp_path / "entry"))
    codec = json.loads(lzma.decompress((spoilt.path / "codec-00.json.xz").read_bytes()))
    loops = "{% for a in range(99999) %}" * 3 + "{% endfor %}" * 3
    template = loops + codec["chat_template"]
    like = tokenizer_file.from_file(codec, "it")
    digest = dataclasses.replace(like, chat_template=template).digest
    codec |= {"chat_template": template, "digest": digest}
    spoilt.write("codec-00.json.xz", lzma.compress(json.dumps(codec).encode()))
    spoilt.change_json("environment.json", lambda starts: starts.clear())
    for verb in ("verify", "add"):
        command = ["leaderboard", verb, str(spoilt.path), "--seconds", "1"]
        board = tmp_path / "board"
        assert main([*command, *(["--board", str(board)] if verb == "add" else [])]) == 2
        assert "within 1 s" in capsys.readouterr().err
    assert list(board.iterdir()) == []


def test_a_tokenizer_is_read_with_a_bound(foreign, tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "_MOST_CODEC_BYTES", 1000)
    with pytest.raises(SubmissionError, match="holds more than 1,000 bytes when decompressed"):
        verified(foreign)


def test_forged_weights_of_mini_are_refused(tiny_season, tmp_path):
    made = Spoilt(make_entry(tmp_path, models=["mini"], decoders="random:k=32"))
    assert verify_folder(made.path).submission.trained_on_suite == "yes"
    made.change_yaml(
        "submission.yaml", lambda said: said["models"][0].update(weights_digest="4" * 64)
    )
    with pytest.raises(SubmissionError, match="model 'mini' claims weights_digest 444444444444"):
        verified(made.path)


def test_an_unfinished_run_is_not_packed(tiny_season, tmp_path):
    run = make_run(tmp_path / "run", decoders="random:k=32")
    file = run / "records-0.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(RequestError, match="is not finished: 1 of 6 decodes are missing"):
        pack(run, tmp_path / "entry", Statement(submitter="us"))
    assert not (tmp_path / "entry").exists()


def test_a_shard_is_not_packed(tiny_season, tmp_path):
    from parallelbench.run.runner import run

    content = {"models": "ideal", "tasks": list(TASKS_OF_SEASON), "decoders": "random:k=32"}
    plan = make_runfile({**content, "samples": 3, "seed": SEED})
    run(plan, tmp_path / "run", shard=Shard(1, 3))
    with pytest.raises(RequestError, match="is shard 1/3 of a run; merge all shards first"):
        pack(tmp_path / "run", tmp_path / "entry", Statement(submitter="us"))


def test_a_run_of_no_season_is_not_packed(tiny_season, tmp_path):
    run = make_run(tmp_path / "run", decoders="random:k=32", seed=1)
    with pytest.raises(RequestError, match=f"tiny: seed is 1 and must be {SEED}"):
        pack(run, tmp_path / "entry", Statement(submitter="us"))


def test_the_default_run_is_one_of_the_practice_season():
    plan = make_runfile({**read_content("default"), "models": "ideal"})
    assert not differing_samples(plan, season("practice"))


@pytest.mark.parametrize("page", ["README.md", "docs/leaderboard.md"])
def test_the_commands_for_a_newcomer_name_the_folder_of_the_default_run(page):
    text = (Path(__file__).parents[2] / page).read_text(encoding="utf-8")
    digest = make_runfile(read_content("default")).digest
    assert f"leaderboard pack runs/{digest[:12]} " in text


def test_a_seasons_run_file_asks_for_its_samples(tmp_path, capsys):
    assert (
        main(["leaderboard", "run-file", "2026-1", "--model", "ideal", "--decoders", "label"]) == 0
    )
    (tmp_path / "run.yaml").write_text(capsys.readouterr().out)
    plan = make_runfile(read_content(tmp_path / "run.yaml"))
    assert (plan.seed, plan.samples, plan.tasks) == (
        season("2026-1").seed,
        season("2026-1").samples,
        season("2026-1").tasks,
    )


def test_a_board_takes_an_entry_whole_or_not_at_all(good, entry, tmp_path):
    board = tmp_path / "board"
    assert add(good, board, name="ours").name == "ours"
    assert sorted(file.name for file in (board / "ours").iterdir()) == sorted(
        file.name for file in good.iterdir()
    )
    entry.change(lambda record: record.update(text="another"))
    with pytest.raises(SubmissionError, match="claims text"):
        add(entry.path, board, name="theirs")
    assert sorted(each.name for each in board.iterdir()) == ["ours", "ours.check.json"]


@pytest.mark.parametrize("name", ["ours", "../ours", "Ours", "", "a" * 65, ".hidden"])
def test_a_name_that_is_taken_or_strange_is_refused(good, tmp_path, name):
    add(good, tmp_path / "board", name="ours")
    with pytest.raises(SubmissionError, match=r"already|cannot be the name"):
        add(good, tmp_path / "board", name=name or " ")


def test_a_board_believes_its_own_check_of_the_same_files_only(foreign, tmp_path):
    board = tmp_path / "board"
    (label,) = {record.model_label for record in add(foreign, board, name="ours").records}
    check = board / "ours.check.json"
    content = json.loads(check.read_text())
    assert content["redecoded"] == {}
    redecoded = {label: {"records": 24, "of": 24, "same": 23}}
    content |= {"level": "reproduced", "redecoded": redecoded}
    check.write_text(json.dumps(content))
    (entry,) = read_board(board)
    assert entry.level_told == "reproduced: 24 of 24 records, 95.8 % the same"
    for untrue in ({"manifest_sha256": "5" * 64}, {"redecoded": {}}):
        check.write_text(json.dumps(content | untrue))
        assert [entry.level for entry in read_board(board)] == ["recomputed"]


def test_the_keeper_writes_down_how_far_an_entry_was_checked(foreign, tmp_path, capsys):
    board = tmp_path / "board"
    add(foreign, board, name="ours")
    asked = ["leaderboard", "verify", str(board / "ours"), "--spot-check", "20"]
    asked += ["--weights", f"hf:{foreign.parent}/checkpoint"]
    assert main(asked) == 0
    assert [entry.level for entry in read_board(board)] == ["recomputed"]
    assert main([*asked, "--record"]) == 0
    (entry,) = read_board(board)
    assert entry.level == "spot-checked"
    assert "20 of 24 records were decoded again" in entry.remarks[-1]
    assert "spot-checked: 20 of 24 records, 100.0 % the same" in capsys.readouterr().out


@pytest.mark.parametrize("count", ["0", "5", "19"])
def test_a_spot_check_of_a_few_records_could_refuse_nothing(foreign, count, capsys):
    assert main(["leaderboard", "verify", str(foreign), "--spot-check", count]) == 2
    assert "it must be 20 to" in capsys.readouterr().err


def test_a_board_names_the_entry_that_does_not_hold(good, tmp_path):
    board = tmp_path / "board"
    add(good, board, name="ours")
    Spoilt(board / "ours").change(lambda record: record.update(text="another"))
    with pytest.raises(SubmissionError, match=r"entry ours: records-000.jsonl.xz line 1"):
        read_board(board)


# The same records once more.


def disguise(entry):
    """Submit the records of an entry by another name, in another order, with other times."""
    entry.change_yaml("submission.yaml", lambda said: said.update(submitter="them", title="Theirs"))
    records = entry.records()
    for record in records:
        record["seconds"] += 1.5
    entry.write("results.json", results_of(records))
    entry.write_records(reversed(records))


@pytest.mark.parametrize("change", [disguise, lambda _: None])
def test_the_same_records_under_two_names_are_refused(small, tmp_path, change):
    board = tmp_path / "board"
    add(small, board, name="one")
    other = Spoilt(shutil.copytree(small, tmp_path / "other"))
    change(other)
    with pytest.raises(SubmissionError, match="two holds the same records as one, which is on"):
        add(other.path, board, name="two")
    assert sorted(each.name for each in board.iterdir()) == ["one", "one.check.json"]
    shutil.copytree(other.path, board / "two")  # past `add`, as in a pull request
    with pytest.raises(SubmissionError, match="two holds the same records as one"):
        read_board(board)


def test_a_label_that_is_spelled_otherwise_is_no_other_record(small):
    records = verify_folder(small).records
    spelled = [
        altered(record, model="ideal:seed=0", library_version="9", seconds=0.1)
        for record in records
    ]
    assert content_of(spelled) == content_of(records)
    assert content_of(records[1:]) != content_of(records)
    other = altered(records[0], text="another")
    assert content_of([other, *records[1:]]) != content_of(records)


def test_other_records_of_as_many_decodes_enter_beside_them(small, tmp_path):
    board = tmp_path / "board"
    add(small, board, name="one")
    add(make_entry(tmp_path, decoders="random:k=16"), board, name="two")
    assert [entry.name for entry in read_board(board)] == ["one", "two"]


# Line ends.

TEXTS = ("submission.yaml", "run.yaml", "environment.json", "results.json", "MANIFEST.json")


def convert(file):
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))


@pytest.mark.parametrize("names", [TEXTS, *((name,) for name in TEXTS)], ids=lambda names: names[0])
def test_converted_line_ends_are_told_for_what_they_are(entry, names):
    for name in names:
        convert(entry.path / name)
    with pytest.raises(SubmissionError) as refusal:
        verify_folder(entry.path)
    (fault,) = refusal.value.faults
    told, _, advice = fault.partition(": the line ends were converted to those of Windows (CRLF)")
    assert set(told.split(", ")) == set(names)
    assert "'leaderboards/submissions/** -text' into .gitattributes" in advice


def test_a_converted_file_that_was_changed_too_is_told_to_be_changed(entry):
    file = entry.path / "run.yaml"
    file.write_text(file.read_text().replace("samples: 3", "samples: 2"))
    convert(file)
    with pytest.raises(SubmissionError, match=r"run\.yaml: MANIFEST\.json claims \d+ bytes"):
        verify_folder(entry.path)


def test_git_converts_nothing_in_an_entry():
    root = Path(__file__).parents[2]
    files = [str(file) for file in (root / "leaderboards" / "submissions").rglob("*.json")]
    command = ["git", "-C", str(root), "check-attr", "text", "--", *files]
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no checkout of git")
    assert files
    assert {line.rpartition(": ")[2] for line in done.stdout.splitlines()} == {"unset"}


# What is packed is accepted.


def brought(place, edit):
    """A checkpoint whose files were edited."""
    path = checkpoints.write_checkpoint("llada", place / "checkpoint")
    edit(path)
    return path


def name_the_templates(path):
    config = json.loads((path / "tokenizer_config.json").read_text())
    named = {"default": config["chat_template"], "tool_use": "{{ tools }}"}
    config["chat_template"] = [{"name": n, "template": each} for n, each in named.items()]
    (path / "tokenizer_config.json").write_text(json.dumps(config))


def end_at_no_token(path):
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, "eos_token_id": [0, -1]}))


def test_a_checkpoint_with_several_named_templates_is_packed_and_accepted(tiny_season, tmp_path):
    path = brought(tmp_path, name_the_templates)
    made = make_entry(tmp_path, models=[f"hf:{path}"], decoders="random:k=32")
    codec = json.loads(lzma.decompress((made / "codec-00.json.xz").read_bytes()))
    assert set(codec["chat_template"]) == {"default", "tool_use"}
    shutil.rmtree(path)
    assert verify_folder(made).level == "recomputed"


def test_an_impossible_id_makes_no_entry(tiny_season, tmp_path):
    path = brought(tmp_path, end_at_no_token)
    with pytest.raises(RequestError, match="-1"):
        make_entry(tmp_path, models=[f"hf:{path}"], decoders="random:k=32")
    assert not (tmp_path / "entry").exists()


def test_what_a_board_would_refuse_is_not_packed(small, tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "_MOST_YAML_BYTES", 100)
    out = tmp_path / "entry"
    with pytest.raises(SubmissionError, match=r"no entry was made, .* refuse it: submission\.yaml"):
        pack(small.parent / "run", out, Statement(submitter="us"))
    assert list(tmp_path.glob("*entry*")) == []


def test_a_newcomer_types_three_commands(tiny_season, good, tmp_path, capsys):
    entry, board = str(tmp_path / "mine"), str(tmp_path / "board")
    command = ["leaderboard", "pack", str(good.parent / "run"), "--submitter", "A. Person"]
    assert main([*command, "--out", entry]) == 0
    assert main(["leaderboard", "verify", entry]) == 0
    assert main(["leaderboard", "add", entry, "--board", board]) == 0
    assert "reproduced: 36 of 36 records, 100.0 % the same; 36 records" in capsys.readouterr().out


def test_verify_tells_every_fault_and_leaves_with_2(entry, capsys):
    entry.change(lambda record: record.update(text="another"))
    assert main(["leaderboard", "verify", str(entry.path), "--json"]) == 2
    (told,) = json.loads(capsys.readouterr().out)
    assert told["level"] is None
    assert "claims text 'another'" in told["faults"][0]
