//! One piece of work at a time for one user, within a process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::OwnedMutexGuard;

/// Tenant and user.
pub(crate) type UserKey = (String, String);

/// What is at work. As many entries as there are inputs at work, at most.
#[derive(Debug, Default)]
pub(crate) struct Flights(Mutex<HashMap<UserKey, Weak<tokio::sync::Mutex<()>>>>);

impl Flights {
    /// Waits until no one else works on `key`; until the guard is dropped no one else begins.
    pub(crate) async fn board(&self, key: &UserKey) -> OwnedMutexGuard<()> {
        let turn = {
            let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            flights.retain(|_, turn| turn.strong_count() > 0);
            let present = flights.get(key).and_then(Weak::upgrade);
            present.unwrap_or_else(|| {
                let turn = Arc::default();
                flights.insert(key.clone(), Arc::downgrade(&turn));
                turn
            })
        };
        turn.lock_owned().await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn one_at_a_time_for_a_key_and_no_wait_for_others() {
        let flights = Flights::default();
        let key = ("acme".to_owned(), "mara".to_owned());
        let first = flights.board(&key).await;
        let other = ("acme".to_owned(), "nils".to_owned());
        let beside = flights.board(&other).await;
        let wait = Duration::from_millis(50);
        let second = tokio::time::timeout(wait, flights.board(&key)).await;
        assert!(second.is_err());
        drop((first, beside));
        let second = tokio::time::timeout(wait, flights.board(&key)).await;
        assert!(second.is_ok());
        let left = flights.0.lock().expect("no panic before").len();
        assert_eq!(left, 1);
    }
}
