"""The manifests of k8s/ against KubeRay's schemas, the rules of its operator, and ours."""

from __future__ import annotations

import copy
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest

import framemill
from framemill.cluster.cli.main import cli
from framemill.cluster.config import read_settings
from framemill.cluster.doctor import OTHER_VARIABLES
from tests.shared import SHARED
from tests.test_packaging import REPOSITORY, applies, read_pins

yaml = pytest.importorskip("yaml")
jsonschema = pytest.importorskip("jsonschema")

K8S = REPOSITORY / "k8s"
PYTHON = "3.11"  # of both images
SCHEMAS = {"RayJob": "crd_rayjobs.yaml", "RayCluster": "crd_rayclusters.yaml"}
DOCKERFILES = sorted(K8S.glob("*.Dockerfile"))
SHELL = Path("shell.yaml")
CPU_PINS = {pin.name: pin for pin in read_pins(REPOSITORY / "constraints/cpu.txt") if applies(pin, PYTHON)}

Json = Any


def load(path: Path | str) -> list[Json]:
    return list(yaml.safe_load_all((K8S / path).read_text()))


def patched(folder: str) -> list[Json]:
    """What `kubectl kustomize` makes of a folder whose kustomization has resources and JSON patches alone."""
    [kustomization] = load(f"{folder}/kustomization.yaml")
    found: list[Json] = []
    for name in kustomization["resources"]:
        target = (K8S / folder / name).resolve().relative_to(K8S)
        found += patched(str(target)) if (K8S / target).is_dir() else load(target)
    for patch in kustomization.get("patches", ()):
        aimed = [
            item
            for item in found
            if item["kind"] == patch["target"]["kind"]
            and item["metadata"]["name"] == patch["target"].get("name", item["metadata"]["name"])
        ]
        assert aimed, patch["target"]
        for item in aimed:
            for step in yaml.safe_load(patch["patch"]):
                apply_step(item, step)
    return found


def apply_step(item: Json, step: dict[str, Any]) -> None:
    """One step of a JSON patch (RFC 6902)."""
    *parents, last = [int(key) if key.isdigit() else key for key in step["path"].strip("/").split("/")]
    for key in parents:
        item = item[key]
    if step["op"] != "add":
        item[last]  # must be there
    if step["op"] == "remove":
        del item[last]
    else:
        item[last] = step["value"]


LISTS = {name: patched(name) for name in ("job", "gpu", "kind", "kueue")} | {
    "cluster": load("raycluster.yaml")
}
MANIFESTS: dict[str, Json] = {
    name: next(item for item in items if item["kind"] in SCHEMAS) for name, items in LISTS.items()
}
JOBS = {name: item for name, item in MANIFESTS.items() if item["kind"] == "RayJob"}
every_manifest = pytest.mark.parametrize("manifest", MANIFESTS.values(), ids=MANIFESTS)
every_job = pytest.mark.parametrize("job", JOBS.values(), ids=JOBS)


def cluster_of(manifest: Json) -> Json:
    return manifest["spec"]["rayClusterSpec"] if manifest["kind"] == "RayJob" else manifest["spec"]


def groups_of(manifest: Json) -> list[Json]:
    return [cluster_of(manifest)["headGroupSpec"], *cluster_of(manifest)["workerGroupSpecs"]]


def pods() -> Iterator[tuple[str, Json, Json]]:
    """(where, metadata, pod spec) of every pod that any file describes."""
    for name, manifest in MANIFESTS.items():
        for group in groups_of(manifest):
            template = group["template"]
            yield f"{name}-{group.get('groupName', 'head')}", template["metadata"], template["spec"]
        if "submitterPodTemplate" in manifest["spec"]:
            template = manifest["spec"]["submitterPodTemplate"]
            yield f"{name}-submitter", template["metadata"], template["spec"]
    [shell] = load(SHELL)
    yield "shell", shell["metadata"], shell["spec"]


PODS = {where: (metadata, spec) for where, metadata, spec in pods()}
every_pod = pytest.mark.parametrize(("metadata", "spec"), PODS.values(), ids=PODS)


def quantity(text: object) -> float:
    """A Kubernetes quantity as a number: 500m, 2, 24Gi."""
    match = re.fullmatch(r"([0-9.]+)(m|Ki|Mi|Gi|Ti)?", str(text))
    assert match, text
    units = {None: 1, "m": 1e-3, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
    return float(match[1]) * units[match[2]]


# --- the schemas of the custom resources


def strict(schema: Json) -> Json:
    """The schema as a strict API server applies it: unknown fields refused, defaults filled in."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: strict(value) for key, value in schema.items()}
    properties = schema.get("properties")
    if isinstance(properties, dict) and "type" in schema:
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            result.setdefault("additionalProperties", False)
        if "required" in schema:
            result["required"] = [
                name for name in schema["required"] if "default" not in properties.get(name, {})
            ]
    return result


@pytest.fixture(scope="module")
def validators() -> dict[str, Any]:
    folder = SHARED / "crds"
    if not folder.is_dir():
        pytest.skip("no schemas at ../shared/crds")
    found = {}
    for kind, name in SCHEMAS.items():
        versions = yaml.load((folder / name).read_text(), Loader=yaml.CSafeLoader)["spec"]["versions"]
        [schema] = [v["schema"]["openAPIV3Schema"] for v in versions if v["name"] == "v1"]
        found[kind] = jsonschema.Draft202012Validator(strict(schema))
    return found


@every_manifest
def test_manifests_fit_the_schema(manifest: Json, validators: dict[str, Any]) -> None:
    problems = [f"{e.json_path}: {e.message}" for e in validators[manifest["kind"]].iter_errors(manifest)]
    assert not problems


@pytest.mark.parametrize(
    "step",
    [
        {"op": "add", "path": "/spec/shutdownAfterJobFinish", "value": True},
        {"op": "add", "path": "/spec/rayClusterSpec/headGroupSpec/template/spec/tolerances", "value": []},
        {"op": "replace", "path": "/spec/backoffLimit", "value": "2"},
        {"op": "replace", "path": "/spec/rayClusterSpec/autoscalerOptions/version", "value": "v3"},
        {"op": "remove", "path": "/spec/rayClusterSpec/workerGroupSpecs/0/groupName"},
    ],
    ids=lambda step: step["path"].rpartition("/")[2],
)
def test_the_schema_refuses_mistakes(step: dict[str, Any], validators: dict[str, Any]) -> None:
    broken = copy.deepcopy(JOBS["job"])
    apply_step(broken, step)
    assert not validators["RayJob"].is_valid(broken)


# --- what the operator refuses though the schema allows it


def complaints(manifest: Json) -> list[str]:
    spec, cluster = manifest["spec"], cluster_of(manifest)
    found = []

    def refuse(when: object, why: str) -> None:
        if when:
            found.append(why)

    longest = 47 if manifest["kind"] == "RayJob" else 63
    name = manifest["metadata"]["name"]
    refuse(not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name) or len(name) > longest, "name")
    ends = spec.get("shutdownAfterJobFinishes", False)
    refuse(spec.get("ttlSecondsAfterFinished", 0) > 0 and not ends, "a time to live without shutdown")
    refuse(spec.get("suspend") and not ends, "suspend without shutdown")
    refuse(spec.get("activeDeadlineSeconds", 1) <= 0, "deadline")
    refuse(spec.get("backoffLimit", 0) < 0, "backoff")
    refuse("deletionStrategy" in spec, "deletionStrategy is behind a feature gate")
    refuse({"networkPolicy", "tlsOptions"} & cluster.keys(), "behind a feature gate")
    if cluster.get("authOptions", {}).get("mode") == "token":
        version = tuple(map(int, re.findall(r"\d+", cluster.get("rayVersion", "0"))))
        refuse(version < (2, 52), "a token needs rayVersion 2.52 or later")
    scales = cluster.get("enableInTreeAutoscaling", False)
    second = cluster.get("autoscalerOptions", {}).get("version") == "v2"
    for group in groups_of(manifest):
        parameters, pod = group.get("rayStartParams", {}), group["template"]["spec"]
        refuse(scales and second and pod.get("restartPolicy", "Never") != "Never", "restartPolicy")
        refuse(scales and group.get("suspend"), "a suspended group beside the autoscaler")
        refuse("labels" in parameters, "labels in rayStartParams")
        refuse(
            "resources" in group and {"num-cpus", "num-gpus", "memory"} & parameters.keys(), "resources twice"
        )
        # The operator fills these in, and a second value only disagrees with the first.
        refuse("num-gpus" in parameters, "num-gpus comes from the limits")
        mounts = [mount["mountPath"] for c in pod["containers"] for mount in c.get("volumeMounts", ())]
        refuse("/dev/shm" in mounts, "/dev/shm is the operator's")
        refuse(not all(isinstance(value, str) for value in parameters.values()), "rayStartParams are texts")
    return found


@every_manifest
def test_the_operator_accepts(manifest: Json) -> None:
    assert complaints(manifest) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("/metadata/name", "Frame_mill"),
        ("/spec/shutdownAfterJobFinishes", False),
        ("/spec/activeDeadlineSeconds", 0),
        ("/spec/rayClusterSpec/rayVersion", "2.51.0"),
        ("/spec/rayClusterSpec/headGroupSpec/template/spec/restartPolicy", "Always"),
        ("/spec/rayClusterSpec/workerGroupSpecs/1/rayStartParams/num-gpus", "1"),
    ],
)
def test_the_rules_of_the_operator_can_fail(path: str, value: object) -> None:
    broken = copy.deepcopy(JOBS["job"])
    apply_step(broken, {"op": "add", "path": path, "value": value})
    assert complaints(broken)


# --- our own rules


def test_job_and_cluster_describe_the_same_nodes() -> None:
    assert JOBS["job"]["spec"]["rayClusterSpec"] == MANIFESTS["cluster"]["spec"]


@every_manifest
def test_versions_are_the_pinned_ones(manifest: Json) -> None:
    assert CPU_PINS["ray"].specifier.contains(cluster_of(manifest)["rayVersion"])
    images = {c["image"] for group in groups_of(manifest) for c in group["template"]["spec"]["containers"]}
    assert images <= {f"framemill-{path.stem}:{framemill.__version__}" for path in DOCKERFILES}


@every_manifest
def test_nothing_is_exposed_and_a_token_is_asked_for(manifest: Json) -> None:
    cluster = cluster_of(manifest)
    head = cluster["headGroupSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert (head["serviceType"], head["enableIngress"]) == ("ClusterIP", False)
    assert head["rayStartParams"]["num-cpus"] == "0"
    [_, policy] = load("base/namespace.yaml")
    assert policy["spec"]["podSelector"] == {} and policy["spec"]["policyTypes"] == ["Ingress"]
    for rule in policy["spec"]["ingress"]:
        assert all({"podSelector"} <= source.keys() for source in rule["from"]), "a rule for everybody"


@every_pod
def test_pods_are_unprivileged_and_bounded(metadata: Json, spec: Json) -> None:
    pod = spec["securityContext"]
    assert pod["runAsNonRoot"] is True and pod["runAsUser"] == pod["runAsGroup"] == pod["fsGroup"] == 10001
    assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
    assert metadata["labels"]["app.kubernetes.io/part-of"] == "framemill"  # what the network policy lets in
    assert spec["restartPolicy"] == "Never"
    assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
    for container in spec["containers"]:
        security = container["securityContext"]
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert security["allowPrivilegeEscalation"] is False and security["readOnlyRootFilesystem"] is True
        for kind in ("requests", "limits"):
            assert {"cpu", "memory"} <= container["resources"][kind].keys()
        for name, wanted in container["resources"]["requests"].items():
            assert quantity(wanted) <= quantity(container["resources"]["limits"][name])
        assert container["image"].endswith(f":{framemill.__version__}")
        assert (
            container["imagePullPolicy"] == "IfNotPresent"
        )  # `kind load` puts images where no pull finds them


@every_pod
def test_volumes_are_declared_and_claimed(metadata: Json, spec: Json) -> None:
    claims = {item["metadata"]["name"] for item in load("base/storage.yaml")}
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    for volume in volumes.values():
        claim = volume.get("persistentVolumeClaim", {}).get("claimName")
        assert claim in claims if claim else quantity(volume["emptyDir"]["sizeLimit"]) > 0
    for container in spec["containers"]:
        mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
        assert {mount["name"] for mount in mounts.values()} <= volumes.keys()
        assert "/tmp" in mounts  # the one place to write of a read-only root
        variables = {entry["name"]: entry["value"] for entry in container.get("env", ())}
        assert variables.keys() <= set(OTHER_VARIABLES)
        assert all(value in mounts for value in variables.values())


@every_manifest
def test_nodes_have_room_for_what_they_are_told(manifest: Json) -> None:
    for group in groups_of(manifest):
        pod = group["template"]["spec"]
        [container] = pod["containers"]
        mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
        limits = container["resources"]["limits"]
        assert mounts["/media"]["readOnly"] and mounts["/models"]["readOnly"]
        assert group["rayStartParams"]["object-spilling-directory"] in mounts
        assert int(group["rayStartParams"]["object-store-memory"]) <= quantity(limits["memory"]) / 4
        if "ephemeral-storage" in limits:
            sizes = [volume["emptyDir"]["sizeLimit"] for volume in pod["volumes"] if "emptyDir" in volume]
            assert sum(map(quantity, sizes)) < quantity(limits["ephemeral-storage"])
        if "groupName" in group:
            assert pod["automountServiceAccountToken"] is False
            assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
        assert ("nvidia.com/gpu" in limits) == ("gpu" in container["image"]) == ("tolerations" in pod)


@every_job
def test_jobs_end_and_are_tried_again(job: Json) -> None:
    spec = job["spec"]
    assert spec["shutdownAfterJobFinishes"] is True and 0 < spec["ttlSecondsAfterFinished"] <= 3600
    assert spec["backoffLimit"] >= 1 and spec["activeDeadlineSeconds"] > spec["preRunningDeadlineSeconds"] > 0


def parsed(words: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What click makes of a command of ours; the settings are read as well, in a folder without settings."""
    monkeypatch.chdir(folder)
    command = cli.get_command(click.Context(cli), words[0])
    assert command is not None, words
    flags = dict(command.make_context(words[0], list(words[1:])).params)
    if words[0] == "extract":
        assert Path(flags.pop("output")).is_absolute()
        assert all(Path(source).is_absolute() for source in flags.pop("sources"))
        flags.pop("config")
        read_settings(flags, {})
    return flags


@every_job
def test_entrypoints_are_commands_of_ours_that_fit(
    job: Json, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entrypoint = job["spec"]["entrypoint"]
    # The operator pastes it unquoted into a script of the shell, and Ray gives it to a shell once more.
    assert re.fullmatch(r"[-\w/.,:= ]+", entrypoint)
    words = entrypoint.split()
    assert words[:3] == ["python", "-m", "framemill"]
    flags = parsed(words[3:], tmp_path, monkeypatch)
    # The operator answers each failure with a new cluster; inputs that fail for good fail there again.
    assert flags["tolerate_failures"] == "all"
    assert flags["engine"] == "ray"
    low, _, high = str(flags["actors"]).partition("-")
    gpus = float(flags["actor_gpus"] or 0)
    [group] = [
        group
        for group in cluster_of(job)["workerGroupSpecs"]
        if ("nvidia.com/gpu" in group["template"]["spec"]["containers"][0]["resources"]["limits"])
        == bool(gpus)
    ]
    limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert float(flags["actor_cpus"]) <= quantity(limits["cpu"]) - 1  # one is left to read and to write
    assert gpus <= quantity(limits.get("nvidia.com/gpu", 0))
    assert int(low) <= group["minReplicas"], (
        "the first actors would wait for pods when the job checks that they fit"
    )
    assert int(high or low) <= group["maxReplicas"]


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl")
@pytest.mark.parametrize("folder", ["base", "job", "gpu", "kind", "kueue"])
def test_kustomize_makes_what_was_tested_here(folder: str) -> None:
    done = subprocess.run(["kubectl", "kustomize", K8S / folder], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    key: Callable[[Json], str] = lambda item: item["kind"] + item["metadata"]["name"]  # noqa: E731
    assert sorted(yaml.safe_load_all(done.stdout), key=key) == sorted(patched(folder), key=key)
