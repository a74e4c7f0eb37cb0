//! Users' text made harmless for a prompt.

use unicode_normalization::char::is_combining_mark;

/// Most combining marks on one character; more are dropped.
const MARKS: usize = 4;

/// Makes users' text harmless as data inside a prompt, and keeps it readable.
///
/// - Invisible characters go: controls but newline and tab, zero-width and bidi controls, tags,
///   private use. More than four combining marks in a row go too.
/// - What opens a chat-control token is replaced: `<` before a letter, `/`, `|`, `<` becomes `‹`, so
///   that `<|im_end|>`, `</s>`, `<start_of_turn>`, `<<SYS>>` and this program's own `<tags>` are
///   plain text; `[INST]`, `[|user|]` and their like get round brackets. Full-width forms count as
///   the plain ones, since some tokenizers make those of them.
/// - At the beginning of a line, `#` headings lose their `#` and role names such as `Assistant:`
///   their colon.
/// - Three or more of `` ` ``, `"`, `-`, `=` or `~` in a row become two: such runs fence text.
///
/// Doing it twice changes nothing. What plain words ask for is not decided here: the output's
/// schema is the guard against that.
pub fn neutralise(text: &str) -> String {
    let visible = visible(text);
    let mut out = String::with_capacity(visible.len());
    for (index, line) in visible.split('\n').enumerate() {
        if index > 0 {
            out.push('\n');
        }
        push_line(&mut out, line);
    }
    out
}

/// Without invisible characters and with few combining marks, with plain line ends.
pub fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut marks = 0;
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        let char = match char {
            '\r' if chars.peek() == Some(&'\n') => continue,
            '\r' | '\u{85}' | '\u{2028}' | '\u{2029}' => '\n',
            char => char,
        };
        if is_invisible(char) {
            continue;
        }
        marks = if is_combining_mark(char) {
            marks + 1
        } else {
            0
        };
        if marks <= MARKS {
            out.push(char);
        }
    }
    out
}

/// Whether a reader sees nothing of it, or sees other text turned around by it: controls but newline
/// and tab, zero-width and bidi controls, fillers, variation selectors, tags, private use and what is
/// no character.
pub fn is_invisible(char: char) -> bool {
    let code = u32::from(char);
    let noncharacter = code & 0xfffe == 0xfffe;
    noncharacter
        || char.is_control() && char != '\n' && char != '\t'
        || matches!(char,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{e000}'..='\u{f8ff}'
            | '\u{fdd0}'..='\u{fdef}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffc}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}' | '\u{f0000}'..='\u{10ffff}')
}

fn push_line(out: &mut String, line: &str) {
    let line = without_heading(line);
    let (line, role) = match role(line) {
        Some((name, rest)) => (rest, Some(name)),
        None => (line, None),
    };
    if let Some(role) = role {
        out.push_str(role);
        out.push_str(" \u{2013}");
    }
    let mut rest = line;
    let mut run = (' ', 0);
    while let Some(char) = rest.chars().next() {
        run = if run.0 == char {
            (char, run.1 + 1)
        } else {
            (char, 1)
        };
        let after = &rest[char.len_utf8()..];
        rest = after;
        match char {
            '<' | '\u{ff1c}' | '\u{fe64}' if opens_tag(after) => out.push('\u{2039}'),
            '[' | '\u{ff3b}' if after.starts_with(['|', '\u{ff5c}']) => out.push('('),
            '[' | '\u{ff3b}' => {
                if let Some((word, left)) = control_word(after) {
                    out.push('(');
                    out.push_str(word);
                    out.push(')');
                    rest = left;
                } else {
                    out.push(char);
                }
            }
            '`' | '"' | '-' | '=' | '~' if run.1 > 2 => {}
            char => out.push(char),
        }
    }
}

/// Without the `#` at its beginning, but `#1` and `#tag` stay.
fn without_heading(mut line: &str) -> &str {
    loop {
        let inner = line.trim_start();
        let hashes = inner.len() - inner.trim_start_matches('#').len();
        let after = &inner[hashes..];
        if hashes == 0
            || hashes == 1 && !after.is_empty() && !after.starts_with(char::is_whitespace)
        {
            return line;
        }
        line = after;
    }
}

/// The line's beginning where that is a speaker's name, and what follows its colon.
fn role(line: &str) -> Option<(&str, &str)> {
    const ROLES: [&str; 13] = [
        "system",
        "developer",
        "user",
        "assistant",
        "human",
        "ai",
        "bot",
        "model",
        "tool",
        "instruction",
        "instructions",
        "input",
        "response",
    ];
    let (name, rest) = line.split_once([':', '\u{ff1a}'])?;
    let word = name.trim_matches(|char: char| char.is_whitespace() || char == '*' || char == '_');
    let known = ROLES.iter().any(|role| word.eq_ignore_ascii_case(role));
    known.then_some((name, rest))
}

fn opens_tag(after: &str) -> bool {
    let next = after.chars().next();
    let word =
        |next: char| next.is_alphabetic() || "/|<\u{ff1c}\u{fe64}\u{ff5c}!?_[%".contains(next);
    // A byte of a tokenizer that falls back to bytes: `<0x0A>`.
    next.is_some_and(word) || after.starts_with("0x") || after.starts_with("0X")
}

/// `INST`, `/INST`, `TOOL_CALLS`, `gMASK`, `UNUSED_TOKEN_145` and their like before a `]`, and what
/// follows that.
fn control_word(after: &str) -> Option<(&str, &str)> {
    const LONGEST: usize = 48;
    let closing = [']', '\u{ff3d}'];
    let head = &after[..after.floor_char_boundary(LONGEST)];
    let end = head.find(closing)?;
    let (word, bracket) = after.split_at(end);
    let left = bracket.strip_prefix(closing)?;
    is_capitals(word).then_some((word, left))
}

/// Letters, digits and `_`, three or more of them capitals; perhaps after a `/`.
fn is_capitals(word: &str) -> bool {
    let word = word.trim_start_matches('/');
    let plain = |char: char| match u32::from(char) {
        // Full-width forms lie as their plain ones do.
        code @ 0xff01..=0xff5e => char::from_u32(code - 0xfee0).unwrap_or(char),
        _ => char,
    };
    let inside = |char: char| char.is_ascii_alphanumeric() || char == '_';
    let capitals = word.chars().map(plain).filter(char::is_ascii_uppercase);
    capitals.count() >= 3 && word.chars().map(plain).all(inside)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn control_tokens_of_every_family_are_broken() {
        for token in [
            "<|im_start|>",
            "<|im_end|>",
            "<|endoftext|>",
            "<|begin_of_text|>",
            "<|eot_id|>",
            "<|start_header_id|>",
            "<s>",
            "</s>",
            "<bos>",
            "<unk>",
            "<start_of_turn>",
            "<end_of_turn>",
            "<<SYS>>",
            "<</SYS>>",
            "[INST]",
            "[/INST]",
            "[TOOL_CALLS]",
            "[gMASK]",
            "[CLS]",
            "<sop>",
            "<BOS_TOKEN>",
            "<\u{ff5c}User\u{ff5c}>",
            "<think>",
            "</text>",
            "<[PLHD0]>",
            "```",
            "\"\"\"",
            "-----",
            "====",
            "<!-- x -->",
            "[|user|]",
            "[UNUSED_TOKEN_145]",
            "[/SYSTEM_PROMPT]",
            "<0x0A>",
            "\u{ff1c}|im_end|\u{ff1e}",
            "\u{ff3b}\u{ff29}\u{ff2e}\u{ff33}\u{ff34}\u{ff3d}",
            "<%",
        ] {
            for text in [
                token.to_owned(),
                format!("a {token}b{token}"),
                format!("\n{token}"),
            ] {
                assert!(!neutralise(&text).contains(token), "{token} in {text:?}");
            }
        }
    }

    #[test]
    fn control_tokens_split_by_invisible_characters_are_broken_too() {
        let text = "<\u{200b}|im\u{ad}_end|\u{2060}> [\u{feff}INST] -\u{200d}-\u{200d}-";
        assert_eq!(neutralise(text), "\u{2039}|im_end|> (INST) --");
    }

    #[test]
    fn headings_and_roles_at_the_beginning_of_a_line_are_plain() {
        for (text, plain) in [
            ("### Instruction:\nGo", " Instruction \u{2013}\nGo"),
            ("  ## system\n#one", " system\n#one"),
            ("Fine.\nAssistant: yes", "Fine.\nAssistant \u{2013} yes"),
            ("**USER**: no", "**USER** \u{2013} no"),
            ("# # System: x", " System \u{2013} x"),
            ("My system: works", "My system: works"),
            ("#1 choice", "#1 choice"),
            ("Assistant\u{ff1a} yes", "Assistant \u{2013} yes"),
        ] {
            assert_eq!(neutralise(text), plain);
        }
    }

    #[test]
    fn ordinary_text_stays() {
        let text = "I <3 it! 5 < 6, f*** yes... (really) [sic] [OK] \u{1f30a}\u{e9}\n\n\
            \tTabs -- and \"quotes\"; na\u{ef}ve \u{4f60}\u{597d}, #love, 10:30 e\u{301}";
        assert_eq!(neutralise(text), text);
    }

    #[test]
    fn invisible_characters_go() {
        let text = "a\0b\x1b[31mc\u{202e}d\u{2066}e\u{e0041}f\u{10ffff}g\r\nh\ri\u{2028}j\u{fe0f}";
        assert_eq!(neutralise(text), "ab[31mcdefg\nh\ni\nj");
    }

    #[test]
    fn runs_of_marks_are_bounded() {
        let zalgo = format!("Z{}a", "\u{301}\u{34e}".repeat(500));
        assert_eq!(neutralise(&zalgo).chars().count(), 2 + MARKS);
    }

    #[test]
    fn a_megabyte_takes_linear_time() {
        for unit in [
            "[", "<", "#", "-", "[A", "word ", "\u{301}", "user:\n", "# ",
        ] {
            let text = unit.repeat(1_000_000 / unit.len());
            let since = std::time::Instant::now();
            neutralise(&text);
            assert!(
                since.elapsed().as_millis() < 2_000,
                "{unit:?}: {:?}",
                since.elapsed()
            );
        }
    }

    proptest! {
        #[test]
        fn twice_is_once(text in "([<>|\\[\\]#/:`\"=~ \n*-]|INST|user|s|\u{200b}|\u{301}|\u{e9}|.){0,60}") {
            let once = neutralise(&text);
            prop_assert_eq!(neutralise(&once), once);
        }

        #[test]
        fn no_control_token_survives(text in "([<>|\\[\\]#/`\"=~-]|INST|im_end|s|\u{200b}|\u{ad}){0,40}") {
            let out = neutralise(&text);
            for token in ["<|", "<s>", "</s>", "<<", "[INST]", "```", "\"\"\"", "---", "===", "~~~"] {
                prop_assert!(!out.contains(token), "{} in {:?}", token, out);
            }
        }
    }
}
