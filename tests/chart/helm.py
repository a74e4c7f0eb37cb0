"""The chart, rendered by real Helm; what the tests of the chart have in common."""

import functools
import os
import pathlib
import shutil
import subprocess
import tempfile

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "helm/foil"
CI = sorted(path.stem.removesuffix("-values") for path in (CHART / "ci").glob("*-values.yaml"))
# Long names, so that what is cut is cut here.
RELEASE, NAMESPACE = "prod", "personal-text"
COMMAND_S = 60


def program(variable):
    """A test that needs it must not pass without."""
    found = os.environ.get(variable)
    if not found:
        raise RuntimeError(f"{variable} is not set; tests/run sets it")
    if not os.access(found, os.X_OK):
        raise RuntimeError(f"no program {found}; deploy/local/setup --tests makes it")
    return found


def helms():
    return {name: program(f"FOIL_TEST_HELM{name}") for name in ("3", "4")}


@functools.cache
def packed():
    """A copy of the chart in which its dependencies are there: empty ones of their names and
    versions, because the tests reach no chart repository."""
    folder = tempfile.TemporaryDirectory(prefix="foil-chart.")
    chart = pathlib.Path(folder.name, "foil")
    shutil.copytree(CHART, chart)
    for dependency in yaml.safe_load((CHART / "Chart.yaml").read_text())["dependencies"]:
        stand_in = chart / "charts" / dependency["name"]
        stand_in.mkdir(parents=True)
        fields = {"apiVersion": "v2", "name": dependency["name"], "version": dependency["version"]}
        (stand_in / "Chart.yaml").write_text(yaml.safe_dump(fields))
    # The cache holds it, so the folder goes with the process.
    return chart, folder


def run(*arguments, helm="4", check=True):
    done = subprocess.run(
        [helms()[helm], *map(str, arguments)], timeout=COMMAND_S, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )
    if check and done.returncode:
        raise RuntimeError(f"helm {helm} {arguments}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def value_file(name):
    return CHART / "ci" / f"{name}-values.yaml"


def template(*arguments, helm="4", check=True, chart=None):
    chart = chart or packed()[0]
    return run(
        "template", RELEASE, chart, "--namespace", NAMESPACE, *arguments, helm=helm, check=check
    )


@functools.cache
def rendered(name, helm="4", *settings):
    """Every object of one value file, in order; each setting is a `key=value` for --set-json."""
    flags = [flag for setting in settings for flag in ("--set-json", setting)]
    text = template("--values", value_file(name), *flags, helm=helm).stdout
    return [document for document in yaml.safe_load_all(text) if document]


def of_kind(objects, kind):
    return [found for found in objects if found["kind"] == kind]


def named(objects, kind, suffix):
    """The one object of this kind whose name is the chart's name and this."""
    found = [o for o in of_kind(objects, kind) if o["metadata"]["name"].endswith(suffix)]
    if len(found) != 1:
        raise RuntimeError(f"{len(found)} objects {kind} with a name of *{suffix}, not one")
    return found[0]


def component(found):
    return found["metadata"]["labels"]["app.kubernetes.io/component"]


def pods(objects):
    """Name and specification of each pod that the objects lead to."""
    for found in objects:
        name = f"{found['kind']} {found['metadata']['name']}"
        if found["kind"] == "Pod":
            yield name, found["spec"]
        elif found["kind"] in ("Deployment", "Job"):
            yield name, found["spec"]["template"]["spec"]


def containers(pod):
    return pod.get("initContainers", []) + pod["containers"]
