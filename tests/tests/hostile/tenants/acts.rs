//! What a tenant may do, and what may go wrong.

use std::fmt::Debug;
use std::time::{Duration, SystemTime};

use foil_proto::names::subject;
use foil_proto::v1::{self, update::Change};
use foil_store::{RecordKey, StoreError};
use futures::StreamExt as _;
use proptest::prelude::*;
use prost::Message as _;

use super::read;
use crate::rig::Rig;

/// Stand in every text, title and tenant id of the one and the other, and in half of their ids.
pub const MARKS: [&str; 2] = ["ALDERMARK", "BIRCHMARK"];
pub const OPERATIONS: usize = 60;
const PATIENCE: Duration = Duration::from_secs(30);

/// One of the two, in one run.
#[derive(Clone, Copy, Debug)]
pub struct Tenant {
    pub side: usize,
    pub run: usize,
}

impl Tenant {
    pub fn id(self) -> String {
        format!("{}-{}", self.mark(), self.run)
    }

    fn mark(self) -> &'static str {
        MARKS[self.side]
    }

    fn other(self) -> Self {
        Self {
            side: 1 - self.side,
            ..self
        }
    }

    /// Two that both tenants have, and two of its own.
    pub fn users(self) -> [String; 4] {
        let mark = self.mark();
        [
            "mara".to_owned(),
            "nils o.".to_owned(),
            format!("tilly-{mark}"),
            format!("{mark} >"),
        ]
    }

    pub fn items(self) -> [String; 3] {
        [
            "kettle".to_owned(),
            "lamp 2.0".to_owned(),
            format!("chair {}", self.mark()),
        ]
    }

    fn text(self, number: u64) -> String {
        format!(
            "{}x{number} it does what it should, says text {number}.",
            self.mark()
        )
    }

    fn key(self, user: usize, item: usize) -> RecordKey {
        RecordKey::new(self.id(), &self.users()[user % 4], &self.items()[item % 3])
    }

    /// Fails where `value`, which this tenant sees, holds a byte of the other's.
    pub fn sees(self, what: &str, value: &impl Debug) -> Result<(), TestCaseError> {
        let shown = format!("{value:?}");
        let foreign = self.other().mark();
        prop_assert!(
            !shown.contains(foreign),
            "{} sees {what}: {shown}",
            self.id()
        );
        Ok(())
    }
}

#[derive(Clone, Copy, Debug)]
pub enum Act {
    Upsert,
    Edit,
    Delete,
    Item,
    OptOut,
    Erase,
    EraseTenant,
    Invalid,
    Profile,
    Difference,
    ForeignDifference,
    ForeignWork,
    Context,
    Text,
    Read,
}

const ACTS: [(u32, Act); 15] = [
    (12, Act::Upsert),
    (5, Act::Edit),
    (3, Act::Delete),
    (3, Act::Item),
    (2, Act::OptOut),
    (2, Act::Erase),
    (1, Act::EraseTenant),
    (3, Act::Invalid),
    (2, Act::Profile),
    (3, Act::Difference),
    (3, Act::ForeignDifference),
    (3, Act::ForeignWork),
    (3, Act::Context),
    (2, Act::Text),
    (4, Act::Read),
];

/// An act of one side on a user and an item; the number tells texts and kinds apart.
pub type Operation = (Act, usize, usize, usize, u64);

pub fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let acts = ACTS
        .into_iter()
        .map(|(weight, act)| (weight, Just(act).boxed()));
    let act = proptest::strategy::Union::new_weighted(acts.collect());
    prop::collection::vec(
        (act, 0..2_usize, 0..4_usize, 0..3_usize, 0..1_000_u64),
        OPERATIONS,
    )
}

pub async fn put(
    rig: &Rig,
    tenant: Tenant,
    (user, item): (usize, usize),
    number: u64,
    revision: u64,
) {
    let key = tenant.key(user, item);
    let upsert = Change::RecordUpsert(v1::RecordUpsert {
        user: key.user.clone(),
        item: key.item,
        text: tenant.text(number),
        title: format!("{}t{number}", tenant.mark()),
        rating: Some(number as f64 % 5.0),
        // Later than any erasure so far: what is older than one stays erased.
        occurred_at_ms: now_ms() + i64::try_from(number).unwrap(),
        revision,
    });
    rig.publish(&tenant.id(), &key.user, upsert).await;
}

fn now_ms() -> i64 {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap();
    i64::try_from(now.as_millis()).unwrap()
}

pub async fn put_item(rig: &Rig, tenant: Tenant, item: usize, number: u64) {
    let upsert = Change::ItemUpsert(v1::ItemUpsert {
        item: tenant.items()[item].clone(),
        title: format!("{}i{number}", tenant.mark()),
        description: tenant.text(number),
        revision: number,
    });
    rig.publish(&tenant.id(), "", upsert).await;
}

/// Updates that can never work, each with the tenant's mark in it.
async fn put_invalid(rig: &Rig, tenant: Tenant, user: usize, number: u64) {
    let key = tenant.key(user, 0);
    let mut record = v1::RecordUpsert {
        user: key.user.clone(),
        item: key.item,
        text: tenant.text(number),
        revision: 1,
        ..v1::RecordUpsert::default()
    };
    let to = subject::update(&key.tenant, &key.user);
    match number % 5 {
        0 => record.text = " ".to_owned(),
        1 => record.text = tenant.text(number).repeat(4_000),
        2 => record.user = format!("another {}", tenant.mark()),
        3 => record.rating = Some(f64::NAN),
        _ => {
            let bytes = [&[0xff, 0x07][..], tenant.text(number).as_bytes()].concat();
            return rig.publish_bytes(to, bytes).await;
        }
    }
    let update = v1::Update {
        tenant: key.tenant,
        change: Some(Change::RecordUpsert(record)),
    };
    rig.publish_bytes(to, update.encode_to_vec()).await;
}

fn difference(tenant: Tenant, revision: u64, representative: &RecordKey) -> v1::Difference {
    v1::Difference {
        findings: vec![v1::Finding {
            criterion: "writing".to_owned(),
            statement: format!("The author mentions {}d.", tenant.mark()),
            confidence: 0.5,
        }],
        evidence: Vec::new(),
        provenance: Some(v1::DifferenceProvenance {
            revision,
            representatives: vec![representative.id().to_string()],
            selection: Some(selection(revision)),
            ..v1::DifferenceProvenance::default()
        }),
    }
}

fn selection(number: u64) -> v1::Selection {
    v1::Selection {
        strategy: "kmeans".to_owned(),
        records: 2,
        fingerprint: format!("forged-{number}"),
    }
}

/// What a writer that went wrong might store: a difference that rests on `representative`.
async fn put_difference(
    rig: &Rig,
    tenant: Tenant,
    key: &RecordKey,
    representative: &RecordKey,
) -> Result<(), TestCaseError> {
    let Some(target) = rig.store.record(key).await.expect("its own record") else {
        return Ok(());
    };
    let found = difference(tenant, target.revision, representative);
    let written = rig.store.put_difference(key, target.revision, &found).await;
    tenant.sees("the outcome of a write", &written)?;
    let foreign = representative.tenant != key.tenant;
    let there = foreign && {
        let record = rig.store.record(representative).await;
        record.expect("the other's own record").is_some()
    };
    if there {
        let refused = matches!(written, Err(StoreError::TenantMismatch { .. }));
        prop_assert!(refused, "a difference across tenants: {written:?}");
    }
    Ok(())
}

async fn put_profile(rig: &Rig, tenant: Tenant, user: usize) -> Result<(), TestCaseError> {
    let (id, user) = (tenant.id(), tenant.users()[user].clone());
    let slot = rig
        .store
        .profile_slot(&id, &user)
        .await
        .expect("its own slot");
    tenant.sees("the profile's place", &slot)?;
    let profile = v1::Profile {
        tenant: id,
        user,
        version: slot.current.map_or(1, |profile| profile.version + 1),
        summary: format!("The author is {}p.", tenant.mark()),
        strategy: "intsum".to_owned(),
        evidence: Vec::new(),
        provenance: Some(v1::ProfileProvenance::default()),
    };
    let written = rig.store.put_profile(&profile, slot.kv_revision).await;
    tenant.sees("the outcome of a write", &written)
}

/// A comparison with the other tenant's records, as a token that went astray would ask for.
async fn forge_work(rig: &Rig, tenant: Tenant, key: &RecordKey, number: u64) {
    let other = tenant.other();
    let foreign = (0..4).flat_map(|user| (0..3).map(move |item| other.key(user, item).id()));
    let work = v1::ExtractWork {
        tenant: key.tenant.clone(),
        user: key.user.clone(),
        item: key.item.clone(),
        representatives: foreign.map(|id| id.to_string()).collect(),
        selection: Some(selection(number)),
    };
    let to = subject::extract(&key.tenant, &key.user, &key.item);
    rig.publish_bytes(to, work.encode_to_vec()).await;
}

async fn ask(rig: &Rig, tenant: Tenant, key: &RecordKey, text: bool) -> Result<(), TestCaseError> {
    let request = v1::GenerateRequest {
        tenant: key.tenant.clone(),
        user: key.user.clone(),
        item: key.item.clone(),
        context_only: !text,
        ..v1::GenerateRequest::default()
    };
    let parts = rig
        .caller
        .generate(request, PATIENCE)
        .await
        .expect("a reply");
    let parts: Vec<_> = parts.collect().await;
    tenant.sees("a reply", &parts)
}

pub async fn apply(rig: &Rig, run: usize, operation: Operation) -> Result<(), TestCaseError> {
    let (act, side, user, item, number) = operation;
    let tenant = Tenant { side, run };
    let key = tenant.key(user, item);
    let of = |user: &RecordKey| user.user.clone();
    match act {
        Act::Upsert => put(rig, tenant, (user, item), number, 1 + number).await,
        Act::Edit => put(rig, tenant, (user, item), number, 2_000 + number).await,
        Act::Delete => {
            let delete = v1::RecordDelete {
                user: of(&key),
                item: key.item.clone(),
                revision: 3_000 + number,
            };
            rig.publish(&key.tenant, &key.user, Change::RecordDelete(delete))
                .await;
        }
        Act::Item => put_item(rig, tenant, item, number).await,
        Act::OptOut => {
            let opted_out = number % 2 == 0;
            let choice = v1::PeerOptOut {
                user: of(&key),
                opted_out,
                revision: number,
            };
            rig.publish(&key.tenant, &key.user, Change::PeerOptOut(choice))
                .await;
        }
        Act::Erase => {
            let erase = v1::UserErase { user: of(&key) };
            rig.publish(&key.tenant, &key.user, Change::UserErase(erase))
                .await;
        }
        Act::EraseTenant => {
            let erase = v1::TenantErase {
                tenant: key.tenant.clone(),
            };
            rig.publish(&key.tenant, "", Change::TenantErase(erase))
                .await;
        }
        Act::Invalid => put_invalid(rig, tenant, user, number).await,
        Act::Profile => put_profile(rig, tenant, user).await?,
        Act::Difference => put_difference(rig, tenant, &key, &tenant.key(user + 1, item)).await?,
        Act::ForeignDifference => {
            put_difference(rig, tenant, &key, &tenant.other().key(user, item)).await?;
        }
        Act::ForeignWork => forge_work(rig, tenant, &key, number).await,
        Act::Context => ask(rig, tenant, &key, false).await?,
        Act::Text => ask(rig, tenant, &key, true).await?,
        Act::Read => drop(read(rig, tenant).await?),
    }
    Ok(())
}
