"""One file for each HTTP client: ``onerefresh.clients.httpx``, ``.requests``, ``.aiohttp``.

What they share: where a token may go (`origins`), what a refusal says (`challenge`), which bodies can be sent again
(`replay`), how a token is written (`bearer`), and the rules of one call (`call`).
"""
