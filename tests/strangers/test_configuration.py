"""The configuration file and the files of secrets: who could have written them, and what they make this user run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.strangers.conftest import file_of, folder_of
from tests.strangers.people import ADA, EVE, SHARED, People

SECTION = '[credentials.acme]\ntoken_endpoint = "https://login.acme.com/token"\nclient_id = "cli"\n'


def configuration(folder: Path, source: str = '{ file = "secret" }') -> Path:
    return file_of(folder / "onerefresh.toml", ADA, 0o600, f"{SECTION}client_secret = {source}\nstore = {source}\n")


def test_a_configuration_in_a_folder_where_others_can_put_one_is_refused(people: People, land: Path) -> None:
    path = configuration(land / "tmp")
    said = people.do(ADA, "configured", path)
    assert said.startswith(
        f"ConfigurationError: others can put their own files next to onerefresh.toml in the folder {land}/tmp"
    )
    assert f"run mkdir -m 700 {land}/tmp/onerefresh-{ADA}" in said


def test_a_configuration_below_a_folder_of_another_is_refused(people: People, land: Path) -> None:
    folder_of(land / "eve", EVE, 0o755)
    path = configuration(folder_of(land / "eve" / "ada", ADA))
    said = people.do(ADA, "configured", path)
    assert said.startswith(f"ConfigurationError: the folder {land}/eve belongs to another user (uid {EVE})")


def test_a_configuration_behind_a_link_of_another_is_refused(people: People, land: Path) -> None:
    configuration(land / "ada")
    people.do(EVE, "link", land / "tmp" / "config", land / "ada")
    said = people.do(ADA, "configured", land / "tmp" / "config" / "onerefresh.toml")
    assert said.startswith(f"ConfigurationError: {land}/tmp/config is a link that another user made (uid {EVE})")


@pytest.mark.parametrize(
    ("owner", "mode", "word"),
    [
        ((ADA, ADA), 0o666, "run chmod go-w"),
        ((ADA, SHARED), 0o664, "run chmod go-w"),
        ((0, 0), 0o646, "run chmod go-w"),
        ((EVE, EVE), 0o644, "belongs to another user"),
    ],
)
@pytest.mark.parametrize("kind", ["client_secret", "store"])
def test_a_secret_that_others_could_have_written_is_refused(
    people: People, land: Path, *, kind: str, owner: tuple[int, int], mode: int, word: str
) -> None:
    path = configuration(land / "ada")
    secret = file_of(land / "ada" / "secret", owner[0], mode, "hunter2", owner[1])
    said = people.do(ADA, "secret", path, kind)
    assert said.startswith(f"ConfigurationError: {kind}: ")
    assert str(secret) in said
    assert word in said
    assert "hunter2" not in said


def test_a_secret_in_a_folder_of_others_is_refused(people: People, land: Path) -> None:
    file_of(land / "tmp" / "secret", ADA, 0o600, "hunter2")
    path = configuration(land / "ada", f'{{ file = "{land}/tmp/secret" }}')
    assert "client_secret: others can put their own files" in people.do(ADA, "secret", path)


def test_a_pipe_in_the_place_of_a_file_hangs_nobody(people: People, land: Path) -> None:
    os.mkfifo(land / "ada" / "onerefresh.toml")
    assert "is not a file" in people.do(ADA, "configured", land / "ada" / "onerefresh.toml")
    (land / "ada" / "onerefresh.toml").unlink()
    path = configuration(land / "ada")
    os.mkfifo(land / "ada" / "secret")
    assert "is not a file" in people.do(ADA, "secret", path)


# --- Commands ---


@pytest.mark.parametrize("path_variable", ["", ".", ":/usr/bin:/bin", "/usr/bin:/bin:.", "bin:/usr/bin:/bin", "unset"])
@pytest.mark.parametrize("command", ["give-secret", "./give-secret", "bin/give-secret"])
def test_a_command_is_never_looked_for_in_the_working_folder(
    people: People, land: Path, command: str, path_variable: str
) -> None:
    path = configuration(land / "ada", f'{{ command = ["{command}"] }}')
    lair = folder_of(land / "lair", EVE, 0o755)
    folder_of(lair / "bin", EVE, 0o755)
    for place in (lair / "give-secret", lair / "bin" / "give-secret"):
        file_of(place, EVE, 0o755, f"#!/bin/sh\necho > {land}/tmp/owned\necho eve\n")
    people.do(ADA, "secret_with_path", path, None if path_variable == "unset" else path_variable, cwd=str(lair))
    assert not (land / "tmp" / "owned").exists()


def test_a_relative_command_lies_beside_the_configuration(people: People, land: Path) -> None:
    path = configuration(land / "ada", '{ command = ["bin/give-secret", "argument"] }')
    folder_of(land / "ada" / "bin", ADA, 0o700)
    program = file_of(land / "ada" / "bin" / "give-secret", ADA, 0o700, '#!/bin/sh\necho "$1 in $(pwd)"\n')
    assert people.do(ADA, "secret", path, cwd=str(land / "tmp")) == f"argument in {land}/ada"
    program.chmod(0o722)
    assert f"others can write to {program} and could make it run commands as you" in people.do(ADA, "secret", path)


@pytest.mark.parametrize(
    ("owner", "mode", "word"),
    [(ADA, 0o722, "others can write to"), (EVE, 0o755, f"belongs to another user (uid {EVE})")],
)
def test_a_program_that_others_can_change_is_not_run(
    people: People, land: Path, owner: int, mode: int, word: str
) -> None:
    folder_of(land / "ada" / "bin", ADA, 0o700)
    program = file_of(land / "ada" / "bin" / "give-secret", ADA, 0o700, "#!/bin/sh\necho ada\n")
    path = configuration(land / "ada", f'{{ command = ["{program}"] }}')
    assert people.do(ADA, "secret", path) == "ada"
    os.chown(program, owner, owner)
    program.chmod(mode)
    said = people.do(ADA, "secret", path)
    assert word in said
    assert "make it run commands as you" in said


def test_a_program_below_a_folder_of_others_is_not_run(people: People, land: Path) -> None:
    program = file_of(land / "tmp" / "give-secret", ADA, 0o700, "#!/bin/sh\necho ada\n")
    path = configuration(land / "ada", f'{{ command = ["{program}"] }}')
    assert "others can put their own files next to give-secret in the folder" in people.do(ADA, "secret", path)
    trusted = {"ONEREFRESH_TRUSTED_FOLDERS": str(land / "tmp")}
    assert people.do(ADA, "secret", path, env=trusted) == "ada"


def test_a_program_of_roots_behind_a_link_is_run(people: People, land: Path) -> None:
    program = file_of(land / "give-secret", 0, 0o755, "#!/bin/sh\necho $0\n")
    people.do(ADA, "link", land / "ada" / "give-secret", program)
    path = configuration(land / "ada", f'{{ command = ["{land}/ada/give-secret"] }}')
    assert people.do(ADA, "secret", path) == f"{land}/ada/give-secret"


def test_a_program_that_a_command_runs_finds_nothing_in_the_working_folder(people: People, land: Path) -> None:
    lair = folder_of(land / "lair", EVE, 0o755)
    file_of(lair / "needed-program", EVE, 0o755, "#!/bin/sh\necho eve\n")
    script = "needed-program; ./needed-program; echo $PATH $(pwd)"
    path = configuration(land / "ada", f'{{ command = ["sh", "-c", "{script}"] }}')
    said = people.do(ADA, "secret_with_path", path, ".:/usr/bin:/bin:", cwd=str(lair))
    assert said == f"/usr/bin:/bin {land / 'ada'}"


def test_beside_a_configuration_that_is_a_link_a_command_gets_no_folder_of_others(people: People, land: Path) -> None:
    configuration(land / "ada", '{ command = ["pwd"] }')
    people.do(ADA, "link", land / "tmp" / "onerefresh.toml", land / "ada" / "onerefresh.toml")
    assert people.do(ADA, "secret", land / "tmp" / "onerefresh.toml") == "/"
