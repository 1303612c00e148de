//! What happened, as a hash and as its last lines.

use std::collections::VecDeque;
use std::fmt::{self, Write};

use ottla_model::Instant;

/// How many lines a failure shows.
const LINES_KEPT: usize = 400;

/// Every line that is noted goes into the hash (FNV-1a); two runs of one seed have the same.
#[derive(Debug)]
pub(crate) struct Trace {
    hash: u64,
    kept: VecDeque<String>,
    line: String,
    prints: bool,
}

impl Trace {
    /// An empty trace; one that `prints` shows its lines on standard error at once.
    pub(crate) fn new(prints: bool) -> Self {
        Self {
            hash: 0xcbf2_9ce4_8422_2325,
            kept: VecDeque::new(),
            line: String::new(),
            prints,
        }
    }

    pub(crate) fn note(&mut self, now: Instant, what: fmt::Arguments<'_>) {
        let mut line = std::mem::take(&mut self.line);
        line.clear();
        let micros = now.0.as_micros();
        // Writing to a string cannot fail.
        _ = write!(line, "{:>6}.{:06} ", micros / 1_000_000, micros % 1_000_000);
        _ = line.write_fmt(what);
        for byte in line.bytes().chain([b'\n']) {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if self.prints {
            eprintln!("{line}");
        }
        self.kept.push_back(line);
        if self.kept.len() > LINES_KEPT {
            self.line = self.kept.pop_front().unwrap_or_default();
        }
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn last_lines(&self) -> Vec<String> {
        self.kept.iter().cloned().collect()
    }
}
