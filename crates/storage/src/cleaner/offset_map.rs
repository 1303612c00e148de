//! Where the last record of each key lies, in bounded memory (`SkimpyOffsetMap`).

use ottla_model::Offset;
use siphasher::sip128::SipHasher24;

/// Bytes of one slot: the hash of a key, and an offset.
const SLOT_BYTES: u64 = 24;
/// Slots of an empty map; it doubles as it fills.
const SLOTS_MIN: usize = 1024;

/// A key's hash, in two words.
#[derive(Debug, Clone, Copy)]
pub struct KeyHash([u64; 2]);

/// The hash of a key in two words, and its offset + 1; an offset word of 0 is a free slot.
type Slot = [u64; 3];

/// Keys, known by a hash of 128 bits only, with the last offset of each. Two keys of the same hash
/// count as one, as in Kafka: nobody meets such a pair by chance. Kafka's hash is MD5, for which pairs
/// can be made; SipHash-2-4 has none that are known, and costs a tenth for a short key.
#[derive(Debug)]
pub struct OffsetMap {
    slots: Vec<Slot>,
    slots_max: usize,
    keys_max: usize,
    keys: usize,
    latest_offset: Offset,
}

impl OffsetMap {
    /// A map of at most `memory` bytes, of whose slots a share of `load_factor` may be used.
    pub fn new(memory: u64, load_factor: f64) -> Self {
        let slots_max = usize::try_from(memory / SLOT_BYTES)
            .unwrap_or(usize::MAX)
            .max(1);
        // One slot stays free, so that every search ends.
        let keys_max = (slots_max as f64 * load_factor.clamp(0.0, 1.0)) as usize;
        Self {
            slots: vec![[0; 3]; slots_max.min(SLOTS_MIN)],
            slots_max,
            keys_max: keys_max.clamp(1, slots_max.max(2) - 1),
            keys: 0,
            latest_offset: -1,
        }
    }

    /// Forgets everything and gives the memory back.
    pub fn clear(&mut self) {
        self.slots = vec![[0; 3]; self.slots_max.min(SLOTS_MIN)];
        self.keys = 0;
        self.latest_offset = -1;
    }

    /// Remembers that the records of these keys are at these offsets, in their order; whether there
    /// was room for all. As in Kafka a full map takes nothing more, not even a known key.
    pub fn put_all(&mut self, records: &[(KeyHash, Offset)]) -> bool {
        self.bring_near(records.iter().map(|(key, _)| *key));
        records
            .iter()
            .all(|(key, offset)| self.put_hash(*key, *offset))
    }

    fn put_hash(&mut self, key: KeyHash, offset: Offset) -> bool {
        if self.keys >= self.keys_max {
            return false;
        }
        if self.keys * 4 >= self.slots.len() * 3 && self.slots.len() < self.slots_max {
            self.grow();
        }
        let KeyHash([first, second]) = key;
        let at = self.find(first, second);
        if self.slots[at][2] == 0 {
            self.keys += 1;
        }
        self.slots[at] = [first, second, to_word(offset)];
        self.latest_offset = self.latest_offset.max(offset);
        true
    }

    /// The last offset of a key.
    pub fn get(&self, key: KeyHash) -> Option<Offset> {
        let KeyHash([first, second]) = key;
        let word = self.slots[self.find(first, second)][2];
        word.checked_sub(1).map(|offset| offset as Offset)
    }

    /// Loads the slots of keys that are looked up next. Each is somewhere else in a memory that no
    /// cache holds: loads that do not depend on each other are waited for together.
    pub fn bring_near(&self, keys: impl IntoIterator<Item = KeyHash>) {
        let mut seen = 0;
        for KeyHash([first, _]) in keys {
            seen ^= self.slots[self.home(first)][2];
        }
        std::hint::black_box(seen);
    }

    /// The share of its slots, of 1, that keys take.
    pub fn utilization(&self) -> f64 {
        self.keys as f64 / self.slots_max as f64
    }

    /// Records up to here were looked at; −1 before any.
    pub fn latest_offset(&self) -> Offset {
        self.latest_offset
    }

    /// Everything up to an offset was looked at.
    pub fn update_latest_offset(&mut self, offset: Offset) {
        self.latest_offset = self.latest_offset.max(offset);
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.keys
    }

    /// Whether it knows no key.
    pub fn is_empty(&self) -> bool {
        self.keys == 0
    }

    /// The slot of a key, or the free one where it belongs. Fewer keys than slots: it ends.
    fn find(&self, first: u64, second: u64) -> usize {
        let mut at = self.home(first);
        while self.slots[at][2] != 0 && (self.slots[at][0], self.slots[at][1]) != (first, second) {
            at += 1;
            if at == self.slots.len() {
                at = 0;
            }
        }
        at
    }

    /// Where a search begins: the high word of the product is as even as a remainder, without the
    /// division.
    fn home(&self, first: u64) -> usize {
        let product = u128::from(first) * self.slots.len() as u128;
        (product >> 64) as usize
    }

    fn grow(&mut self) {
        let length = self.slots.len().saturating_mul(2).min(self.slots_max);
        let old = std::mem::replace(&mut self.slots, vec![[0; 3]; length]);
        for slot in old.into_iter().filter(|slot| slot[2] != 0) {
            let at = self.find(slot[0], slot[1]);
            self.slots[at] = slot;
        }
    }
}

fn to_word(offset: Offset) -> u64 {
    offset.max(0) as u64 + 1
}

impl KeyHash {
    /// The hash of a key.
    pub fn of(key: &[u8]) -> Self {
        let hash = SipHasher24::new().hash(key);
        Self([hash.h1, hash.h2])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_has_128_bits_and_tells_near_keys_apart() {
        let mut seen = std::collections::BTreeSet::new();
        for key in 0..10_000_u32 {
            let KeyHash([first, second]) = KeyHash::of(&key.to_be_bytes());
            assert_ne!(first, second);
            assert!(seen.insert(first) && seen.insert(second), "{key}");
        }
        assert_ne!(KeyHash::of(b"").0, KeyHash::of(b"\0").0);
    }

    #[test]
    fn the_last_offset_of_each_key_is_kept_while_the_map_grows() {
        let mut map = OffsetMap::new(SLOT_BYTES * 20_000, 0.9);
        for round in 0..2_i64 {
            for key in 0..10_000_i64 {
                let key_hash = KeyHash::of(&key.to_be_bytes());
                assert!(map.put_all(&[(key_hash, round * 10_000 + key)]));
            }
        }
        assert_eq!(map.len(), 10_000);
        assert_eq!(map.latest_offset(), 19_999);
        for key in 0..10_000_i64 {
            assert_eq!(map.get(KeyHash::of(&key.to_be_bytes())), Some(10_000 + key));
        }
        assert_eq!(map.get(KeyHash::of(b"other")), None);
        map.clear();
        assert!(map.is_empty());
        assert_eq!(
            (
                map.get(KeyHash::of(&0_i64.to_be_bytes())),
                map.latest_offset()
            ),
            (None, -1)
        );
    }

    #[test]
    fn the_load_factor_bounds_the_keys() {
        for (slots, load_factor, room) in
            [(100, 0.9, 90), (100, 1.0, 99), (10, 0.01, 1), (1, 1.0, 1)]
        {
            let mut map = OffsetMap::new(SLOT_BYTES * slots, load_factor);
            let taken =
                (0..200_u32).take_while(|key| map.put_all(&[(KeyHash::of(&key.to_be_bytes()), 5)]));
            assert_eq!(taken.count(), room, "{slots} {load_factor}");
        }
    }
}
