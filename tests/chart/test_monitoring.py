"""Dashboards and rules in the rendered chart: those of deploy/, and nothing else."""

import json
import pathlib
import re
import shutil
import tarfile
import tempfile
import unittest

import yaml

from chart import code, helm


class Monitoring(unittest.TestCase):
    """Rules and dashboards are files of deploy/, which others than the chart use too."""

    @staticmethod
    def found(chart):
        objects = yaml.safe_load_all(
            helm.template("--values", helm.value_file("production"), chart=chart).stdout
        )
        objects = [found for found in objects if found]
        rules = helm.of_kind(objects, "PrometheusRule")[0]["spec"]["groups"]
        shown = {
            key: text.strip()
            for found in helm.of_kind(objects, "ConfigMap")
            if "dashboard" in found["metadata"]["name"]
            for key, text in found["data"].items()
        }
        return rules, shown

    def test_they_are_the_files_of_deploy(self):
        rules, shown = self.found(None)
        files = sorted((helm.ROOT / "deploy/prometheus/rules").glob("*.yaml"))
        self.assertGreaterEqual(len(files), 2)
        groups = sum([yaml.safe_load(path.read_text())["groups"] for path in files], [])
        url = yaml.safe_load(helm.value_file("production").read_text())["monitoring"]["prometheusRule"]["runbookUrl"]
        led = 0
        for rule in (rule for group in groups for rule in group["rules"] if "alert" in rule):
            path, _, section = rule["annotations"]["runbook_url"].partition("#")
            self.assertEqual(path, "deploy/runbook.md")
            rule["annotations"]["runbook_url"] = f"{url}#{section}"
            led += 1
        self.assertGreater(led, 20)
        self.assertEqual(rules, groups)
        files = list((helm.ROOT / "deploy/grafana").glob("*.json"))
        self.assertGreaterEqual(len(files), 4)
        self.assertEqual(shown, {path.name: path.read_text().strip() for path in files})

    def test_without_an_address_the_runbook_is_a_path(self):
        objects = helm.rendered("production", "4", 'monitoring.prometheusRule.runbookUrl=""')
        (found,) = helm.of_kind(objects, "PrometheusRule")
        for rule in (rule for group in found["spec"]["groups"] for rule in group["rules"]):
            if "alert" in rule:
                self.assertTrue(rule["annotations"]["runbook_url"].startswith("deploy/runbook.md#foil"))

    def test_the_alert_knows_every_target_whatever_the_release_is_called(self):
        alerts = yaml.safe_load((helm.ROOT / "deploy/prometheus/rules/alerts.yaml").read_text())
        (expr,) = [
            rule["expr"] for group in alerts["groups"] for rule in group["rules"]
            if rule.get("alert") == "FoilNotScraped"
        ]
        # Prometheus anchors it at both ends.
        known = re.compile(re.search(r'job=~"([^"]*)"', expr)[1])
        jobs = set()
        named = helm.rendered("production", "4", 'fullnameOverride="personal"')
        for found in helm.of_kind(named, "PodMonitor"):
            (endpoint,) = found["spec"]["podMetricsEndpoints"]
            (rule,) = endpoint["relabelings"]
            self.assertEqual(rule["targetLabel"], "job")
            self.assertTrue(known.fullmatch(rule["replacement"]), rule["replacement"])
            jobs.add(rule["replacement"])
        self.assertEqual(jobs, {f"foil-{stage}" for stage in code.stages()})

    def test_a_packed_chart_holds_them(self):
        """Its folders of them are links to deploy/, which a package must not be."""
        wanted = {
            f"foil/files/{folder}/{path.name}"
            for folder, kind in (("grafana", "json"), ("rules", "yaml"))
            for path in (helm.CHART / "files" / folder).glob(f"*.{kind}")
        }
        self.assertGreaterEqual(len(wanted), 6)
        with tempfile.TemporaryDirectory() as folder:
            chart = pathlib.Path(folder, "helm/foil")
            shutil.copytree(helm.CHART, chart, symlinks=True)
            shutil.copytree(helm.packed()[0] / "charts", chart / "charts", dirs_exist_ok=True)
            pathlib.Path(folder, "deploy").symlink_to(helm.ROOT / "deploy")
            for version in helm.helms():
                out = pathlib.Path(folder, version)
                helm.run("package", chart, "--destination", out, helm=version)
                (package,) = out.glob("*.tgz")
                with tarfile.open(package) as archive:
                    files = {found.name for found in archive if found.isfile()}
                self.assertLessEqual(wanted, files)

    def test_whatever_is_there_gets_in_as_it_is(self):
        group = {
            "name": "g",
            "rules": [{"alert": "Lag", "expr": "lag > 1", "annotations": {"a": "{{ $value }}"}}],
        }
        board = json.dumps({"title": "Overview", "panels": [{"legendFormat": "{{stage}}"}]})
        with tempfile.TemporaryDirectory() as folder:
            chart = pathlib.Path(folder, "foil")
            shutil.copytree(helm.packed()[0], chart)
            (chart / "files/rules/zz.yaml").write_text(yaml.safe_dump({"groups": [group]}))
            (chart / "files/grafana/zz.json").write_text(board)
            rules, shown = self.found(chart)
        self.assertEqual(rules[-1], group)
        self.assertEqual(shown["zz.json"], board)


if __name__ == "__main__":
    unittest.main()
