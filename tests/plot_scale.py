"""Draws what `tests/scale` found:

    tests/scale --json | python tests/plot_scale.py scale.png
"""

import json
import sys

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.ticker import MaxNLocator

# In the order of the flow; told apart by people who see few colours, and in grey.
STAGES = {
    "embedder": ("#0072b2", "-"),
    "selector": ("#e69f00", "--"),
    "extractor": ("#d55e00", "-"),
    "profiler": ("#009e73", "-."),
}
GREY = "#666666"


def draw(report, path):
    burst, speedup = report["burst"], report["speedup"]
    figure = plt.figure(figsize=(12, 8.6), layout="constrained")
    parts = figure.add_gridspec(3, 5)
    wide = 3 if burst and speedup else 5
    if burst:
        draw_burst(figure, parts, wide, report)
    if speedup:
        draw_speedup(figure, parts, wide if burst else 0, report)
    figure.suptitle(title(report), fontsize=11)
    figure.savefig(path, dpi=95)


def title(report):
    options, machine = report["options"], report["machine"]
    bursts = "a burst" if options["bursts"] == 1 else f"{options['bursts']} bursts"
    return (
        f"tests/scale: replicas by the rule of the chart's {options['values']} values, over real "
        f"processes on {machine['cores']} cores\n"
        f"{bursts} of {options['updates']:,} updates; an answer of the LLM stub "
        f"takes {options['latency_ms'] / 1000:g} s; 1 s is {options['compression']:g} s of the rule"
    )


def draw_burst(figure, parts, wide, report):
    burst = report["burst"]
    lag = figure.add_subplot(parts[0, :wide])
    replicas = figure.add_subplot(parts[1, :wide], sharex=lag)
    fresh = figure.add_subplot(parts[2, :wide], sharex=lag)
    seconds = [sample["s"] for sample in burst["samples"]]
    for stage, (colour, line) in STAGES.items():
        at = [sample["stages"][stage] for sample in burst["samples"]]
        style = {"color": colour, "linestyle": line, "linewidth": 1.6, "label": stage}
        lag.plot(seconds, [one["lag"] for one in at], **style)
        replicas.step(seconds, [one["replicas"] for one in at], where="post", **style)
    lag.set_yscale("symlog", linthresh=10)
    lag.set_ylim(bottom=0)
    lag.set_ylabel("lag: messages waiting\nor unacknowledged (log)")
    lag.legend(loc="upper right", fontsize=9, ncols=2)
    replicas.set_ylabel("replicas (processes)")
    replicas.set_ylim(bottom=0)
    replicas.yaxis.set_major_locator(MaxNLocator(integer=True))
    rule_axis(lag, report["options"]["compression"])
    draw_freshness(fresh, burst)
    for axes in (lag, replicas, fresh):
        axes.grid(alpha=0.3)
        for started in burst["started"]:
            axes.axvline(started, color=GREY, linewidth=0.8, linestyle=":")
    for axes in (lag, replicas):
        axes.tick_params(labelbottom=False)
    fresh.set_xlabel("seconds since the start (dotted: a burst begins)")


def rule_axis(axes, compression):
    top = axes.secondary_xaxis("top", functions=(lambda s: s * compression, lambda s: s / compression))
    top.set_xlabel("seconds of the rule")


def draw_freshness(axes, burst):
    points, freshness = burst["freshness"]["points"], burst["freshness"]
    seconds = [point["s"] for point in points]
    axes.plot(seconds, [point["oldest"] for point in points], color="#cc79a7", linewidth=1.6,
              label="age of the oldest update in no profile yet (s)")
    axes.set_ylabel("age (s)")
    count = axes.twinx()
    count.plot(seconds, [point["fresh"] for point in points], color=GREY, linestyle="--",
               linewidth=1.4, label="updates held by a profile (right)")
    count.set_ylabel("updates")
    # Room above the curves, so that the words hide none of them.
    top = max(point["fresh"] + point["waiting"] for point in points)
    count.set_ylim(0, 1.45 * max(top, 1))
    axes.set_ylim(0, 1.45 * max(1, *(point["oldest"] for point in points)))
    words = (f"until a profile holds it: median {freshness['median']:.0f} s, 95 % "
             f"{freshness['p95']:.0f} s, worst {freshness['worst']:.0f} s")
    lines = axes.get_lines() + count.get_lines()
    axes.legend(lines, [line.get_label() for line in lines], title=words, title_fontsize=9,
                fontsize=8, loc="upper left", ncols=2)


def draw_speedup(figure, parts, left, report):
    rows = report["speedup"]
    replicas = [row["replicas"] for row in rows]
    faster = figure.add_subplot(parts[0:2, left:])
    most = max(replicas)
    faster.plot([1, most], [1, most], color=GREY, linestyle=":", label="linear")
    faster.fill_between([1, most], [0.9, 0.9 * most], [1, most], color=GREY, alpha=0.15,
                        label="0.9 of linear, and more")
    faster.plot(replicas, [row["speedup"] for row in rows], color=STAGES["extractor"][0],
                marker="o", label="measured")
    for row in rows:
        faster.annotate(
            f"{row['seconds']:.0f} s\n{row['efficiency']:.2f} of linear",
            (row["replicas"], row["speedup"]), textcoords="offset points", xytext=(8, -26), fontsize=8,
        )
    faster.set_xlim(0.5, most * 1.28)
    faster.set_ylim(bottom=0)
    faster.set_xticks(replicas)
    faster.set_xlabel("replicas of the extractor")
    faster.set_ylabel("speed-up")
    latency = report["options"]["speedup_latency_ms"] / 1000
    faster.set_title(
        f"{rows[0]['records']:,} records in a full queue;\nhere an answer takes {latency:g} s", fontsize=10
    )
    faster.legend(loc="upper left", fontsize=9)
    faster.grid(alpha=0.3)

    used = figure.add_subplot(parts[2, left:])
    places = range(len(rows))
    cores = report["machine"]["cores"]
    used.bar([p - 0.2 for p in places], [row["busy"] for row in rows], 0.38,
             color=STAGES["extractor"][0], label="of the LLM calls allowed at once")
    used.bar([p + 0.2 for p in places], [row["processors"] / cores for row in rows], 0.38,
             color=STAGES["embedder"][0], label=f"of the {cores} cores")
    used.set_xticks(list(places), [str(count) for count in replicas])
    used.set_ylim(0, 1.45)
    used.set_yticks([0, 0.5, 1])
    used.set_xlabel("replicas of the extractor")
    used.set_ylabel("share in use")
    used.legend(loc="upper left", fontsize=8)
    used.grid(alpha=0.3, axis="y")


if __name__ == "__main__":
    draw(json.load(sys.stdin), sys.argv[1])
