"""The REST client against an API server in memory: the verbs, and what each answers when things are not as hoped."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from kubernetes.aio.client.configuration import Configuration

from iot_backup.cluster import connection, resources, rest
from iot_backup.cluster.client import AlreadyExistsError, ApiError, RejectedError, selector
from iot_backup.errors import InvalidSpec
from tests.handlers.apiserver import Cluster, Refusal, Server

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

Json = dict[str, Any]


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server(Cluster())
    running.start()
    yield running
    running.stop()


def _ask(server: Server, work: Callable[[rest.RestClient], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        config = Configuration()
        config.host = server.url
        config.api_key["BearerToken"] = "bearer made-up"
        async with rest.RestClient(config) as client:
            return await work(client)

    return asyncio.run(main())


def _job(name: str = "j", **more: Any) -> Json:
    return {"metadata": {"name": name, "namespace": "default", **more}, "spec": {"template": {"spec": {"containers": []}}}}


def test_create_get_and_list(server: Server) -> None:
    async def work(client: rest.RestClient) -> None:
        made = await client.create(resources.JOBS, _job(labels={"a": "b"}))
        assert await client.get(resources.JOBS, "default", "j") == made
        assert await client.get(resources.JOBS, "default", "other") is None
        (listed,) = await client.list(resources.JOBS, "default", selector({"a": "b"}))
        assert (listed["kind"], listed["apiVersion"], listed["metadata"]["uid"]) == ("Job", "batch/v1", made["metadata"]["uid"])
        assert await client.list(resources.JOBS, None, "a=c") == []

    _ask(server, work)


def test_an_object_that_is_there_is_not_created_again(server: Server) -> None:
    async def work(client: rest.RestClient) -> None:
        await client.create(resources.JOBS, _job())
        with pytest.raises(AlreadyExistsError):
            await client.create(resources.JOBS, _job())

    _ask(server, work)


def test_apply_creates_and_then_changes(server: Server) -> None:
    async def work(client: rest.RestClient) -> None:
        body = {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "c", "namespace": "default"}, "spec": {"schedule": "1"}}
        first = await client.apply(resources.CRON_JOBS, body)
        again = await client.apply(resources.CRON_JOBS, body)
        changed = await client.apply(resources.CRON_JOBS, {**body, "spec": {"schedule": "2"}})
        assert again["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"] != changed["metadata"]["resourceVersion"]

    _ask(server, work)


def test_patches_change_what_they_name_and_miss_what_is_gone(server: Server) -> None:
    async def work(client: rest.RestClient) -> None:
        await client.create(resources.JOBS, _job())
        patched = await client.patch(resources.JOBS, "default", "j", {"spec": {"activeDeadlineSeconds": 1}})
        status = await client.patch_status(resources.JOBS, "default", "j", {"active": 1})
        assert patched is not None
        assert status is not None
        assert (status["spec"]["activeDeadlineSeconds"], status["status"]) == (1, {"active": 1})
        assert await client.patch(resources.JOBS, "default", "gone", {}) is None
        assert await client.patch_status(resources.JOBS, "default", "gone", {}) is None

    _ask(server, work)


def test_delete_spares_another_object_of_that_name(server: Server) -> None:
    async def work(client: rest.RestClient) -> None:
        made = await client.create(resources.JOBS, _job())
        assert await client.delete(resources.JOBS, "default", "j", "another-uid") is False
        assert await client.delete(resources.JOBS, "default", "j", made["metadata"]["uid"]) is True
        assert await client.delete(resources.JOBS, "default", "j") is False

    _ask(server, work)


@pytest.mark.parametrize(("status", "kind"), [(403, RejectedError), (422, RejectedError), (500, ApiError), (404, ApiError)])
def test_a_refusal_is_told_in_the_servers_words(server: Server, status: int, kind: type[ApiError]) -> None:
    server.cluster.refuse.append(("create", "jobs", Refusal(status, "Reason", "the server's sentence " + "x" * 2000)))

    async def work(client: rest.RestClient) -> None:
        with pytest.raises(kind) as caught:
            await client.create(resources.JOBS, _job())
        assert type(caught.value) is kind
        assert caught.value.message.startswith("the server's sentence")
        assert len(caught.value.message) <= 1000

    _ask(server, work)


def test_an_event_that_is_refused_stops_nothing(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    server.cluster.refuse.append(("create", "events", Refusal(403, "Forbidden", "namespace is terminating")))
    body = {"metadata": {"name": "e", "namespace": "default"}, "reason": "R", "involvedObject": {"name": "n"}}
    _ask(server, lambda client: client.event(body))
    assert "terminating" in caplog.text


def test_no_answer_is_an_error_of_its_own() -> None:
    dead = Server(Cluster())
    dead.start()
    dead.stop()

    async def work(client: rest.RestClient) -> None:
        with pytest.raises(ApiError) as caught:
            await client.get(resources.JOBS, "default", "j")
        assert caught.value.status == 0

    _ask(dead, work)


@pytest.mark.parametrize(
    ("resource", "arguments", "expected"),
    [
        (resources.PODS, (), "/api/v1/pods"),
        (resources.PODS, ("ns", "p"), "/api/v1/namespaces/ns/pods/p"),
        (resources.BACKUPS, ("ns", "b", "status"), "/apis/backup.iot-system.io/v1alpha1/namespaces/ns/backups/b/status"),
        (resources.VOLUMES, ("ns", "v"), "/api/v1/persistentvolumes/v"),
    ],
)
def test_paths(resource: resources.Resource, arguments: tuple[str, ...], expected: str) -> None:
    assert resource.path(*arguments) == expected


def test_without_any_configuration_the_error_says_what_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(InvalidSpec, match="KUBECONFIG"):
        asyncio.run(connection.configuration({}))
    with pytest.raises(InvalidSpec, match="KUBECONFIG=/nowhere"):
        asyncio.run(connection.configuration({"KUBECONFIG": "/nowhere"}))
    with pytest.raises(InvalidSpec, match="service account"):
        asyncio.run(connection.configuration({"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}))


def test_the_service_accounts_token_is_told_without_its_scheme() -> None:
    config = Configuration()
    config.host, config.ssl_ca_cert = "https://10.0.0.1", "/ca.crt"
    config.api_key["BearerToken"] = "bearer made-up\n"
    found = asyncio.run(connection.login(config))
    assert (found.server, found.ca_file, found.token, found.insecure) == ("https://10.0.0.1", "/ca.crt", "made-up", False)
