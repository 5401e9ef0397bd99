"""What would stop or fill the process that checks an entry: its child ends, and says a sentence."""

import hashlib
import json
import lzma
import os
import resource
import shutil
import signal
import sys
import threading
import urllib.error
import urllib.request

import pytest
import tokenizers

from parallelbench.cli.program import main
from parallelbench.console.progress import ProgressDisplay
from parallelbench.errors import RunFileError, SubmissionError
from parallelbench.leaderboards.board.board import add, read_board
from parallelbench.leaderboards.commands.site import server_of
from parallelbench.leaderboards.entry import confined as module
from parallelbench.leaderboards.entry.confined import confined
from parallelbench.leaderboards.verify.step_schedule import ConstantModel
from parallelbench.leaderboards.verify.verification import verified
from parallelbench.prompt import Codec
from support import checkpoints
from support.entries import Spoilt, make_entry

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits a child")

ATTACKS = {}


def attack(edit):
    """Register a change of what a codec of an entry holds."""
    ATTACKS[edit.__name__] = edit
    return edit


@pytest.fixture(scope="module")
def foreign(tiny_season, tmp_path_factory):
    """An entry that brings a tokenizer and a chat template; not to be changed."""
    place = tmp_path_factory.mktemp("foreign")
    path = checkpoints.write_checkpoint("llada", place / "checkpoint")
    return make_entry(place, models=[f"hf:{path}"], decoders="random:k=32")


@pytest.fixture
def spoilt(foreign, tmp_path):
    return Spoilt(shutil.copytree(foreign, tmp_path / "entry"))


def write_codec(entry, edit):
    """Change what the codec of an entry holds, with a digest that agrees."""
    name = "codec-00.json.xz"
    content = json.loads(lzma.decompress((entry.path / name).read_bytes()))
    backend = json.loads(content["tokenizer"])
    edit(content, backend)
    content["tokenizer"] = json.dumps(backend)
    # A tokenizer with a gap is written id by id, which takes minutes.
    content["digest"] = "0" * 64 if "far" in backend["model"]["vocab"] else digest_of(content)
    entry.write(name, lzma.compress(json.dumps(content).encode()))
    entry.change_json("environment.json", lambda starts: starts.clear())


def digest_of(content):
    kept = tokenizers.Tokenizer.from_str(content["tokenizer"])
    kept.no_padding()
    kept.no_truncation()
    of = [kept.to_str(), content["mask_id"], content["end_id"], content["chat_template"]]
    of += [content["template_arguments"], content["stop_ids"]]
    return hashlib.sha256(json.dumps(of).encode()).hexdigest()


@attack
def a_gap_between_the_ids_of_tokens(_content, backend):
    backend["model"]["vocab"]["far"] = 2**31


@attack
def rules_that_multiply_a_text(_content, backend):
    rule = {"type": "Replace", "pattern": {"String": "e"}, "content": "e" * 1000}
    backend["normalizer"] = {"type": "Sequence", "normalizers": [rule] * 4}


@attack
def a_template_that_writes_gigabytes(content, _backend):
    content["chat_template"] = "{{ 'x' * 3000000000 }}"


@attack
def a_template_that_writes_as_much_as_a_check_may_take(content, _backend):
    content["chat_template"] = "{{ 'x ' * 250000000 }}"


@attack
def a_template_that_computes_a_number_of_a_hundred_million_digits(content, _backend):
    content["chat_template"] = "{% set n = 7 ** 99999999 %}{{ n % 10 }}"


@pytest.mark.attack("refused")
@pytest.mark.parametrize("name", ATTACKS)
def test_an_entry_that_would_end_or_hold_its_checker_is_refused(name, spoilt):
    write_codec(spoilt, ATTACKS[name])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(SubmissionError) as refusal:
        verified(spoilt.path, seconds=4)
    assert all(len(fault) < 2000 for fault in refusal.value.faults)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 200 * 1024, "it was this process that read it"


@pytest.mark.attack("harmless")
def test_a_board_is_built_of_the_entries_that_hold(small, spoilt, tmp_path, capsys):
    board = tmp_path / "board"
    add(small, board, name="ours")
    write_codec(spoilt, a_template_that_writes_gigabytes)
    shutil.move(spoilt.path, board / "theirs")
    command = ["leaderboard", "build", "--board", str(board), "--out", str(tmp_path / "out")]
    assert main(command) == 2
    told = capsys.readouterr()
    assert "left out: entry theirs: " in told.err
    assert "MiB of memory" in told.err
    assert "one_by_one" not in told.err
    assert (tmp_path / "out" / "index.html").is_file()
    assert "ours" in told.out
    refusals = []
    assert [each.name for each in read_board(board, refused=refusals.append)] == ["ours"]
    assert len(refusals) == 1
    with pytest.raises(SubmissionError, match="entry theirs"):
        read_board(board)


@pytest.mark.attack("refused")
@pytest.mark.parametrize("name", ["ours.check.json", "a.check.json"])
def test_no_entry_is_called_like_the_boards_own_word(small, tmp_path, name):
    board = tmp_path / "board"
    add(small, board, name="ours")
    with pytest.raises(SubmissionError, match="cannot be the name of an entry"):
        add(small, board, name=name)
    (board / "b.check.json").mkdir()
    with pytest.raises(SubmissionError, match=r"b\.check\.json: no entry may have that name"):
        read_board(board)


# What made the checker crash.

CRASHES = {}


def crash(words):
    """Register a change of an entry, and the words of its refusal."""

    def register(edit):
        CRASHES[edit.__name__] = (edit, words)
        return edit

    return register


def in_yaml(entry, name, old, new):
    text = (entry.path / name).read_text()
    assert old in text
    entry.write(name, text.replace(old, new, 1))


@crash("submission.yaml is no plain YAML: .* is a number over 10")
def a_version_of_five_thousand_hexadecimal_digits(entry):
    in_yaml(entry, "submission.yaml", "schema_version: 1", "schema_version: 0x" + "f" * 5000)


@crash("submission.yaml is no plain YAML: .* is a number over 10")
def a_field_of_three_thousand_places_of_base_60(entry):
    in_yaml(entry, "submission.yaml", "k: 32", "k: " + ":".join(["59"] * 3000))


@crash("submission.yaml is no plain YAML: .* is no value of its kind")
def a_number_without_digits(entry):
    in_yaml(entry, "submission.yaml", "schema_version: 1", "schema_version: !!int ''")


@crash("run.yaml is no plain YAML: .* is a number over 10")
def a_seed_of_twenty_thousand_bits(entry):
    in_yaml(entry, "run.yaml", "repeats: 1", "repeats: 0b" + "1" * 20_000)


@crash("run.yaml is no plain YAML: .* is no value of its kind")
def a_time_that_is_none(entry):
    in_yaml(entry, "run.yaml", "repeats: 1", "repeats: !!timestamp soon")


@crash("run.yaml: tasks holds .* every setting is spelled out")
def a_task_whose_name_is_a_list(entry):
    entry.change_yaml("run.yaml", lambda run: run["tasks"][0].update(name=["choices/sum"]))


@crash("does not have the form of schema version 2: marks.lenient")
def a_mark_above_one(entry):
    entry.change(lambda record: record["marks"].update(lenient=1.5))


@crash("does not have the form of schema version 2: marks.strict")
def a_mark_below_zero(entry):
    entry.change(lambda record: record["marks"].update(strict=-0.5))


@pytest.mark.attack("refused")
@pytest.mark.parametrize("name", CRASHES)
def test_what_made_the_checker_crash_is_refused_where_it_stands(name, small, tmp_path):
    edit, words = CRASHES[name]
    entry = Spoilt(shutil.copytree(small, tmp_path / "entry"))
    edit(entry)
    with pytest.raises(SubmissionError, match=words) as refusal:
        verified(entry.path)
    assert all(len(fault) < 1000 for fault in refusal.value.faults)


@pytest.mark.attack("refused")
def test_a_vocabulary_without_two_words_is_refused():
    class Spare(Codec):
        size = 3
        unwritable = (1,)

        def __init__(self):
            self.__dict__ |= {"mask_id": 1, "end_id": 2, "stop_ids": frozenset()}

    with pytest.raises(SubmissionError, match="vocabulary of 3 tokens has 1 that can be written"):
        _ = ConstantModel(Spare(), None)._ordinary


@pytest.mark.attack("harmless")
def test_a_request_for_a_name_with_a_nul_byte_finds_nothing(tmp_path):
    (tmp_path / "index.html").write_text("board")
    with server_of(tmp_path, 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            place = f"http://127.0.0.1:{server.server_port}"
            for path in ("/%00", "/index.html%00", "/a%00/b"):
                with pytest.raises(urllib.error.HTTPError, match="404"):
                    urllib.request.urlopen(place + path)  # noqa: S310  our own server
            assert urllib.request.urlopen(place).read() == b"board"
        finally:
            server.shutdown()
            thread.join()


#: Of submission.yaml, run.yaml and results.json: where a stranger's text stands.
ESCAPES = "\x1b[2J\x1b]0;owned\x07"
TEXTS = {
    "a season": lambda e: e.change_yaml("submission.yaml", lambda s: s.update(season=ESCAPES)),
    "a label": lambda e: e.change_yaml(
        "submission.yaml", lambda s: s["models"][0].update(label=ESCAPES)
    ),
    "a key": lambda e: e.change_yaml("submission.yaml", lambda s: s.update({ESCAPES: 1})),
    "a task": lambda e: e.change_yaml("run.yaml", lambda r: r["tasks"][0].update(name=ESCAPES)),
    "a decoder": lambda e: e.change_yaml(
        "run.yaml", lambda r: r["decoders"][0].update(name=ESCAPES)
    ),
    "a model": lambda e: e.change_yaml("run.yaml", lambda r: r["models"][0].update(name=ESCAPES)),
    "a figure": lambda e: e.change_json("results.json", lambda r: r[0].update({ESCAPES: 1})),
    "a text": lambda e: e.change(lambda record: record.update(text=ESCAPES)),
    "an error": lambda e: e.change(lambda record: record.update(status="error", error=ESCAPES)),
    "a task of a record": lambda e: e.change(lambda record: record["task"].update(label=ESCAPES)),
    "a note": lambda e: e.change(lambda record: record["decoding"].update(note=ESCAPES)),
    "a name of a file": lambda e: (e.path / "\x1b[2Jfile").write_text(""),
}


@pytest.mark.attack("refused")
@pytest.mark.parametrize("name", TEXTS)
def test_no_refusal_commands_a_terminal(name, small, tmp_path, capsys):
    entry = Spoilt(shutil.copytree(small, tmp_path / "entry"))
    TEXTS[name](entry)
    for command in (["verify"], ["add", "--board", str(tmp_path / "board")]):
        assert main(["leaderboard", *command, str(entry.path)]) == 2
        told = capsys.readouterr()
        assert told.err
        assert "\x1b" not in told.out + told.err
        assert "\x07" not in told.out + told.err


# The child itself.


def in_child(work, seconds=20, progress=None):
    return confined(work, "it", seconds=seconds, progress=progress or ProgressDisplay())


def test_a_child_hands_back_json_values_and_says_how_far_it_is():
    stages = []

    class Noted(ProgressDisplay):
        def begin(self, doing, total=None, unit="", done=0):
            stages.append((self.doing, self.done))
            super().begin(doing, total, unit, done)

    def work(told):
        told.begin("counting", 3, "things")
        seen = list(told.count("abc"))
        told.begin("ending")
        return {"seen": seen, "pid": os.getpid(), "text": "\ud800\n"}

    found = in_child(work, progress=Noted())
    assert found["seen"] == ["a", "b", "c"]
    assert found["text"] == "\ud800\n"
    assert found["pid"] != os.getpid()
    assert stages == [("", 0), ("counting", 3)]


def dies_by(number):
    def work(told):
        told.begin("reading the riot act")
        told.begin("reading the tokenizers", 9, "files", 2)
        os.kill(os.getpid(), number)

    return work


@pytest.mark.parametrize("number", [signal.SIGABRT, signal.SIGSEGV, signal.SIGKILL, signal.SIGILL])
def test_a_child_that_dies_is_a_refusal_that_says_what_was_read(number):
    told = f"ended by {number.name}, while reading the tokenizers after 2 files"
    with pytest.raises(SubmissionError, match=told):
        in_child(dies_by(number))


def fills_memory(_told):
    return len([bytearray(2**20) for _ in range(3000)])


def test_a_child_that_takes_too_much_memory_is_refused():
    with pytest.raises(SubmissionError, match="more than the 1,024 MiB of memory"):
        in_child(fills_memory)


def test_memory_can_be_allowed_to_a_child_and_has_a_bound(monkeypatch):
    monkeypatch.setattr(module, "MEMORY_BYTES", 2**28)

    def work(_told):
        module.allow_records(2**28 // module.RECORD_BYTES)
        return len(bytearray(400 * 2**20))

    assert in_child(work) == 400 * 2**20

    def greedy(told):
        module.allow_records(2**40)
        return fills_memory(told) + fills_memory(told)

    monkeypatch.setattr(module, "_MOST_MORE_BYTES", 2**28)
    with pytest.raises(SubmissionError, match="memory"):
        in_child(greedy)


def spin(_told=None):
    while True:
        pass


def computes(_told):
    return 7**99999999 % 10


@pytest.mark.parametrize("work", [spin, computes])
def test_a_child_that_computes_without_end_is_ended(work):
    with pytest.raises(SubmissionError, match="it was not checked within 1 s"):
        in_child(work, seconds=1)


def test_a_child_that_answers_too_much_is_refused(monkeypatch):
    monkeypatch.setattr(module, "_MOST_LINE_BYTES", 10**6)
    with pytest.raises(SubmissionError, match="answer of its check is over"):
        in_child(lambda _: "x" * 10**7)


def test_a_child_writes_no_file_and_prints_nothing(tmp_path, capfd):
    def work(_told):
        print("words")  # noqa: T201
        os.write(2, b"words")
        (tmp_path / "file").write_text("words")

    with pytest.raises(SubmissionError, match=r"OSError: .*File too large"):
        in_child(work)
    assert not (tmp_path / "file").exists() or (tmp_path / "file").read_text() == ""
    assert capfd.readouterr() == ("", "")


def test_faults_of_a_child_are_those_of_its_parent():
    def refuses(_told):
        raise SubmissionError("one", "two")

    def asks(_told):
        raise RunFileError("three")

    def fails(_told):
        return int("three")

    with pytest.raises(SubmissionError) as refusal:
        in_child(refuses)
    assert refusal.value.faults == ("one", "two")
    with pytest.raises(SubmissionError, match=r"^three$"):
        in_child(asks)
    with pytest.raises(SubmissionError, match=r"failed at test_attacks_on\w+\.py:\d+ with Val"):
        in_child(fails)


def test_elsewhere_than_on_linux_the_work_is_done_here_and_refused_alike(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert in_child(lambda _: [os.getpid()]) == [os.getpid()]
    with pytest.raises(SubmissionError, match="with ValueError"):
        in_child(lambda _: int("three"))

    def interrupted(_told):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        in_child(interrupted)


def test_no_child_is_left_behind_after_an_interrupt():
    class Interrupted(ProgressDisplay):
        def begin(self, doing, total=None, unit="", done=0):
            raise KeyboardInterrupt

    def work(told):
        told.begin("spinning")
        spin()

    with pytest.raises(KeyboardInterrupt):
        in_child(work, progress=Interrupted())
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_threads_of_libraries_that_were_used_before_do_not_hold_a_child():
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        square = torch.rand(600, 600)
        expected = float((square @ square).sum())
        assert in_child(lambda _: float((square @ square).sum())) == pytest.approx(expected)
    finally:
        torch.set_num_threads(before)
