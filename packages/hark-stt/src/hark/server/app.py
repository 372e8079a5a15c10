"""The ASGI application: its routes, and the models' life around them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from functools import partial
from http import HTTPStatus

import anyio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from hark.server import refusal
from hark.server.access import AccessLog
from hark.server.auth import ApiKeys, Authentication
from hark.server.lingering import Lingering
from hark.server.page import page_routes
from hark.server.refusal import Refused
from hark.server.service import Service
from hark.server.transcribe import serve_transcription
from hark.server.websocket import serve_websocket
from hark_protocol import Error


def create_app(service: Service, *, on_failure: Callable[[], None] = lambda: None) -> Starlette:
    """Make the application.

    It answers at once, and takes work when its models are ready.

    Args:
        service: what it serves; belongs to the application from now on.
        on_failure: called when the models cannot be loaded; `service.failure` says why.
    """

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(service.load, on_failure)
            tasks.start_soon(service.loop_lag.watch)
            try:
                yield
            finally:
                tasks.cancel_scope.cancel()
                await service.close()

    return Starlette(
        routes=[
            WebSocketRoute("/ws/transcribe", partial(_serve_websocket, service)),
            WebSocketRoute("/{path:path}", _serve_no_websocket),
            Route("/v1/transcribe", partial(serve_transcription, service), methods=["POST"]),
            Route("/v1/models", partial(_list_models, service)),
            Route("/healthz", partial(_tell_health, service)),
            Route("/readyz", partial(_tell_readiness, service)),
            *page_routes(),
        ],
        middleware=[
            Middleware(AccessLog),
            Middleware(Lingering),
            Middleware(Authentication, keys=ApiKeys(service.settings.api_keys)),
        ],
        exception_handlers={
            Refused: _refuse,
            HTTPException: _refuse_in_our_shape,
            Exception: _confess,
        },
        lifespan=lifespan,
    )


async def _tell_health(service: Service, request: Request) -> Response:
    """Whether the process is of any use: true while the models load, false when they cannot be."""
    is_healthy = service.failure is None
    lag_ms = round(1000 * service.loop_lag.worst_s, 1)
    health = {"status": service.status, "loop_lag_ms": lag_ms}
    return JSONResponse(health, 200 if is_healthy else 503)


async def _tell_readiness(service: Service, request: Request) -> Response:
    """Whether to send clients here."""
    return JSONResponse({"status": service.status}, 200 if service.is_ready else 503)


async def _list_models(service: Service, request: Request) -> Response:
    """The models and what they can do; in the shape of OpenAI's list, which tools know."""
    service.check_open()
    models = [
        {
            "id": scheduler.model,
            "object": "model",
            "owned_by": "hark",
            "default": scheduler.model == service.models.models[0],
            "capabilities": asdict(scheduler.capabilities),
        }
        for scheduler in service.models.schedulers
    ]
    return JSONResponse({"object": "list", "data": models})


async def _serve_websocket(service: Service, websocket: WebSocket) -> None:
    try:
        await serve_websocket(service, websocket)
    except Refused as refused:
        await refused.answer(websocket.scope, websocket.receive, websocket.send)


async def _serve_no_websocket(websocket: WebSocket) -> None:
    await refusal.not_found().answer(websocket.scope, websocket.receive, websocket.send)


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return error.response()


async def _refuse_in_our_shape(request: Request, error: Exception) -> Response:
    """Answer for Starlette: no such path, wrong method, not multipart."""
    assert isinstance(error, HTTPException)
    code = HTTPStatus(error.status_code).name.lower()
    return Refused(error.status_code, Error(code, error.detail, retryable=False)).response()


async def _confess(request: Request, error: Exception) -> Response:
    """Answer for a bug. Starlette raises the error again, so that it is logged."""
    return refusal.failed().response()
