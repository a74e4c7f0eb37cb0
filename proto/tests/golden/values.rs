//! The value behind each golden file: every field set, to something that is not its default.
//!
//! When the contract grows, a value that is here keeps what it says, with the new field at its
//! default, and a further case with the field set gets a file of its own.

use std::fmt::Debug;

use foil_proto::v1::{self, event, generate_reply, update};
use prost::Message;

/// One file.
pub struct Case {
    /// Message of the package `foil.v1`.
    pub message: &'static str,
    /// What of it: the change, the part, the kind; empty where there is only one.
    pub variant: &'static str,
    /// What `examples/write_golden.rs` writes.
    pub bytes: Vec<u8>,
    pub compare: Compare,
}

/// Says how bytes decode to something else than the value.
type Compare = Box<dyn Fn(&[u8]) -> Result<(), String>>;

impl Case {
    pub fn file(&self) -> String {
        match (self.message, self.variant) {
            (message, "") => format!("{message}.hex"),
            (message, variant) => format!("{message}.{variant}.hex"),
        }
    }
}

pub fn all() -> Vec<Case> {
    let mut cases = vec![
        case("SelectWork", "", select_work()),
        case("ExtractWork", "", extract_work()),
        case("ProfileWork", "", profile_work()),
        case("Difference", "", difference()),
        case("Profile", "", profile()),
        case("GenerateRequest", "", generate_request()),
    ];
    cases.extend(updates());
    cases.extend(replies());
    cases.extend(events());
    cases.extend(receipts());
    cases
}

fn case<M>(message: &'static str, variant: &'static str, value: M) -> Case
where
    M: Message + Default + PartialEq + Debug + 'static,
{
    Case {
        message,
        variant,
        bytes: value.encode_to_vec(),
        compare: Box::new(move |bytes| match M::decode(bytes) {
            Err(error) => Err(error.to_string()),
            Ok(found) if found == value => Ok(()),
            Ok(found) => Err(format!("decodes to\n{found:#?}\nnot to\n{value:#?}")),
        }),
    }
}

fn updates() -> Vec<Case> {
    use update::Change;
    let update = |variant, change| {
        let value = v1::Update {
            tenant: "shop-7".into(),
            change: Some(change),
        };
        case("Update", variant, value)
    };
    vec![
        update(
            "record_upsert",
            Change::RecordUpsert(v1::RecordUpsert {
                user: "j.doe@example.org".into(),
                item: "kettle 2.0".into(),
                text: "It boils fast, and it howls.\nStill: 4 of 5. \u{1F642}".into(),
                title: "Loud".into(),
                rating: Some(4.5),
                occurred_at_ms: 1_773_512_400_123,
                revision: 3,
            }),
        ),
        update(
            "record_delete",
            Change::RecordDelete(v1::RecordDelete {
                user: "mara".into(),
                item: "kettle 2.0".into(),
                revision: u64::MAX,
            }),
        ),
        update(
            "item_upsert",
            Change::ItemUpsert(v1::ItemUpsert {
                item: "kettle 2.0".into(),
                title: "Kettle, second edition".into(),
                description: "1.7 litres, steel, 2,200 watts.".into(),
                revision: 2,
            }),
        ),
        update(
            "user_erase",
            Change::UserErase(v1::UserErase {
                user: "mara".into(),
            }),
        ),
        update(
            "peer_opt_out",
            Change::PeerOptOut(v1::PeerOptOut {
                user: "mara".into(),
                opted_out: true,
                revision: 5,
            }),
        ),
        update(
            "tenant_erase",
            Change::TenantErase(v1::TenantErase {
                tenant: "shop-7".into(),
            }),
        ),
    ]
}

fn select_work() -> v1::SelectWork {
    v1::SelectWork {
        tenant: "shop-7".into(),
        item: "kettle 2.0".into(),
    }
}

fn extract_work() -> v1::ExtractWork {
    v1::ExtractWork {
        tenant: "shop-7".into(),
        user: "mara".into(),
        item: "kettle 2.0".into(),
        representatives: vec![
            "5f0c1d8e-3a77-5b21-9c4e-2d60a1f7e835".into(),
            "b7e2940a-61cd-5e0f-8a13-74c9d5206f1b".into(),
        ],
        selection: Some(selection()),
    }
}

fn selection() -> v1::Selection {
    v1::Selection {
        strategy: "kmeans".into(),
        records: 17,
        fingerprint: "9d3e50c8a1".into(),
    }
}

fn profile_work() -> v1::ProfileWork {
    v1::ProfileWork {
        tenant: "shop-7".into(),
        user: "mara".into(),
    }
}

fn difference() -> v1::Difference {
    v1::Difference {
        findings: vec![
            v1::Finding {
                criterion: "writing".into(),
                statement: "Writes in short sentences where others tell a story.".into(),
                confidence: 0.75,
            },
            v1::Finding {
                criterion: "emotion".into(),
                statement: "Keeps calm about faults that annoy the others.".into(),
                confidence: 0.5,
            },
        ],
        evidence: vec![evidence()],
        provenance: Some(v1::DifferenceProvenance {
            revision: 3,
            representatives: vec!["5f0c1d8e-3a77-5b21-9c4e-2d60a1f7e835".into()],
            selection: Some(selection()),
            model: "llama-cpp/smollm2-135m-instruct-q8_0".into(),
            prompt_version: "difference.v1".into(),
            created_at_ms: 1_773_512_460_000,
            prompt_tokens: 812,
            completion_tokens: 96,
        }),
    }
}

fn evidence() -> v1::Evidence {
    v1::Evidence {
        feature: "words_per_sentence".into(),
        value: 7.25,
        peers_mean: 15.5,
        item_mean: 14.125,
        z_score: -1.75,
    }
}

fn profile() -> v1::Profile {
    v1::Profile {
        tenant: "shop-7".into(),
        user: "mara".into(),
        version: 4,
        summary: "Brief and even-tempered; judges by what breaks.".into(),
        strategy: "dpl".into(),
        evidence: vec![evidence()],
        provenance: Some(v1::ProfileProvenance {
            sources: vec![v1::Source {
                item: "kettle 2.0".into(),
                revision: 3,
                compared: true,
                difference_at_ms: 1_773_512_460_000,
            }],
            model: "llama-cpp/smollm2-135m-instruct-q8_0".into(),
            prompt_version: "profile.v1".into(),
            created_at_ms: 1_773_512_490_000,
            updated_at_ms: 1_773_512_401_000,
            fingerprint: "4be1a0f27c".into(),
            prompt_tokens: 640,
            completion_tokens: 120,
        }),
    }
}

fn generate_request() -> v1::GenerateRequest {
    v1::GenerateRequest {
        tenant: "shop-7".into(),
        user: "mara".into(),
        item: "kettle 2.0".into(),
        item_title: "Kettle, second edition".into(),
        item_description: "1.7 litres, steel, 2,200 watts.".into(),
        title: "A second look".into(),
        rating: Some(-2.5),
        strategy: "intsum".into(),
        max_tokens: 256,
        temperature: Some(0.25),
        seed: 42,
        deadline_ms: 1_773_512_520_000,
        context_only: true,
        wait: true,
        min_version: 4,
    }
}

fn replies() -> Vec<Case> {
    use generate_reply::Part;
    let reply = |variant, sequence, part| {
        let value = v1::GenerateReply {
            sequence,
            part: Some(part),
        };
        case("GenerateReply", variant, value)
    };
    vec![
        reply(
            "context",
            // Real replies begin with 0, which the wire leaves out.
            1,
            Part::Context(v1::Context {
                strategy: "intsum".into(),
                degraded: "no_peers".into(),
                profile_version: 4,
                profile_age_ms: 86_400_000,
                block: "How mara writes:\n- brief".into(),
                key_samples: vec!["kettle 2.0".into(), "bread-knife".into()],
            }),
        ),
        reply("delta", 2, Part::Delta(" It boils \u{2014} fast.".into())),
        reply(
            "done",
            3,
            Part::Done(v1::Done {
                finish: "length".into(),
                prompt_tokens: 900,
                cached_tokens: 512,
                completion_tokens: 256,
                llm_calls: 1,
                model: "llama-cpp/smollm2-135m-instruct-q8_0".into(),
                prompt_version: "generate.v1".into(),
            }),
        ),
        reply(
            "failure",
            4,
            Part::Failure(v1::Failure {
                code: "engine_unavailable".into(),
                message: "the language model does not answer".into(),
            }),
        ),
    ]
}

fn event(variant: &'static str, user: &str, kind: event::Kind) -> Case {
    let value = v1::Event {
        tenant: "shop-7".into(),
        user: user.into(),
        at_ms: 1_773_512_495_000,
        kind: Some(kind),
    };
    case("Event", variant, value)
}

fn receipts() -> Vec<Case> {
    use event::Kind;
    let removed = Some(v1::Removed {
        log: 12,
        queued: 2,
        dead_letters: 1,
        events: 21,
        profiles_of_others: 5,
    });
    let user = v1::UserErased {
        sequence: 1_234,
        records: 9,
        profiles: 4,
        differences_of_others: 11,
        erased_at_ms: 1_773_512_494_321,
        removed,
    };
    let record = v1::RecordErased {
        sequence: 1_235,
        item: "kettle 2.0".into(),
        revision: u64::MAX,
        records: 1,
        profiles: 3,
        differences_of_others: 2,
        removed,
    };
    let tenant = v1::TenantErased {
        sequence: 1_236,
        erased_at_ms: 1_773_512_494_322,
        records: 900,
        items: 60,
        profiles: 400,
        removed,
    };
    vec![
        event("user_erased_in_full", "mara", Kind::UserErased(user)),
        event("record_erased", "mara", Kind::RecordErased(record)),
        event("tenant_erased", "", Kind::TenantErased(tenant)),
    ]
}

fn events() -> Vec<Case> {
    use event::Kind;
    let event = |variant, kind| event(variant, "mara", kind);
    vec![
        event(
            "profile_updated",
            Kind::ProfileUpdated(v1::ProfileUpdated {
                version: 4,
                strategy: "dpl".into(),
                differences: 9,
                freshness_ms: 94_000,
            }),
        ),
        event(
            "difference_stored",
            Kind::DifferenceStored(v1::DifferenceStored {
                item: "kettle 2.0".into(),
                revision: 3,
            }),
        ),
        event(
            "user_erased",
            Kind::UserErased(v1::UserErased {
                sequence: 1_234,
                records: 9,
                profiles: 4,
                differences_of_others: 11,
                ..v1::UserErased::default()
            }),
        ),
        event(
            "dead",
            Kind::Dead(v1::DeadLettered {
                stage: "embedder".into(),
                reason: "invalid".into(),
                sequence: 17,
            }),
        ),
    ]
}
