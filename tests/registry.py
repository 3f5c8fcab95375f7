"""A real registry of images for tests: Debian's ``docker-registry``, on loopback, in a folder of its own.

It asks for a name and a password, or for a token that is given for them elsewhere. Images are made of a
few bytes, and pushed without an engine. What needs it is marked ``needs("docker-registry")``.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import http.client
import http.server
import io
import json
import re
import secrets
import subprocess
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import trustme
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from atoll.engine.running import Image, ImageKind

USER = "node"
PASSWORD = "open+sesame/ü"
#: Both as the registry keeps them: ``htpasswd -niBC 4 node``. The cheapest hash: what it protects is a test's.
_HASHED = "node:$2y$04$dNxpkFG5BwXyEU0W4ohP.u2BpM0ArhOXI.8EV0HI6DLpj1BvkA5iK"
_DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
_DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
_OCI = "application/vnd.oci.image.manifest.v1+json"
_SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"


def digest_of(content: bytes) -> str:
    """What content is called in a registry."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """A running registry."""

    #: Its host and port, as it stands in an image's name.
    host: str
    #: Where its contents lie.
    folder: Path
    #: Whoever has them may pull and push.
    authorization: Mapping[str, str]

    def push_image(
        self, repository: str, *, architecture: str = "amd64", size_bytes: int = 64, listed: bool = False
    ) -> Image:
        """Push an image that nobody has seen before.

        Args:
            repository: its path.
            architecture: the kind of processor that it says it is for.
            size_bytes: of a file in it which can't be compressed.
            listed: whether its digest is the one of a list of images, one for each kind of processor.
        """
        layer = io.BytesIO()
        with tarfile.open(fileobj=layer, mode="w") as archive:
            entry = tarfile.TarInfo("content")
            entry.size = max(size_bytes, 16)
            archive.addfile(entry, io.BytesIO(secrets.token_bytes(entry.size)))
        config = {
            "architecture": architecture,
            "os": "linux",
            "config": {"Cmd": ["/content"]},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(layer.getvalue())]},
            "history": [{"created": "2020-01-01T00:00:00Z", "created_by": "a test"}],
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": _DOCKER,
            "config": self._part(
                repository, json.dumps(config).encode(), "application/vnd.docker.container.image.v1+json"
            ),
            "layers": [
                self._part(
                    repository,
                    gzip.compress(layer.getvalue(), mtime=0),
                    "application/vnd.docker.image.rootfs.diff.tar.gzip",
                )
            ],
        }
        digest = self.put_manifest(repository, None if listed else "latest", manifest)
        if listed:
            one = {
                "mediaType": _DOCKER,
                "digest": digest,
                "size": len(json.dumps(manifest)),
                "platform": {"architecture": architecture, "os": "linux"},
            }
            several = {"schemaVersion": 2, "mediaType": _DOCKER_LIST, "manifests": [one]}
            digest = self.put_manifest(repository, "latest", several)
        return Image(kind=ImageKind.OCI, name=f"{self.host}/{repository}:latest", digest=digest)

    def push_signatures(
        self,
        repository: str,
        digest: str,
        signed: list[tuple[bytes, bytes]],
        *,
        annotation: str = "dev.cosignproject.cosign/signature",
        kind: str = _SIMPLE_SIGNING,
    ) -> None:
        """Push signatures of an image, where cosign keeps them: each a payload, and the signature's bytes."""
        layers = [
            self._part(repository, payload, kind)
            | {"annotations": {annotation: base64.b64encode(signature).decode()}}
            for payload, signature in signed
        ]
        config = self._part(repository, b"{}", "application/vnd.oci.image.config.v1+json")
        manifest = {"schemaVersion": 2, "mediaType": _OCI, "config": config, "layers": layers}
        self.put_manifest(repository, f"{digest.replace(':', '-')}.sig", manifest)

    def copy(self, repository: str, digest: str, to: str) -> None:
        """Bring an image to another repository, as it is."""
        manifest = json.loads(self.blob(digest).read_bytes())
        for part in (manifest["config"], *manifest["layers"]):
            self._part(to, self.blob(part["digest"]).read_bytes(), part["mediaType"])
        assert digest == self.put_manifest(to, None, manifest)

    def put_manifest(self, repository: str, tag: str | None, manifest: Mapping[str, Any]) -> str:
        """Push a manifest; its digest."""
        content = json.dumps(manifest).encode()
        digest = digest_of(content)
        path = f"/v2/{repository}/manifests/{tag or digest}"
        self.ask("PUT", path, content, {"Content-Type": manifest["mediaType"]})
        return digest

    def blob(self, digest: str) -> Path:
        """The file with the content of a digest, for who wants to spoil it."""
        name = digest.removeprefix("sha256:")
        return self.folder / "docker/registry/v2/blobs/sha256" / name[:2] / name / "data"

    def _part(self, repository: str, content: bytes, kind: str) -> dict[str, Any]:
        """Push content; what a manifest says of it."""
        place = self.ask("POST", f"/v2/{repository}/blobs/uploads/")["Location"]
        place = place.partition(self.host)[2] or place
        digest = digest_of(content)
        sign = "&" if "?" in place else "?"
        self.ask(
            "PUT", f"{place}{sign}digest={digest}", content, {"Content-Type": "application/octet-stream"}
        )
        return {"mediaType": kind, "digest": digest, "size": len(content)}

    def ask(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Mapping[str, str]:
        """Ask something that must be granted; the answer's headers."""
        connection = http.client.HTTPConnection(self.host, timeout=20)
        try:
            connection.request(method, path, body, {**self.authorization, **(headers or {})})
            answer = connection.getresponse()
            said = answer.read()
        finally:
            connection.close()
        assert answer.status < 300, (method, path, answer.status, said)
        return dict(answer.headers)


@contextmanager
def serving(**settings: Any) -> Iterator[Registry]:
    """A registry for as long as the block.

    Args:
        settings: sections of its configuration, instead of those by which it asks for a name and a password.
    """
    with tempfile.TemporaryDirectory(prefix="atoll-registry-") as place:
        folder = Path(place)
        passwords = folder / "passwords"
        passwords.write_text(_HASHED)
        config = {
            "version": 0.1,
            "log": {"level": "info", "accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": str(folder / "contents")}},
            "http": {"addr": "127.0.0.1:0", "secret": "of a test"},
            "auth": {"htpasswd": {"realm": "a test", "path": str(passwords)}},
        } | settings
        (folder / "config.yml").write_text(yaml.safe_dump(config))
        (folder / "contents").mkdir()
        with subprocess.Popen(
            ["docker-registry", "serve", str(folder / "config.yml")],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        ) as process:
            assert process.stderr is not None
            try:
                named = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
                host = _address(process)
                # What it goes on to say must be taken, or it waits for that.
                threading.Thread(target=process.stderr.read, daemon=True).start()
                yield Registry(
                    host=host,
                    folder=folder / "contents",
                    authorization={"Authorization": f"Basic {named}"},
                )
            finally:
                process.kill()


@contextmanager
def serving_by_token(repository: str) -> Iterator[Registry]:
    """A registry that wants a token, which is given for the name and the password at another address.

    Args:
        repository: what the test itself may push to.
    """
    authority = trustme.CA()
    certificate = authority.issue_cert("tokens.test")
    leaf = x509.load_pem_x509_certificate(certificate.cert_chain_pems[0].bytes())
    named = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()

    def token(kind: str, name: str, actions: str) -> str:
        claims = {"iss": "a test", "aud": "a registry", "exp": int(time.time()) + 600, "nbf": 0, "iat": 0}
        access = [{"type": kind, "name": name, "actions": actions.split(",")}]
        chain = [base64.b64encode(leaf.public_bytes(Encoding.DER)).decode()]
        key = certificate.private_key_pem.bytes()
        return jwt.encode({**claims, "access": access}, key, algorithm="ES256", headers={"x5c": chain})

    class Giving(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Give a token to who has the name and the password, and no other."""
            asked = parse_qs(urlsplit(self.path).query)
            if self.headers.get("Authorization") != f"Basic {named}":
                self.send_error(401)
                return
            self.send_response(200)
            self.end_headers()
            scopes = asked.get("scope", ["repository:none:none"])
            self.wfile.write(json.dumps({"token": token(*scopes[0].split(":"))}).encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name that its base gave it
            """Say nothing."""

    with (
        tempfile.NamedTemporaryFile(suffix=".pem") as bundle,
        http.server.HTTPServer(("127.0.0.1", 0), Giving) as giver,
    ):
        bundle.write(authority.cert_pem.bytes())
        bundle.flush()
        threading.Thread(target=giver.serve_forever, daemon=True).start()
        realm = f"http://127.0.0.1:{giver.server_port}/token"
        wanted = {"realm": realm, "service": "a registry", "issuer": "a test", "rootcertbundle": bundle.name}
        try:
            with serving(auth={"token": wanted}) as registry:
                own = f"Bearer {token('repository', repository, 'pull,push')}"
                yield replace(registry, authorization={"Authorization": own})
        finally:
            giver.shutdown()


def _address(process: subprocess.Popen[bytes]) -> str:
    """The host and port at which a registry listens, as it says itself."""
    said = b""
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(rb"listening on (127\.0\.0\.1:\d+)", line):
            return found[1].decode()
        said += line
    raise AssertionError(f"the registry didn't start: {said.decode(errors='replace')}")
