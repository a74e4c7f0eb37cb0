//! Attribution: among a few users who wrote on similar items, does a text lie nearest to the history of
//! the one it was written for? It needs no judge and no wording in common.

/// Whose history a text is nearest to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rank {
    /// Users whose history is nearer than the right one's.
    nearer: usize,
    /// Other users whose history is as near.
    equal: usize,
    /// The right one included.
    users: usize,
}

impl Rank {
    /// Of the first of `distances`, which is the right user's; none of no distances. One that is not
    /// finite counts as farthest.
    pub fn of_first(distances: &[f64]) -> Option<Self> {
        let far = |d: f64| if d.is_finite() { d } else { f64::MAX };
        let (&own, others) = distances.split_first()?;
        let own = far(own);
        Some(Self {
            nearer: others.iter().filter(|d| far(**d) < own).count(),
            equal: others.iter().filter(|d| far(**d) == own).count(),
            users: distances.len(),
        })
    }

    /// Whether it is nearest, 1 or 0; where several are nearest, the share that falls to one of them.
    pub fn top_1(self) -> f64 {
        if self.nearer > 0 {
            return 0.0;
        }
        1.0 / (self.equal + 1) as f64
    }

    /// Reciprocal rank; where several are as near, the mean over their places.
    pub fn reciprocal(self) -> f64 {
        mean_reciprocal(self.nearer + 1, self.nearer + self.equal + 1)
    }

    /// What [`Rank::top_1`] is on average by chance.
    pub fn chance_top_1(self) -> f64 {
        1.0 / self.users as f64
    }

    /// What [`Rank::reciprocal`] is on average by chance.
    pub fn chance_reciprocal(self) -> f64 {
        mean_reciprocal(1, self.users)
    }
}

fn mean_reciprocal(first: usize, last: usize) -> f64 {
    let sum: f64 = (first..=last).map(|place| 1.0 / place as f64).sum();
    sum / (last + 1 - first) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_is_the_first() {
        let rank = Rank::of_first(&[0.1, 0.3, 0.2]).expect("distances");
        assert_eq!((rank.top_1(), rank.reciprocal()), (1.0, 1.0));
        let rank = Rank::of_first(&[0.2, 0.3, 0.1]).expect("distances");
        assert_eq!((rank.top_1(), rank.reciprocal()), (0.0, 0.5));
        let rank = Rank::of_first(&[f64::NAN, 0.3, 0.1]).expect("distances");
        assert_eq!(rank.reciprocal(), 1.0 / 3.0);
        assert_eq!(Rank::of_first(&[]), None);
    }

    #[test]
    fn a_text_that_says_nothing_of_anybody_scores_as_chance_does() {
        let rank = Rank::of_first(&[0.5; 5]).expect("distances");
        assert_eq!(rank.top_1(), rank.chance_top_1());
        assert!((rank.reciprocal() - rank.chance_reciprocal()).abs() < 1e-12);
        assert!((rank.chance_reciprocal() - 0.456_666_666_7).abs() < 1e-9);
    }
}
