"""Organizations, the people in them, and roles.

Nobody gives away what he doesn't have, and nobody changes somebody who may more than himself: else
an administrator of one organization could become that of the hub.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from atoll.hub import codes
from atoll.hub.parts import Rooms
from atoll.hub.people.logins import LoginService
from atoll.hub.people.passwords import check
from atoll.hub.principal import Authenticator, Principal
from atoll.model.errors import Malformed, NotAllowed, NotThere, Taken
from atoll.model.people import Organization, Role, User, check_name, check_shown
from atoll.model.scopes import ROLES, Scope, Whose, grants, known_scopes, missing, parse
from atoll.stores.sql import logins, people
from atoll.stores.sql.database import Connection

#: The role without which nobody could mend anything.
ADMINISTRATOR = "administrator"
#: Roles that one person may have.
_ROLES_MAX = 50


def built_in(id_: str) -> Role:
    """A role that every hub has."""
    return Role(
        id=id_,
        organization_id=None,
        name=id_.replace("-", " "),
        scopes=tuple(sorted(map(str, ROLES[id_]))),
        created_at=None,
    )


def refuse_more(who: Principal, scopes: Iterable[Scope], what: str) -> None:
    """Refuse what somebody can't give away or change, since he doesn't have it himself.

    Raises:
        NotAllowed: one of the scopes is not his.
    """
    lacking = missing(who.grants, scopes)
    if lacking:
        some = ", ".join(str(scope) for scope in lacking[:3])
        raise NotAllowed(
            f"{what} takes scopes that {who.name} does not have: {some}{' …' if lacking[3:] else ''}"
        )


class PeopleService:
    """Organizations, people and roles.

    Args:
        rooms: the hub's.
    """

    def __init__(self, rooms: Rooms, /) -> None:
        self._database = rooms.parts.database
        self._now = rooms.parts.now
        self._authenticator = rooms.of(Authenticator)
        self._logins = rooms.of(LoginService)

    # --- Organizations --------------------------------------------------------------------------

    async def organizations(self, who: Principal, after: str, limit: int) -> Sequence[Organization]:
        """Organizations that somebody may see, by name."""
        sight = who.require_some("organization", "view")
        async with self._database.reading() as connection:
            return await people.list_organizations(connection, sight, after, limit)

    async def organization(self, who: Principal, id_: str, operation: str = "view") -> Organization:
        """An organization that somebody may do this to."""
        who.require_some("organization", operation)
        async with self._database.reading() as connection:
            found = await people.get_organization(connection, id_)
        if found is None:
            raise NotThere(f"there is no organization {id_}")
        who.require("organization", operation, Whose(organizations=frozenset({id_})), f"organization {id_}")
        return found

    async def add_organization(self, who: Principal, name: str) -> Organization:
        """Add an organization."""
        who.require_some("organization", "create")
        async with self._database.writing() as connection:
            return await self.new_organization(connection, name)

    async def new_organization(self, connection: Connection, name: str) -> Organization:
        """Add an organization, whoever wants it."""
        check_shown(name, "an organization")
        if await people.named_organization(connection, name) is not None:
            raise Taken(f"there is an organization named {name!r} already")
        organization = Organization(id=codes.new_id("org"), name=name, created_at=self._now())
        await people.add_organization(connection, organization)
        return organization

    async def rename_organization(self, who: Principal, id_: str, name: str) -> Organization:
        """Give an organization another name."""
        found = await self.organization(who, id_, "edit")
        check_shown(name, "an organization")
        async with self._database.writing() as connection:
            other = await people.named_organization(connection, name)
            if other is not None and other.id != id_:
                raise Taken(f"there is an organization named {name!r} already")
            await people.rename_organization(connection, id_, name)
        return replace(found, name=name)

    async def delete_organization(self, who: Principal, id_: str) -> None:
        """Remove an organization that nothing depends on."""
        await self.organization(who, id_, "delete")
        async with self._authenticator.changing() as connection:
            depending = await people.depending(connection, id_)
            if depending:
                raise Taken(f"organization {id_} still has {', '.join(depending)}: remove these first")
            await people.delete_organization(connection, id_)

    # --- People ---------------------------------------------------------------------------------

    async def users(self, who: Principal, organization: str, after: str, limit: int) -> Sequence[User]:
        """People whom somebody may see, of one organization or of all."""
        sight = who.require_some("user", "view")
        async with self._database.reading() as connection:
            return await people.list_users(connection, sight, organization, after, limit)

    async def user(self, who: Principal, id_: str, operation: str = "view") -> User:
        """A person whom somebody may do this to."""
        async with self._database.reading() as connection:
            return await self._user(connection, who, id_, operation)

    async def me(self, who: Principal) -> tuple[User, Organization]:
        """Who asks, and his organization."""
        async with self._database.reading() as connection:
            user = await people.get_user(connection, who.id)
            organization = await people.get_organization(connection, who.organization_id)
        assert user is not None
        assert organization is not None
        return user, organization

    async def add_user(
        self,
        who: Principal,
        *,
        organization: str,
        username: str,
        name: str,
        password: str,
        roles: Sequence[str],
    ) -> User:
        """Add a person."""
        await self.may_add(who, organization, roles)
        return await self.new_user(
            organization=organization, username=username, name=name, password=password, roles=roles
        )

    async def may_add(self, who: Principal, organization: str, roles: Sequence[str]) -> None:
        """Refuse who may not add a person with these roles to an organization."""
        who.require_some("user", "create")
        async with self._database.reading() as connection:
            found = await people.get_organization(connection, organization)
            if found is None:
                raise NotThere(f"there is no organization {organization}")
            whose = Whose(organizations=frozenset({organization}))
            if not who.allows("user", "create", whose):
                who.require("organization", "view", whose, f"organization {organization}")
                raise NotAllowed(f"{who.name} may not add people to organization {organization}")
            await self._may_give(connection, who, organization, roles)

    async def may_still_give(self, connection: Connection, user_id: str, roles: Sequence[str]) -> bool:
        """Whether somebody who has invited with these roles still may: he may have less than he had."""
        giver = await people.get_user(connection, user_id)
        if giver is None or giver.disabled:
            return False
        held = grants(await self._scopes_of(connection, giver.roles))
        return "user:create" in held and not missing(held, await self._scopes_of(connection, roles))

    async def new_user(
        self,
        *,
        organization: str,
        username: str,
        name: str,
        password: str,
        roles: Sequence[str],
        within: Connection | None = None,
    ) -> User:
        """Add a person, whoever wants it.

        Args:
            organization: the id of his organization.
            username: what he types at a login.
            name: what is shown; empty: the username.
            password: his first.
            roles: the ids of his roles.
            within: a transaction that has begun already.
        """
        check_name(username, "somebody who logs in")
        check_shown(name or username, "a person")
        check(password, username)
        kept = await self._logins.passwords.hash(password)
        user = User(
            id=codes.new_id("usr"),
            organization_id=organization,
            username=username,
            name=name or username,
            disabled=False,
            created_at=self._now(),
            roles=tuple(dict.fromkeys(roles)),
        )
        if within is not None:
            await self._add(within, user, kept)
            return user
        async with self._database.writing() as connection:
            await self._add(connection, user, kept)
        return user

    async def _add(self, connection: Connection, user: User, password_hash: str) -> None:
        if await people.named_user(connection, user.username) is not None:
            raise Taken(f"somebody is named {user.username!r} already: take another username")
        await people.add_user(connection, user, password_hash)

    async def change_user(
        self,
        who: Principal,
        id_: str,
        *,
        name: str | None = None,
        disabled: bool | None = None,
        roles: Sequence[str] | None = None,
    ) -> User:
        """Change a person; what is None stays."""
        async with self._authenticator.changing() as connection:
            user = await self._user(connection, who, id_, "edit")
            changed = replace(
                user,
                name=user.name if name is None else check_shown(name, "a person"),
                disabled=user.disabled if disabled is None else disabled,
                roles=user.roles if roles is None else tuple(dict.fromkeys(roles)),
            )
            await self._refuse_above(connection, who, user)
            if roles is not None:
                added = [role for role in changed.roles if role not in user.roles]
                await self._may_give(connection, who, user.organization_id, added)
            await people.change_user(connection, id_, name=changed.name, disabled=changed.disabled)
            await people.set_roles(connection, id_, changed.roles)
            if changed.disabled:
                await logins.end_logins(connection, id_)
                await people.withdraw_invitations(connection, id_)
            await self._refuse_orphans(connection, user)
        return changed

    async def delete_user(self, who: Principal, id_: str) -> None:
        """Remove a person. His runs stay."""
        async with self._authenticator.changing() as connection:
            user = await self._user(connection, who, id_, "delete")
            await self._refuse_above(connection, who, user)
            await people.delete_user(connection, id_)
            await self._refuse_orphans(connection, user)

    async def end_logins(self, who: Principal, id_: str) -> None:
        """End all logins and personal tokens of a person."""
        async with self._authenticator.changing() as connection:
            user = await self._user(connection, who, id_, "edit")
            await self._refuse_above(connection, who, user)
            await logins.end_logins(connection, id_)
            for token in await logins.list_tokens(connection, id_):
                await logins.end_token(connection, id_, token.id)

    async def _user(self, connection: Connection, who: Principal, id_: str, operation: str) -> User:
        who.require_some("user", operation)
        user = await people.get_user(connection, id_)
        if user is None:
            raise NotThere(f"there is no person {id_}")
        whose = Whose(user=id_, organizations=frozenset({user.organization_id}))
        who.require("user", operation, whose, f"person {id_}")
        return user

    async def _refuse_above(self, connection: Connection, who: Principal, user: User) -> None:
        if user.id != who.id:
            held = await self._scopes_of(connection, user.roles)
            refuse_more(who, held, f"to change {user.username}")

    async def _refuse_orphans(self, connection: Connection, user: User) -> None:
        if ADMINISTRATOR in user.roles and not await people.count_holders(
            connection, ADMINISTRATOR, also_disabled=False
        ):
            raise Taken(f"{user.username} is the last administrator: make another one first")

    # --- Roles ----------------------------------------------------------------------------------

    async def roles(self, who: Principal, after: tuple[str, str], limit: int) -> Sequence[Role]:
        """Roles that people made: of the hub, and those that somebody may see."""
        sight = who.require_some("role", "view")
        async with self._database.reading() as connection:
            return await people.list_roles(connection, sight, after, limit)

    async def role(self, who: Principal, id_: str, operation: str = "view") -> Role:
        """A role that somebody may do this to."""
        async with self._database.reading() as connection:
            return await self._role(connection, who, id_, operation)

    async def add_role(
        self, who: Principal, *, organization: str | None, name: str, scopes: Sequence[str]
    ) -> Role:
        """Make a role, of one organization or of the hub."""
        who.require_some("role", "create")
        wanted = _scopes(scopes)
        async with self._database.writing() as connection:
            if organization is not None and await people.get_organization(connection, organization) is None:
                raise NotThere(f"there is no organization {organization}")
            if not who.allows("role", "create", _of(organization)):
                if organization is not None:
                    who.require("organization", "view", _of(organization), f"organization {organization}")
                raise NotAllowed(f"{who.name} may not make roles of {organization or 'the hub'}")
            refuse_more(who, wanted, "to give these away")
            role = Role(
                id=codes.new_id("rol"),
                organization_id=organization,
                name=check_shown(name, "a role"),
                scopes=tuple(map(str, wanted)),
                created_at=self._now(),
            )
            await self._refuse_same(connection, role)
            await people.add_role(connection, role)
        return role

    async def change_role(
        self, who: Principal, id_: str, *, name: str | None, scopes: Sequence[str] | None
    ) -> Role:
        """Change a role; what is None stays."""
        async with self._authenticator.changing() as connection:
            role = await self._role(connection, who, id_, "edit")
            # Who takes a scope from others must have it as well: else he could disarm who is above him.
            refuse_more(who, known_scopes(role.scopes), f"to change role {id_}")
            if scopes is not None:
                wanted = _scopes(scopes)
                refuse_more(who, wanted, "to give these away")
                role = replace(role, scopes=tuple(map(str, wanted)))
            if name is not None:
                role = replace(role, name=check_shown(name, "a role"))
                await self._refuse_same(connection, role)
            await people.change_role(connection, role)
        return role

    async def delete_role(self, who: Principal, id_: str) -> None:
        """Remove a role that nobody has."""
        async with self._authenticator.changing() as connection:
            role = await self._role(connection, who, id_, "delete")
            refuse_more(who, known_scopes(role.scopes), f"to remove role {id_}")
            holders = await people.count_holders(connection, id_, also_disabled=True)
            if holders:
                raise Taken(f"role {id_} is that of {holders} people: give them others first")
            await people.delete_role(connection, id_)

    async def _role(self, connection: Connection, who: Principal, id_: str, operation: str) -> Role:
        who.require_some("role", operation)
        if id_ in ROLES:
            if operation != "view":
                raise Taken(f"every hub has the role {id_}, as it is: make another one beside it")
            return built_in(id_)
        role = (await people.get_roles(connection, [id_])).get(id_)
        if role is None:
            raise NotThere(f"there is no role {id_}")
        if role.organization_id is None and operation == "view":
            return role
        if not who.allows("role", operation, _of(role.organization_id)) and role.organization_id is None:
            raise NotAllowed(f"{who.name} may not {operation} roles of the hub: role:{operation}:global may")
        who.require("role", operation, _of(role.organization_id), f"role {id_}")
        return role

    async def _refuse_same(self, connection: Connection, role: Role) -> None:
        same = await people.same_role(connection, role.organization_id, role.name)
        if same not in (None, role.id):
            raise Taken(f"there is a role named {role.name!r} already: {same}")

    async def _scopes_of(self, connection: Connection, roles: Sequence[str]) -> list[Scope]:
        made = await people.get_roles(connection, [role for role in roles if role not in ROLES])
        return [
            *(scope for role in roles for scope in ROLES.get(role, ())),
            *(scope for role in made.values() for scope in known_scopes(role.scopes)),
        ]

    async def _may_give(
        self, connection: Connection, who: Principal, organization: str, roles: Sequence[str]
    ) -> None:
        """Refuse roles that are not there, are another organization's, or hold what one doesn't have."""
        if len(roles) > _ROLES_MAX:
            raise Malformed(f"a person has at most {_ROLES_MAX} roles")
        made = await people.get_roles(connection, [role for role in roles if role not in ROLES])
        for role in roles:
            there = role in ROLES or (role in made and made[role].organization_id in (None, organization))
            if not there:
                raise NotThere(f"there is no role {role} for people of organization {organization}")
        refuse_more(who, await self._scopes_of(connection, roles), "to give these roles")


def _of(organization: str | None) -> Whose:
    """Whose a role is. One of the hub is nobody's: only global reach covers it."""
    return Whose(organizations=frozenset({organization} if organization is not None else ()))


def _scopes(texts: Sequence[str]) -> list[Scope]:
    return sorted(dict.fromkeys(map(parse, texts)))
