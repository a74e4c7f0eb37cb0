//! Whether the text of an update may be kept.

use foil_proto::names::subject;
use foil_proto::{check, v1};
use foil_runtime::Context;
use foil_store::{RecordKey, Store, StoreError};
use v1::update::Change;

/// What an update with a text is judged by.
pub(super) enum Text {
    Record {
        key: RecordKey,
        revision: u64,
        /// Sequence, and when the user wrote it.
        place: (u64, i64),
    },
    Item {
        tenant: String,
        item: String,
        /// Revision and sequence.
        place: (u64, u64),
    },
}

impl Text {
    pub(super) fn of(update: &v1::Update, cx: &Context) -> Option<Self> {
        let tenant = update.tenant.clone();
        // One that speaks for another tenant is not looked up there; one that speaks for another user
        // will be refused, but the text in it is that user's.
        let named = subject::update(&tenant, "");
        if subject::tenant_token(&named) != subject::tenant_token(&cx.subject) {
            return None;
        }
        match &update.change {
            Some(Change::RecordUpsert(record)) => Some(Self::Record {
                key: RecordKey::new(&tenant, &record.user, &record.item),
                revision: check::revision_of(record),
                place: (cx.stream_sequence, record.occurred_at_ms),
            }),
            Some(Change::ItemUpsert(item)) => Some(Self::Item {
                tenant,
                item: item.item.clone(),
                place: (item.revision, cx.stream_sequence),
            }),
            _ => None,
        }
    }

    pub(super) async fn is_erased(&self, store: &Store) -> Result<bool, StoreError> {
        match self {
            Self::Record {
                key,
                revision,
                place,
            } => store.is_erased(key, *revision, *place).await,
            Self::Item {
                tenant,
                item,
                place,
            } => store.is_item_erased(tenant, item, *place).await,
        }
    }
}
