//! Trimming to a budget of tokens.

use crate::chat::{EngineError, LanguageModel};

/// Whether a part may be shortened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Never: instructions, and the text the request is about.
    Whole,
    /// When the parts do not fit otherwise.
    Shorten,
}

/// One piece of a prompt.
#[derive(Clone, Debug)]
pub struct Part {
    pub text: String,
    pub keep: Keep,
}

impl Part {
    pub fn whole(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            keep: Keep::Whole,
        }
    }

    pub fn shorten(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            keep: Keep::Shorten,
        }
    }
}

/// Parts that fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fitted {
    /// One for each part, in their order.
    pub texts: Vec<String>,
    /// What they take of the budget: their tokens, and one more each where parts are joined.
    pub tokens: u32,
    /// How many parts were shortened.
    pub shortened: usize,
}

/// Ends a shortened part.
const ELLIPSIS: &str = " \u{2026}";

/// No more than this many bytes of a text are looked at for each token of the budget. A token of
/// ordinary text has four or five.
const BYTES_PER_TOKEN: usize = 16;

/// Shortens parts until all fit into `budget` tokens. Whole ones stay; of the others the longest
/// are cut first, down to one common length. A text is cut at its end, after a word, and an
/// ellipsis shows it.
///
/// # Errors
/// [`EngineError::Invalid`] with the sizes when the whole parts alone do not fit, and what the
/// model's tokenizer says.
pub fn fit(
    parts: Vec<Part>,
    budget: u32,
    model: &dyn LanguageModel,
) -> Result<Fitted, EngineError> {
    let longest = (budget as usize).saturating_mul(BYTES_PER_TOKEN);
    let mut sizes = Vec::with_capacity(parts.len());
    let mut parts = parts;
    let mut cut = vec![false; parts.len()];
    let ellipsis = cost(ELLIPSIS, model)?;
    for (part, cut) in parts.iter_mut().zip(&mut cut) {
        if part.keep == Keep::Shorten && part.text.len() > longest {
            let end = word_end(&part.text, longest);
            part.text.truncate(end);
            *cut = true;
        }
        let shown = if *cut { ellipsis } else { 0 };
        sizes.push(cost(&part.text, model)?.saturating_add(shown));
    }
    let sum = |keep: Keep| -> u64 {
        let sizes = parts
            .iter()
            .zip(&sizes)
            .filter(|(part, _)| part.keep == keep);
        sizes.map(|(_, &size)| u64::from(size)).sum()
    };
    let whole = sum(Keep::Whole);
    if whole > u64::from(budget) {
        let count = parts.iter().filter(|part| part.keep == Keep::Whole).count();
        return Err(EngineError::Invalid(format!(
            "prompt: the {count} parts that must stay whole have {whole} tokens, \
             and the budget is {budget}"
        )));
    }
    let left = budget - u32::try_from(whole).unwrap_or(budget);
    let cap = common_length(
        left,
        parts
            .iter()
            .zip(&sizes)
            .filter_map(|(part, &size)| (part.keep == Keep::Shorten).then_some(size)),
    );
    let mut fitted = Fitted {
        texts: Vec::with_capacity(parts.len()),
        tokens: 0,
        shortened: 0,
    };
    for ((part, size), cut) in parts.into_iter().zip(sizes).zip(cut) {
        let (text, size) = if part.keep == Keep::Shorten && (cut || size > cap) {
            fitted.shortened += 1;
            shorten(&part.text, size, cap.min(size), ellipsis, model)?
        } else {
            (part.text, size)
        };
        fitted.texts.push(text);
        fitted.tokens += size;
    }
    Ok(fitted)
}

/// A text's share of the budget. Joined to the next one, it may take one token more than alone.
fn cost(text: &str, model: &dyn LanguageModel) -> Result<u32, EngineError> {
    if text.is_empty() {
        return Ok(0);
    }
    Ok(model.count_tokens(text)?.saturating_add(1))
}

/// The greatest length to which all can be cut so that their sum is at most `budget`.
fn common_length(budget: u32, sizes: impl Iterator<Item = u32>) -> u32 {
    let mut sizes: Vec<u32> = sizes.collect();
    sizes.sort_unstable();
    let mut left = budget;
    for (index, &size) in sizes.iter().enumerate() {
        let others = u32::try_from(sizes.len() - index).unwrap_or(u32::MAX);
        let share = left / others;
        if size > share {
            return share;
        }
        left -= size;
    }
    u32::MAX
}

/// The longest beginning that was found to take at most `cap`, its ellipsis included, and its cost.
fn shorten(
    text: &str,
    size: u32,
    cap: u32,
    ellipsis: u32,
    model: &dyn LanguageModel,
) -> Result<(String, u32), EngineError> {
    // Each try counts a text of about the cap, never the whole one again.
    const TRIES: u32 = 5;
    let room = f64::from(cap.min(size).saturating_sub(ellipsis));
    let mut per_token = text.len() as f64 / f64::from(size.max(1));
    let mut best = (String::new(), 0);
    let mut too_long = usize::MAX;
    for _ in 0..TRIES {
        let wished = (room * per_token) as usize;
        let end = word_end(text, wished.min(too_long.saturating_sub(1)));
        let kept = text[..end].trim_end();
        if kept.is_empty() || kept.len() <= best.0.len().saturating_sub(ELLIPSIS.len()) {
            break;
        }
        let candidate = format!("{kept}{ELLIPSIS}");
        let found = cost(&candidate, model)?;
        per_token = kept.len() as f64 / f64::from(found.saturating_sub(ellipsis).max(1));
        if found <= cap {
            let good = f64::from(found) >= 0.95 * f64::from(cap) || end == text.len();
            best = (candidate, found);
            if good {
                break;
            }
        } else {
            too_long = end;
            // Come from below: a guess that is a little short is good, one that is long is lost.
            per_token *= 0.97;
        }
    }
    Ok(best)
}

/// The end of the last word that ends at or before `at`; in a text without spaces near, the end of
/// a character.
fn word_end(text: &str, at: usize) -> usize {
    if at >= text.len() {
        return text.len();
    }
    let end = text.floor_char_boundary(at);
    if text[end..].starts_with(char::is_whitespace) {
        return end;
    }
    // A text without spaces should not lose much for the sake of a word.
    const LONGEST_WORD: usize = 64;
    let from = text.floor_char_boundary(end.saturating_sub(LONGEST_WORD));
    text[from..end]
        .rfind(char::is_whitespace)
        .map_or(end, |space| from + space)
}

#[cfg(test)]
mod tests;
