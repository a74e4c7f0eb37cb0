"""A typo in any key is refused: values.schema.json is strict at every level."""

import copy
import json
import random
import unittest

import jsonschema
import yaml

from chart import helm

SCHEMA = json.loads((helm.CHART / "values.schema.json").read_text())
VALIDATOR = jsonschema.Draft7Validator(SCHEMA)
# Keys that the user of the chart makes up: labels, annotations, environment, node labels.
FREE = {
    "labels", "annotations", "podAnnotations", "podLabels", "nodeSelector", "matchLabels",
}
# Here the keys are the user's, but not those below: ids of tenants.
NAMED = {(stage, "tenants") for stage in ("selector", "extractor", "profiler", "generator")}
BY_HELM = 12


def mapping_keys(value, path=()):
    """Path of every key whose name is the chart's to know."""
    if isinstance(value, dict):
        if not (path and path[-1] in FREE):
            for key, below in value.items():
                if path[-2:] not in NAMED:
                    yield (*path, key)
                yield from mapping_keys(below, (*path, key))
    elif isinstance(value, list):
        for index, below in enumerate(value):
            yield from mapping_keys(below, (*path, index))


def with_typo(values, path, typo):
    values = copy.deepcopy(values)
    holder = values
    for step in path[:-1]:
        holder = holder[step]
    holder[typo] = holder.pop(path[-1])
    return values


def typo_of(key):
    """Two letters change places; or, where that changes nothing, one is there twice."""
    swapped = key[:-2] + key[-1] + key[-2]
    return swapped if swapped != key and len(key) > 1 else key + key[-1]


def sources():
    yield "values.yaml", yaml.safe_load((helm.CHART / "values.yaml").read_text())
    for name in helm.CI:
        yield name, yaml.safe_load(helm.value_file(name).read_text()) or {}


class Schema(unittest.TestCase):
    def test_the_schema_is_one(self):
        jsonschema.Draft7Validator.check_schema(SCHEMA)
        for name, values in sources():
            self.assertEqual([e.message for e in VALIDATOR.iter_errors(values)], [], name)

    def test_a_typo_in_any_key_of_any_file_is_refused(self):
        tried, taken = 0, []
        for name, values in sources():
            for path in mapping_keys(values):
                tried += 1
                if VALIDATOR.is_valid(with_typo(values, path, typo_of(path[-1]))):
                    taken.append((name, path))
        self.assertEqual(taken, [])
        self.assertGreater(tried, 500)

    def test_an_unknown_key_beside_any_known_one_is_refused(self):
        """Also where the files say nothing: in every object that the schema describes."""
        for where, schema in self.objects(SCHEMA, "#"):
            closed = schema.get("additionalProperties")
            if closed is False:
                continue
            names = where.rpartition("/")[2]
            allowed = isinstance(closed, dict) or names in FREE or self.of_dependency(where)
            self.assertTrue(allowed, f"{where} takes any key")

    @staticmethod
    def of_dependency(where):
        """Objects of other charts whose keys are free there too."""
        return "/chart.nats/" in where or "/chart.qdrant/" in where or where == "#/properties/global"

    def objects(self, schema, where):
        if not isinstance(schema, dict):
            return
        # A refinement beside `allOf` repeats what the other part closes.
        if schema.get("type") == "object":
            yield where, schema
        for key in ("properties", "definitions", "patternProperties"):
            for name, below in schema.get(key, {}).items():
                yield from self.objects(below, f"{where}/{key}/{name}")
        if isinstance(schema.get("items"), dict):
            yield from self.objects(schema["items"], f"{where}/items")
        for index, below in enumerate(schema.get("allOf", [])):
            yield from self.objects(below, f"{where}/allOf/{index}")

    def test_both_helms_enforce_it(self):
        values = yaml.safe_load(helm.value_file("production").read_text())
        paths = list(mapping_keys(values))
        for path in random.Random(7).sample(paths, BY_HELM):
            for version in helm.helms():
                with self.subTest(helm=version, path=path):
                    broken = with_typo(values, path, typo_of(path[-1]))
                    chart, folder = helm.packed()
                    file = f"{folder.name}/typo.yaml"
                    with open(file, "w", encoding="utf-8") as out:
                        yaml.safe_dump(broken, out)
                    done = helm.run("lint", chart, "--values", file, helm=version, check=False)
                    self.assertNotEqual(done.returncode, 0)
                    self.assertIn(typo_of(path[-1]), done.stdout + done.stderr)

    def test_wrong_values_are_refused(self):
        values = yaml.safe_load(helm.value_file("external").read_text())
        wrong = {
            ("config", "shutdown"): {"deadline": "soon"},
            ("config", "telemetry"): {"sampling": 2},
            ("config", "llm"): {"engine": "vllm"},
            ("adminPort",): 80,
            ("connections",): {"nats": {"url": "nats-0:4222"}},
            ("stages",): {"extractor": {"config": {"extractor": {"worker": {"permits": 0}}}}},
            ("provision",): {"config": {"replicas": 2}},
            ("stageDefaults",): {"resources": {"limits": {"cpu": "1"}}},
            ("config", "store"): {"timeout": "10 sek"},
            ("monitoring",): {"podMonitor": {"interval": "30 s"}},
            ("connections", "nats", "url"): "nats://me:secret@nats:4222",
            ("connections", "qdrant", "url"): "https://me:secret@qdrant:6334",
            ("stages", "generator", "config", "generator", "tenants", "acme.example", "strategy"): "dlp",
            ("stages", "generator", "config", "generator", "tenants", "x" * 65): {},
            ("stages", "selector", "config", "selector", "tenants", "acme.example"): {"k": 0},
            ("stages", "extractor", "config", "extractor", "tenants", "acme.example"): {"criteria": []},
            ("stages", "profiler", "config", "profiler", "tenants", "acme.example"): {"texts": 1},
            ("stages", "generator", "config", "generator", "reply_prefix"): "_INBOX.>",
            ("networkPolicy", "ports", "dns"): [],
            ("networkPolicy", "ports", "nats"): ["4222"],
            ("monitoring", "prometheusRule", "runbookUrl"): "wiki.example.org/foil",
            ("stageDefaults", "extraVolumes"): [{"name": "ca", "hostPath": {"path": "/etc/ssl"}}],
            ("stages", "profiler", "extraVolumes"): [{"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}}],
            ("stages", "selector", "extraVolumes"): [{"name": "cache", "emptyDir": {}}],
            ("stages", "mover", "extraVolumeMounts"): [{"name": "ca", "mountPath": "etc"}],
        }
        for path, value in wrong.items():
            broken = copy.deepcopy(values)
            holder = broken
            for step in path[:-1]:
                holder = holder.setdefault(step, {})
            holder[path[-1]] = value
            self.assertFalse(VALIDATOR.is_valid(broken), path)


if __name__ == "__main__":
    unittest.main()
