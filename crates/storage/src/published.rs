//! The four offsets of a log, published by its one writer to any number of readers.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering, fence};

use ottla_model::Offset;

/// An offset and where its batch lies (`LogOffsetMetadata`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogPosition {
    /// The offset.
    pub offset: Offset,
    /// Base offset of its segment, [`LogPosition::UNKNOWN`] when the place is not known.
    pub segment_base_offset: Offset,
    /// Position in the segment's file.
    pub position: u64,
}

impl LogPosition {
    /// In place of a base offset: not known.
    pub const UNKNOWN: Offset = -1;

    /// An offset whose place is not known.
    pub fn offset_only(offset: Offset) -> Self {
        Self {
            offset,
            segment_base_offset: Self::UNKNOWN,
            position: 0,
        }
    }

    /// Whether the place is known.
    pub fn is_placed(&self) -> bool {
        self.segment_base_offset != Self::UNKNOWN
    }

    /// Whether this lies on an older segment than another position; false if one is not placed.
    pub fn is_on_older_segment_than(&self, other: &Self) -> bool {
        self.is_placed()
            && other.is_placed()
            && self.segment_base_offset < other.segment_base_offset
    }

    /// Bytes from `earlier` to here, when both lie on one segment.
    pub fn bytes_since(&self, earlier: &Self) -> Option<u64> {
        (self.is_placed() && self.segment_base_offset == earlier.segment_base_offset)
            .then(|| self.position.saturating_sub(earlier.position))
    }
}

/// The offsets of a log at one moment (`LogOffsetSnapshot`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogOffsets {
    /// First readable offset.
    pub log_start_offset: Offset,
    /// Exclusive end of what is committed.
    pub high_watermark: LogPosition,
    /// Exclusive end of what a read_committed consumer sees.
    pub last_stable_offset: LogPosition,
    /// The offset that the next record gets.
    pub log_end_offset: LogPosition,
}

const WORDS: usize = 10;

/// A sequence lock over [`LogOffsets`]: readers retry while the writer is in the middle.
#[derive(Debug)]
pub(crate) struct Published {
    version: AtomicU64,
    words: [AtomicI64; WORDS],
}

impl Published {
    pub(crate) fn new(offsets: &LogOffsets) -> Self {
        Self {
            version: AtomicU64::new(0),
            words: to_words(offsets).map(AtomicI64::new),
        }
    }

    /// Only the log's one writer calls this.
    pub(crate) fn store(&self, offsets: &LogOffsets) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        for (slot, word) in self.words.iter().zip(to_words(offsets)) {
            slot.store(word, Ordering::Relaxed);
        }
        self.version.store(version + 2, Ordering::Release);
    }

    pub(crate) fn load(&self) -> LogOffsets {
        loop {
            let before = self.version.load(Ordering::Acquire);
            let words = std::array::from_fn(|index| self.words[index].load(Ordering::Relaxed));
            fence(Ordering::Acquire);
            if before.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == before {
                return from_words(&words);
            }
            std::hint::spin_loop();
        }
    }
}

fn to_words(offsets: &LogOffsets) -> [i64; WORDS] {
    let [a, b, c] = [
        offsets.high_watermark,
        offsets.last_stable_offset,
        offsets.log_end_offset,
    ]
    .map(|at| [at.offset, at.segment_base_offset, at.position as i64]);
    [
        offsets.log_start_offset,
        a[0],
        a[1],
        a[2],
        b[0],
        b[1],
        b[2],
        c[0],
        c[1],
        c[2],
    ]
}

fn from_words(words: &[i64; WORDS]) -> LogOffsets {
    let at = |first: usize| LogPosition {
        offset: words[first],
        segment_base_offset: words[first + 1],
        position: words[first + 2] as u64,
    };
    LogOffsets {
        log_start_offset: words[0],
        high_watermark: at(1),
        last_stable_offset: at(4),
        log_end_offset: at(7),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(offset: Offset) -> LogOffsets {
        let at = LogPosition {
            offset,
            segment_base_offset: offset,
            position: offset as u64,
        };
        LogOffsets {
            log_start_offset: offset,
            high_watermark: at,
            last_stable_offset: at,
            log_end_offset: at,
        }
    }

    #[test]
    fn readers_never_see_half_of_a_change() {
        let published = Published::new(&all(0));
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut last = 0;
                    while last < 20_000 {
                        let seen = published.load();
                        assert_eq!(seen, all(seen.log_start_offset));
                        assert!(seen.log_start_offset >= last);
                        last = seen.log_start_offset;
                    }
                });
            }
            for offset in 1..=20_000 {
                published.store(&all(offset));
            }
        });
    }
}
