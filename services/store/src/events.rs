//! What Foil tells the world: messages of FOIL_EVENTS, ready to be emitted. They are CloudEvents in
//! binary mode; the runtime sets their id. None names another user than the one it is about.

use foil_proto::names::{event, header, stream, subject};
use foil_proto::{token, v1};
use foil_runtime::{DeadLetter, Emit};
use jiff::Timestamp;
use v1::event::Kind;

use crate::model::{Erased, ErasedRecord, ErasedTenant, Erasure, RecordKey};

/// Of CloudEvents.
const SPECVERSION: &str = "1.0";
/// Before the kind.
const TYPE_PREFIX: &str = "foil.v1.";
/// Before the tenant's token: an event's id is unique below it.
const SOURCE: &str = "/foil/";
/// A [`v1::Event`].
const CONTENT_TYPE: &str = "application/protobuf";

/// A new version of a user's profile is stored.
pub fn profile_updated(tenant: &str, user: &str, updated: v1::ProfileUpdated) -> Emit {
    let kind = Kind::ProfileUpdated(updated);
    emit(event::PROFILE_UPDATED, tenant, user, kind)
}

/// The comparison of a user's record of `item` is stored.
pub fn difference_stored(tenant: &str, user: &str, item: &str, revision: u64) -> Emit {
    let kind = Kind::DifferenceStored(v1::DifferenceStored {
        item: item.to_owned(),
        revision,
    });
    emit(event::DIFFERENCE_STORED, tenant, user, kind)
}

/// Everything of a user up to the erasing message is erased.
pub fn user_erased(tenant: &str, user: &str, erasure: Erasure, erased: &Erased) -> Emit {
    let kind = Kind::UserErased(v1::UserErased {
        sequence: erasure.sequence,
        records: erased.records,
        profiles: erased.profiles,
        differences_of_others: erased.differences_of_others,
        erased_at_ms: erasure.at_ms,
        removed: Some(erased.removed),
    });
    emit(event::USER_ERASED, tenant, user, kind)
}

/// A record is erased up to `revision`. `sequence`: of the deleting message in FOIL_UPDATES.
pub fn record_erased(key: &RecordKey, revision: u64, sequence: u64, erased: &ErasedRecord) -> Emit {
    let kind = Kind::RecordErased(v1::RecordErased {
        sequence,
        item: key.item.clone(),
        revision,
        records: erased.records,
        profiles: erased.profiles,
        differences_of_others: erased.recompare.len() as u64,
        removed: Some(erased.removed),
    });
    emit(event::RECORD_ERASED, &key.tenant, &key.user, kind)
}

/// Everything of a tenant up to the erasing message is erased.
pub fn tenant_erased(tenant: &str, erasure: Erasure, erased: &ErasedTenant) -> Emit {
    let kind = Kind::TenantErased(v1::TenantErased {
        sequence: erasure.sequence,
        erased_at_ms: erasure.at_ms,
        records: erased.records,
        items: erased.items,
        profiles: erased.profiles,
        removed: Some(erased.removed),
    });
    emit(event::TENANT_ERASED, tenant, "", kind)
}

/// A stage gave an input up, and its copy is stored as `sequence` of FOIL_DEAD; for
/// [`foil_runtime::StageSpec::with_dead_event`]. None when the input's subject names no tenant: an
/// event without one has no subject to stand under.
pub fn dead(letter: &DeadLetter, sequence: u64) -> Option<Emit> {
    if letter.tenant.is_empty() {
        return None;
    }
    let kind = Kind::Dead(v1::DeadLettered {
        stage: letter.stage.to_owned(),
        reason: letter.reason.as_str().to_owned(),
        sequence,
    });
    let user = user_of(letter).unwrap_or_default();
    Some(emit(event::DEAD, &letter.tenant, &user, kind))
}

/// The user that the subject names; an item's or a class's subject names none.
fn user_of(letter: &DeadLetter) -> Option<String> {
    let of_users = [stream::UPDATES, stream::EXTRACT, stream::PROFILE];
    if !of_users.contains(&letter.stream.as_str()) {
        return None;
    }
    let user = letter.subject.split('.').nth(4)?;
    String::from_utf8(token::decode(user).ok()?).ok()
}

fn emit(kind_name: &'static str, tenant: &str, user: &str, kind: Kind) -> Emit {
    let now = Timestamp::now();
    let message = v1::Event {
        tenant: tenant.to_owned(),
        user: user.to_owned(),
        at_ms: now.as_millisecond(),
        kind: Some(kind),
    };
    // The binding asks for percent-encoding; what stands in tokens and times needs none.
    let emit = Emit::new(subject::event(kind_name, tenant, user), &message)
        .header(header::CE_SPECVERSION, SPECVERSION)
        .header(header::CE_TYPE, format!("{TYPE_PREFIX}{kind_name}"))
        .header(
            header::CE_SOURCE,
            format!("{SOURCE}{}", token::encode(tenant)),
        )
        .header(header::CE_TIME, now)
        .header(header::CE_DATACONTENTTYPE, CONTENT_TYPE);
    match user {
        // Of a tenant, or of nobody that is known.
        "" => emit,
        user => emit.header(header::CE_SUBJECT, token::encode(user)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value<'a>(emit: &'a Emit, name: &str) -> Option<&'a str> {
        let found = emit.headers.iter().find(|(header, _)| *header == name);
        found.map(|(_, value)| value.as_str())
    }

    #[test]
    fn an_event_is_a_cloud_event() {
        let emit = profile_updated("shop 7", "j.doe@x", v1::ProfileUpdated::default());
        for (name, expected) in [
            (header::CE_SPECVERSION, "1.0"),
            (header::CE_TYPE, "foil.v1.profile.updated"),
            (header::CE_SOURCE, "/foil/shop=207"),
            (header::CE_SUBJECT, "j=2Edoe=40x"),
            (header::CE_DATACONTENTTYPE, "application/protobuf"),
        ] {
            assert_eq!(value(&emit, name), Some(expected), "{name}");
        }
        let at: Timestamp = value(&emit, header::CE_TIME).unwrap().parse().unwrap();
        let event = <v1::Event as prost::Message>::decode(emit.payload.clone()).unwrap();
        assert_eq!(event.at_ms, at.as_millisecond());
    }

    #[test]
    fn one_about_no_user_has_no_subject_and_none_needs_an_encoding() {
        let erased = ErasedTenant::default();
        let erasure = Erasure {
            sequence: 7,
            at_ms: 1,
        };
        let of_tenant = tenant_erased("a%\"é", erasure, &erased);
        assert_eq!(value(&of_tenant, header::CE_SUBJECT), None);
        for (name, value) in &of_tenant.headers {
            let plain = |c: char| c.is_ascii_graphic() && !"\"%".contains(c);
            assert!(value.chars().all(plain), "{name}: {value}");
        }
    }
}
