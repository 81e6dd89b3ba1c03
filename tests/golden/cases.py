"""What the golden files hold: everything that is stored, and every name that is derived, as the code makes it now."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from unittest import mock

from onerefresh.damping import RefusedTarget, Targets
from onerefresh.failure import Failure
from onerefresh.oauth2 import TokenEndpoint
from onerefresh.record import Entry, Grant, Lease, Probation, Record, State, TokenClock
from onerefresh.record_text import encode
from onerefresh.refresh_rate import Floor
from onerefresh.renewal.world import Spooled
from onerefresh.secret import Secret
from onerefresh.spool import Spool
from onerefresh.store import Store
from onerefresh.stores import envelope, sqlite
from onerefresh.stores.flock import lock_path
from onerefresh.stores.keys import KeyringKey
from onerefresh.stores.memory import MemoryStore
from onerefresh.stores.postgres.sql import DEFAULT_TABLE, LISTEN_FOR, Statements
from onerefresh.stores.redis import RedisStore
from onerefresh.token import Token
from onerefresh.verdict import FailureKind

GOLDEN = Path(__file__).parent
KEY = bytes(range(32))
NONCE = bytes(range(12))
PLACE = "sqlite:////srv/app/tokens.db"
CREDENTIAL = "acme"
CONTEXT = "production"
ODD = "o'déd\ud800 \U0001f600/\\\n"
"""A text with what text may hold: a quote, a letter that is not ASCII, half a surrogate pair, a slash, a newline."""
NAMES = (CREDENTIAL, "", "tenant/42", ODD)

AT = 1_700_000_000.0
FAMILY, OLDER = "0123456789abcdef", "fedcba9876543210"
TOKEN = Token(
    "golden-access",
    "golden-refresh",
    expires_at=AT + 3600.0,
    issued_at=AT,
    scope="read write",
    extra={
        "token_type": "Bearer",
        "id_token": "golden-id",
        "account": {"id": 7, "tags": ["a", None, True, 1.5], "deeper": {"empty": {}, "none": []}},
        ODD: ODD,
    },
    generation=3,
    family=FAMILY,
)
PLAIN = Token("golden-access", issued_at=AT, generation=1, family=FAMILY)
IDLE = Record((FAMILY,), 1, State.IDLE, token=PLAIN, history=(Entry(1, AT, "seed"),))
HELD = Record(
    (OLDER, FAMILY),
    3,
    State.IDLE,
    token=TOKEN,
    committed_by="a1b2c3d4e5f60718",
    owner="token endpoint https://acme.com/token, client golden",
    history=(Entry(1, AT - 7200.0, "seed"), Entry(2, AT - 3600.0, "login"), Entry(3, AT, "refresh")),
)
LEASE = Lease("00112233445566778899aabbccddeeff", Grant.REFRESH, 30.0)
FULL_LEASE = replace(
    LEASE,
    grant=Grant.OBTAIN,
    clock_epoch="5f0b4d6e-boot",
    at=1234.5,
    death_proof="flock 5f0b4d6e-boot 64:1024",
    contested=True,
    origin=State.DEAD,
)
FAILURE = Failure(FailureKind.UNAVAILABLE, "no connection", 1, AT, 0.5)
FULL_FAILURE = Failure(FailureKind.INTERACTION, ODD, 12, AT, 300.0, True, True, True, '{"id_token":{"acr":null}}')
DOUBTFUL = Failure(FailureKind.DEAD, "HTTP 401", 3, AT, 120.0, refused=True, doubts=3, prints=("a1b2c3d4", "00ff00ff"))
RECOVERING = replace(LEASE, id="recovery-00112233445566778899aabbccddeeff", ttl=5.0, guess=True)
REFUSED = "invalid_grant: the session is over"

RECORDS = {
    "empty-claimed": Record((), 0, State.LEASED, lease=replace(LEASE, grant=Grant.OBTAIN, origin=State.EMPTY)),
    "empty-failed": Record((), 0, State.EMPTY, failure=FAILURE, owner="someone"),
    "logged-out": Record(
        (OLDER, FAMILY), 4, State.EMPTY, owner=HELD.owner, history=(*HELD.history, Entry(4, AT, "logout"))
    ),
    "logged-out-before-the-first-use": Record((FAMILY,), 1, State.EMPTY, history=(Entry(1, AT, "logout"),)),
    "idle": IDLE,
    "idle-held": HELD,
    "idle-checksum": HELD,
    "idle-floor": replace(HELD, floor=Floor(3, AT, "5f0b4d6e-boot", (AT - 20.0, AT))),
    "idle-targets": replace(
        HELD,
        probation=Probation(3, AT, 80.0, by_refusal=True, reported=True),
        targets=Targets(
            FAMILY,
            "5f0b4d6e-boot",
            (RefusedTarget("00112233445566ff", 1200.5, 40.0), RefusedTarget("ff66554433221100", 1234.5, 80.0)),
            3,
            2,
            1230.0,
        ),
    ),
    "idle-spent": replace(HELD, spent=("00112233445566ff", "ff66554433221100")),
    "idle-clock": replace(HELD, token_clock=TokenClock(3, "web-3", 7200.5, "5f0b4d6e-boot", 1234.5)),
    "idle-unsaved": replace(HELD, unsaved=True),
    "idle-refresh-token-alone": replace(
        IDLE, token=Token(None, "golden-refresh", issued_at=AT, generation=1, family=FAMILY)
    ),
    "idle-bearer": replace(
        HELD,
        token=replace(TOKEN, access_token=Secret("golden-id"), extra={"access_token": "golden-access", "n": 1}),
    ),
    "idle-odd": replace(IDLE, owner=ODD, committed_by=ODD, token=replace(PLAIN, access_token=Secret(ODD), scope=ODD)),
    "idle-many": replace(
        HELD,
        families=tuple(f"{number:016x}" for number in range(32)),
        history=tuple(
            Entry(number, AT + number / 8, what)
            for number, what in enumerate(
                ("seed", "refresh", "dead", "refresh", "login", "obtain", "restored", "logout")
            )
        ),
    ),
    "idle-probation": replace(HELD, probation=Probation(0, AT, 10.0, by_refusal=False)),
    "idle-probation-repeated": replace(HELD, probation=Probation(0, AT, 10.0, by_refusal=False, repeated=True)),
    "idle-probation-clock": replace(
        HELD, probation=Probation(1, AT, 20.0, by_refusal=True, clock_epoch="5f0b4d6e-boot", clock_at=1234.5)
    ),
    "idle-probation-reported": replace(HELD, probation=Probation(3, AT, 80.0, by_refusal=True, reported=True)),
    "idle-failed-fully": replace(HELD, failure=FULL_FAILURE),
    **{
        f"idle-failed-{each.value}": replace(HELD, failure=replace(FAILURE, kind=each))
        for each in FailureKind
        if each is not FailureKind.DOUBTFUL  # it is stored as what says most to a version that does not know it
    },
    "idle-failed-clock": replace(
        HELD, failure=replace(FAILURE, lost=True, delay=60.0, clock_epoch="5f0b4d6e-boot", clock_at=1234.5)
    ),
    "idle-doubtful": replace(HELD, failure=DOUBTFUL),
    "leased-refresh": replace(HELD, state=State.LEASED, lease=LEASE),
    "leased-obtain": replace(HELD, state=State.LEASED, lease=replace(LEASE, grant=Grant.OBTAIN)),
    "leased-fully": replace(HELD, state=State.LEASED, lease=FULL_LEASE, failure=FULL_FAILURE, unsaved=True),
    "leased-guess": replace(HELD, state=State.LEASED, lease=replace(FULL_LEASE, guess=True), failure=DOUBTFUL),
    "leased-recovery": replace(HELD, state=State.LEASED, lease=RECOVERING),
    "leased-recovery-noted": replace(
        HELD, state=State.LEASED, lease=replace(RECOVERING, noted="00112233445566ff:7", again=1)
    ),
    "leased-era": replace(HELD, state=State.LEASED, lease=replace(LEASE, clock_epoch="1700000000.25", at=17.0)),
    "dead": replace(
        HELD,
        state=State.DEAD,
        failure=Failure(FailureKind.DEAD, REFUSED, 1, AT, 0.0, refused=True),
        history=(*HELD.history, Entry(3, AT, "dead")),
    ),
    "note-of-losses": Record(
        (),
        7,
        State.EMPTY,
        unknown={"lost": ["0123456789abcdef"], "id": "00112233445566ff", "comparing": {"00112233": int(AT)}},
    ),
    "dead-disputed": replace(
        HELD, state=State.DEAD, failure=Failure(FailureKind.DEAD, REFUSED, 2, AT, 0.0, maybe_spent=True, contested=True)
    ),
}
SPOOLED = {
    "refresh": Spooled(FAMILY, 2, "a1b2c3d4e5f60718", Grant.REFRESH, refused=True, token=TOKEN),
    "checksum": Spooled(FAMILY, 2, "c1b2c3d4e5f60718", Grant.REFRESH, refused=False, token=TOKEN),
    "useless": Spooled(
        FAMILY,
        2,
        "d1b2c3d4e5f60718",
        Grant.REFRESH,
        refused=True,
        token=TOKEN,
        useless="an access token that no header can carry: it is empty",
        owner=HELD.owner,
    ),
    "sessions": Spooled(
        FAMILY, 2, "e1b2c3d4e5f60718", Grant.REFRESH, refused=False, token=TOKEN, families=(OLDER, FAMILY)
    ),
    "clock": Spooled(FAMILY, 2, "f1b2c3d4e5f60718", Grant.REFRESH, refused=False, token=TOKEN, skew=3600.25),
    "obtain": Spooled("", 0, "b1b2c3d4e5f60718", Grant.OBTAIN, refused=False, token=replace(PLAIN, generation=0)),
}


class Named(MemoryStore):
    """A store in memory that says it is another place; with a key, its spool is encrypted as an `EncryptedStore`'s."""

    def __init__(self, name: str, key: envelope.Key | None = None) -> None:
        super().__init__()
        self.name, self._key = name, key

    def seal(self, key: str, text: str) -> str:
        return text if self._key is None else sealed(text, envelope.Purpose.SPOOL, key, self._key)

    def unseal(self, key: str, text: str) -> str:
        return text if self._key is None else opened(text, envelope.Purpose.SPOOL, key, self._key)


def sealed(text: str, purpose: envelope.Purpose, name: str, key: envelope.Key, context: str | None = None) -> str:
    """The envelope of `text`, always with the same nonce. (Only for golden files: two texts must never share one.)"""
    with mock.patch("onerefresh.stores.envelope.os.urandom", return_value=NONCE):
        return envelope.sealed(text, key, purpose, name, context)


def opened(text: str, purpose: envelope.Purpose, name: str, key: envelope.Key, context: str | None = None) -> str:
    found = envelope.parse(text)
    assert isinstance(found, envelope.Envelope), found
    inner = envelope.unsealed(found, key, purpose, name, context)
    assert inner is not None
    return inner.reveal()


def spooled(entry: Spooled, store: Store, key: str = CREDENTIAL) -> tuple[str, str]:
    """Name and text of the file that keeps `entry` while `store` is down."""
    with TemporaryDirectory() as folder:
        assert Spool(store, key, Path(folder)).write(entry)
        [path] = Path(folder).iterdir()
        return path.name, path.read_text("utf-8")


def text_of_spooled(entry: Spooled, store: Store) -> str:
    return spooled(entry, store)[1]


def texts() -> dict[str, Callable[[], str]]:
    """Each golden file that holds a stored text, and what the present code writes there."""
    key = envelope.Key(KEY)
    found: dict[str, Callable[[], str]] = {}
    for name, record in RECORDS.items():
        found[f"records/{name}.json"] = partial(encode, record)
    for name, entry in SPOOLED.items():
        found[f"spool/{name}.json"] = partial(text_of_spooled, entry, Named(PLACE))
        found[f"spool/{name}.sealed.json"] = partial(text_of_spooled, entry, Named(PLACE, key))
    for number, name in enumerate(NAMES):
        found[f"envelopes/record-{number}.json"] = partial(sealed, encode(HELD), envelope.Purpose.RECORD, name, key)
    found["envelopes/context.json"] = partial(sealed, encode(HELD), envelope.Purpose.RECORD, CREDENTIAL, key, CONTEXT)
    found["envelopes/of-no-generation.json"] = partial(sealed, "no JSON", envelope.Purpose.RECORD, CREDENTIAL, key)
    return found


def derived() -> dict[str, object]:
    """Each name that is made of another one: a version that makes another finds nothing of what is there."""
    database, table = PurePosixPath("/srv/app/tokens.db"), Statements()
    custom = Statements("app.tokens")
    with_keys = {name: RedisStore("redis://cache", prefix=f"{name}:") for name in ("onerefresh", "tokens")}
    secret = TokenEndpoint("https://acme.com/token", client_id="golden", client_secret="never shown")
    machine = TokenEndpoint(
        "https://acme.com:8443/token?tenant=1", client_id="golden", client_secret="x", grant="client_credentials",
        scope="read write", extra={"audience": "https://api.acme.com"},
    )  # fmt: skip
    return {
        "secret fingerprint": {text: Secret(text).fingerprint() for text in ("golden-refresh", ODD)},
        "seed fingerprint": {"of a refresh token": TOKEN.seed_fingerprint(), "of an access": PLAIN.seed_fingerprint()},
        "lock file": {name: str(lock_path(Path(database), name)) for name in NAMES},
        "spool file": {
            f"{place} {name}": spooled(SPOOLED["refresh"], Named(place), name)[0]
            for place in (PLACE, "postgresql://db/app#onerefresh_records") for name in NAMES
        },
        "redis store": {prefix: store.name for prefix, store in with_keys.items()},
        "redis key and channel": {
            f"{prefix} {name}": store._key(name).decode("utf-8", "surrogatepass")
            for prefix, store in with_keys.items() for name in NAMES
        },
        "postgresql table": {"name": DEFAULT_TABLE, "as made": table.create},
        "postgresql channel": {
            f"{of.table} {name}": [of.channel(name).name, of.channel(name).lock]
            for of in (table, custom) for name in NAMES
        },
        "postgresql listens": LISTEN_FOR,
        "sqlite table": sqlite.TABLE,
        "sqlite application id": sqlite.APPLICATION_ID,
        "encryption key id": {"0 to 31": envelope.Key(KEY).id, "zeros": envelope.Key(bytes(32)).id},
        "encryption binds": {
            f"{purpose.value} {name}": hashlib.sha256(envelope._bound("k" * 16, 3, purpose, name)).hexdigest()
            for purpose in envelope.Purpose for name in NAMES
        },
        "keyring entry": str(KeyringKey()),
        "owner": {"of a person": secret.identity, "of a client": machine.identity},
    }  # fmt: skip
