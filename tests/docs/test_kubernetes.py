"""The example for Kubernetes: each file is right by schema, and the service runs in each environment."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate  # type: ignore[import-untyped]  # it has no types
import pytest
import yaml

from meshid.__main__ import main
from meshid.health.state_file import StateFile
from meshid.settings.keys import CONFIG_DIR
from meshid.settings.settings import KEYS
from meshid.testing import CA, Issued
from tests.helpers.mounted import eventually
from tests.helpers.port_process import MESHID, connected, echo, started
from tests.helpers.processes import UNMEASURED
from tests.helpers.tls_peers import HELLO, HOST, TIMEOUT, knock, mesh_of, threaded_server
from tests.helpers.volumes import KubernetesVolume, pair

EXAMPLE = Path(__file__).parents[2] / "docs" / "kubernetes"
ENVIRONMENTS = ("dev", "staging", "prod")
MANIFESTS = sorted(EXAMPLE.glob("*/*.yaml"))
VERSION = "1.37"

NAME = {"type": "string", "pattern": r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"}
DURATION = {"type": "string", "pattern": r"^([0-9]+(h|m|s))+$"}


def closed(required: list[str], **properties: object) -> dict[str, object]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": required,
        "properties": properties,
    }


# What is used of https://cert-manager.io/docs/reference/api-docs/#cert-manager.io/v1.CertificateSpec
CERTIFICATE = closed(
    ["apiVersion", "kind", "metadata", "spec"],
    apiVersion={"const": "cert-manager.io/v1"},
    kind={"const": "Certificate"},
    metadata=closed(["name"], name=NAME),
    spec=closed(
        ["secretName", "issuerRef"],
        secretName=NAME,
        uris={"type": "array", "items": {"type": "string", "format": "uri"}},
        duration=DURATION,
        renewBefore=DURATION,
        usages={"type": "array", "items": {"enum": ["digital signature", "client auth", "server auth"]}},
        privateKey=closed(
            [],
            algorithm={"enum": ["RSA", "ECDSA", "Ed25519"]},
            size={"enum": [256, 384, 521]},
            rotationPolicy={"enum": ["Never", "Always"]},
        ),
        issuerRef=closed(["name"], name=NAME, kind={"enum": ["Issuer", "ClusterIssuer"]}),
    ),
)

# And of https://kubectl.docs.kubernetes.io/references/kustomize/kustomization/
KUSTOMIZATION = closed(
    ["apiVersion", "kind"],
    apiVersion={"const": "kustomize.config.k8s.io/v1beta1"},
    kind={"const": "Kustomization"},
    namespace=NAME,
    resources={"type": "array", "items": {"type": "string"}},
    configMapGenerator={
        "type": "array",
        "items": closed(["name", "files"], name=NAME, files={"type": "array", "items": {"type": "string"}}),
    },
    generatorOptions=closed([], disableNameSuffixHash={"type": "boolean"}),
)
SCHEMAS = {"Certificate": CERTIFICATE, "Kustomization": KUSTOMIZATION}


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text("utf-8")))


def the(kind: str, path: Path) -> dict[str, Any]:
    (found,) = [document for document in documents(path) if document["kind"] == kind]
    return found


DEPLOYMENT = the("Deployment", EXAMPLE / "base" / "payments.yaml")
POD = DEPLOYMENT["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]
SIDECAR_POD = the("Deployment", EXAMPLE / "sidecar" / "payments.yaml")["spec"]["template"]["spec"]
(SIDECAR,) = SIDECAR_POD["initContainers"]
KINDS = {"base": (POD, CONTAINER), "sidecar": (SIDECAR_POD, SIDECAR)}


def variables(container: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["value"] for each in container["env"]}


class TestFiles:
    @pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: str(path.relative_to(EXAMPLE)))
    def test_each_is_right_by_schema(self, path: Path) -> None:
        for document in documents(path):
            if schema := SCHEMAS.get(document["kind"]):
                jsonschema.validate(document, schema)
            else:
                kubernetes_validate.validate(document, VERSION, strict=True)

    def test_the_secret_on_the_page_is_one(self) -> None:
        page = (EXAMPLE.parent / "kubernetes.md").read_text("utf-8")
        (block,) = re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
        kubernetes_validate.validate(yaml.safe_load(block), VERSION, strict=True)

    def test_the_schemas_notice_a_mistake(self) -> None:
        wrong = yaml.safe_load(yaml.safe_dump(DEPLOYMENT))
        wrong["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(wrong, VERSION, strict=True)

    def test_what_they_name_is_there(self) -> None:
        for path in EXAMPLE.glob("*/kustomization.yaml"):
            kustomization = the("Kustomization", path)
            files = [file for each in kustomization.get("configMapGenerator", []) for file in each["files"]]
            for name in [*kustomization.get("resources", []), *files]:
                assert (path.parent / name).exists(), name

    @pytest.mark.parametrize("kind", KINDS)
    def test_whole_volumes_are_mounted_and_all_of_them(self, kind: str) -> None:
        pod, container = KINDS[kind]
        assert {each["name"] for each in container["volumeMounts"]} == {
            each["name"] for each in pod["volumes"]
        }
        assert not any("subPath" in each for each in container["volumeMounts"])
        assert pod["enableServiceLinks"] is False

    def test_the_service_beside_the_port_has_no_key(self) -> None:
        (service,) = SIDECAR_POD["containers"]
        assert "volumeMounts" not in service
        assert SIDECAR["restartPolicy"] == "Always"

    def test_every_name_is_one_of_meshids(self) -> None:
        for _, container in KINDS.values():
            assert variables(container).keys() <= {*(key.variable for key in KEYS), CONFIG_DIR}
        for environment in ENVIRONMENTS:
            settings = the("ConfigMap", EXAMPLE / environment / f"{environment}.yaml")["data"]
            assert settings.keys() <= {key.name for key in KEYS}
            assert settings["environment"] == environment

    def test_the_image_and_the_deployment_know_no_environment_and_no_port(self) -> None:
        files = (EXAMPLE / "app.py", *(EXAMPLE / kind / "payments.yaml" for kind in KINDS))
        text = "".join(file.read_text("utf-8") for file in files)
        assert not re.search(r"[0-9]443|example\.org/ns|\b(dev|staging|prod)\b", text)

    @pytest.mark.parametrize("environment", ENVIRONMENTS)
    def test_the_service_reaches_the_port_that_is_set(self, environment: str) -> None:
        path = EXAMPLE / environment / f"{environment}.yaml"
        (port,) = the("Service", path)["spec"]["ports"]
        assert str(port["targetPort"]) == the("ConfigMap", path)["data"]["port"]
        assert the("Certificate", path)["spec"]["uris"] == [
            f"spiffe://{environment}.example.org/ns/payments/sa/api"
        ]


PYTHON, *PROBE = CONTAINER["readinessProbe"]["exec"]["command"]


def is_ready(below: Callable[[str], str], environ: dict[str, str]) -> bool:
    """Run the readiness probe, on files in another place."""
    assert PYTHON == "python"
    ended = subprocess.run(
        [sys.executable, *map(below, PROBE)], env=environ, capture_output=True, check=False
    )
    return ended.returncode == 0


class TestProbe:
    """The readiness probe answers as `meshid status` does."""

    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        return tmp_path / "state.json"

    def is_ready(self, file: Path) -> bool:
        ready = is_ready(lambda text: text.replace("/run/meshid/state.json", str(file)), dict(os.environ))
        assert ready is (main(["status", str(file)]) == 0)
        return ready

    def test_what_the_process_says(self, file: Path, prod_ca: CA) -> None:
        state = StateFile(file)
        mesh = mesh_of(prod_ca)
        assert state.write(mesh.status(), 0) is None
        assert self.is_ready(file)
        mesh.publish(policy=None)
        assert state.write(mesh.status(), 1) is None
        assert not self.is_ready(file)

    def test_nobody_is_ready_by_a_text(self, file: Path, prod_ca: CA) -> None:
        """What a file of others can bring into an alarm, or a name."""
        status = {
            **mesh_of(prod_ca, policy=None).status(),
            "service": '"ready": true',
            "a": '\\"ready": true',
        }
        assert StateFile(file).write(status, 0) is None
        assert not self.is_ready(file)

    def test_there_is_no_file(self, file: Path) -> None:
        assert not self.is_ready(file)

    @pytest.mark.parametrize("seconds", [-40, 40])
    def test_its_process_is_gone_or_its_clock_wrong(self, file: Path, prod_ca: CA, seconds: float) -> None:
        then = time.time() + seconds
        clock = lambda: then  # noqa: E731
        StateFile(file).write(mesh_of(prod_ca, clock=clock).status(), 0)
        os.utime(file, (then, then))
        assert not self.is_ready(file)

    @pytest.mark.slow
    def test_it_costs_at_most_a_bare_start_of_python(self, file: Path, prod_ca: CA) -> None:
        StateFile(file).write(mesh_of(prod_ca).status(), 0)
        probe = [text.replace("/run/meshid/state.json", str(file)) for text in PROBE]
        commands = {"probe": [sys.executable, *probe], "bare": [sys.executable, "-c", "pass"]}
        # In turns, so that whatever else this machine does slows both down alike.
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(30):
            for name, command in commands.items():
                begin = time.perf_counter()
                subprocess.run(command, check=True, env=UNMEASURED)
                seconds[name].append(time.perf_counter() - begin)
        assert min(seconds["probe"]) < 1.1 * min(seconds["bare"])


class Pod:
    """The volumes of a pod as the kubelet lays them out, below a directory in place of the root."""

    def __init__(self, root: Path, environment: str, ca: CA, container: dict[str, Any] = CONTAINER) -> None:
        self.root = root
        settings = the("ConfigMap", EXAMPLE / environment / f"{environment}.yaml")["data"]
        own = pair(ca.issue("/ns/payments/sa/api")) | {"ca.crt": ca.pem}
        base = EXAMPLE / "policy"
        volumes = {
            "settings": {name: self._below(root, value).encode() for name, value in settings.items()},
            "tls": own,
            "trust": {"ca.pem": ca.pem},
            "policy": {name: (base / name).read_bytes() for name in ("policy.toml", "deny.toml")},
            "state": {},
        }
        # A free one, for this machine has others.
        volumes["settings"]["port"] = b"0"
        self.volumes = {}
        for mount in container["volumeMounts"]:
            path = root / mount["mountPath"].removeprefix("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            self.volumes[mount["name"]] = KubernetesVolume(path, volumes[mount["name"]])
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("MESHID")},
            **{name: self._below(root, value) for name, value in variables(container).items()},
        }

    def _below(self, root: Path, text: str) -> str:
        return re.sub(r"(?<![\w.])/(etc|run)/", rf"{root}/\1/", text)

    @contextlib.contextmanager
    def running(self) -> Iterator[int]:
        """Run the service, and yield its port."""
        with subprocess.Popen(
            [sys.executable, str(EXAMPLE / "app.py")], env=self.environ, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            try:
                yield int(process.stdout.readline().removeprefix("listening on port "))
            finally:
                process.terminate()

    def is_ready(self) -> bool:
        return is_ready(lambda text: self._below(self.root, text), self.environ)


def answer(port: int, client: Issued) -> bytes:
    return knock(port, client.client_context()).answer


@pytest.mark.slow
@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_service_runs(environment: str, tmp_path: Path) -> None:
    authorities = {name: CA(f"{name}.example.org") for name in ENVIRONMENTS}
    ca, other = authorities[environment], authorities["dev" if environment == "prod" else "prod"]
    pod = Pod(tmp_path, environment, ca)
    checkout = "/ns/checkout/sa/api"
    with pod.running() as port:
        expected = f"hello spiffe://{environment}.example.org{checkout}\n".encode()
        client = ca.issue(checkout)
        assert answer(port, client) == expected
        assert answer(port, ca.issue("/ns/reports/sa/batch")) == b""
        assert answer(port, other.issue(checkout)) == b""
        # The same name, minted by the authority of another environment.
        assert answer(port, other.issue(f"spiffe://{environment}.example.org{checkout}")) == b""
        assert eventually(pod.is_ready)
        # Taken back while it is connected.
        with socket.create_connection((HOST, port), TIMEOUT) as plain:
            tls = client.client_context().wrap_socket(plain)
            tls.sendall(HELLO)
            assert tls.recv(100) == expected
            base = EXAMPLE / "policy"
            denied = (
                f"version = 1\n[[deny]]\npeer = 'spiffe://{environment}.example.org{checkout}'\n".encode()
            )
            pod.volumes["policy"].swap(
                {"policy.toml": (base / "policy.toml").read_bytes(), "deny.toml": denied}
            )
            with contextlib.suppress(ConnectionError):
                assert tls.recv(100) == b""
            tls.close()
        assert answer(port, client) == b""


@pytest.mark.slow
def test_the_port_runs_beside_a_service_that_knows_nothing_of_tls(tmp_path: Path) -> None:
    ca = CA("prod.example.org")
    pod = Pod(tmp_path / "pod", "prod", ca, SIDECAR)
    command, *arguments = SIDECAR["command"]
    assert command == "meshid"
    with threaded_server(echo) as service:
        # Free ones, for this machine has others.
        local = {
            "MESHID_HOST": HOST,
            "MESHID_UPSTREAM": f"{HOST}:{service.port}",
            "MESHID_STATUS_ADDRESS": f"{HOST}:0",
        }
        assert local.keys() <= pod.environ.keys()
        with started([MESHID, *arguments], {**pod.environ, **local}, tmp_path / "log") as port:
            probes = {each: SIDECAR[each]["httpGet"]["path"] for each in ("livenessProbe", "readinessProbe")}
            status = port.said[0].rpartition(" ")[2].strip()
            for path in probes.values():
                with urllib.request.urlopen(f"http://{status}{path}", timeout=TIMEOUT) as answered:
                    assert answered.status == 200
            with connected(port.port, ca.issue("/ns/checkout/sa/api").client_context()):
                pass
            assert answer(port.port, ca.issue("/ns/reports/sa/batch")) == b""
            assert port.logs("refused spiffe://prod.example.org/ns/reports/sa/batch")
            assert port.stop() == 0
