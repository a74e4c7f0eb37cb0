//! What was once published must decode for ever: one file of bytes for each message of `foil.v1`,
//! written once (`examples/write_golden.rs`), decoded by every later version.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use protox::prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, MessageDescriptor, ReflectMessage as _, Value,
};

mod future;
mod hex;
mod values;

const PACKAGE: &str = "foil.v1";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn folder() -> PathBuf {
    root().join("tests/golden")
}

fn names(folder: &Path, extension: &str) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect()
}

fn stored(file: &str) -> Vec<u8> {
    let text = std::fs::read_to_string(folder().join(file)).unwrap();
    hex::read(&text).unwrap_or_else(|| panic!("{file} is not hex"))
}

/// The contract as it stands in the `.proto` files.
fn contract() -> DescriptorPool {
    let files = names(&root().join("foil/v1"), "proto");
    let files: Vec<_> = files.iter().map(|file| format!("foil/v1/{file}")).collect();
    let mut compiler = protox::Compiler::new([root()]).unwrap();
    compiler.open_files(&files).unwrap();
    compiler.descriptor_pool()
}

fn dynamic(contract: &DescriptorPool, case: &values::Case, bytes: &[u8]) -> DynamicMessage {
    let name = format!("{PACKAGE}.{}", case.message);
    let message = contract.get_message_by_name(&name);
    let message = message.unwrap_or_else(|| panic!("the contract has no {name}"));
    DynamicMessage::decode(message, bytes).unwrap()
}

#[test]
fn every_file_decodes_to_the_value_it_was_written_from() {
    let cases = values::all();
    let files: BTreeSet<_> = cases.iter().map(values::Case::file).collect();
    assert_eq!(files.len(), cases.len(), "two cases share a file");
    assert_eq!(
        files,
        names(&folder(), "hex"),
        "cases and files differ; `write_golden` writes what is missing"
    );
    for case in cases {
        let bytes = stored(&case.file());
        if let Err(problem) = (case.compare)(&bytes) {
            panic!("{}: {problem}", case.file());
        }
        // Message ids are digests of the bytes, so the way they are written counts as well.
        assert_eq!(bytes, case.bytes, "{}", case.file());
    }
}

#[test]
fn comparing_sees_a_single_changed_byte() {
    for case in values::all() {
        let mut bytes = stored(&case.file());
        *bytes.last_mut().unwrap() ^= 1;
        assert!((case.compare)(&bytes).is_err(), "{}", case.file());
    }
}

#[test]
fn every_message_and_field_of_the_contract_stands_in_a_file() {
    let contract = contract();
    let mut seen = BTreeSet::new();
    for case in values::all() {
        let message = dynamic(&contract, &case, &stored(&case.file()));
        see(&message, &case.file(), &mut seen);
    }
    let messages = contract.all_messages();
    let of_ours = messages.filter(|message| message.package_name() == PACKAGE);
    let expected: BTreeSet<_> = of_ours
        .flat_map(|message| {
            let fields: Vec<_> = message.fields().map(|f| f.full_name().to_owned()).collect();
            fields.into_iter().chain([message.full_name().to_owned()])
        })
        .collect();
    assert!(expected.len() > 100, "the contract was not read");
    let missing: Vec<_> = expected.difference(&seen).collect();
    assert!(missing.is_empty(), "no golden file holds {missing:#?}");
}

/// Notes the message and its fields, and those inside them.
fn see(message: &DynamicMessage, file: &str, seen: &mut BTreeSet<String>) {
    let descriptor = message.descriptor();
    seen.insert(descriptor.full_name().to_owned());
    let unknown = message.unknown_fields().count();
    assert_eq!(unknown, 0, "{file}: {}", descriptor.full_name());
    for (field, value) in message.fields() {
        seen.insert(field.full_name().to_owned());
        match value {
            Value::Message(inner) => see(inner, file, seen),
            Value::List(values) => {
                let inner = values.iter().filter_map(Value::as_message);
                inner.for_each(|inner| see(inner, file, seen));
            }
            _ => {}
        }
    }
}

/// A field's number and type are what the wire knows of it.
#[test]
fn no_number_or_type_of_a_field_has_changed() {
    let contract = contract();
    let mut lines = Vec::new();
    for message in contract.all_messages() {
        if message.package_name() == PACKAGE {
            lines.extend(message.fields().map(|field| signature(&message, &field)));
        }
    }
    lines.sort();
    let found: BTreeSet<&str> = lines.iter().map(String::as_str).collect();
    let published = std::fs::read_to_string(folder().join("fields.txt")).unwrap();
    let published: BTreeSet<&str> = published
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect();
    let gone: Vec<_> = published.difference(&found).collect();
    assert!(
        gone.is_empty(),
        "changed or gone: {gone:#?}\nnow: {found:#?}"
    );
    let new: Vec<_> = found.difference(&published).collect();
    assert!(new.is_empty(), "add to fields.txt: {new:#?}");
}

fn signature(message: &MessageDescriptor, field: &FieldDescriptor) -> String {
    let cardinality = if field.is_list() { "repeated " } else { "" };
    let kind = field.kind();
    let kind = match kind.as_message() {
        Some(message) => message.name().to_owned(),
        None => format!("{kind:?}").to_lowercase(),
    };
    let (message, name, number) = (message.name(), field.name(), field.number());
    format!("{message}.{name} = {number} {cardinality}{kind}")
}
