//! Aligned columns.

use std::fmt::Write as _;

use crate::out;

/// How a column stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
}

/// Rows as lines, each column as wide as its widest cell, two spaces between them. Control
/// characters are shown, not passed on: ids come from outside. `width`: longest line, characters.
pub fn table(head: &[(&str, Align)], rows: &[Vec<String>], width: usize) -> String {
    let visible: Vec<Vec<String>> = rows
        .iter()
        .map(|row| row.iter().map(|cell| printable(cell)).collect())
        .collect();
    let widths: Vec<usize> = (0..head.len())
        .map(|column| {
            let cells = visible.iter().filter_map(|row| row.get(column));
            let widest = cells.map(|cell| cell.chars().count()).max();
            widest.unwrap_or(0).max(head[column].0.chars().count())
        })
        .collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut line = String::new();
        for ((cell, (_, align)), width) in cells.zip(head).zip(&widths) {
            let _ = match align {
                Align::Left => write!(line, "{cell:<width$}  "),
                Align::Right => write!(line, "{cell:>width$}  "),
            };
        }
        shortened(line.trim_end(), width)
    };
    let mut out = line(&mut head.iter().map(|(name, _)| *name));
    for row in &visible {
        out.push('\n');
        out.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    out
}

/// At most `width` characters, the last one "…" when some were cut.
pub fn shortened(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// On one line; what steers a terminal or hides becomes visible.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if out::steers(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// Columns of the terminal; without one no line is cut.
pub fn terminal_width() -> usize {
    let size = console::Term::stdout().size_checked();
    size.map_or(usize::MAX, |(_, columns)| usize::from(columns).max(40))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_each_other() {
        let head = [
            ("name", Align::Left),
            ("messages", Align::Right),
            ("why", Align::Left),
        ];
        let rows = [
            vec!["a\u{1b}[2J".to_owned(), "5".to_owned(), "short".to_owned()],
            vec![
                "é".to_owned(),
                "123456789".to_owned(),
                "a longer word".to_owned(),
            ],
        ];
        let expected = "name         messages  why\n\
                        a\\u{1b}[2J          5  short\n\
                        é           123456789  a lo…";
        assert_eq!(table(&head, &rows, 28), expected);
        // Without a terminal nothing is cut.
        assert!(table(&head, &rows, usize::MAX).ends_with("a longer word"));
    }
}
