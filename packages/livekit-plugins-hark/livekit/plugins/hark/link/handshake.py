"""The handshake of a WebSocket, with a say in which requests it sends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import aiohttp


async def shake_hands(
    session: aiohttp.ClientSession,
    url: str,
    *,
    headers: Mapping[str, str],
    middleware: aiohttp.ClientMiddlewareType,
    heartbeat_s: float,
    goodbye_timeout_s: float,
) -> aiohttp.ClientWebSocketResponse:
    """Open a WebSocket. Cancelling is safe.

    aiohttp's own `ws_connect` follows ten redirects, without the API key, and takes no middleware;
    its `request` can be told both. So the handshake is that of a second session, which sends
    nothing by itself: all it wants sent is a `request` of the given one, with its connections,
    proxy, cookies and the rest.

    Args:
        session: to connect with; must be open.
        url: of the WebSocket.
        headers: of the handshake, besides those of every WebSocket.
        middleware: for the request that is sent, inside of the session's own.
        heartbeat_s: seconds between pings.
        goodbye_timeout_s: longest wait for the other half of the closing handshake.
    """

    async def send(
        request: aiohttp.ClientRequest, _: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        response = await session.request(
            request.method,
            url,
            headers={**headers, **_of_handshake(request.headers)},
            allow_redirects=False,
            read_until_eof=False,
            raise_for_status=False,  # `ws_connect` has a better error
            middlewares=(*_middlewares(session), middleware),
        )
        if 300 <= response.status < 400:  # which `ws_connect` would follow
            response.close()
            raise aiohttp.WSServerHandshakeError(
                response.request_info,
                response.history,
                status=response.status,
                headers=response.headers,
            )
        return response

    async with aiohttp.ClientSession(
        connector=session.connector,
        connector_owner=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(),
        middlewares=(send,),
    ) as handshake:
        return await handshake.ws_connect(
            url,
            heartbeat=heartbeat_s,
            timeout=aiohttp.ClientWSTimeout(ws_close=goodbye_timeout_s),
        )


def _of_handshake(headers: Mapping[str, str]) -> dict[str, str]:
    """What `ws_connect` asks for, without what every request says of itself."""
    return {
        name: value
        for name, value in headers.items()
        if name in ("Connection", "Upgrade") or name.startswith("Sec-WebSocket-")
    }


def _middlewares(session: aiohttp.ClientSession) -> Sequence[aiohttp.ClientMiddlewareType]:
    """Those of all requests that bring no others. A session has no public way to ask for them."""
    middlewares: Sequence[aiohttp.ClientMiddlewareType] = getattr(session, "_middlewares", ())
    return middlewares
