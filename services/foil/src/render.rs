//! Text for people: ages, wrapped lines, and evidence as a small chart.

use std::fmt::Write as _;

use foil_proto::v1;

use crate::out;

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

/// "1 profile", "2 profiles".
pub fn count(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

/// "2026-03-14 18:20 UTC" for milliseconds since 1970; none for what can hardly be meant so: what is
/// before September 2001, as small revisions are, or after November 2286.
pub fn date(ms: u64) -> Option<String> {
    let ms = i64::try_from(ms).ok()?;
    (1_000_000_000_000..10_000_000_000_000)
        .contains(&ms)
        .then_some(())?;
    let at = jiff::Timestamp::from_millisecond(ms).ok()?;
    Some(at.strftime("%Y-%m-%d %H:%M UTC").to_string())
}

/// A revision, with its date where it is a time.
pub fn revision(revision: u64) -> String {
    match date(revision) {
        Some(date) => format!("{revision} ({date})"),
        None => revision.to_string(),
    }
}

/// Milliseconds since 1970, now.
pub fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// Prose wrapped and indented; what steers a terminal is left out.
pub fn wrapped(text: &str, indent: usize) -> String {
    let mut lines = String::new();
    let mut column = WIDTH + 1;
    for word in text.split_whitespace() {
        let word: String = word.chars().filter(|c| !out::steers(*c)).collect();
        let length = word.chars().count();
        if column + 1 + length > WIDTH {
            if !lines.is_empty() {
                lines.push('\n');
            }
            let _ = write!(lines, "{:indent$}{word}", "");
            column = indent + length;
        } else {
            let _ = write!(lines, " {word}");
            column += 1 + length;
        }
    }
    lines
}

/// One line a feature: the value, the mean of all who wrote on the item, the user among them, and a
/// bar from that mean to the value.
///
/// ```text
///                           value  everyone  less ◄ deviation ► more
/// words per sentence         31.2      14.0            |######      +1.6
/// ```
pub fn evidence(evidence: &[v1::Evidence], indent: usize) -> String {
    if evidence.is_empty() {
        return String::new();
    }
    let (value, mean) = ("value", "everyone");
    // The middle of the last heading stands over the middle of the bars.
    let mut out = format!(
        "{:indent$}{:34}{value:>8}  {mean:>8}   less ◄ deviation ► more\n",
        "", ""
    );
    for e in evidence {
        let label = foil_proto::feature::label(&e.feature);
        let (value, mean) = (number(e.value), number(e.item_mean));
        let _ = writeln!(
            out,
            "{:indent$}{label:<34}{value:>8}  {mean:>8}  {} {:>+5.1}",
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
    fn bars_and_figures_speak_of_the_same_mean() {
        let found = v1::Evidence {
            feature: "words".to_owned(),
            value: 20.0,
            peers_mean: 30.0,
            item_mean: 15.0,
            z_score: 1.0,
        };
        let table = evidence(&[found], 2);
        let lines: Vec<&str> = table.lines().collect();
        assert!(
            lines[1].contains("15.0") && !table.contains("30.0"),
            "{table}"
        );
        // Each heading stands over its column.
        let column = |line: &str, text: &str| {
            let at = line.find(text).expect("it is there") + text.len();
            line[..at].chars().count()
        };
        assert_eq!(column(lines[0], "value"), column(lines[1], "20.0"));
        assert_eq!(column(lines[0], "everyone"), column(lines[1], "15.0"));
        let middle = column(lines[1], "│");
        assert_eq!(column(lines[0], "◄ devia"), middle, "{table}");
    }

    #[test]
    fn numbers_of_things_and_times() {
        assert_eq!([count(0, "item"), count(1, "item")], ["0 items", "1 item"]);
        let revision_of_a_time = revision(1_773_512_400_000);
        assert_eq!(revision_of_a_time, "1773512400000 (2026-03-14 18:20 UTC)");
        assert_eq!([revision(0), revision(7)], ["0", "7"]);
        assert_eq!(revision(u64::MAX), u64::MAX.to_string());
    }

    #[test]
    fn ages_are_short() {
        assert_eq!(age(-5), "0 s");
        assert_eq!(age(119_000), "119 s");
        assert_eq!(age(3_600_000), "60 min");
        assert_eq!(age(86_400_000 * 9), "9 d");
    }
}
