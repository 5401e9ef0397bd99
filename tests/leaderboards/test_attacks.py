"""Every way to cheat that we could think of, and the sentence with which it is refused.

Each case changes a good entry and seals it again, so that digests and manifest agree.
"""

import json
import lzma
import os

import pytest

from parallelbench.errors import SubmissionError
from parallelbench.leaderboards.entry import folder
from parallelbench.leaderboards.verify.record_checker import MOST_FAULTS
from parallelbench.leaderboards.verify.verification import verified
from parallelbench.record_line import _digest_of, from_line
from support.entries import digested, merge_steps
from support.fabricated import line_of_schema_1

MIB = 2**20
ATTACKS = {}


def refused(words):
    """Register an attack, and the words that its refusal has."""

    def register(attack):
        name = attack.__name__
        assert name not in ATTACKS
        ATTACKS[name] = (attack, words)
        return attack

    return register


# What a record claims.


@refused("claims marks.lenient 1.0, and 0.0 was found")
def a_forged_score(entry):
    records = entry.records()
    record = next(each for each in records if each["marks"]["lenient"] == 0)
    record["marks"] |= {"strict": 0.0, "lenient": 1.0, "problem": None}
    entry.write_records(records)


@refused("claims marks.parts")
def a_forged_part_of_a_mark(entry):
    entry.change(lambda record: record["marks"].update(parts={"order": 1.0}))


@refused("claims decoding.counts.nfe 1, and 32 was found")
def forged_calls(entry):
    entry.change(lambda record: record["decoding"]["counts"].update(nfe=1), "one_by_one")


@refused("claims decoding.counts.tokens_per_step 32.0, and 1.0 was found")
def a_forged_speed(entry):
    entry.change(
        lambda record: record["decoding"]["counts"].update(tokens_per_step=32.0), "one_by_one"
    )


@refused("claims decoding.counts.tokens_after_end")
def hidden_tokens_behind_the_end(entry):
    entry.change(lambda record: record["decoding"]["counts"].update(tokens_after_end=7))


@refused("claims text 'another")
def a_forged_text(entry):
    entry.change(lambda record: record.update(text="another text"))


@refused("claims decoding.output_ids")
def edited_tokens(entry):
    entry.change(lambda record: record["decoding"]["output_ids"].reverse(), "one_by_one")


@refused("claims decoder.oracle False, and True was found")
def an_oracle_that_is_said_to_be_none(entry):
    entry.change(lambda record: record["decoder"].update(oracle=False), "label")


@refused("and one_by_one always 1, 1")
def an_oracle_passed_off_as_another_strategy(entry):
    records = entry.records()
    told = next(each for each in records if each["decoder"]["name"] == "label")
    other = next(each for each in records if each["decoder"]["name"] == "one_by_one")
    names = ("decoder", "decoder_fields", "decoder_label", "oracle")
    other |= {key: value for key, value in told.items() if key not in names}
    entry.write_records(records)


@refused("claims decoder.fields")
def fields_of_another_setting(entry):
    entry.change(lambda record: record["decoder"]["fields"].update(k=2), "confidence")


@refused("claims decoder.name 'label', and 'one_by_one' was found")
def another_strategys_name(entry):
    entry.change(lambda record: record["decoder"].update(name="label"), "one_by_one")


@refused("claims sample.digest")
def a_sample_of_ones_own(entry):
    entry.change(lambda record: record["sample"].update(digest="0" * 64))


@refused("claims sample.seed 1, and 20261125 was found")
def another_seed(entry):
    entry.change(lambda record: record["sample"].update(seed=1))


@refused("claims task.version 2")
def another_version_of_a_task(entry):
    entry.change(lambda record: record["task"].update(version=2))


@refused("claims library_version '9.9.9'")
def another_version_of_the_suite(entry):
    entry.change(lambda record: record.update(library_version="9.9.9"))


@refused("claims task.engines {'grammar': 'kind-1'}, and {} was found")
def forged_engines(entry):
    entry.change(lambda record: record["task"].update(engines={"grammar": "kind-1"}))


@refused("claims sample.prompt_digest")
def another_prompt(entry):
    entry.change(lambda record: record["sample"].update(prompt_digest="1" * 64))


@refused("claims decoding.initial_ids")
def a_canvas_that_held_the_answer(entry):
    def prefill(record):
        canvas = list(record["decoding"]["output_ids"])
        canvas[0] = record["decoding"]["mask_id"]
        record["decoding"]["initial_ids"] = canvas

    entry.change(prefill)


@refused("claims decoding.mask_id")
def another_mask(entry):
    entry.change(
        lambda record: record["decoding"].update(mask_id=record["decoding"]["mask_id"] + 1)
    )


@refused("claims decoding.stop_ids")
def a_stop_id_that_hides_the_rest(entry):
    entry.change(
        lambda record: record["decoding"].update(stop_ids=[record["decoding"]["output_ids"][0]])
    )


@refused("claims decoding.end_id")
def another_end(entry):
    entry.change(
        lambda record: record["decoding"].update(end_id=record["decoding"]["output_ids"][0])
    )


@refused("claims model.digest")
def another_models_record(entry):
    entry.change(lambda record: record["model"].update(digest="2" * 64))


@refused("ended in an error")
def a_hard_sample_called_an_error(entry):
    entry.change(lambda record: record.update(status="error", error="no memory", marks=None))


@refused("claims status stalled after")
def a_decode_that_is_said_to_have_stalled(entry):
    entry.change(lambda record: record.update(status="stalled"), "one_by_one")


@refused("claims off_law_calls=33 of 32 calls")
def more_calls_off_the_law_than_calls(entry):
    entry.change(lambda record: record["decoding"]["counts"].update(off_law_calls=33), "one_by_one")


@refused("RIGHT-TO-LEFT OVERRIDE")
def a_note_that_turns_text_around(entry):
    entry.change(lambda record: record["decoding"].update(note="right \u202e tfel"))


@refused("claims served")
def a_servers_word_in_a_record_of_none(entry):
    said = {"finish": None, "completion_tokens": 1, "drafts": None, "attempts": 1}
    entry.change(lambda record: record.update(served=said))


@refused("has no steps")
def a_record_without_a_trace(entry):
    entry.change(lambda record: record.update(decoding=None))


# A trace that never happened.


@refused("it writes 2, 1, 1")
def merged_steps_of_a_fixed_strategy(entry):
    entry.change(lambda record: merge_steps(record, 0), "one_by_one")


@refused("confidence:k=4 always 4, 4, 4")
def more_tokens_a_step_than_k(entry):
    entry.change(lambda record: merge_steps(record, 2), "confidence")


@refused("step 1 writes nothing, and OneByOne always writes")
def a_step_too_many(entry):
    def split(record):
        for column, value in (
            ("positions", []),
            ("ids", []),
            ("rows", 1),
            ("row_tokens", record["decoding"]["trace"]["row_tokens"][0]),
            ("auxiliary_calls", 0),
        ):
            record["decoding"]["trace"][column].insert(1, value)

    entry.change(split, "one_by_one")


@refused("position 0 a second time|positions are open|a second time")
def a_position_written_twice(entry):
    def repeat(record):
        record["decoding"]["trace"]["positions"][1] = record["decoding"]["trace"]["positions"][0]

    entry.change(repeat, "one_by_one")


@refused("not ascending or not once each")
def a_position_twice_in_a_step(entry):
    def repeat(record):
        positions = record["decoding"]["trace"]["positions"][0]
        positions[1] = positions[0]

    entry.change(repeat, "confidence")


@refused("not ascending or not once each")
def positions_in_another_order(entry):
    def turn(record):
        record["decoding"]["trace"]["positions"][0].reverse()
        record["decoding"]["trace"]["ids"][0].reverse()

    entry.change(turn, "confidence")


@refused("writes position 32 of a canvas of 32")
def a_position_outside_of_the_canvas(entry):
    entry.change(
        lambda record: record["decoding"]["trace"]["positions"].__setitem__(0, [32]), "one_by_one"
    )


@refused("writes position -1 of a canvas of 32")
def a_position_before_the_canvas(entry):
    entry.change(
        lambda record: record["decoding"]["trace"]["positions"].__setitem__(0, [-1]), "one_by_one"
    )


@refused("writes position a number over 2\\^53")
def a_position_of_four_thousand_digits(entry):
    huge = int("9" * 4000)
    entry.change(
        lambda record: record["decoding"]["trace"]["positions"].__setitem__(0, [huge]), "one_by_one"
    )


@refused("which is no token")
def an_id_that_is_no_token(entry):
    entry.change(
        lambda record: record["decoding"]["trace"]["ids"].__setitem__(0, [10**6]), "one_by_one"
    )


@refused("writes the mask, which opens a position again, and OneByOne never does")
def a_position_opened_again(entry):
    def reopen(record):
        record["decoding"]["trace"]["ids"][0] = [record["decoding"]["mask_id"]]

    entry.change(reopen, "one_by_one")


@refused("claims status ok, and 4 positions are open at the end")
def a_position_left_open(entry):
    def leave(record):
        for column in ("positions", "ids"):
            record["decoding"]["trace"][column][-1] = []

    entry.change(leave, "rcr")


@refused("makes no call, and OneByOne makes one in every step")
def steps_without_a_call(entry):
    def mute(record):
        record["decoding"]["trace"]["rows"][3] = record["decoding"]["trace"]["row_tokens"][3] = 0

    entry.change(mute, "one_by_one")


@refused("sends 4 rows, and OneByOne sends one")
def many_rows_in_a_call(entry):
    entry.change(lambda record: record["decoding"]["trace"]["rows"].__setitem__(0, 4), "one_by_one")


@refused("claims 1 tokens, and prompt and canvas have")
def fewer_tokens_than_the_prompt(entry):
    entry.change(
        lambda record: record["decoding"]["trace"]["row_tokens"].__setitem__(0, 1), "one_by_one"
    )


@refused("auxiliary calls, which its model never does")
def auxiliary_calls_of_a_model_without(entry):
    entry.change(lambda record: record["decoding"]["trace"]["auxiliary_calls"].__setitem__(0, 1))


@refused("has a count below 0")
def negative_calls(entry):
    entry.change(
        lambda record: record["decoding"]["trace"]["rows"].__setitem__(0, -1), "one_by_one"
    )


@refused("over the budget of 128")
def more_steps_than_the_budget(entry):
    def pad(record):
        trace = record["decoding"]["trace"]
        for _ in range(128):
            trace["positions"].append([])
            trace["ids"].append([])
            trace["rows"].append(1)
            trace["row_tokens"].append(trace["row_tokens"][0])
            trace["auxiliary_calls"].append(0)

    entry.change(pad, "rcr")


@refused("was stopped at an end-of-text, which its model never does")
def a_stop_that_the_model_does_not_have(entry):
    def stop(record):
        record["decoding"]["trace"]["stopped"] = True

    entry.change(stop, "rcr")


@refused("does not have the form of schema version 2: decoding.trace")
def columns_of_different_length(entry):
    entry.change(lambda record: record["decoding"]["trace"]["rows"].pop())


@refused("claims seconds=-1.0")
def negative_time(entry):
    entry.change(lambda record: record.update(seconds=-1.0))


# Which records there are.


@refused("1 of 36 decodes of run.yaml are left out")
def a_sample_left_out(entry):
    entry.write_records(entry.records()[1:])


@refused("stands there a second time")
def a_sample_repeated(entry):
    records = entry.records()
    entry.write_records([*records, records[0]])


@refused("is no decode of run.yaml")
def a_sample_more(entry):
    entry.change(lambda record: record["sample"].update(index=3))


@refused("prompt and canvas have|claims sample.id 'choices/sum/00000'")
def a_tuning_sample_moved_to_the_test_part(entry):
    records = entry.records()
    moved = [each for each in records if each["sample"]["index"] != 2]
    moved += [
        {**each, "sample": {**each["sample"], "index": 2}}
        for each in records
        if each["sample"]["index"] == 0
    ]
    entry.write_records(moved)


@refused("is torn")
def a_torn_line(entry):
    entry.write_lines(["".join(map(digested, entry.records()))[:-20]])


@refused("after 20 faults the check ended")
def a_million_lines(entry):
    entry.write_lines(["{}\n"] * 10**6)


@refused("was altered")
def a_line_whose_digest_is_wrong(entry):
    lines = [digested(each) for each in entry.records()]
    entry.write_lines([lines[0].replace('"repeat":0', '"repeat":1'), *lines[1:]])


@refused("is not written as this package writes records")
def a_key_that_stands_there_twice(entry):
    lines = [digested(each) for each in entry.records()]
    body = lines[0].rpartition(',"digest"')[0]
    body = '{"text":"another",' + body[1:]
    lines[0] = f'{body},"digest":"{_digest_of(body)}"}}\n'
    entry.write_lines(lines)


@refused("is not written as this package writes records")
def a_line_of_schema_1_with_blanks(entry):
    lines = [digested(each) for each in entry.records()]
    body = line_of_schema_1(from_line(lines[0], "here")).rpartition(',"digest"')[0]
    body = body.replace('"seed":', '"seed": ')
    lines[0] = f'{body},"digest":"{_digest_of(body)}"}}\n'
    entry.write_lines(lines)


@refused("form of schema version 1: schema_version: input should be 1")
def a_line_of_two_schemas(entry):
    lines = [digested(each) for each in entry.records()]
    body = line_of_schema_1(from_line(lines[0], "here")).rpartition(',"digest"')[0]
    body += ',"schema_version":2'
    lines[0] = f'{body},"digest":"{_digest_of(body)}"}}\n'
    entry.write_lines(lines)


@refused("does not have the form of schema version 2")
def not_a_number(entry):
    entry.change(lambda record: record["marks"].update(lenient=float("nan")))


@refused("does not have the form of schema version 2")
def an_infinite_speed(entry):
    entry.change(lambda record: record["decoding"]["counts"].update(tokens_per_step=float("inf")))


@refused("does not have the form of schema version 2")
def a_record_with_a_field_more(entry):
    entry.change(lambda record: record.update(level="reproduced"))


@refused("does not have the form of schema version 2")
def a_record_nested_to_the_depths(entry):
    lines = [digested(each) for each in entry.records()]
    body = '{"task_fields":' + "[" * 100_000 + "]" * 100_000
    lines[0] = f'{body},"digest":"{_digest_of(body)}"}}\n'
    entry.write_lines(lines)


@refused("longer than the 1,048,576 bytes")
def a_bomb_of_one_line(entry):
    entry.write(folder.RECORDS.format(0), lzma.compress(b"0" * (64 * MIB)))


@refused("holds more than")
def a_bomb_of_many_lines(entry, monkeypatch):
    monkeypatch.setattr(folder, "_MOST_RECORD_BYTES", 16 * 1024)


@refused("is no UTF-8: byte 0xff")
def a_line_that_is_no_text(entry):
    lines = [digested(each).encode() for each in entry.records()]
    entry.write(folder.RECORDS.format(0), lzma.compress(b"\xff" + b"".join(lines)))


@refused("bytes behind its stream")
def a_second_stream_behind_the_first(entry):
    name = folder.RECORDS.format(0)
    entry.write(name, (entry.path / name).read_bytes() + lzma.compress(b"more"))


@refused("is cut short")
def a_stream_cut_short(entry):
    name = folder.RECORDS.format(0)
    entry.write(name, (entry.path / name).read_bytes()[:-40])


@refused("is not compressed as xz -6 does")
def a_stream_that_asks_for_a_gigabyte(entry):
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 1024 * MIB}]
    packer = lzma.LZMACompressor(
        lzma.FORMAT_XZ,
        filters=[{**filters[0], "mode": lzma.MODE_FAST, "mf": lzma.MF_HC3, "dict_size": 256 * MIB}],
    )
    content = packer.compress(b"a") + packer.flush()
    entry.write(folder.RECORDS.format(0), content)


# What the other files claim.


@refused("results.json: ideal on .* claims accuracy 1.5")
def a_forged_result(entry):
    entry.change_json("results.json", lambda results: results[0].update(accuracy=1.5))


@refused("results.json: ideal on .* claims 'speedup', which is no figure of this release")
def a_figure_of_ones_own(entry):
    entry.change_json("results.json", lambda results: results[0].update(speedup=3.0))


@refused("results.json: ideal on .* claims throughput .*1000000.0.*, and the records make None")
def a_speed_that_nobody_can_check(entry):
    claim = {"decodes_per_second": 1e6}
    entry.change_json("results.json", lambda results: results[0].update(throughput=claim))


@refused("results.json: ideal on .* claims seconds 1.5, and the records make")
def a_forged_sum_of_times_as_earlier_releases_claimed_it(entry):
    entry.change_json("results.json", lambda results: results[0].update(seconds=1.5))


@refused("results.json must have 12 results")
def a_result_left_out(entry):
    entry.change_json("results.json", list.pop)


@refused("results.json is no plain JSON: NaN is no number")
def a_result_that_is_no_number(entry):
    entry.change_json("results.json", lambda results: results[0].update(nfe=float("nan")))


@refused("results.json is no plain JSON")
def results_nested_to_the_depths(entry):
    entry.write("results.json", "[" * 200_000 + "]" * 200_000)


@refused("environment.json is no plain JSON: a key is given twice")
def an_environment_that_says_two_things(entry):
    entry.write("environment.json", '[{"models": {}, "models": {}}]')


@refused("no key is called 'level'")
def a_submission_that_states_its_level(entry):
    entry.change_yaml("submission.yaml", lambda said: said.update(level="reproduced"))


@refused("submission.yaml: submitter: holds RIGHT-TO-LEFT OVERRIDE")
def a_name_that_turns_text_around(entry):
    entry.change_yaml("submission.yaml", lambda said: said.update(submitter="us \u202etxt"))


@refused("submission.yaml: link")
def a_link_that_is_a_script(entry):
    entry.change_yaml("submission.yaml", lambda said: said.update(link="javascript:alert(1)"))


@refused("submission.yaml: title")
def a_title_without_end(entry):
    entry.change_yaml("submission.yaml", lambda said: said.update(title="x" * 100_000))


@refused("model 'ideal' claims digest 333333333333")
def a_forged_digest_of_a_model(entry):
    entry.change_yaml("submission.yaml", lambda said: said["models"][0].update(digest="3" * 64))


@refused("task_versions are")
def forged_versions(entry):
    entry.change_yaml(
        "submission.yaml", lambda said: said["task_versions"].update({"choices/sum": 9})
    )


@refused("no season is called 'last'")
def a_season_that_is_none(entry):
    entry.change_yaml("submission.yaml", lambda said: said.update(season="last"))


@refused("submission.yaml: decoder 'confidence:k=4' has .*'k': 2")
def a_submission_with_other_fields(entry):
    entry.change_yaml("submission.yaml", lambda said: said["decoders"][1]["fields"].update(k=2))


@refused("weights trained on this suite belong in division open")
def a_trained_model_in_the_closed_division(entry):
    entry.change_yaml(
        "submission.yaml", lambda said: said.update(division="closed", trained_on_suite="yes")
    )


@refused("aliases are not allowed")
def a_yaml_bomb(entry):
    layers = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10))
    entry.write("submission.yaml", f"a0: &a0 [x, x]\n{layers}\n")


@refused("submission.yaml is no plain YAML")
def python_in_yaml(entry):
    entry.write("submission.yaml", "title: !!python/object/apply:os.system ['true']\n")


@refused("submission.yaml is no plain YAML")
def yaml_nested_to_the_depths(entry):
    entry.write("submission.yaml", "[" * 20_000 + "]" * 20_000)


@refused("the key 'title' is given twice")
def a_yaml_key_that_stands_there_twice(entry):
    text = (entry.path / "submission.yaml").read_text()
    entry.write("submission.yaml", text + "title: another\n")


@refused("run.yaml: not the samples of season tiny: seed is 1 and must be 20261125")
def a_run_with_another_seed(entry):
    entry.change_yaml("run.yaml", lambda run: run.update(seed=1))


@refused("run.yaml: not the samples of season tiny: samples is 2")
def a_run_with_fewer_samples(entry):
    entry.change_yaml("run.yaml", lambda run: run.update(samples=2))


@refused("without waiting_line/copy")
def a_run_without_the_hard_task(entry):
    entry.change_yaml("run.yaml", lambda run: run["tasks"].pop())


@refused("an entry may have 200,000")
def a_run_without_end(entry):
    entry.change_yaml("run.yaml", lambda run: run.update(repeats=10**5))


@refused("every setting is spelled out")
def a_run_with_a_grid_that_explodes(entry):
    grid = "confidence:k=" + "|".join(map(str, range(1, 1000)))
    entry.change_yaml("run.yaml", lambda run: run.update(decoders=[grid]))


@refused("reads a file, which no entry holds")
def a_decoder_that_reads_a_file(entry):
    fields = {"table": "/etc/passwd", "k": 1}
    entry.change_yaml(
        "run.yaml", lambda run: run["decoders"].append({"name": "pc_sampler", "fields": fields})
    )


@refused("task 'original/file' is none of season tiny")
def a_task_that_reads_a_file(entry):
    fields = {"path": "/etc/passwd"}
    entry.change_yaml(
        "run.yaml",
        lambda run: run["tasks"].append({"name": "original/file", "fields": fields, "version": 1}),
    )


@refused("task 'choices/sum' has version 7 there")
def a_run_of_another_version(entry):
    entry.change_yaml("run.yaml", lambda run: run["tasks"][0].update(version=7))


# What lies in the folder.


@refused("MANIFEST.json claims .* and the file has")
def a_manifest_that_lies(entry):
    name = "results.json"
    (entry.path / name).write_bytes((entry.path / name).read_bytes().replace(b"1", b"2"))


@refused("'notes.txt' lies in the folder, and MANIFEST.json does not list it")
def a_file_that_is_not_listed(entry):
    (entry.path / "notes.txt").write_text("nothing")


@refused("'manifest.json' lies in the folder")
def a_second_manifest(entry):
    (entry.path / "manifest.json").write_text((entry.path / "MANIFEST.json").read_text())


@refused("lists 'run.py', which is no file of an entry")
def a_program(entry):
    entry.write("run.py", "print()")


@refused("lists '../secret', which is no file of an entry")
def a_name_that_leads_outside(entry):
    manifest_with(entry, "../secret")


@refused("lists '/etc/passwd', which is no file of an entry")
def an_absolute_name(entry):
    manifest_with(entry, "/etc/passwd")


@refused("cannot be read as a regular file.*no links")
def a_link(entry):
    (entry.path / "results.json").rename(entry.path.parent / "elsewhere")
    (entry.path / "results.json").symlink_to(entry.path.parent / "elsewhere")


@refused("is a hard link")
def a_hard_link(entry):
    os.link(entry.path / "results.json", entry.path.parent / "elsewhere")


@refused("is no regular file")
def a_pipe(entry):
    (entry.path / "results.json").unlink()
    os.mkfifo(entry.path / "results.json")


@refused("is no regular file|Is a directory")
def a_folder_in_place_of_a_file(entry):
    (entry.path / "results.json").unlink()
    (entry.path / "results.json").mkdir()


@refused("larger than the")
def a_file_that_grew(entry):
    with (entry.path / "results.json").open("ab") as stream:
        stream.truncate(40 * MIB)


@refused("holds more than 300 files")
def a_thousand_files(entry):
    for number in range(1000):
        (entry.path / f"{number}").touch()


@refused("numbered from 000 without gap")
def a_part_of_the_records_hidden_behind_a_gap(entry):
    name = folder.RECORDS.format(0)
    (entry.path / folder.RECORDS.format(2)).write_bytes((entry.path / name).read_bytes())
    entry.seal()


@refused("codec-00.json.xz must not be there")
def a_tokenizer_for_a_model_that_has_one(entry):
    entry.write(folder.CODEC.format(0), lzma.compress(b"{}"))


@refused("MANIFEST.json: files.results.json.bytes")
def a_size_of_a_hundred_digits(entry):
    edit_manifest(entry, lambda files: files["results.json"].update(bytes=10**100))


@refused("MANIFEST.json is no plain JSON")
def a_manifest_with_a_file_twice(entry):
    text = (entry.path / "MANIFEST.json").read_text()
    first = text.index('"environment.json"')
    doubled = text[first : text.index("},", first) + 2]
    (entry.path / "MANIFEST.json").write_text(text.replace(doubled, doubled * 2))


@refused("is no entry: it holds no MANIFEST.json")
def no_manifest(entry):
    (entry.path / "MANIFEST.json").unlink()


@refused("is no entry: it holds no MANIFEST.json; name the folder of an entry itself")
def a_folder_of_many_files_that_is_no_entry(entry):
    a_thousand_files(entry)
    (entry.path / "MANIFEST.json").unlink()


def edit_manifest(entry, edit):
    content = json.loads((entry.path / "MANIFEST.json").read_text())
    edit(content["files"])
    (entry.path / "MANIFEST.json").write_text(json.dumps(content))


def manifest_with(entry, name):
    edit_manifest(entry, lambda files: files.update({name: {"sha256": "0" * 64, "bytes": 1}}))


@pytest.mark.attack("refused")
@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_refused_with_its_reason_and_little_work(
    name, entry, work, monkeypatch, request
):
    attack, words = ATTACKS[name]
    if name == "a_bomb_of_many_lines":
        attack(entry, monkeypatch)
    else:
        attack(entry)
    with pytest.raises(SubmissionError, match=words) as refusal:
        verified(entry.path)
    assert len(refusal.value.faults) <= MOST_FAULTS + 1
    assert all(len(fault) < 2000 for fault in refusal.value.faults)
    for read in work:
        assert read.bytes < 2 * MIB
        assert read.decompressed < 4 * MIB


def test_there_are_more_than_forty_attacks():
    assert len(ATTACKS) > 40


@pytest.mark.attack("harmless")
def test_scripts_in_texts_are_kept_as_text(entry):
    script = "<script>alert(1)</script>"
    entry.change_yaml("submission.yaml", lambda said: said.update(title=script, submitter=script))
    assert verified(entry.path).entry.submission.title == script
