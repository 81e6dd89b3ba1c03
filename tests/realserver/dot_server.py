"""Runs the site as a process of its own, on 127.0.0.1 and a port of the system's choice.

Standard input holds one line of JSON: database, client_id, client_secret, username, password, lifetime (seconds). One
line of JSON on standard output says that it is ready, and its port. It ends when standard input does.
"""

from __future__ import annotations

import json
import sys
import threading
from typing import Any

import django
from django.conf import settings
from django.core.management import call_command
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.core.wsgi import get_wsgi_application


def configure(database: str, lifetime: int) -> None:
    settings.configure(
        SECRET_KEY="of a server that lives as long as its test",
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],  # the default one takes 0.3 s a request
        ALLOWED_HOSTS=["127.0.0.1"],
        ROOT_URLCONF="dot_site",
        MIDDLEWARE=["dot_site.counting"],
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "oauth2_provider"],
        USE_TZ=True,
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": database,
                # Many threads read and one writes: without these three SQLite would fail some of them.
                "OPTIONS": {
                    "timeout": 30,
                    "transaction_mode": "IMMEDIATE",
                    "init_command": "PRAGMA journal_mode=WAL",
                },
            }
        },
        LOGGING={
            "version": 1,
            "disable_existing_loggers": False,
            "handlers": {"stderr": {"class": "logging.StreamHandler"}},
            "root": {"handlers": ["stderr"], "level": "ERROR"},
            "loggers": {"django": {"level": "ERROR", "handlers": [], "propagate": True}},
        },
        OAUTH2_PROVIDER={
            "ACCESS_TOKEN_EXPIRE_SECONDS": lifetime,
            "ROTATE_REFRESH_TOKEN": True,
            "REFRESH_TOKEN_REUSE_PROTECTION": True,
            "REFRESH_TOKEN_GRACE_PERIOD_SECONDS": 0,
            "SCOPES": {"read": "Read items"},
        },
    )


def populate(client_id: str, client_secret: str, username: str, password: str) -> None:
    from django.contrib.auth.models import User
    from oauth2_provider.models import Application

    call_command("migrate", verbosity=0)
    Application.objects.create(
        name="the client under test",
        user=User.objects.create_user(username, password=password),
        client_id=client_id,
        client_secret=client_secret,
        client_type=Application.CLIENT_CONFIDENTIAL,
        authorization_grant_type=Application.GRANT_PASSWORD,
    )


def main() -> None:
    wanted: dict[str, Any] = json.loads(sys.stdin.readline())
    configure(wanted.pop("database"), wanted.pop("lifetime"))
    django.setup()
    populate(**wanted)
    server = ThreadedWSGIServer(("127.0.0.1", 0), WSGIRequestHandler)
    server.socket.listen(128)  # Django's queue of 10 is too short for a hundred clients that connect at once
    server.set_app(get_wsgi_application())
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(json.dumps({"port": server.server_port}), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
