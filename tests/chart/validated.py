"""Every rendered object against the schemas of Kubernetes, and the custom ones against those of the keys
that this chart uses of them.

    python -m chart.validated [VALUES...]

prints how many of which kind were validated, for each value file and version; the first object that is
not valid ends it."""

import collections
import json
import pathlib
import sys

import jsonschema
import kubernetes_validate

from chart import helm

# The oldest that the chart allows, one between, the newest that there are schemas of.
VERSIONS = ("1.31", "1.34", "1.37")
CRDS = json.loads(pathlib.Path(__file__).with_name("crds.json").read_text())


def counts(name, version):
    """Kind to the number of its valid objects of one value file; none of a custom kind."""
    found = collections.Counter()
    for shown in helm.rendered(name):
        if shown["kind"] not in CRDS:
            kubernetes_validate.validate(shown, version, strict=True)
            found[shown["kind"]] += 1
    return found


def custom_counts(name):
    found = collections.Counter()
    for shown in helm.rendered(name):
        if schema := CRDS.get(shown["kind"]):
            jsonschema.validate(shown, schema)
            found[shown["kind"]] += 1
    return found


def words(found):
    each = ", ".join(f"{number} {kind}" for kind, number in sorted(found.items()))
    return f"{found.total():4}  {each}" if found else "   0"


def main(names):
    total = collections.Counter()
    for name in names:
        for version in VERSIONS:
            found = counts(name, version)
            print(f"{name:<15} Kubernetes {version}  {words(found)}")
            total.update(found)
        found = custom_counts(name)
        print(f"{name:<15} own schemas      {words(found)}")
        total.update(found)
    print(f"{'all':<32} {words(total)}")


if __name__ == "__main__":
    main(sys.argv[1:] or helm.CI)
