"""The pod in which the runbook's commands run on a cluster: it is what the chart gives to provisioning."""

import json
import os
import pathlib
import re
import subprocess
import tempfile
import unittest

import kubernetes_validate
import yaml

from chart import helm, validated

OVERRIDES = helm.ROOT / "deploy/kubernetes/foil.json"
RUNBOOK = (helm.ROOT / "deploy/runbook.md").read_text("utf-8")
COMMAND_S = 30
# In the place of kubectl: what it was called with.
STAND_IN = """#!/bin/sh
for word; do printf '%s\\0' "$word"; done
"""


def production():
    """With the names of the release that the runbook speaks of."""
    values = helm.value_file("production")
    text = helm.run("template", "foil", helm.packed()[0], "--namespace", "foil", "--values", values).stdout
    return [document for document in yaml.safe_load_all(text) if document]


def files(volumes):
    """Path below /var/run/foil to its Secret and key."""
    (secrets,) = [volume["projected"] for volume in volumes if volume["name"] == "secrets"]
    return secrets["defaultMode"], {
        item["path"]: (source["secret"]["name"], item["key"])
        for source in secrets["sources"]
        for item in source["secret"]["items"]
    }


class Command(unittest.TestCase):
    def setUp(self):
        self.objects = production()
        self.pod = json.loads(OVERRIDES.read_text())

    def test_the_pod_has_what_provisioning_has(self):
        (job,) = helm.of_kind(self.objects, "Job")
        theirs, ours = job["spec"]["template"]["spec"], self.pod["spec"]
        for key in ("automountServiceAccountToken", "enableServiceLinks", "securityContext", "imagePullSecrets"):
            self.assertEqual(ours[key], theirs[key], key)
        (their,), (our,) = theirs["containers"], ours["containers"]
        for key in ("securityContext", "resources", "volumeMounts"):
            self.assertEqual(our[key], their[key], key)
        self.assertEqual(files(ours["volumes"]), files(theirs["volumes"]))

    def test_its_configuration_is_provisionings_and_stays(self):
        (config,) = [v["configMap"]["name"] for v in self.pod["spec"]["volumes"] if v["name"] == "config"]
        found = helm.named(self.objects, "ConfigMap", "-command")
        self.assertEqual(found["metadata"]["name"], config)
        self.assertNotIn("annotations", found["metadata"], "a hook's object goes with it")
        self.assertEqual(found["data"], helm.named(self.objects, "ConfigMap", "-provision")["data"])

    def test_it_is_under_a_policy_of_its_own_and_nobody_elses(self):
        labels = self.pod["metadata"]["labels"]
        chosen = [
            found["metadata"]["name"]
            for kind in ("NetworkPolicy", "Deployment", "PodDisruptionBudget", "PodMonitor")
            for found in helm.of_kind(self.objects, kind)
            for selector in [found["spec"].get("podSelector") or found["spec"]["selector"]]
            if selector["matchLabels"].items() <= labels.items()
        ]
        self.assertEqual(chosen, ["foil-command"])

    def called(self, command):
        """What kubectl gets when the runbook's function is called so."""
        function = re.search(r"^```sh\n(foil\(\) \{\n.*?^\}\n)```$", RUNBOOK, re.M | re.S)[1]
        with tempfile.TemporaryDirectory() as folder:
            stand_in = pathlib.Path(folder, "kubectl")
            stand_in.write_text(STAND_IN)
            stand_in.chmod(0o755)
            done = subprocess.run(
                ["bash", "-euc", f"{function}{command}"], cwd=helm.ROOT, timeout=COMMAND_S, check=True,
                env={"PATH": f"{folder}:{os.environ['PATH']}"}, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, text=True,
            )
        return done.stdout.split("\0")[:-1]

    def test_the_runbooks_function_makes_such_a_pod(self):
        words = self.called("foil dead list --stage embedder")
        flags, arguments = words[: words.index("--")], words[words.index("--") + 1 :]
        self.assertEqual(flags[:2], ["run", self.pod["spec"]["containers"][0]["name"]])
        given = dict(zip(flags, flags[1:]))
        self.assertEqual(json.loads(given["--overrides"]), self.pod)
        # Else the list of containers would be the one of the file, without image and arguments.
        self.assertEqual(given["--override-type"], "strategic")
        (job,) = helm.of_kind(self.objects, "Job")
        (container,) = job["spec"]["template"]["spec"]["containers"]
        self.assertEqual(given["--image"], container["image"])
        self.assertEqual(arguments[:2], container["args"][:2])
        self.assertEqual(arguments[2:], [
            "--set", "nats.inbox_prefix=_INBOX_operator", "dead", "list", "--stage", "embedder",
        ])

        pod = json.loads(given["--overrides"])
        pod |= {"kind": "Pod", "metadata": pod["metadata"] | {"name": flags[1]}}
        pod["spec"]["containers"][0] |= {"image": given["--image"], "args": arguments}
        for version in validated.VERSIONS:
            kubernetes_validate.validate(pod, version, strict=True)

    def test_another_role_has_another_seed(self):
        words = self.called("FOIL_ROLE=caller foil context mara --item pan")
        pod = json.loads(words[words.index("--overrides") + 1])
        _, named = files(pod["spec"]["volumes"])
        self.assertEqual(named["nats/nkey"], ("foil-nats-caller", "nats.nk"))
        self.assertIn("nats.inbox_prefix=_INBOX_caller", words)


if __name__ == "__main__":
    unittest.main()
