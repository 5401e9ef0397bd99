"""Settings: what people type, what it stands for, and what is refused."""

import json
import typing
from copy import copy
from dataclasses import dataclass, fields, replace

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from parallelbench.decoder import DECODERS
from parallelbench.errors import FieldError, UnknownNameError
from parallelbench.registry import Registry, load_plugins
from parallelbench.setting import build, make_setting, parse_settings, split_settings
from parallelbench.task import TASKS

load_plugins()

KINDS = Registry("kind")


@KINDS.register("plain")
@dataclass(frozen=True, kw_only=True)
class Plain:
    """One field of each kind."""

    count: int = 1
    share: float = 0.5
    flag: bool = False
    limit: int | None = None
    folder: str | None = None
    way: typing.Literal["up", "down"] = "up"
    size: typing.Literal[4, 9] = 4


@KINDS.register("plainer")
@dataclass(frozen=True, kw_only=True)
class Plainer:
    """Shares a field with the other."""

    count: int = 1


@KINDS.register("placed")
@dataclass(frozen=True, kw_only=True)
class Placed:
    """Has an address."""

    address: typing.ClassVar = "path"

    path: str
    count: int = 1
    device: str = "auto"


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("placed:some/folder", "some/folder"),
        ("placed:http://127.0.0.1:8000/v1", "http://127.0.0.1:8000/v1"),
        ("placed:run=3/last", None),
        ("placed:./run=3/last", "./run=3/last"),
        ("placed:path=some/folder", "some/folder"),
        ("placed:C:/folder:name", "C:/folder:name"),
        ("placed:path=x:run=3", "x:run=3"),
        ("placed:path=run=3,count=2", "run=3"),
    ],
)
def test_an_address_is_written_without_its_name(text, path):
    if path is None:
        with pytest.raises(UnknownNameError, match="no field is called 'run'"):
            parse_settings(text, KINDS)
        return
    (setting,) = parse_settings(text, KINDS)
    assert setting.fields["path"] == path
    (again,) = parse_settings(setting.label, KINDS)
    assert again == setting


def test_fields_follow_an_address_and_may_hold_colons_themselves():
    settings = parse_settings("placed:http://host:80/v1:device=cuda:0,count=2|3", KINDS)
    assert [setting.label for setting in settings] == [
        "placed:http://host:80/v1:count=2,device=cuda:0",
        "placed:http://host:80/v1:count=3,device=cuda:0",
    ]
    assert parse_settings(settings[0].label, KINDS) == settings[:1]
    assert split_settings("placed:a/b:device=cuda:0,count=2,plain:count=1") == [
        "placed:a/b:device=cuda:0,count=2",
        "plain:count=1",
    ]


def test_an_address_that_is_missing_or_given_twice_is_refused():
    with pytest.raises(FieldError, match="needs a path: write placed:PATH"):
        parse_settings("placed", KINDS)
    with pytest.raises(FieldError, match="needs a path"):
        parse_settings("placed:count=2", KINDS)
    with pytest.raises(FieldError, match="'path' is given twice"):
        parse_settings("placed:here:path=there", KINDS)


def labels(text, registry=DECODERS):
    return [setting.label for setting in parse_settings(text, registry)]


def test_a_name_alone_has_every_default():
    (setting,) = parse_settings("plain", KINDS)
    assert setting.label == "plain"
    assert build(setting, KINDS) == Plain()
    assert set(setting.fields) == {field.name for field in fields(Plain)}


@KINDS.register("swept")
@dataclass(frozen=True, kw_only=True)
class Swept:
    """Has a grid and names for two of its settings."""

    presets: typing.ClassVar = {"fast": "count=9,share=0.9", "slow": "count=1"}
    grid: typing.ClassVar = "count=1|2|4"

    count: int = 5
    share: float = 0.5


def test_a_preset_is_typed_like_a_name_and_means_the_setting_that_it_stands_for():
    assert parse_settings("fast", KINDS) == parse_settings("swept:count=9,share=0.9", KINDS)
    assert labels("fast", KINDS) == ["swept:count=9,share=0.9"]


def test_further_fields_override_those_of_a_preset():
    assert labels("fast:count=2|3", KINDS) == [
        "swept:count=2,share=0.9",
        "swept:count=3,share=0.9",
    ]


def test_a_star_stands_for_the_grid_of_a_class():
    assert labels("swept:*", KINDS) == labels("swept:count=1|2|4", KINDS)
    assert labels("swept:*,share=0.1", KINDS) == labels("swept:count=1|2|4,share=0.1", KINDS)
    assert labels("swept:*,count=7", KINDS) == ["swept:count=7"]
    assert split_settings("swept:*,share=0.1,plain") == ["swept:*,share=0.1", "plain"]


def test_a_class_without_a_grid_is_itself_where_every_grid_is_asked_for():
    assert labels("plain*:*", KINDS) == ["plain", "plainer"]
    assert labels("p*r:*,count=2", KINDS) == ["plainer:count=2"]


def test_a_glob_does_not_bring_presets():
    assert labels("s*", KINDS) == ["swept"]


def test_the_star_of_an_address_is_an_address():
    (setting,) = parse_settings("placed:*", KINDS)
    assert setting.fields["path"] == "*"


@pytest.mark.parametrize("text", ["fast:*", "fast:*,count=2"])
def test_a_preset_has_no_grid(text):
    with pytest.raises(FieldError, match=r"a preset is one setting; the grid is that of swept:\*"):
        parse_settings(text, KINDS)


def test_an_unknown_name_suggests_presets_too():
    with pytest.raises(UnknownNameError, match="no kind is called 'fasst'; did you mean 'fast'"):
        parse_settings("fasst", KINDS)


def test_a_preset_in_the_place_of_a_name_with_fields_is_refused_saying_what_to_give():
    with pytest.raises(UnknownNameError, match="'slow' is a preset, not a kind: give kind 'swept'"):
        make_setting("slow", {}, KINDS)


@pytest.mark.parametrize(
    ("name", "presets", "sentence"),
    [
        ("new", {"plain": ""}, "preset 'plain' of kind 'new' is a kind"),
        ("new", {"new": ""}, "preset 'new' of kind 'new' is a kind"),
        ("new", {"fast": ""}, "preset 'fast' of kind 'new' is already one of 'swept'"),
        ("slow", {}, "kind 'slow': that is a preset of 'swept'"),
    ],
)
def test_a_preset_whose_name_is_taken_is_refused_and_leaves_nothing_behind(name, presets, sentence):
    before = dict(KINDS), dict(KINDS.presets)
    with pytest.raises(ValueError, match=sentence):
        KINDS.register(name)(type("New", (Plainer,), {"presets": presets}))
    assert (dict(KINDS), KINDS.presets) == before


def test_a_subclass_has_presets_of_its_own_only():
    registry = Registry("kind")
    registry.register("swept")(Swept)
    registry.register("sweeter")(type("Sweeter", (Swept,), {}))
    assert {preset.name for preset in registry.presets.values()} == {"swept"}


@pytest.mark.parametrize("preset", DECODERS.presets)
def test_every_preset_of_a_strategy_is_one_setting_of_it(preset):
    (setting,) = parse_settings(preset, DECODERS)
    assert setting.name == DECODERS.presets[preset].name
    assert parse_settings(setting.label, DECODERS) == [setting]


@pytest.mark.parametrize("name", DECODERS)
def test_every_grid_of_a_strategy_is_made_of_different_settings(name):
    found = parse_settings(f"{name}:*", DECODERS)
    grid = DECODERS[name].grid
    assert len({setting.key for setting in found}) == len(found)
    assert len(found) == (grid.count("|") + 1 if grid else 1)


def test_the_presets_of_papers_have_their_published_constants():
    assert labels("fast-dllm") == ["confidence_threshold:threshold=0.9,block_length=32"]
    assert labels("fast-dllm-factor") == [
        "confidence_factor:factor=1.0,block_length=32,rule=published"
    ]
    assert labels("eb-sampler") == ["entropy_bound:bound=0.01"]
    assert labels("klass-llada") == ["klass:threshold=0.9,divergence=0.01,block_length=64"]
    assert (
        labels("klass-dream-paper")
        == labels("klass-dream")
        == ["klass_dream:threshold=0.9,divergence=0.001"]
    )
    assert (
        labels("local-leap-paper")
        == labels("local-leap")
        == ["local_leap:threshold=0.9,relaxed=0.75,radius=4,block_length=32"]
    )
    assert labels("llada-2.1-speed") == ["joint_threshold:threshold=0.5,edit=0.0,block_length=32"]
    for mode in ("llada-2.1-speed", "llada-2.1-quality"):
        [setting] = parse_settings(mode, DECODERS)
        assert setting.fields["after"] == 16
    assert labels("dawn-dream") == ["dawn:threshold=0.9,induce=0.75,low=0.8,edge=0.1,sink=0.03"]
    assert labels("remdm-loop") == ["remdm:schedule=loop,steps=none,eta=0.02"]


def test_the_grids_are_those_of_the_public_board():
    assert labels("confidence_threshold:*") == [
        f"confidence_threshold:threshold={bar}" for bar in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    ]
    assert labels("confidence_factor:*") == [
        f"confidence_factor:factor={factor},rule=published" for factor in (0.7, 1.0, 1.3, 1.6, 1.9)
    ]
    assert labels("klass:*") == [
        f"klass:threshold={bar},divergence=0.01" for bar in (0.7, 0.8, 0.9, 0.95)
    ]
    assert labels("dus:*") == [
        f"dus:base=2,block_length={size},skip_below=0.3" for size in (1, 2, 4, 8, 16, 32)
    ]
    assert labels("random:*") == [f"random:k={k}" for k in (1, 2, 4, 8, 16, 32)]


def test_a_grid_is_the_product_of_its_values_in_the_order_typed():
    assert labels("plain:count=3|2,share=0.1|0.2", KINDS) == [
        "plain:count=3,share=0.1",
        "plain:count=3,share=0.2",
        "plain:count=2,share=0.1",
        "plain:count=2,share=0.2",
    ]


def test_a_glob_takes_the_fields_to_every_name():
    assert labels("plain*:count=2", KINDS) == ["plain:count=2", "plainer:count=2"]


def test_there_is_one_zero():
    (negative,) = parse_settings("plain:share=-0.0", KINDS)
    (positive,) = parse_settings("plain:share=0.0", KINDS)
    assert (negative.key, negative.label) == (positive.key, positive.label)
    assert str(build(negative, KINDS).share) == "0.0"
    assert str(make_setting("plain", {"share": -0.0}, KINDS).fields["share"]) == "0.0"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a", ["a"]),
        ("a,b", ["a", "b"]),
        ("a:x=1,y=2,b:z=3", ["a:x=1,y=2", "b:z=3"]),
        ("a:x=1|2,b", ["a:x=1|2", "b"]),
        ("a/*,b", ["a/*", "b"]),
        ("a:x=p:q,y=r", ["a:x=p:q,y=r"]),
    ],
)
def test_a_list_is_split_between_settings_and_not_within_them(text, parts):
    assert split_settings(text) == parts


def test_spaces_around_names_and_values_do_not_matter():
    assert labels(" plain : count = 2 | 3 ", KINDS) == labels("plain:count=2|3", KINDS)


def test_the_label_leaves_out_the_defaults_and_the_key_does_not():
    (bare,) = parse_settings("plain", KINDS)
    (spelled,) = parse_settings("plain:count=1,share=0.5,flag=false,limit=none", KINDS)
    assert bare == spelled
    assert json.loads(bare.key.removeprefix("plain:")) == dict(bare.fields)


def test_a_class_may_name_fields_that_its_label_always_shows():
    class Labelled(Plain):
        labelled = ("share",)

    shown = Registry("kind")
    shown.register("plain")(Labelled)
    assert labels("plain", shown) == ["plain:share=0.5"]
    assert labels("plain:count=2", shown) == ["plain:share=0.5,count=2"]
    assert parse_settings("plain:share=0.5", shown) == parse_settings("plain", shown)


def test_the_key_does_not_change_with_a_default():
    @dataclass(frozen=True, kw_only=True)
    class Changed(Plainer):
        count: int = 7

    later = Registry("kind")
    later.register("plainer")(Changed)
    (now,) = parse_settings("plainer:count=1", KINDS)
    (then,) = parse_settings("plainer:count=1", later)
    assert now.key == then.key
    assert (now.label, then.label) == ("plainer", "plainer:count=1")


COUNTS, SHARES = st.integers(1, 10**6), st.floats(0, 1)
INNER = ["margin", "entropy_bound", "confidence_threshold(threshold=0.8;comparison=gt)"]
#: A value for each field that any shipped decoder has; a new field must be added here.
VALUES = {
    **dict.fromkeys(("k", "steps", "history", "reopened", "least", "window"), COUNTS),
    **dict.fromkeys(("exploration", "distance", "length", "radius"), COUNTS),
    **dict.fromkeys(("drafts", "branches"), COUNTS),
    **dict.fromkeys(("after", "revisions", "rounds", "stability"), st.integers(0, 10**6)),
    **dict.fromkeys(("floor", "skip_below", "low", "edit", "verify", "decay", "t_min"), SHARES),
    **dict.fromkeys(("sink", "tail_below"), SHARES),
    **dict.fromkeys(
        ("threshold", "relaxed", "reach", "draft", "lowest"), st.floats(0, 1, exclude_min=True)
    ),
    **dict.fromkeys(
        ("joins", "forces", "edge", "induce", "tail"), st.floats(0, 1, exclude_min=True)
    ),
    **dict.fromkeys(
        ("bound", "certain", "strength", "exponent", "spread", "entropy_bound", "budget"),
        st.floats(0, 1e6),
    ),
    **dict.fromkeys(("temperature", "alg_temp", "early", "middle", "late"), st.floats(0, 1e6)),
    **dict.fromkeys(("eta", "limit"), st.none() | SHARES),
    **dict.fromkeys(("plausible",), SHARES),
    "confidence": st.none() | st.floats(0, 1, exclude_min=True),
    "moved": st.none() | st.floats(0, 1e6),
    "tolerance": st.floats(0, 1, exclude_max=True),
    **dict.fromkeys(("block_length", "longest"), st.none() | COUNTS),
    **dict.fromkeys(("table", "digest"), st.none()),
    "eps": st.floats(0, 8),
    "divergence": st.floats(0, 10, exclude_min=True),
    **dict.fromkeys(("base", "candidates"), st.integers(2, 10**6)),
    **dict.fromkeys(
        ("factor", "ceiling", "position_temperature", "t_max"),
        st.floats(0, 1e6, exclude_min=True),
    ),
    "strategy": st.sampled_from(INNER),
}


def decoder_fields(name):
    hints = typing.get_type_hints(DECODERS[name])
    return st.fixed_dictionaries(
        {},
        optional={
            field.name: st.sampled_from(typing.get_args(hints[field.name]))
            if typing.get_origin(hints[field.name]) is typing.Literal
            else VALUES[field.name]
            for field in fields(DECODERS[name])
        },
    )


@pytest.mark.parametrize("name", list(DECODERS))
def test_a_label_typed_again_gives_the_same_setting(name):
    @settings(deadline=None, max_examples=25)
    @given(decoder_fields(name))
    def check(chosen):
        try:
            setting = make_setting(name, chosen, DECODERS)
        except FieldError:
            reject()  # one value may rule another out
        assert parse_settings(setting.label, DECODERS) == [setting]
        assert split_settings(f"{setting.label},{setting.label}") == [setting.label] * 2
        assert make_setting(name, setting.fields, DECODERS) == setting
        assert make_setting(name, json.loads(json.dumps(setting.fields)), DECODERS) == setting

    check()


@pytest.mark.parametrize("registry", [TASKS, DECODERS], ids=lambda each: each.kind)
def test_everything_but_what_needs_an_address_can_be_asked_for_by_its_name_alone(registry):
    without = [name for name in registry if not getattr(registry[name], "address", None)]
    assert [setting.name for setting in parse_settings("*", registry)] == without
    assert set(registry) - set(without) <= {"original", "original_text"}


@given(st.text(max_size=12))
@settings(deadline=None)
def test_a_text_either_comes_back_from_its_label_or_is_refused(folder):
    try:
        setting = make_setting("plain", {"folder": folder}, KINDS)
    except FieldError:
        assert not folder.strip() or folder != folder.strip() or set(folder) & {",", "|"}
    else:
        assert parse_settings(setting.label, KINDS) == [setting]


@given(st.text(max_size=30))
@settings(deadline=None)
def test_whatever_is_typed_is_a_setting_or_a_sentence(text):
    told = ""
    try:
        for part in split_settings(text):
            parse_settings(part, KINDS)
    except (UnknownNameError, FieldError) as error:
        told = str(error)
    assert len(told.splitlines()) <= 1


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("plain:count=two", "kind 'plain': field 'count' must be a whole number, got 'two'"),
        ("plain:count=2.5", "field 'count' must be a whole number, got '2.5'"),
        ("plain:count=true", "field 'count' must be a whole number, got 'true'"),
        ("plain:count=none", "field 'count' must be a whole number, got 'none'"),
        ("plain:count=1|", "field 'count' must be a whole number, got ''"),
        ("plain:share=half", "field 'share' must be a number, got 'half'"),
        ("plain:flag=maybe", "field 'flag' must be true or false, got 'maybe'"),
        ("plain:limit=x", "field 'limit' must be a whole number or none, got 'x'"),
        ("plain:way=left", "field 'way' must be one of up, down, got 'left'"),
        ("plain:size=5", "field 'size' must be one of 4, 9, got '5'"),
        ("plain:count=1,count=2", "'plain:count=1,count=2': field 'count' is given twice"),
        ("plain:count", "'plain:count': 'count' is not of the form field=value"),
        ("plain:count=", "'count=' is not of the form field=value"),
        ("plain:=1", "'=1' is not of the form field=value"),
    ],
)
def test_a_wrong_value_is_refused_with_what_is_allowed(text, sentence):
    with pytest.raises(FieldError) as caught:
        parse_settings(text, KINDS)
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("confidence:k=0", "k must be at least 1 token per step, got 0"),
        ("confidence:k=-1", "k must be at least 1 token per step, got -1"),
        ("confidence:temperature=-1", "temperature must lie in [0, inf), got -1.0"),
        ("confidence:temperature=inf", "temperature must lie in [0, inf), got inf"),
        ("confidence:temperature=nan", "temperature must lie in [0, inf), got nan"),
        ("confidence:block_length=0", "block_length must be at least 1 token, got 0"),
        ("confidence_threshold:threshold=0", "threshold must lie in (0, 1], got 0.0"),
        ("confidence_threshold:threshold=1.5", "threshold must lie in (0, 1], got 1.5"),
        ("confidence_threshold:threshold=nan", "threshold must lie in (0, 1], got nan"),
        ("confidence_factor:rule=papr", "'rule' must be one of paper, published, got 'papr'"),
    ],
)
def test_a_shipped_decoder_refuses_what_lies_outside_its_range(text, sentence):
    with pytest.raises(FieldError) as caught:
        parse_settings(text, DECODERS)
    assert sentence in str(caught.value)


@pytest.mark.parametrize("field", ["count", "share", "limit", "folder", "size"])
@pytest.mark.parametrize("value", [True, False])
def test_a_truth_value_is_no_number_and_no_text(field, value):
    with pytest.raises(FieldError, match=f"field '{field}' must be .* got {value}"):
        make_setting("plain", {field: value}, KINDS)


@pytest.mark.parametrize("value", [[1, 2], {"a": 1}, 2.5, object()])
def test_a_value_of_another_kind_is_refused(value):
    with pytest.raises(FieldError, match="field 'count' must be a whole number"):
        make_setting("plain", {"count": value}, KINDS)


def test_a_choice_among_numbers_is_typed_like_any_number():
    assert labels("plain:size=4|9", KINDS) == ["plain", "plain:size=9"]
    assert build(parse_settings("plain:size=9", KINDS)[0], KINDS) == Plain(size=9)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("confidense", "no decoder is called 'confidense'; did you mean 'confidence'"),
        ("confidence:kk=1", "decoder 'confidence': no field is called 'kk'; did you mean 'k'"),
        ("confidence:temprature=1", "no field is called 'temprature'; did you mean 'temperature'"),
        ("one_by_one:k=2", "decoder 'one_by_one': no field is called 'k'; did you mean"),
        ("", "no decoder is named: the name is empty"),
    ],
)
def test_a_wrong_name_is_answered_with_the_nearest(text, sentence):
    with pytest.raises(UnknownNameError) as caught:
        parse_settings(text, DECODERS)
    assert sentence in str(caught.value)


def test_a_setting_is_built_once_and_another_process_builds_its_own():
    setting = make_setting("confidence", {"k": 2}, DECODERS)
    assert build(setting, DECODERS) is build(setting, DECODERS)
    sent = copy(setting)  # as pickle does
    assert sent == setting
    assert build(sent, DECODERS) is not build(setting, DECODERS)
    assert build(sent, DECODERS) == build(setting, DECODERS)
    other = replace(setting, fields={**setting.fields, "k": 3})
    assert build(other, DECODERS).k == 3
