"""One file for each HTTP client: ``onerefresh.clients.httpx``, ``.requests``, ``.aiohttp``; and for each SDK with a way
of its own: ``.google_auth``, ``.azure``, ``.grpc``, ``.websockets``.

They share where a token may go (`origins`), how it is written and where in a request (`attach`, `places`, `bearer`),
what others may show of it (`hiding`), what a refusal means (`challenge`), which bodies can be sent again (`replay`),
and the rules of one call (`call`).
"""
