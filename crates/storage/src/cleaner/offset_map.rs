//! Where the last record of each key lies, in bounded memory (`SkimpyOffsetMap`).

use md5::{Digest, Md5};
use ottla_model::Offset;

/// Bytes of one slot: the MD5 of a key, and an offset.
const SLOT_BYTES: u64 = 24;
/// Slots of an empty map; it doubles as it fills.
const SLOTS_MIN: usize = 1024;

/// The hash of a key in two words, and its offset + 1; an offset word of 0 is a free slot.
type Slot = [u64; 3];

/// Keys, known by their MD5 only, with the last offset of each. Two keys of the same MD5 count as
/// one, as in Kafka: nobody has met such a pair by chance.
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

    /// Remembers that a record of this key is at an offset; whether there was room for the key.
    /// As in Kafka a full map takes nothing more, not even a known key.
    pub fn put(&mut self, key: &[u8], offset: Offset) -> bool {
        if self.keys >= self.keys_max {
            return false;
        }
        if self.keys * 4 >= self.slots.len() * 3 && self.slots.len() < self.slots_max {
            self.grow();
        }
        let [first, second] = hash(key);
        let at = self.find(first, second);
        if self.slots[at][2] == 0 {
            self.keys += 1;
        }
        self.slots[at] = [first, second, to_word(offset)];
        self.latest_offset = self.latest_offset.max(offset);
        true
    }

    /// The last offset of a key.
    pub fn get(&self, key: &[u8]) -> Option<Offset> {
        let [first, second] = hash(key);
        let word = self.slots[self.find(first, second)][2];
        word.checked_sub(1).map(|offset| offset as Offset)
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
        let mut at = (first % self.slots.len() as u64) as usize;
        while self.slots[at][2] != 0 && (self.slots[at][0], self.slots[at][1]) != (first, second) {
            at = (at + 1) % self.slots.len();
        }
        at
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

fn hash(key: &[u8]) -> [u64; 2] {
    let digest: [u8; 16] = Md5::digest(key).into();
    let value = u128::from_be_bytes(digest);
    [(value >> 64) as u64, value as u64]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_md5() {
        assert_eq!(hash(b"abc"), [0x9001_5098_3cd2_4fb0, 0xd696_3f7d_28e1_7f72]);
    }

    #[test]
    fn the_last_offset_of_each_key_is_kept_while_the_map_grows() {
        let mut map = OffsetMap::new(SLOT_BYTES * 20_000, 0.9);
        for round in 0..2_i64 {
            for key in 0..10_000_i64 {
                assert!(map.put(&key.to_be_bytes(), round * 10_000 + key));
            }
        }
        assert_eq!(map.len(), 10_000);
        assert_eq!(map.latest_offset(), 19_999);
        for key in 0..10_000_i64 {
            assert_eq!(map.get(&key.to_be_bytes()), Some(10_000 + key));
        }
        assert_eq!(map.get(b"other"), None);
        map.clear();
        assert!(map.is_empty());
        assert_eq!(
            (map.get(&0_i64.to_be_bytes()), map.latest_offset()),
            (None, -1)
        );
    }

    #[test]
    fn the_load_factor_bounds_the_keys() {
        for (slots, load_factor, room) in
            [(100, 0.9, 90), (100, 1.0, 99), (10, 0.01, 1), (1, 1.0, 1)]
        {
            let mut map = OffsetMap::new(SLOT_BYTES * slots, load_factor);
            let taken = (0..200_u32).take_while(|key| map.put(&key.to_be_bytes(), 5));
            assert_eq!(taken.count(), room, "{slots} {load_factor}");
        }
    }
}
