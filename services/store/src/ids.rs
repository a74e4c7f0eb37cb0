//! Point ids: they follow from the keys, so that writing twice hits the same point.

use uuid::Uuid;

use crate::model::RecordKey;

/// Foil's own UUID namespace.
const NAMESPACE: Uuid = Uuid::from_u128(0x6f8a_1c52_94d3_4b7e_a0e1_5d2c_38f7_b946);

/// UUIDv5 over the parts, each preceded by its length: ("a", "bc") and ("ab", "c") differ. The first
/// part names the kind of point.
fn point_id(parts: &[&str]) -> Uuid {
    let mut name = Vec::with_capacity(parts.iter().map(|part| part.len() + 8).sum());
    for part in parts {
        name.extend_from_slice(&(part.len() as u64).to_be_bytes());
        name.extend_from_slice(part.as_bytes());
    }
    Uuid::new_v5(&NAMESPACE, &name)
}

impl RecordKey {
    /// The key of `user`'s record on `item`.
    pub fn new(
        tenant: impl Into<String>,
        user: impl Into<String>,
        item: impl Into<String>,
    ) -> Self {
        Self {
            tenant: tenant.into(),
            user: user.into(),
            item: item.into(),
        }
    }

    /// Point id of the record.
    pub fn id(&self) -> Uuid {
        point_id(&["record", &self.tenant, &self.user, &self.item])
    }
}

pub(crate) fn item_id(tenant: &str, item: &str) -> Uuid {
    point_id(&["item", tenant, item])
}

pub(crate) fn opt_out_id(tenant: &str, user: &str) -> Uuid {
    point_id(&["opt-out", tenant, user])
}

pub(crate) fn erasure_id(tenant: &str, user: &str) -> Uuid {
    point_id(&["erasure", tenant, user])
}

/// The same of a whole tenant.
pub(crate) fn tenant_erasure_id(tenant: &str) -> Uuid {
    point_id(&["tenant-erasure", tenant])
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ids_never_change() {
        // Stored points are found by these for ever.
        assert_eq!(
            RecordKey::new("acme", "mara", "kettle").id().to_string(),
            "3beb845b-49de-5e24-9507-496d0f946d82"
        );
    }

    #[test]
    fn moving_a_border_between_parts_gives_another_id() {
        let ids: HashSet<Uuid> = [
            ("a", "bc", ""),
            ("ab", "c", ""),
            ("a", "b", "c"),
            ("", "abc", ""),
        ]
        .into_iter()
        .map(|(t, u, i)| RecordKey::new(t, u, i).id())
        .chain([
            item_id("a", "bc"),
            opt_out_id("a", "bc"),
            erasure_id("a", "bc"),
            tenant_erasure_id("a"),
        ])
        .collect();
        assert_eq!(ids.len(), 8);
    }

    proptest! {
        #[test]
        fn different_keys_have_different_ids(
            a in [".{0,4}", ".{0,4}", ".{0,4}"],
            b in [".{0,4}", ".{0,4}", ".{0,4}"],
        ) {
            let key = |[t, u, i]: &[String; 3]| RecordKey::new(t, u, i);
            prop_assert_eq!(a == b, key(&a).id() == key(&b).id());
        }
    }
}
