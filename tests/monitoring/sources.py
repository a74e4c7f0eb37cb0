"""What dashboards, rules and runbook ask for, and what the code exports; what the tests of
monitoring have in common."""

import dataclasses
import functools
import json
import os
import pathlib
import re
import subprocess

import promql_parser as promql
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
GRAFANA = ROOT / "deploy/grafana"
PROMETHEUS = ROOT / "deploy/prometheus"
RUNBOOK = ROOT / "deploy/runbook.md"
TABLE = ROOT / "deploy/metrics.md"
COMMAND_S = 120
# What Grafana puts in by itself.
GRAFANAS = ("$__rate_interval", "$__range", "$__interval")
MATCHES = {"MatchOp.Equal": "=", "MatchOp.NotEqual": "!=", "MatchOp.Re": "=~", "MatchOp.NotRe": "!~"}
# Operators whose result may rightly be empty.
WITHOUT_DATA = {">", "<", ">=", "<=", "==", "!=", "and", "or", "unless"}


@dataclasses.dataclass(frozen=True)
class Query:
    where: str
    expr: str


def program(variable, path=None):
    """A test that needs it must not pass without."""
    value = os.environ.get(variable)
    if not value:
        raise RuntimeError(f"{variable} is not set; tests/run sets it")
    found = pathlib.Path(value, path) if path else pathlib.Path(value)
    if not os.access(found, os.X_OK):
        hint = "cargo build --release --bins" if path else "deploy/local/setup --tests"
        raise RuntimeError(f"no program {found}; {hint} makes it")
    return found


def run(*arguments):
    return subprocess.run(
        arguments, timeout=COMMAND_S, stdin=subprocess.DEVNULL, cwd=ROOT,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )


# Dashboards ------------------------------------------------------------------------------------------


@functools.cache
def boards():
    return {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(GRAFANA.glob("*.json"))}


def panels(board):
    """Without the rows that only head others."""
    for panel in board["panels"]:
        yield from panel.get("panels", [])
        if panel["type"] != "row":
            yield panel


def variables(board):
    return {found["name"]: found for found in board["templating"]["list"]}


def board_queries(name):
    """Every query of a dashboard, variables as they are written."""
    board = boards()[name]
    for panel in panels(board):
        for target in panel["targets"]:
            yield Query(f"{name}: {panel['title']} {target['refId']}", target["expr"])
    for annotation in board["annotations"]["list"]:
        yield Query(f"{name}: annotation {annotation['name']}", annotation["expr"])


def label_values(variable):
    """Selector and label of a variable's query."""
    return re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"], re.S).groups()


def substituted(expr, values, range="5m"):
    """As Grafana does: longer names first, so that none is taken for the beginning of another."""
    every = dict.fromkeys(GRAFANAS, range) | {f"${name}": value for name, value in values.items()}
    for name in sorted(every, key=len, reverse=True):
        expr = expr.replace(name, every[name])
    return expr


# Rules -----------------------------------------------------------------------------------------------


@functools.cache
def rules():
    return [
        rule
        for path in sorted((PROMETHEUS / "rules").glob("*.yaml"))
        for group in yaml.safe_load(path.read_text("utf-8"))["groups"]
        for rule in group["rules"]
    ]


def alerts():
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def recorded():
    return {rule["record"]: rule["expr"] for rule in rules() if "record" in rule}


def rule_queries():
    for rule in rules():
        yield Query(f"rule {rule.get('alert') or rule['record']}", rule["expr"])


# PromQL ----------------------------------------------------------------------------------------------


def nodes(expr, kind):
    found = []
    promql.walk(
        promql.parse(expr), pre_visit=lambda node: found.append(node) if isinstance(node, kind) else None
    )
    return found


def selectors(expr):
    """Each series that an expression reads: its name, and the labels that it matches."""
    for node in nodes(expr, promql.VectorSelector):
        yield node.name, [matcher.name for matcher in node.matchers.matchers]


def selected(expr):
    """Each instant selector of an expression, by itself."""
    for node in nodes(expr, promql.VectorSelector):
        matchers = ",".join(
            f"{found.name}{MATCHES[str(found.op)]}{json.dumps(found.value)}"
            for found in node.matchers.matchers
        )
        yield f"{node.name}{{{matchers}}}"


def grouped(expr):
    """Labels that an expression groups by or joins on."""
    for node in nodes(expr, promql.AggregateExpr):
        yield from node.modifier.labels if node.modifier else []
    for node in nodes(expr, promql.BinaryExpr):
        matching = node.modifier and node.modifier.matching
        yield from matching.labels if matching else []


def made(expr):
    """Labels that an expression makes of others."""
    for node in nodes(expr, promql.Call):
        if node.func.name == "label_replace":
            yield node.args[1].val


# The code --------------------------------------------------------------------------------------------


@functools.cache
def exported():
    """Name to kind and labels of every metric, as `foil metrics` prints them from the code."""
    done = run(program("CARGO_TARGET_DIR", "release/foil"), "metrics", "--json")
    if done.returncode:
        raise RuntimeError(f"foil metrics: {done.stdout}")
    return {found["name"]: found for found in json.loads(done.stdout)}


@functools.cache
def series():
    """Name to labels of every series that Prometheus gets of them."""
    found = {}
    for name, metric in exported().items():
        labels = set(metric["labels"])
        if metric["kind"] == "histogram":
            found[f"{name}_bucket"] = labels | {"le"}
            found[f"{name}_sum"] = found[f"{name}_count"] = labels
        else:
            found[name] = labels
    return found
