"""One file for each HTTP client: ``onerefresh.clients.httpx``, ``.requests``, ``.aiohttp``.

They share where a token may go (`origins`), what a refusal means (`challenge`), which bodies can be sent again
(`replay`), how a token is written into a header (`bearer`), and the rules of one call (`call`).
"""
