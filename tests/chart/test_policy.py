"""What every pod of the chart must keep to, whatever the values."""

import functools
import json
import unittest

import yaml

from chart import helm

RESTRICTED_VOLUMES = {"configMap", "emptyDir", "projected", "persistentVolumeClaim", "image"}


def of_every_pod(check):
    """Runs the check once for each pod of each value file."""

    @functools.wraps(check)
    def test(self):
        seen = 0
        for name in helm.CI:
            for pod_name, pod in helm.pods(helm.rendered(name)):
                seen += 1
                with self.subTest(values=name, pod=pod_name):
                    check(self, pod)
        self.assertGreaterEqual(seen, 30)

    return test


class Pods(unittest.TestCase):

    @of_every_pod
    def test_nobody_is_root(self, pod):
        context = pod["securityContext"]
        self.assertTrue(context["runAsNonRoot"])
        self.assertGreater(context["runAsUser"], 0)
        self.assertGreater(context["runAsGroup"], 0)
        self.assertEqual(context["seccompProfile"], {"type": "RuntimeDefault"})
        for container in helm.containers(pod):
            self.assertTrue(container["securityContext"]["runAsNonRoot"])
            self.assertNotIn("runAsUser", container["securityContext"])

    @of_every_pod
    def test_nobody_gains_a_right(self, pod):
        for key in ("hostNetwork", "hostPID", "hostIPC", "hostUsers"):
            self.assertNotIn(key, pod)
        self.assertIs(pod["automountServiceAccountToken"], False)
        self.assertIs(pod["enableServiceLinks"], False)
        for container in helm.containers(pod):
            context = container["securityContext"]
            self.assertIs(context["allowPrivilegeEscalation"], False)
            self.assertIs(context["privileged"], False)
            self.assertEqual(context["capabilities"], {"drop": ["ALL"]})

    @of_every_pod
    def test_nobody_writes_but_to_its_own_empty_folder(self, pod):
        empty = {v["name"] for v in pod["volumes"] if "emptyDir" in v}
        for volume in pod["volumes"]:
            if "emptyDir" in volume:
                self.assertIn("sizeLimit", volume["emptyDir"])
        for container in helm.containers(pod):
            self.assertIs(container["securityContext"]["readOnlyRootFilesystem"], True)
            for mount in container["volumeMounts"]:
                if not mount.get("readOnly"):
                    self.assertIn(mount["name"], empty)

    @of_every_pod
    def test_everybody_has_limits(self, pod):
        for container in helm.containers(pod):
            resources = container["resources"]
            for part in ("requests", "limits"):
                self.assertLessEqual({"cpu", "memory"}, set(resources[part]))

    @of_every_pod
    def test_volumes_are_those_of_restricted_pod_security(self, pod):
        """But for a folder of the node, which somebody asked for by name."""
        for volume in pod["volumes"]:
            (kind,) = set(volume) - {"name"}
            if kind == "hostPath":
                self.assertEqual(volume["name"], "models")
            else:
                self.assertIn(kind, RESTRICTED_VOLUMES)

    def test_no_folder_of_a_node_comes_unasked(self):
        everywhere = {
            (name, pod_name)
            for name in helm.CI
            for pod_name, pod in helm.pods(helm.rendered(name))
            if any("hostPath" in volume for volume in pod["volumes"])
        }
        self.assertEqual(everywhere, {("gpu", "Deployment prod-foil-generator")})

    @of_every_pod
    def test_images_have_a_version(self, pod):
        for container in helm.containers(pod):
            image = container["image"].rpartition("/")[2]
            self.assertRegex(image, r"^[a-z-]+(:[0-9][\w.-]*|@sha256:[0-9a-f]{64})$")

    def test_secrets_come_from_existing_ones(self):
        for name in helm.CI:
            self.assertEqual(helm.of_kind(helm.rendered(name), "Secret"), [])
        text = yaml.safe_dump_all(helm.rendered("production"))
        for secret in ("foil-nats-extractor", "foil-qdrant", "foil-llm", "foil-nats-tls"):
            self.assertIn(secret, text)

    def test_each_pod_sees_its_own_credentials_only(self):
        own = {}
        for pod_name, pod in helm.pods(helm.rendered("production")):
            secrets = [v for v in pod["volumes"] if v["name"] == "secrets"]
            names = {s["secret"]["name"] for v in secrets for s in v["projected"]["sources"]}
            own[pod_name] = {name for name in names if name.startswith("foil-nats-")} - {
                "foil-nats-tls"
            }
        self.assertEqual(own["Deployment prod-foil-selector"], {"foil-nats-selector"})
        self.assertEqual(own["Job prod-foil-provision"], {"foil-nats-operator"})
        self.assertTrue(all(len(names) == 1 for names in own.values()))
        self.assertEqual(len(set.union(*own.values())), len(own))

    def test_only_who_calls_a_model_has_its_key(self):
        for pod_name, pod in helm.pods(helm.rendered("production")):
            text = yaml.safe_dump(pod)
            calls = any(s in pod_name for s in ("embedder", "extractor", "profiler", "generator"))
            self.assertEqual("foil-llm" in text, calls, pod_name)


class Rights(unittest.TestCase):
    def test_nothing_has_a_right_of_the_cluster(self):
        kinds = {found["kind"] for name in helm.CI for found in helm.rendered(name)}
        self.assertFalse({kind for kind in kinds if "Role" in kind or "Webhook" in kind})
        for name in helm.CI:
            for account in helm.of_kind(helm.rendered(name), "ServiceAccount"):
                self.assertIs(account["automountServiceAccountToken"], False)

    def test_every_stage_has_an_account_of_its_own(self):
        for name in helm.CI:
            used = [pod["serviceAccountName"] for _, pod in helm.pods(helm.rendered(name))
                    if "serviceAccountName" in pod]
            self.assertEqual(len(used), len(set(used)), name)


class Network(unittest.TestCase):
    def policies(self, name):
        return helm.of_kind(helm.rendered(name), "NetworkPolicy")

    def test_every_pod_is_under_one_policy(self):
        for name in helm.CI:
            objects = helm.rendered(name)
            labels = []
            for found in objects:
                if found["kind"] in ("Deployment", "Job"):
                    labels.append(found["spec"]["template"]["metadata"]["labels"])
                elif found["kind"] == "Pod":
                    labels.append(found["metadata"]["labels"])
            selectors = [p["spec"]["podSelector"]["matchLabels"] for p in self.policies(name)]
            for label in labels:
                hits = [s for s in selectors if s.items() <= label.items()]
                self.assertEqual(len(hits), 1, label)

    def test_no_rule_is_open(self):
        for name in helm.CI:
            for policy in self.policies(name):
                with self.subTest(values=name, policy=policy["metadata"]["name"]):
                    spec = policy["spec"]
                    self.assertEqual(spec["policyTypes"], ["Ingress", "Egress"])
                    for rule, who in [(r, "from") for r in spec["ingress"]] + [
                        (r, "to") for r in spec["egress"]
                    ]:
                        self.assertTrue(rule[who], "an empty list means everybody")
                        self.assertTrue(rule["ports"], "an empty list means every port")
                        for peer in rule[who]:
                            self.assertTrue(any(peer.values()), "an empty selector means all")
                            block = peer.get("ipBlock", {}).get("cidr", "")
                            self.assertFalse(block.endswith("/0"))

    def test_each_stage_reaches_what_it_needs_and_nothing_else(self):
        dns, nats, qdrant, otlp, models = {53}, {4222}, {6334}, {4317}, {8000}
        base = dns | nats | otlp
        needs = {
            "embedder": base | qdrant | models, "selector": base | qdrant,
            "extractor": base | qdrant | models, "profiler": base | qdrant | models,
            "generator": base | qdrant | models, "mover": base,
            "provision": base | qdrant, "command": base | qdrant, "test": dns | nats | qdrant,
        }
        reached = {}
        for policy in self.policies("production"):
            ports = {p["port"] for rule in policy["spec"]["egress"] for p in rule["ports"]}
            reached[helm.component(policy)] = ports
            opened = {p["port"] for r in policy["spec"]["ingress"] for p in r["ports"]}
            served = helm.component(policy) not in ("provision", "command", "test")
            self.assertEqual(opened, {"admin"} if served else set())
        self.assertEqual(reached, needs)

    def test_a_port_that_an_address_leaves_out_is_its_schemes(self):
        """As the clients have it: that of NATS knows a port of its own, that of Qdrant does not."""
        bare = ('connections.nats.url="tls://nats,wss://nats"', 'connections.qdrant.url="https://qdrant"')
        ports = self.ports_of_the_extractor(*bare, "networkPolicy.ports.qdrant=[]")
        self.assertEqual(ports, [53, 53, 4222, 443, 443, 443])

    def test_ports_of_pods_go_before_those_of_addresses(self):
        """A policy is asked after a Service's port became a pod's."""
        self.assertEqual(self.ports_of_the_extractor(), [53, 53, 4222, 16334, 443])
        named = {"nats": [14222], "qdrant": [1], "llm": [8000, 8443], "otlp": [14317], "dns": [5353, 53]}
        ports = self.ports_of_the_extractor(
            f"networkPolicy.ports={json.dumps(named)}",
            'config.telemetry.otlp_endpoint="http://collector:4317"',
            'networkPolicy.otlp=[{"ipBlock":{"cidr":"192.0.2.48/28"}}]',
        )
        self.assertEqual(ports, [5353, 5353, 53, 53, 14222, 1, 14317, 8000, 8443])
        served = (
            'config.embed={"engine":"openai","base_url":"http://e:80","model":"m"}',
            'networkPolicy.embeddings=[{"ipBlock":{"cidr":"192.0.2.48/28"}}]',
            "networkPolicy.ports.embeddings=[8080]",
        )
        embedder = helm.named(helm.rendered("external", "4", *served), "NetworkPolicy", "-embedder")
        self.assertEqual(embedder["spec"]["egress"][-1]["ports"], [{"port": 8080, "protocol": "TCP"}])

    @staticmethod
    def ports_of_the_extractor(*settings):
        extractor = helm.named(helm.rendered("external", "4", *settings), "NetworkPolicy", "-extractor")
        return [p["port"] for r in extractor["spec"]["egress"] for p in r["ports"]]


if __name__ == "__main__":
    unittest.main()
