"""The run directory: what is written stays, and what is not right is refused and kept."""

import errno
import os
import resource
import subprocess
import sys
from contextlib import contextmanager

import pytest
import yaml
from filelock import lock_descriptor

from parallelbench.errors import RecordsError, RunFileError, StorageError
from parallelbench.record_line import to_line
from parallelbench.run.rundir import RunDirectory
from parallelbench.run.runfile import make_runfile
from parallelbench.run.runner import execute, run
from support.fabricated import altered, line_of_schema_1

ASKED = {
    "models": "ideal",
    "tasks": "list_operations/copy:form=infill,length=3",
    "decoders": "random:k=3",
    "samples": 5,
}


@pytest.fixture(scope="module")
def plan():
    return make_runfile(ASKED)


@pytest.fixture(scope="module")
def records(plan):
    return sorted(execute(plan), key=lambda record: record.index)


@pytest.fixture
def begun(plan, records, tmp_path):
    """A run with three of its five records."""
    directory = RunDirectory.begin(tmp_path / "run", plan)
    with directory.appending() as writer:
        for record in records[:3]:
            writer.append(record)
    return directory


def lines_of(directory):
    return directory.path / "records-0.jsonl"


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def asked_otherwise(**changes):
    return make_runfile({**ASKED, **changes})


def test_a_run_is_begun_in_a_new_folder_however_deep(plan, tmp_path):
    directory = RunDirectory.begin(tmp_path / "a" / "b", plan)
    assert RunDirectory.open(directory.path).runfile == plan
    assert list(directory.records()) == []


@pytest.fixture
def synced(monkeypatch):
    """What a file held whenever it was forced onto the disk."""
    found = []
    force = os.fsync

    def noting(descriptor):
        found.append(os.fstat(descriptor).st_size)
        force(descriptor)

    monkeypatch.setattr(os, "fsync", noting)
    return found


def test_records_are_on_the_disk_when_the_run_is_done(begun, records, synced):
    with begun.appending() as writer:
        writer.append(records[3])
        assert synced == []
    assert synced == [(begun.path / "records-0.jsonl").stat().st_size]


def test_records_are_forced_onto_the_disk_now_and_then(begun, records, synced, monkeypatch):
    monkeypatch.setattr("parallelbench.run.rundir.SYNC_SECONDS", 0.0)
    with begun.appending() as writer:
        for record in records[3:]:
            writer.append(record)
            assert synced[-1] == (begun.path / "records-0.jsonl").stat().st_size


def test_a_file_is_on_the_disk_before_it_takes_the_place_of_another(begun, synced):
    written = begun.write_text("environment.json", "[]\n")
    assert synced == [3] == [written.stat().st_size]


def test_a_file_system_that_cannot_force_a_file_onto_a_disk_is_no_fault(
    begun, records, monkeypatch
):
    def refuse(descriptor):
        raise OSError(errno.EINVAL, "no such operation")

    monkeypatch.setattr(os, "fsync", refuse)
    with begun.appending() as writer:
        writer.append(records[3])
    assert list(begun.records()) == records[:4]


def test_zeros_that_a_power_cut_left_behind_the_records_are_dropped(begun, records):
    with (begun.path / "records-0.jsonl").open("ab") as file:
        file.write(b"\0" * 5000)
    with pytest.raises(RecordsError, match="is torn"):
        list(begun.records())
    with begun.appending() as writer:
        writer.append(records[3])
    assert list(begun.records()) == records[:4]


def test_a_record_is_read_again_from_its_place(begun, records):
    places = [place for _, place in begun.located_records()]
    assert [place.read() for place in reversed(places)] == records[2::-1]
    with pytest.raises(RecordsError, match=r"records-0.jsonl byte 7 was altered"):
        begun.record_at(7)


def test_a_run_is_continued_with_the_records_it_has(begun, plan, records):
    again = RunDirectory.begin(begun.path, plan)
    with again.appending() as writer:
        writer.append(records[3])
    assert list(again.records()) == records[:4]


def test_a_run_that_an_earlier_release_began_is_continued(begun, plan, records):
    old = [line_of_schema_1(record) for record in records[:3]]
    lines_of(begun).write_text("".join(old))
    run(plan, begun.path)
    kept = lines_of(begun).read_text().splitlines(keepends=True)
    assert kept[:3] == old
    assert [line[:20] for line in kept[3:]] == ['{"schema_version":2,'] * 2
    assert [each.key for each in begun.records()] == [each.key for each in records]
    assert list(begun.records())[:3] == records[:3]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"samples": 9}, "samples 9 instead of 5"),
        ({"seed": 1}, "seed 1 instead of 0"),
        ({"decoders": "random:k=2"}, "decoders without random:.*k=3.* and with random:.*k=2"),
        ({"decoders": "random:k=3,confidence"}, "decoders with confidence:"),
    ],
)
def test_a_changed_run_is_refused_with_the_difference_and_nothing_is_touched(begun, changes, told):
    before = contents(begun.path)
    with pytest.raises(RunFileError, match=f"holds another run: now asked for {told}"):
        RunDirectory.begin(begun.path, asked_otherwise(**changes))
    assert contents(begun.path) == before


def test_a_folder_that_holds_something_else_is_refused(plan, tmp_path):
    (tmp_path / "thesis.tex").write_text("do not lose me")
    with pytest.raises(StorageError, match="is not empty and holds no run; give a new or empty"):
        RunDirectory.begin(tmp_path, plan)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_run_that_was_killed_as_it_began_can_begin_again(plan, tmp_path):
    (tmp_path / ".run.yaml-x1y2").write_text("schema_ver")
    assert RunDirectory.begin(tmp_path, plan).runfile == plan


@pytest.mark.parametrize("name", [".", "missing", "file"])
def test_what_is_no_run_directory_is_not_opened(tmp_path, name):
    (tmp_path / "file").touch()
    with pytest.raises(RunFileError, match=r"is not a run directory: it holds no run\.yaml"):
        RunDirectory.open(tmp_path / name)


def test_a_run_file_that_was_spoilt_is_refused(begun, plan):
    (begun.path / "run.yaml").write_text("tasks: [")
    for attempt in (RunDirectory.open, lambda path: RunDirectory.begin(path, plan)):
        with pytest.raises(RunFileError, match=r"the run file .*run\.yaml cannot be read"):
            attempt(begun.path)


def test_a_folder_below_a_file_cannot_be_made(plan, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="file/run cannot be used: not a directory"):
        RunDirectory.begin(tmp_path / "file" / "run", plan)


def test_a_name_that_the_file_system_refuses_is_told(plan, tmp_path):
    path = tmp_path / ("x" * 300)
    for attempt in (RunDirectory.open, lambda path: RunDirectory.begin(path, plan)):
        with pytest.raises(StorageError, match="cannot be used: file name too long"):
            attempt(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_that_may_not_be_written_is_told(plan, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="cannot be used: permission denied"):
        RunDirectory.begin(tmp_path / "run", plan)


@contextmanager
def room_for(bytes_in_a_file):
    """Let no file of this process grow over that, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_in_a_file, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_on_a_full_disk_what_was_recorded_stays_and_the_rest_is_done_later(begun, plan, records):
    size = lines_of(begun).stat().st_size
    with (
        begun.appending() as writer,
        pytest.raises(StorageError, match="what is already recorded is safe"),
        room_for(size + 100),
    ):
        writer.append(records[3])
    assert lines_of(begun).stat().st_size == size + 100
    with pytest.raises(
        RecordsError, match=r"line 4 is torn.*start the run again to drop that line"
    ):
        list(begun.records())
    run(plan, begun.path)
    assert [record.index for record in begun.records()] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("device", ["/dev/full", "/dev/null"])
def test_records_are_never_sent_to_a_device(begun, device):
    lines_of(begun).unlink()
    lines_of(begun).symlink_to(device)
    with pytest.raises(StorageError, match="is not a file that can keep records"):
        list(begun.records())
    with pytest.raises(StorageError, match="is not a file"), begun.appending():
        raise AssertionError


def test_nothing_is_said_of_records_where_there_are_none(plan, tmp_path, records):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError) as caught:
        RunDirectory.begin(tmp_path / "file" / "run", plan)
    assert "recorded" not in str(caught.value)
    directory = RunDirectory.begin(tmp_path / "run", plan)
    with directory.appending() as writer, pytest.raises(StorageError) as caught, room_for(100):
        writer.append(records[0])
    assert "recorded" not in str(caught.value)


def test_a_run_begun_before_a_field_was_added_goes_on(begun, plan):
    file = begun.path / "run.yaml"
    content = yaml.safe_load(file.read_text())
    del content["models"][0]["fields"]["noise"]
    file.write_text(yaml.safe_dump(content))
    assert RunDirectory.begin(begun.path, plan).path == begun.path


@pytest.mark.parametrize("ends", [b"\r\n", b"\n"])
def test_records_whose_line_ends_were_converted_are_read_and_added_to(begun, records, ends):
    whole = lines_of(begun).read_bytes().replace(b"\n", ends)
    lines_of(begun).write_bytes(whole)
    assert list(begun.records()) == records[:3]
    with begun.appending() as writer:
        writer.append(records[3])
    assert list(begun.records()) == records[:4]


def test_a_converted_line_that_was_altered_too_is_refused(begun):
    spoilt = lines_of(begun).read_bytes().replace(b'"strict":1.0', b'"strict":0.0', 1)
    lines_of(begun).write_bytes(spoilt.replace(b"\n", b"\r\n"))
    with pytest.raises(RecordsError, match="line 1 was altered"):
        list(begun.records())


#: Locks a file as a run does, says so, and waits to be killed.
WRITER = """
import sys, time
from filelock import lock_descriptor
stream = open(sys.argv[1], "ab")
print(lock_descriptor(stream.fileno(), blocking=False), flush=True)
time.sleep(60)
"""


def lock_of(directory):
    return directory.path / "records-0.jsonl.lock"


@contextmanager
def another_process_writing(directory):
    command = [sys.executable, "-c", WRITER, str(lock_of(directory))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout.readline() == "True\n"
        yield
        writer.kill()  # no chance to tidy up


def test_a_second_process_is_kept_from_writing_until_the_first_is_killed(begun, records):
    torn = to_line(records[3])[:100]
    with lines_of(begun).open("a") as stream:
        stream.write(torn)
    with another_process_writing(begun):
        assert begun.is_going_on()
        assert list(begun.records()) == records[:3]  # the line that is being written is none yet
        with (
            pytest.raises(StorageError, match=r"another process is writing .*records-0\.jsonl;"),
            begun.appending(),
        ):
            raise AssertionError
        assert lines_of(begun).read_text().endswith(torn)
    assert not begun.is_going_on()
    with begun.appending() as writer:
        writer.append(records[3])
    assert list(begun.records()) == records[:4]


def test_a_run_that_ended_or_was_copied_without_its_lock_is_not_going_on(begun):
    assert not begun.is_going_on()
    lock_of(begun).unlink()
    assert not begun.is_going_on()


def test_whether_a_run_goes_on_is_seen_in_a_folder_that_may_only_be_read(begun):
    lock_of(begun).chmod(0o400)
    begun.path.chmod(0o500)
    with lock_of(begun).open("rb") as stream:
        assert lock_descriptor(stream.fileno(), blocking=False)
        assert begun.is_going_on()
    assert not begun.is_going_on()
    begun.path.chmod(0o700)


def test_a_file_system_without_locks_is_told(begun, monkeypatch):
    def without_locks(_descriptor, *, blocking):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("parallelbench.run.rundir.lock_descriptor", without_locks)
    with (
        pytest.raises(StorageError, match=r"records-0\.jsonl\.lock cannot be used: no locks avail"),
        begun.appending(),
    ):
        raise AssertionError


def test_one_run_cannot_be_written_twice_at_a_time(begun, plan):
    before = contents(begun.path)
    with begun.appending(), pytest.raises(StorageError, match="another process is writing"):
        run(plan, begun.path)
    assert contents(begun.path) == before


@pytest.mark.parametrize("left", [1, 700, -1])
def test_a_torn_last_line_is_dropped_when_the_run_goes_on(begun, records, left):
    whole = lines_of(begun).read_bytes()
    line = to_line(records[3]).encode()
    lines_of(begun).write_bytes(whole + line[:left])
    with pytest.raises(RecordsError, match=r"line 4 is torn.*start the run again to drop that"):
        list(begun.records())
    with begun.appending() as writer:
        assert lines_of(begun).read_bytes() == whole
        writer.append(records[3])
    assert list(begun.records()) == records[:4]


def test_a_file_that_is_one_torn_line_is_emptied(begun):
    line = b"x" * 200_000  # longer than what is read at a time
    lines_of(begun).write_bytes(line)
    with begun.appending():
        assert lines_of(begun).read_bytes() == b""


def test_a_torn_line_behind_a_long_one_is_found(begun):
    lines_of(begun).write_bytes(b"y" * 100_000 + b"\n" + b"x" * 200_000)
    with begun.appending():
        assert lines_of(begun).read_bytes() == b"y" * 100_000 + b"\n"


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda line: line.replace(b'"strict":1.0', b'"strict":0.0'), "was altered"),
        (lambda line: line[: len(line) // 2] + b"\n", "is torn"),
        (lambda _: b"\n", "is torn"),
        (lambda line: b"\xff" + line, "was altered"),
        (lambda line: line[:50] + b"\0" * 50 + line[100:], "was altered"),
    ],
    ids=["flipped", "cut", "empty", "no Unicode", "zeros"],
)
def test_a_spoilt_line_in_the_middle_is_refused_and_kept(begun, plan, spoil, told):
    first, middle, last = lines_of(begun).read_bytes().splitlines(keepends=True)
    assert spoil(middle) != middle
    lines_of(begun).write_bytes(first + spoil(middle) + last)
    before = contents(begun.path)
    with pytest.raises(RecordsError) as caught:
        run(plan, begun.path)
    assert f"{lines_of(begun)} line 2 {told}" in str(caught.value)
    assert "delete that line and start the run again to do its sample again" in str(caught.value)
    assert contents(begun.path) == before


def test_deleting_the_spoilt_line_mends_the_run(begun, plan, records):
    first, _, last = lines_of(begun).read_bytes().splitlines(keepends=True)
    lines_of(begun).write_bytes(first + last)
    run(plan, begun.path)
    assert sorted(record.index for record in begun.records()) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"seed": 7}, "has seed 7"),
        ({"index": 5}, "has sample number 5"),
        ({"index": -1}, "has sample number -1"),
        ({"repeat": 1}, "has repeat 1"),
        ({"decoder_label": "random:k=2"}, "has decoder 'random:k=2'"),
        ({"task_label": "choices/city"}, "has task 'choices/city'"),
        ({"model": "ideal:noise=0.0"}, "has model 'ideal:noise=0.0'"),
    ],
)
def test_a_record_of_another_run_is_refused(begun, records, change, told):
    stranger = altered(records[3], **change)
    with begun.appending() as writer:
        writer.append(stranger)
    with pytest.raises(RecordsError) as caught:
        list(begun.records())
    assert f"line 4 {told}, which the run has not: it belongs to another" in str(caught.value)


def test_every_start_notes_its_environment(begun):
    begun.add_environment({"python": "3.10"})
    begun.add_environment({"python": "3.13"})
    assert begun.environments() == [{"python": "3.10"}, {"python": "3.13"}]
    assert begun.provenance()["environments"] == begun.environments()


def test_a_spoilt_environment_is_told_with_the_way_out(begun):
    (begun.path / "environment.json").write_text("[")
    with pytest.raises(RecordsError, match=r"environment\.json was altered.*delete it"):
        begun.environments()


def test_a_file_is_written_whole_or_not_at_all(begun):
    begun.write_text("note.txt", "before")
    with pytest.raises(StorageError, match="cannot be used: file too large"), room_for(3):
        begun.write_text("note.txt", "afterwards")
    assert (begun.path / "note.txt").read_text() == "before"
    assert not [path for path in begun.path.iterdir() if path.name.startswith(".note")]


def test_what_is_derived_can_be_read_by_those_who_may_read_the_folder(begun):
    before = os.umask(0o022)
    try:
        assert begun.write_text("note.txt", "hello").stat().st_mode & 0o777 == 0o644
    finally:
        os.umask(before)
