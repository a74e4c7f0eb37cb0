"""The runbook has a section for each alert, and its commands and panels are there."""

import re
import shlex
import unittest

from chart import code
from monitoring import sources

PARTS = ("**Means.**", "**Look.**", "**Do.**")


class Runbook(unittest.TestCase):
    def setUp(self):
        self.text = sources.RUNBOOK.read_text("utf-8")
        self.sections = dict(re.findall(r"^### (\w+)\n(.*?)(?=^##|\Z)", self.text, re.M | re.S))

    def test_each_alert_has_its_section_and_each_section_its_alert(self):
        self.assertEqual(set(self.sections), set(sources.alerts()))
        for name, section in self.sections.items():
            found = [section.find(part) for part in PARTS]
            self.assertNotIn(-1, found, name)
            self.assertEqual(found, sorted(found), name)

    def test_links_within_it_lead_somewhere(self):
        headings = re.findall(r"^#+ (.*)$", self.text, re.M)
        anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
        for anchor in re.findall(r"\]\(#([^)]*)\)", self.text):
            self.assertIn(anchor, anchors)
        for path in re.findall(r"\]\(([^#)]+)\)", self.text):
            self.assertTrue((sources.RUNBOOK.parent / path).exists(), path)

    def test_panels_are_there(self):
        panels = {
            f"{board['title'].removeprefix('Foil / ')}: {panel['title']}"
            for board in sources.boards().values()
            for panel in sources.panels(board)
        }
        named = {" ".join(n.split()) for n in re.findall(r"(?<!\*)\*(\w+:\s[^*]+)\*(?!\*)", self.text)}
        self.assertGreater(len(named), 30)
        self.assertEqual(named - panels, set())

    def test_foil_takes_the_commands(self):
        """Each with --help behind it: what is not known is refused before that is looked at."""
        foil = sources.program("CARGO_TARGET_DIR", "release/foil")
        blocks = "\n".join(re.findall(r"^ *```sh\n(.*?)^ *```$", self.text, re.M | re.S))
        shown = [line.strip() for line in blocks.splitlines()]
        shown += re.findall(r"`(foil [^`]*)`", " ".join(self.text.split()))
        commands = {line for line in shown if line.startswith("foil ") and line != "foil --config FILE"}
        self.assertGreater(len(commands), 10)
        for command in commands:
            done = sources.run(foil, *shlex.split(command)[1:], "--help")
            self.assertEqual(done.returncode, 0, f"{command}\n{done.stdout}")
        self.assertNotEqual(sources.run(foil, "dead", "list", "--no-such", "--help").returncode, 0)

    def test_what_commands_and_keys_name_is_there(self):
        stages = set(code.stages())
        for stage in re.findall(r"--stage (\w+)|component=(\w+)", self.text):
            self.assertIn(stage[0] or stage[1], stages)
        reasons = re.findall(
            r"`(\w+)`", re.search(r"^\| `reason` of dead letters.*$", sources.TABLE.read_text("utf-8"), re.M)[0]
        )
        for reason in re.findall(r"--reason (\w+)", self.text):
            self.assertIn(reason, reasons)
        for section, key in re.findall(r"\b(provision|store|llm|admin|worker)\.([a-z_]+)\b", self.text):
            self.assertIn(key, code.keys(section), f"{section}.{key}")


if __name__ == "__main__":
    unittest.main()
