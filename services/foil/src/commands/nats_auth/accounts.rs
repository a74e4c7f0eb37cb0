//! The accounts of the server's configuration: Foil's own, which has the streams, and one for each user
//! that is apart from it.

use std::collections::BTreeSet;

use crate::roles::{Rights, User, token_of};

const HEAD: &str = "# Made by `foil nats-auth`, of deploy/nats/permissions.toml. It holds no secret: the \
keys' seeds are\n# in the files beside it.\n";
/// The account that has the streams, the stages and the operator.
const FOIL: &str = "FOIL";

/// `keys`: the public one of each user.
pub fn configuration(users: &[User], keys: &[String], system: &str) -> String {
    let (apart, own): (Vec<_>, Vec<_>) = users.iter().zip(keys).partition(|(user, _)| user.apart);
    let mut text = format!("{HEAD}\naccounts {{\n  {FOIL} {{\n    jetstream: enabled\n");
    exports(&mut text, &apart);
    text.push_str("    users: [\n");
    for (user, key) in own {
        entry(&mut text, user, key);
    }
    text.push_str("    ]\n  }\n");
    for (user, key) in apart {
        // What the server answers to a request from here it sends here, whatever reply it names.
        text.push_str(&format!("  {:?} {{\n    imports: [\n", user.name));
        let Rights { publish, subscribe } = &user.rights;
        for (kind, subjects) in [("service", publish), ("stream", subscribe)] {
            for subject in subjects {
                let line = format!("{kind}: {{ account: {FOIL}, subject: {subject:?} }}");
                text.push_str(&format!("      {{ {line} }}\n"));
            }
        }
        text.push_str("    ]\n    users: [\n");
        entry(&mut text, user, key);
        text.push_str("    ]\n  }\n");
    }
    let tail = format!("  SYS {{\n    users: [ {{ nkey: {system:?} }} ]\n  }}\n}}\n");
    text.push_str(&tail);
    text.push_str("system_account: SYS\n");
    text
}

/// What the accounts import. A user of one tenant imports a part of what its role may.
fn exports(text: &mut String, apart: &[(&User, &String)]) {
    let roles = || {
        apart
            .iter()
            .filter(|(user, _)| token_of(&user.name).is_none())
    };
    let rights = || roles().map(|(user, _)| &user.rights);
    let services: BTreeSet<&String> = rights().flat_map(|rights| &rights.publish).collect();
    let streams: BTreeSet<&String> = rights().flat_map(|rights| &rights.subscribe).collect();
    text.push_str("    exports: [\n");
    for (kind, subjects) in [("service", services), ("stream", streams)] {
        for subject in subjects {
            text.push_str(&format!("      {{ {kind}: {subject:?} }}\n"));
        }
    }
    text.push_str("    ]\n");
}

fn entry(text: &mut String, user: &User, key: &str) {
    let Rights { publish, subscribe } = &user.rights;
    let list = |patterns: &[String]| -> String {
        let lines = patterns.iter().map(|p| format!("          {p:?}\n"));
        lines.collect()
    };
    let (name, publish, subscribe) = (&user.name, list(publish), list(subscribe));
    text.push_str(&format!(
        "      # {name}\n      {{ nkey: {key:?}, permissions: {{\n        publish: [\n{publish}        \
         ]\n        subscribe: [\n{subscribe}        ]\n      }} }}\n"
    ));
}
