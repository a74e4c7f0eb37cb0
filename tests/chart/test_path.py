"""The newcomer's path of helm/foil/README.md, as far as it goes without a cluster: its commands against
the rendered chart, and then the chart's own configuration under the real binaries, to the first profile."""

import os
import re
import shlex
import shutil
import socket
import subprocess
import tempfile
import time
import unittest
import urllib.error
import urllib.request

import yaml

import rig
from chart import helm

README = (helm.CHART / "README.md").read_text("utf-8")
PATH = README.partition("## From nothing to the first profile")[2].partition("\n## ")[0]
REGISTRY = "registry.example"
READY_S = 180
# The small model compares and summarises with what the machine has left.
WALK_S = 900


def commands():
    """The path's lines as one types them, with what a shell would set."""
    text = "\n".join(re.findall(r"^ *```sh\n(.*?)^ *```$", PATH, re.M | re.S))
    text = re.sub(r"\\\n\s*", "", text).replace("$REGISTRY", REGISTRY)
    return [line.strip() for line in text.splitlines() if line.strip()]


def beginning(words):
    found = [line for line in commands() if line.startswith(words)]
    if len(found) != 1:
        raise RuntimeError(f"the path has {len(found)} commands `{words}`, not one")
    return found[0]


def installed(which):
    """What `helm install` of the path would send to the cluster."""
    arguments = shlex.split(beginning("helm install"))[1:]
    flags = [flag for flag in arguments[3:] if flag != "--create-namespace"]
    if arguments[:3] != ["install", "foil", "helm/foil"]:
        raise RuntimeError(f"not the command that is known here: {arguments}")
    flags = [flag.replace("helm/foil/", f"{helm.CHART}/") for flag in flags]
    text = helm.run("template", "foil", helm.packed()[0], *flags, helm=which).stdout
    return [document for document in yaml.safe_load_all(text) if document]


def amount(text, units):
    """A quantity as Kubernetes writes it."""
    number, unit = re.fullmatch(r"([0-9.]+)([A-Za-z]*)", str(text)).groups()
    return float(number) * (units[unit] if unit else 1)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Commands(unittest.TestCase):
    def test_both_helms_render_the_same(self):
        self.assertEqual(installed("3"), installed("4"))
        self.assertIn("--create-namespace", beginning("helm install"))

    def test_every_image_of_the_release_is_built_before(self):
        loop = re.search(r"^for target in (.*); do$", "\n".join(commands()), re.M)[1]
        built = {f"{REGISTRY}/{target}:0.1.0" for target in loop.split()}
        used = {
            container["image"]
            for _, pod in helm.pods(installed("4"))
            for container in helm.containers(pod)
        }
        self.assertEqual(built, used)
        build = beginning("docker buildx build")
        self.assertIn("-f deploy/docker/Dockerfile --target $target", build)
        self.assertIn(f"-t {REGISTRY}/$target:0.1.0 --push .", build)

    def test_the_pods_have_room_on_the_machine_that_is_named(self):
        """Half of it: the cluster's own pods, NATS and Qdrant need some too."""
        cores, gib = map(int, re.search(r"with (\d+) cores and (\d+) GiB", PATH).groups())
        requests = [
            container["resources"]["requests"]
            for _, pod in helm.pods(installed("4"))
            for container in pod["containers"]
        ]
        self.assertLessEqual(sum(amount(r["cpu"], {"m": 0.001}) for r in requests), cores / 2)
        memory = sum(amount(r["memory"], {"Mi": 2**20, "Gi": 2**30}) for r in requests)
        self.assertLessEqual(memory, gib * 2**30 / 2)

    def test_the_files_are_there(self):
        for words in re.findall(r"(?:deploy|helm|tests)/[\w./*-]+", "\n".join(commands())):
            self.assertTrue(list(helm.ROOT.glob(words)), words)
        for program in ("deploy/local/setup", "deploy/docker/digests", "deploy/local/foil"):
            self.assertTrue(os.access(helm.ROOT / program, os.X_OK), program)

    def test_who_is_waited_for_is_who_becomes_ready(self):
        wait = beginning("kubectl --namespace foil wait pod")
        selector = re.search(r"--selector '(.*)'", wait)[1].split(",")
        needed = dict(part.split("=", 1) for part in selector if "!=" not in part)
        excluded = dict(part.split("!=", 1) for part in selector if "!=" in part)
        for found in installed("4"):
            if found["kind"] not in ("Deployment", "Job"):
                continue
            labels = found["spec"]["template"]["metadata"]["labels"]
            chosen = needed.items() <= labels.items() and not any(
                labels.get(key) == value for key, value in excluded.items()
            )
            # A Job's pod ends, and is never ready after that.
            self.assertEqual(chosen, found["kind"] == "Deployment", found["metadata"]["name"])

    def test_the_forwarded_services_are_those_that_the_stages_use(self):
        forwards = [line for line in commands() if "port-forward" in line]
        services = {tuple(line.split("service/")[1].split()[:2]) for line in forwards}
        texts = "".join(
            found["data"]["config.toml"]
            for found in helm.of_kind(installed("4"), "ConfigMap")
            if "config.toml" in found["data"]
        )
        used = set(re.findall(r'^(?:url|qdrant_url) = "\w+://([\w-]+):(\d+)"', texts, re.M))
        self.assertEqual(services, used)

    def test_the_release_and_its_namespace_are_the_same_everywhere(self):
        for line in commands():
            if line.startswith(("helm install", "helm --", "kubectl")):
                self.assertIn("--namespace foil", line)
        self.assertEqual(beginning("helm --namespace foil test"), "helm --namespace foil test foil")

    def test_the_secrets_for_production_are_those_that_it_names(self):
        """Of the block below the path, with seeds by the real command."""
        block = re.search(r"^```sh\n(foil nats-auth .*?)^```$", README, re.M | re.S)[1]
        roles = re.search(r"^for role in (.*); do$", block, re.M)[1].split()
        folder = self.enterContext(tempfile.TemporaryDirectory())
        foil = rig.program("CARGO_TARGET_DIR", "release/foil")
        first = [foil, *shlex.split(block.splitlines()[0])[1:]]
        subprocess.run(first, cwd=folder, timeout=60, check=True, stdout=subprocess.DEVNULL)
        self.assertIn("--from-file=nats.nk=seeds/$role.nk", block)
        for role in roles:
            self.assertTrue(os.path.isfile(f"{folder}/seeds/{role}.nk"), role)
        secrets = {
            item["secret"]["name"]
            for _, pod in helm.pods(helm.rendered("production"))
            for volume in pod["volumes"]
            for item in volume.get("projected", {}).get("sources", [])
        }
        self.assertEqual(
            {f"foil-nats-{role}" for role in roles},
            {name for name in secrets if name.startswith("foil-nats-") and name != "foil-nats-tls"},
        )


class Walk(rig.Rig):
    """Without a cluster: what the pods would run, as processes."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.nats_url = cls.start_nats()
        cls.qdrant_url = cls.start_qdrant()
        cls.models = str(rig.named("FOIL_TEST_LLM_MODEL").parent)
        cls.objects = installed("4")
        cls.admin = {}

    @classmethod
    def localised(cls, component, name):
        """The component's file, with this machine in the place of the cluster."""
        (found,) = [
            o for o in helm.of_kind(cls.objects, "ConfigMap")
            if helm.component(o) == component and "config.toml" in o["data"]
        ]
        cls.admin[name] = f"127.0.0.1:{free_port()}"
        text = found["data"]["config.toml"]
        for theirs, ours in (
            ("nats://foil-nats:4222", cls.nats_url),
            ("http://foil-qdrant:6334", cls.qdrant_url),
            ("/models-volume", cls.models),
            ("0.0.0.0:9464", cls.admin[name]),
        ):
            text = text.replace(theirs, ours)
        file = cls.folder / f"{name}.toml"
        file.write_text(text)
        return file

    @classmethod
    def arguments(cls, pod, component):
        """What the pod's one container runs, from the image's program of that name."""
        (container,) = pod["containers"]
        program = re.search(r"/([\w-]+):", container["image"])[1]
        file = str(cls.localised(component, component))
        given = [file if a == "/etc/foil/config.toml" else a for a in container["args"]]
        if file not in given:
            raise RuntimeError(f"{component} does not read its file: {given}")
        return [rig.program("CARGO_TARGET_DIR", f"release/{program}"), *given]

    @classmethod
    def pod(cls, kind, component):
        (found,) = [
            o for o in helm.of_kind(cls.objects, kind) if helm.component(o) == component
        ]
        return found["spec"] if kind == "Pod" else found["spec"]["template"]["spec"]

    def test_the_path_leads_to_a_profile(self):
        self.run_program(*self.arguments(self.pod("Job", "provision"), "provision"))
        stages = [helm.component(o) for o in helm.of_kind(self.objects, "Deployment")]
        for stage in stages:
            self.start(*self.arguments(self.pod("Deployment", stage), stage))
        for stage in stages:
            self.wait_until_ready(stage)
        # `helm test`
        said = self.run_program(*self.arguments(self.pod("Pod", "test"), "test"))
        self.assertTrue(said.strip())
        walked = [self.walk(line) for line in commands() if line.startswith("deploy/local/foil ")]
        self.assertEqual(len(walked), 4)
        profile = walked[-1]
        self.assertIn("mara", profile)
        self.assertIn("The author", profile)

    def wait_until_ready(self, stage):
        end = time.monotonic() + READY_S
        while True:
            try:
                with urllib.request.urlopen(f"http://{self.admin[stage]}/readyz", timeout=5):
                    return
            except (urllib.error.URLError, OSError) as error:
                if time.monotonic() > end:
                    raise RuntimeError(f"{stage} is not ready: {error}") from error
            time.sleep(0.2)

    def walk(self, line):
        """A line of the README, as it stands there; only the forwarded ports are others."""
        done = subprocess.run(
            [shutil.which("bash"), "-ec", line], cwd=helm.ROOT, timeout=WALK_S,
            env=os.environ | {
                "FOIL_NATS__URL": self.nats_url, "FOIL_STORE__QDRANT_URL": self.qdrant_url,
            },
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        self.assertEqual(done.returncode, 0, f"{line}\n{done.stdout}{done.stderr}")
        return done.stdout
