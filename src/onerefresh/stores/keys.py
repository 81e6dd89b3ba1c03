"""Where the keys of an `EncryptedStore` come from: a file, the environment, the OS keyring, or a function.

A source gives a text with one key or several, one on each line: 32 random bytes each, in base64 or hexadecimal, as
``openssl rand -base64 32`` prints them. The first one encrypts; each of them decrypts.
"""

from __future__ import annotations

import abc
import base64
import binascii
import contextlib
import inspect
import os
import secrets
import time
from collections.abc import Callable, Iterator

from onerefresh.errors import ConfigurationError, OnerefreshError, StoreUnavailable
from onerefresh.private_files import absolute, check_file, make_folder, state_folder, sync_folder
from onerefresh.real_time import monotonic
from onerefresh.safe_folders import trust
from onerefresh.secret import Secret
from onerefresh.stores.envelope import KEY_BYTES, Key
from onerefresh.stores.flock import FlockHold

__all__ = ["EnvironmentKey", "FunctionKey", "KeyFile", "KeySource", "KeyringKey", "keys_in", "source_of"]

LARGEST_FILE = 64 * 1024
MAKING_SECONDS = 20.0
"""Seconds to wait for another process that makes the key: the keyring may ask its user something."""
HOW_TO_MAKE_ONE = "`openssl rand -base64 32` creates one"


class KeySource(abc.ABC):
    """A place that holds keys. Its ``str`` says which place, and never shows a key."""

    @abc.abstractmethod
    def read(self) -> Secret | None:
        """The keys, as text; None where there is none yet. Raises `StoreUnavailable`."""

    def make(self) -> None:
        """Make a key where there is none. Processes that do so at the same time all get the same one.

        Raises `StoreUnavailable`, also where this source cannot make keys.
        """
        raise StoreUnavailable(f"{self} holds no key: set it; {HOW_TO_MAKE_ONE}")


class KeyFile(KeySource):
    """A file that is private to this user (0600). It is made, with a random key, when something is to be encrypted.

    Raises `ConfigurationError` for a path that cannot exist.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = absolute(path)
        self._trusted = trust()

    def __str__(self) -> str:
        return f"the key file {self.path}"

    def read(self) -> Secret | None:
        if not check_file(self.path, self._trusted):
            return None
        try:
            with self.path.open("rb") as file:
                return Secret(file.read(LARGEST_FILE).decode("utf-8-sig", "replace"))
        except OSError as error:
            raise StoreUnavailable(f"{self} cannot be read: {error.strerror}") from None

    def make(self) -> None:
        make_folder(self.path.parent, self._trusted, wanted=self.path.name)
        part = self.path.with_name(f".{self.path.name}.{secrets.token_hex(8)}")
        try:
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(f"{_new_key().reveal()}\n".encode("ascii"))
                file.flush()
                os.fsync(file.fileno())
            # A link, unlike a rename, never replaces the key that another process has made meanwhile.
            with contextlib.suppress(FileExistsError):
                os.link(part, self.path)
            sync_folder(self.path.parent)
        except OSError as error:
            raise StoreUnavailable(
                f"{self} cannot be created ({error.strerror}): create it yourself with mode 600; {HOW_TO_MAKE_ONE}"
            ) from None
        finally:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)


class EnvironmentKey(KeySource):
    """An environment variable. Programs that this process starts inherit it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __str__(self) -> str:
        return f"the environment variable {self.name}"

    def read(self) -> Secret | None:
        return Secret(os.environ.get(self.name, "")) or None


class FunctionKey(KeySource):
    """A function that returns keys as text, or one key as 32 bytes. It is called from any thread.

    `called`: what messages call it (default: the function and its name).

    Raises `ConfigurationError` for an async function.
    """

    def __init__(self, function: Callable[[], object], called: str | None = None) -> None:
        if inspect.iscoroutinefunction(function):
            raise ConfigurationError("a function that returns keys cannot be async: it is called from a worker thread")
        self._function = function
        self._called = called or f"the function {getattr(function, '__name__', type(function).__name__)}"

    def __str__(self) -> str:
        return self._called

    def read(self) -> Secret | None:
        try:
            found, kind = _as_text(self._function())
        except OnerefreshError:
            raise
        except Exception as error:  # a user's function may raise anything; it is the cause
            raise StoreUnavailable(f"{self} raised {type(error).__name__}; see the cause") from error
        if found is None and kind != "NoneType":
            raise StoreUnavailable(f"{self} returned {kind}: return keys as a string, or one key as {KEY_BYTES} bytes")
        return found or None


class KeyringKey(KeySource):
    """An entry of the OS keyring: macOS Keychain, Windows Credential Locker, Secret Service, or KWallet.

    The entry is made, with a random key, when something is to be encrypted.

    Raises `ConfigurationError` where the package `keyring` is missing.
    """

    def __init__(self, service: str = "onerefresh", username: str = "encryption key") -> None:
        try:
            import keyring
        except ImportError as error:
            missing = error.name
        else:
            self.service, self.username = service, username
            self._get, self._set = keyring.get_password, keyring.set_password
            return
        raise ConfigurationError(
            f"the OS keyring needs a package that is not installed ({missing}): "
            "run pip install 'onerefresh[crypto,keyring]'"
        )

    def __str__(self) -> str:
        return f"the keyring entry {self.service}/{self.username}"

    def read(self) -> Secret | None:
        found, problem = self._try(lambda: Secret(self._get(self.service, self.username) or ""))
        if found is None:
            raise StoreUnavailable(f"the keyring cannot be read ({problem}): unlock it, or use another source of keys")
        return found or None

    def make(self) -> None:
        # A keyring has no "set where there is none": of two keys made at the same time, one would be lost, and with it
        # everything that it had encrypted.
        with self._making():
            if self.read() is not None:
                return
            key = _new_key()

            def give() -> Secret:
                self._set(self.service, self.username, key.reveal())
                return key

            given, problem = self._try(give)
            if given is None:
                raise StoreUnavailable(
                    f"the keyring did not accept the key ({problem}): unlock it, or use another source of keys"
                )
            if self.read() != key:
                raise StoreUnavailable("the keyring did not keep the key: use another source of keys")

    def _try(self, action: Callable[[], Secret]) -> tuple[Secret | None, str]:
        """What the keyring gave, or what went wrong. Nothing is raised, because the frames hold a key."""
        try:
            return action(), ""
        except Exception as error:  # noqa: BLE001 - each backend raises what its system raises
            message = str(error).splitlines()[:1] if type(error).__module__ == "keyring.errors" else []
            return None, ": ".join([type(error).__name__, *message])

    @contextlib.contextmanager
    def _making(self) -> Iterator[None]:
        """A context in which no other process of this machine makes the key."""
        deadline = monotonic() + MAKING_SECONDS
        folder = state_folder()
        while (hold := FlockHold.take(folder / "keyring.lock")) is None:
            if monotonic() > deadline:
                raise StoreUnavailable(f"another process has been creating {self} for {MAKING_SECONDS:.0f} s")
            time.sleep(0.05)
        if not isinstance(hold, FlockHold):  # this system has no flock
            raise StoreUnavailable(
                f"{self} holds no key: run `keyring set {self.service} '{self.username}'` and paste one; "
                f"{HOW_TO_MAKE_ONE}"
            )
        try:
            yield
        finally:
            hold.release()


def source_of(given: object) -> KeySource:
    """The source that a user gave. Raises `ConfigurationError` for anything else."""
    if isinstance(given, KeySource):
        return given
    if callable(given) and not isinstance(given, type):
        return FunctionKey(given)
    kind = given.__name__ if isinstance(given, type) else type(given).__name__
    raise ConfigurationError(
        f"keys must come from KeyFile(PATH), EnvironmentKey(NAME), KeyringKey() or a function, not from {kind}"
    )


def keys_in(text: Secret, source: KeySource) -> tuple[Key, ...]:
    """The keys in a source's text. Raises `StoreUnavailable` where something in it is no key."""
    found = [_key(word) for word in text.reveal().split()]
    keys = tuple(key for key in found if key is not None)
    if len(keys) == len(found):
        return keys
    place = "an entry" if len(found) == 1 else f"an entry (number {found.index(None) + 1})"
    raise StoreUnavailable(
        f"{source} contains {place} that is not a key: a key is {KEY_BYTES} random bytes in base64 or hexadecimal; "
        f"{HOW_TO_MAKE_ONE}"
    )


def _key(word: str) -> Key | None:
    try:
        if len(word) == 2 * KEY_BYTES:
            return Key(bytes.fromhex(word))
        material = base64.b64decode(word.replace("-", "+").replace("_", "/") + "=" * (-len(word) % 4), validate=True)
    except (ValueError, binascii.Error):
        return None
    return Key(material) if len(material) == KEY_BYTES else None


def _as_text(found: object) -> tuple[Secret | None, str]:
    """What a function returned, as text; or None, and the kind of what it returned."""
    if isinstance(found, Secret):
        return found, ""
    if isinstance(found, str):
        return Secret(found), ""
    if isinstance(found, (bytes, bytearray)) and len(found) == KEY_BYTES:
        return Secret(base64.b64encode(found).decode("ascii")), ""
    return None, f"{len(found)} bytes" if isinstance(found, (bytes, bytearray)) else type(found).__name__


def _new_key() -> Secret:
    return Secret(base64.b64encode(os.urandom(KEY_BYTES)).decode("ascii"))
