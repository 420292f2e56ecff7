"""Why a request is not answered, in the shape of OpenAI's errors."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

_KINDS = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}


class ErrorDetails(BaseModel):
    """What was wrong."""

    message: str
    type: str
    param: str | None
    """The parameter it is about."""
    code: str | None
    """A word for programs to tell one error from another."""


class ErrorBody(BaseModel):
    """The body of every answer that is an error."""

    error: ErrorDetails


class Refused(Exception):
    """A request that is not answered.

    Attributes:
        status: HTTP status.
        headers: more headers of the answer.
    """

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None, **headers: str
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self._param = param
        self._code = code

    @property
    def body(self) -> dict[str, Any]:
        """The error as JSON."""
        kind = _KINDS.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        return {"error": {"message": str(self), "type": kind, "param": self._param, "code": self._code}}
