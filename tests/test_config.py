"""The configuration file: what it may hold, where it is looked for, and who may have written it."""

from __future__ import annotations

import json
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import onerefresh
from onerefresh.clients.refused import ApiAnswer, RefusedWhen
from onerefresh.config import Configuration, SecretSource, secret_source
from onerefresh.config import file as config
from onerefresh.errors import ConfigurationError
from onerefresh.profile import Profile
from onerefresh.testing import AuthServer

ROOM = str(Path(config.__file__).parent)
PATH = Path("/home/me/.config/onerefresh/onerefresh.toml")
ENDPOINT = 'token_endpoint = "https://login.acme.com/token"\nclient_id = "cli"\n'
WHOLE = """
store = "sqlite:///all.db"

[credentials.acme]
token_endpoint = "https://login.acme.com/token"
grant = "refresh_token"
client_id = "cli"
client_auth = "client_secret_post"
client_secret = { env = "ACME_SECRET" }
scope = "read"
extra = { audience = "x", resource = ["https://a.example", "https://b.example"] }
revocation_endpoint = "https://login.acme.com/revoke"
origins = ["https://API.acme.com:443", "wss://stream.acme.com"]
attach = { "?key" = "{token}", X-Version = "2" }
profile = "grace:30"
resend = 20
max_wait = 5
store = "sqlite:////abs/path.db"

[credentials.beta]
refresher = "package.module:function"
"""


def parse(text: str) -> Configuration:
    return config.parse(text, PATH)


def problem_with(text: str) -> str:
    with pytest.raises(ConfigurationError) as raised:
        parse(text)
    assert raised.value.message.startswith(str(PATH))
    return raised.value.message.removeprefix(str(PATH))


def locals_shown(error: BaseException | None) -> str:
    """What a traceback with locals would show of the module's frames, for the error and all that it came from."""
    shown = []
    while error is not None:
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
        shown += [repr(frame.f_locals) for frame in frames if frame.f_code.co_filename.startswith(ROOM)]
        error = error.__cause__ or error.__context__
    assert shown
    return "".join(shown)


class TestParsing:
    def test_every_key_arrives_where_it_belongs(self) -> None:
        acme = parse(WHOLE).named("acme")
        assert acme.endpoint == {
            "url": "https://login.acme.com/token",
            "grant": "refresh_token",
            "client_id": "cli",
            "client_auth": "client_secret_post",
            "client_secret": SecretSource("client_secret", "env", "ACME_SECRET", PATH.parent),
            "scope": "read",
            "extra": {"audience": "x", "resource": ["https://a.example", "https://b.example"]},
            "revocation_url": "https://login.acme.com/revoke",
        }
        assert acme.options == {"profile": "grace:30", "resend": 20, "max_wait": 5}
        assert acme.origins == ("https://api.acme.com", "https://stream.acme.com")
        assert acme.attach == {"?key": "{token}", "X-Version": "2"}
        assert acme.store == "sqlite:////abs/path.db"
        assert (acme.refresher, acme.source) == (None, PATH)

    def test_rules_about_refusals_are_ready_to_use(self) -> None:
        lines = 'refused = ["slack", { statuses = [403, 400], codes = ["EXPIRED", 190], at = "error.code" }]'
        refused = parse(f"[credentials.acme]\n{ENDPOINT}{lines}").named("acme").refused
        assert refused is not None
        name, rule = refused
        assert name == "slack"
        assert isinstance(rule, RefusedWhen)
        assert rule.statuses == frozenset({400, 403})
        assert rule.judge(ApiAnswer("GET", 400, {}, b'{"error": {"code": 190}}')) is True
        assert parse(f'[credentials.acme]\n{ENDPOINT}refused = "graphql"').named("acme").refused == ("graphql",)
        assert parse(f"[credentials.acme]\n{ENDPOINT}").named("acme").refused is None

    def test_resend_belongs_to_the_profile(self) -> None:
        found = parse(WHOLE).named("acme")
        assert found._options() == {"profile": Profile("grace:30", grace=30.0, resend=20), "max_wait": 5}

    def test_the_store_on_top_counts_for_who_names_none(self) -> None:
        beta = parse(WHOLE).named("beta")
        assert beta.store == f"sqlite:///{PATH.parent}/all.db"
        assert (beta.refresher, beta.endpoint, beta.origins) == ("package.module:function", {}, ())
        assert beta.attach is None

    def test_a_store_s_url_may_come_from_elsewhere(self, monkeypatch: pytest.MonkeyPatch) -> None:
        acme = parse(f'store = {{ env = "ACME_STORE" }}\n[credentials.acme]\n{ENDPOINT}').named("acme")
        assert (str(acme.store), "hunter2" in repr(acme)) == ("from env ACME_STORE", False)
        with pytest.raises(ConfigurationError, match="store: the environment variable ACME_STORE is not set"):
            acme.open()
        monkeypatch.setenv("ACME_STORE", "sqlite:///hunter2.db")
        assert acme.store_url().reveal() == f"sqlite:///{PATH.parent}/hunter2.db"
        assert "hunter2" not in repr(acme)

    def test_without_any_store_it_is_sqlite(self) -> None:
        assert parse(f"[credentials.acme]\n{ENDPOINT}").named("acme").store == "sqlite"

    @pytest.mark.parametrize(
        ("written", "placed"),
        [
            ("sqlite", "sqlite"),
            ("memory", "memory"),
            ("sqlite:///tokens.db", f"sqlite:///{PATH.parent}/tokens.db"),
            ("sqlite:////var/tokens.db", "sqlite:////var/tokens.db"),
            ("sqlite:///~/tokens.db", "sqlite:///~/tokens.db"),
        ],
    )
    def test_a_relative_store_lies_beside_the_file(self, written: str, placed: str) -> None:
        assert parse(f'store = "{written}"\n[credentials.acme]\n{ENDPOINT}').named("acme").store == placed

    def test_an_empty_file_has_no_credentials(self) -> None:
        assert parse("").entries == {}

    @pytest.mark.parametrize(
        ("lines", "said"),
        [
            (f"{ENDPOINT}client_secrt = 1", ".client_secrt is unknown, did you mean 'client_secret'?; the keys are"),
            (f"{ENDPOINT}colour = 1", ".colour is unknown; the keys are token_endpoint, grant"),
            (
                f'{ENDPOINT}client_secret = "hunter2"',
                ".client_secret: a secret does not belong in this file; write { env",
            ),
            (
                f'{ENDPOINT}store = "postgresql://app:hunter2@db/app"',
                ".store: a password does not belong in this file; write { env",
            ),
            (
                f'{ENDPOINT}store = "redis://db/0?sentinel_password=hunter2"',
                ".store: a password does not belong in this file; write { env",
            ),
            (
                f'{ENDPOINT}refresh_token = "hunter2"',
                ".refresh_token: a token does not belong in this file; remove it",
            ),
            (f'{ENDPOINT}password = "hunter2"', ".password: a secret does not belong in this file; remove it"),
            (
                f'{ENDPOINT}extra = {{ password = "hunter2" }}',
                ".extra.password: a secret does not belong in this file",
            ),
            (
                f"{ENDPOINT}client_secret = {{}}",
                ".client_secret must be exactly one of env, file and command, not nothing",
            ),
            (
                f'{ENDPOINT}client_secret = {{ env = "A", file = "b" }}',
                "exactly one of env, file and command, not env, file",
            ),
            (f'{ENDPOINT}client_secret = {{ vault = "hunter2" }}', "exactly one of env, file and command, not vault"),
            (f"{ENDPOINT}client_secret = {{ env = 1 }}", ".client_secret.env must be a string in quotes, not a number"),
            (
                f'{ENDPOINT}client_secret = {{ command = "pass show" }}',
                ".command must be a list of strings, which is run without a shell",
            ),
            (f"{ENDPOINT}client_secret = {{ command = [] }}", ".command must be a list of strings"),
            ('token_endpoint = "https://login.acme.com"', ".client_id is missing"),
            ('client_id = "cli"', " needs exactly one of token_endpoint"),
            (f'{ENDPOINT}refresher = "a:b"', " needs exactly one of token_endpoint"),
            (
                'refresher = "a:b"\nscope = "x"',
                ".scope is only for an endpoint: leave it out when there is a refresher",
            ),
            ("refresher = 5", ".refresher must be a string in quotes, not a number"),
            (
                'token_endpoint = true\nclient_id = "cli"',
                ".token_endpoint must be a string in quotes, not true or false",
            ),
            (
                'token_endpoint = "https://x"\nclient_id = ""',
                ".client_id must be a string in quotes, not an empty string",
            ),
            (f"{ENDPOINT}scope = 2026-01-01", ".scope must be a string in quotes, not a date or time"),
            (f"{ENDPOINT}extra = []", ".extra must be a table, not a list"),
            (f"{ENDPOINT}origins = 3", ".origins must be a list of strings"),
            (f'{ENDPOINT}origins = ["api.acme.com"]', ".origins: 'api.acme.com' is not an origin"),
            (
                f'{ENDPOINT}origins = ["https://api.acme.com/v1"]',
                ".origins: 'https://api.acme.com/v1' is more than an origin",
            ),
            (f"{ENDPOINT}refused = 401", ".refused: write the name of a rule, or { statuses"),
            (f"{ENDPOINT}refused = []", ".refused: refused is empty"),
            (f'{ENDPOINT}refused = "gitlab"', ".refused: there is no rule 'gitlab': the names are graphql, login_page"),
            (f"{ENDPOINT}refused = {{ statuses = [403] }}", ".refused: codes is missing"),
            (f'{ENDPOINT}refused = {{ statuses = [403], codes = "a", path = "b" }}', ".refused: path is unknown"),
            (f'{ENDPOINT}refused = {{ statuses = [true], codes = "a" }}', ".refused: statuses: True must be from 200"),
            (f'{ENDPOINT}refused = {{ statuses = 403, codes = "a", at = 1 }}', ".refused: at 1 must be the path"),
            (f"{ENDPOINT}store = 1", ".store must be a string in quotes, not a number"),
        ],
    )
    def test_what_is_wrong_is_named_with_what_to_do(self, lines: str, said: str) -> None:
        found = problem_with(f"[credentials.acme]\n{lines}")
        assert found.startswith(": credentials.acme")
        assert said in found
        assert "hunter2" not in found

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("store =", " is not TOML: "),
            (
                "stroe = 'x'",
                ": stroe is unknown, did you mean 'store'?; the keys are store, encrypt, providers, credentials",
            ),
            ("[acme]", ": acme is unknown"),
            ("credentials = 3", ": credentials must be a table, not a number: write [credentials]"),
            ("[credentials]\nacme = 3", ": credentials.acme must be a table, not a number: write [credentials.acme]"),
        ],
    )
    def test_what_is_wrong_outside_a_section_is_named_too(self, text: str, said: str) -> None:
        assert said in problem_with(text)

    def test_a_secret_written_into_the_file_shows_in_no_traceback(self) -> None:
        with pytest.raises(ConfigurationError) as raised:
            parse(f'[credentials.acme]\n{ENDPOINT}client_secret = "hunter2"')
        assert "hunter2" not in locals_shown(raised.value)

    @pytest.mark.parametrize(
        ("lines", "said"),
        [
            (ENDPOINT.replace("https", "http"), "is not https"),
            (f'{ENDPOINT}grant = "password"', "unknown grant 'password'"),
            (f'{ENDPOINT}client_auth = "client_secret_basic"', "needs a client_secret"),
            (f'{ENDPOINT}profile = "lenient"', "unknown profile 'lenient'"),
            (f'{ENDPOINT}resend = "sometimes"', "resend must be a number of seconds or 'never', not 'sometimes'"),
            (f"{ENDPOINT}early = true", "early must be a number of seconds, 1 or more"),
            (f"{ENDPOINT}early = 0", "early must be a number of seconds, 1 or more"),
            (f'{ENDPOINT}early = "soon"', "early must be a number of seconds, 1 or more"),
            (f"{ENDPOINT}max_wait = -1", "max_wait must be a number of seconds, not -1"),
            (f'{ENDPOINT}store = "mongodb://x"', "unknown store 'mongodb'"),
            (f"{ENDPOINT}extra = {{ refresh_tokens_type = 1 }}", "extra['refresh_tokens_type'] must be a string"),
        ],
    )
    def test_what_only_shows_on_opening_names_the_section(self, lines: str, said: str) -> None:
        entry = parse(f"[credentials.acme]\n{lines}").named("acme")
        with pytest.raises(ConfigurationError) as raised:
            entry.open()
        assert raised.value.message.startswith(f"{PATH}: credentials.acme: ")
        assert said in raised.value.message

    def test_an_unknown_name_is_told_with_the_known_ones(self) -> None:
        with pytest.raises(
            ConfigurationError, match=r"no credential 'acm', did you mean 'acme'\? \(it has: acme, beta\)"
        ):
            parse(WHOLE).named("acm")
        with pytest.raises(ConfigurationError, match=r"\(it has: none\); add a section \[credentials\.acme\]"):
            parse("").named("acme")


Values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
Keys = st.sampled_from([*config._KEYS, "", "client secret", "refresh_token"]) | st.text(max_size=5)


def toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return "true" if value is None else json.dumps(value)


@given(st.dictionaries(Keys, Values, max_size=5), st.booleans())
def test_no_section_whatever_it_holds_raises_anything_else(settings: dict[str, Any], is_endpoint: bool) -> None:
    if is_endpoint:
        settings |= {"token_endpoint": "https://login.acme.com/token", "client_id": "cli"}
    text = "[credentials.acme]\n" + "".join(f"{json.dumps(key)} = {toml(value)}\n" for key, value in settings.items())
    found = config._parsed(text, PATH)
    if isinstance(found, str):
        assert found.startswith(f"{PATH}: credentials.acme") or " is not TOML: " in found


@given(st.text(max_size=60))
def test_no_text_raises_anything_else(text: str) -> None:
    found = config._parsed(text, PATH)
    assert found.startswith(str(PATH)) if isinstance(found, str) else found.path == PATH


class TestSecrets:
    def source(self, written: str, folder: Path) -> SecretSource:
        text = f"[credentials.acme]\n{ENDPOINT}client_secret = {written}"
        found = config.parse(text, folder / "onerefresh.toml").named("acme").endpoint["client_secret"]
        assert isinstance(found, SecretSource)
        return found

    def test_from_the_environment(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ACME_SECRET", "hunter2")
        assert self.source('{ env = "ACME_SECRET" }', tmp_path)().reveal() == "hunter2"

    def test_from_a_file_beside_the_configuration_without_its_line_break(self, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text(" hunter2 \n")
        assert self.source('{ file = "secret" }', tmp_path)().reveal() == " hunter2 "
        assert self.source(f'{{ file = "{tmp_path}/secret" }}', Path("/nowhere"))().reveal() == " hunter2 "

    def test_from_a_command_that_no_shell_reads(self, tmp_path: Path) -> None:
        script = "import sys; print(sys.argv[1] + sys.stdin.read())"
        found = self.source(
            json.dumps([sys.executable, "-c", script, "$HOME; hunter2"]).join(["{ command = ", " }"]), tmp_path
        )
        assert found().reveal() == "$HOME; hunter2"

    @pytest.mark.parametrize("written", ["hunter2\n", "hunter2\r\n", "\ufeffhunter2", "\ufeffhunter2\r\n"])
    def test_what_editors_and_shells_add_is_no_part_of_it(
        self, tmp_path: Path, written: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A line break at the end, and the byte order mark of Windows."""
        (tmp_path / "secret").write_bytes(written.encode())
        monkeypatch.setenv("ACME_SECRET", written)
        for place in ('{ file = "secret" }', '{ env = "ACME_SECRET" }', '{ command = ["cat", "secret"] }'):
            assert self.source(place, tmp_path)().reveal() == "hunter2"

    @pytest.mark.parametrize(
        ("place", "said"),
        [
            ('{ file = "secret" }', "secret has more than one line: it must be the client secret and nothing else"),
            ('{ env = "ACME_SECRET" }', "the environment variable ACME_SECRET has more than one line: it must"),
            ('{ command = ["cat", "secret"] }', "the command 'cat' printed more than one line: it must"),
        ],
    )
    def test_several_lines_are_told_with_their_place(
        self, tmp_path: Path, place: str, said: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "secret").write_text("hunter2\nuser: ada\n")
        monkeypatch.setenv("ACME_SECRET", "hunter2\nuser: ada\n")
        with pytest.raises(ConfigurationError) as raised:
            self.source(place, tmp_path)()
        assert said in raised.value.message
        assert "hunter2" not in locals_shown(raised.value)

    @pytest.mark.parametrize(
        ("written", "said"),
        [
            ('{ env = "ONEREFRESH_TEST_UNSET" }', "the environment variable ONEREFRESH_TEST_UNSET is not set"),
            ('{ file = "absent" }', "absent cannot be read: No such file or directory"),
            ('{ file = "empty" }', "empty is empty or not text"),
            ('{ file = "binary" }', "binary is empty or not text"),
            ('{ command = ["onerefresh-no-such-program"] }', "cannot be run: No such file or directory"),
            (
                '{ command = ["sh", "-c", "echo hunter$((1 + 1)); exit 3"] }',
                "the command 'sh' ended with 3: run it by hand",
            ),
            ('{ command = ["true"] }', "the command 'true' printed nothing"),
            (
                '{ command = ["printf", "hunter%d\\\\377", "2"] }',
                "the command 'printf' printed something that is not text",
            ),
        ],
    )
    def test_one_that_cannot_be_had_is_told_and_shown_nowhere(self, tmp_path: Path, written: str, said: str) -> None:
        (tmp_path / "empty").write_text("\n")
        (tmp_path / "binary").write_bytes(b"hunter2\xff")
        source = self.source(written, tmp_path)
        with pytest.raises(ConfigurationError) as raised:
            source()
        assert said in raised.value.message
        assert "hunter2" not in locals_shown(raised.value)

    def test_a_command_that_does_not_end_is_ended(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(secret_source, "COMMAND_SECONDS", 0.1)
        with pytest.raises(ConfigurationError, match="did not end within"):
            self.source('{ command = ["sleep", "60"] }', tmp_path)()


class TestLookup:
    def test_the_argument_wins_over_the_variable_and_that_over_the_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "folder"))
        monkeypatch.delenv("ONEREFRESH_CONFIG", raising=False)
        monkeypatch.setattr(sys, "platform", "linux")
        assert config.config_file() == tmp_path / "folder" / "onerefresh" / "onerefresh.toml"
        monkeypatch.setenv("ONEREFRESH_CONFIG", str(tmp_path / "variable.toml"))
        assert config.config_file() == tmp_path / "variable.toml"
        assert config.config_file(tmp_path / "argument.toml") == tmp_path / "argument.toml"

    @pytest.mark.parametrize(
        ("platform", "expected"),
        [("linux", ".config/onerefresh"), ("darwin", "Library/Application Support/onerefresh")],
    )
    def test_each_platform_has_its_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, platform: str, expected: str
    ) -> None:
        monkeypatch.setattr(sys, "platform", platform)
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
        monkeypatch.delenv("ONEREFRESH_CONFIG", raising=False)
        assert config.config_file() == tmp_path / expected / "onerefresh.toml"

    def test_a_variable_that_depends_on_the_working_folder_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ONEREFRESH_CONFIG", "onerefresh.toml")
        with pytest.raises(ConfigurationError, match="ONEREFRESH_CONFIG must be an absolute path"):
            config.read()

    def test_the_working_folder_is_never_looked_at(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "onerefresh.toml").write_text(f"[credentials.acme]\n{ENDPOINT}")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "folder"))
        monkeypatch.setenv("ONEREFRESH_CONFIG", "")
        with pytest.raises(
            ConfigurationError, match=r"there is no configuration file .*/folder/onerefresh/onerefresh\.toml"
        ):
            config.load("acme")


class TestWhoMayHaveWrittenIt:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        path = tmp_path / "folder" / "onerefresh.toml"
        path.parent.mkdir(mode=0o755)
        path.write_text(f"[credentials.acme]\n{ENDPOINT}")
        path.chmod(0o644)
        return path

    def test_others_may_read_it(self, path: Path) -> None:
        assert config.read(path).named("acme").name == "acme"

    @pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
    def test_others_may_not_write_it(self, path: Path, mode: int) -> None:
        path.chmod(mode)
        with pytest.raises(ConfigurationError, match=rf"others can write to {path}.* run chmod go-w {path}$"):
            config.read(path)

    @pytest.mark.parametrize("mode", [0o775, 0o757])
    def test_others_may_not_replace_it(self, path: Path, mode: int) -> None:
        path.parent.chmod(mode)
        with pytest.raises(
            ConfigurationError, match=rf"others can write to the folder {path.parent} and could .* {path.parent}"
        ):
            config.read(path)

    def test_a_folder_like_tmp_protects_it_on_the_way_alone(self, path: Path) -> None:
        path.parent.parent.chmod(0o1777)
        assert config.read(path).named("acme").name == "acme"
        path.parent.chmod(0o1777)
        with pytest.raises(ConfigurationError, match=rf"in the folder {path.parent}: .*mkdir -m 700|chmod go-w"):
            config.read(path)

    def test_what_is_no_file_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match=f"{tmp_path} cannot be read: Is a directory"):
            config.read(tmp_path)
        with pytest.raises(ConfigurationError, match="is not a file"):
            config.read("/dev/null")

    def test_what_is_no_text_is_told(self, path: Path) -> None:
        path.write_bytes(b"store = '\xff'")
        with pytest.raises(ConfigurationError, match=r"is not UTF-8 \(see byte 9\)"):
            config.read(path)
        path.write_bytes(b"#" * (1024 * 1024 + 1))
        with pytest.raises(ConfigurationError, match="larger than 1 MiB"):
            config.read(path)

    def test_a_byte_order_mark_does_no_harm(self, path: Path) -> None:
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
        assert config.read(path).named("acme").name == "acme"


class TestRefreshers:
    @pytest.fixture
    def module(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
        (tmp_path / "my_refreshers.py").write_text(
            "def plain(token): return {'access_token': 'plain', 'refresh_token': 'r2'}\n"
            "async def later(token): return {'access_token': 'later', 'refresh_token': 'r2'}\n"
            "number = 5\n"
        )
        (tmp_path / "my_broken.py").write_text("raise ValueError('no')\n")
        (tmp_path / "my_needy.py").write_text("import onerefresh_no_such_module\n")
        monkeypatch.syspath_prepend(tmp_path)
        return "my_refreshers"

    def opened(self, reference: str) -> onerefresh.Credential:
        return parse(f'store = "memory"\n[credentials.acme]\nrefresher = "{reference}"').named("acme").open()

    @pytest.mark.parametrize("name", ["plain", "later"])
    def test_a_function_of_ones_own_refreshes(self, module: str, name: str) -> None:
        credential = self.opened(f"{module}:{name}")
        first = credential.login({"access_token": "a", "refresh_token": "r"})
        assert credential.token(refused=first).reveal() == name

    @pytest.mark.parametrize(
        ("reference", "said"),
        [
            ("my_refreshers", 'must have the form "package.module:function"'),
            ("my refreshers:plain", "must have the form"),
            (":plain", "must have the form"),
            ("my_refreshers:plain()", "must have the form"),
            ("onerefresh_no_such_module:x", "there is no module 'onerefresh_no_such_module'"),
            ("my_needy:x", "there is no module 'onerefresh_no_such_module'"),
            ("my_refreshers:absent", "the module has no 'absent'"),
            ("my_refreshers:number", "is not a function but a value of type int"),
            ("my_broken:x", "importing it raised ValueError"),
        ],
    )
    @pytest.mark.usefixtures("module")
    def test_one_that_cannot_be_used_is_told(self, reference: str, said: str) -> None:
        with pytest.raises(ConfigurationError) as raised:
            self.opened(reference)
        assert raised.value.message.startswith(f"{PATH}: credentials.acme: refresher {reference!r}")
        assert said in raised.value.message


def test_load_gives_a_credential_that_refreshes_and_asks_for_the_secret_only_then(
    tmp_path: Path, auth_server: AuthServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "onerefresh.toml"
    path.write_text(
        f'store = "sqlite:///tokens.db"\n[credentials.acme]\ntoken_endpoint = "{auth_server.token_url}"\n'
        'client_id = "client"\nclient_secret = { env = "ACME_SECRET" }\n'
    )
    path.chmod(0o600)
    monkeypatch.setenv("ONEREFRESH_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("ACME_SECRET", raising=False)
    acme, same = onerefresh.load("acme", config=path), onerefresh.load("acme", config=str(path))
    token = acme.login(auth_server.issue())
    assert (tmp_path / "tokens.db").exists()
    with pytest.raises(ConfigurationError, match="ACME_SECRET is not set"):
        acme.token(refused=token)
    monkeypatch.setenv("ACME_SECRET", "secret")
    assert acme.token(refused=token).generation == same.token().generation == 2
    assert auth_server.counters.token_requests == 1


@pytest.mark.parametrize(
    ("written", "found"),
    [
        (
            "rediss://cache/0?ssl_ca_certs=ca.pem&durable=yes",
            "/onerefresh/ca.pem&durable=yes",
        ),
        ("rediss://cache/0?ssl_ca_certs=/etc/ca.pem", "ssl_ca_certs=/etc/ca.pem"),
        ("postgresql://db/app?sslmode=verify-full&sslrootcert=my%20ca.crt", "/onerefresh/my%20ca.crt"),
        ("postgresql://db/app?sslrootcert=system", "sslrootcert=system"),
        ("redis://cache/0?durable=yes", "redis://cache/0?durable=yes"),
        ("sqlite:///a.db?trusted_folders=/data", "sqlite:////home/me/.config/onerefresh/a.db?trusted_folders=/data"),
    ],
)
def test_a_file_that_a_store_s_url_names_lies_beside_the_configuration(written: str, found: str) -> None:
    store = parse(f'store = "{written}"\n[credentials.acme]\n{ENDPOINT}').named("acme").store
    assert isinstance(store, str)
    assert store.endswith(found)
