"""The manifests for Kubernetes: by its schema, and by what no schema knows about the relay."""

import inspect
import json
import re
import subprocess
import urllib.error
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from moq_relay.daemon.commands import certs
from moq_relay.daemon.web.internal import InternalHttp
from moq_relay.transports import tls
from tests.support.relay_process import EXECUTABLE, RelayProcess, environment

HERE = Path(__file__).parents[2]
MANIFESTS = HERE / "ops/kubernetes"
OLDEST = "1.27"
"""The first release whose disruption budgets know unhealthyPodEvictionPolicy."""
MARGIN = 10
"""Seconds from the deadline of a drain to SIGKILL."""
MEBI = 1 << 20


def documents():
    return [
        document
        for path in sorted(MANIFESTS.glob("*.yaml"))
        for document in yaml.safe_load_all(path.read_text())
    ]


def of_kind(kind):
    return [document for document in documents() if document["kind"] == kind]


def pods():
    """Name of a pod of each set -> its specification, with the set's own and its only container."""
    found = {}
    for one in of_kind("StatefulSet"):
        pod = one["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        found[f"{one['metadata']['name']}-0"] = (pod, container)
    return found


POD_NAMES = ["moq-root-0", "moq-relay-0"]


@pytest.fixture(scope="module", params=POD_NAMES)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def pod(name):
    return pods()[name][0]


@pytest.fixture(scope="module")
def container(name):
    return pods()[name][1]


@pytest.fixture(scope="module")
def in_force(name, pod, container, secrets, tmp_path_factory):
    """What ``moq-relay check`` says of a pod, its volumes being directories here."""
    config, moved = of_kind("ConfigMap")[0], {}
    tmp_path = tmp_path_factory.mktemp(name)
    for mount in container["volumeMounts"]:
        (volume,) = (one for one in pod["volumes"] if one["name"] == mount["name"])
        folder = tmp_path / mount["name"]
        folder.mkdir()
        moved[mount["mountPath"]] = str(folder)
        if "configMap" in volume:
            assert volume["configMap"]["name"] == config["metadata"]["name"]
            for file, text in config["data"].items():
                (folder / file).write_text(text)
        for item in volume.get("secret", {}).get("items", ()):
            text = secrets[volume["secret"]["secretName"]][item["key"]]
            (folder / item["path"]).write_text(text)
    for file in tmp_path.glob("*/*.toml"):
        file.write_text(here(file.read_text(), moved))
    done = subprocess.run(
        [EXECUTABLE, "check", *(here(word, moved) for word in container["args"])],
        capture_output=True,
        text=True,
        env=environment() | variables(name, container),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "not in the list" not in done.stderr
    return done.stdout, moved


@pytest.fixture(scope="module")
def secrets(tmp_path_factory):
    """What an operator would put there: name of a secret -> key -> text."""
    folder = tmp_path_factory.mktemp("secrets")
    certs.write(folder, "tls", tls.generate(["*.relay.example.com"]))
    return {
        "moq-relay-tls": {
            "tls.crt": (folder / "tls.pem").read_text(),
            "tls.key": (folder / "tls.key").read_text(),
        },
        "moq-relay-auth": {
            "key.jwk": json.dumps({"kty": "oct", "alg": "HS256", "k": "A" * 43}),
        },
        "moq-relay-internal": {"token": "not to be guessed\n"},
        "moq-relay-redis": {"url": "redis://:secret@redis.example.com:6379\n"},
    }


def here(text, moved):
    """The same with the paths of volumes as they are on this machine."""
    there = "|".join(map(re.escape, moved))
    return re.sub(rf"(?<![\w/])({there})(?=/)", lambda path: moved[path[1]], text)


def variables(name, container):
    """What the container gets, each expanded with those before it."""
    fields = {"metadata.name": name, "status.hostIP": "10.0.0.7"}
    known = {}
    for variable in container["env"]:
        if "valueFrom" in variable:
            value = fields[variable["valueFrom"]["fieldRef"]["fieldPath"]]
        else:
            value = re.sub(r"\$\((\w+)\)", lambda word: known[word[1]], variable["value"])
        known[variable["name"]] = value
    return known


def setting(lines, key):
    (value,) = re.findall(rf"^{re.escape(key)} = (.*?)  +#", lines, re.MULTILINE)
    return json.loads(value)


@pytest.mark.parametrize("release", [OLDEST, kubernetes_validate.latest_version()])
@pytest.mark.parametrize(
    "document", documents(), ids=lambda it: f"{it['kind']} {it['metadata']['name']}"
)
def test_the_schema_takes_every_document_and_every_field_of_it(document, release):
    kubernetes_validate.validate(document, release, strict=True)


def test_there_are_roots_and_relays():
    assert sorted(pods()) == sorted(POD_NAMES)


def test_all_pods_run_one_image_of_a_named_version():
    images = {container["image"] for _, container in pods().values()}

    assert len(images) == 1
    assert re.fullmatch(r"registry\.example\.com/moq-relay:\d+\.\d+\.\d+", images.pop())


def test_the_relay_takes_its_settings_and_gets_the_name_of_its_pod(name, in_force):
    lines, _ = in_force

    assert setting(lines, "cluster.node") == f"https://{name}.relay.example.com:4443/"


def test_relays_join_at_the_roots_that_there_are_and_roots_at_none(name, in_force):
    lines, _ = in_force
    (roots,) = (one for one in of_kind("StatefulSet") if one["metadata"]["name"] == "moq-root")
    domain = of_kind("Service")[0]["metadata"]["annotations"][
        "external-dns.alpha.kubernetes.io/hostname"
    ]

    if name.startswith("moq-root"):
        assert "# cluster.root is not set" in lines
    else:
        assert setting(lines, "cluster.root") == [
            f"https://moq-root-{number}.{domain}:4443/"
            for number in range(roots["spec"]["replicas"])
        ]


def test_ports_are_those_that_the_settings_name_and_the_hosts_own(container, in_force):
    lines, _ = in_force
    ports = {port["name"]: port for port in container["ports"]}

    for key, port, protocol in (
        ("server.listen", "quic", "UDP"),
        ("web.http.listen", "http", "TCP"),
        ("internal.listen", "internal", "TCP"),
    ):
        number = int(setting(lines, key).rpartition(":")[2])
        assert ports.pop(port) == {
            "name": port,
            "containerPort": number,
            "hostPort": number,
            "protocol": protocol,
        }
    assert not ports


def test_what_is_internal_is_not_served_at_the_hosts_public_address(in_force):
    assert setting(in_force[0], "internal.listen") == "10.0.0.7:9101"


def test_every_file_that_the_settings_name_is_mounted_from_a_secret(pod, in_force):
    lines, moved = in_force
    secret = {volume["name"] for volume in pod["volumes"] if "secret" in volume}
    folders = {folder for folder in moved.values() if Path(folder).name in secret}

    for key in (
        "server.tls.cert",
        "server.tls.key",
        "auth.key",
        "redis.url_file",
        "internal.token_file",
    ):
        path = Path(setting(lines, key))
        assert str(path.parent) in folders
        assert path.exists()


def test_no_secret_is_in_a_variable_or_in_the_configuration(container):
    assert not any("secretKeyRef" in one.get("valueFrom", {}) for one in container["env"])
    assert "envFrom" not in container
    for text in of_kind("ConfigMap")[0]["data"].values():
        assert not re.search(r"\b(password|token|url) *=", text)


def test_probes_ask_what_the_relay_answers_at_its_internal_port(container):
    routes = inspect.getsource(InternalHttp.application)
    ports = {port["name"] for port in container["ports"]}

    paths = {}
    for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
        asked = container[kind]["httpGet"]
        assert asked["port"] == "internal"
        assert asked["port"] in ports
        assert f'"{asked["path"]}"' in routes
        paths[kind] = asked["path"]
    assert paths == {
        "startupProbe": "/health",
        "livenessProbe": "/health",
        "readinessProbe": "/ready",
    }


def test_a_relay_that_leaves_has_the_time_that_a_drain_takes(pod, in_force):
    """With what the setting's own description asks for until SIGKILL."""
    deadline = setting(in_force[0], "drain.deadline")

    assert pod["terminationGracePeriodSeconds"] >= deadline + MARGIN


def test_a_pod_is_not_restarted_before_a_root_tells_of_the_one_before_it(name, in_force):
    (one,) = (it for it in of_kind("StatefulSet") if f"{it['metadata']['name']}-0" == name)
    lease, renew = (setting(in_force[0], f"cluster.{key}") for key in ("lease", "renew"))

    assert one["spec"]["minReadySeconds"] >= lease + renew


def test_the_hook_drains_a_relay_which_sigterm_then_ends_at_once(
    name, container, secrets, tmp_path
):
    relay = RelayProcess(tmp_path, ["moq-lite-05"])
    token = tmp_path / "token"
    token.write_text(secrets["moq-relay-internal"]["token"])
    relay.environment = {"MOQ_INTERNAL_TOKEN_FILE": str(token)}
    program, *words = container["lifecycle"]["preStop"]["exec"]["command"]
    assert program == EXECUTABLE.name
    listen = f"127.0.0.1:{relay.internal_port}"
    relay.start()
    try:
        done = subprocess.run(
            [
                EXECUTABLE,
                *(here(word, {"/etc/moq-relay/internal": str(tmp_path)}) for word in words),
            ],
            capture_output=True,
            text=True,
            env=environment() | variables(name, container) | {"MOQ_INTERNAL_LISTEN": listen},
        )
        assert done.returncode == 0, done.stderr
        with pytest.raises(urllib.error.HTTPError, match="503"):
            relay.get("/ready")
        assert relay.get("/health")
        relay.stop()
    finally:
        relay.kill()


def test_one_at_a_time_leaves_of_all_that_there_are():
    (budget,) = of_kind("PodDisruptionBudget")
    selector = budget["spec"]["selector"]["matchLabels"]

    assert budget["spec"]["maxUnavailable"] == 1
    for one in of_kind("StatefulSet"):
        labels = one["spec"]["template"]["metadata"]["labels"]
        assert selector.items() <= labels.items()
        assert one["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_two_sets_do_not_select_each_others_pods():
    selectors = [one["spec"]["selector"]["matchLabels"] for one in of_kind("StatefulSet")]

    assert len({tuple(sorted(selector.items())) for selector in selectors}) == len(selectors)


def test_no_service_stands_before_the_port_of_quic():
    """One that names the pods, and balances nothing."""
    (service,) = of_kind("Service")

    assert service["spec"]["clusterIP"] == "None"
    assert [port["targetPort"] for port in service["spec"]["ports"]] == ["internal"]
    assert service["spec"]["publishNotReadyAddresses"]
    for one in of_kind("StatefulSet"):
        assert one["spec"]["serviceName"] == service["metadata"]["name"]
        labels = one["spec"]["template"]["metadata"]["labels"]
        assert service["spec"]["selector"].items() <= labels.items()


def test_pods_have_the_hosts_network_and_still_find_services_by_name(pod):
    assert pod["hostNetwork"]
    assert pod["dnsPolicy"] == "ClusterFirstWithHostNet"
    assert not pod["enableServiceLinks"], "a Service moq-… would set variables MOQ_…"
    assert not pod["automountServiceAccountToken"]


def test_the_user_is_that_of_the_image_and_may_do_little(pod, container):
    (uid,) = re.findall(r"useradd --uid (\d+)", (HERE / "Dockerfile").read_text())

    context = pod["securityContext"]
    assert context["runAsNonRoot"]
    assert {context["runAsUser"], context["runAsGroup"], context["fsGroup"]} == {int(uid)}
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    for volume in pod["volumes"]:
        for kind in ("secret", "configMap"):
            assert volume.get(kind, {}).get("defaultMode", 0o440) == 0o440


def test_the_memory_is_several_times_the_cache(container, in_force):
    amount = re.fullmatch(r"(\d+)Gi", container["resources"]["limits"]["memory"])

    assert int(amount[1]) * 1024 * MEBI >= 4 * setting(in_force[0], "cache.capacity")
    assert "cpu" not in container["resources"]["limits"]
