"""Whatever an entry holds, it is verified, or refused with an error of ours."""

import json
import lzma
import shutil

from parallelbench.leaderboards.board.board import add, read_board
from parallelbench.leaderboards.entry import folder
from parallelbench.leaderboards.entry.tokenizer_file import from_file, to_file
from parallelbench.leaderboards.verify.verification import verified
from parallelbench.model import MODELS
from parallelbench.setting import build, make_setting
from support import checkpoints
from support.fuzzing import faults


def seal(place):
    folder.write_manifest(place)


def test_a_spoilt_entry_is_verified_or_refused(small, tmp_path):
    found = faults("entry", small, tmp_path, verified, cases=120, seal=seal)
    assert not found, found


def test_the_word_of_the_board_may_be_spoilt(small, tmp_path):
    board = tmp_path / "honest"
    add(small, board, name="ours")
    shutil.rmtree(board / "ours")
    read_only_checks = shutil.copytree(board, tmp_path / "checks")

    def read(place):
        shutil.copytree(small, place / "ours")
        read_board(place)

    found = faults("check", read_only_checks, tmp_path, read, cases=25)
    assert not found, found


def test_a_spoilt_codec_is_built_or_refused(tmp_path):
    checkpoints.write_checkpoint("llada", tmp_path / "checkpoint")
    path = {"path": str(tmp_path / "checkpoint")}
    codec = build(make_setting("hf", path, MODELS), MODELS).open_codec()
    honest = tmp_path / "honest"
    honest.mkdir()
    content = json.dumps(to_file(codec)).encode()
    (honest / "codec-00.json.xz").write_bytes(lzma.compress(content))

    def read(place):
        files = {file.name: file.read_bytes() for file in place.iterdir() if file.is_file()}
        if files:
            held = folder.EntryFolder(place, "", files).json("codec-00.json.xz")
            made = from_file(held, "codec-00.json.xz")
            made.decode(made.encode(["a b"])[0])

    found = faults("codec", honest, tmp_path, read, cases=150)
    assert not found, found
