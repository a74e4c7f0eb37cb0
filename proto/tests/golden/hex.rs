//! How bytes stand in a golden file: hex digits; what follows `#` is for people.

/// `None`: not an even number of hex digits.
pub fn read(text: &str) -> Option<Vec<u8>> {
    let lines = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or(""));
    let digits: Vec<u8> = lines
        .flat_map(str::chars)
        .filter(|c| !c.is_whitespace())
        .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect::<Option<_>>()?;
    let pairs = digits.chunks(2).map(|pair| match pair {
        [high, low] => Some(high << 4 | low),
        _ => None,
    });
    pairs.collect()
}
