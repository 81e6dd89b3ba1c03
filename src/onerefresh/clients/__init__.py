"""One file for each HTTP client: ``onerefresh.clients.httpx``, ``.requests``, ``.aiohttp``."""
