"""A Django site with djangorestframework-simplejwt, as a process of its own on a port of the system's choice.

Refresh tokens rotate, and each works once. Standard input holds one line of JSON: database. One line of JSON on
standard output says that it is ready: port, and the tokens of a first login. It ends when standard input does.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from typing import Any

import django
from django.conf import settings
from django.core.management import call_command
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.core.wsgi import get_wsgi_application

BUSY: list[str] = []
"""A refresh for each entry is answered with 429."""
FROM = [0.0]
"""When the oldest access tokens were issued that still work."""


def configure(database: str) -> None:
    settings.configure(
        SECRET_KEY="of a server that lives as long as its test",
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        ALLOWED_HOSTS=["127.0.0.1"],
        ROOT_URLCONF=__name__,
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "rest_framework",
            "rest_framework_simplejwt.token_blacklist",
        ],
        USE_TZ=True,
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": database,
                "OPTIONS": {
                    "timeout": 30,
                    "transaction_mode": "IMMEDIATE",
                    "init_command": "PRAGMA journal_mode=WAL",
                },
            }
        },
        LOGGING_CONFIG=None,
        SIMPLE_JWT={"ROTATE_REFRESH_TOKENS": True, "BLACKLIST_AFTER_ROTATION": True},
        REST_FRAMEWORK={
            "DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework_simplejwt.authentication.JWTAuthentication"],
            "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
        },
    )


def urls() -> list[Any]:
    from django.contrib.auth.models import User
    from django.urls import path
    from rest_framework.exceptions import AuthenticationFailed, Throttled
    from rest_framework.response import Response
    from rest_framework.views import APIView
    from rest_framework_simplejwt.tokens import RefreshToken
    from rest_framework_simplejwt.views import TokenRefreshView

    class Item(APIView):
        def get(self, request: Any, number: int) -> Any:
            if request.auth["iat"] < FROM[0]:
                raise AuthenticationFailed
            return Response({"item": number})

    class Refresh(TokenRefreshView):
        def post(self, request: Any, *args: Any, **kwargs: Any) -> Any:
            if BUSY:
                BUSY.pop()
                raise Throttled(wait=1)
            return super().post(request, *args, **kwargs)

    class Test(APIView):
        permission_classes = ()
        authentication_classes = ()

        def post(self, request: Any, what: str) -> Any:
            if what == "expire":
                FROM[0] = time.time() + 0.001
                time.sleep(max(0.0, FROM[0] + 1 - time.time()))  # `iat` has whole seconds
            elif what == "busy":
                BUSY.extend(["busy"] * 2)
            else:
                token = RefreshToken.for_user(User.objects.get(username="ada"))
                return Response({"refresh": str(token), "access": str(token.access_token)})
            return Response({})

    return [
        path("api/items/<int:number>", Item.as_view()),
        path("api/token/refresh/", Refresh.as_view()),
        path("test/<str:what>", Test.as_view()),
    ]


urlpatterns: list[Any] = []


class Silent(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Log no request."""


def main() -> None:
    configure(json.loads(sys.stdin.readline())["database"])
    django.setup()
    call_command("migrate", verbosity=0)
    from django.contrib.auth.models import User

    User.objects.create_user("ada")
    urlpatterns.extend(urls())
    server = ThreadedWSGIServer(("127.0.0.1", 0), Silent)
    server.socket.listen(128)
    server.set_app(get_wsgi_application())
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(json.dumps({"port": server.server_port}), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
