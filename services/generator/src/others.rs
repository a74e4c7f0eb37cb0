//! What a strategy uses of other users: a contrast to each key sample, and who is similar. Pure.

use std::collections::BTreeMap;

use foil_store::Record;

use crate::history::Sample;
use crate::strategy::Contrast;

/// Records of an item that are looked at, a uniform sample of more.
pub const CANDIDATES: usize = 64;
/// Key samples whose items tell who is similar.
pub const SHARED_ITEMS: usize = 4;

/// Another user's text on the item of the key sample at `place`: of those in `peers` that may serve,
/// the first whose point id comes after the sample's own. Ids are hashes, so it is any of them, and
/// always the same.
pub fn contrast(place: usize, sample: &Sample, peers: &[Record]) -> Option<Contrast> {
    let own = &sample.record;
    let serves = |peer: &&Record| {
        peer.key.user != own.key.user && !peer.opted_out && peer.text.trim() != own.text.trim()
    };
    let chosen = peers
        .iter()
        .filter(serves)
        .min_by_key(|peer| (peer.id < own.id, peer.id))?;
    Some(Contrast {
        sample: place,
        text: chosen.text.clone(),
    })
}

/// Users by how similar their texts are to those of `own`, the most similar first: by the sum, over the
/// items that both wrote on, of the cosine of their texts' vectors. Who wrote on more of the same things
/// is more similar.
pub fn similar(own: &[Record], peers: &[Record]) -> Vec<String> {
    let mut scores: BTreeMap<&str, f64> = BTreeMap::new();
    for record in own {
        let Some(vector) = &record.vector else {
            continue;
        };
        let serving = peers.iter().filter(|peer| {
            peer.key.item == record.key.item && peer.key.user != record.key.user && !peer.opted_out
        });
        for peer in serving {
            let cosine = peer.vector.as_ref().map_or(0.0, |other| dot(vector, other));
            *scores.entry(&peer.key.user).or_default() += cosine;
        }
    }
    let mut ranked: Vec<(&str, f64)> = scores.into_iter().collect();
    // Stable: of equals the one whose id comes first.
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    ranked
        .into_iter()
        .map(|(user, _)| user.to_owned())
        .collect()
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    let products = a.iter().zip(b).map(|(x, y)| f64::from(x * y));
    products.sum()
}

#[cfg(test)]
mod tests {
    use foil_store::RecordKey;

    use super::*;

    fn record(user: &str, item: &str, text: &str, vector: [f32; 2]) -> Record {
        Record {
            vector: Some(vector.into()),
            ..Record::new(RecordKey::new("acme", user, item), text)
        }
    }

    #[test]
    fn a_contrast_is_another_users_and_another_text() {
        let own = record("mara", "kettle", "It boils.", [1.0, 0.0]);
        let sample = Sample {
            record: own.clone(),
            item_title: String::new(),
        };
        let mut hidden = record("otto", "kettle", "Loud.", [1.0, 0.0]);
        hidden.opted_out = true;
        let copy = record("copycat", "kettle", "It boils.", [1.0, 0.0]);
        let mut peers = vec![own, hidden, copy];
        assert_eq!(contrast(0, &sample, &peers), None);
        peers.push(record("nils", "kettle", "Steady as she goes.", [0.0, 1.0]));
        let found = contrast(3, &sample, &peers).expect("a contrast");
        assert_eq!(
            (found.sample, found.text.as_str()),
            (3, "Steady as she goes.")
        );
    }

    #[test]
    fn who_shares_more_and_writes_alike_is_more_similar() {
        let own = [
            record("mara", "kettle", "a", [1.0, 0.0]),
            record("mara", "lamp", "b", [1.0, 0.0]),
        ];
        let mut peers = vec![
            record("far", "kettle", "c", [0.0, 1.0]),
            record("near", "kettle", "d", [1.0, 0.0]),
            record("twice", "kettle", "e", [0.8, 0.6]),
            record("twice", "lamp", "f", [0.8, 0.6]),
            record("elsewhere", "pan", "g", [1.0, 0.0]),
        ];
        assert_eq!(similar(&own, &peers), ["twice", "near", "far"]);
        peers[1].opted_out = true;
        assert_eq!(similar(&own, &peers), ["twice", "far"]);
    }
}
