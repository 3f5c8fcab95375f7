"""How a person comes in, and goes out: passwords, logins, tokens.

A login has a chain of refresh tokens, each of which works once. One that comes a second time was
copied by somebody, and nobody knows which of the two is the person: the whole login ends.
"""

from __future__ import annotations

from dataclasses import dataclass

from argon2 import PasswordHasher

from atoll.hub import codes
from atoll.hub.parts import Rooms
from atoll.hub.people.passwords import Passwords, check
from atoll.hub.principal import Authenticator, Principal
from atoll.hub.rates import Buckets
from atoll.model.errors import Malformed, NotAllowed, NotLoggedIn, NotThere, QuotaReached, TooMany
from atoll.model.people import Login, PersonalToken, check_shown, key_of
from atoll.model.scopes import missing, parse
from atoll.stores.sql import logins, people
from atoll.stores.sql.database import Connection

ACCESS_SECONDS = 15 * 60.0
REFRESH_SECONDS = 30 * 86_400.0
#: Days that a personal token may be good for.
TOKEN_DAYS_MAX = 366
#: Personal tokens that one person may have.
TOKENS_MAX = 100
#: Wrong passwords before there is a pause: for one name, and from one address, where many people sit.
_FREE_FAILURES = {"name": 5, "address": 50}
#: The first pause; each further failure doubles it, up to the longest.
_PAUSE_SECONDS = 2.0
_PAUSE_SECONDS_MAX = 900.0
#: After which failures are forgotten.
_FAILURES_SECONDS = 86_400.0
#: Characters that are kept of what a browser says that it is.
_AGENT_LENGTH_MAX = 200

#: How hard passwords are hashed: RFC 9106's second recommendation, as the library has it.
HASHER = PasswordHasher()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """What a person shows from now on."""

    login: str
    access_token: str
    #: When the access token ends.
    expires_at: float
    refresh_token: str


class LoginService:
    """Lets people in.

    Args:
        rooms: the hub's.
    """

    def __init__(self, rooms: Rooms, /) -> None:
        parts = rooms.parts
        self._database = parts.database
        self._now = parts.now
        self._authenticator = rooms.of(Authenticator)
        self.passwords = Passwords(HASHER)
        rate = parts.settings.login_rate
        self._rate = Buckets(rate / 60, max(rate / 3, 1), parts.now, "logins from one address")

    async def login(self, username: str, password: str, *, address: str, agent: str) -> Tokens:
        """Let a person in.

        Raises:
            NotLoggedIn: the name or the password is wrong, or the person is disabled.
            TooMany: it was wrong too often.
        """
        self._rate.take(address)
        subjects = (f"name:{codes.digest(key_of(username))}", f"address:{address}")
        await self._count(subjects)
        async with self._database.reading() as connection:
            found = await people.named_user(connection, username)
        user, kept = found or (None, None)
        right = await self.passwords.recognise(kept, password)
        if not right or user is None or kept is None or user.disabled:
            raise NotLoggedIn("the username or the password is wrong")
        renewed = await self.passwords.hash(password) if self.passwords.is_outdated(kept) else None
        async with self._database.writing() as connection:
            if renewed is not None:
                await people.set_password(connection, user.id, renewed)
            await self._uncount(connection, subjects)
            return await self.begin(connection, user.id, address=address, agent=agent)

    async def begin(self, connection: Connection, user_id: str, *, address: str, agent: str) -> Tokens:
        """Begin a login of a person who has shown who he is."""
        now = self._now()
        login = Login(
            id=codes.new_id("log"),
            user_id=user_id,
            created_at=now,
            last_used_at=now,
            expires_at=now + REFRESH_SECONDS,
            address=address,
            agent="".join(letter for letter in agent if letter.isprintable())[:_AGENT_LENGTH_MAX],
        )
        await logins.prune(connection, now)
        await logins.add_login(connection, login)
        return await self._tokens(connection, login.id)

    async def refresh(self, token: str) -> Tokens:
        """The next tokens of a login.

        Raises:
            NotLoggedIn: the token is none, has expired, or was used before; then its login has ended.
        """
        now, digest = self._now(), codes.digest(token)
        async with self._database.writing() as connection:
            found = await logins.get_refresh(connection, digest)
            if found is None or found[1] <= now or found[4]:
                raise NotLoggedIn("nobody is known by this refresh token: log in again")
            login_id, _, used_at, user_id, _ = found
            if used_at is None:
                until = now + REFRESH_SECONDS
                await logins.use_refresh(connection, digest, login_id, now=now, until=until)
                return await self._tokens(connection, login_id)
        async with self._authenticator.changing() as connection:
            await logins.end_login(connection, user_id, login_id)
        raise NotLoggedIn(
            "this refresh token was used before, so somebody has a copy of it: its login has ended; log in again"
        )

    async def set_password(self, who: Principal, current: str, new: str, *, address: str) -> None:
        """Give a person another password, and end his other logins.

        Raises:
            NotLoggedIn: the current password is wrong.
            Malformed: the new one is not taken.
        """
        subjects = (f"name:{codes.digest(key_of(who.name))}", f"address:{address}")
        await self._count(subjects)
        async with self._database.reading() as connection:
            kept = await people.password_of(connection, who.id)
        if not await self.passwords.recognise(kept, current):
            raise NotLoggedIn("the current password is wrong")
        check(new, who.name)
        fresh = await self.passwords.hash(new)
        async with self._authenticator.changing() as connection:
            await people.set_password(connection, who.id, fresh)
            await logins.end_logins(connection, who.id, kept=who.login_id or "")
            await self._uncount(connection, subjects)

    async def replace_password(self, username: str, new: str) -> None:
        """Give a person another password without the old one, and end all that he is known by.

        Raises:
            NotThere: nobody has this name.
            Malformed: the password is not taken.
        """
        async with self._database.reading() as connection:
            found = await people.named_user(connection, username)
        if found is None:
            raise NotThere(f"there is nobody named {username!r}")
        user = found[0]
        check(new, user.username)
        fresh = await self.passwords.hash(new)
        async with self._authenticator.changing() as connection:
            await people.set_password(connection, user.id, fresh)
            await logins.end_logins(connection, user.id)
            for token in await logins.list_tokens(connection, user.id):
                await logins.end_token(connection, user.id, token.id)
            await self._uncount(connection, (f"name:{codes.digest(key_of(username))}",))

    async def logins(self, user_id: str) -> list[Login]:
        """A person's logins, the newest first."""
        async with self._database.reading() as connection:
            return await logins.list_logins(connection, user_id, self._now())

    async def end(self, user_id: str, login_id: str) -> None:
        """End a login of a person.

        Raises:
            NotThere: he has no such login.
        """
        async with self._authenticator.changing() as connection:
            ended = await logins.end_login(connection, user_id, login_id)
        if not ended:
            raise NotThere(f"there is no login {login_id}")

    async def tokens(self, user_id: str) -> list[PersonalToken]:
        """A person's personal tokens, the newest first."""
        async with self._database.reading() as connection:
            return await logins.list_tokens(connection, user_id)

    async def make_token(
        self, who: Principal, name: str, scopes: list[str], days: int
    ) -> tuple[PersonalToken, str]:
        """A new personal token, and the secret that is shown once.

        Raises:
            Malformed: there is no such scope, or the token would be good for too long.
            NotAllowed: the person doesn't have one of the scopes himself.
            QuotaReached: he has too many tokens.
        """
        if not 1 <= days <= TOKEN_DAYS_MAX:
            raise Malformed(f"a token is good for 1 to {TOKEN_DAYS_MAX} days, not for {days}")
        wanted = list(dict.fromkeys(map(parse, scopes)))
        lacking = missing(who.grants, wanted)
        if lacking:
            raise NotAllowed(
                f"{who.name} can't give away what he does not have: {', '.join(map(str, lacking))}"
            )
        now, secret = self._now(), codes.new_secret(codes.PERSONAL)
        token = PersonalToken(
            id=codes.new_id("tok"),
            user_id=who.id,
            name=check_shown(name, "a token"),
            scopes=tuple(map(str, wanted)),
            created_at=now,
            expires_at=now + days * 86_400,
            last_used_at=None,
        )
        async with self._database.writing() as connection:
            if await logins.count_tokens(connection, who.id) >= TOKENS_MAX:
                raise QuotaReached(f"{who.name} has {TOKENS_MAX} tokens already: remove one")
            await logins.add_token(connection, token, codes.digest(secret))
        return token, secret

    async def end_token(self, user_id: str, token_id: str) -> None:
        """End a personal token of a person.

        Raises:
            NotThere: he has no such token.
        """
        async with self._authenticator.changing() as connection:
            ended = await logins.end_token(connection, user_id, token_id)
        if not ended:
            raise NotThere(f"there is no token {token_id}")

    async def _tokens(self, connection: Connection, login_id: str) -> Tokens:
        now = self._now()
        access, refresh = codes.new_secret(codes.ACCESS), codes.new_secret(codes.REFRESH)
        await logins.add_tokens(
            connection,
            login_id,
            access=(codes.digest(access), now + ACCESS_SECONDS),
            refresh=(codes.digest(refresh), now + REFRESH_SECONDS),
        )
        return Tokens(
            login=login_id, access_token=access, expires_at=now + ACCESS_SECONDS, refresh_token=refresh
        )

    async def _count(self, subjects: tuple[str, ...]) -> None:
        """Count a try before it is made: a thousand at the same time count as a thousand.

        Raises:
            TooMany: there were too many.
        """
        now = self._now()
        async with self._database.writing() as connection:
            kept = await logins.get_failures(connection, subjects, now)
            pause = max((until for _, _, until in kept.values()), default=0.0) - now
            if pause <= 0:
                counted = {subject: _failed(subject, before, now) for subject, before in kept.items()}
                await logins.set_failures(connection, counted)
        if pause > 0:
            raise TooMany(f"too many wrong passwords: try again in {pause:.0f} seconds", seconds=pause)

    async def _uncount(self, connection: Connection, subjects: tuple[str, ...]) -> None:
        """Forget a name's failures, and take back the try from the address: others sit there too."""
        now = self._now()
        kept = await logins.get_failures(connection, subjects, now)
        left = {
            subject: (0 if subject.startswith("name:") else max(failures - 1, 0), last_at, 0.0)
            for subject, (failures, last_at, _) in kept.items()
        }
        await logins.set_failures(connection, left)
        await logins.prune_failures(connection, now - _FAILURES_SECONDS)


def _failed(subject: str, kept: tuple[int, float, float], now: float) -> tuple[int, float, float]:
    """What is kept of a subject after another failure."""
    before, last_at, _ = kept
    failures = 1 if now - last_at > _FAILURES_SECONDS else before + 1
    over = failures - _FREE_FAILURES[subject.partition(":")[0]]
    if over < 0:
        return failures, now, 0.0
    # 2, 4, 8 … seconds, and at most a quarter of an hour: who guesses gets a hundred tries a day.
    return failures, now, now + min(_PAUSE_SECONDS * 2 ** min(over, 20), _PAUSE_SECONDS_MAX)
