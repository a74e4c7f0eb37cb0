"""Every rendered object against the schemas of three versions of Kubernetes, and of the CRDs used."""

import collections
import contextlib
import io
import json
import re
import unittest

import kubernetes_validate

from chart import helm, validated


class Kubernetes(unittest.TestCase):
    def test_every_object_is_valid_in_three_versions(self):
        checked = collections.Counter()
        for name in helm.CI:
            for version in validated.VERSIONS:
                with self.subTest(values=name, version=version):
                    checked.update(validated.counts(name, version))
        self.assertGreater(checked.total(), 400)
        for kind in ("Deployment", "ServiceAccount", "PodDisruptionBudget", "NetworkPolicy", "Job",
                     "HorizontalPodAutoscaler", "ConfigMap", "Pod"):
            self.assertIn(kind, checked)

    def test_a_fault_is_found(self):
        found = json.loads(json.dumps(helm.of_kind(helm.rendered("minimal"), "Deployment")[0]))
        found["spec"]["template"]["spec"]["containers"][0]["ressources"] = {}
        with self.assertRaises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(found, validated.VERSIONS[0], strict=True)

    def test_custom_resources_hold_the_keys_that_their_operators_know(self):
        seen = collections.Counter()
        for name in helm.CI:
            with self.subTest(values=name):
                seen.update(validated.custom_counts(name))
        self.assertEqual(set(seen), set(validated.CRDS))

    def test_what_is_printed_adds_up(self):
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            validated.main(["production"])
        *rows, last = [re.search(r" (\d+)  ", f"{line}  ") for line in out.getvalue().splitlines()]
        self.assertEqual(len(rows), len(validated.VERSIONS) + 1)
        self.assertEqual(sum(int(row[1]) for row in rows), int(last[1]))
        each = len(helm.rendered("production"))
        self.assertEqual(int(rows[0][1]) + int(rows[-1][1]), each)

    def test_the_oldest_version_is_the_charts(self):
        text = (helm.CHART / "Chart.yaml").read_text()
        self.assertIn(f">={validated.VERSIONS[0]}.0-0", text)


if __name__ == "__main__":
    unittest.main()
