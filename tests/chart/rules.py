"""How each stage is scaled by a value file, as Helm renders it: for the simulation.

    python -m chart.rules production
"""

import json
import sys
import tomllib

from chart import helm

# The generator answers callers and the mover tidies up: neither has part in the flow of updates.
STAGES = ("embedder", "selector", "extractor", "profiler")


def of(name):
    """Stage to what decides about its replicas, and the limits of its configuration."""
    objects = helm.rendered(name)
    return {stage: of_stage(objects, stage) for stage in STAGES}


def of_stage(objects, stage):
    (file,) = [
        found["data"]["config.toml"]
        for found in helm.of_kind(objects, "ConfigMap")
        if helm.component(found) == stage and "config.toml" in found["data"]
    ]
    config = tomllib.loads(file)
    deployment = helm.named(objects, "Deployment", f"-{stage}")
    scaled = [o for o in helm.of_kind(objects, "ScaledObject") if helm.component(o) == stage]
    return {
        # Without autoscaling.
        "replicas": deployment["spec"].get("replicas"),
        "scaled": keda(scaled[0]["spec"]) if scaled else None,
        # None: Foil's own default.
        "permits": config[stage].get("worker", {}).get("permits") if stage in config else None,
        "parallel": config.get("llm", {}).get("parallel"),
    }


def keda(spec):
    (trigger,) = spec["triggers"]
    behaviour = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    return {
        "stream": trigger["metadata"]["stream"],
        "consumer": trigger["metadata"]["consumer"],
        "threshold": int(trigger["metadata"]["lagThreshold"]),
        "activation": int(trigger["metadata"]["activationLagThreshold"]),
        "min": spec["minReplicaCount"],
        "max": spec["maxReplicaCount"],
        "polling_s": spec["pollingInterval"],
        "cooldown_s": spec["cooldownPeriod"],
        "up": direction(behaviour["scaleUp"]),
        "down": direction(behaviour["scaleDown"]),
    }


def direction(rules):
    return {
        "window_s": rules["stabilizationWindowSeconds"],
        "policies": [
            {"kind": p["type"], "value": p["value"], "period_s": p["periodSeconds"]}
            for p in rules["policies"]
        ],
    }


if __name__ == "__main__":
    print(json.dumps(of(sys.argv[1])))
