//! What is wrong with a configuration: all of it, each with its key and where it came from.

use std::fmt;
use std::path::Path;

/// Checks beyond types: ranges, and what must go together.
pub trait Validate {
    /// Adds what is wrong.
    fn validate(&self, faults: &mut Faults);
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// `section.key`; empty for a source as a whole.
    pub key: String,
    /// Lower case, no full stop.
    pub problem: String,
    /// Where the value came from, if not from the defaults.
    pub origin: Option<String>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.problem)?;
        match &self.origin {
            Some(origin) => write!(f, " (from {origin})"),
            None => Ok(()),
        }
    }
}

/// Collects faults.
#[derive(Debug, Default)]
pub struct Faults {
    section: Vec<String>,
    list: Vec<Fault>,
}

impl Faults {
    /// Adds one on `key` of the section being checked.
    pub fn add(&mut self, key: &str, problem: impl fmt::Display) {
        let mut path = self.section.clone();
        if !key.is_empty() {
            path.push(key.to_owned());
        }
        self.list.push(Fault {
            key: path.join("."),
            problem: problem.to_string(),
            origin: None,
        });
    }

    /// Adds one unless `holds`.
    pub fn require(&mut self, holds: bool, key: &str, problem: impl fmt::Display) {
        if !holds {
            self.add(key, problem);
        }
    }

    /// Adds one when a file is named and there is none.
    pub fn require_file(&mut self, key: &str, path: Option<&Path>) {
        if let Some(path) = path.filter(|path| !path.is_file()) {
            self.add(key, format_args!("no such file: {}", path.display()));
        }
    }

    /// Adds one when an address carries a user or a password: it is shown in logs and dumps.
    pub fn require_no_user(&mut self, key: &str, url: &str) {
        self.require(
            !super::names_user(url),
            key,
            "must not hold a user or a password: they have keys of their own, which are never shown",
        );
    }

    /// Checks a section under its name.
    pub fn section(&mut self, name: &str, section: &impl Validate) {
        self.within(name, |faults| section.validate(faults));
    }

    /// What `check` adds is below this name.
    pub fn within(&mut self, name: &str, check: impl FnOnce(&mut Self)) {
        self.section.push(name.to_owned());
        check(self);
        self.section.pop();
    }

    /// All that `checked` has.
    pub fn of(checked: &impl Validate) -> Vec<Fault> {
        let mut faults = Self::default();
        checked.validate(&mut faults);
        faults.list
    }

    /// What was collected.
    pub fn into_list(self) -> Vec<Fault> {
        self.list
    }
}

/// A configuration that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// At least one.
    pub faults: Vec<Fault>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.faults.len();
        let plural = if count == 1 { "" } else { "s" };
        write!(f, "{count} configuration fault{plural}")?;
        for fault in &self.faults {
            write!(f, "\n  {fault}")?;
        }
        Ok(())
    }
}
