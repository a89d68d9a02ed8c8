"""Queues, spot nodes and monitoring in k8s/: they name what exists, and hold what they say."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.test_k8s import K8S, MANIFESTS, PODS, cluster_of, every_manifest, load, patched, quantity
from tests.test_packaging import REPOSITORY

SUFFIXES = {"Counter": ("_total",), "Gauge": ("",), "Histogram": ("_bucket", "_sum", "_count")}
DASHBOARD = json.loads((K8S / "monitoring/grafana-dashboard.json").read_text())


def exported() -> set[str]:
    """The names under which Prometheus sees our metrics, from the code that makes them."""
    text = (REPOSITORY / "cluster/engines/ray/metrics.py").read_text()
    counters = re.findall(r'counter\("(\w+)"', text)
    others = re.findall(r'(Gauge|Histogram)\(\s*"framemill_(\w+)"', text)
    assert len(counters) == 6 and len(others) == 4
    made = [("Counter", name) for name in counters] + others
    return {f"ray_framemill_{name}{suffix}" for kind, name in made for suffix in SUFFIXES[kind]}


def expressions(item: Any) -> list[str]:
    if isinstance(item, dict):
        own = [item["expr"]] if "expr" in item else []
        own += [item["query"]] if str(item.get("query")).startswith("label_values") else []
        return own + [found for value in item.values() for found in expressions(value)]
    return [found for value in item for found in expressions(value)] if isinstance(item, list) else []


def test_every_metric_of_the_dashboard_exists_and_is_shown() -> None:
    asked = {name for text in expressions(DASHBOARD) for name in re.findall(r"ray_framemill_\w+", text)}
    assert asked <= exported(), "a panel would stay empty"
    plain = {re.sub(r"_(bucket|sum|count)$", "", name) for name in exported()}
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in asked} == plain


def test_panels_lie_beside_each_other_and_follow_the_run_that_is_picked() -> None:
    panels = DASHBOARD["panels"]
    cells = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells)) and max(x for x, _ in cells) < 24
    assert len({panel["id"] for panel in panels}) == len(panels)
    every = [target["expr"] for panel in panels for target in panel["targets"]]
    assert all('{run=~"$run"}' in text for text in every)
    assert {variable["name"] for variable in DASHBOARD["templating"]["list"]} == {"source", "run"}


def test_prometheus_scrapes_ray_pods_of_ours_and_is_let_in_there_alone() -> None:
    [monitor, policy] = load("monitoring/podmonitor.yaml")
    labels = monitor["spec"]["selector"]["matchLabels"]
    assert labels["app.kubernetes.io/part-of"] == "framemill" and labels["ray.io/is-ray-node"] == "yes"
    assert [endpoint["port"] for endpoint in monitor["spec"]["podMetricsEndpoints"]] == ["metrics"]
    [rule] = policy["spec"]["ingress"]
    assert rule["ports"] == [{"port": 8080}]
    assert all({"namespaceSelector", "podSelector"} <= source.keys() for source in rule["from"])


@every_manifest
def test_the_head_keeps_off_spot_nodes_and_workers_do_not(manifest: Any) -> None:
    cluster = cluster_of(manifest)
    affinity = cluster["headGroupSpec"]["template"]["spec"]["affinity"]["nodeAffinity"]
    # Those that are asked of a node for sure; `NotIn` holds for nodes without the label, too.
    [term] = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    rules = {rule["key"]: rule for rule in term["matchExpressions"]}
    assert all(rule["operator"] == "NotIn" for rule in rules.values())
    assert {"cloud.google.com/gke-spot", "eks.amazonaws.com/capacityType", "karpenter.sh/capacity-type"} < {
        *rules
    }
    assert all("affinity" not in group["template"]["spec"] for group in cluster["workerGroupSpecs"])


def test_a_job_in_a_queue_has_one_size_that_its_quota_holds() -> None:
    job = MANIFESTS["kueue"]
    items = {item["kind"]: item for item in patched("kueue")}
    queue = items["LocalQueue"]
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == queue["metadata"]["name"]
    assert queue["metadata"]["namespace"] == job["metadata"]["namespace"]
    assert queue["spec"]["clusterQueue"] == items["ClusterQueue"]["metadata"]["name"]
    # What Kueue asks of a RayJob: it begins suspended, and its size does not change.
    cluster = cluster_of(job)
    assert job["spec"]["suspend"] is True and job["spec"]["shutdownAfterJobFinishes"] is True
    assert cluster["enableInTreeAutoscaling"] is False and "autoscalerOptions" not in cluster
    pods = [("kueue-head", 1), ("kueue-submitter", 1)]
    for group in cluster["workerGroupSpecs"]:
        assert group["minReplicas"] == group["replicas"] == group["maxReplicas"]
        pods.append((f"kueue-{group['groupName']}", group["replicas"]))
    [resources] = items["ClusterQueue"]["spec"]["resourceGroups"]
    [flavor] = resources["flavors"]
    assert flavor["name"] == items["ResourceFlavor"]["metadata"]["name"]
    for quota in flavor["resources"]:
        wanted = sum(
            count * quantity(container["resources"]["requests"].get(quota["name"], 0))
            for where, count in pods
            for container in PODS[where][1]["containers"]
        )
        assert 0 < wanted <= quantity(quota["nominalQuota"]), quota


def test_what_pods_ask_for_is_in_the_quota() -> None:
    [resources] = next(i for i in patched("kueue") if i["kind"] == "ClusterQueue")["spec"]["resourceGroups"]
    asked = {
        name
        for where, (_, spec) in PODS.items()
        if where.startswith("kueue-")
        for container in spec["containers"]
        for name in container["resources"]["requests"]
    }
    assert asked == set(resources["coveredResources"])
