//! `[<section>.tenants.<id>]`: what is different for a tenant.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use foil_proto::check::TENANT_BYTES_MAX;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Faults;

/// Most tenants with a section of their own.
const TENANTS_MAX: usize = 4_096;

/// What goes before a section, by the tenant's id. Clones share it.
#[derive(Clone, Debug)]
pub struct Tenants<T>(Arc<BTreeMap<String, T>>);

impl<T> Tenants<T> {
    /// The section as it is for a tenant: changed where the tenant has one of its own.
    pub fn over<'a, C: Clone>(
        &self,
        tenant: &str,
        section: &'a C,
        change: impl FnOnce(&mut C, &T),
    ) -> Cow<'a, C> {
        let Some(own) = self.0.get(tenant) else {
            return Cow::Borrowed(section);
        };
        let mut section = section.clone();
        change(&mut section, own);
        Cow::Owned(section)
    }

    /// Adds what is wrong with number and ids, and what `check` finds wrong with a tenant's own, to the
    /// section that the tenants belong to.
    pub fn validate(&self, faults: &mut Faults, check: impl Fn(&T, &mut Faults)) {
        faults.require(
            self.0.len() <= TENANTS_MAX,
            "tenants",
            format_args!("is above {TENANTS_MAX}"),
        );
        for (tenant, own) in self.0.iter() {
            let named = (1..=TENANT_BYTES_MAX).contains(&tenant.len());
            faults.require(named, "tenants", "holds an id that is not 1 to 64 bytes");
            faults.within("tenants", |faults| {
                faults.within(&key_of(tenant), |faults| check(own, faults));
            });
        }
    }
}

/// As TOML has it: in quotes where it cannot stand bare.
fn key_of(tenant: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if !tenant.is_empty() && tenant.bytes().all(plain) {
        tenant.to_owned()
    } else {
        format!("{tenant:?}")
    }
}

impl<T> Default for Tenants<T> {
    fn default() -> Self {
        Self(Arc::new(BTreeMap::new()))
    }
}

impl<T> FromIterator<(String, T)> for Tenants<T> {
    fn from_iter<I: IntoIterator<Item = (String, T)>>(tenants: I) -> Self {
        Self(Arc::new(tenants.into_iter().collect()))
    }
}

impl<T: Serialize> Serialize for Tenants<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let tenants: &BTreeMap<String, T> = &self.0;
        tenants.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Tenants<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let tenants = BTreeMap::<String, T>::deserialize(deserializer)?;
        Ok(Self(Arc::new(tenants)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenants(ids: &[&str]) -> Tenants<usize> {
        ids.iter().map(|id| ((*id).to_owned(), id.len())).collect()
    }

    /// Each fault as `key: problem`, where a tenant's own must be below 5.
    fn faults(tenants: &Tenants<usize>) -> Vec<String> {
        let mut faults = Faults::default();
        faults.within("stage", |faults| {
            tenants.validate(faults, |own, faults| {
                faults.require(*own < 5, "k", "is above 4");
            });
        });
        let list = faults.into_list();
        list.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn only_the_tenant_itself_has_what_is_its_own() {
        let tenants = tenants(&["acme"]);
        let of = |tenant: &str| *tenants.over(tenant, &10_usize, |section, own| *section += *own);
        assert_eq!((of("acme"), of("acm"), of("")), (14, 10, 10));
    }

    #[test]
    fn what_is_wrong_with_a_tenants_own_is_told_with_its_id() {
        assert_eq!(faults(&tenants(&["acme", "a.b", "kö"])), [""; 0]);
        let wrong = faults(&tenants(&["globex", "acme.example", "a\u{7}bcde"]));
        let expected = [
            "stage.tenants.\"a\\u{7}bcde\".k: is above 4",
            "stage.tenants.\"acme.example\".k: is above 4",
            "stage.tenants.globex.k: is above 4",
        ];
        assert_eq!(wrong, expected);
    }

    #[test]
    fn ids_are_those_that_a_tenant_can_have_and_not_too_many() {
        let wrong = "stage.tenants: holds an id that is not 1 to 64 bytes";
        assert_eq!(faults(&tenants(&[""])), [wrong]);
        let long: Tenants<usize> = [("x".repeat(65), 1)].into_iter().collect();
        assert_eq!(faults(&long), [wrong]);
        let many = |count: usize| {
            let tenants = (0..count).map(|n| (format!("t{n}"), 1));
            faults(&tenants.collect())
        };
        assert_eq!(many(4_096), [""; 0]);
        assert_eq!(many(4_097), ["stage.tenants: is above 4096"]);
    }
}
