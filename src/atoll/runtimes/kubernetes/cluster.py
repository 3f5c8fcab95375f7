"""The official client of Kubernetes, and the little that is asked of it.

The client waits for each answer: it is called in threads. What it answers stays JSON, as the cluster has
sent it. Nothing here is imported before a cluster is used.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from kubernetes import client, config, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException
from urllib3.exceptions import HTTPError

from atoll.model.errors import AtollError, RuntimeUnavailable
from atoll.runtimes.kubernetes.settings import KubernetesSettings

_log = logging.getLogger(__name__)

#: Seconds that a connection may take, and an answer.
_PATIENCE = (10.0, 60.0)
#: Seconds that a stream of changes may be silent beyond the time that it was asked for.
_STREAM_PATIENCE = 10.0
_GONE = 404
#: Answers of a cluster that is busy, or that keeps a history no longer: the same question may be answered later.
_LATER = frozenset({408, 409, 410, 429})
#: Characters of what a cluster says that are passed on.
_SAID_MAX = 300


class ClusterSilentError(AtollError):
    """The cluster didn't do what it was asked for.

    Attributes:
        status: what it answered; 0 where it didn't.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status

    @property
    def for_good(self) -> bool:
        """Whether the same question will be answered alike."""
        return 400 <= self.status < 500 and self.status not in _LATER


@dataclass(frozen=True, slots=True)
class Change:
    """What has happened to a pod."""

    pod: Mapping[str, Any]
    #: Whether it is there no more; then `pod` is the last of it.
    gone: bool


@dataclass(frozen=True, slots=True)
class _Api:
    """The parts of the client that are used here. What is imported when they are made takes seconds."""

    client: Any
    #: Of Jobs.
    batch: Any
    #: Of pods and Secrets.
    core: Any
    #: Of network policies.
    network: Any


class Cluster:
    """A namespace of a cluster.

    Args:
        settings: name it, and how it is reached.
    """

    def __init__(self, settings: KubernetesSettings) -> None:
        self._settings = settings
        self._namespace = settings.namespace
        self._opened: _Api | None = None
        self._opening = asyncio.Lock()

    async def open(self) -> None:
        """Read how the cluster is reached.

        Raises:
            RuntimeUnavailable: nothing usable says it.
        """
        async with self._opening:
            if self._opened is None:
                self._opened = await asyncio.to_thread(_connect, self._settings)

    async def close(self) -> None:
        """Hang up."""
        if self._opened is not None:
            await asyncio.to_thread(self._opened.client.close)
            self._opened = None

    @property
    def _api(self) -> _Api:
        assert self._opened is not None  # `open` comes first
        return self._opened

    async def policies(self) -> Sequence[Mapping[str, Any]]:
        """Every network policy of the namespace."""
        found = await self._ask(self._api.network.list_namespaced_network_policy)
        return list(found.get("items") or ())

    async def make_policy(self, body: Mapping[str, Any], *, instead: bool) -> None:
        """Make a network policy, or put it in the place of one of its name."""
        api = self._api.network
        if instead:
            name = body["metadata"]["name"]
            await self._ask(partial(api.replace_namespaced_network_policy, name), body=body)
        else:
            await self._ask(api.create_namespaced_network_policy, body=body)

    async def make_secret(self, body: Mapping[str, Any]) -> None:
        """Make a Secret."""
        await self._ask(self._api.core.create_namespaced_secret, body=body)

    async def make_job(self, body: Mapping[str, Any]) -> None:
        """Make a Job. The Secret of the same name goes when it goes."""
        made = await self._ask(self._api.batch.create_namespaced_job, body=body)
        name, uid = body["metadata"]["name"], made["metadata"]["uid"]
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": uid}
        patch = partial(self._api.core.patch_namespaced_secret, name)
        await self._ask(patch, body={"metadata": {"ownerReferences": [owner]}})

    async def job(self, name: str) -> Mapping[str, Any] | None:
        """A Job; None where there is none of this name."""
        try:
            found: Mapping[str, Any] = await self._ask(partial(self._api.batch.read_namespaced_job, name))
        except ClusterSilentError as error:
            if error.status == _GONE:
                return None
            raise
        return found

    async def end(self, name: str) -> None:
        """Remove the Job and the Secret of a name. What isn't there is no fault."""
        for remove in (
            partial(self._api.batch.delete_namespaced_job, propagation_policy="Background"),
            self._api.core.delete_namespaced_secret,
        ):
            try:
                await self._ask(partial(remove, name))
            except ClusterSilentError as error:
                if error.status != _GONE:
                    raise

    async def end_all(self, selector: str) -> None:
        """Remove all Jobs and Secrets with a label."""
        jobs = self._api.batch.delete_collection_namespaced_job
        await self._ask(jobs, label_selector=selector, propagation_policy="Background")
        secrets = self._api.core.delete_collection_namespaced_secret
        await self._ask(secrets, label_selector=selector)

    async def pods(self, selector: str) -> tuple[Sequence[Mapping[str, Any]], str]:
        """The pods with a label; and the version of that, from which changes are told."""
        found = await self._ask(self._api.core.list_namespaced_pod, label_selector=selector)
        return list(found.get("items") or ()), str((found.get("metadata") or {}).get("resourceVersion") or "")

    async def changes(self, selector: str, version: str, seconds: float) -> AsyncGenerator[Change]:
        """What happens to the pods with a label from now on, for some seconds, or for less.

        A stream that breaks off, or that can't be had, ends: whoever still wants to know looks anew.
        """
        loop = asyncio.get_running_loop()
        came: asyncio.Queue[Change | None] = asyncio.Queue()
        stream: Any = watch.Watch()  # type: ignore[no-untyped-call]  # it says no types

        def put(change: Change | None) -> None:
            with suppress(RuntimeError):  # nobody is there any more
                loop.call_soon_threadsafe(came.put_nowait, change)

        def read() -> None:
            try:
                for event in stream.stream(
                    self._api.core.list_namespaced_pod,
                    self._namespace,
                    label_selector=selector,
                    resource_version=version,
                    timeout_seconds=max(1, round(seconds)),
                    _request_timeout=(_PATIENCE[0], seconds + _STREAM_PATIENCE),
                ):
                    if event["type"] in ("ADDED", "MODIFIED", "DELETED"):
                        put(Change(event["raw_object"], event["type"] == "DELETED"))
            except Exception as error:  # Whatever has ended it: the pods are listed again.
                _log.debug("a stream of changes has ended: %s", type(error).__name__)
            finally:
                put(None)

        # No thread of a pool, which a program waits for when it ends.
        threading.Thread(target=read, name="atoll-kubernetes-watch", daemon=True).start()
        try:
            while (change := await came.get()) is not None:
                yield change
        finally:
            await asyncio.to_thread(stream.stop)

    async def _ask(self, question: Callable[..., Any], **words: Any) -> Any:
        """Ask the cluster, in a thread; its answer as JSON.

        Raises:
            ClusterSilentError: it doesn't do it, or doesn't answer.
        """
        return await asyncio.to_thread(self._wait, question, words)

    def _wait(self, question: Callable[..., Any], words: Mapping[str, Any]) -> Any:
        try:
            answer = question(
                namespace=self._namespace, _preload_content=False, _request_timeout=_PATIENCE, **words
            )
            status, text = answer.status, answer.read()
        except ApiException as error:
            status, text = int(error.status or 0), error.body or ""
        except (HTTPError, OSError) as error:
            raise ClusterSilentError(f"it doesn't answer ({type(error).__name__})") from None
        try:
            said = json.loads(text or "{}")
        except ValueError:
            said = {}
        if not 200 <= status < 300:
            words_said = " ".join(str(said.get("message") or "").split())[:_SAID_MAX]
            raise ClusterSilentError(f"it answers with status {status}: {words_said or 'no reason'}", status)
        return said


def _connect(settings: KubernetesSettings) -> _Api:
    found = client.Configuration()
    try:
        if settings.kubeconfig is None:
            load: Any = config.load_incluster_config
            load(client_configuration=found)
        else:
            load = config.load_kube_config
            load(config_file=str(settings.kubeconfig), client_configuration=found)
    except (ConfigException, OSError) as error:
        raise RuntimeUnavailable(f"nothing says how the cluster of Kubernetes is reached: {error}") from None
    made = client.ApiClient(found)
    return _Api(made, client.BatchV1Api(made), client.CoreV1Api(made), client.NetworkingV1Api(made))
