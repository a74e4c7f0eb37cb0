//! Where several inputs fold into one piece of work, its span is linked to the traces of all.

use std::collections::BTreeSet;

use opentelemetry_proto::tonic::trace::v1::span::Link;

use crate::collector::{Collector, Seen, hex};
use crate::rig::{ITEM, Rig, TENANT, USER, context, trace_id};

const OTHER_ITEM: &str = "pan";
/// Updates of one item at once, of a user each.
const BURST: u32 = 12;

/// The span that a link leads to.
fn target(collector: &Collector, link: &Link) -> Seen {
    let (trace, span) = (hex(&link.trace_id), hex(&link.span_id));
    collector.trace(&trace).with_id(&span).clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_is_linked_to_the_traces_of_the_differences_it_sums_up() {
    let rig = Rig::start(&[]).await;
    rig.peers(ITEM).await;
    rig.peers(OTHER_ITEM).await;
    let ids = [trace_id(1), trace_id(2)];
    let told = rig
        .profile_after(2, async || {
            for (item, id) in [ITEM, OTHER_ITEM].iter().zip(&ids) {
                rig.publish(USER, item, "I measured it: 61 decibels.", Some(id))
                    .await;
            }
        })
        .await;
    let (_, collector) = rig.stop().await;
    // The work queue kept the newer token alone, so the profile stands in its trace.
    let (id, sent) = context(&told);
    let trace = collector.trace(&id);
    let (path, _) = trace.ancestry(&sent);
    let profile = path[1];
    assert_eq!(profile.span.name, "process foil.v1.profile.>");
    let other = ids.iter().find(|other| **other != id).unwrap();
    let links = &profile.span.links;
    assert_eq!(links.len(), 1, "{links:#?}\n{}", trace.tree());
    assert_eq!(hex(&links[0].trace_id), *other);
    let made = target(&collector, &links[0]);
    assert_eq!(made.span.name, "process foil.v1.extract.>");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_updates_is_linked_where_it_folds() {
    let rig = Rig::start(&[]).await;
    let publish = (0..BURST).map(|n| {
        let (rig, user) = (&rig, format!("user-{n}"));
        async move {
            let text = format!("What number {n} has to say of it is this, and nothing else.");
            rig.publish(&user, ITEM, &text, Some(&trace_id(n))).await;
        }
    });
    futures::future::join_all(publish).await;
    rig.look
        .all_embedded(std::time::Duration::from_secs(30))
        .await;
    rig.quiet().await;
    let records = rig
        .look
        .store
        .item_records(TENANT, ITEM, 256)
        .await
        .unwrap();
    assert_eq!(records.len(), BURST as usize);
    let (_, collector) = rig.stop().await;
    let spans = collector.spans();

    // Each text is in one batch; its span is the parent of the batch, or linked with it both ways.
    let batches = spans.iter().filter(|seen| seen.span.name == "embed batch");
    let (mut texts, mut largest) = (0, 0);
    for batch in batches {
        let size: usize = batch
            .attribute("foil.batch.texts")
            .unwrap()
            .parse()
            .unwrap();
        (texts, largest) = (texts + size, largest.max(size));
        assert_eq!(batch.span.links.len(), size - 1, "{batch:#?}");
        for link in &batch.span.links {
            let input = target(&collector, link);
            assert!(input.span.name.starts_with("embeddings "), "{input:#?}");
            let back = input.span.links.iter().map(|link| hex(&link.span_id));
            assert_eq!(back.collect::<Vec<_>>(), [batch.id()]);
        }
    }
    assert_eq!(texts, BURST as usize);
    assert!(largest > 1, "nothing was embedded together");

    // The item's token stands for the updates of several users.
    let selects = spans
        .iter()
        .filter(|s| s.span.name == "process foil.v1.select.>");
    let links: Vec<Link> = selects.flat_map(|seen| seen.span.links.clone()).collect();
    let linked: BTreeSet<String> = links.iter().map(|link| hex(&link.trace_id)).collect();
    assert!(
        linked.len() > 1,
        "no select token stood for others: {links:#?}"
    );
    for link in &links {
        let update = target(&collector, link);
        assert_eq!(update.span.name, "process foil.v1.update.>");
    }
}
