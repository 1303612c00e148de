//! Where time and randomness enter the broker: deciding crates only ever see the values.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ottla_model::{Instant, Timestamp};

/// Monotonic and wall time of this process.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: std::time::Instant,
}

impl Clock {
    /// A clock whose monotonic time starts now.
    pub fn start() -> Self {
        Self {
            start: std::time::Instant::now(),
        }
    }

    /// Monotonic time since the start of the process.
    pub fn now(&self) -> Instant {
        Instant(self.start.elapsed())
    }

    /// Wall time in milliseconds; a clock before 1970 reads as 0.
    pub fn wall(&self) -> Timestamp {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        Timestamp(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
    }

    /// The moment of tokio's clock at which monotonic time reaches `deadline`.
    pub fn tokio_deadline(&self, deadline: Instant) -> tokio::time::Instant {
        tokio::time::Instant::from_std(self.start + deadline.0)
    }
}

/// Random bytes from the operating system.
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // Without the kernel's generator nothing that must be unguessable or unique can be made.
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

/// A random number from the operating system.
pub fn random_u64() -> u64 {
    u64::from_le_bytes(random_bytes())
}
