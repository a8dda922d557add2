"""What a caller may do: three roles, each with all the rights of those below it, and the check before a route.

A route that needs more than a user names it by `requires`, and declares 403 among its `responses`; a test walks
all routes for the two. Only who is known has a role, so nobody is told 403 in the place of 401.
"""

from enum import IntEnum
from typing import Annotated, Any

from fastapi import Depends, Request

from app.accounts.identity import CurrentUserId
from app.errors import Forbidden


class Role(IntEnum):
    """In rising order. An operator sees how the server works, an admin changes it; neither sees others' items."""

    USER = 1
    OPERATOR = 2
    ADMIN = 3

    @classmethod
    def named(cls, name: str) -> "Role":
        """By the word in settings and on the wire."""
        return cls[name.upper()]

    @property
    def word(self) -> str:
        return self.name.lower()


async def _current_role(request: Request, _user_id: CurrentUserId) -> Role:
    """Whoever is known by the development header has the role of the settings, and nobody else is known yet."""
    role: Role = request.app.state.dev_role
    return role


CurrentRole = Annotated[Role, Depends(_current_role)]


def requires(least: Role) -> Any:  # noqa: ANN401 - as fastapi's own Depends
    """For a route's or a router's `dependencies`: 403 FORBIDDEN below this role."""
    return Depends(_checks[least])


class _RoleCheck:
    """The dependency."""

    def __init__(self, least: Role) -> None:
        self.least = least

    async def __call__(self, role: CurrentRole) -> None:
        if role < self.least:
            raise Forbidden(f"This needs the role {self.least.word}.")


# One for each role, so that a request which meets it twice is asked once.
_checks = {role: _RoleCheck(role) for role in Role}
