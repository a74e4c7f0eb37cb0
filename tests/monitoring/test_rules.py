"""Recording rules and alerts: what promtool says of them, and that each alert is seen to fire."""

import pathlib
import re
import tempfile
import unittest

import yaml

from monitoring import sources

SEVERITIES = {"critical", "warning"}
TESTS = sorted((sources.PROMETHEUS / "tests").glob("*.yaml"))


def promtool(*arguments):
    return sources.run(sources.program("FOIL_TEST_PROMTOOL"), *map(str, arguments))


class Rules(unittest.TestCase):
    def test_promtool_takes_configuration_and_rules(self):
        done = promtool("check", "config", sources.PROMETHEUS / "prometheus.yml")
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn("2 rule files found", done.stdout)
        files = sorted((sources.PROMETHEUS / "rules").glob("*.yaml"))
        done = promtool("check", "rules", "--lint=all", "--lint-fatal", *files)
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_compose_mounts_what_its_servers_read(self):
        compose = yaml.safe_load((sources.ROOT / "deploy/compose.yaml").read_text("utf-8"))
        mounted = {}
        for service in ("prometheus", "grafana"):
            for volume in compose["services"][service]["volumes"]:
                source, target, mode = volume.split(":")
                self.assertEqual(mode, "ro")
                mounted[target] = sources.ROOT / "deploy" / source
        configs = {
            name: (sources.ROOT / "deploy" / found["file"]).read_text("utf-8")
            for name, found in compose["configs"].items()
        }
        content = configs["prometheus"]
        for target, source in mounted.items():
            content = content.replace(target, str(source))
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder, "prometheus.yml")
            file.write_text(content)
            done = promtool("check", "config", file)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn("2 rule files found", done.stdout)
        (provider,) = yaml.safe_load(configs["dashboards"])["providers"]
        self.assertEqual(mounted[provider["options"]["path"]].resolve(), sources.GRAFANA)

    def test_they_do_what_their_tests_say(self):
        self.assertGreaterEqual(len(TESTS), 6)
        done = promtool("test", "rules", *TESTS)
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_each_alert_is_seen_to_fire(self):
        """Of what holds in each test, only what is named there fires: so each is seen to be still, too."""
        fired = set()
        for path in TESTS:
            for test in yaml.safe_load(path.read_text("utf-8"))["tests"]:
                for expectation in test["promql_expr_test"]:
                    for sample in expectation["exp_samples"]:
                        fired.update(re.findall(r'alertname="(\w+)"', sample["labels"]))
        self.assertEqual(fired, set(sources.alerts()))

    def test_each_alert_says_what_a_person_needs(self):
        for name, rule in sources.alerts().items():
            with self.subTest(alert=name):
                self.assertRegex(name, r"^Foil[A-Z]\w+$")
                self.assertIn(rule["labels"]["severity"], SEVERITIES)
                told = rule["annotations"]
                self.assertEqual(set(told), {"summary", "description", "runbook_url"})
                self.assertEqual(told["runbook_url"], f"deploy/runbook.md#{name.lower()}")
                self.assertFalse(told["summary"].endswith("."))
                self.assertTrue(told["description"].endswith("."))

    def test_what_an_alert_tells_is_there_to_be_told(self):
        """A label in a text that the expression has summed away would read as nothing."""
        for name, rule in sources.alerts().items():
            told = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
            kept = set(sources.grouped(rule["expr"]))
            for metric, _ in sources.selectors(rule["expr"]):
                kept |= set(sources.grouped(sources.recorded().get(metric, "vector(0)")))
            # An expression that sums nothing away keeps what the target has.
            kept = kept or told
            with self.subTest(alert=name):
                self.assertLessEqual(told, kept)


if __name__ == "__main__":
    unittest.main()
