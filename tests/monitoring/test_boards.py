"""Dashboards: complete enough to be read by somebody who did not make them."""

import json
import re
import unittest

from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from monitoring import sources

WANTED = {"overview", "stages", "engines", "tenants"}
# Grafana's grid.
COLUMNS = 24


# Of an annotation that a Prometheus is asked for; Grafana's types know what all sources share.
PROMETHEUS_ONLY = {"titleFormat", "textFormat"}


def lost(ours, theirs, path=""):
    """What is in ours and not in theirs."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key, value in ours.items():
            yield from lost(value, theirs.get(key, "missing"), f"{path}.{key}")
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for one, other in zip(ours, theirs):
            yield from lost(one, other, path)
    elif ours != theirs:
        yield path, ours, theirs


class Boards(unittest.TestCase):
    def panels(self):
        for name, board in sources.boards().items():
            for panel in sources.panels(board):
                yield f"{name}: {panel['title']}", panel

    def test_they_are_there(self):
        self.assertEqual(set(sources.boards()), WANTED)
        for name, board in sources.boards().items():
            self.assertEqual(board["uid"], f"foil-{name}")
            # Grafana gives these; one that was saved from a Grafana would clash in another.
            self.assertNotIn("id", board)
        titles = [board["title"] for board in sources.boards().values()]
        self.assertEqual(len(set(titles)), len(titles))

    def test_grafana_knows_every_key(self):
        """Read by Grafana's own types and written again, nothing is missing."""
        plugins.register_default_plugins()
        for name, board in sources.boards().items():
            again = json.loads(JSONEncoder().encode(Dashboard.from_json(board)))
            gone = [
                found for found in lost(board, again)
                if found[0] not in {f".annotations.list.{key}" for key in PROMETHEUS_ONLY}
            ]
            self.assertEqual(gone, [], name)

    def test_each_panel_says_what_it_shows(self):
        for where, panel in self.panels():
            with self.subTest(where):
                self.assertRegex(panel["description"], r"\.$")
                defaults = panel["fieldConfig"]["defaults"]
                self.assertTrue(defaults["unit"])
                first, *others = defaults["thresholds"]["steps"]
                self.assertIsNone(first["value"])
                values = [step["value"] for step in others]
                self.assertEqual(values, sorted(values))
                for target in panel["targets"]:
                    self.assertTrue(target["legendFormat"])

    def test_they_ask_the_source_that_is_chosen(self):
        chosen = {"type": "prometheus", "uid": "${datasource}"}
        for where, panel in self.panels():
            self.assertEqual(panel["datasource"], chosen, where)
        for board in sources.boards().values():
            self.assertEqual(sources.variables(board)["datasource"]["type"], "datasource")

    def test_variables_are_the_values_of_labels(self):
        wanted = {"stages": {"stage"}, "engines": {"engine", "model"}, "tenants": {"tenant"}}
        for name, board in sources.boards().items():
            variables = sources.variables(board)
            self.assertEqual(
                set(variables), {"datasource", "namespace"} | wanted.get(name, set()), name
            )
            for variable in variables.values():
                if variable["type"] == "query":
                    _, label = sources.label_values(variable)
                    self.assertEqual(label, variable["name"])

    def test_each_variable_is_used_and_each_used_is_there(self):
        grafanas = {name.removeprefix("$") for name in sources.GRAFANAS}
        for name, board in sources.boards().items():
            used = set()
            for query in sources.board_queries(name):
                used |= set(re.findall(r"\$\{?(\w+)", query.expr)) - grafanas
            self.assertEqual(used | {"datasource"}, set(sources.variables(board)), name)

    def test_every_query_keeps_to_the_namespace(self):
        for name, board in sources.boards().items():
            for query in sources.board_queries(name):
                expr = sources.substituted(query.expr, dict.fromkeys(sources.variables(board), "x"))
                for metric, labels in sources.selectors(expr):
                    self.assertIn("namespace", labels, f"{query.where}: {metric}")

    def test_no_panel_covers_another(self):
        for name, board in sources.boards().items():
            taken, ids = {}, set()
            for panel in board["panels"]:
                self.assertNotIn(panel["id"], ids)
                ids.add(panel["id"])
                at = panel["gridPos"]
                self.assertLessEqual(at["x"] + at["w"], COLUMNS)
                for x in range(at["x"], at["x"] + at["w"]):
                    for y in range(at["y"], at["y"] + at["h"]):
                        other = taken.setdefault((x, y), panel["title"])
                        self.assertEqual(other, panel["title"], f"{name}: {x}, {y}")


if __name__ == "__main__":
    unittest.main()
