//! What a statement must not take over from others' texts: eight or more words in a row, and fewer of
//! them where they order what to write.
//!
//! Texts are compared as one row of letters without spaces, so that neither case, punctuation, accents
//! and invisible characters nor spaces put in or left out make a difference, and with letters that look
//! alike as one. What is written in other words, translated or encoded is not recognised.

use crate::prompt::is_invisible;
use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;
use unicode_segmentation::UnicodeSegmentation as _;

/// Words in a row that make a quotation.
pub const QUOTED_WORDS: usize = 8;
/// Words in a row, "the author" among them, that were put into the model's mouth.
const DICTATED_WORDS: usize = 5;
/// Words in a row, one that gives orders to a model among them, that were taken over as they stood.
const ORDERED_WORDS: usize = 4;
/// What orders to a model are made of, and descriptions of a style hardly ever.
const ORDERS: [&str; 11] = [
    "ignore",
    "disregard",
    "forget",
    "obey",
    "override",
    "instruction",
    "instructions",
    "prompt",
    "prompts",
    "assistant",
    "reveal",
];
const SUBJECT: [&str; 2] = ["the", "author"];
/// A longer word is a text without spaces.
const WORD_LETTERS_MAX: usize = 40;
/// As such a text is cut: the length of a word.
const PIECE_LETTERS: usize = 6;

/// A text as a row of letters, and where its words begin and end in it.
pub struct Letters {
    row: String,
    ends: Vec<usize>,
}

impl Letters {
    /// Folds case, marks, forms and look-alikes.
    pub fn of(text: &str) -> Self {
        let mut letters = Self {
            row: String::with_capacity(text.len()),
            ends: Vec::new(),
        };
        for word in folded(text).unicode_words() {
            letters.push(word);
        }
        letters
    }

    /// Several texts as one, each from its end on after the one before.
    pub fn joined<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let texts: Vec<&str> = texts.into_iter().collect();
        Self::of(&texts.join(" "))
    }

    fn push(&mut self, word: &str) {
        let mut letters = 0;
        let long = word.chars().nth(WORD_LETTERS_MAX).is_some();
        for letter in word.chars() {
            if long && letters == PIECE_LETTERS {
                self.ends.push(self.row.len());
                letters = 0;
            }
            self.row.push(letter);
            letters += 1;
        }
        self.ends.push(self.row.len());
    }

    fn word(&self, index: usize) -> &str {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.row[start..self.ends[index]]
    }

    /// Each `length` words in a row: where they begin, and their letters.
    fn runs(&self, length: usize) -> impl Iterator<Item = (usize, &str)> {
        let last = (self.ends.len() + 1).saturating_sub(length);
        (0..last).map(move |first| {
            let start = if first == 0 { 0 } else { self.ends[first - 1] };
            (first, &self.row[start..self.ends[first + length - 1]])
        })
    }

    fn holds(&self, run: &str) -> bool {
        self.row.contains(run)
    }
}

/// Whether `said` repeats [`QUOTED_WORDS`] or more words in a row of one of `texts`. What Foil itself
/// told the model, `own`, it may say, whoever wrote the same.
pub fn quotes<'a>(
    said: &Letters,
    own: &Letters,
    texts: impl IntoIterator<Item = &'a Letters>,
) -> bool {
    let taken = |run: &str| said.holds(run) && !own.holds(run);
    texts
        .into_iter()
        .any(|text| text.runs(QUOTED_WORDS).any(|(_, run)| taken(run)))
}

/// Whether `said` takes over, from one of `texts`, a sentence about "the author" or an order to a model:
/// a text that says what is to be said of somebody.
pub fn follows<'a>(
    said: &Letters,
    own: &Letters,
    texts: impl IntoIterator<Item = &'a Letters>,
) -> bool {
    let subject = SUBJECT.map(folded);
    let orders = ORDERS.map(folded);
    let taken = |run: &str| said.holds(run) && !own.holds(run);
    texts.into_iter().any(|text| {
        let word = |index| text.word(index);
        let dictated = |first: usize| {
            (first..first + DICTATED_WORDS - 1)
                .any(|at| word(at) == subject[0] && word(at + 1) == subject[1])
        };
        let ordered = |first: usize| {
            (first..first + ORDERED_WORDS).any(|at| orders.iter().any(|order| word(at) == order))
        };
        let mut dictations = text.runs(DICTATED_WORDS);
        let mut commands = text.runs(ORDERED_WORDS);
        dictations.any(|(first, run)| dictated(first) && taken(run))
            || commands.any(|(first, run)| ordered(first) && taken(run))
    })
}

/// Capital letters and digits, and a space for every other character but apostrophes. Capitals, since
/// more letters have the same capital than the same small form.
fn folded(text: &str) -> String {
    text.chars()
        .filter(|c| !is_invisible(*c))
        .flat_map(char::to_uppercase)
        .nfkd()
        .filter(|c| !is_combining_mark(*c) && !matches!(*c, '\'' | '\u{2019}' | '\u{2bc}'))
        .flat_map(char::to_uppercase)
        .map(|c| {
            if c.is_alphanumeric() {
                look_alike(c)
            } else {
                ' '
            }
        })
        .collect()
}

/// One letter for all that look alike, as capitals or as small letters: so a whole class becomes one,
/// `U` and `Y` for the sake of a Greek upsilon. Eight words that agree in all but that are the same.
fn look_alike(capital: char) -> char {
    match capital {
        'А' | 'Α' | 'ᴀ' | 'Ɑ' => 'A',
        'В' | 'Β' | 'Ь' | 'ʙ' => 'B',
        'С' | 'Ϲ' | 'ᴄ' => 'C',
        'Ԁ' | 'Đ' | 'Ð' | 'ᴅ' => 'D',
        'Е' | 'Ε' | 'Ҽ' | 'ᴇ' => 'E',
        'Ϝ' | 'ꜰ' => 'F',
        'Ԍ' | 'ɢ' | 'Ɡ' | 'Ց' => 'G',
        'L' | '1' | 'І' | 'Ι' | 'Ӏ' | 'Ł' | 'Ɨ' | 'Ɪ' | 'ʟ' | 'Լ' => 'I',
        'Ј' | 'ᴊ' => 'J',
        'К' | 'Κ' | 'ᴋ' => 'K',
        'М' | 'Μ' | 'ᴍ' => 'M',
        'H' | 'V' | 'Н' | 'Η' | 'Ν' | 'П' | 'Һ' | 'Ѵ' | 'Ħ' | 'ʜ' | 'ɴ' | 'ᴠ' | 'Հ' | 'Ո' => {
            'N'
        }
        '0' | 'О' | 'Ο' | 'Ø' | 'ᴏ' | 'Օ' => 'O',
        'Р' | 'Ρ' | 'ᴘ' => 'P',
        'Ԛ' => 'Q',
        'Г' | 'Ʀ' => 'R',
        'Ѕ' | 'ꜱ' | 'Տ' => 'S',
        'Т' | 'Τ' | 'Ŧ' | 'ᴛ' => 'T',
        'Ԝ' | 'Ω' | 'ᴡ' => 'W',
        'Х' | 'Χ' => 'X',
        'U' | 'У' | 'Υ' | 'Γ' | 'И' | 'ᴜ' | 'ʏ' | 'Ս' | 'Ү' => 'Y',
        'Ζ' | 'Ƶ' | 'ᴢ' => 'Z',
        other => other,
    }
}

#[cfg(test)]
mod tests;
