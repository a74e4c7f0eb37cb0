"""Every rendered object against the schemas of three versions of Kubernetes, and of the CRDs used."""

import json
import pathlib
import unittest

import jsonschema
import kubernetes_validate

from chart import helm

# The oldest that the chart allows, one between, the newest that there are schemas of.
VERSIONS = ("1.31", "1.34", "1.37")
CRDS = json.loads(pathlib.Path(__file__).with_name("crds.json").read_text())


class Kubernetes(unittest.TestCase):
    def test_every_object_is_valid_in_three_versions(self):
        checked = 0
        for name in helm.CI:
            for found in helm.rendered(name):
                if found["kind"] in CRDS:
                    continue
                for version in VERSIONS:
                    with self.subTest(values=name, version=version, kind=found["kind"]):
                        kubernetes_validate.validate(found, version, strict=True)
                        checked += 1
        self.assertGreater(checked, 400)

    def test_a_fault_is_found(self):
        found = json.loads(json.dumps(helm.of_kind(helm.rendered("minimal"), "Deployment")[0]))
        found["spec"]["template"]["spec"]["containers"][0]["ressources"] = {}
        with self.assertRaises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(found, VERSIONS[0], strict=True)

    def test_custom_resources_hold_the_keys_that_their_operators_know(self):
        seen = set()
        for name in helm.CI:
            for found in helm.rendered(name):
                if schema := CRDS.get(found["kind"]):
                    with self.subTest(values=name, kind=found["kind"]):
                        jsonschema.validate(found, schema)
                        seen.add(found["kind"])
        self.assertEqual(seen, set(CRDS))

    def test_the_oldest_version_is_the_charts(self):
        self.assertIn(f">={VERSIONS[0]}.0-0", (helm.CHART / "Chart.yaml").read_text())


if __name__ == "__main__":
    unittest.main()
