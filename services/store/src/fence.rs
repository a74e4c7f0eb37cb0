//! Which of two writes stands: the one of the higher number.
//!
//! Qdrant's integers are signed and its ranges are compared as f64, exact only to 2^53; revisions
//! may be nanosecond timestamps or anything else a u64 holds. So a number is stored as two halves of
//! 32 bits, and compared half by half.

use qdrant_client::qdrant::{Condition, Filter, Range};

use crate::StoreError;
use crate::point::{Fields, Point};

/// A u64 in a payload.
pub(crate) struct Fence {
    high: &'static str,
    low: &'static str,
}

/// Of a record, an item or a choice.
pub(crate) const REVISION: Fence = Fence {
    high: "revision_high",
    low: "revision_low",
};

/// Of a message in FOIL_UPDATES.
pub(crate) const SEQUENCE: Fence = Fence {
    high: "sequence_high",
    low: "sequence_low",
};

fn high(number: u64) -> u32 {
    (number >> 32) as u32
}

fn low(number: u64) -> u32 {
    (number & u64::from(u32::MAX)) as u32
}

fn below(field: &str, half: u32) -> Condition {
    let range = Range {
        lt: Some(f64::from(half)),
        ..Range::default()
    };
    Condition::range(field, range)
}

fn above(field: &str, half: u32) -> Condition {
    let range = Range {
        gt: Some(f64::from(half)),
        ..Range::default()
    };
    Condition::range(field, range)
}

fn equal(field: &str, half: u32) -> Condition {
    Condition::matches(field, i64::from(half))
}

impl Fence {
    pub(crate) fn write(&self, fields: &mut Fields, number: u64) {
        fields.set(self.high, i64::from(high(number)));
        fields.set(self.low, i64::from(low(number)));
    }

    pub(crate) fn read(&self, point: &Point) -> Result<u64, StoreError> {
        let half = |field| {
            let half = point.int(field)?;
            u32::try_from(half).map_err(|_| point.corrupt(field, "is no half of a number"))
        };
        Ok(u64::from(half(self.high)?) << 32 | u64::from(half(self.low)?))
    }

    /// What is stored is lower than `number`.
    pub(crate) fn is_below(&self, number: u64) -> Condition {
        Filter::should([
            below(self.high, high(number)),
            Filter::must([equal(self.high, high(number)), below(self.low, low(number))]).into(),
        ])
        .into()
    }

    /// What is stored is higher than `number`.
    pub(crate) fn is_above(&self, number: u64) -> Condition {
        Filter::should([
            above(self.high, high(number)),
            Filter::must([equal(self.high, high(number)), above(self.low, low(number))]).into(),
        ])
        .into()
    }

    /// What is stored is `number`.
    pub(crate) fn is(&self, number: u64) -> Condition {
        Filter::must([equal(self.high, high(number)), equal(self.low, low(number))]).into()
    }

    /// What is stored is `number` or lower.
    pub(crate) fn is_at_most(&self, number: u64) -> Condition {
        Filter::should([self.is_below(number), self.is(number)]).into()
    }
}
