"""The registry: a name is taken once, found by glob, and mended when it is wrong."""

from importlib import metadata
from importlib.metadata import EntryPoint, PathDistribution

import pytest

from parallelbench.errors import PluginError, UnknownNameError
from parallelbench.registry import Registry, load_plugin, load_plugins, unknown


@pytest.fixture
def fruit():
    registry = Registry("fruit")
    for name in ("tree/pear", "bush/currant", "tree/apple"):
        registry.register(name)(f"a {name}")
    return registry


def test_names_come_in_alphabetical_order_whatever_the_order_of_registration(fruit):
    assert list(fruit) == ["bush/currant", "tree/apple", "tree/pear"]
    assert len(fruit) == 3
    assert fruit["tree/pear"] == "a tree/pear"
    assert "tree/plum" not in fruit


def test_a_name_is_taken_once(fruit):
    with pytest.raises(ValueError, match="fruit 'tree/pear' is already 'a tree/pear'"):
        fruit.register("tree/pear")("another pear")
    assert fruit["tree/pear"] == "a tree/pear"


def test_registering_the_same_object_again_is_no_clash(fruit):
    same = fruit["tree/pear"]
    assert fruit.register("tree/pear")(same) is same


def test_a_glob_stands_for_every_name_that_it_matches(fruit):
    assert fruit.matching("tree/*") == ["tree/apple", "tree/pear"]
    assert fruit.matching("*") == list(fruit)
    assert fruit.matching("tree/pear") == ["tree/pear"]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("tree/aple", "no fruit is called 'tree/aple'; did you mean 'tree/apple'"),
        ("currant", "no fruit is called 'currant'; did you mean 'bush/currant'?"),
        ("zzz", "no fruit is called 'zzz'; known: bush/currant, tree/apple, tree/pear"),
        ("zzz/*", "no fruit matches 'zzz/\\*'; known: "),
        ("", "no fruit is named: the name is empty; known: "),
        ("Tree/Pear", "no fruit is called 'Tree/Pear'; did you mean 'tree/pear'\\?"),
        ("tree", "no fruit is called 'tree'; did you mean 'tree/\\*' or 'tree/apple'\\?"),
    ],
)
def test_a_wrong_name_is_answered_with_the_nearest_or_with_all(fruit, name, sentence):
    with pytest.raises(UnknownNameError, match=sentence):
        fruit.matching(name)
    with pytest.raises(LookupError, match=sentence):
        fruit[name]


def test_only_the_names_that_are_as_near_as_the_nearest_are_suggested():
    lines = [f"waiting_line/{task}" for task in ("copy", "shuffle", "sort", "reverse")]
    assert unknown("task", "waiting_lin/copy", lines).endswith("did you mean 'waiting_line/copy'?")
    lists = ["list/copy", "list/sort", "wait/copy", "wait/sort"]
    assert unknown("task", "sort", lists).endswith("did you mean 'wait/sort' or 'list/sort'?")


def test_many_names_are_left_to_the_verb_that_lists_them():
    fruit = Registry("fruit")
    for number in range(20):
        fruit.register(f"fruit{number}")(object())
    with pytest.raises(UnknownNameError, match=r"; parallelbench list fruits shows all 20$"):
        fruit.matching("zzz*")


def test_of_nothing_there_is_nothing_to_suggest():
    assert unknown("fruit", "pear", []) == "no fruit is called 'pear'; known: none"


def test_our_own_wings_come_in_by_the_plugin_door():
    assert {"tasks", "decoders", "models"} <= set(load_plugins())


def test_a_plugin_that_cannot_be_imported_is_named_with_its_package(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "faulty_plugin.py").write_text("colour = {}['red']\n")
    folder = tmp_path / "paint-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: paint\nVersion: 1\n")
    plugin = EntryPoint("colours", "faulty_plugin", "parallelbench.plugins")
    sentence = "plugin 'colours' of package paint cannot be loaded: KeyError: 'red'; correct or"
    with pytest.raises(PluginError, match=sentence):
        load_plugin(plugin._for(PathDistribution(folder)))


def test_a_fault_of_this_package_is_not_hidden():
    (own,) = [each for each in metadata.entry_points(name="tasks") if each.dist is not None][:1]
    missing = EntryPoint("tasks", "parallelbench.nowhere", own.group)._for(own.dist)
    with pytest.raises(ModuleNotFoundError):
        load_plugin(missing)
