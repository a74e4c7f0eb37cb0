//! What is told of an erasure: keys and counts, never text.

use std::fmt;

use anyhow::{Context as _, Result, bail};
use foil_proto::names::stream;
use foil_proto::v1::{self, event::Kind};
use foil_store::Compaction;
use serde::Serialize;

use crate::commands::status::table::printable;
use crate::render;

/// The stream behind the bucket of profiles.
const PROFILES: &str = "KV_FOIL_PROFILES";

/// A receipt.
#[derive(Debug, Serialize)]
pub struct Receipt {
    pub tenant: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item: Option<String>,
    /// Of the erasing message in FOIL_UPDATES.
    pub sequence: u64,
    /// When it was done, RFC 3339.
    pub at: String,
    pub records: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<u64>,
    /// Versions.
    pub profiles: u64,
    pub differences_of_others: u64,
    /// Versions.
    pub profiles_of_others: u64,
    pub messages: Messages,
    pub files: Files,
}

/// Messages that were removed.
#[derive(Debug, Serialize)]
pub struct Messages {
    pub log: u64,
    pub queued: u64,
    pub dead_letters: u64,
    pub events: u64,
}

/// What became of the bytes.
#[derive(Debug, Default, Serialize)]
pub struct Files {
    /// Of NATS: streams and buckets of which messages were removed, each overwritten where it lay.
    pub overwritten: Vec<&'static str>,
    /// Those of them with replicas: their servers' Raft logs hold messages until the next snapshot.
    pub in_raft_logs: Vec<&'static str>,
    /// Of the embedded Qdrant: rewritten without what was removed.
    pub compacted: Vec<&'static str>,
    /// Of another Qdrant: its optimisers rest.
    pub green: Vec<&'static str>,
    /// Neither yet.
    pub waiting: Vec<&'static str>,
}

impl Files {
    fn of(collections: Vec<Compaction>, waiting: &[&'static str]) -> Self {
        let mut files = Self {
            waiting: waiting.to_vec(),
            ..Self::default()
        };
        for found in collections {
            if waiting.contains(&found.collection) {
                continue;
            }
            match found.counted {
                Some(_) => files.compacted.push(found.collection),
                None => files.green.push(found.collection),
            }
        }
        files
    }
}

impl Receipt {
    /// From the event that tells of it. `waiting`: those of `collections` that still hold bytes.
    ///
    /// # Errors
    /// When the event tells of something else.
    pub fn of(
        event: &v1::Event,
        collections: Vec<Compaction>,
        waiting: &[&'static str],
    ) -> Result<Self> {
        let at = jiff::Timestamp::from_millisecond(event.at_ms).context("at_ms of the event")?;
        let mut receipt = Self {
            tenant: event.tenant.clone(),
            user: event.user.clone(),
            item: None,
            sequence: 0,
            at: at.to_string(),
            records: 0,
            items: None,
            profiles: 0,
            differences_of_others: 0,
            profiles_of_others: 0,
            messages: Messages {
                log: 0,
                queued: 0,
                dead_letters: 0,
                events: 0,
            },
            files: Files::of(collections, waiting),
        };
        let removed = match &event.kind {
            Some(Kind::UserErased(erased)) => {
                receipt.sequence = erased.sequence;
                receipt.records = erased.records;
                receipt.profiles = erased.profiles;
                receipt.differences_of_others = erased.differences_of_others;
                erased.removed
            }
            Some(Kind::RecordErased(erased)) => {
                receipt.item = Some(erased.item.clone());
                receipt.sequence = erased.sequence;
                receipt.records = erased.records;
                receipt.profiles = erased.profiles;
                receipt.differences_of_others = erased.differences_of_others;
                erased.removed
            }
            Some(Kind::TenantErased(erased)) => {
                receipt.sequence = erased.sequence;
                receipt.records = erased.records;
                receipt.items = Some(erased.items);
                receipt.profiles = erased.profiles;
                erased.removed
            }
            _ => bail!("the event tells of no erasure"),
        };
        let removed = removed.unwrap_or_default();
        receipt.profiles_of_others = removed.profiles_of_others;
        receipt.messages = Messages {
            log: removed.log,
            queued: removed.queued,
            dead_letters: removed.dead_letters,
            events: removed.events,
        };
        receipt.files.overwritten = receipt.overwritten();
        Ok(receipt)
    }

    /// What may hold text is overwritten; what holds keys alone is purged.
    fn overwritten(&self) -> Vec<&'static str> {
        let messages = &self.messages;
        let of_tenant = self.items.is_some();
        // A request holds what its caller wrote; only the erasure of a tenant removes any.
        let requests = if of_tenant { messages.queued } else { 0 };
        let removed = [
            (stream::UPDATES, messages.log),
            (stream::DEAD, messages.dead_letters),
            (PROFILES, self.profiles + self.profiles_of_others),
            (stream::GENERATE, requests),
        ];
        let removed = removed.into_iter().filter(|(_, count)| *count > 0);
        removed.map(|(name, _)| name).collect()
    }

    /// Whether no record, profile or message was there.
    fn found_nothing(&self) -> bool {
        let messages = &self.messages;
        let counts = [
            self.records,
            self.profiles,
            self.items.unwrap_or_default(),
            messages.log,
            messages.queued,
            messages.dead_letters,
            messages.events,
        ];
        counts.iter().all(|count| *count == 0)
    }
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenant = printable(&self.tenant);
        let user = printable(&self.user);
        match (&self.item, &*self.user) {
            (Some(item), _) => writeln!(
                f,
                "erased {user}'s record on {} in tenant {tenant}",
                printable(item)
            )?,
            (None, "") => writeln!(f, "erased everything of tenant {tenant}")?,
            (None, _) => writeln!(f, "erased {user} in tenant {tenant}")?,
        }
        if self.found_nothing() {
            writeln!(
                f,
                "  nothing was known of it: is the id as it was published?"
            )?;
        }
        writeln!(f, "  receipt    {}, {}", self.sequence, self.at)?;
        let mut stored = vec![render::count(self.records, "record")];
        stored.extend(self.items.map(|items| render::count(items, "item")));
        stored.push(render::count(self.profiles, "profile version"));
        writeln!(f, "  stored     {}", stored.join(", "))?;
        let others = [
            render::count(self.differences_of_others, "difference"),
            render::count(self.profiles_of_others, "profile version"),
        ];
        writeln!(f, "  of others  {}", others.join(", "))?;
        let messages = [
            format!("{} in the log", self.messages.log),
            format!("{} queued", self.messages.queued),
            render::count(self.messages.dead_letters, "dead letter"),
            render::count(self.messages.events, "event"),
        ];
        writeln!(f, "  messages   {}", messages.join(", "))?;
        for (how, names) in [
            ("overwritten in", &self.files.overwritten),
            (
                "until their next snapshot in the Raft logs of",
                &self.files.in_raft_logs,
            ),
            ("compacted:", &self.files.compacted),
            ("green:", &self.files.green),
            ("not yet gone from", &self.files.waiting),
        ] {
            if !names.is_empty() {
                writeln!(f, "  files      {how} {}", names.join(", "))?;
            }
        }
        Ok(())
    }
}
