"""What the schema allows for Foil's own settings is what the built binaries take: not less, not more."""

import json
import re
import subprocess
import tempfile
import unittest

from chart import code
from chart.test_names import COMMAND_S, SCHEMA, program

# Enough for every section, and far from the limits that two keys set for each other.
BASE = """
[llm]
engine = "openai"
base_url = "http://llm"
model = "m"
[embed]
engine = "openai"
base_url = "http://llm"
model = "m"
max_tokens = 8
batch_tokens = 65536
"""
UNITS = re.search(r"\?\((.*)\) \?\)\+\$", SCHEMA["definitions"]["duration"]["pattern"])[1].split("|")


def definition(reference):
    return SCHEMA["definitions"][reference.rpartition("/")[2]]


def settings():
    """Path of every setting of Foil's own, with its schema and the stage that reads it."""
    for stage in code.stages():
        for section in code.sections_of(stage):
            if section != "admin":
                yield from below(f"section.{section}", (section,), stage)
    yield from below("section.provision", ("provision",), None)


def below(name, path, stage):
    for key, schema in SCHEMA["definitions"][name]["properties"].items():
        reference = schema.get("$ref", "").rpartition("/")[2]
        own = schema.get("additionalProperties")
        if reference in ("worker", "limits"):
            yield from below(reference, (*path, key), stage)
        elif key == "tenants" and own:
            yield from below(own["$ref"].rpartition("/")[2], (*path, key, "acme"), stage)
        else:
            yield (*path, key), definition(reference) if reference else schema, stage


def around(schema):
    """Values at the limits of a number, and values beyond them."""
    step = 1 if schema["type"] == "integer" else 0.5
    inside, outside = [], []
    for key, sign in (("minimum", -1), ("maximum", 1)):
        if key in schema:
            inside.append(schema[key])
            outside.append(schema[key] + sign * step)
    if "exclusiveMinimum" in schema:
        outside.append(schema["exclusiveMinimum"])
    return inside, outside


class Limits(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.files = {}
        for stage in (*code.stages(), None):
            known = code.sections_of(stage) if stage else ["llm", "embed"]
            parts = re.split(r"^(?=\[)", BASE, flags=re.M)
            text = "".join(part for part in parts if part[1:part.find("]")] in known)
            cls.files[stage] = f"{folder.name}/{stage}.toml"
            with open(cls.files[stage], "w", encoding="utf-8") as out:
                out.write(text)

    def faults(self, path, value, stage):
        """What the binary says about this one key when it has this value."""
        name = ".".join(path)
        words = ["--config", self.files[stage], "--set", f"{name}={json.dumps(value)}"]
        words = [program(f"foil-{stage}" if stage else "foil"), *words]
        # `up` is the command's verb that can check.
        words += [] if stage else ["--set", "up.embedded_qdrant=false", "up"]
        words.append("--check-config")
        done = subprocess.run(words, timeout=COMMAND_S, stdin=subprocess.DEVNULL, text=True, env={},
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.assertIn(done.returncode, (0, 64), done.stdout)
        return [line for line in done.stdout.splitlines() if line.startswith(f"  {name}: ")]

    def test_numbers_have_the_codes_limits(self):
        tried = 0
        for path, schema, stage in settings():
            if schema.get("type") not in ("integer", "number"):
                continue
            inside, outside = around(schema)
            self.assertTrue(inside or outside, f"{path} has no limit")
            for value in inside:
                self.assertEqual(self.faults(path, value, stage), [], (path, value))
            for value in outside:
                self.assertNotEqual(self.faults(path, value, stage), [], (path, value))
            tried += len(inside) + len(outside)
        self.assertGreater(tried, 150)

    def test_names_are_those_that_the_code_lists(self):
        tried = set()
        for path, schema, stage in settings():
            # Replicas are a list of numbers.
            if "enum" not in schema or not isinstance(schema["enum"][0], str):
                continue
            (fault,) = self.faults(path, "none of them", stage)
            listed = re.findall(r"`([\w-]+)`", fault.partition("expected")[2])
            self.assertEqual(sorted(schema["enum"]), sorted(listed), path)
            tried.add(path[-1])
        self.assertEqual(tried, {"log", "engine", "strategy", "summary", "compare"})

    def test_replicas_are_those_that_can_agree(self):
        allowed = SCHEMA["definitions"]["section.provision"]["properties"]["replicas"]["enum"]
        for number in range(8):
            taken = not self.faults(("provision", "replicas"), number, None)
            self.assertEqual(number in allowed, taken, number)

    def test_every_unit_of_time_is_one_that_the_code_reads(self):
        self.assertGreater(len(UNITS), 20)
        for unit in UNITS:
            faults = self.faults(("store", "timeout"), f"1 {unit}", "selector")
            self.assertFalse([fault for fault in faults if "invalid value" in fault], unit)
        (fault,) = self.faults(("store", "timeout"), "1 sek", "selector")
        self.assertIn("invalid value", fault)

    def test_every_time_is_one_to_the_code_too(self):
        """A text that the schema takes for a number, or the other way round, would be found here."""
        tried = 0
        for path, schema, stage in settings():
            if "A time" not in schema.get("description", ""):
                continue
            (fault,) = self.faults(path, "never", stage)
            self.assertIn("expected a duration", fault)
            tried += 1
        self.assertGreater(tried, 60)


if __name__ == "__main__":
    unittest.main()
