//! Tenants in a label: the first ones by name, the rest together, so that nobody can make series
//! without end by making up tenants.

use std::collections::HashSet;
use std::sync::{LazyLock, Mutex, PoisonError};

use opentelemetry::KeyValue;

/// Stands for every tenant without a value of its own.
pub const OTHER: &str = "other";
/// The label.
const LABEL: &str = "tenant";

static NAMED: LazyLock<Mutex<Named>> = LazyLock::new(Mutex::default);

#[derive(Debug)]
struct Named {
    limit: usize,
    tenants: HashSet<String>,
}

impl Default for Named {
    fn default() -> Self {
        Self {
            limit: crate::config::TelemetryConfig::default().tenants,
            tenants: HashSet::new(),
        }
    }
}

impl Named {
    /// Whether the tenant has a value of its own; it gets one while there is room.
    fn has(&mut self, tenant: &str) -> bool {
        if tenant.is_empty() || tenant == OTHER {
            return false;
        }
        if self.tenants.contains(tenant) {
            return true;
        }
        let room = self.tenants.len() < self.limit;
        room && self.tenants.insert(tenant.to_owned())
    }
}

fn named() -> std::sync::MutexGuard<'static, Named> {
    // Single operations on a set: no half-done state behind a panic.
    NAMED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// At most so many tenants of this process get a value of their own.
pub(crate) fn limit(tenants: usize) {
    named().limit = tenants;
}

/// The label of what the message with this subject cost.
pub fn tenant_label(subject: &str) -> KeyValue {
    let token = foil_proto::names::subject::tenant_token(subject).unwrap_or_default();
    let value = match named().has(token) {
        true => token.to_owned(),
        false => OTHER.to_owned(),
    };
    KeyValue::new(LABEL, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_tenants_have_a_name_and_keep_it() {
        let mut named = Named {
            limit: 2,
            tenants: HashSet::new(),
        };
        assert!(named.has("acme") && named.has("globex"));
        assert!(!named.has("initech"), "there is room for two");
        assert!(named.has("acme"), "it had one before");
        for shared in [OTHER, ""] {
            assert!(!named.has(shared));
        }
        assert_eq!(named.tenants.len(), 2);
    }

    #[test]
    fn a_label_holds_the_tenant_and_nothing_else_of_the_subject() {
        assert_eq!(
            tenant_label("foil.v1.extract.a=2Eb.u.i"),
            KeyValue::new("tenant", "a=2Eb")
        );
        for strange in ["", "foil.v1", "other.subject"] {
            assert_eq!(tenant_label(strange), KeyValue::new("tenant", OTHER));
        }
    }
}
