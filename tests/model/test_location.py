"""The grammar of locations: what is written in infra.toml is what is read, and what is shown reads back the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra_mcp.model.location import At, parse, parse_field, show_field

READ = {
    "apps/web.yaml#spec.replicas": At("apps/web.yaml", None, ("spec", "replicas")),
    "apps/web.yaml!2#spec.replicas": At("apps/web.yaml", 1, ("spec", "replicas")),
    "a.yaml#spec.values.image.tag": At("a.yaml", None, ("spec", "values", "image", "tag")),
    "a.yaml#c[name=web].image": At("a.yaml", None, ("c", {"name": "web"}, "image")),
    "a.yaml#p[port=80,protocol=TCP].name": At("a.yaml", None, ("p", {"port": 80, "protocol": "TCP"}, "name")),
    'a.yaml#p[port="80"]': At("a.yaml", None, ("p", {"port": "80"})),
    "a.yaml#i[name=registry.example/a/b].newTag": At("a.yaml", None, ("i", {"name": "registry.example/a/b"}, "newTag")),
    "a.yaml#args[0]": At("a.yaml", None, ("args", 0)),
    "a.yaml#[1].value": At("a.yaml", None, (1, "value")),
    "a.yaml#hosts[=a.example]": At("a.yaml", None, ("hosts", {"=": "a.example"})),
    'a.yaml#metadata.labels["example.org/part"]': At("a.yaml", None, ("metadata", "labels", "example.org/part")),
    'a.yaml#["null"]["44.74"]': At("a.yaml", None, ("null", "44.74")),
    "a.yaml#44.74": At("a.yaml", None, ("44", "74")),
    'a.yaml#on[true="x]y"]': At("a.yaml", None, ("on", {"true": "x]y"})),
    'a.yaml#["[0]"]': At("a.yaml", None, ("[0]",)),
    "c%23/d%21.yaml#tag": At("c#/d!.yaml", None, ("tag",)),
    "100%25.yaml": At("100%.yaml"),
    "apps/media": At("apps/media"),
    "VERSION!1": At("VERSION", 0),
}


@pytest.mark.parametrize("text", READ)
def test_a_location_is_read(text):
    assert parse(text) == READ[text]
    assert parse(str(READ[text])) == READ[text]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "#spec",
        "a.yaml#",
        "a.yaml#.spec",
        "a.yaml#spec.",
        "a.yaml#spec..replicas",
        "a.yaml#spec[",
        "a.yaml#spec[]",
        "a.yaml#spec[name]",
        "a.yaml#spec[name=]",
        "a.yaml#spec[name=a",
        "a.yaml#spec[name=a,name=b]",
        "a.yaml#spec[=a,name=b]",
        "a.yaml#spec[01]",
        "a.yaml#spec[-1]",
        "a.yaml#spec[0]x",
        'a.yaml#spec["a]',
        'a.yaml#spec["a',
        "a.yaml#spec.a b",
        "a.yaml#spec.a#b",
        "a.yaml#spec{a}",
        "a.yaml!0#spec",
        "a!x.yaml#spec",
        "a.yaml#spec\nreplicas",
        "a.yaml#" + "a." * 70 + "a",
        "a.yaml#" + "a" * 1001,
        "a.yaml#x[a=" + "[" * 900 + "]",
    ],
)
def test_what_is_none_is_refused_and_not_repeated(text):
    with pytest.raises(ValueError, match=r"must|is no field") as caught:
        parse(text)
    assert not text or text not in str(caught.value)


KEYS = st.text(min_size=1, max_size=12)
SCALARS = st.none() | st.booleans() | st.integers(-9, 99_999) | st.text(max_size=12)
ITEMS = st.dictionaries(KEYS.filter(lambda key: key != "="), SCALARS, min_size=1, max_size=3)
STEPS = KEYS | st.integers(0, 99_999) | ITEMS | st.fixed_dictionaries({"=": SCALARS})


@given(st.lists(STEPS, min_size=1, max_size=6).map(tuple))
def test_every_field_that_is_shown_reads_back_the_same(field):
    shown = show_field(field)

    assert parse_field(shown) == field
    assert shown.isprintable() or not any(character in shown for character in "\n\r\t\x00")


@given(KEYS, st.none() | st.integers(0, 9998), st.lists(STEPS, max_size=3).map(tuple))
def test_every_location_that_is_shown_reads_back_the_same(path, document, field):
    at = At(path, document, field)
    if any(ord(character) < 32 or ord(character) == 127 for character in path):
        with pytest.raises(ValueError, match="must be at most"):
            parse(str(at))
    else:
        assert parse(str(at)) == at
