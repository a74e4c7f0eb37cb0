use super::*;

#[test]
fn what_steers_a_terminal_is_shown_and_the_rest_passes() {
    let plain = "Two lines,\n\ta tab, na\u{ef}ve \u{4f60}\u{597d} \u{1f469}\u{200d}\u{1f680} \u{2764}\u{fe0f}";
    assert!(matches!(shown(plain), Cow::Borrowed(text) if text == plain));
    assert_eq!(
        shown("a\u{1b}[2Jb\r\u{9b}1mc\u{202e}d\u{2028}e\u{7f}\u{e0041}"),
        "a\\u{1b}[2Jb\\r\\u{9b}1mc\\u{202e}d\\u{2028}e\\u{7f}\\u{e0041}"
    );
}

#[test]
fn json_means_the_same_and_steers_nothing() {
    let text = "\u{1b}[31m\u{7f}\u{9b}2J\u{202e}\u{2066}\u{feff}\u{e0041}\0\n \u{1f980}\"\\";
    for pretty in [false, true] {
        let value = serde_json::json!({ "text": text, text: [1] });
        let written = match pretty {
            true => serde_json::to_string_pretty(&value),
            false => serde_json::to_string(&value),
        };
        let written = json(&written.unwrap());
        assert!(!written.contains(|c| c != '\n' && steers(c)), "{written}");
        let read: serde_json::Value = serde_json::from_str(&written).unwrap();
        assert_eq!(read, value);
    }
}

#[test]
fn no_hostile_text_steers_a_terminal_whatever_prints_it() {
    use crate::commands::status::table::printable;
    use crate::render::wrapped;
    let cases = crate::corpus::corpus();
    let steered = |text: &str| {
        text.chars()
            .find(|c| steers(*c) && *c != '\n' && *c != '\t')
    };
    for case in &cases {
        let text = case.text.as_str();
        let written = serde_json::json!({ "text": text, text: text });
        let written = json(&serde_json::to_string_pretty(&written).unwrap());
        for shown in [
            shown(text).into_owned(),
            printable(text),
            wrapped(text, 4),
            shown(&written).into_owned(),
        ] {
            assert_eq!(steered(&shown), None, "{}: {shown:?}", case.name);
        }
        // On one line, for a table's cell.
        assert!(!printable(text).contains(['\n', '\t']), "{}", case.name);
        // JSON is not changed any more on its way out.
        assert!(matches!(shown(&written), Cow::Borrowed(_)), "{}", case.name);
        let read: serde_json::Value = serde_json::from_str(&written).unwrap();
        assert_eq!(read["text"], text, "{}", case.name);
    }
    println!("{} hostile texts", cases.len());
}
