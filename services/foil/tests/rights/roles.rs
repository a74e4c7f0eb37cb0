//! Every role against every subject: what is allowed is the table, nothing more and nothing less.

use std::collections::BTreeSet;

use crate::place::Auth;
use crate::table::{Expected, TABLE, TENANTS};
use crate::wire::Wire;

const STREAMS: [&str; 10] = [
    "FOIL_UPDATES",
    "FOIL_SELECT",
    "FOIL_EXTRACT",
    "FOIL_PROFILE",
    "FOIL_GENERATE",
    "FOIL_EVENTS",
    "FOIL_DEAD",
    "FOIL_ADVISORIES",
    "KV_FOIL_PROFILES",
    "KV_FOIL_ACTIVE",
];
const STAGES: [&str; 6] = [
    "embedder",
    "selector",
    "extractor",
    "profiler",
    "generator",
    "mover",
];
/// Roles that have users of one tenant.
const BOUND: [&str; 2] = ["producer", "caller"];
const KINDS: [&str; 6] = [
    "profile.updated",
    "difference.stored",
    "record.erased",
    "user.erased",
    "tenant.erased",
    "dead",
];
const STREAM_CALLS: [&str; 14] = [
    "STREAM.CREATE",
    "STREAM.UPDATE",
    "STREAM.DELETE",
    "STREAM.PURGE",
    "STREAM.INFO",
    "STREAM.MSG.GET",
    "STREAM.MSG.DELETE",
    "STREAM.SNAPSHOT",
    "STREAM.RESTORE",
    "STREAM.LEADER.STEPDOWN",
    "STREAM.PEER.REMOVE",
    "DIRECT.GET",
    "CONSUMER.LIST",
    "CONSUMER.NAMES",
];
const CONSUMER_CALLS: [&str; 9] = [
    "CONSUMER.CREATE",
    "CONSUMER.DURABLE.CREATE",
    "CONSUMER.DELETE",
    "CONSUMER.INFO",
    "CONSUMER.MSG.NEXT",
    "CONSUMER.PAUSE",
    "CONSUMER.UNPIN",
    "CONSUMER.RESET",
    "CONSUMER.LEADER.STEPDOWN",
];
/// Of no stream of Foil's, or of all.
const FURTHER: [&str; 18] = [
    "$JS.API.INFO",
    "$JS.API.STREAM.NAMES",
    "$JS.API.STREAM.LIST",
    "$JS.API.STREAM.CREATE.OTHER",
    "$JS.API.STREAM.INFO.OTHER",
    "$JS.API.ACCOUNT.PURGE.FOIL",
    "$JS.API.META.LEADER.STEPDOWN",
    "$JS.API.SERVER.REMOVE",
    "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.FOIL_SELECT.selector",
    "$SYS.REQ.SERVER.PING",
    "$SYS.REQ.USER.INFO",
    "$SRV.PING",
    "_INBOX.x",
    "$KV.OTHER.acme.u",
    "foil",
    "foil.v1",
    "foil.v2.update.acme.u",
    "other",
];

/// A subject of the stream, as a message in it has.
fn subjects_in(stream: &str, tenant: &str) -> Vec<String> {
    match stream {
        "FOIL_UPDATES" => vec![format!("foil.v1.update.{tenant}.u")],
        "FOIL_SELECT" => vec![format!("foil.v1.select.{tenant}.i")],
        "FOIL_EXTRACT" => vec![format!("foil.v1.extract.{tenant}.u.i")],
        "FOIL_PROFILE" => vec![
            format!("foil.v1.profile.{tenant}.u"),
            format!("foil.v1.schedule.profile.{tenant}.u"),
        ],
        "FOIL_GENERATE" => vec![format!("foil.v1.generate.{tenant}.interactive")],
        "FOIL_EVENTS" => KINDS
            .map(|kind| format!("foil.v1.event.{kind}.{tenant}.u"))
            .into(),
        "FOIL_DEAD" => STAGES
            .map(|stage| format!("foil.v1.dead.{stage}.{tenant}"))
            .into(),
        "FOIL_ADVISORIES" => Vec::new(),
        bucket => {
            let bucket = bucket.strip_prefix("KV_").expect("a bucket");
            vec![format!("$KV.{bucket}.{tenant}.u")]
        }
    }
}

fn inboxes() -> Vec<String> {
    let mut inboxes = Vec::new();
    for expected in TABLE {
        let role = expected.user.split('-').next().expect("a role");
        inboxes.push(format!("_INBOX_{role}.x"));
        if !BOUND.contains(&role) {
            continue;
        }
        inboxes.extend(TENANTS.map(|tenant| format!("_INBOX_{role}.{tenant}.x")));
    }
    inboxes
}

/// Everything that is tried.
fn publications() -> BTreeSet<String> {
    let mut all: BTreeSet<String> = FURTHER.map(str::to_owned).into();
    all.extend(inboxes());
    for stream in STREAMS {
        all.extend(STREAM_CALLS.map(|call| format!("$JS.API.{call}.{stream}")));
        all.insert(format!("$JS.API.CONSUMER.CREATE.{stream}"));
        for subject in TENANTS
            .iter()
            .flat_map(|tenant| subjects_in(stream, tenant))
        {
            all.insert(format!("$JS.API.DIRECT.GET.{stream}.{subject}"));
            all.insert(subject);
        }
        for stage in STAGES.iter().chain(&["other"]) {
            all.extend(CONSUMER_CALLS.map(|call| format!("$JS.API.{call}.{stream}.{stage}")));
            all.insert(format!(
                "$JS.API.CONSUMER.CREATE.{stream}.{stage}.foil.v1.any.>"
            ));
            all.insert(format!("$JS.ACK.{stream}.{stage}.1.1.1.1.0"));
            all.insert(format!("$JS.ACK._.HASH.{stream}.{stage}.1.1.1.1.0"));
        }
    }
    all
}

fn subscriptions() -> BTreeSet<String> {
    let patterns = [
        ">",
        "*",
        "foil.>",
        "foil.v1.>",
        "foil.v1.*.>",
        "foil.v1.update.>",
        "foil.v1.generate.>",
        "foil.v1.event.>",
        "foil.v1.dead.>",
        "$JS.>",
        "$JS.API.>",
        "$JS.ACK.>",
        "$JS.EVENT.>",
        "$KV.>",
        "$KV.FOIL_PROFILES.>",
        "$SYS.>",
        "$SRV.>",
        "_INBOX.>",
        "_INBOX.x",
        "*.>",
        "*.x",
    ];
    let mut all: BTreeSet<String> = patterns.map(str::to_owned).into();
    for inbox in inboxes() {
        if let Some(prefix) = inbox.strip_suffix(".x").filter(|p| !p.contains('.')) {
            all.insert(format!("{prefix}.>"));
        }
        all.insert(inbox);
    }
    for stream in STREAMS {
        all.extend(
            TENANTS
                .iter()
                .flat_map(|tenant| subjects_in(stream, tenant)),
        );
    }
    all
}

/// With the tenants put in.
fn filled(patterns: &[&str]) -> BTreeSet<String> {
    let each = |pattern: &&str| TENANTS.map(|tenant| pattern.replace("{t}", tenant));
    patterns.iter().flat_map(each).collect()
}

/// That all that is expected is tried too: a misspelt line of the table would prove nothing.
fn expected(patterns: &[&str], tried: &BTreeSet<String>) -> BTreeSet<String> {
    let expected = filled(patterns);
    let strange: Vec<_> = expected.difference(tried).collect();
    assert!(strange.is_empty(), "not tried: {strange:?}");
    expected
}

fn check(auth: &Auth, row: &Expected) -> usize {
    let seed = auth.seed(row.user);
    let mut wire = Wire::connect(&auth.address(), Some(&seed)).expect(row.user);
    let mut tried = 0;
    let (publications, subscriptions) = (publications(), subscriptions());
    let mut compare =
        |what: &str, all: &BTreeSet<String>, patterns, may: &mut dyn FnMut(&str) -> bool| {
            let expected = expected(patterns, all);
            let allowed: BTreeSet<String> =
                all.iter().filter(|s| may(s.as_str())).cloned().collect();
            let user = row.user;
            let more: Vec<_> = allowed.difference(&expected).collect();
            let less: Vec<_> = expected.difference(&allowed).collect();
            assert!(more.is_empty(), "{user} may {what} too much: {more:#?}");
            assert!(less.is_empty(), "{user} may not {what}: {less:#?}");
            tried += all.len();
        };
    compare("subscribe", &subscriptions, row.subscribe, &mut |s| {
        wire.may_subscribe(s)
    });
    compare("publish", &publications, row.publish, &mut |s| {
        wire.may_publish(s)
    });
    tried
}

#[test]
fn every_role_may_do_what_the_table_says_and_nothing_else() {
    let auth = Auth::start();
    let mut tried = 0;
    for row in TABLE {
        tried += check(&auth, row);
    }
    println!("{} users, {tried} subjects tried", TABLE.len());
    // One of them is a whole account's: it has no part in this one.
    let users: BTreeSet<String> = TABLE.iter().map(|row| row.user.to_owned()).collect();
    let mut made = auth.users();
    assert!(made.remove("system"));
    assert_eq!(made, users, "a user that the table does not know");
}

#[test]
fn nobody_gets_in_without_a_key_of_a_role() {
    let auth = Auth::start();
    let refused = |seed: Option<&str>| {
        let refused = Wire::connect(&auth.address(), seed).err();
        refused.expect("it was let in")
    };
    assert!(refused(None).contains("Authorization Violation"));
    let stranger = nkeys::KeyPair::new_user().seed().unwrap();
    assert!(refused(Some(&stranger)).contains("Authorization Violation"));
}
