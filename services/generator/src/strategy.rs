//! How a context is built, and what is known when it is.

use foil_proto::v1;
use serde::{Deserialize, Serialize};

use crate::history::Sample;

/// How a context is built: the seven of the paper's comparison. All but `non-perso` hold the key
/// samples as past texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Strategy {
    /// Profile with differences, findings.
    #[default]
    #[serde(rename = "dpl")]
    Dpl,
    /// Summary of the history without differences.
    #[serde(rename = "intsum")]
    IntSum,
    /// Summary of the history, block by block, each time brought up to date.
    #[serde(rename = "llm-trsr")]
    LlmTrsr,
    /// What another user wrote on the same items, as a contrast.
    #[serde(rename = "cicl")]
    Cicl,
    /// Fixed categories filled in from the history and refined, and the profiles of similar users.
    #[serde(rename = "persona-db")]
    PersonaDb,
    /// Past texts alone.
    #[serde(rename = "rag")]
    Rag,
    /// Nothing about the user.
    #[serde(rename = "non-perso")]
    NonPerso,
}

impl Strategy {
    /// Every strategy.
    pub const ALL: [Self; 7] = [
        Self::Dpl,
        Self::IntSum,
        Self::LlmTrsr,
        Self::Cicl,
        Self::PersonaDb,
        Self::Rag,
        Self::NonPerso,
    ];

    /// As in a request; none for any other name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == name)
    }

    /// As in a reply.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dpl => "dpl",
            Self::IntSum => "intsum",
            Self::LlmTrsr => "llm-trsr",
            Self::Cicl => "cicl",
            Self::PersonaDb => "persona-db",
            Self::Rag => "rag",
            Self::NonPerso => "non-perso",
        }
    }
}

/// Where the summary in a context comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Summary {
    /// The profile that stands: no LLM call where there is one.
    #[default]
    Standing,
    /// Made for the task, of its key samples: one LLM call more.
    Task,
}

/// What another user wrote on the item of a key sample. It goes into a prompt, never into a reply.
#[derive(Clone, Debug, PartialEq)]
pub struct Contrast {
    /// Place of the key sample, from 0.
    pub sample: usize,
    pub text: String,
}

/// What is known when a context is built.
#[derive(Clone, Debug, Default)]
pub struct Known {
    pub profile: Option<v1::Profile>,
    /// Key samples, best first.
    pub samples: Vec<Sample>,
    /// Whether the user wrote anything at all.
    pub has_history: bool,
    /// The user's texts, newest first; only where the strategy sums them up.
    pub history: Vec<Sample>,
    /// `cicl`: at most one for each key sample.
    pub contrasts: Vec<Contrast>,
    /// `persona-db`: summaries of similar users.
    pub similar: Vec<String>,
    /// What was summed up for this request; goes before the profile's summary.
    pub summary: Option<String>,
}

impl Known {
    pub(crate) fn has_differences(&self) -> bool {
        let compared = |s: &Sample| s.record.difference.is_some();
        self.profile.as_ref().is_some_and(|p| p.strategy == "dpl")
            || self.samples.iter().any(compared)
    }

    /// The standing summary that fits the strategy.
    pub(crate) fn standing(&self, strategy: Strategy) -> Option<&v1::Profile> {
        let profile = self.profile.as_ref();
        profile.filter(|profile| profile.strategy == strategy.as_str())
    }

    /// The strategy that can be had, and why it is less than what was asked for: empty,
    /// `no_history`, `no_peers` or `no_summary`.
    pub fn strategy(&self, asked: Strategy) -> (Strategy, &'static str) {
        match asked {
            Strategy::NonPerso => (Strategy::NonPerso, ""),
            _ if !self.has_history => (Strategy::NonPerso, "no_history"),
            Strategy::Dpl if !self.has_differences() => (Strategy::IntSum, "no_peers"),
            Strategy::Cicl if self.contrasts.is_empty() => (Strategy::Rag, "no_peers"),
            Strategy::LlmTrsr | Strategy::PersonaDb | Strategy::IntSum
                if self.summary.is_none() && self.standing(asked).is_none() =>
            {
                (Strategy::Rag, "no_summary")
            }
            asked => (asked, ""),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_contract() {
        let names = Strategy::ALL.map(Strategy::as_str);
        assert_eq!(names, foil_proto::check::STRATEGIES);
        for strategy in Strategy::ALL {
            assert_eq!(Strategy::parse(strategy.as_str()), Some(strategy));
            let named = serde_json::to_value(strategy).expect("a name");
            assert_eq!(named, strategy.as_str());
        }
        assert_eq!(Strategy::parse(""), None);
    }

    #[test]
    fn what_a_strategy_lacks_is_said() {
        let mut known = Known {
            has_history: true,
            ..Known::default()
        };
        for asked in [Strategy::IntSum, Strategy::LlmTrsr, Strategy::PersonaDb] {
            assert_eq!(known.strategy(asked), (Strategy::Rag, "no_summary"));
        }
        assert_eq!(known.strategy(Strategy::Cicl), (Strategy::Rag, "no_peers"));
        known.summary = Some("The author is brief.".to_owned());
        known.contrasts.push(Contrast {
            sample: 0,
            text: "So loud!".to_owned(),
        });
        for asked in [
            Strategy::IntSum,
            Strategy::LlmTrsr,
            Strategy::PersonaDb,
            Strategy::Cicl,
        ] {
            assert_eq!(known.strategy(asked), (asked, ""));
        }
    }
}
