"""What a deployment is made of is valid, closed to others, without a known password, and stays when written again."""

from __future__ import annotations

import json
import re
import ssl
import subprocess
from pathlib import Path
from typing import Any

import bcrypt
import kubernetes_validate  # type: ignore[import-untyped]  # it has no types
import pytest
import yaml

from panorama_driver.backend._settings import Settings
from panorama_driver.backend.containers import Written, write
from panorama_driver.config import netrc_login, shared_folder
from panorama_driver.errors import EnvironmentMissingError, UsageError
from tests.backend.conftest import IMAGE, prepare, tool
from tests.backend.containers import read

DEPLOY = shared_folder("deploy")
COMPOSE = sorted(DEPLOY.glob("compose*.yml"))
MANIFESTS = sorted(path for path in DEPLOY.glob("kubernetes/base/*.yaml") if path.name != "kustomization.yaml")
_YAMLLINT = """
extends: default
rules: {line-length: {max: 120}, document-start: disable, braces: {max-spaces-inside: 1}, truthy: {check-keys: false},
        octal-values: disable}
"""


def merged(written: Written, podman: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(written.folder)
    return read(list(written.settings.files), podman)


def check(*words: object) -> None:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_compose_files_are_valid_by_the_compose_specification() -> None:
    assert len(COMPOSE) == 3
    check(tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", *COMPOSE)


def test_the_yaml_is_as_a_linter_wants_it() -> None:
    check(tool("yamllint"), "--strict", "-d", _YAMLLINT, DEPLOY)


def test_the_shell_script_is_as_a_linter_wants_it() -> None:
    check(tool("shellcheck"), DEPLOY / "prepare.sh")


def test_the_containerfile_is_as_a_linter_wants_it() -> None:
    check(tool("hadolint"), DEPLOY / "Containerfile")


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_the_manifests_are_valid_for_kubernetes(path: Path) -> None:
    for manifest in yaml.safe_load_all(path.read_text()):
        kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize("overlay", ["opensearch", "sqlite"])
def test_an_overlay_finds_all_that_it_names(overlay: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "d", IMAGE | {"store": overlay}).folder / "kubernetes" / "overlays" / overlay
    told = yaml.safe_load((folder / "kustomization.yaml").read_text())
    [base] = told["resources"]
    below = yaml.safe_load((folder / base / "kustomization.yaml").read_text())
    assert all((folder / base / name).is_file() for name in below["resources"])
    [secret] = told["secretGenerator"]
    files = [folder / name for name in secret["files"]]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    values: dict[str, str] = {}
    for generator in (*below["configMapGenerator"], *told["configMapGenerator"]):
        values |= dict(literal.split("=", 1) for literal in generator["literals"])
    wanted = {f"/run/panorama/{path.name}" for path in files}
    manifests = [each for path in MANIFESTS for each in yaml.safe_load_all(path.read_text())]
    for pod in pods(manifests):
        [container] = pod["containers"]
        arguments = [re.sub(r"\$\((\w+)\)", lambda name: values[name[1]], word) for word in container["args"]]
        assert {word for word in arguments if word.startswith("/run/panorama/")} <= wanted
        assert values["PANORAMA_STORE"] in arguments
    assert {values[name] for name in ("PANORAMA_STORE_NETRC", "PANORAMA_STORE_CA") if name in values} <= wanted


def test_a_patch_of_an_overlay_makes_a_valid_manifest() -> None:
    """As RFC 6902 has it: each path of our patches leads into the manifest that it is for."""
    overlay = yaml.safe_load((DEPLOY / "kubernetes" / "overlays" / "sqlite" / "kustomization.yaml").read_text())
    [patch] = overlay["patches"]
    manifests = [each for path in MANIFESTS for each in yaml.safe_load_all(path.read_text())]
    [dashboard] = [each for each in manifests if patch["target"] == {"kind": each["kind"], "name": name(each)}]
    for operation in yaml.safe_load(patch["patch"]):
        *way, last = operation["path"].strip("/").split("/")
        place: Any = dashboard
        for step in way:
            place = place[int(step)] if isinstance(place, list) else place[step]
        assert operation["op"] == "add"
        if last == "-":
            place.append(operation["value"])
        else:
            place[last] = operation["value"]
    kubernetes_validate.validate(dashboard, kubernetes_validate.latest_version(), strict=True)
    claims = [
        each["persistentVolumeClaim"]["claimName"] for each in volumes(dashboard) if "persistentVolumeClaim" in each
    ]
    assert claims == [name(each) for each in manifests if each["kind"] == "PersistentVolumeClaim"]


def name(manifest: dict[str, Any]) -> str:
    return str(manifest["metadata"]["name"])


def volumes(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    return list(manifest["spec"]["template"]["spec"]["volumes"])


def pods(manifests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [each["spec"]["template"]["spec"] for each in manifests if each["kind"] == "Deployment"]


def test_pods_may_do_nothing_that_they_need_not() -> None:
    """What Kubernetes' pod security standard "restricted" asks for, which the namespace enforces."""
    manifests = [each for path in MANIFESTS for each in yaml.safe_load_all(path.read_text())]
    for pod in pods(manifests):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        for container in (*pod["initContainers"], *pod["containers"]):
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False
            assert own["capabilities"] == {"drop": ["ALL"]}
            assert own["readOnlyRootFilesystem"] is True
            assert container["resources"]["limits"].keys() == {"cpu", "memory"}


def test_secrets_are_files_that_only_their_owner_can_read(full: Written) -> None:
    modes = {path.name: path.stat().st_mode & 0o777 for path in (full.folder / "secrets").iterdir()}
    assert len(modes) >= 15
    assert set(modes.values()) == {0o600}
    assert (full.folder / "secrets").stat().st_mode & 0o777 == 0o700


def test_no_password_is_known_or_used_twice(full: Written) -> None:
    secrets = full.folder / "secrets"
    logins = {
        file: netrc_login(secrets / file, "127.0.0.1")
        for file in ("collector-netrc", "publisher-netrc", "search-netrc")
    }
    words = [password for _, password in logins.values()]
    words += [(secrets / file).read_text().strip() for file in ("collector-token", "dashboard-token")]
    assert len(set(words)) == 5
    assert all(len(word) >= 32 for word in words)
    for path in full.folder.rglob("*"):
        if path.is_file() and "secrets" not in path.parts:
            assert not any(word in path.read_text() for word in words), path


def test_the_search_engine_knows_the_password_by_its_hash_alone(full: Written) -> None:
    secrets = full.folder / "secrets"
    user, password = netrc_login(secrets / "search-netrc", "search")
    text = (secrets / "search-internal-users.yml").read_text()
    assert password not in text
    told = yaml.safe_load(text)
    assert told.keys() == {"_meta", user}
    assert bcrypt.checkpw(password.encode(), told[user]["hash"].encode())
    mapping = yaml.safe_load((full.folder / "config" / "opensearch-security" / "roles_mapping.yml").read_text())
    assert mapping["panorama"]["users"] == [user]


@pytest.mark.parametrize(
    ("file", "host"), [("broker", "broker.example.org"), ("collector", "localhost"), ("search", "search")]
)
def test_a_certificate_is_good_for_its_hosts_and_no_others(full: Written, file: str, host: str) -> None:
    secrets = full.folder / "secrets"
    assert shakes_hands(secrets, file, host)
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shakes_hands(secrets, file, "elsewhere.example.org")


def shakes_hands(secrets: Path, file: str, host: str) -> bool:
    """Whether a client that trusts the deployment's authority takes the server for this host."""
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(secrets / f"{file}.pem", secrets / f"{file}.key")
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context(cafile=secrets / "ca.pem").wrap_bio(to_client, to_server, server_hostname=host)
    server = served.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        done = 0
        for side in (client, server):
            try:
                side.do_handshake()
                done += 1
            except ssl.SSLWantReadError:
                pass
        if done == 2:
            return True
    return False


def test_written_again_it_keeps_secrets_and_settings(full: Written) -> None:
    secrets = full.folder / "secrets"
    before = {path.name: path.read_bytes() for path in secrets.iterdir()}
    again = write(full.folder, {"dashboard_port": 8400})
    assert {path.name: path.read_bytes() for path in secrets.iterdir()} == before
    assert again.settings.dashboard_port == 8400
    assert again.settings.names == ("broker.example.org",)
    assert again.settings.tls
    assert Settings.read(full.folder / ".env") == again.settings


def test_another_name_makes_another_certificate_by_the_same_authority(full: Written) -> None:
    secrets = full.folder / "secrets"
    authority, certificate = (secrets / "ca.pem").read_bytes(), (secrets / "broker.pem").read_bytes()
    write(full.folder, {"names": ("other.example.org",)})
    assert (secrets / "ca.pem").read_bytes() == authority
    assert (secrets / "broker.pem").read_bytes() != certificate
    assert shakes_hands(secrets, "broker", "other.example.org")


def test_nothing_is_open_beyond_this_machine_unless_asked(
    simple: Written, full: Written, podman: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = {name: each.get("ports", []) for name, each in merged(simple, podman, monkeypatch)["services"].items()}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)
    assert {name for name, ports in published.items() if ports} == {"broker", "collector", "dashboard"}
    asked = {name: each.get("ports", []) for name, each in merged(full, podman, monkeypatch)["services"].items()}
    abroad = {port for ports in asked.values() for port in ports if not port.startswith("127.0.0.1:")}
    assert abroad == {"0.0.0.0:5671:5671", "0.0.0.0:8470:8470"}
    assert "--certificate" in merged(full, podman, monkeypatch)["services"]["collector"]["command"]
    assert asked["search"] == []


def test_containers_may_do_nothing_that_they_need_not(
    full: Written, podman: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = merged(full, podman, monkeypatch)["services"]
    assert services.keys() == {"prepare", "broker", "search", "collector", "dashboard"}
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service.get("read_only", False) is (name != "search"), name
        assert (service["user"] == "0:0") is (name == "prepare"), name
        assert service["mem_limit"], name
        assert service["pids_limit"], name
        assert "@sha256:" in service["image"] or re.search(r":\d+\.\d+\.\d+$|:test$", service["image"]), name
        assert ("healthcheck" in service) is (name != "prepare"), name


def test_all_files_that_a_service_is_told_of_are_given_to_it(
    full: Written, podman: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    services = merged(full, podman, monkeypatch)["services"]
    given = tmp_path / "to"
    prepare(full, given, services["prepare"]["secrets"])
    for name in ("broker", "search", "collector", "dashboard"):
        told = json.dumps(services[name])
        if name == "broker":
            told += (given / name / "rabbitmq.conf").read_text()
        paths = {Path(path) for path in re.findall(r"/run/panorama/([\w.-]*\w)", told)}
        assert paths
        assert all(
            (given / name / path).is_file() for path in paths if path != Path("ca.pem") or name != "dashboard"
        ), paths
    modes = {path.stat().st_mode & 0o777 for path in given.rglob("*") if path.is_file() and "secrets" not in path.parts}
    assert modes == {0o400}
    settings = yaml.safe_load((given / "search" / "opensearch.yml").read_text())
    named = [value for key, value in settings.items() if key.endswith("_filepath")]
    assert all((given / "search" / value).is_file() for value in named)


def test_an_address_that_others_reach_needs_no_second_word_for_tls(tmp_path: Path) -> None:
    assert write(tmp_path / "d", IMAGE | {"address": "0.0.0.0", "store": "sqlite"}).settings.tls


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"address": "example.org"}, "give an IP address"),
        ({"project": "My Project"}, "lower-case letters"),
        ({"image": "x; rm -rf"}, "letters, digits"),
    ],
)
def test_a_setting_that_does_not_fit_is_told(asked: dict[str, object], words: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=words):
        write(tmp_path / "d", IMAGE | asked)
    assert not (tmp_path / "d").exists()


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    with pytest.raises(UsageError, match="no deployment"):
        write(tmp_path, IMAGE)
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


def test_a_new_wheel_takes_the_place_of_the_old_one(simple: Written, tmp_path: Path) -> None:
    image = simple.folder / "image"
    for version in ("0.1.0", "0.2.0"):
        wheel = tmp_path / f"panorama_driver-{version}-py3-none-any.whl"
        wheel.write_text(version)
        write(simple.folder, {}, wheel)
        assert [path.name for path in image.glob("*.whl")] == [wheel.name]
    write(simple.folder, {})
    assert [path.name for path in image.glob("*.whl")] == [wheel.name]


def test_what_could_not_be_written_can_be_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "d"
    with monkeypatch.context() as without:
        without.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(EnvironmentMissingError, match=r"panorama-driver\[deploy\]"):
            write(folder, IMAGE)
    assert (write(folder, {}).folder / "secrets" / "search.pem").is_file()
