use proptest::prelude::*;

use super::*;

fn cluster(points: &[Vec<f32>], k: usize) -> Clustering {
    let views: Vec<&[f32]> = points.iter().map(Vec::as_slice).collect();
    kmeans(&Gram::of(&views), k, [7; 32])
}

/// Three far groups around (0,0), (10,0) and (0,10).
fn groups() -> Vec<Vec<f32>> {
    let mut points = Vec::new();
    for (x, y) in [(0.0, 0.0), (10.0, 0.0), (0.0, 10.0)] {
        for step in [0.0, 0.1, 0.2, 0.3] {
            points.push(vec![x + step, y - step]);
        }
    }
    points
}

#[test]
fn far_groups_are_found() {
    let found = cluster(&groups(), 3);
    assert_eq!(found.clusters, 3);
    for group in found.of.chunks(4) {
        assert!(group.iter().all(|c| *c == group[0]), "{:?}", found.of);
    }
}

#[test]
fn distances_are_those_to_the_means() {
    let points = groups();
    let found = cluster(&points, 3);
    let mut inertia = 0.0;
    for c in 0..found.clusters {
        let members: Vec<&Vec<f32>> = (0..points.len())
            .filter(|&i| found.of[i] == c)
            .map(|i| &points[i])
            .collect();
        let mean: Vec<f64> = (0..2)
            .map(|d| members.iter().map(|m| f64::from(m[d])).sum::<f64>() / members.len() as f64)
            .collect();
        for (i, point) in points.iter().enumerate() {
            let squared: f64 = (0..2)
                .map(|d| (f64::from(point[d]) - mean[d]).powi(2))
                .sum();
            assert!((squared - found.distance[i][c]).abs() < 1e-3, "{i} {c}");
            if found.of[i] == c {
                inertia += squared;
            }
        }
    }
    assert!((inertia - found.inertia).abs() < 1e-3);
}

#[test]
fn no_more_clusters_than_distinct_points() {
    let points = vec![vec![1.0, 0.0]; 9];
    assert_eq!(cluster(&points, 5).clusters, 1);
    assert_eq!(cluster(&[], 5).clusters, 0);
    assert_eq!(cluster(&[vec![1.0], vec![2.0]], 5).clusters, 2);
}

proptest! {
    #[test]
    fn every_cluster_has_a_point_and_every_point_its_nearest(
        points in proptest::collection::vec(proptest::collection::vec(-5.0_f32..5.0, 3), 0..40),
        k in 1_usize..7,
    ) {
        let found = cluster(&points, k);
        prop_assert_eq!(&found, &cluster(&points, k), "not deterministic");
        prop_assert!(found.clusters <= k);
        for c in 0..found.clusters {
            prop_assert!(found.of.contains(&c), "cluster {} is empty", c);
        }
        prop_assert!(found.inertia.is_finite());
        for (distance, &own) in found.distance.iter().zip(&found.of) {
            let nearest = distance.iter().copied().fold(f64::INFINITY, f64::min);
            prop_assert!(distance[own] <= nearest + 1e-6);
        }
    }

    /// Lloyd's iterations alone leave such moves.
    #[test]
    fn no_point_could_move_to_make_the_clusters_tighter(
        points in proptest::collection::vec(proptest::collection::vec(-1.0_f32..1.0, 12), 6..30),
    ) {
        let found = cluster(&points, 4);
        let size = |c: usize| found.of.iter().filter(|&&of| of == c).count() as f64;
        for (distance, &own) in found.distance.iter().zip(&found.of) {
            if size(own) < 2.0 {
                continue;
            }
            let leaving = distance[own] * size(own) / (size(own) - 1.0);
            for c in (0..found.clusters).filter(|&c| c != own) {
                let joining = distance[c] * size(c) / (size(c) + 1.0);
                prop_assert!(joining > leaving - 1e-4, "{joining} {leaving}");
            }
        }
    }
}
