"""What was verified once is not computed again, and nothing that follows from it may change."""

import json
import shutil

import pytest

from parallelbench.cli.program import main
from parallelbench.console import progress
from parallelbench.errors import SubmissionError
from parallelbench.leaderboards.board.board import add, read_board
from parallelbench.leaderboards.verify import cache
from parallelbench.leaderboards.verify import verification as verify
from parallelbench.leaderboards.verify.cache import Finding, VerificationCache, key_of
from parallelbench.leaderboards.verify.verification import verified
from parallelbench.run.runfile import make_runfile
from parallelbench.task import TASKS
from support.entries import SEED, TASKS_OF_SEASON, Spoilt

FINDING = Finding(level="recomputed", remarks=("a remark",), redecoded={}, content="1" * 64)


@pytest.fixture
def checks(monkeypatch):
    """The names of the entries that were verified, and not taken from a cache."""
    confined = verify.confined
    made = []

    def counted(work, what, **how):
        if work.func is verify._checked_content:
            made.append(work.args[0].path.name)
        return confined(work, what, **how)

    monkeypatch.setattr(verify, "confined", counted)
    return made


@pytest.fixture
def kept(tmp_path):
    return VerificationCache(tmp_path / "kept")


@pytest.fixture
def copy(small, tmp_path):
    return Spoilt(shutil.copytree(small, tmp_path / "entry"))


def test_a_board_is_read_again_without_verifying_and_says_the_same(small, tmp_path, kept, checks):
    board = tmp_path / "board"
    add(small, board, name="ours", cache=kept)
    assert len(checks) == 1
    (first,) = read_board(board, cache=kept)
    assert len(checks) == 1
    (anew,) = read_board(board)
    assert checks[1:] == ["ours"]
    assert first == anew
    (again,) = read_board(board, cache=VerificationCache(tmp_path / "kept", fresh=True))
    assert checks[2:] == ["ours"]
    assert again == anew


def test_records_that_were_verified_in_another_order_come_in_that_of_the_run(copy, kept, checks):
    copy.write_records(list(reversed(copy.records())))
    before = verified(copy.path, cache=kept)
    after = verified(copy.path, cache=kept)
    assert len(checks) == 1
    assert [r.key for r in after.entry.records] == [r.key for r in before.entry.records]


def test_an_entry_that_changed_is_verified_again(copy, kept, checks):
    verified(copy.path, cache=kept)
    copy.change(lambda record: record["marks"].update(lenient=0.5))
    for _ in range(2):  # and a refusal is never kept
        with pytest.raises(SubmissionError, match=r"claims marks\.lenient 0\.5"):
            verified(copy.path, cache=kept)
    assert len(checks) == 3


def test_build_takes_what_add_found_and_fresh_verifies_again(small, tmp_path, checks, capsys):
    board = ["--board", str(tmp_path / "board")]
    assert main(["leaderboard", "add", str(small), "--name", "ours", *board]) == 0
    build = ["leaderboard", "build", *board, "--out", str(tmp_path / "out")]
    assert main(build) == 0
    assert len(checks) == 1
    assert main([*build, "--fresh"]) == 0
    assert checks[1:] == ["ours"]
    assert main(["leaderboard", "verify", str(tmp_path / "board" / "ours")]) == 0
    assert checks[2:] == ["ours"], "who asks for a check gets one"
    capsys.readouterr()


def a_run(**changes):
    asked = {"models": "ideal", "tasks": list(TASKS_OF_SEASON), "decoders": "random:k=32"}
    return make_runfile({**asked, "samples": 3, "seed": SEED, **changes})


def test_all_that_a_finding_follows_from_is_in_its_key(tiny_season, monkeypatch):
    run = a_run()
    keys = {key_of(digest * 64, tiny_season, run, redecode=True) for digest in "12"}
    keys.add(key_of("1" * 64, tiny_season, run, redecode=False))
    other = cache.Season("tiny", "Tiny", 1, tiny_season.tasks, 3, 1)
    keys.add(key_of("1" * 64, other, run, redecode=True))
    for name, value in (("_source_digest", "another"), ("_versions", {"torch": "0.1"})):
        with monkeypatch.context() as changed:
            changed.setattr(cache, name, lambda value=value: value)
            keys.add(key_of("1" * 64, tiny_season, run, redecode=True))
    assert len(keys) == 6
    assert all(len(key) == 64 for key in keys)


def test_the_source_of_every_wing_is_in_its_key(monkeypatch, tmp_path):
    for wing in cache._PACKAGES:
        root = tmp_path / "package"
        shutil.rmtree(root, ignore_errors=True)
        (root / "submissions").mkdir(parents=True)

        class Package:
            __path__ = (str(root),)

        monkeypatch.setattr(cache, "_PACKAGES", (wing,))
        monkeypatch.setattr(cache.importlib, "import_module", lambda _name, it=Package: it)
        digest = cache._source_digest.__wrapped__
        (root / "rules.py").write_text("A = 1")
        before = digest()
        (root / "submissions" / "entry.json").write_text("{}")
        assert digest() == before
        (root / "rules.py").write_text("A = 2")
        assert digest() != before


def test_what_is_no_part_of_this_package_is_verified_every_time(tiny_season, monkeypatch):
    class Mine(TASKS["choices/sum"]):
        pass

    Mine.__module__ = "somebody.tasks"
    monkeypatch.setitem(TASKS._entries, "choices/sum", Mine)
    assert key_of("1" * 64, tiny_season, a_run(), redecode=True) is None


@pytest.mark.parametrize("content", ["", "[", "{}", '{"level": "reproduced"}', "\x00" * 99])
def test_a_spoilt_finding_is_none(kept, tmp_path, content):
    kept.keep("3" * 64, FINDING)
    assert kept.find("3" * 64) == FINDING
    (tmp_path / "kept" / f"{'3' * 64}.json").write_text(content)
    assert kept.find("3" * 64) is None


def test_a_folder_that_others_can_write_is_not_believed(kept, tmp_path):
    kept.keep("3" * 64, FINDING)
    folder = tmp_path / "kept"
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o777)
    assert kept.find("3" * 64) is None
    kept.keep("4" * 64, FINDING)
    assert [file.name for file in folder.iterdir()] == [f"{'3' * 64}.json"]
    folder.chmod(0o700)
    (tmp_path / "link").symlink_to(folder)
    assert VerificationCache(tmp_path / "link").find("3" * 64) is None


def test_where_nothing_can_be_written_nothing_is_kept(small, tmp_path):
    (tmp_path / "file").write_text("")
    found = verified(small, cache=VerificationCache(tmp_path / "file" / "below"))
    assert found.entry.level == "reproduced"


def test_nothing_is_kept_within_an_entry_or_a_board(small, tmp_path, capsys):
    board = tmp_path / "board"
    assert main(["leaderboard", "add", str(small), "--name", "a", "--board", str(board)]) == 0
    assert {each.name for each in board.iterdir()} == {"a", "a.check.json"}
    (file,) = (tmp_path / "cache" / "parallelbench" / "verified").iterdir()
    assert json.loads(file.read_text())["level"] == "reproduced"
    capsys.readouterr()


def test_the_board_shows_its_progress(small, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(progress, "FIRST_SECONDS", 0.0)
    board = ["--board", str(tmp_path / "board")]
    for command, said in (
        (["pack", str(small.parent / "run"), "--submitter", "us", "--out"], "packing"),
        (["verify"], "verifying"),
        (["add", *board], "verifying"),
    ):
        assert main(["leaderboard", *command, str(tmp_path / "entry")]) == 0
        assert capsys.readouterr().err.startswith(f"{said} "), command
    assert main(["leaderboard", "build", *board, "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().err.startswith(f"reading {tmp_path / 'board'}, 0 s so far\n")


def test_every_record_of_an_entry_is_counted(small, tmp_path, kept):
    stages = []

    class Noted(progress.ProgressDisplay):
        def begin(self, doing, total=None, unit="", done=0):
            if self.total is not None:
                stages.append((self.doing, self.done, self.total, self.unit))
            super().begin(doing, total, unit, done)

    for _ in range(2):
        told = Noted()
        assert len(list(verified(small, "ours", cache=kept, progress=told).entry.records)) == 6
        told.begin("")
    assert stages == [
        ("verifying ours", 6, 6, "records"),
        ("reading ours", 6, 6, "records"),
        ("reading ours", 6, 6, "records"),
    ]
