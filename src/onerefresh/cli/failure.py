"""What a failure means for the person who runs the command: an exit code, and one line that says what to do."""

from __future__ import annotations

import shlex

from onerefresh import errors
from onerefresh.cli.hints import for_command

__all__ = ["INTERRUPTED", "LOG_IN", "OTHER", "TRY_LATER", "USAGE", "exit_code", "explain"]

OTHER = 1
USAGE = 2
LOG_IN = 4
TRY_LATER = 75  # EX_TEMPFAIL of sysexits.h
INTERRUPTED = 130


def exit_code(error: errors.OnerefreshError) -> int:
    """The exit code for an error that ends a command."""
    match error:
        case errors.ConfigurationError():
            return USAGE
        case errors.LoginRequired() | errors.InteractionRequired():
            return LOG_IN
        case errors.RefreshUnavailable() | errors.RefreshOutcomeUnknown() | errors.WaitTimeout():
            return TRY_LATER
        case _:
            return OTHER


def explain(error: errors.OnerefreshError, *, fetches: bool = False) -> str:
    """One line: what is wrong, and what to do about it where the error's own message does not say that.

    `fetches`: for this credential, ``onerefresh login`` fetches a token itself.
    """
    message = for_command(" ".join(str(error).split()), error.credential)
    advice = _advice(error, fetches=fetches)
    return f"{message}; {advice}" if advice else message


def _advice(error: errors.OnerefreshError, *, fetches: bool) -> str:
    name = shlex.quote(error.credential or "NAME")
    match error:
        case errors.LoginRequired() if fetches:
            return f"run: onerefresh login {name}"
        case errors.LoginRequired(proven=False):
            return f"pipe a new token response into: onerefresh login {name} --with-token; or: onerefresh retry {name}"
        case errors.LoginRequired():
            return f"pipe a new token response into: onerefresh login {name} --with-token"
        case errors.InteractionRequired():
            return f"log in as the server demands, then: onerefresh login {name} --with-token"
        case errors.RefreshUnavailable(retry_after=seconds) if seconds:
            return f"try again in {seconds:.0f} s" if seconds >= 1 else "try again in a second"
        case errors.RefreshOutcomeUnknown():
            return f"onerefresh status {name} shows when it is sent again; to send it now: onerefresh retry {name}"
        case errors.RefreshUnavailable():
            return "try again later"
        case errors.WaitTimeout():
            return "try again, or set a longer max_wait for this credential"
        case errors.ClientRejected() | errors.RequestRejected():
            return "correct the configuration file"
        case errors.RefreshProtocolError() if "another account" in error.message:
            return f"or log in again: onerefresh login {name} --with-token"
        case errors.RefreshProtocolError() if "name its place" in error.message:
            return ""
        case errors.RefreshProtocolError():
            return "this is a fault of the server: report it to its operator"
        case errors.RefresherFailed():
            return "correct the refresher; use --debug to see where it failed"
        case _:
            return ""
