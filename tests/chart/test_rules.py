"""The simulation of tests/scale is told what the chart says."""

import unittest

import yaml

from chart import code, helm, rules


class Rules(unittest.TestCase):
    def test_production_scales_every_stage_by_its_own_consumer(self):
        values = yaml.safe_load((helm.CHART / "values.yaml").read_text())
        production = yaml.safe_load(helm.value_file("production").read_text())
        limits = production["stageDefaults"]["autoscaling"]
        for stage, told in rules.of("production").items():
            scaled = told["scaled"]
            self.assertEqual(scaled["consumer"], stage)
            self.assertEqual(scaled["stream"], code.stages()[stage])
            own = values["stageDefaults"]["autoscaling"] | values["stages"][stage].get("autoscaling", {})
            self.assertEqual(scaled["threshold"], own["lagPerReplica"])
            self.assertEqual(scaled["polling_s"], own["keda"]["pollingSeconds"])
            self.assertEqual(scaled["down"]["window_s"], own["scaleDown"]["stabilizationSeconds"])
            self.assertEqual((scaled["min"], scaled["max"]), (limits["minReplicas"], limits["maxReplicas"]))
            config = production["stages"][stage].get("config", {}).get(stage, {})
            self.assertEqual(told["permits"], config.get("worker", {}).get("permits"))

    def test_stages_without_a_rule_have_a_number(self):
        gpu = rules.of("gpu")
        self.assertEqual((gpu["embedder"]["scaled"], gpu["embedder"]["replicas"]), (None, 1))
        self.assertEqual((gpu["extractor"]["scaled"]["min"], gpu["extractor"]["replicas"]), (0, None))


if __name__ == "__main__":
    unittest.main()
