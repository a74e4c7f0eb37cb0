//! Text for people: ages, wrapped lines, and evidence as a small chart.

use std::fmt::Write as _;

use foil_proto::v1;

/// Columns of prose.
const WIDTH: usize = 92;
/// Columns on either side of a chart's middle.
const HALF: usize = 12;
/// z-score at the edge of the chart.
const EDGE: f64 = 3.0;

/// "4 s", "12 min", "3 h", "9 d".
pub fn age(ms: i64) -> String {
    let seconds = ms.max(0) / 1000;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// Milliseconds since 1970, now.
pub fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// Prose wrapped and indented; control characters of the text are not passed to the terminal.
pub fn wrapped(text: &str, indent: usize) -> String {
    let mut out = String::new();
    let mut column = WIDTH + 1;
    for word in text.split_whitespace() {
        let word: String = word.chars().filter(|c| !c.is_control()).collect();
        let length = word.chars().count();
        if column + 1 + length > WIDTH {
            if !out.is_empty() {
                out.push('\n');
            }
            let _ = write!(out, "{:indent$}{word}", "");
            column = indent + length;
        } else {
            let _ = write!(out, " {word}");
            column += 1 + length;
        }
    }
    out
}

/// One line a feature: the values, and a bar from the item's mean to the user.
///
/// ```text
/// words per sentence        31.2  others 14.0            |######      +1.6
/// ```
pub fn evidence(evidence: &[v1::Evidence], indent: usize) -> String {
    let mut out = String::new();
    for e in evidence {
        let label = foil_proto::feature::label(&e.feature);
        let (value, peers) = (number(e.value), number(e.peers_mean));
        let _ = writeln!(
            out,
            "{:indent$}{label:<34}{value:>8}  others {peers:>8}  {} {:>+5.1}",
            "",
            bar(e.z_score),
            e.z_score,
        );
    }
    out
}

fn number(value: f64) -> String {
    let digits = if value.abs() >= 100.0 {
        0
    } else if value.abs() >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.digits$}")
}

/// Less to the left of the middle, more to the right.
fn bar(z: f64) -> String {
    let filled = ((z.abs() / EDGE).min(1.0) * HALF as f64).round() as usize;
    let bar = "█".repeat(filled);
    if z < 0.0 {
        format!("{:>HALF$}│{:HALF$}", bar, "")
    } else {
        format!("{:HALF$}│{:<HALF$}", "", bar)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_point_to_their_side_and_keep_their_width() {
        for z in [-9.0, -1.5, 0.0, 0.2, 3.0, 9.0] {
            let bar = bar(z);
            assert_eq!(bar.chars().count(), 2 * HALF + 1, "{z}");
            let middle = bar.chars().position(|c| c == '│').expect("a middle");
            let right = bar.chars().skip(middle).any(|c| c == '█');
            assert_eq!(right, z > 0.1, "{z}: {bar:?}");
        }
    }

    #[test]
    fn prose_wraps_and_cannot_steer_the_terminal() {
        let text = "word ".repeat(60) + "\u{1b}[2Jend";
        let wrapped = wrapped(&text, 2);
        assert!(wrapped.lines().all(|line| line.chars().count() <= WIDTH));
        assert!(
            wrapped
                .lines()
                .all(|line| line.starts_with("  w") || line.contains("end"))
        );
        assert!(!wrapped.contains('\u{1b}'));
    }

    #[test]
    fn ages_are_short() {
        assert_eq!(age(-5), "0 s");
        assert_eq!(age(119_000), "119 s");
        assert_eq!(age(3_600_000), "60 min");
        assert_eq!(age(86_400_000 * 9), "9 d");
    }
}
