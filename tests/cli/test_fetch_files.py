"""The names of fetched files, and that each file is whole or not there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onerefresh.cli.fetch_files import FileBody, file_names, make_folder
from onerefresh.cli.output import OutputFailed
from onerefresh.errors import ConfigurationError


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/items/7", "items_7"),
        ("/items/7?page=2&size=10", "items_7_page=2_size=10"),
        ("/report.json", "report.json"),
        ("", "index"),
        ("/", "index"),
        ("/../../etc/passwd", "etc_passwd"),
        ("/%2e%2e%2f%2e%2e%2fetc%2fpasswd", "etc_passwd"),
        ("/.bashrc", "bashrc"),
        ("/-rf", "rf"),
        ("/a%00b%0ac%1b[31m", "a_b_c_31m"),
        ("/größe", "gr_e"),
        ("/con", "_con"),
        ("/NUL.txt", "_NUL.txt"),
        ("/" + "x" * 500, "x" * 120),
    ],
)
def test_a_name_is_made_of_path_and_query(path: str, name: str) -> None:
    assert file_names([f"https://api.example.com{path}"]) == [name]


def test_equal_names_are_numbered_even_where_only_case_differs() -> None:
    urls = [f"https://a.example/{path}" for path in ("x.json", "x.json", "X.json", "x-2.json", "y", "y", "a/b", "a_b")]
    assert file_names(urls) == ["x.json", "x-2.json", "X-3.json", "x-2-2.json", "y", "y-2", "a_b", "a_b-2"]


@given(st.lists(st.text("abC./?=%20\\-~ü", max_size=8), max_size=12))
def test_names_are_safe_and_distinct(paths: list[str]) -> None:
    names = file_names([f"https://a.example/{path}" for path in paths])
    assert len({name.casefold() for name in names}) == len(paths)
    for name in names:
        assert re.fullmatch(r"[A-Za-z0-9_=+,@-][A-Za-z0-9._=+,@-]*", name)
        assert not name.startswith("-")
        assert Path(name).name == name


def test_thousands_of_equal_names_are_numbered_quickly() -> None:
    names = file_names(["https://a.example/x"] * 20_000)
    assert names[-1] == "x-20000"


def test_a_file_has_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with FileBody(path) as body:
        body.write(b"all ")
        assert not path.exists()
        body.write(b"of it")
    assert path.read_bytes() == b"all of it"
    with pytest.raises(RuntimeError), FileBody(path) as body:
        body.write(b"less")
        raise RuntimeError
    assert [found.name for found in tmp_path.iterdir()] == ["x"]
    assert path.read_bytes() == b"all of it"


def test_a_file_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputFailed, match="absent/x cannot be written: No such file"),
        FileBody(tmp_path / "absent" / "x"),
    ):
        raise AssertionError("not reached")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "inside").write_text("")
    with pytest.raises(OutputFailed, match="folder cannot be written"), FileBody(tmp_path / "folder") as body:
        body.write(b"x")
    assert [found.name for found in tmp_path.iterdir()] == ["folder"]


def test_a_link_in_the_folder_is_replaced_and_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("mine")
    make_folder(tmp_path / "out")
    (tmp_path / "out" / "x").symlink_to(outside)
    with FileBody(tmp_path / "out" / "x") as body:
        body.write(b"fetched")
    assert outside.read_text() == "mine"
    assert (tmp_path / "out" / "x").read_bytes() == b"fetched"


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="Not a directory; use another folder"):
        make_folder(tmp_path / "file" / "out")
