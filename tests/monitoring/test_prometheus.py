"""A real Prometheus scrapes a running `foil up` that every kind of work went through, and every query
of every dashboard and rule returns data from it.

    . deploy/local/env.sh
    cd tests && SHOW_QUERIES=overview "$FOIL_TEST_PYTHON" -m unittest monitoring.test_prometheus

prints the queries of that dashboard with their values too."""

import asyncio
import concurrent.futures
import json
import math
import os
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request

import nats
import promql_parser as promql
import yaml

from monitoring import sources
from rig import START_S, Rig, answers, free_port

INTERVAL = "1s"
# Long enough that the first text embedded is still in it at the end.
RANGE = "10m"
SETTLE_S = 180
QUERY_S = 30
# Small enough that a crowd is too much for them.
SETTINGS = {
    "up.embedded_qdrant": "false",
    "mover.lag_every": "1s",
    "embed.queue": "1",
    "llm.parallel": "2",
    "llm.queue": "2",
    "extractor.worker.permits": "2",
    "profiler.worker.permits": "1",
    "shutdown.deadline": "5s",
}
# Texts at once; the LLM takes four, which are enough for a text beside everything else.
CROWD = 8
# What is written about.
ITEM = "cafe-lantern-yard"
CORPUS = sources.ROOT / "tests/corpus"
# What a target has in Kubernetes.
NAMESPACE = "foil-test"

# Selectors that find nothing here, and why nothing can be there.
NOTHING = {}


def broken_down(node):
    """An alert's expression without its thresholds: what must be there for it ever to be compared."""
    while isinstance(node, promql.ParenExpr):
        node = node.expr
    if isinstance(node, promql.BinaryExpr) and str(node.op) in sources.WITHOUT_DATA:
        yield from broken_down(node.lhs)
        yield from broken_down(node.rhs)
    elif isinstance(node, promql.Call) and node.func.name in ("absent", "vector"):
        yield from broken_down(node.args[0])
    elif not isinstance(node, promql.NumberLiteral):
        yield node.prettify()


class Prometheus:
    def __init__(self, address):
        self.url = f"http://{address}/api/v1"

    def get(self, path, **parameters):
        url = f"{self.url}/{path}?{urllib.parse.urlencode(parameters, doseq=True)}"
        try:
            with urllib.request.urlopen(url, timeout=QUERY_S) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"{path} {parameters}: {error.read().decode()}") from None

    def values(self, expr):
        """Of now, without those that are no number."""
        data = self.get("query", query=expr)
        found = [data["result"]] if data["resultType"] == "scalar" else [
            row["value"] for row in data["result"]
        ]
        return [float(value) for _, value in found if not math.isnan(float(value))]

    def wait_until(self, expr, why):
        end = time.monotonic() + SETTLE_S
        while not self.values(expr):
            if time.monotonic() > end:
                raise RuntimeError(f"not within {SETTLE_S} s: {why} ({expr})")
            time.sleep(0.2)


class Queries(Rig):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.nats_url = f"nats://127.0.0.1:{free_port()}"
        cls.edge, cls.qdrant_url = cls.start_edge("127.0.0.1:0")
        cls.admin = f"127.0.0.1:{free_port()}"
        cls.settings = SETTINGS | {"store.qdrant_url": cls.qdrant_url, "admin.listen": cls.admin}
        cls.up = cls.start_foil(**cls.settings)
        cls.prometheus = cls.start_prometheus()
        cls.prometheus.wait_until("foil_consumer_found == 1", "the first scrape")
        cls.work()
        cls.cut_the_model_short()
        cls.overload()
        cls.lose_qdrant()
        cls.lose_a_consumer()
        for name in filter(None, os.environ.get("SHOW_QUERIES", "").split(",")):
            cls.show(name)

    @classmethod
    def start_prometheus(cls):
        """With the configuration of deploy/, but for the address of the target and the pace."""
        config = yaml.safe_load((sources.PROMETHEUS / "prometheus.yml").read_text("utf-8"))
        config["global"] = {"scrape_interval": INTERVAL, "evaluation_interval": INTERVAL}
        config["rule_files"] = [str(sources.PROMETHEUS / name) for name in config["rule_files"]]
        (job,) = config["scrape_configs"]
        (targets,) = job["static_configs"]
        targets |= {"targets": [cls.admin], "labels": {"namespace": NAMESPACE}}
        file = cls.folder / "prometheus.yml"
        file.write_text(yaml.safe_dump(config))
        address = f"127.0.0.1:{free_port()}"
        child, words = cls.start(
            sources.program("FOIL_TEST_PROMETHEUS"), f"--config.file={file}",
            f"--storage.tsdb.path={cls.folder / 'prometheus'}", f"--web.listen-address={address}",
            "--log.level=warn",
        )
        cls.wait_for(lambda: answers(f"http://{address}/-/ready"), child, words)
        return Prometheus(address)

    @classmethod
    def foil_says(cls, *arguments):
        """Whether it ended well."""
        try:
            cls.run_program(
                cls.foil, *arguments, "--set", f"nats.url={cls.nats_url}",
                "--set", f"store.qdrant_url={cls.qdrant_url}",
            )
        except RuntimeError as error:
            return str(error)
        return ""

    @classmethod
    def must(cls, *arguments):
        if error := cls.foil_says(*arguments):
            raise RuntimeError(error)

    @classmethod
    def work(cls):
        """Each kind of work twice, the second after the first was scraped: a rate needs both."""
        files = sorted(CORPUS.glob("users-*.ndjson"))
        lines = [line for file in files for line in file.read_text("utf-8").splitlines(keepends=True)]
        lines = [line for line in lines if json.loads(line)["item"] == ITEM]
        cls.users = sorted(json.loads(line)["user"] for line in lines)
        reviews = cls.folder / "reviews.ndjson"
        reviews.write_text("".join(lines), "utf-8")
        cls.must("ingest", CORPUS / "items.ndjson", reviews)
        for versions, user in enumerate(cls.users[:2], 1):
            asyncio.run(cls.publish_what_can_never_work())
            cls.must("context", user, "--item", ITEM)
            # Nobody writes a text in so short a time.
            assert cls.foil_says("generate", user, "--item", ITEM, "--timeout", "300ms")
            cls.prometheus.wait_until(
                f'sum(foil_profile_versions_total{{strategy="dpl"}}) >= {versions}', f"a profile of {user}"
            )
            # Both have a profile now, so both replies are of one kind.
            cls.must("context", user, "--item", ITEM)
            time.sleep(2)
        cls.must("generate", cls.users[0], "--item", ITEM, "--max-tokens", "16")

    @classmethod
    def cut_the_model_short(cls):
        """Started again with a limit that no answer keeps to."""
        cls.up.terminate()
        cls.up.wait(START_S)
        cls.up = cls.start_foil(**cls.settings, **{"extractor.max_tokens": "32"})
        cls.must("context", cls.users[2], "--item", ITEM)
        cls.prometheus.wait_until("foil_llm_answers_refused_total > 0", "an answer that does not hold")

    @classmethod
    async def publish_what_can_never_work(cls):
        async with await nats.connect(cls.nats_url) as client:
            await client.jetstream().publish("foil.v1.update.demo.nobody", os.urandom(16))

    @classmethod
    def overload(cls):
        """More requests at once than the LLM takes."""
        text = ("generate", cls.users[0], "--item", ITEM, "--max-tokens", "48")
        with concurrent.futures.ThreadPoolExecutor(CROWD) as pool:
            said = list(pool.map(lambda _: cls.foil_says(*text), range(CROWD)))
        assert any("too much to do" in words for words in said), said

    @classmethod
    def lose_qdrant(cls):
        """While updates are being stored."""
        cls.must("ingest", CORPUS / "users-2.ndjson")
        cls.edge.kill()
        cls.edge.wait()
        cls.prometheus.wait_until('foil_check_up{check="embedder.store"} == 0', "the loss of Qdrant")
        cls.start_edge(cls.qdrant_url.removeprefix("http://"))
        cls.prometheus.wait_until('foil_check_up{check="embedder.store"} == 1', "Qdrant's return")

    @classmethod
    def lose_a_consumer(cls):
        """As by somebody's mistake; `foil provision` is the remedy."""
        async def delete():
            async with await nats.connect(cls.nats_url) as client:
                await client.jetstream().delete_consumer("FOIL_SELECT", "selector")

        asyncio.run(delete())
        cls.prometheus.wait_until('foil_consumer_found{stage="selector"} == 0', "a consumer's loss")
        cls.provision()
        cls.prometheus.wait_until('foil_consumer_found{stage="selector"} == 1', "its return")

    @classmethod
    def show(cls, name):
        for query in sources.board_queries(name):
            expr = cls.substituted(name, query)
            print(f"\n{query.where}\n    {expr}")
            for row in cls.prometheus.get("query", query=expr)["result"]:
                labels = " ".join(f"{k}={v}" for k, v in row["metric"].items() if k != "__name__")
                print(f"    {labels or '-':60} {float(row['value'][1]):.6g}")

    @staticmethod
    def substituted(name, query):
        """With everything chosen, as a dashboard opens."""
        board = sources.boards()[name]
        values = {
            variable: {"namespace": NAMESPACE}.get(variable, found.get("allValue", ""))
            for variable, found in sources.variables(board).items()
        }
        return sources.substituted(query.expr, values, RANGE)

    def require(self, where, expr):
        for selector in sources.selected(expr):
            if selector not in NOTHING:
                with self.subTest(where, reads=selector):
                    self.assertTrue(self.prometheus.values(f"last_over_time({selector}[{RANGE}])"))
        with self.subTest(where, query=expr):
            self.assertTrue(self.prometheus.values(expr), "no data")

    def test_every_query_of_every_panel_returns_data(self):
        count = 0
        for name in sources.boards():
            for query in sources.board_queries(name):
                expr = self.substituted(name, query)
                if "annotation" in query.where:
                    for part in broken_down(promql.parse(expr)):
                        self.require(query.where, part)
                else:
                    self.require(query.where, expr)
                count += 1
        self.assertGreater(count, 80)

    def test_every_expression_of_every_rule_returns_data(self):
        for query in sources.rule_queries():
            for part in broken_down(promql.parse(query.expr)):
                self.require(query.where, part)

    def test_prometheus_evaluates_every_rule(self):
        groups = self.prometheus.get("rules")["groups"]
        seen = {rule["name"]: rule for group in groups for rule in group["rules"]}
        self.assertEqual(set(seen), set(sources.alerts()) | set(sources.recorded()))
        for name, rule in seen.items():
            self.assertEqual((name, rule["health"]), (name, "ok"), rule.get("lastError"))
        for name in sources.recorded():
            self.assertTrue(self.prometheus.values(name), name)

    def test_every_variable_has_values(self):
        for name, board in sources.boards().items():
            for variable in sources.variables(board).values():
                if variable["type"] != "query":
                    continue
                selector, label = sources.label_values(variable)
                query = sources.Query(name, selector)
                matched = {"match[]": self.substituted(name, query)}
                values = self.prometheus.get(f"label/{label}/values", **matched)
                with self.subTest(board=name, variable=variable["name"]):
                    self.assertTrue(values)

    def test_what_is_exported_is_what_the_code_lists(self):
        """No metric and no label beside them: that is also why no user can be in one."""
        own = {"__name__", "job", "instance", "namespace"}
        seen = set()
        for found in self.prometheus.get("series", **{"match[]": '{__name__=~"foil_.+"}'}):
            name = found["__name__"]
            self.assertIn(name, sources.series())
            # Prometheus has no empty labels.
            self.assertLessEqual(set(found) - own, sources.series()[name], name)
            seen.add(name)
        self.assertEqual(set(sources.series()) - seen, set())

    def test_no_label_holds_a_user_or_an_item(self):
        lines = [
            json.loads(line)
            for path in sorted(CORPUS.glob("*.ndjson"))
            for line in path.read_text("utf-8").splitlines()
        ]
        ids = {line[key] for line in lines for key in ("user", "item", "id") if key in line}
        self.assertLessEqual(set(self.users), ids)
        for found in self.prometheus.get("series", **{"match[]": '{__name__=~"foil_.+"}'}):
            self.assertFalse(ids & set(found.values()), found)

    def test_what_died_on_purpose_is_alerted(self):
        firing = {
            (found["labels"]["alertname"], found["labels"].get("reason"))
            for found in self.prometheus.get("alerts")["alerts"]
            if found["state"] == "firing"
        }
        self.assertIn(("FoilDeadLetters", "undecodable"), firing)


if __name__ == "__main__":
    unittest.main()
