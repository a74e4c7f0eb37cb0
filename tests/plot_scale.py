"""Draws what `tests/scale` found:

    python tests/plot_scale.py scale.png < scale.json
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
    figure = plt.figure(figsize=(12, 9.4), layout="constrained")
    parts = figure.add_gridspec(4, 5, height_ratios=(3, 3, 3, 2))
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
    holds = "NOT all holds: " + "; ".join(report["wrong"]) if report["wrong"] else (
        "nothing lost, nothing done twice, nothing flaps"
    )
    return (
        f"tests/scale: {bursts} of {options['updates']:,} updates over real processes on "
        f"{machine['cores']} cores, replicas by the rule of the chart's {options['values']} values\n"
        f"1 s of the run is {options['compression']:g} s of the rule; {holds}"
    )


def draw_burst(figure, parts, wide, report):
    burst = report["burst"]
    lag = figure.add_subplot(parts[0, :wide])
    replicas, fresh, used = (
        figure.add_subplot(parts[row, :wide], sharex=lag) for row in (1, 2, 3)
    )
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
    replicas.set_ylim(0, 1.3 * max(moves["most"] for moves in burst["moves"].values()))
    replicas.yaxis.set_major_locator(MaxNLocator(integer=True))
    replicas.text(0.99, 0.95, flapping(report), transform=replicas.transAxes, ha="right", va="top",
                  fontsize=9)
    rule_axis(lag, report["options"]["compression"])
    draw_freshness(fresh, burst)
    draw_processors(used, burst["samples"], report["machine"]["cores"])
    for axes in (lag, replicas, fresh, used):
        axes.grid(alpha=0.3)
        for started in burst["started"]:
            axes.axvline(started, color=GREY, linewidth=0.8, linestyle=":")
    for axes in (lag, replicas, fresh):
        axes.tick_params(labelbottom=False)
    used.set_xlabel("seconds since the start (dotted: a burst begins)")


def flapping(report):
    """What the curves of the replicas are to show."""
    after = [moves["back"] for moves in report["burst"]["moves"].values() if moves["back"] is not None]
    rules = [stage["scaled"] for stage in report["rules"].values() if stage["scaled"]]
    window = max((rule["down"]["window_s"] for rule in rules), default=0) / report["options"]["compression"]
    if not after:
        return "no replica came after one of its stage had gone"
    return (f"soonest that a replica came after one of its stage had gone: {min(after):.0f} s\n"
            f"(within the window for less, {window:.0f} s, it would be a flap)")


def draw_processors(axes, samples, cores):
    """The run's own use; steps of a few seconds, as the kernel counts in hundredths."""
    step = max(1, len(samples) // 200)
    few = samples[::step]
    pairs = list(zip(few, few[1:]))
    axes.step([b["s"] for _, b in pairs],
              [(b["processor_s"] - a["processor_s"]) / (b["s"] - a["s"]) for a, b in pairs],
              where="pre", color=STAGES["embedder"][0], linewidth=1.2)
    axes.axhline(cores, color=GREY, linestyle="--", linewidth=1)
    axes.set_ylim(0, 1.15 * cores)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel(f"cores used\nby all of it (of {cores})")


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
        f"the same {rows[0]['records']:,} records in a full queue;\n"
        f"an answer of the LLM stub takes {latency:g} s",
        fontsize=10,
    )
    faster.legend(loc="upper left", fontsize=9)
    faster.grid(alpha=0.3)

    used = figure.add_subplot(parts[2:4, left:])
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
    used.set_ylabel("share in use, on average")
    used.set_title("the stub is the limit, not the processor", fontsize=10)
    used.legend(loc="upper left", fontsize=8)
    used.grid(alpha=0.3, axis="y")


if __name__ == "__main__":
    draw(json.load(sys.stdin), sys.argv[1])
