"""Whatever names a metric or a label names one that the code exports, and what the code exports is
documented. The code's own list is what `foil metrics` prints; that a process exports nothing beside
it, test_prometheus.py sees."""

import re
import unittest

from monitoring import sources

# What Prometheus and Kubernetes put on each series, and what rules make.
TARGETS = {"job", "instance", "namespace", "pod"}
PROMETHEUS = {"up"}


class Names(unittest.TestCase):
    def check(self, where, expr):
        series, recorded = sources.series(), sources.recorded()
        every = TARGETS | set(sources.made(expr))
        for name, matched in sources.selectors(expr):
            if name in PROMETHEUS:
                continue
            if name in recorded:
                labels = set(sources.grouped(recorded[name]))
            else:
                self.assertIn(name, series, where)
                labels = series[name]
            self.assertLessEqual(set(matched) - {"__name__"}, labels | TARGETS, f"{where}: {name}")
            every |= labels
        self.assertLessEqual(set(sources.grouped(expr)), every, where)

    def test_dashboards_ask_for_what_is_exported(self):
        for name, board in sources.boards().items():
            values = dict.fromkeys(sources.variables(board), "x")
            for query in sources.board_queries(name):
                self.check(query.where, sources.substituted(query.expr, values))

    def test_variables_ask_for_what_is_exported(self):
        for name, board in sources.boards().items():
            for variable in sources.variables(board).values():
                if variable["type"] != "query":
                    continue
                selector, label = sources.label_values(variable)
                where = f"{name}: ${variable['name']}"
                names = re.findall(r"foil_\w+", selector)
                self.assertTrue(names, where)
                for metric in names:
                    self.assertIn(metric, sources.series(), where)
                    self.assertIn(label, sources.series()[metric] | TARGETS, where)

    def test_legends_show_labels_that_are_there(self):
        for name, board in sources.boards().items():
            values = dict.fromkeys(sources.variables(board), "x")
            for panel in sources.panels(board):
                for target in panel["targets"]:
                    shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
                    expr = sources.substituted(target["expr"], values)
                    with self.subTest(board=name, panel=panel["title"]):
                        self.assertLessEqual(shown, set(sources.grouped(expr)) | {"namespace"})

    def test_rules_ask_for_what_is_exported(self):
        for query in sources.rule_queries():
            self.check(query.where, query.expr)

    def test_the_rules_tests_feed_what_is_exported(self):
        """Else they would prove nothing of the real ones."""
        for path in (sources.PROMETHEUS / "tests").glob("*.yaml"):
            for expr in re.findall(r"series: '([^']*)'", path.read_text("utf-8")):
                self.check(path.name, expr)

    def test_the_runbook_speaks_of_what_is_exported(self):
        text = sources.RUNBOOK.read_text("utf-8")
        named = set(re.findall(r"\bfoil_[a-z0-9_]+", text))
        self.assertTrue(named)
        # Collections of Qdrant have names of this kind too.
        known = set(sources.series()) | set(sources.exported()) | {"foil_records", "foil_items", "foil_users"}
        self.assertEqual(named - known, set())

    def test_what_is_exported_is_documented(self):
        rows = re.findall(
            r"^\| `(foil_\w+)` \| (\w+) \|([^|]*)\|", sources.TABLE.read_text("utf-8"), re.M
        )
        documented = {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}
        exported = {
            name: (metric["kind"], set(metric["labels"])) for name, metric in sources.exported().items()
        }
        self.assertEqual(documented, exported)

    def test_what_is_exported_is_looked_at(self):
        """A metric that no dashboard and no alert asks for is either missed there or not needed."""
        asked = set()
        for name, board in sources.boards().items():
            values = dict.fromkeys(sources.variables(board), "x")
            for query in sources.board_queries(name):
                asked |= {metric for metric, _ in sources.selectors(sources.substituted(query.expr, values))}
        for query in sources.rule_queries():
            asked |= {metric for metric, _ in sources.selectors(query.expr)}
        seen = {name for name in sources.exported() if any(a.startswith(name) for a in asked)}
        self.assertEqual(set(sources.exported()) - seen, set())


if __name__ == "__main__":
    unittest.main()
