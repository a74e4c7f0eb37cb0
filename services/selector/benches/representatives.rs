//! Choosing the representatives of all records of one item: `cargo bench -p foil-selector`.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use foil_selector::choose::{Point, Strategy, representatives};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use uuid::Uuid;

const DIMENSION: usize = 384;
const K: usize = 4;

/// Vectors of length 1, each near one of eight directions, as texts on one thing are.
fn vectors(count: usize) -> Vec<Vec<f32>> {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut draw = || -> Vec<f32> { (0..DIMENSION).map(|_| rng.random::<f32>() - 0.5).collect() };
    let themes: Vec<Vec<f32>> = (0..8).map(|_| draw()).collect();
    let near = |number: usize| {
        let own = draw();
        let theme = &themes[number % themes.len()];
        let sum: Vec<f32> = theme.iter().zip(own).map(|(x, y)| x + y).collect();
        let length = sum.iter().map(|x| x * x).sum::<f32>().sqrt();
        sum.iter().map(|x| x / length).collect()
    };
    (0..count).map(near).collect()
}

fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("representatives");
    for count in [16, 64, 256] {
        let vectors = vectors(count);
        let points: Vec<Point<'_>> = (0..)
            .zip(&vectors)
            .map(|(number, vector)| Point {
                id: Uuid::from_u128(number),
                vector,
                serves: true,
            })
            .collect();
        for strategy in [Strategy::Kmeans, Strategy::Dissimilar, Strategy::Random] {
            let id = BenchmarkId::new(strategy.as_str(), count);
            group.bench_with_input(id, &points, |bencher, points| {
                bencher.iter(|| representatives(points, strategy, K, b"item"));
            });
        }
    }
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
