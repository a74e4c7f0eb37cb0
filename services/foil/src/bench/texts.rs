//! Made-up texts: the same for the same number, and no two alike.

use foil_proto::v1;
use foil_proto::v1::update::Change;

/// The tenant of everything that is made up.
pub const TENANT: &str = "bench";
/// 2024-01-01, milliseconds since 1970.
const EPOCH_MS: i64 = 1_704_067_200_000;
const WORDS: [&str; 48] = [
    "river", "quiet", "lantern", "seldom", "orchard", "bright", "measure", "winter", "copper",
    "letter", "harbour", "simple", "we", "walked", "and", "the", "soup", "was", "warm", "but", "I",
    "found", "it", "dear", "two", "hours", "later", "never", "again", "lovely", "broken", "handle",
    "cheap", "window", "children", "laughed", "slowly", "because", "nobody", "asked", "price",
    "steady", "kettle", "sings", "honest", "shop", "crowded", "evening",
];

/// Numbers that look like chance, the same for the same seed.
pub struct Numbers(u64);

impl Numbers {
    pub fn new(seed: usize) -> Self {
        Self(seed as u64)
    }

    /// The next one (splitmix64).
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Within 0 and 1.
    pub fn share(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1_u64 << 24) as f32
    }
}

/// Sentences of so many words.
pub fn text(seed: usize, words: usize) -> String {
    let mut numbers = Numbers::new(seed);
    let mut out = String::new();
    for at in 0..words {
        let word = WORDS[(numbers.next() % WORDS.len() as u64) as usize];
        let ends = at + 1 == words || numbers.next().is_multiple_of(9);
        out.push_str(word);
        out.push_str(if ends { ". " } else { " " });
    }
    out.truncate(out.trim_end().len());
    out
}

/// A record of 12 to 31 words.
pub fn record(user: &str, item: &str, seed: usize) -> v1::Update {
    v1::Update {
        tenant: TENANT.to_owned(),
        change: Some(Change::RecordUpsert(v1::RecordUpsert {
            user: user.to_owned(),
            item: item.to_owned(),
            text: text(seed, 12 + seed % 20),
            title: text(seed + 1_000_000, 3),
            rating: Some((seed % 5) as f64 + 1.0),
            occurred_at_ms: EPOCH_MS + seed as i64 * 60_000,
            revision: 1,
        })),
    }
}
