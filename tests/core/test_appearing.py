"""A folder appears whole; what a killed process left is removed, what a living one writes never."""

import signal
import subprocess
import sys

import pytest

from parallelbench.storage.folders import appearing

WRITE_FOR_EVER = """
import sys, time
from pathlib import Path
from parallelbench.run.merge import appearing

with appearing(Path(sys.argv[1])) as place:
    (place / "half").write_text("half")
    print(place, flush=True)
    time.sleep(3600)
"""


@pytest.fixture
def writer(tmp_path):
    """A process that is writing ``tmp_path / "theirs"``, and the hidden folder that it fills."""
    command = [sys.executable, "-c", WRITE_FOR_EVER, str(tmp_path / "theirs")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        folder = tmp_path / process.stdout.readline().strip()
        yield process, folder
        process.kill()


def test_what_a_killed_process_left_is_removed_when_the_next_writes_there(writer, tmp_path):
    process, folder = writer
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (folder / "half").is_file()
    with appearing(tmp_path / "ours") as place:
        (place / "all").write_text("all")
    assert [path.name for path in tmp_path.iterdir()] == ["ours"]
    assert (tmp_path / "ours" / "all").read_text() == "all"


def test_what_a_living_process_writes_is_left_alone(writer, tmp_path):
    _, folder = writer
    with appearing(tmp_path / "ours"):
        pass
    assert (folder / "half").read_text() == "half"


def test_files_links_and_folders_of_other_names_are_left_alone(tmp_path):
    (tmp_path / ".notes-0123abcd.unfinished").write_text("a file")
    (tmp_path / ".ours-0123abcd").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / ".link-0123abcd.unfinished").symlink_to(tmp_path / "elsewhere")
    before = sorted(tmp_path.iterdir())
    with appearing(tmp_path / "ours"):
        pass
    assert sorted({*tmp_path.iterdir()} - {tmp_path / "ours"}) == before


def test_a_failure_leaves_nothing(tmp_path):
    with pytest.raises(KeyError):
        write_half(tmp_path / "new" / "ours")
    assert list((tmp_path / "new").iterdir()) == []


def write_half(folder):
    with appearing(folder) as place:
        (place / "half").write_text("half")
        raise KeyError
