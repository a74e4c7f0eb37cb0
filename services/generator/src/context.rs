//! The context block: what is known of a user, as it stands before a model. Pure: the same profile
//! version, records and request give the same bytes.

use foil_llm::prompt::{PromptError, PromptFile, neutralise};
use foil_proto::v1;
use serde::Serialize;

use crate::config::GeneratorConfig;
use crate::evidence;
use crate::history::Sample;
use crate::strategy::{Known, Strategy};

/// Longest summary, statement and label in a block, characters; what is stored is not longer.
const SUMMARY_CHARS_MAX: usize = 4_000;
const STATEMENT_CHARS_MAX: usize = 600;
const LABEL_CHARS_MAX: usize = 200;

/// What a context block says; every text in it is neutralised.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Material {
    summary: String,
    measured: Vec<String>,
    differences: Vec<Compared>,
    samples: Vec<Past>,
    /// Of other users, like `contrasts`: for a prompt, never for a reply.
    similar: Vec<String>,
    contrasts: Vec<Other>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Other {
    number: usize,
    item: String,
    text: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Compared {
    number: usize,
    item: String,
    findings: Vec<Finding>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Finding {
    criterion: String,
    statement: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Past {
    number: usize,
    item: String,
    rating: Option<f64>,
    title: String,
    text: String,
}

impl Material {
    /// Picks what `strategy` uses.
    pub fn new(strategy: Strategy, known: &Known, config: &GeneratorConfig) -> Self {
        let mut material = Self::default();
        if strategy == Strategy::NonPerso {
            return material;
        }
        let dpl = strategy == Strategy::Dpl;
        let standing = known.standing(strategy);
        let summary = known.summary.as_ref();
        if let Some(summary) = summary.or(standing.map(|profile| &profile.summary)) {
            material.summary = clean(summary, SUMMARY_CHARS_MAX);
        }
        if let Some(profile) = standing.filter(|_| dpl) {
            material.measured = evidence::lines(&profile.evidence, config.facts);
        }
        for (index, sample) in known.samples.iter().enumerate() {
            let number = index + 1;
            let difference = sample.record.difference.as_ref().filter(|_| dpl);
            if let Some(difference) = difference.filter(|found| !found.findings.is_empty()) {
                let found = compared(number, sample, difference);
                material.differences.push(found);
            }
            let text = past(number, sample, config.sample_chars);
            material.samples.push(text);
        }
        if strategy == Strategy::PersonaDb {
            let similar = known.similar.iter();
            material.similar = similar
                .map(|s| one_line(&clean(s, STATEMENT_CHARS_MAX)))
                .collect();
        }
        if strategy == Strategy::Cicl {
            let others = known.contrasts.iter().filter_map(|contrast| {
                let sample = known.samples.get(contrast.sample)?;
                Some(Other {
                    number: contrast.sample + 1,
                    item: item_label(sample),
                    text: clean(&contrast.text, config.sample_chars),
                })
            });
            material.contrasts = others.collect();
        }
        material
    }

    /// The block's sections in their order: what stays the same from request to request first.
    ///
    /// # Errors
    /// When the prompt file lacks a section or a value.
    pub fn render(&self, prompt: &PromptFile) -> Result<String, PromptError> {
        let mut sections = self.person(prompt)?;
        for sample in &self.samples {
            sections.push(prompt.render("sample", sample)?);
        }
        Ok(sections.join("\n\n"))
    }

    /// What is known beside the past texts, that of other users with it.
    pub(crate) fn everybody(&self, prompt: &PromptFile) -> Result<Vec<String>, PromptError> {
        let mut sections = self.person(prompt)?;
        if !self.similar.is_empty() {
            let values = serde_json::json!({ "summaries": self.similar });
            sections.push(prompt.render("similar", values)?);
        }
        for contrast in &self.contrasts {
            sections.push(prompt.render("contrast", contrast)?);
        }
        Ok(sections)
    }

    /// What the user is like: the block without the past texts.
    fn person(&self, prompt: &PromptFile) -> Result<Vec<String>, PromptError> {
        let mut sections = Vec::new();
        if !(self.summary.is_empty() && self.measured.is_empty()) {
            let values = serde_json::json!({
                "summary": self.summary,
                "measured": self.measured,
            });
            sections.push(prompt.render("profile", values)?);
        }
        for difference in &self.differences {
            sections.push(prompt.render("difference", difference)?);
        }
        Ok(sections)
    }

    /// Past texts as turns of a conversation, the least alike first: what was asked for, as the
    /// `task` section asks, and what the user wrote.
    pub(crate) fn turns(&self, prompt: &PromptFile) -> Result<Vec<[String; 2]>, PromptError> {
        let written = self.samples.iter().rev();
        let turn = |past: &Past| {
            let asked = serde_json::json!({
                "item": past.item,
                "description": "",
                "title": past.title,
                "rating": past.rating,
            });
            let asked = prompt.render("task", asked)?;
            Ok([asked, past.text.clone()])
        };
        written.map(turn).collect()
    }

    /// The texts that may be shortened to fit a prompt.
    pub(crate) fn texts_mut(&mut self) -> Vec<&mut String> {
        let statements = self
            .differences
            .iter_mut()
            .flat_map(|d| d.findings.iter_mut().map(|f| &mut f.statement));
        let pasts = self.samples.iter_mut().map(|sample| &mut sample.text);
        let others = self.contrasts.iter_mut().map(|other| &mut other.text);
        std::iter::once(&mut self.summary)
            .chain(statements)
            .chain(pasts)
            .chain(others)
            .chain(&mut self.similar)
            .collect()
    }

    /// Whether there is more than one key sample alone.
    pub(crate) fn has_more(&self) -> bool {
        self.samples.len() > 1 || !self.differences.is_empty()
    }

    /// Words of the shortest key sample that is not as long as it is in `whole`; `None` where none
    /// was cut.
    pub(crate) fn shortest_cut(&self, whole: &Self) -> Option<usize> {
        let both = self.samples.iter().zip(&whole.samples);
        let cut = both.filter(|(here, there)| here.text != there.text);
        cut.map(|(here, _)| here.text.split_whitespace().count())
            .min()
    }

    /// Leaves out what can best be done without: what comparing the least of the key samples found,
    /// and once there is no such thing the least of them. False when nothing is left.
    ///
    /// What comparisons found is in the summary too, in short, and a model that sees how somebody
    /// writes needs to be told less.
    pub(crate) fn leave_out(&mut self) -> bool {
        if self.differences.pop().is_some() {
            return true;
        }
        let Some(last) = self.samples.pop() else {
            return false;
        };
        self.differences.retain(|d| d.number != last.number);
        self.contrasts.retain(|other| other.number != last.number);
        true
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.summary.is_empty() && self.measured.is_empty() && self.samples.is_empty()
    }
}

fn compared(number: usize, sample: &Sample, difference: &v1::Difference) -> Compared {
    let finding = |finding: &v1::Finding| Finding {
        criterion: label(&finding.criterion),
        statement: one_line(&clean(&finding.statement, STATEMENT_CHARS_MAX)),
    };
    Compared {
        number,
        item: item_label(sample),
        findings: difference.findings.iter().map(finding).collect(),
    }
}

fn past(number: usize, sample: &Sample, chars: usize) -> Past {
    let record = &sample.record;
    Past {
        number,
        item: item_label(sample),
        rating: record.rating,
        title: label(&record.title),
        text: clean(&record.text, chars),
    }
}

fn item_label(sample: &Sample) -> String {
    if sample.item_title.trim().is_empty() {
        label(&sample.record.key.item)
    } else {
        label(&sample.item_title)
    }
}

/// A short text on one line.
pub(crate) fn label(text: &str) -> String {
    one_line(&clean(text, LABEL_CHARS_MAX))
}

/// Neutralised, and at most `chars` characters; a cut is after a word and shows.
pub(crate) fn clean(text: &str, chars: usize) -> String {
    // Twice as much as is kept: what is invisible goes first, and a long text is not read whole.
    let head: String = text.chars().take(chars.saturating_mul(2) + 1).collect();
    let clean = neutralise(head.trim());
    let Some((end, _)) = clean.char_indices().nth(chars) else {
        return clean;
    };
    let cut = &clean[..end];
    let word = cut.rfind(char::is_whitespace).unwrap_or(end);
    format!("{}\u{2026}", cut[..word].trim_end())
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;
