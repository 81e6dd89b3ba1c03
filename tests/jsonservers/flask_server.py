"""A Flask app with flask-jwt-extended, as a process of its own on a port of the system's choice.

Standard input holds one line of JSON: cookies (whether tokens are in cookies), rotates (whether a refresh token works
once). One line of JSON on standard output says that it is ready, and its port. It ends when standard input does.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from typing import Any

from flask import Flask, jsonify
from flask_jwt_extended import (
    JWTManager,
    create_access_token,
    create_refresh_token,
    get_jwt,
    jwt_required,
    set_access_cookies,
    set_refresh_cookies,
    unset_jwt_cookies,
)
from werkzeug.serving import make_server


def made(*, cookies: bool, rotates: bool) -> Flask:
    app = Flask(__name__)
    app.config |= {
        "JWT_SECRET_KEY": "of a server that lives as long as its test, and no longer",
        "JWT_TOKEN_LOCATION": ["headers", "cookies"] if cookies else ["headers"],
        "JWT_REFRESH_COOKIE_PATH": "/refresh",
    }
    jwt = JWTManager(app)
    issued: set[str] = set()
    revoked: set[str] = set()
    state = {"busy": 0}

    @jwt.token_in_blocklist_loader
    def is_revoked(header: Any, claims: Any) -> bool:
        if claims["type"] == "access":
            issued.add(claims["jti"])
        return claims["jti"] in revoked

    def session(*, renewed: bool) -> Any:
        access, refresh = create_access_token("ada"), create_refresh_token("ada")
        if not cookies:
            return jsonify({"access_token": access} | ({"refresh_token": refresh} if rotates or not renewed else {}))
        answer = jsonify({"user": "ada"})
        set_access_cookies(answer, access)
        if rotates or not renewed:
            set_refresh_cookies(answer, refresh)
        return answer

    @app.post("/login")
    def login() -> Any:
        return session(renewed=False)

    @app.post("/refresh")
    @jwt_required(refresh=True)
    def refresh() -> Any:
        if state["busy"]:
            state["busy"] -= 1
            return jsonify({"msg": "later"}), 503
        if rotates:
            revoked.add(get_jwt()["jti"])
        return session(renewed=True)

    @app.post("/refresh/gone")
    def gone() -> Any:
        answer = jsonify({"msg": "bye"})
        unset_jwt_cookies(answer)
        answer.status_code = 401
        return answer

    @app.get("/api/items/<int:number>")
    @jwt_required()
    def item(number: int) -> Any:
        return jsonify({"item": number})

    @app.post("/test/expire")
    def expire() -> Any:
        revoked.update(issued)
        return jsonify({})

    @app.post("/test/busy")
    def busy() -> Any:
        state["busy"] = 2  # so many refreshes are answered with 503
        return jsonify({})

    return app


def main() -> None:
    wanted = json.loads(sys.stdin.readline())
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, made(**wanted), threaded=True)
    server.socket.listen(128)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(json.dumps({"port": server.server_port}), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
