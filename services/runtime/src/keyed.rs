//! One piece of work at a time for each key, within a process.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::OwnedMutexGuard;

/// A lock for each key. It holds as many as there are guards and waiters, at most.
#[derive(Debug)]
pub struct KeyedMutex<K>(Mutex<HashMap<K, Weak<tokio::sync::Mutex<()>>>>);

impl<K> Default for KeyedMutex<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash + Clone> KeyedMutex<K> {
    /// Waits until no one else holds `key`; until the guard is dropped no one else does.
    pub async fn lock(&self, key: &K) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            turns.retain(|_, turn| turn.strong_count() > 0);
            let present = turns.get(key).and_then(Weak::upgrade);
            present.unwrap_or_else(|| {
                let turn = Arc::default();
                turns.insert(key.clone(), Arc::downgrade(&turn));
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
        let turns = KeyedMutex::default();
        let first = turns.lock(&"kettle").await;
        let beside = turns.lock(&"lamp").await;
        let wait = Duration::from_millis(50);
        let second = tokio::time::timeout(wait, turns.lock(&"kettle")).await;
        assert!(second.is_err());
        drop((first, beside));
        let second = tokio::time::timeout(wait, turns.lock(&"kettle")).await;
        assert!(second.is_ok());
        let left = turns.0.lock().expect("no panic before").len();
        assert_eq!(left, 1);
    }
}
