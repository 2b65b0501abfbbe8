"""The chart renders what a cluster takes, gives the least rights, and refuses values it does not know."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from iot_backup import __version__
from iot_backup.settings import Settings
from tests.packaging.manifests import problems
from tests.packaging.rendering import CHART, NAMESPACE, RELEASE, HelmFailed, helm, render
from tests.packaging.schemas import KINDS, definitions, nodes, schema

Body = dict[str, Any]
CONFIGURATIONS = {
    "defaults": (),
    "namespaced": ("watchNamespaces={plant-1,plant-2}",),
    "bare": (
        "crds.enabled=false",
        "admissionPolicy.enabled=false",
        "rbac.create=false",
        "rbac.aggregateClusterRoles=false",
        "serviceAccount.create=false",
    ),
    "dressed": (
        "image.registry=registry.example.com",
        "image.digest=sha256:" + "0" * 64,
        "imagePullSecrets[0].name=pull",
        "podAnnotations.a=b",
        "podLabels.team=a",
        "commonLabels.site=plant-1",
        "extraArgs={--verbose}",
        "extraEnv[0].name=A",
        "extraEnv[0].value=b",
        "priorityClassName=high",
        "nodeSelector.disk=ssd",
        "tolerations[0].operator=Exists",
        "serviceAccount.annotations.a=b",
        "crds.annotations.a=b",
    ),
}


def one(objects: list[Body], kind: str, name: str = RELEASE) -> Body:
    """The one object of that kind and name."""
    (found,) = [body for body in objects if (body["kind"], body["metadata"]["name"]) == (kind, name)]
    return found


@pytest.fixture(scope="module")
def defaults() -> list[Body]:
    return render()


def test_helm_finds_nothing_to_complain_about() -> None:
    assert "0 chart(s) failed" in helm("lint", "--strict", str(CHART))


def test_versions_agree() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == chart["version"] == __version__


@pytest.mark.parametrize("values", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_every_object_is_valid_for_kubernetes(values: tuple[str, ...]) -> None:
    objects = render(*values)
    assert objects
    assert [problem for body in objects for problem in problems(body)] == []
    keys = [(body["kind"], body["metadata"].get("namespace"), body["metadata"]["name"]) for body in objects]
    assert len(set(keys)) == len(keys)


def test_the_definitions_are_those_of_the_checkout_and_stay_on_uninstall(defaults: list[Body]) -> None:
    rendered = {body["spec"]["names"]["kind"]: body for body in defaults if body["kind"] == "CustomResourceDefinition"}
    assert set(rendered) == set(KINDS)
    for kind, crd in definitions().items():
        assert rendered[kind]["spec"] == crd["spec"]
        assert rendered[kind]["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    going = [body for body in render("crds.keep=false") if body["kind"] == "CustomResourceDefinition"]
    assert not any("annotations" in body["metadata"] for body in going)


def test_the_pod_fits_pod_security_restricted(defaults: list[Body]) -> None:
    deployment = one(defaults, "Deployment")["spec"]
    assert (deployment["replicas"], deployment["strategy"]) == (1, {"type": "Recreate"})
    pod = deployment["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert [volume for volume in pod["volumes"] if "emptyDir" not in volume] == []
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/tmp"}
    assert {port["name"]: port["containerPort"] for port in container["ports"]} == {"health": 8080, "metrics": 9090}
    assert container["livenessProbe"]["httpGet"] == container["readinessProbe"]["httpGet"] == {"path": "/healthz", "port": "health"}


def environment(objects: list[Body]) -> dict[str, Any]:
    (container,) = one(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container["env"]}


def test_the_operator_is_told_its_place_its_namespaces_and_its_workers_image() -> None:
    objects = render(
        "watchNamespaces={plant-1,plant-2}",
        "image.repository=example/backup",
        "image.tag=1.2.3",
        "image.pullPolicy=Never",
        "worker.pullSecrets={a,b}",
    )
    (container,) = one(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["operator"]
    assert container["image"] == "example/backup:1.2.3"
    assert environment(objects) == {
        "IOT_BACKUP_NAMESPACE": {"fieldRef": {"fieldPath": "metadata.namespace"}},
        "IOT_BACKUP_WATCH_NAMESPACES": "plant-1,plant-2",
        "IOT_BACKUP_WORKER_IMAGE": "example/backup:1.2.3",
        "IOT_BACKUP_WORKER_PULL_POLICY": "Never",
        "IOT_BACKUP_WORKER_PULL_SECRETS": "a,b",
        "IOT_BACKUP_LOG_LEVEL": "info",
        "IOT_BACKUP_LOG_FORMAT": "json",
    }


@pytest.mark.parametrize(
    ("values", "image"),
    [
        ((), f"iot-backup-operator:{__version__}"),
        (("image.registry=r.example",), f"r.example/iot-backup-operator:{__version__}"),
        (("image.tag=2.0.0",), "iot-backup-operator:2.0.0"),
        (("image.tag=x", "image.digest=sha256:" + "a" * 64), "iot-backup-operator@sha256:" + "a" * 64),
    ],
)
def test_a_digest_wins_over_a_tag_and_a_tag_over_the_version(values: tuple[str, ...], image: str) -> None:
    objects = render(*values)
    assert one(objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]["image"] == image
    assert environment(objects)["IOT_BACKUP_WORKER_IMAGE"] == image
    assert environment(render(*values, "worker.image=other:1"))["IOT_BACKUP_WORKER_IMAGE"] == "other:1"


def granted(rules: list[Body]) -> set[tuple[str, str, str]]:
    """Rules as (group, resource, verb)."""
    return {
        (group, resource, verb) for rule in rules for group in rule["apiGroups"] for resource in rule["resources"] for verb in rule["verbs"]
    }


def test_no_role_of_the_operator_reads_secrets_or_reaches_for_everything(defaults: list[Body]) -> None:
    for objects in (defaults, render("watchNamespaces={plant-1}")):
        for role in objects:
            if role["kind"] not in ("ClusterRole", "Role"):
                continue
            rights = granted(role["rules"])
            assert {verb for _, resource, verb in rights if resource == "secrets"} <= {"create"}
            assert not any("*" in right for right in rights)
            assert not {"escalate", "bind", "impersonate", "deletecollection"} & {verb for *_, verb in rights} or role["metadata"][
                "name"
            ].endswith("-edit")
            assert not {resource for _, resource, _ in rights} & {"pods/exec", "serviceaccounts/token", "clusterroles", "roles", "nodes"}


def test_status_is_written_by_the_operator_alone(defaults: list[Body]) -> None:
    writers = [
        role["metadata"]["name"]
        for role in defaults
        if "Role" in role["kind"] and any("status" in right[1] for right in granted(role.get("rules", [])))
    ]
    assert writers == [RELEASE]


def test_watched_namespaces_get_a_role_each_and_nothing_for_the_cluster() -> None:
    objects = render(
        "watchNamespaces={plant-1,plant-2}", "crds.enabled=false", "admissionPolicy.enabled=false", "rbac.aggregateClusterRoles=false"
    )
    assert {body["kind"] for body in objects} == {"ServiceAccount", "Role", "RoleBinding", "Deployment"}
    roles = {(body["metadata"]["namespace"], body["metadata"]["name"]) for body in objects if body["kind"] == "Role"}
    assert roles == {("plant-1", RELEASE), ("plant-2", RELEASE), ("plant-1", f"{RELEASE}-heartbeat")}
    in_cluster = granted(one(render(), "ClusterRole")["rules"])
    in_namespace = granted(next(body for body in objects if body["kind"] == "Role")["rules"])
    assert in_namespace < in_cluster
    assert {resource for _, resource, _ in in_cluster - in_namespace} == {"persistentvolumes", "customresourcedefinitions"}


@pytest.mark.parametrize(
    ("values", "place"),
    [((), NAMESPACE), (("watchNamespaces={plant-1,plant-2}",), "plant-1"), ((f"watchNamespaces={{plant-1,{NAMESPACE}}}",), NAMESPACE)],
)
def test_the_heartbeat_may_be_written_where_the_operator_puts_it(values: tuple[str, ...], place: str) -> None:
    objects = render(*values)
    told = {name: value for name, value in environment(objects).items() if isinstance(value, str)}
    settings = Settings.from_mapping({**told, "IOT_BACKUP_NAMESPACE": NAMESPACE})
    (role,) = [body for body in objects if body["kind"] == "Role" and body["metadata"]["name"] == f"{RELEASE}-heartbeat"]
    (binding,) = [body for body in objects if body["kind"] == "RoleBinding" and body["metadata"]["name"] == f"{RELEASE}-heartbeat"]
    assert role["metadata"]["namespace"] == binding["metadata"]["namespace"] == settings.heartbeat_namespace == place
    assert granted(role["rules"]) == {("coordination.k8s.io", "leases", verb) for verb in ("create", "patch")}


def test_bindings_name_the_account_the_pod_runs_as() -> None:
    for values in ((), ("serviceAccount.name=mine",), ("fullnameOverride=other", "namespaceOverride=elsewhere")):
        objects = render(*values)
        deployment = next(body for body in objects if body["kind"] == "Deployment")
        account = (deployment["metadata"]["namespace"], deployment["spec"]["template"]["spec"]["serviceAccountName"])
        subjects = {(s["namespace"], s["name"]) for body in objects if body["kind"].endswith("RoleBinding") for s in body["subjects"]}
        assert subjects == {account}
        policy = next(body for body in objects if body["kind"] == "ValidatingAdmissionPolicy")
        assert f"'system:serviceaccount:{account[0]}:{account[1]}'" in json.dumps(policy["spec"]["matchConditions"])


def test_the_policy_fails_closed_and_looks_at_every_secret_a_spec_can_name(defaults: list[Body]) -> None:
    policy = one(defaults, "ValidatingAdmissionPolicy", f"{RELEASE}-delegation")["spec"]
    assert policy["failurePolicy"] == "Fail"
    (rule,) = policy["matchConstraints"]["resourceRules"]
    assert set(rule["resources"]) == {crd["spec"]["names"]["plural"] for crd in definitions().values()}
    binding = one(defaults, "ValidatingAdmissionPolicyBinding", f"{RELEASE}-delegation")["spec"]
    assert binding["validationActions"] == ["Deny"]
    assert "matchResources" not in binding
    references = {
        path.removeprefix("spec.") for kind in KINDS for path, _ in nodes(schema(kind)) if re.search(r"(^|\.)\w*[sS]ecretRef$", path)
    }
    looked_at = {
        match[1].replace("?", "")
        for variable in policy["variables"]
        if (match := re.fullmatch(r"object\.spec\.(.+)\.\?name\.orValue\(''\)", variable["expression"]))
    }
    assert looked_at == references
    asked = " ".join(validation["expression"] for validation in policy["validations"])
    for variable in policy["variables"]:
        assert variable["name"] == "subject" or f".name(variables.{variable['name']}).check('get')" in asked


@pytest.mark.parametrize(
    "value",
    [
        "replicaCount=2",
        "image.tagg=1",
        "image.tag=latest",
        "image.digest=sha256:short",
        "logging.level=loud",
        "watchNamespaces={Not-A-Name}",
        "worker.serviceAccountName=admin",
        "crds.keep=maybe",
        "resources.memory=1Gi",
    ],
)
def test_unknown_and_wrong_values_are_refused(value: str) -> None:
    with pytest.raises(HelmFailed, match=re.escape(value.partition("=")[0].rpartition(".")[2])):
        render(value)


def test_every_value_is_in_the_schema_and_explained() -> None:
    text = (CHART / "values.yaml").read_text()
    values = yaml.safe_load(text)
    properties = json.loads((CHART / "values.schema.json").read_text())["properties"]
    assert set(values) == set(properties) - {"global"}
    for name, value in values.items():
        known = properties[name].get("properties")
        if isinstance(value, dict) and known and properties[name].get("additionalProperties") is False and name != "resources":
            assert set(value) == set(known), name


def test_an_extra_object_may_use_the_releases_names() -> None:
    extra = json.dumps([{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-extra"}}])
    assert one(render(json=(f"extraObjects={extra}",)), "ConfigMap", f"{RELEASE}-extra")
