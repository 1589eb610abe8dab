"""A site of Django: views that only some peers may reach, and its settings."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.utils.decorators import method_decorator
from django.views import View

from meshid import peer_of
from meshid.http.django_require import require

# Its server asks for the databases after each connection.
if not settings.configured:
    settings.configure(DATABASES={}, ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, LOGGING_CONFIG=None)


@require("refunds")
def refund(request: HttpRequest, number: str) -> Any:  # noqa: ANN401 - Django has no types
    return HttpResponse(f"{number} {peer_of(request).spiffe_id}")


@require("refunds")
async def slowly(request: HttpRequest) -> Any:  # noqa: ANN401
    return HttpResponse(str(peer_of(request).spiffe_id))


@method_decorator(require("refunds"), name="dispatch")
class Office(View):  # type: ignore[misc]  # Django has no types
    def get(self, _: HttpRequest, name: str) -> Any:  # noqa: ANN401
        return HttpResponse(name)


urlpatterns = [
    path("v1/refunds/<number>", refund),
    path("v1/slow/refunds", slowly),
    path("v1/office/<name>", Office.as_view()),
]
