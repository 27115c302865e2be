"""The image's recipe and the manifests: valid, and of one mind with each other."""

import os
import re
import shlex
import shutil
import subprocess

import kubernetes_validate
import pytest
import setuptools
import yaml

from kubeflow.cluster import Cluster
from pipeline_def.code_version import ROOT

MANIFESTS = ROOT / "kubeflow/manifests"
KUBERNETES_VERSION = "1.29"
USER = "65532"


def instructions() -> list[tuple[str, str]]:
    """Returns the Dockerfile's instructions, continued lines joined."""
    text = (ROOT / "kubeflow/Dockerfile").read_text()
    joined = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    return [
        (line.split(None, 1)[0], " ".join(line.split()[1:]))
        for line in joined.splitlines()
        if line.strip()
    ]


def stage(name: str) -> list[tuple[str, str]]:
    """Returns the instructions of a stage of the Dockerfile; "" is the last."""
    stages: dict[str, list[tuple[str, str]]] = {}
    for instruction, rest in instructions():
        if instruction == "FROM":
            current = stages.setdefault(rest.partition(" AS ")[2], [])
        else:
            current.append((instruction, rest))
    return stages[name]


def manifests() -> list[dict]:
    return [
        document
        for path in sorted(MANIFESTS.glob("*.yaml"))
        if path.name != "kustomization.yaml"
        for document in yaml.safe_load_all(path.read_text())
    ]


def of_kind(kind: str) -> dict:
    (found,) = [one for one in manifests() if one["kind"] == kind]
    return found


def test_every_base_image_has_a_version():
    bases = [rest.split()[0] for instruction, rest in instructions() if instruction == "FROM"]
    assert len(bases) == 3
    assert all(re.search(r":\d+\.\d+\.\d+", base) for base in bases)


def test_the_beam_worker_is_the_locked_beam():
    (beam,) = re.findall(
        r"^apache-beam==([\d.]+)", (ROOT / "requirements.lock").read_text(), re.M
    )
    assert ("FROM", f"apache/beam_python3.10_sdk:{beam} AS beam") in instructions()


def test_the_environment_is_made_as_make_install_makes_it():
    assert ("RUN", "scripts/install /venv requirements.lock") in stage("environment")
    assert "scripts/install .venv" in (ROOT / "Makefile").read_text()


def test_every_package_is_sent_to_the_image_and_the_tests_are_not():
    ignored = (ROOT / "kubeflow/Dockerfile.dockerignore").read_text().splitlines()
    sent = {line[1:] for line in ignored if line.startswith("!")}
    needed = [rest.split()[:-1] for name, rest in stage("environment") if name == "COPY"]
    packages = {each.partition(".")[0] for each in setuptools.find_packages(str(ROOT))}
    assert sent == (packages - {"benchmarks", "tests"}) | {
        *(path for paths in needed for path in paths),
    }
    assert all((ROOT / path).exists() for path in sent)
    assert ("COPY", ". .") in stage("")


def test_steps_do_not_run_as_root():
    assert ("USER", f"{USER}:{USER}") in stage("")


def test_manifests_have_kubernetes_schemas():
    for document in manifests():
        kubernetes_validate.validate(document, KUBERNETES_VERSION, strict=True)


def test_what_is_applied_is_there_and_secrets_are_not():
    kustomization = yaml.safe_load((MANIFESTS / "kustomization.yaml").read_text())
    files = {path.name for path in MANIFESTS.glob("*.yaml")}
    assert set(kustomization["resources"]) == files - {
        "kustomization.yaml",
        "secrets.template.yaml",
    }


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")
def test_kubectl_renders_the_manifests():
    command = ["kubectl", "kustomize", str(MANIFESTS)]
    rendered = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for document in yaml.safe_load_all(rendered):
        kubernetes_validate.validate(document, KUBERNETES_VERSION, strict=True)


def test_the_volume_is_the_one_the_compiler_mounts():
    claim = of_kind("PersistentVolumeClaim")
    assert claim["metadata"]["name"] == Cluster().volume_claim
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    pod = of_kind("Job")["spec"]["template"]["spec"]
    (mount,) = pod["containers"][0]["volumeMounts"]
    assert mount["mountPath"] == Cluster().mount_path
    assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == Cluster().volume_claim


def test_the_job_makes_the_volume_writable_to_the_image_s_user():
    pod = of_kind("Job")["spec"]["template"]["spec"]
    assert str(pod["securityContext"]["fsGroup"]) == USER


def test_the_job_runs_a_command_there_is():
    from click.testing import CliRunner

    from cli.main import main

    command = of_kind("Job")["spec"]["template"]["spec"]["containers"][0]["command"]
    assert command[0] == "cifar"
    result = CliRunner().invoke(main, [*command[1:3], "--help"])
    assert result.exit_code == 0
    assert command[3] in result.output


def test_the_readme_s_commands_are_ones_there_are():
    from cli.main import main

    (block,) = re.findall(r"```sh\n(.*?)```", (ROOT / "kubeflow/README.md").read_text(), re.S)
    lines = block.replace("\\\n", " ").splitlines()
    commands = [shlex.split(line) for line in lines if line.startswith("cifar ")]
    assert [command[1:3] for command in commands] == [
        ["kubeflow", "compile"],
        *[["kubeflow", "submit"]] * 3,
    ]
    for _, group, name, *arguments in commands:
        command = main.commands[group].commands[name]
        known = {option for each in command.params for option in each.opts}
        assert {each for each in arguments if each.startswith("-")} <= known


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_recipe_makes_an_environment_in_which_a_step_starts(tmp_path):
    """Runs the Dockerfile's instructions in a root of its own, with this machine's tools."""
    root = tmp_path / "root"
    for folder in ("app", "venv", "tmp"):
        (root / folder).mkdir(parents=True)
    lines = []
    for name in ("environment", ""):
        for instruction, rest in stage(name):
            if instruction == "RUN" and "apt-get" not in rest:
                lines.append(rest.replace("mkdir ", "mkdir -p "))
            elif instruction == "COPY" and not rest.startswith("--from"):
                *sources, target = rest.split()
                for source in sources:
                    place = root / "app" / (source if target == "./" else target)
                    lines.append(f"cp -rT /project/{source} /{place.relative_to(root)}")
    (root / "build.sh").write_text(
        "\n".join(["set -e", "cd /app", "mkdir data", *lines]) + "\n"
    )
    python = subprocess.run(
        [ROOT / "scripts/find-python"], capture_output=True, text=True, check=True
    ).stdout.strip()
    script = f"""
        set -e
        for entry in /*; do
            case $entry in /app|/venv|/tmp|/project) continue;; esac
            if [ -L "$entry" ]; then cp -P "$entry" "{root}/"
            elif [ -d "$entry" ]; then
                mkdir "{root}$entry"
                mount --rbind "$entry" "{root}$entry"
            fi
        done
        mkdir {root}/project
        mount --rbind {ROOT} {root}/project
        export PYTHON={python}
        /usr/sbin/chroot {root} sh /build.sh
        exec /usr/sbin/chroot {root} env --chdir=/ PATH=/venv/bin:/usr/bin:/bin \\
            python -m kubeflow.entrypoint --help
    """
    as_root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    done = subprocess.run(
        ["unshare", "--mount", *as_root, "sh", "-c", script], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "--json_serialized_invocation_args" in done.stdout
