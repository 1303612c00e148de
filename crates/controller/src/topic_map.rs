//! A map by topic and something within the topic. Names of topics are long and alike: comparing
//! them once, and numbers from then on, makes a new controller of many partitions several times
//! faster than one map by partition does.

use std::collections::{BTreeMap, btree_map};

use ottla_model::TopicName;

/// See the module. Iterates by topic, then by key, as one map by both does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct TopicMap<K, V>(BTreeMap<TopicName, BTreeMap<K, V>>);

impl<K, V> Default for TopicMap<K, V> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord, V> TopicMap<K, V> {
    pub(crate) fn get(&self, topic: &TopicName, key: &K) -> Option<&V> {
        self.0.get(topic)?.get(key)
    }

    /// Gives the value before.
    pub(crate) fn insert(&mut self, topic: &TopicName, key: K, value: V) -> Option<V> {
        self.entry(topic, key, value, |value, place| {
            Some(std::mem::replace(place, value))
        })
    }

    /// Inserts the value, or lets `merge` put it into the one that is there.
    pub(crate) fn entry<T>(
        &mut self,
        topic: &TopicName,
        key: K,
        value: V,
        merge: impl FnOnce(V, &mut V) -> Option<T>,
    ) -> Option<T> {
        let of_topic = match self.0.get_mut(topic) {
            Some(of_topic) => of_topic,
            None => self.0.entry(topic.clone()).or_default(),
        };
        match of_topic.entry(key) {
            btree_map::Entry::Vacant(vacant) => {
                vacant.insert(value);
                None
            }
            btree_map::Entry::Occupied(occupied) => merge(value, occupied.into_mut()),
        }
    }

    pub(crate) fn remove(&mut self, topic: &TopicName, key: &K) -> Option<V> {
        let of_topic = self.0.get_mut(topic)?;
        let removed = of_topic.remove(key);
        if of_topic.is_empty() {
            self.0.remove(topic);
        }
        removed
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn len(&self) -> usize {
        self.0.values().map(BTreeMap::len).sum()
    }

    pub(crate) fn topics(&self) -> impl Iterator<Item = &TopicName> {
        self.0.keys()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&TopicName, &K, &V)> {
        self.0
            .iter()
            .flat_map(|(topic, values)| values.iter().map(move |(key, value)| (topic, key, value)))
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.0.values().flat_map(BTreeMap::values)
    }

    pub(crate) fn into_values(self) -> impl Iterator<Item = V> {
        self.0.into_values().flat_map(BTreeMap::into_values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_one_map_in_one_order() {
        let (a, b) = (TopicName::from("a"), TopicName::from("b"));
        let mut map = TopicMap::default();
        for (topic, key) in [(&b, 1), (&a, 10), (&a, 2)] {
            assert_eq!(map.insert(topic, key, 0), None);
        }
        assert_eq!(map.insert(&a, 2, 7), Some(0));
        let merged = map.entry(&a, 2, 1, |value, place| {
            *place += value;
            Some(*place)
        });
        assert_eq!(merged, Some(8));
        let all: Vec<_> = map.iter().collect();
        assert_eq!(all, [(&a, &2, &8), (&a, &10, &0), (&b, &1, &0)]);
        assert_eq!(map.len(), 3);
        assert_eq!(map.remove(&b, &1), Some(0));
        assert_eq!(map.remove(&b, &1), None);
        assert_eq!(map.topics().collect::<Vec<_>>(), [&a]);
    }
}
