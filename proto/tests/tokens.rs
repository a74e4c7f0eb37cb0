//! The vectors that producers in other languages are tested against, too.

#![allow(clippy::unwrap_used)]

use foil_proto::token;

#[test]
fn every_vector_holds_both_ways() {
    let vectors = include_str!("tokens.txt").lines();
    let mut count = 0;
    for line in vectors.filter(|line| !line.starts_with('#')) {
        let (id, expected) = line.split_once(' ').expect("an id and a token");
        let id = bytes(id);
        assert_eq!(token::encode(&id), expected);
        assert_eq!(token::decode(expected), Ok(id));
        count += 1;
    }
    assert!(count >= 10, "{count} vectors");
}

/// `-` is the empty id.
fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.trim_matches('-').as_bytes();
    let pairs = digits.chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}
