"""A small entry that holds what it claims, made once, and what is needed to spoil a copy of it."""

import mmap
import shutil
from types import MappingProxyType

import pytest

from parallelbench.leaderboards.entry import eligibility, folder, season
from parallelbench.leaderboards.entry.season import Season, seasons
from parallelbench.leaderboards.verify import verification
from parallelbench.setting import parse_settings
from parallelbench.task import TASKS
from support.entries import SEED, TASKS_OF_SEASON, Spoilt, make_entry

COUNTS = ("bytes", "decompressed", "lines")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    """What a test verifies is no finding of whoever runs it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def tiny_season(_registered):
    """A season of three samples of two tasks, beside those that there are."""
    settings = tuple(setting for text in TASKS_OF_SEASON for setting in parse_settings(text, TASKS))
    tiny = Season("tiny", "Tiny", SEED, settings, 3, 1)
    known = MappingProxyType({**seasons(), "tiny": tiny})
    with pytest.MonkeyPatch.context() as patch:
        for module in (eligibility, season, verification):
            patch.setattr(module, "seasons", lambda: known)
        yield tiny


@pytest.fixture(scope="session")
def good(tiny_season, tmp_path_factory):
    """The entry; not to be changed."""
    return make_entry(tmp_path_factory.mktemp("good"))


@pytest.fixture(scope="session")
def small(tiny_season, tmp_path_factory):
    """An entry of six records, verified in no time; not to be changed."""
    return make_entry(tmp_path_factory.mktemp("small"), decoders="random:k=32")


@pytest.fixture
def entry(good, tmp_path):
    """A copy to spoil."""
    return Spoilt(shutil.copytree(good, tmp_path / "entry"))


@pytest.fixture
def work(monkeypatch):
    """What verification reads, as it reads it."""
    seen = []

    class Seen(folder.Read):
        """Counts in memory that the process which checks an entry shares with this one."""

        def __init__(self):
            self.__dict__["shared"] = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("q")
            seen.append(self)

        def __setattr__(self, name, value):
            self.shared[COUNTS.index(name)] = value

        def __getattribute__(self, name):
            if name in COUNTS:
                return self.shared[COUNTS.index(name)]
            return super().__getattribute__(name)

    monkeypatch.setattr(folder, "Read", Seen)
    return seen
