//! Ports that nobody listens on.

use std::fs::File;
use std::net::TcpListener;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Few programs listen there; see [`range`].
const FIRST: u16 = 12_000;
const END: u16 = 32_000;

/// What was given to this process: the next one to try, and the locks of all before.
struct Given {
    next: Option<u16>,
    locks: Vec<File>,
}

static GIVEN: Mutex<Given> = Mutex::new(Given {
    next: None,
    locks: Vec::new(),
});

/// A loopback port that nobody listens on, and that is given neither to anybody else by this
/// function nor by the kernel to an outgoing connection: a broker that is away for a while finds it
/// free when it comes back.
pub fn free_port() -> anyhow::Result<u16> {
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    let range = range();
    let count = range.end - range.start;
    for _ in 0..count {
        let port = given.next.unwrap_or_else(|| {
            // Processes that run side by side begin at different places.
            let place = std::process::id().wrapping_mul(97) % u32::from(count);
            range.start + place as u16
        });
        given.next = Some(if port + 1 < range.end {
            port + 1
        } else {
            range.start
        });
        if let Some(lock) = lock(port)?
            && TcpListener::bind(("127.0.0.1", port)).is_ok()
        {
            given.locks.push(lock);
            return Ok(port);
        }
    }
    anyhow::bail!("no port of {range:?} is free")
}

/// Below the ports of outgoing connections, if there is room.
fn range() -> Range<u16> {
    let file = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let ephemeral = file
        .ok()
        .and_then(|text| text.split_whitespace().next()?.parse().ok())
        .unwrap_or(END);
    if ephemeral > FIRST + 1000 {
        FIRST..ephemeral.min(END)
    } else {
        FIRST..END
    }
}

/// The right to a port until this process ends; `None` if another process has it.
fn lock(port: u16) -> anyhow::Result<Option<File>> {
    let directory = std::env::temp_dir().join("ottla-test-ports");
    std::fs::create_dir_all(&directory)?;
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(directory.join(port.to_string()))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(std::fs::TryLockError::WouldBlock) => Ok(None),
        Err(std::fs::TryLockError::Error(error)) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_given_twice() {
        let mut ports: Vec<u16> = (0..50).map(|_| free_port().unwrap()).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 50);
    }
}
