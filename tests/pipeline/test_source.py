"""YAML text to nodes: what is read, what is refused, and where each thing stood."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.errors import PipelineError
from medseg.pipeline.source import MAX_BYTES, Leaf, Node, Source, Table, parse, plain, read_source


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bytes")


def read(text: str) -> tuple[object, list[str]]:
    node, complaints = parse(Source("a.yaml", text, Path()))
    return None if node is None else plain(node), [str(one) for one in complaints]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E5", 1e5),
        (".5", 0.5),
        ("-3.", -3.0),
        ("0x1F", 31),
        ("0o17", 15),
        ("010", 10),
        ("+7", 7),
        ("-0", 0),
        ("no", "no"),
        ("on", "on"),
        ("yes", "yes"),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("2024-01-01", "2024-01-01"),
        ("true", True),
        ("True", True),
        ("FALSE", False),
        ("tRUE", "tRUE"),
        ("~", None),
        ("null", None),
        ("", None),
        ('"1"', "1"),
        ("'true'", "true"),
        (".inf", float("inf")),
        ("-.Inf", float("-inf")),
        ("1e", "1e"),
        (".", "."),
        ("SCT:10200004", "SCT:10200004"),
    ],
)
def test_scalars_mean_what_yaml_1_2_says(text: str, value: object) -> None:
    found, complaints = read(f"key: {text}\n")
    assert complaints == []
    assert found == {"key": value}
    assert type(found["key"]) is type(value)  # type: ignore[index]


def test_a_scalar_may_go_over_several_lines() -> None:
    assert read("key: |\n  one\n  two\n") == ({"key": "one\ntwo\n"}, [])


def test_every_node_knows_its_line_and_column() -> None:
    node, _ = parse(Source("a.yaml", "a: 1\nb:\n  - x\n  - {c: [2, 3]}\n", Path()))
    assert isinstance(node, Table)
    inner = node.entries["b"].value.items[1].entries["c"]  # type: ignore[attr-defined]
    assert (inner.key.line, inner.key.column) == (4, 6)
    assert (inner.value.items[1].line, inner.value.items[1].column) == (4, 13)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: &x 1\n", "a.yaml:1:4: yaml: an anchor"),
        ("a: 1\nb: *x\n", "a.yaml:2:4: yaml: an alias"),
        ("a: !!python/object:os.system x\n", "a.yaml:1:4: yaml: a tag"),
        ("a: !!str 5\n", "a.yaml:1:4: yaml: a tag"),
        ("a: 1\nb: 2\na: 3\n", "a.yaml:3:1: a: stands here a second time; the first is in line 1"),
        ("a: .nan\n", "a.yaml:1:4: yaml: .nan is not a number"),
        ("[a, b]: 1\n", "a.yaml:1:1: yaml: a key is a word"),
        ("a: 1\n---\nb: 1\n", "a.yaml:2:1: yaml: a second document"),
        ("a:\n\t- b\n", "a.yaml:2:1: yaml: not YAML: a tab; indent with spaces"),
        ("a: [1, 2\nb: 3\n", "a.yaml:2:"),
        ('a: "\\UFFFFFFFF"\n', "a.yaml:"),
        ("a: b: c\n", "a.yaml:1:5: yaml: not YAML"),
        ("a: \x07\n", "a.yaml:1:1: yaml: not YAML"),
    ],
)
def test_what_must_not_be_there_is_told_with_its_place(text: str, said: str) -> None:
    _, complaints = read(text)
    assert len(complaints) == 1
    assert complaints[0].startswith(said)


def test_reading_goes_on_after_a_refusal() -> None:
    _, complaints = read("a: &x 1\nb: *x\nb: !t 2\n")
    assert len(complaints) == 4


def test_an_empty_file_is_an_empty_leaf() -> None:
    node, complaints = parse(Source("a.yaml", "# nothing\n", Path()))
    assert isinstance(node, Leaf)
    assert node.value is None
    assert not complaints


def test_nesting_is_bounded() -> None:
    node, complaints = parse(Source("a.yaml", "[" * 5000 + "]" * 5000, Path()))
    assert node is None
    assert "nested deeper than 20" in complaints[0].message


def test_a_complaint_shows_its_line() -> None:
    node, _ = parse(Source("a.yaml", "a: 1\n  # why\nb: two\n", Path()))
    assert isinstance(node, Table)
    complaint = node.entries["b"].value.complaint("b", "wants a number")
    assert (complaint.line, complaint.column, complaint.source) == (3, 4, "b: two")


YAMLISH = st.text(st.sampled_from("ab1:-[]{}, \n\t#&*!|>'\"%@`?~.é\x85\u2028\\Ux0")) | st.text()


@settings(deadline=None, max_examples=150)
@given(YAMLISH)
def test_no_text_makes_reading_fail_otherwise_than_by_complaints(text: str) -> None:
    node, complaints = parse(Source("a.yaml", text, Path()))
    assert node is None or isinstance(node, Node)
    assert node is not None or complaints
    for complaint in complaints:
        assert complaint.line >= 1
        assert complaint.column >= 1


@settings(deadline=None, max_examples=30)
@given(data=st.binary(max_size=200))
def test_no_bytes_make_reading_a_file_fail_otherwise(data: bytes, here: Path) -> None:
    path = here / "some.yaml"
    path.write_bytes(data)
    try:
        data.decode("utf-8-sig")
    except UnicodeDecodeError:
        with pytest.raises(PipelineError, match="not UTF-8 text"):
            read_source(path)
    else:
        assert read_source(path).text == data.decode("utf-8-sig")


def test_files_that_are_none_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "liver.yaml").write_text("a: 1")
    (tmp_path / "large.yaml").write_text("#" * (MAX_BYTES + 1))
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "loop.yaml").symlink_to(tmp_path / "loop.yaml")
    for name, code, said in (
        ("livr.yaml", "E_NOT_FOUND", "did you mean"),
        ("nowhere/liver.yaml", "E_NOT_FOUND", "nor a folder"),
        ("large.yaml", "E_CONFIG", "at most 1 MB"),
        ("pipe.yaml", "E_NOT_A_FILE", "not a regular file"),
        ("loop.yaml", "E_PERMISSION", "cannot be read"),
        ("nul\0.yaml", "E_PERMISSION", "cannot be read"),
    ):
        with pytest.raises(PipelineError, match=said) as caught:
            read_source(tmp_path / name)
        assert caught.value.code == code


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbfname: x\n")
    assert read_source(tmp_path / "a.yaml").text == "name: x\n"


def test_paths_of_a_linked_folder_start_where_it_really_is(tmp_path: Path) -> None:
    (tmp_path / "real/inner").mkdir(parents=True)
    (tmp_path / "real/inner/a.yaml").write_text("name: x")
    (tmp_path / "link").symlink_to(tmp_path / "real/inner")
    assert read_source(tmp_path / "link/a.yaml").folder == tmp_path / "real/inner"
