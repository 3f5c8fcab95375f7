"""How somebody becomes a person of a hub: by an invitation, or as its first administrator.

A code works once, and only its hash is kept.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass

from atoll.hub import codes
from atoll.hub.parts import Rooms
from atoll.hub.people.logins import LoginService, Tokens
from atoll.hub.people.service import ADMINISTRATOR, PeopleService
from atoll.hub.principal import Principal
from atoll.model.errors import Malformed, NotAllowed, NotThere
from atoll.model.people import Invitation, User, check_shown
from atoll.model.scopes import ROLES, Whose
from atoll.stores.sql import logins, people

DAYS_MAX = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Newcomer:
    """What somebody wants to be known by."""

    username: str
    password: str
    #: What is shown; empty: the username.
    name: str = ""
    #: Where he comes from, and what with.
    address: str
    agent: str


class InvitationService:
    """Invites people.

    Args:
        rooms: the hub's.
    """

    def __init__(self, rooms: Rooms, /) -> None:
        self._database = rooms.parts.database
        self._now = rooms.parts.now
        self._people = rooms.of(PeopleService)
        self._logins = rooms.of(LoginService)

    async def invite(
        self, who: Principal, *, organization: str, roles: Sequence[str], name: str, days: int
    ) -> tuple[Invitation, str]:
        """A new invitation, and the code that is shown once."""
        if not 1 <= days <= DAYS_MAX:
            raise Malformed(f"an invitation is good for 1 to {DAYS_MAX} days, not for {days}")
        await self._people.may_add(who, organization, roles)
        now, code = self._now(), codes.new_secret(codes.INVITATION)
        invitation = Invitation(
            id=codes.new_id("inv"),
            organization_id=organization,
            roles=tuple(dict.fromkeys(roles)),
            name=check_shown(name, "who is invited") if name else "",
            invited_by=who.id,
            created_at=now,
            expires_at=now + days * 86_400,
        )
        async with self._database.writing() as connection:
            await logins.add_invitation(connection, invitation, codes.digest(code))
        return invitation, code

    async def open(self, who: Principal, after: str, limit: int) -> Sequence[Invitation]:
        """Open invitations that somebody may see."""
        sight = who.require_some("user", "view")
        async with self._database.reading() as connection:
            return await logins.list_invitations(connection, sight, self._now(), after, limit)

    async def withdraw(self, who: Principal, id_: str) -> None:
        """Withdraw an invitation."""
        who.require_some("user", "delete")
        async with self._database.writing() as connection:
            invitation = await logins.get_invitation(connection, id_)
            if invitation is None:
                raise NotThere(f"there is no invitation {id_}")
            whose = Whose(user=invitation.invited_by, organizations=frozenset({invitation.organization_id}))
            who.require("user", "delete", whose, f"invitation {id_}")
            await logins.delete_invitation(connection, id_)

    async def accept(self, code: str, newcomer: Newcomer) -> tuple[User, Tokens]:
        """Become a person of the organization that invited.

        Raises:
            NotAllowed: there is no such invitation, or it is open no longer.
            Malformed: the name or the password is not taken.
            Taken: somebody has this name.
        """
        async with self._database.writing() as connection:
            invitation = await logins.invitation_by_code(connection, codes.digest(code))
            if invitation is None or invitation.expires_at <= self._now():
                raise NotAllowed(
                    "there is no open invitation with this code: ask who invited you for another"
                )
            made = await people.get_roles(
                connection, [role for role in invitation.roles if role not in ROLES]
            )
            # Those that were removed meanwhile are none.
            roles = [role for role in invitation.roles if role in ROLES or role in made]
            if not await self._people.may_still_give(connection, invitation.invited_by, roles):
                raise NotAllowed(
                    "who sent this invitation may not give any more what it gives: ask for another"
                )
            user = await self._people.new_user(
                organization=invitation.organization_id,
                username=newcomer.username,
                name=newcomer.name,
                password=newcomer.password,
                roles=roles,
                within=connection,
            )
            await logins.delete_invitation(connection, invitation.id)
            tokens = await self._logins.begin(
                connection, user.id, address=newcomer.address, agent=newcomer.agent
            )
        return user, tokens

    async def setup_code(self, *, anew: bool = False) -> str | None:
        """The code of the first administrator, made where there is nobody yet.

        Args:
            anew: whether one that was made before is replaced.

        Returns:
            The code, which is shown once; None where there is somebody, or one was made before.
        """
        async with self._database.writing() as connection:
            if await people.count_users(connection):
                return None
            if await logins.get_setup(connection) is not None and not anew:
                return None
            code = codes.new_secret(codes.SETUP)
            await logins.set_setup(connection, codes.digest(code), self._now())
        return code

    async def set_up(self, code: str, organization: str, newcomer: Newcomer) -> tuple[User, Tokens]:
        """Become the first administrator.

        Raises:
            NotAllowed: the code is wrong, or the hub is set up already.
            Malformed: a name or the password is not taken.
        """
        async with self._database.writing() as connection:
            kept = await logins.get_setup(connection)
            if kept is None or not hmac.compare_digest(kept, codes.digest(code)):
                raise NotAllowed(
                    "this is not the set-up code of this hub, or it is set up already: the code stands where the hub "
                    "was started first; 'atoll hub setup-code' makes another"
                )
            made = await self._people.new_organization(connection, organization)
            user = await self._people.new_user(
                organization=made.id,
                username=newcomer.username,
                name=newcomer.name,
                password=newcomer.password,
                roles=[ADMINISTRATOR],
                within=connection,
            )
            await logins.set_setup(connection, None, self._now())
            tokens = await self._logins.begin(
                connection, user.id, address=newcomer.address, agent=newcomer.agent
            )
        return user, tokens
