"""A registry of images over HTTP, as far as Atoll asks itself: for signatures, and whether an image is there.

Images themselves are the engine's to pull. A registry is told the name and the password only when it
asks for them, and over an encrypted connection, unless the site says that it has none. Neither they
nor a token that was given for them ever stand in a log or in an error.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import re
import ssl
import stat
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.request import getproxies, proxy_bypass

import aiohttp
from yarl import URL

from atoll import __version__
from atoll.engine.limits import (
    LISTED_IMAGES_MAX,
    REGISTRY_ANSWER_BYTES_MAX,
    REGISTRY_REDIRECTS_MAX,
    REGISTRY_SECONDS_MAX,
    SIGNATURES_MAX,
    VOLUMES_MAX,
)
from atoll.model.errors import BlobMismatch, RuntimeUnavailable
from atoll.runtimes.containers.reference import Reference
from atoll.runtimes.containers.settings import Registry
from atoll.runtimes.containers.signatures import Signed, decoded
from atoll.runtimes.containers.sources import Sources

#: Where Docker's own registry answers.
_ANSWERS_AT = {"docker.io": "registry-1.docker.io"}
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_MANIFEST_TOO = "application/vnd.docker.distribution.manifest.v2+json"
_LIST = "application/vnd.oci.image.index.v1+json"
_LIST_TOO = "application/vnd.docker.distribution.manifest.list.v2+json"
_ANY_IMAGE = {"Accept": f"{_MANIFEST}, {_MANIFEST_TOO}, {_LIST}, {_LIST_TOO}"}
_CONFIG = "application/vnd.oci.image.config.v1+json"
#: What cosign calls a signed document, and where its signature stands.
_PAYLOAD = "application/vnd.dev.cosign.simplesigning.v1+json"
_SIGNATURE = "dev.cosignproject.cosign/signature"
#: A part of what a registry asks for: ``realm="https://…"``.
_ASKED = re.compile(r'(\w+)="([^"]*)"')
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
#: More than a password ever has.
_PASSWORD_BYTES_MAX = 64 * 1024


#: Answers that say where else something is.
_ELSEWHERE = (301, 302, 303, 307, 308)


def read_password(path: Path) -> str:
    """A password, from a file that only its owner can read.

    Raises:
        RuntimeUnavailable: it can't be read, or others can, too. Never with what is in it.
    """
    try:
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(_PASSWORD_BYTES_MAX) if stat.S_ISREG(mode) else b""
    except OSError as error:
        raise RuntimeUnavailable(
            f"the file {path} can't be read ({error.strerror}): expected a password in it"
        ) from None
    if mode & 0o077:
        raise RuntimeUnavailable(f"the file {path} can be read by others than its owner: chmod 600 {path}")
    try:
        password = content.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        password = ""
    if not password:
        raise RuntimeUnavailable(f"the file {path} holds no password: expected one in it")
    return password


class Repository:
    """One repository of a registry. Close it, or use it as a context.

    Args:
        reference: its name.
        registry: how the site speaks to its registry.
        proxy: the way there; None for what the environment says.
        sources: what the site asks. None: this registry is meant, wherever it is.
    """

    def __init__(
        self,
        reference: Reference,
        registry: Registry,
        *,
        proxy: str | None = None,
        sources: Sources | None = None,
    ) -> None:
        self._sources = sources or Sources(named=[reference.host])
        self._host = reference.host
        self._name = reference.repository
        self._registry = registry
        scheme = "http" if registry.plain else "https"
        host = _ANSWERS_AT.get(reference.host, reference.host)
        self._root = URL(f"{scheme}://{host}/v2/{reference.path}/")
        self._proxy = proxy
        self._authorization: dict[str, str] = {}
        #: One for what is connected to from here, and one for what a proxy is asked for.
        self._sessions: dict[bool, aiohttp.ClientSession] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close its connections."""
        while self._sessions:
            _, session = self._sessions.popitem()
            await session.close()

    async def has(self, digest: str) -> bool:
        """Whether the registry gives an image of this repository to this site.

        Raises:
            RuntimeUnavailable: the registry doesn't answer, or refuses.
        """
        async with self._asked("HEAD", self._root / "manifests" / digest, headers=_ANY_IMAGE) as answer:
            if answer.status != 404:
                self._granted(answer)
            return answer.status != 404

    async def signatures_of(self, digest: str) -> list[Signed]:
        """The signatures that an image of this repository has there, true or false.

        Raises:
            RuntimeUnavailable: the registry doesn't answer, or refuses.
            BlobMismatch: it gives something else than what it has announced.
        """
        manifest = await self._manifest(_tag_of(digest))
        found = []
        for layer in _layers_of(manifest)[:SIGNATURES_MAX]:
            annotations, blob = layer.get("annotations"), layer.get("digest")
            text = annotations.get(_SIGNATURE) if isinstance(annotations, dict) else None
            signature = decoded(text) if isinstance(text, str) else None
            if signature is None or not isinstance(blob, str) or not _DIGEST.fullmatch(blob):
                continue
            found.append(Signed(payload=await self._blob(blob), signature=signature))
        return found

    async def volumes(self, digest: str) -> tuple[str, ...]:
        """The folders for which an image wants room of their own, for whatever kind of processor it is.

        Raises:
            RuntimeUnavailable: the registry doesn't answer, refuses, or says it of none that can be read.
            BlobMismatch: it gives something else than what was asked for.
        """
        manifest = await self._exactly(digest)
        listed = manifest.get("manifests")
        several = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
        if several:
            named = [str(each.get("digest")) for each in several if _is_for_linux(each)]
            if len(named) > LISTED_IMAGES_MAX:
                raise self._unreadable(digest)
            manifests = [await self._exactly(each) for each in named if _DIGEST.fullmatch(each)]
        else:
            manifests = [manifest]
        found: dict[str, None] = {}
        for each in manifests:
            described = each.get("config")
            config = str(described.get("digest")) if isinstance(described, dict) else ""
            document = _read_json(await self._blob(config)) if _DIGEST.fullmatch(config) else {}
            inner = document.get("config")
            volumes = (inner.get("Volumes") or {}) if isinstance(inner, dict) else None
            if not isinstance(volumes, dict) or len(volumes) > VOLUMES_MAX:
                raise self._unreadable(digest)
            found.update(dict.fromkeys(volumes))
        return tuple(found)

    def _unreadable(self, digest: str) -> RuntimeUnavailable:
        return RuntimeUnavailable(
            f"what the registry {self._host} says of {self._name} ({digest}) can't be read: expected an image, with "
            f"{VOLUMES_MAX} volumes at most"
        )

    async def pushed(self, tag: str, image_id: str) -> str | None:
        """The digest of what lies under a tag; None where that isn't the image with an engine's id.

        An engine may name another: one that it has worked out itself, of what nobody has pushed.

        Raises:
            RuntimeUnavailable: the registry doesn't answer, or refuses.
        """
        async with self._asked("GET", self._root / "manifests" / tag, headers=_ANY_IMAGE) as answer:
            if answer.status == 404:
                return None
            self._granted(answer)
            content = await self._read(answer)
        described = _read_json(content).get("config")
        is_it = isinstance(described, dict) and described.get("digest") == image_id
        return f"sha256:{hashlib.sha256(content).hexdigest()}" if is_it else None

    async def publish(self, digest: str, signed: Signed) -> None:
        """Bring a signature to the others that an image has there.

        Raises:
            RuntimeUnavailable: the registry doesn't answer, or refuses.
        """
        before = await self._manifest(_tag_of(digest))
        config = await self._bring(b"{}", _CONFIG)
        layer = await self._bring(signed.payload, _PAYLOAD)
        line = json.loads(signed.line())
        layer["annotations"] = {_SIGNATURE: line["signature"]}
        manifest = {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": before.get("config") or config,
            "layers": [*_layers_of(before), layer],
        }
        place = self._root / "manifests" / _tag_of(digest)
        await self._sent("PUT", place, json.dumps(manifest).encode(), {"Content-Type": _MANIFEST})

    async def _manifest(self, tag: str) -> dict[str, Any]:
        """What lies under a tag; nothing where there is no such tag."""
        accepted = {"Accept": f"{_MANIFEST}, {_MANIFEST_TOO}"}
        async with self._asked("GET", self._root / "manifests" / tag, headers=accepted) as answer:
            if answer.status == 404:
                return {}
            self._granted(answer)
            content = await self._read(answer)
        return _read_json(content)

    async def _exactly(self, digest: str) -> dict[str, Any]:
        """The manifest of a digest."""
        async with self._asked("GET", self._root / "manifests" / digest, headers=_ANY_IMAGE) as answer:
            self._granted(answer)
            content = await self._read(answer)
        self._compare(content, digest)
        return _read_json(content)

    async def _blob(self, digest: str) -> bytes:
        async with self._asked("GET", self._root / "blobs" / digest) as answer:
            self._granted(answer)
            content = await self._read(answer)
        self._compare(content, digest)
        return content

    def _compare(self, content: bytes, digest: str) -> None:
        if f"sha256:{hashlib.sha256(content).hexdigest()}" != digest:
            raise BlobMismatch(f"what the registry {self._host} gives as {digest} is something else")

    async def _bring(self, content: bytes, kind: str) -> dict[str, Any]:
        """Bring content there; what a manifest says of it."""
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        # The part of the path that says where to begin ends with a stroke.
        begin = URL(f"{self._root / 'blobs' / 'uploads'}/")
        place = begin.join(URL((await self._sent("POST", begin, b"", {})).get("Location", "")))
        self._sources.check_url(place, plain=self._registry.plain, sent_by=self._host)
        headers = {"Content-Type": "application/octet-stream"}
        await self._sent("PUT", place.update_query(digest=digest), content, headers)
        return {"mediaType": kind, "digest": digest, "size": len(content)}

    async def _sent(
        self, method: str, url: URL, body: bytes, headers: Mapping[str, str]
    ) -> Mapping[str, str]:
        async with self._asked(method, url, body=body, headers=headers) as answer:
            self._granted(answer)
            return answer.headers

    # --- How it is asked ----------------------------------------------------------------------

    @asynccontextmanager
    async def _asked(
        self, method: str, url: URL, *, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer to a question, which is put again with what the registry wants to know.

        Raises:
            JobRefused: the site asks this registry nothing.
            RuntimeUnavailable: it doesn't answer.
        """
        self._sources.check(self._host)
        try:
            async with asyncio.timeout(REGISTRY_SECONDS_MAX):
                answer = await self._ask(method, url, body, headers)
                challenge = answer.headers.get("WWW-Authenticate", "")
                if answer.status == 401 and challenge:
                    answer.release()
                    self._authorization = {"Authorization": await self._introduced(challenge, method)}
                    answer = await self._ask(method, url, body, headers)
                async with answer:
                    yield answer
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            # An error of the library may name an address with all that was asked.
            why = "it took too long" if isinstance(error, TimeoutError) else type(error).__name__
            raise RuntimeUnavailable(
                f"the registry {self._host} doesn't answer ({why}), which was asked about {self._name}: try "
                "again later, or look at the way there from this machine"
            ) from None

    async def _ask(
        self, method: str, url: URL, body: bytes | None, headers: Mapping[str, str] | None
    ) -> aiohttp.ClientResponse:
        """The answer, from wherever the registry sends this site for it."""
        for _ in range(REGISTRY_REDIRECTS_MAX + 1):
            # A registry may say that another host has it. What says who asks stays with the first.
            own = self._authorization if url.origin() == self._root.origin() else {}
            answer = await self._request(method, url, {**(headers or {}), **own}, body)
            place = answer.headers.get("Location")
            if method not in ("GET", "HEAD") or answer.status not in _ELSEWHERE or place is None:
                return answer
            answer.release()
            try:
                url = url.join(URL(place))
            except ValueError:
                url = URL()
            self._sources.check_url(url, plain=self._registry.plain, sent_by=self._host)
        raise RuntimeUnavailable(
            f"the registry {self._host} sends this site from one place to another, more than {REGISTRY_REDIRECTS_MAX} "
            f"times, where it was asked about {self._name}: tell who runs it"
        )

    async def _request(
        self, method: str, url: URL, headers: Mapping[str, str], body: bytes | None = None
    ) -> aiohttp.ClientResponse:
        """One answer of one host."""
        proxy = self._proxy or _proxy_of(url)
        session = self._sessions.get(proxy is None)
        if session is None:
            # A proxy is the site's own, and looks up itself what it is asked for.
            resolver = self._sources.resolver() if proxy is None else None
            session = self._sessions[proxy is None] = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=self._tls(), resolver=resolver),
                headers={"User-Agent": f"atoll/{__version__}"},
                # Some registries answer with cookies by which they know who asks.
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return await session.request(
            method, url, data=body, headers=headers, proxy=proxy, allow_redirects=False
        )

    def _tls(self) -> ssl.SSLContext | bool:
        if self._registry.ca_file is None:
            return True
        try:
            return ssl.create_default_context(cafile=self._registry.ca_file)
        except OSError as error:
            raise RuntimeUnavailable(
                f"{self._registry.ca_file} can't be used ({error.strerror}): expected certificates in PEM"
            ) from None

    async def _introduced(self, challenge: str, method: str) -> str:
        """What a registry is told that wants to know who asks."""
        scheme, _, rest = challenge.partition(" ")
        asked = dict(_ASKED.findall(rest))
        basic = await self._basic()
        if scheme.lower() == "basic" and basic:
            return basic["Authorization"]
        if scheme.lower() == "bearer" and asked.get("realm"):
            return f"Bearer {await self._token(asked, basic, method)}"
        raise self._refused()

    async def _basic(self) -> dict[str, str]:
        registry = self._registry
        if not registry.username or registry.password_file is None:
            return {}
        password = await asyncio.to_thread(read_password, registry.password_file)
        named = base64.b64encode(f"{registry.username}:{password}".encode()).decode()
        return {"Authorization": f"Basic {named}"}

    async def _token(self, asked: Mapping[str, str], basic: Mapping[str, str], method: str) -> str:
        """A token, from where the registry says that it is given."""
        try:
            realm = URL(asked["realm"])
        except ValueError:
            realm = URL()
        self._sources.check_url(realm, plain=self._registry.plain, sent_by=self._host)
        actions = "pull" if method in ("GET", "HEAD") else "pull,push"
        scope = asked.get("scope") or f"repository:{self._name.partition('/')[2]}:{actions}"
        query = {"scope": scope} | ({"service": asked["service"]} if "service" in asked else {})
        async with await self._request("GET", realm.update_query(query), basic) as answer:
            if answer.status in (401, 403):
                raise self._refused()
            self._granted(answer)
            content = await self._read(answer)
        try:
            document = json.loads(content)
            token = document.get("token") or document["access_token"]
        except (ValueError, KeyError, AttributeError, RecursionError):
            token = None
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise RuntimeUnavailable(f"the registry {self._host} gives a token that is none: try again later")
        return token

    async def _read(self, answer: aiohttp.ClientResponse) -> bytes:
        content = bytearray()
        async for chunk in answer.content.iter_any():
            content += chunk
            if len(content) > REGISTRY_ANSWER_BYTES_MAX:
                raise RuntimeUnavailable(
                    f"the registry {self._host} answers with more than {REGISTRY_ANSWER_BYTES_MAX} bytes, "
                    "where a signature was asked for"
                )
        return bytes(content)

    def _granted(self, answer: aiohttp.ClientResponse) -> None:
        if answer.status in (401, 403):
            raise self._refused()
        if answer.status >= 300:
            raise RuntimeUnavailable(
                f"the registry {self._host} answers with the status {answer.status}, which was asked about "
                f"{self._name}: try again later"
            )

    def _refused(self) -> RuntimeUnavailable:
        named = f"the password of {self._registry.username!r}" if self._registry.username else "no password"
        return RuntimeUnavailable(
            f"the registry {self._host} refuses {self._name} to this site, which has {named} for it: name a user "
            "and a password_file for it that may read it"
        )


def _proxy_of(url: URL) -> str | None:
    """The proxy that this process's environment names for an address."""
    if url.host is None or proxy_bypass(f"{url.host}:{url.port}"):
        return None
    return getproxies().get(url.scheme)


def _read_json(content: bytes) -> dict[str, Any]:
    """A document; nothing where it is none."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        document = None
    return document if isinstance(document, dict) else {}


def _is_for_linux(listed: Mapping[str, Any]) -> bool:
    """Whether an image of a list may run here: others are for other systems, or no images at all."""
    platform = listed.get("platform")
    return not isinstance(platform, dict) or platform.get("os") in ("linux", None)


def _tag_of(digest: str) -> str:
    """Where cosign keeps the signatures of an image."""
    return f"{digest.replace(':', '-')}.sig"


def _layers_of(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    layers = manifest.get("layers")
    return [each for each in layers if isinstance(each, dict)] if isinstance(layers, list) else []
