//! The hostile texts of `corpus.ndjson`. A file that tests of several packages include by its path, so
//! that there is one copy and no package depends on another for it.

#![allow(dead_code, reason = "every package uses a part of it")]

/// One case.
#[derive(Clone, Debug)]
pub struct Hostile {
    pub name: String,
    pub kind: String,
    pub text: String,
    /// What an obedient model would say.
    pub wish: Option<String>,
}

/// All of them.
///
/// # Panics
/// When the file is not what its README says.
pub fn corpus() -> Vec<Hostile> {
    let lines = include_str!("corpus.ndjson").lines();
    let cases: Vec<Hostile> = lines.map(case).collect();
    assert!(cases.len() >= 60, "{} cases", cases.len());
    cases
}

fn case(line: &str) -> Hostile {
    let value: serde_json::Value = serde_json::from_str(line).expect(line);
    let of = |key: &str| value[key].as_str().map(str::to_owned);
    let repeated = || {
        let pairs = value["repeat"].as_array().expect(line).iter();
        let pair = |pair: &serde_json::Value| {
            let unit = pair[0].as_str().expect("a unit");
            let times = pair[1].as_u64().expect("a count");
            unit.repeat(usize::try_from(times).expect("a small one"))
        };
        pairs.map(pair).collect()
    };
    Hostile {
        name: of("name").expect(line),
        kind: of("kind").expect(line),
        text: of("text").unwrap_or_else(repeated),
        wish: of("wish"),
    }
}
