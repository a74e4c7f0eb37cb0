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
///   plain text; `[INST]` and its like get round brackets.
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

/// Without invisible characters, with plain line ends.
fn visible(text: &str) -> String {
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

fn is_invisible(char: char) -> bool {
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
        Some(end) => (&line[end + 1..], Some(&line[..end])),
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
            '<' if opens_tag(after) => out.push('\u{2039}'),
            '[' => {
                if let Some(end) = control_word(after) {
                    out.push('(');
                    out.push_str(&after[..end]);
                    out.push(')');
                    rest = &after[end + 1..];
                } else {
                    out.push('[');
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

/// Where the colon is that makes a line's beginning a speaker's name.
fn role(line: &str) -> Option<usize> {
    const ROLES: [&str; 10] = [
        "system",
        "user",
        "assistant",
        "human",
        "ai",
        "model",
        "tool",
        "instruction",
        "input",
        "response",
    ];
    let (name, _) = line.split_once(':')?;
    let word = name.trim_matches(|char: char| char.is_whitespace() || char == '*' || char == '_');
    let known = ROLES.iter().any(|role| word.eq_ignore_ascii_case(role));
    known.then_some(name.len())
}

fn opens_tag(after: &str) -> bool {
    let next = after.chars().next();
    next.is_some_and(|next| next.is_alphabetic() || "/|<\u{ff5c}!?_[".contains(next))
}

/// The length of `INST`, `/INST`, `TOOL_CALLS`, `gMASK` and their like before a `]`.
fn control_word(after: &str) -> Option<usize> {
    const LONGEST: usize = 32;
    let end = after.bytes().take(LONGEST).position(|byte| byte == b']')?;
    let word = after.get(..end)?.trim_start_matches('/');
    let letters = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    let capitals = word.bytes().filter(u8::is_ascii_uppercase).count();
    (capitals >= 3 && word.bytes().all(letters)).then_some(end)
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
