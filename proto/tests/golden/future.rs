//! Messages of a later version: what this one does not know is skipped, and the rest is read.

use foil_proto::check;
use foil_proto::v1::{self, update::Change};
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint};

use crate::{stored, values};

/// Numbers that no message of today uses, the largest that there are included.
const NUMBERS: [u32; 3] = [99, 2_000, (1 << 29) - 1];

/// One field of each wire type.
fn unknown_fields() -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in NUMBERS {
        encode_key(number, WireType::Varint, &mut bytes);
        encode_varint(u64::MAX, &mut bytes);
        encode_key(number, WireType::SixtyFourBit, &mut bytes);
        bytes.extend([0xff; 8]);
        encode_key(number, WireType::ThirtyTwoBit, &mut bytes);
        bytes.extend([0xff; 4]);
        encode_key(number, WireType::LengthDelimited, &mut bytes);
        encode_varint(5, &mut bytes);
        bytes.extend(b"later");
        encode_key(number, WireType::StartGroup, &mut bytes);
        encode_key(number, WireType::EndGroup, &mut bytes);
    }
    bytes
}

#[test]
fn unknown_fields_before_and_after_are_skipped() {
    for case in values::all() {
        let bytes = [unknown_fields(), stored(&case.file()), unknown_fields()].concat();
        if let Err(problem) = (case.compare)(&bytes) {
            panic!("{}: {problem}", case.file());
        }
    }
}

#[test]
fn unknown_fields_inside_a_nested_message_are_skipped() {
    let record = v1::RecordUpsert {
        user: "mara".into(),
        ..Default::default()
    };
    let inner = [record.encode_to_vec(), unknown_fields()].concat();
    let mut bytes = Vec::new();
    // Update.record_upsert
    encode_key(10, WireType::LengthDelimited, &mut bytes);
    encode_varint(inner.len() as u64, &mut bytes);
    bytes.extend(inner);
    let update = v1::Update::decode(bytes.as_slice()).unwrap();
    assert_eq!(update.change, Some(Change::RecordUpsert(record)));
}

#[test]
fn a_change_of_a_later_kind_is_refused_by_name() {
    let mut bytes = v1::Update {
        tenant: "shop-7".into(),
        change: None,
    }
    .encode_to_vec();
    bytes.extend(unknown_fields());
    let update = v1::Update::decode(bytes.as_slice()).unwrap();
    let faults = check::update(&update, 0).unwrap_err();
    assert_eq!(
        faults.to_string(),
        "change: is missing, or of a kind this version does not know"
    );
}

#[test]
fn a_truncated_message_is_an_error_or_another_message() {
    for case in values::all() {
        let bytes = stored(&case.file());
        for length in 0..bytes.len() {
            let cut = (case.compare)(&bytes[..length]);
            assert!(cut.is_err(), "{} cut to {length} bytes", case.file());
        }
    }
}
