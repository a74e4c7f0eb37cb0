"""What the chart renders, as it was when somebody last looked at it: a change is seen in review.

    . deploy/local/env.sh
    cd tests && FOIL_UPDATE_SNAPSHOTS=1 "$FOIL_TEST_PYTHON" -m unittest chart.test_snapshots

writes them anew. Rules and dashboards are not among them: they are the files of deploy/."""

import os
import pathlib
import unittest

import yaml

from chart import helm

SNAPSHOTS = pathlib.Path(__file__).with_name("snapshots")


class Flow(yaml.SafeDumper):
    """Compact, but with texts as blocks."""

    def ignore_aliases(self, data):
        return True


def text(dumper, value):
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


Flow.add_representer(str, text)


def parts(name):
    """A file of the snapshot to its text: one for each component."""
    grouped = {}
    for found in helm.rendered(name):
        if helm.component(found) == "monitoring":
            continue
        grouped.setdefault(helm.component(found), []).append(found)
    return {
        f"{component}.yaml": yaml.dump_all(
            sorted(objects, key=lambda o: (o["kind"], o["metadata"]["name"])),
            Dumper=Flow, sort_keys=False, width=110, default_flow_style=None,
        )
        for component, objects in grouped.items()
    }


class Snapshots(unittest.TestCase):
    maxDiff = 4000

    def test_what_is_rendered_is_what_was_looked_at(self):
        update = os.environ.get("FOIL_UPDATE_SNAPSHOTS")
        for name in helm.CI:
            folder = SNAPSHOTS / name
            rendered = parts(name)
            if update:
                folder.mkdir(parents=True, exist_ok=True)
                for old in folder.glob("*.yaml"):
                    old.unlink()
                for file, content in rendered.items():
                    (folder / file).write_text(content)
            with self.subTest(values=name):
                kept = {path.name: path.read_text() for path in folder.glob("*.yaml")}
                self.assertEqual(set(rendered), set(kept))
                for file, content in rendered.items():
                    self.assertEqual(content, kept[file], f"{name}/{file}")


if __name__ == "__main__":
    unittest.main()
