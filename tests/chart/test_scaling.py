"""What makes replicas come and go."""

import json
import re
import unittest

from chart import helm
from chart.test_schema import SCHEMA


def scaled(name, *settings):
    objects = helm.rendered(name, "4", *settings)
    return {helm.component(found): found["spec"] for found in helm.of_kind(objects, "ScaledObject")}


class Scaling(unittest.TestCase):
    def test_who_is_scaled_has_no_number_of_replicas(self):
        for name in helm.CI:
            objects = helm.rendered(name)
            targets = {
                found["spec"]["scaleTargetRef"]["name"]
                for kind in ("ScaledObject", "HorizontalPodAutoscaler")
                for found in helm.of_kind(objects, kind)
            }
            for found in helm.of_kind(objects, "Deployment"):
                fixed = "replicas" in found["spec"]
                self.assertNotEqual(fixed, found["metadata"]["name"] in targets, name)

    def test_the_dependencys_headless_service_is_asked(self):
        keda = 'stages.extractor.autoscaling={"kind":"keda"}'
        (spec,) = scaled("minimal", keda).values()
        (trigger,) = spec["triggers"]
        endpoint = trigger["metadata"]["natsServerMonitoringEndpoint"]
        service = f"{helm.RELEASE}-nats-headless.{helm.NAMESPACE}.svc.cluster.local:8222"
        self.assertEqual(endpoint, service)
        (spec,) = scaled("minimal", keda, 'nats.fullnameOverride="bus"').values()
        endpoint = spec["triggers"][0]["metadata"]["natsServerMonitoringEndpoint"]
        self.assertTrue(endpoint.startswith("bus-headless."))

    def test_a_blind_scaler_keeps_what_is_needed(self):
        for name in ("production", "gpu"):
            for stage, spec in scaled(name).items():
                fallback = spec["fallback"]["replicas"]
                self.assertGreaterEqual(fallback, max(1, spec["minReplicaCount"]), stage)

    def test_gpus_are_let_go_and_nobody_waits_for_one(self):
        spec = scaled("gpu")
        self.assertEqual(spec["extractor"]["minReplicaCount"], 0)
        self.assertEqual(spec["profiler"]["minReplicaCount"], 0)
        self.assertEqual(spec["generator"]["minReplicaCount"], 1)
        self.assertEqual(spec["extractor"]["triggers"][0]["metadata"]["activationLagThreshold"], "0")

    def test_replicas_go_one_by_one_and_after_a_while(self):
        for name in ("production", "gpu"):
            for stage, spec in scaled(name).items():
                down = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]
                self.assertGreaterEqual(down["stabilizationWindowSeconds"], 300, stage)
                (policy,) = down["policies"]
                self.assertEqual((policy["type"], policy["value"]), ("Pods", 1))

    def test_an_update_of_a_gpu_stage_needs_no_second_gpu(self):
        for found in helm.of_kind(helm.rendered("gpu"), "Deployment"):
            pod = found["spec"]["template"]["spec"]
            limits = pod["containers"][0]["resources"]["limits"]
            surge = found["spec"]["strategy"]["rollingUpdate"]["maxSurge"]
            self.assertEqual(surge, 0 if "nvidia.com/gpu" in limits else 1)
            image = pod["containers"][0]["image"]
            self.assertEqual("-cuda:" in image, "nvidia.com/gpu" in limits)

    def test_no_accelerator_is_needed_twice(self):
        (known,) = [
            pattern
            for pattern, kind in SCHEMA["definitions"]["quantities"]["patternProperties"].items()
            if kind.get("description") == "Accelerators."
        ]
        self.assertIn(known, (helm.CHART / "templates/_stages.tpl").read_text())
        surges = {}
        for name in ("nvidia.com/gpu.shared", "nvidia.com/mig-1g.10gb", "amd.com/gpu",
                     "gpu.intel.com/xe", "hugepages-2Mi", "memory"):
            limits = json.dumps({"cpu": "1", "memory": "1Gi"} | {name: "1Gi" if name == "memory" else 2})
            objects = helm.rendered("minimal", "4", f"stages.extractor.resources.limits={limits}")
            found = helm.named(objects, "Deployment", "-extractor")
            surges[name] = found["spec"]["strategy"]["rollingUpdate"]["maxSurge"]
            self.assertEqual(surges[name] == 0, re.match(known, name) is not None, name)
        self.assertEqual(sorted(surges.values()), [0, 0, 0, 0, 1, 1])

    def test_a_rollout_has_the_time_that_a_model_may_take(self):
        """And the default of Kubernetes at least: it would be called failed while pods still load."""
        for name in helm.CI:
            for found in helm.of_kind(helm.rendered(name), "Deployment"):
                (container,) = found["spec"]["template"]["spec"]["containers"]
                probe = container["startupProbe"]
                loading = probe["periodSeconds"] * probe["failureThreshold"]
                deadline = found["spec"]["progressDeadlineSeconds"]
                self.assertEqual(deadline, max(600, loading + 300))
        slow = 'stageDefaults.startup={"periodSeconds":10,"failureThreshold":90}'
        found = helm.named(helm.rendered("minimal", "4", slow), "Deployment", "-selector")
        self.assertEqual(found["spec"]["progressDeadlineSeconds"], 1200)

    def test_the_mover_is_scaled_only_where_it_is_named(self):
        everybody = 'stageDefaults.autoscaling={"kind":"keda","minReplicas":0}'
        reached = 'connections.nats.monitoring.endpoint="nats-headless.n:8222"'
        self.assertEqual(set(scaled("external", everybody, reached, 'stages.extractor={}')),
                         {"embedder", "selector", "extractor", "profiler", "generator"})
        named = 'stages.mover.autoscaling={"kind":"keda","minReplicas":1}'
        self.assertEqual(set(scaled("external", named, reached)), {"mover"})

    def test_a_disruption_takes_one_of_each_stage(self):
        for name in helm.CI:
            objects = helm.rendered(name)
            budgets = {helm.component(f) for f in helm.of_kind(objects, "PodDisruptionBudget")}
            stages = {helm.component(f) for f in helm.of_kind(objects, "Deployment")}
            self.assertEqual(budgets, stages)
            for found in helm.of_kind(objects, "PodDisruptionBudget"):
                self.assertEqual(found["spec"]["maxUnavailable"], 1)

    def test_replicas_are_spread(self):
        for found in helm.of_kind(helm.rendered("production"), "Deployment"):
            pod = found["spec"]["template"]
            spread = pod["spec"]["topologySpreadConstraints"]
            keys = {constraint["topologyKey"] for constraint in spread}
            self.assertEqual(keys, {"kubernetes.io/hostname", "topology.kubernetes.io/zone"})
            for constraint in spread:
                labels = constraint["labelSelector"]["matchLabels"]
                self.assertLessEqual(labels.items(), pod["metadata"]["labels"].items())


if __name__ == "__main__":
    unittest.main()
