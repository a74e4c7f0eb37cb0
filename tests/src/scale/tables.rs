//! The report as Markdown.

use std::fmt::Write as _;

use super::report::{Burst, Machine, Report, Speed};

/// Tables for people, also as plain text; `command` is how the run was asked for.
pub fn markdown(report: &Report, command: &str) -> String {
    let Machine {
        date,
        processor,
        cores,
        load_before,
        load_after,
    } = &report.machine;
    let mut text = format!(
        "`{command}`, on {date}, on {cores} cores ({processor}). Load of the whole machine, whoever it is \
         of: {load_before:.1} before, {load_after:.1} in the end.\n"
    );
    if let Some(burst) = &report.burst {
        text.push_str(&of_burst(report, burst));
    }
    if !report.speedup.is_empty() {
        text.push_str(&of_speedup(report));
    }
    let verdict = match &report.wrong[..] {
        [] => "All holds.".to_owned(),
        wrong => format!("NOT all holds:\n\n- {}", wrong.join("\n- ")),
    };
    text + "\n" + &verdict + "\n"
}

fn of_burst(report: &Report, burst: &Burst) -> String {
    let options = &report.options;
    let bursts = match options.bursts {
        1 => "A burst".to_owned(),
        several => format!("{several} bursts"),
    };
    let mut text = format!(
        "\n{bursts} of {} updates under the rule of the `{}` values: {:.0} s until all is at rest. A second is \
         {} s of the rule; the model answers after {} ms; a profile waits {} s for more, at most {} s.\n\n",
        options.updates,
        options.values,
        burst.seconds,
        options.compression,
        options.latency_ms,
        options.debounce_s,
        options.max_wait_s
    );
    text.push_str("| stage     | most lag | replicas | turns | back after | window |\n");
    text.push_str("|-----------|---------:|---------:|------:|-----------:|-------:|\n");
    for (stage, moves) in &burst.moves {
        let replicas = format!("{} to {}", moves.least, moves.most);
        let back = moves.back.map(|s| format!("{s:.0} s"));
        let back = back.unwrap_or_else(|| "never".to_owned());
        let rule = report.rules.scaled(stage);
        let window = rule.map(|rule| format!("{:.0} s", rule.down.window_s / options.compression));
        let window = window.unwrap_or_else(|| "none".to_owned());
        line(
            &mut text,
            format_args!(
                "| {stage:9} | {:8} | {replicas:>8} | {:5} | {back:>10} | {window:>6} |",
                moves.lag, moves.turns
            ),
        );
    }
    let fresh = &burst.freshness;
    line(
        &mut text,
        format_args!(
            "\nIn a profile: {} updates, after {:.0} s (median), {:.0} s (95 %), {:.0} s (worst). Slowest end \
             after SIGTERM: {:.1} s.",
            fresh.updates, fresh.median, fresh.p95, fresh.worst, burst.slowest_end
        ),
    );
    text
}

fn of_speedup(report: &Report) -> String {
    let (options, cores) = (&report.options, report.machine.cores);
    let mut text = format!(
        "\nThe same {} records in a full queue, by so many extractors; the model answers after {} ms.\n\n",
        options.speedup_records, options.speedup_latency_ms
    );
    text.push_str(
        "| replicas | seconds | speed-up | of linear | model asked | processors | of them | load |\n\
         |---------:|--------:|---------:|----------:|------------:|-----------:|--------:|-----:|\n",
    );
    for Speed {
        row,
        speedup,
        efficiency,
    } in &report.speedup
    {
        line(
            &mut text,
            format_args!(
                "| {:8} | {:7.1} | {speedup:8.2} | {efficiency:9.2} | {:10.0}% | {:10.2} | {:6.0}% | {:4.1} |",
                row.replicas,
                row.seconds,
                row.busy * 100.0,
                row.processors,
                row.processors / cores as f64 * 100.0,
                row.load
            ),
        );
    }
    text
}

fn line(text: &mut String, words: std::fmt::Arguments<'_>) {
    writeln!(text, "{words}").expect("a String takes all that is written");
}
