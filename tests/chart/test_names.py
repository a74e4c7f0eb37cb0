"""The names in the chart are the code's, and the code takes the configuration that the chart writes."""

import json
import os
import pathlib
import re
import subprocess
import tempfile
import tomllib
import unittest

import yaml

from chart import code, helm

SCHEMA = json.loads((helm.CHART / "values.schema.json").read_text())
# What the chart sets by itself: addresses and files of secrets, from `connections`, and the port.
SET_BY_CHART = {
    "nats": {
        "url", "require_tls", "inbox_prefix", "credentials", "nkey_seed", "user", "password", "token",
        "root_certificate", "certificate", "key",
    },
    "store": {
        "qdrant_url", "qdrant_api_key_file", "qdrant_root_certificate", "qdrant_certificate",
        "qdrant_key",
    },
    "llm": {"api_key_file"},
    "embed": {"api_key_file"},
}
# The same secrets as plain values, which a ConfigMap must not hold.
NEVER = {"store": {"qdrant_api_key"}, "llm": {"api_key"}, "embed": {"api_key"}}
SECRETS = "/var/run/foil/"
COMMAND_S = 30


def settings(name, *own):
    """Component to its configuration file, of one value file and what is set beside it."""
    return {
        helm.component(found): found["data"]["config.toml"]
        for found in helm.of_kind(helm.rendered(name, "4", *own), "ConfigMap")
        if "config.toml" in found["data"]
    }


def program(name):
    found = pathlib.Path(os.environ["CARGO_TARGET_DIR"], "release", name)
    if not found.is_file():
        raise RuntimeError(f"no program {found}; cargo build --release --bins makes it")
    return found


class Names(unittest.TestCase):
    def test_stages_streams_and_consumers_are_those_that_are_provisioned(self):
        provisioned = code.stages()
        self.assertEqual(set(provisioned), set(code.constants("stage").values()))
        values = yaml.safe_load((helm.CHART / "values.yaml").read_text())
        self.assertEqual(list(values["stages"]), list(code.constants("stage").values()))
        every = {
            f"stages.{stage}.autoscaling={json.dumps({'kind': 'keda', 'minReplicas': 1})}"
            for stage in provisioned
        }
        objects = helm.rendered("production", "4", *sorted(every))
        read = {}
        for found in helm.of_kind(objects, "ScaledObject"):
            trigger = found["spec"]["triggers"][0]["metadata"]
            self.assertEqual(trigger["consumer"], helm.component(found))
            self.assertEqual(found["spec"]["scaleTargetRef"]["name"], found["metadata"]["name"])
            read[trigger["consumer"]] = trigger["stream"]
        self.assertEqual(read, provisioned)

    def test_images_are_the_binaries(self):
        for found in helm.of_kind(helm.rendered("production"), "Deployment"):
            (container,) = found["spec"]["template"]["spec"]["containers"]
            stage = helm.component(found)
            self.assertIn(f"/foil-{stage}:", container["image"])
            manifest = code.source(f"services/{stage}/Cargo.toml")
            self.assertIn(f'name = "foil-{stage}"', manifest)

    def test_each_stage_gets_the_sections_that_it_knows(self):
        for name in ("minimal", "production", "gpu"):
            for stage, text in settings(name).items():
                if stage in code.constants("stage").values():
                    with self.subTest(values=name, stage=stage):
                        given = set(tomllib.loads(text))
                        self.assertLessEqual(given, set(code.sections_of(stage)))
                        needed = {"nats", "admin", "store"} & set(code.sections_of(stage))
                        self.assertLessEqual(needed, given)

    def test_every_key_of_the_configuration_can_be_set(self):
        for section in code.SECTIONS:
            if section == "admin":
                self.assertEqual(code.keys(section), ["listen"])
                continue
            definitions = SCHEMA["definitions"]
            definition = definitions.get(f"section.{section}") or definitions[section]
            allowed = set(definition["properties"])
            known = set(code.keys(section))
            known -= SET_BY_CHART.get(section, set()) | NEVER.get(section, set())
            self.assertEqual(allowed, known, f"values.schema.json: section {section}")

    def test_every_section_of_a_stage_can_be_set(self):
        for stage in code.stages():
            refined = SCHEMA["properties"]["stages"]["properties"][stage]["allOf"][1]
            allowed = set(refined["properties"]["config"]["properties"])
            self.assertEqual(allowed, set(code.sections_of(stage)) - {"admin"}, stage)

    def test_the_environment_names_are_keys(self):
        names = set()
        for name in helm.CI:
            for _, pod in helm.pods(helm.rendered(name)):
                for container in helm.containers(pod):
                    names.update(e["name"] for e in container.get("env", []))
        token = 'connections.nats.auth={"mode":"token","existingSecret":"t"}'
        for _, pod in helm.pods(helm.rendered("external", "4", token)):
            names.update(e["name"] for e in pod["containers"][0].get("env", []))
        ours = {name for name in names if name.startswith("FOIL_")}
        self.assertEqual(ours, {"FOIL_NATS__USER", "FOIL_NATS__PASSWORD", "FOIL_NATS__TOKEN"})
        for name in ours:
            section, key = name.removeprefix("FOIL_").lower().split("__")
            self.assertIn(key, code.keys(section))

    def test_production_has_a_role_for_everybody(self):
        """The roles of deploy/nats, with the inboxes that each may read."""
        roles = tomllib.loads(code.source("deploy/nats/permissions.toml"))["roles"]
        of = {"provision": "operator", "test": "caller"}
        configs = settings("production")
        for pod_name, pod in helm.pods(helm.rendered("production")):
            (volume,) = [v for v in pod["volumes"] if v["name"] == "secrets"]
            component = pod_name.rpartition("-")[2]
            role = of.get(component, component)
            with self.subTest(component=component):
                files = {
                    item["path"]: source["secret"]["name"]
                    for source in volume["projected"]["sources"]
                    for item in source["secret"]["items"]
                }
                self.assertEqual(files["nats/nkey"], f"foil-nats-{role}")
                inbox = tomllib.loads(configs[component])["nats"].get("inbox_prefix")
                # A stage's binary takes the prefix of its role by itself.
                self.assertIn(f"{inbox or f'_INBOX_{component}'}.>", roles[role]["subscribe"])
        reply = tomllib.loads(configs["generator"])["generator"]["reply_prefix"]
        self.assertIn(f"{reply}.>", roles["generator"]["publish"])

    def test_probes_ask_what_is_served(self):
        served = code.routes()
        for found in helm.of_kind(helm.rendered("production"), "Deployment"):
            (container,) = found["spec"]["template"]["spec"]["containers"]
            asked = {
                probe: container[probe]["httpGet"]["path"]
                for probe in ("startupProbe", "readinessProbe", "livenessProbe")
            }
            self.assertEqual(asked["livenessProbe"], "/livez")
            self.assertEqual(asked["readinessProbe"], "/readyz")
            self.assertLessEqual(set(asked.values()), served)
            (port,) = container["ports"]
            config = tomllib.loads(settings("production")[helm.component(found)])
            self.assertEqual(config["admin"]["listen"], f"0.0.0.0:{port['containerPort']}")
        for found in helm.of_kind(helm.rendered("production"), "PodMonitor"):
            self.assertIn(found["spec"]["podMetricsEndpoints"][0]["path"], served)

    def test_the_metric_of_the_hpa_is_the_movers(self):
        (found,) = helm.of_kind(helm.rendered("external"), "HorizontalPodAutoscaler")
        metric = found["spec"]["metrics"][0]["external"]["metric"]
        self.assertEqual(metric["selector"]["matchLabels"], {"stage": "extractor"})
        listed = subprocess.run([program("foil"), "metrics", "--json"], timeout=COMMAND_S, check=True,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        exported = {found["name"]: found for found in json.loads(listed.stdout)}[metric["name"]]
        self.assertEqual((exported["kind"], exported["labels"]), ("gauge", ["stage"]))
        rule = re.search(r"^```yaml\n(rules:\n.*?)^```", (helm.CHART / "README.md").read_text(),
                         re.M | re.S)
        (rule,) = yaml.safe_load(rule[1])["rules"]["external"]
        self.assertEqual(rule["seriesQuery"].partition("{")[0], metric["name"])

    def test_the_readme_names_only_values_that_there_are(self):
        text = (helm.CHART / "README.md").read_text()
        tops = "|".join(SCHEMA["properties"])
        paths = set(re.findall(rf"`((?:{tops})(?:\.\w+)+)", text))
        self.assertGreater(len(paths), 10)
        for path in paths:
            self.assertTrue(known(SCHEMA, path.split(".")), path)
        self.assertFalse(known(SCHEMA, ["stages", "extractor", "natsauth"]))


def known(schema, path):
    """Whether the schema has a property at this path."""
    if not path:
        return True
    if "$ref" in schema:
        schema = SCHEMA["definitions"][schema["$ref"].rpartition("/")[2]]
    below = schema.get("properties", {}).get(path[0])
    if below is not None:
        return known(below, path[1:]) if isinstance(below, dict) else True
    return any(known(part, path) for part in schema.get("allOf", []))


class Binaries(unittest.TestCase):
    """The built binaries read every file that the chart writes; tests/run builds them before."""

    def setUp(self):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))

    def localised(self, text):
        """The file, with secrets where this machine may have some."""
        secrets = self.folder / "secrets"
        for path in re.findall(rf'"{SECRETS}([^"]+)"', text):
            file = secrets / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("secret\n")
        file = self.folder / "config.toml"
        file.write_text(text.replace(SECRETS, f"{secrets}/"))
        return file

    def run_program(self, *arguments):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("FOIL_")}
        return subprocess.run(
            arguments, timeout=COMMAND_S, stdin=subprocess.DEVNULL, env=environment,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )

    def test_every_stage_takes_its_file(self):
        checked = 0
        for name in helm.CI:
            for stage, text in settings(name).items():
                if stage not in code.constants("stage").values():
                    continue
                with self.subTest(values=name, stage=stage):
                    done = self.run_program(
                        program(f"foil-{stage}"), "--config", self.localised(text),
                        "--check-config",
                    )
                    self.assertEqual(done.returncode, 0, done.stdout)
                    checked += 1
        self.assertGreaterEqual(checked, 20)

    def test_the_command_takes_its_files(self):
        for name in ("minimal", "production", "external", "gpu"):
            for component in ("provision", "test"):
                with self.subTest(values=name, component=component):
                    # `up` is the verb that can check; what it needs beside is not the chart's.
                    done = self.run_program(
                        program("foil"), "--config", self.localised(settings(name)[component]),
                        "--set", "llm.engine=openai", "--set", "llm.base_url=http://llm",
                        "--set", "llm.model=m", "--set", "embed.engine=openai",
                        "--set", "embed.base_url=http://llm", "--set", "embed.model=m",
                        "--set", "up.embedded_qdrant=false", "up", "--check-config",
                    )
                    self.assertEqual(done.returncode, 0, done.stdout)

    def test_the_command_takes_its_arguments(self):
        """They go as far as asking a NATS that is not there."""
        lost = '[nats]\nurl = "nats://127.0.0.1:9"\n[store]\nqdrant_url = "http://127.0.0.1:9"\n'
        file = self.localised(lost)
        running = []
        for name, pod in helm.pods(helm.rendered("production")):
            if name.startswith("Deployment"):
                continue
            (container,) = pod["containers"]
            arguments = [str(file) if a == "/etc/foil/config.toml" else a for a in container["args"]]
            self.assertIn(str(file), arguments)
            if "--wait" in arguments:
                arguments[arguments.index("--wait") + 1] = "1s"
            running.append(subprocess.Popen(
                [program("foil"), *arguments], stdin=subprocess.DEVNULL, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            ))
        ended = [(child.communicate(timeout=COMMAND_S)[0], child.returncode) for child in running]
        self.assertEqual([code for _, code in ended], [1, 1], ended)
        for words, _ in ended:
            self.assertIn("nats://127.0.0.1:9", words)

    def test_what_is_said_for_a_tenant_is_what_the_stage_has(self):
        """Ids of tenants may hold what a plain key of TOML may not."""
        said = {
            "selector": {"strategy": "random", "k": 2, "compare": "none"},
            "extractor": {"criteria": ["writing", "emotion"], "facts": 0},
            "profiler": {"facts": 0},
            "generator": {"strategy": "intsum", "summary": "task", "key_samples": 4, "facts": 0},
        }
        own = [
            f"stages.{stage}.config.{stage}.tenants={json.dumps({'acme.example': keys})}"
            for stage, keys in said.items()
        ]
        files = settings("external", *own)
        for stage, keys in said.items():
            with self.subTest(stage=stage):
                file = self.localised(files[stage])
                done = self.run_program(program(f"foil-{stage}"), "--config", file, "--dump-config")
                self.assertEqual(done.returncode, 0, done.stdout)
                has = tomllib.loads(done.stdout)[stage]["tenants"]
                self.assertEqual(has["acme.example"], keys)

    def test_a_key_that_the_code_has_not_is_found(self):
        text = settings("production")["selector"].replace("[store]", "[store]\nhost = 1")
        done = self.run_program(
            program("foil-selector"), "--config", self.localised(text), "--check-config"
        )
        self.assertEqual(done.returncode, 64, done.stdout)
        self.assertIn("store.host", done.stdout)


if __name__ == "__main__":
    unittest.main()
