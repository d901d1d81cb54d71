//! What only one overlay may have.

use std::collections::BTreeMap;

use super::document::Place;

/// Who had what first.
pub(super) struct Unique<'a, K>(BTreeMap<K, Place<'a>>);

impl<K> Default for Unique<'_, K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<'a, K: Ord> Unique<'a, K> {
    /// Takes `key`, or reports at `place` that it is taken, and where.
    pub(super) fn claim(&mut self, key: K, place: Place<'a>, message: impl FnOnce() -> String) {
        match self.0.get(&key) {
            Some(first) => place.fail(message(), format!("the other is in {}", first.location())),
            None => _ = self.0.insert(key, place),
        }
    }

    /// Who has `key`.
    pub(super) fn first<Q: Ord + ?Sized>(&self, key: &Q) -> Option<Place<'a>>
    where
        K: std::borrow::Borrow<Q>,
    {
        self.0.get(key).copied()
    }
}
