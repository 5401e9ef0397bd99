"""Shards: parts of a run that make the whole, or are refused with what is wrong."""

import itertools
import shutil

import pytest

from parallelbench.analysis.report.page import make_report
from parallelbench.cli.program import main
from parallelbench.errors import RecordsError, RunFileError, StorageError
from parallelbench.record_line import from_line, to_line
from parallelbench.run.merge import merge
from parallelbench.run.rundir import RunDirectory
from parallelbench.run.runfile import make_runfile
from parallelbench.run.runner import execute, run
from parallelbench.run.shard import Shard
from support.fabricated import altered, line_of_schema_1

ASKED = {
    "models": "ideal",
    "tasks": "choices/city:canvas_length=8,list_operations/copy:form=infill,length=3",
    "decoders": "random:k=3|4",
    "samples": 5,
}


@pytest.fixture(scope="module")
def plan():
    return make_runfile(ASKED)


@pytest.fixture(scope="module")
def whole(plan):
    return told(execute(plan))


@pytest.fixture(scope="module")
def made(plan, tmp_path_factory):
    """The run in three shards; not to be written to."""
    place = tmp_path_factory.mktemp("made")
    for index in (1, 2, 3):
        run(plan, place / f"{index}", shard=Shard(index, 3))
    return place


@pytest.fixture
def shards(made, tmp_path):
    """A copy of the three shards: their folders."""
    shutil.copytree(made, tmp_path / "shards")
    return [tmp_path / "shards" / f"{index}" for index in (1, 2, 3)]


@pytest.fixture
def out(tmp_path):
    return tmp_path / "whole"


def told(records):
    """Every record by its key, without the one thing that a clock decides."""
    by_key = {}
    for record in records:
        assert record.key not in by_key, f"{record.key} is recorded twice"
        by_key[record.key] = record.model_dump(exclude={"seconds"})
    return by_key


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def rewrite(shard, change):
    """Replace the lines of a shard's records by what ``change`` makes of them."""
    file = shard / "records-0.jsonl"
    file.write_text("".join(change(file.read_text().splitlines(keepends=True))))


def refuse(kind, shards, out):
    """Merge what must be refused and leave nothing behind; return the sentence."""
    before = contents(out.parent)
    with pytest.raises(kind) as caught:
        merge(shards, out)
    assert contents(out.parent) == before
    assert not out.exists()
    assert not [path for path in out.parent.iterdir() if path.name.startswith(".")]
    return str(caught.value)


# What is in a shard.


@pytest.mark.parametrize(("samples", "count"), [(1, 1), (5, 3), (100, 7), (7, 7), (101, 4)])
def test_shards_hold_every_sample_once_and_are_as_large_as_each_other(samples, count):
    parts = [Shard(index, count).of(samples) for index in range(1, count + 1)]
    assert list(itertools.chain(*parts)) == list(range(samples))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_lengths_that_take_turns_are_in_every_shard_alike():
    for index in (1, 2, 3, 4):
        turns = [number % 4 for number in Shard(index, 4).of(100)]
        counts = [turns.count(turn) for turn in range(4)]
        assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("0/4", "a shard is one of 1/4 to 4/4, got 0/4"),
        ("5/4", "a shard is one of 1/4 to 4/4, got 5/4"),
        ("4", "a shard is written like 2/4, the second of four, got '4'"),
        ("1/0", "got '1/0'"),
        ("-1/4", "got '-1/4'"),
        ("one/two", "got 'one/two'"),
    ],
)
def test_a_shard_that_is_none_is_refused(text, sentence):
    with pytest.raises(RunFileError) as caught:
        Shard.parse(text)
    assert sentence in str(caught.value)
    assert str(Shard.parse(" 2/4 ")) == "2/4"


def test_more_shards_than_samples_are_refused_and_leave_nothing(plan, tmp_path):
    with pytest.raises(RunFileError, match="shard 2/6 of 5 samples: at most 5 shards"):
        run(plan, tmp_path / "run", shard=Shard(2, 6))
    assert not (tmp_path / "run").exists()


# A shard's own folder.


def test_shards_together_have_the_records_of_the_whole_and_each_its_own(made, plan, whole):
    parts = [RunDirectory.open(made / f"{index}") for index in (1, 2, 3)]
    together = told(itertools.chain.from_iterable(part.records() for part in parts))
    assert together == whole
    assert [part.decodes for part in parts] == [4, 8, 8]
    assert {part.runfile.digest for part in parts} == {plan.digest}
    for part in parts:
        assert {record.index for record in part.records()} == set(part.samples)


def test_a_shard_that_was_cut_off_goes_on(shards, plan, whole):
    rewrite(shards[1], lambda lines: lines[:3])
    directory = run(plan, shards[1], shard=Shard(2, 3))
    assert told(directory.records()) == {k: v for k, v in whole.items() if k[2] in (1, 2)}


@pytest.mark.parametrize(
    ("now", "sentence"),
    [
        (Shard(1, 3), "holds shard 2/3 of this run, and now shard 1/3 is asked for"),
        (Shard(2, 4), "holds shard 2/3 of this run, and now shard 2/4 is asked for"),
        (None, "holds shard 2/3 of this run, and now the whole is asked for"),
    ],
)
def test_a_shard_is_not_continued_as_another(shards, plan, now, sentence):
    before = contents(shards[1])
    with pytest.raises(RunFileError, match=sentence):
        run(plan, shards[1], shard=now)
    assert contents(shards[1]) == before


def test_a_whole_run_is_not_continued_as_a_shard(plan, tmp_path):
    RunDirectory.begin(tmp_path, plan)
    with pytest.raises(RunFileError, match="holds the whole of this run, and now shard 1/2"):
        RunDirectory.begin(tmp_path, plan, Shard(1, 2))


def test_a_shard_that_was_killed_as_it_began_can_begin_again_as_anything(plan, tmp_path):
    (tmp_path / "shard.json").write_text('{"shard": "1/2"}')
    (tmp_path / ".shard.json-x1y2").write_text('{"sh')
    assert RunDirectory.begin(tmp_path, plan).shard is None
    assert RunDirectory.open(tmp_path).shard is None


@pytest.mark.parametrize("text", ["[", "{}", '{"shard": "3/2"}', '{"shard": 2}', "[1]", "\xff"])
def test_a_spoilt_note_of_the_shard_is_told_with_the_way_out(shards, text):
    (shards[1] / "shard.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(RunFileError, match=r'shard\.json was altered.*write {"shard": "2/4"}'):
        RunDirectory.open(shards[1])


def test_a_record_outside_the_shard_is_refused(shards):
    line = (shards[0] / "records-0.jsonl").read_text().splitlines(keepends=True)[0]
    rewrite(shards[1], lambda lines: [*lines, line])
    with pytest.raises(RecordsError, match="line 9 has sample number 0, which the run has not"):
        list(RunDirectory.open(shards[1]).records())


def test_the_report_of_a_shard_says_that_it_is_a_part(shards, capsys):
    partial = "only shard 2/3 of a run, samples 1 to 2 of 5; parallelbench merge makes the whole"
    assert main(["report", str(shards[1])]) == 0
    assert partial in capsys.readouterr().out
    assert partial in (shards[1] / "report.html").read_text()
    assert RunDirectory.open(shards[1]).provenance()["shard"] == "2/3"


# The whole.


def test_merged_shards_are_the_whole_run_in_any_order(shards, out, plan, whole):
    before = contents(shards[0].parent)
    merged = merge([shards[2], shards[0], shards[1]], out)
    assert merged.duplicates == 0
    directory = RunDirectory.open(out)
    assert directory == RunDirectory(out, plan)
    assert told(directory.records()) == whole
    assert [start["shard"] for start in directory.environments()] == ["3/3", "1/3", "2/3"]
    results, _ = make_report(directory)
    assert [result.samples for result in results] == [5] * 4
    assert contents(shards[0].parent) == before
    seen = []
    run(plan, out, progress=seen.append)
    assert [reached.recorded for reached in seen] == [plan.decodes]


def test_records_that_say_the_same_count_once(shards, out, whole, tmp_path):
    again = tmp_path / "again"
    shutil.copytree(shards[1], again)

    def slower(lines):
        records = [from_line(line, "there") for line in lines]
        return [to_line(altered(r, seconds=99.0)) for r in records]

    rewrite(again, slower)
    assert merge([*shards, again], out).duplicates == 8
    assert told(RunDirectory.open(out).records()) == whole


def test_records_of_an_earlier_release_say_the_same(shards, out, whole, tmp_path):
    again = tmp_path / "again"
    shutil.copytree(shards[1], again)
    rewrite(again, lambda lines: [line_of_schema_1(from_line(line, "there")) for line in lines])
    assert merge([*shards, again], out).duplicates == 8
    assert told(RunDirectory.open(out).records()) == whole


def test_a_decode_that_failed_and_was_done_again_is_kept_as_done(shards, out, whole):
    def failing_first(lines):
        record = from_line(lines[0], "there")
        changes = {"status": "error", "error": "tired", "marks": None}
        return [to_line(altered(record, **changes)), *lines]

    rewrite(shards[0], failing_first)
    assert merge(shards, out).duplicates == 0
    assert told(RunDirectory.open(out).records()) == whole


def test_a_decode_that_only_failed_is_kept_as_failed(shards, out, plan, whole):
    def failing(lines):
        record = from_line(lines[0], "there")
        changes = {"status": "error", "error": "tired", "marks": None}
        return [to_line(altered(record, **changes)), *lines[1:]]

    rewrite(shards[0], failing)
    merge(shards, out)
    records = list(RunDirectory.open(out).records())
    assert [record.error for record in records if record.status == "error"] == ["tired"]
    assert len(records) == plan.decodes


def test_shards_of_another_run_are_refused_with_the_difference(shards, out, tmp_path):
    other = run(make_runfile({**ASKED, "seed": 1}), tmp_path / "other", shard=Shard(3, 3))
    line = refuse(RunFileError, [*shards[:2], other.path], out)
    assert line == (
        f"{other.path} is of another run than {shards[0]}: seed 1 instead of 0; only shards of "
        "the same run can be merged"
    )


def test_a_missing_shard_is_named_with_the_command_that_does_it(shards, out):
    assert refuse(RunFileError, [shards[0], shards[2]], out) == (
        "8 of 20 decodes are missing: shard 2/3 lacks some; nothing was written. To do them: "
        f"parallelbench run {shards[0]}/run.yaml --shard 2/3"
    )


def test_an_unfinished_shard_is_named_with_the_command_that_continues_it(shards, out):
    rewrite(shards[2], lambda lines: lines[:-1])
    line = refuse(RunFileError, [shards[0], shards[2]], out)
    assert "9 of 20 decodes are missing: shards 2/3, 3/3 lack some" in line
    assert line.endswith(
        f"--shard 2/3; parallelbench run {shards[0]}/run.yaml --shard 3/3 --out {shards[2]}"
    )


def test_a_whole_run_is_no_shard(plan, shards, out, tmp_path):
    begun = RunDirectory.begin(tmp_path / "begun", plan)
    line = refuse(RunFileError, [begun.path], out)
    assert line.startswith(f"{begun.path} is a whole run and not a shard of one")
    assert line.endswith(f"parallelbench run {begun.path}/run.yaml --out {begun.path}")
    assert refuse(RunFileError, [*shards, begun.path], out) == line


def test_two_records_that_disagree_are_refused(shards, out, tmp_path):
    again = tmp_path / "again"
    shutil.copytree(shards[1], again)

    def other_tokens(lines):
        record = from_line(lines[0], "there")
        return [to_line(altered(record, text="something else")), *lines[1:]]

    rewrite(again, other_tokens)
    line = refuse(RecordsError, [*shards, again], out)
    assert line.startswith(f"{again} says something else of ")
    assert "find out which shard is wrong" in line


def test_an_altered_record_is_refused(shards, out):
    rewrite(shards[1], lambda lines: [lines[0].replace('"strict":', '"strict":1'), *lines[1:]])
    assert "line 1 was altered" in refuse(RecordsError, shards, out)


def test_shards_of_other_weights_are_refused(shards, out):
    def other_weights(lines):
        records = [from_line(line, "there") for line in lines]
        changes = {"model_digest": "f" * 64}
        return [to_line(altered(r, **changes)) for r in records]

    rewrite(shards[2], other_weights)
    line = refuse(RecordsError, shards, out)
    assert f"{shards[2]} has another 'ideal' than {shards[0]}: digest fffff" in line


@pytest.mark.parametrize("name", ["thesis.tex", "run.yaml"])
def test_nothing_is_merged_into_a_folder_that_holds_something(shards, out, name):
    out.mkdir()
    (out / name).write_text("do not lose me")
    with pytest.raises(StorageError, match="is not empty; give a new or empty folder as --out"):
        merge(shards, out)
    assert (out / name).read_text() == "do not lose me"


def test_an_empty_folder_is_filled(shards, out, whole):
    out.mkdir()
    merge(shards, out)
    assert told(RunDirectory.open(out).records()) == whole


def test_a_merge_that_breaks_off_leaves_no_folder(shards, out, monkeypatch):
    written = []

    def interrupt(self, environment):
        written.append(list(self.records()))
        raise KeyboardInterrupt

    monkeypatch.setattr(RunDirectory, "add_environment", interrupt)
    with pytest.raises(KeyboardInterrupt):
        merge(shards, out)
    assert len(written[0]) == 20
    assert [path.name for path in out.parent.iterdir()] == ["shards"]


# On the command line.


def test_shards_are_made_and_merged_by_commands(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ["--tasks", "choices/city:canvas_length=8", "--decoders", "random:k=4"]
    for index in (1, 2):
        assert main(["run", *options, "--samples", "3", "--shard", f"{index}/2"]) == 0
    first = capsys.readouterr()
    assert first.err.startswith("1 decodes into runs/")
    folders = sorted((tmp_path / "runs").iterdir())
    assert [folder.name[12:] for folder in folders] == ["-shard-1-of-2", "-shard-2-of-2"]
    assert main(["merge", *map(str, folders), str(folders[0]), "--out", "whole"]) == 0
    told = capsys.readouterr()
    assert told.err == "1 records stood in several shards, alike\n"
    assert "choices/city" in told.out
    assert "report: whole/report.html" in told.out
    assert "unfinished" not in told.out
    assert main(["run", *options, "--shard", "3/2"]) == 2
    assert "a shard is one of 1/2 to 2/2, got 3/2" in capsys.readouterr().err
