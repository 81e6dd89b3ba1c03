"""The site under test: django-oauth-toolkit's own URLs, an API behind its tokens, and what a test may ask."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import include, path
from django.utils import timezone
from oauth2_provider.decorators import protected_resource_metadata
from oauth2_provider.models import AccessToken, RefreshToken

TOKEN_PATH = "/o/token/"
API_PATH = "/api/"


class Counts:
    """What was answered so far: token requests by grant and status, API calls by status."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.token: Counter[str] = Counter()
        self.api: Counter[str] = Counter()


counts = Counts()


def counting(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware: counts each answer, server errors too."""

    def answer(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        with counts.lock:
            if request.path == TOKEN_PATH:
                counts.token[f"{request.POST.get('grant_type')} {response.status_code}"] += 1
            elif request.path.startswith(API_PATH):
                counts.api[str(response.status_code)] += 1
        return response

    return answer


def item(request: HttpRequest, number: int) -> HttpResponse:
    """A resource that takes ``?seconds=`` to answer."""
    time.sleep(float(request.GET.get("seconds", "0")))
    return JsonResponse({"item": number})


def report(request: HttpRequest) -> HttpResponse:
    """The counts, and what the database knows of the sessions (a session is a family of refresh tokens)."""
    refresh_tokens = RefreshToken.objects
    with counts.lock:
        told = {"token_requests": dict(counts.token), "api_calls": dict(counts.api)}
    return JsonResponse(
        told
        | {
            "sessions": refresh_tokens.values("token_family").distinct().count(),
            "refresh_tokens": refresh_tokens.count(),
            "live_refresh_tokens": refresh_tokens.filter(revoked=None, access_token__isnull=False).count(),
        }
    )


def expire(request: HttpRequest) -> HttpResponse:
    """All access tokens end now, earlier than their clients know."""
    return JsonResponse({"expired": AccessToken.objects.update(expires=timezone.now())})


urlpatterns = [
    path("o/", include("oauth2_provider.urls", namespace="oauth2_provider")),
    path("api/items/<int:number>", protected_resource_metadata(scopes=["read"])(item)),
    path("test/report", report),
    path("test/expire", expire),
]
