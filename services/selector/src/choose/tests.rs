use proptest::{prop_assert, prop_assert_eq, proptest};

use super::*;

fn ids(n: usize) -> Vec<Uuid> {
    (1..=n as u128).map(Uuid::from_u128).collect()
}

fn points<'a>(ids: &[Uuid], vectors: &'a [Vec<f32>]) -> Vec<Point<'a>> {
    let serves = true;
    let point = |(id, vector): (&Uuid, &'a Vec<f32>)| Point {
        id: *id,
        vector,
        serves,
    };
    ids.iter().zip(vectors).map(point).collect()
}

/// Five far corners with three points each.
fn corners() -> Vec<Vec<f32>> {
    let mut vectors = Vec::new();
    for corner in 0..5 {
        for step in 0..3 {
            let mut v = vec![0.0; 5];
            v[corner] = 1.0 + step as f32 * 0.01;
            vectors.push(v);
        }
    }
    vectors
}

#[test]
fn one_from_each_other_cluster() {
    let vectors = corners();
    let ids = ids(15);
    let chosen = representatives(&points(&ids, &vectors), Strategy::Kmeans, 4, b"item");
    for (target, representatives) in chosen.iter().enumerate() {
        let mut clusters: Vec<usize> = representatives
            .iter()
            .map(|id| (id.as_u128() as usize - 1) / 3)
            .collect();
        clusters.sort_unstable();
        let expected: Vec<usize> = (0..5).filter(|c| *c != target / 3).collect();
        assert_eq!(clusters, expected);
        // The middle one of three on a line is the nearest to their mean.
        assert!(representatives.iter().all(|id| (id.as_u128() - 1) % 3 == 1));
    }
}

#[test]
fn who_opted_out_serves_nobody_but_is_compared() {
    let vectors = corners();
    let ids = ids(15);
    for strategy in [Strategy::Kmeans, Strategy::Dissimilar, Strategy::Random] {
        let mut points = points(&ids, &vectors);
        points[1].serves = false;
        let chosen = representatives(&points, strategy, 4, b"item");
        assert!(
            chosen.iter().flatten().all(|id| *id != ids[1]),
            "{strategy:?}"
        );
        assert_eq!(chosen[1].len(), 4, "{strategy:?}");
        if strategy == Strategy::Kmeans {
            let own = |id: &Uuid| (id.as_u128() as usize - 1) / 3 == 0;
            assert!(!chosen[1].iter().any(own), "its own cluster is dropped");
        }
    }
}

#[test]
fn few_or_equal_peers_give_few_representatives() {
    let same = vec![vec![1.0, 0.0]; 4];
    let two = vec![vec![1.0, 0.0], vec![0.0, 1.0]];
    for strategy in [Strategy::Kmeans, Strategy::Dissimilar, Strategy::Random] {
        let count = |vectors: &[Vec<f32>]| {
            let ids = ids(vectors.len());
            let chosen = representatives(&points(&ids, vectors), strategy, 4, b"i");
            chosen.iter().map(Vec::len).collect::<Vec<_>>()
        };
        assert_eq!(count(&same), [0, 0, 0, 0], "{strategy:?}");
        assert_eq!(count(&two), [1, 1], "{strategy:?}");
        assert_eq!(count(&two[..1]), [0], "{strategy:?}");
        assert_eq!(count(&[]), [0; 0], "{strategy:?}");
    }
}

#[test]
fn the_least_similar_are_the_least_similar() {
    let vectors: Vec<Vec<f32>> = (0..8).map(|i| vec![i as f32]).collect();
    let ids = ids(8);
    let chosen = representatives(&points(&ids, &vectors), Strategy::Dissimilar, 2, b"i");
    assert_eq!(chosen[0], [ids[6], ids[7]]);
    assert_eq!(chosen[7], [ids[0], ids[1]]);
}

#[test]
fn what_is_due() {
    let serving: HashSet<Uuid> = ids(9).into_iter().collect();
    let (old, new) = (&ids(4)[..], &ids(9)[5..]);
    let last = Compared {
        revision: 3,
        representatives: old,
        records: 10,
    };
    let due = |revision, chosen: &[Uuid], serving: &HashSet<Uuid>, records| {
        due(revision, Some(&last), chosen, serving, records, 2.0)
    };
    assert_eq!(due(3, old, &serving, 10), None);
    assert_eq!(
        due(4, old, &serving, 10),
        Some(Due::Missing),
        "the text changed"
    );
    assert_eq!(due(3, new, &serving, 19), None, "not grown enough");
    assert_eq!(due(3, new, &serving, 20), Some(Due::Grown));
    assert_eq!(
        due(3, old, &serving, 20),
        None,
        "grown, but the choice is the same"
    );
    let without: HashSet<Uuid> = serving.iter().copied().filter(|id| *id != old[0]).collect();
    assert_eq!(due(3, new, &without, 10), Some(Due::RepresentativeGone));
    assert_eq!(
        due(4, &[], &serving, 10),
        None,
        "nobody to compare with: it waits"
    );
    assert_eq!(
        super::due(1, None, old, &serving, 10, 2.0),
        Some(Due::Missing)
    );
}

#[test]
fn a_record_is_compared_a_logarithmic_number_of_times() {
    let vectors: Vec<Vec<f32>> = (0..256_u32)
        .map(|i| {
            (0..8)
                .map(|d| ((i * 37 + d * 101) % 97) as f32 / 97.0)
                .collect()
        })
        .collect();
    let ids = ids(256);
    let mut last: Option<(Vec<Uuid>, usize)> = None;
    let mut compared = 0;
    for n in 1..=256 {
        let points = points(&ids[..n], &vectors[..n]);
        let chosen = representatives(&points, Strategy::Kmeans, 4, b"item").swap_remove(0);
        let serving: HashSet<Uuid> = ids[..n].iter().copied().collect();
        let before = last.as_ref().map(|(representatives, records)| Compared {
            revision: 1,
            representatives,
            records: *records,
        });
        if due(1, before.as_ref(), &chosen, &serving, n, 2.0).is_some() {
            compared += 1;
            last = Some((chosen, n));
        }
    }
    assert!(
        (2..=8).contains(&compared),
        "log2(256) = 8, compared {compared} times"
    );
}

proptest! {
    #[test]
    fn never_oneself_never_twice_never_more_than_k(
        vectors in proptest::collection::vec(proptest::collection::vec(-1.0_f32..1.0, 4), 0..24),
        k in 1_usize..6,
    ) {
        let ids = ids(vectors.len());
        for strategy in [Strategy::Kmeans, Strategy::Dissimilar, Strategy::Random] {
            let chosen = representatives(&points(&ids, &vectors), strategy, k, b"key");
            prop_assert_eq!(&chosen, &representatives(&points(&ids, &vectors), strategy, k, b"key"));
            for (target, representatives) in chosen.iter().enumerate() {
                prop_assert!(representatives.len() <= k);
                prop_assert!(!representatives.contains(&ids[target]));
                prop_assert!(representatives.windows(2).all(|w| w[0] < w[1]));
            }
        }
    }
}
