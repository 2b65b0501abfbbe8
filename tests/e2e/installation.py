"""Puts what the API server must know into a cluster: the kinds and the admission policy, exactly as the chart has them."""

from __future__ import annotations

import json

import yaml

from tests.cluster import Cluster
from tests.e2e.waiting import wait_for
from tests.packaging.rendering import NAMESPACE, RELEASE, render

API_KINDS = ("CustomResourceDefinition", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")


def install_api(cluster: Cluster) -> None:
    """Apply the chart's definitions and policy in Helm's name, so that a release, before or after, and this agree.

    Returns once the kinds are served and the policy is in force for new requests.
    """
    objects = [_owned_by_release(body) for body in render() if body["kind"] in API_KINDS]
    apply = ("apply", "--server-side", "--force-conflicts", "--field-manager=helm", "--filename=-")
    cluster.run(*apply, given=yaml.safe_dump_all(objects))
    wait_for(lambda: _established(cluster), 30, what="the kinds are served")


def _owned_by_release(body: dict) -> dict:  # type: ignore[type-arg]
    metadata = body["metadata"]
    metadata["annotations"] = {
        **metadata.get("annotations", {}),
        "meta.helm.sh/release-name": RELEASE,
        "meta.helm.sh/release-namespace": NAMESPACE,
    }
    return body


def _established(cluster: Cluster) -> bool:
    found = json.loads(cluster.run("get", "customresourcedefinitions", "--output=json"))["items"]
    ours = [crd for crd in found if crd["spec"]["group"] == "backup.iot-system.io"]
    return len(ours) == 4 and all(
        any(condition["type"] == "Established" and condition["status"] == "True" for condition in crd["status"]["conditions"])
        for crd in ours
    )
