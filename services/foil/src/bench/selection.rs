//! What choosing the representatives of one item costs.

use std::hint::black_box;
use std::time::Instant;

use anyhow::Result;
use foil_selector::choose::{Point, Strategy, representatives};
use uuid::Uuid;

use super::texts::Numbers;
use super::{Reading, median};

const RECORDS: usize = 256;
const DIMENSION: usize = 384;
const K: usize = 4;
const ROUNDS: usize = 200;

/// Clusters the records of one item and picks everyone's representatives, again and again.
///
/// # Errors
/// When the thread ends.
pub async fn measure() -> Result<Vec<Reading>> {
    // It runs on one thread, as in the stage.
    let times = tokio::task::spawn_blocking(times).await?;
    let value = median(times);
    Ok(vec![Reading {
        key: "selection_ms",
        value,
        note: format!(
            "{RECORDS} records of {DIMENSION} dimensions, {K} representatives for each: the median \
             of {ROUNDS} rounds, in milliseconds."
        ),
    }])
}

fn times() -> Vec<f64> {
    let vectors: Vec<Vec<f32>> = (0..RECORDS).map(vector).collect();
    let points: Vec<Point<'_>> = (0..)
        .zip(&vectors)
        .map(|(number, vector)| Point {
            id: Uuid::from_u128(number),
            vector,
            serves: true,
        })
        .collect();
    let round = |number: usize| {
        let since = Instant::now();
        let key = number.to_le_bytes();
        black_box(representatives(
            black_box(&points),
            Strategy::Kmeans,
            K,
            &key,
        ));
        since.elapsed().as_secs_f64() * 1_000.0
    };
    (0..ROUNDS).map(round).collect()
}

/// Of length 1, near one of eight directions, as texts on one thing are.
fn vector(number: usize) -> Vec<f32> {
    let mut theme = Numbers::new(number % 8);
    let mut own = Numbers::new(1_000 + number);
    let mut vector: Vec<f32> = (0..DIMENSION)
        .map(|_| theme.share() - 0.5 + own.share() - 0.5)
        .collect();
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    vector.iter_mut().for_each(|x| *x /= length);
    vector
}
