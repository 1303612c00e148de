//! The process, under the names that every Prometheus client gives. What the system does not tell
//! is left out.

use std::fs;

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::page::Page;

/// Writes what the system knows of this process, which began at `start_ms` of wall time.
pub(super) fn write(page: &mut Page, start_ms: i64) {
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    page.counter("process_cpu_seconds_total", "Processor time.")
        .value(cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9);
    page.gauge(
        "process_start_time_seconds",
        "When the process began, since 1970.",
    )
    .value(start_ms as f64 / 1e3);
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    if let Some(bytes) = kilobytes(&status, "VmRSS:") {
        page.gauge("process_resident_memory_bytes", "Memory in use.")
            .value(bytes);
    }
    if let Some(bytes) = kilobytes(&status, "VmSize:") {
        page.gauge("process_virtual_memory_bytes", "Memory that is mapped.")
            .value(bytes);
    }
    if let Ok(files) = fs::read_dir("/proc/self/fd") {
        page.gauge("process_open_fds", "Open files.")
            .value(files.count());
    }
    if let Some(most) = getrlimit(Resource::Nofile).current {
        page.gauge("process_max_fds", "Files that may be open.")
            .value(most);
    }
}

/// A line such as `VmRSS:     1234 kB`, in bytes.
fn kilobytes(status: &str, key: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    let number = line.trim().strip_suffix("kB")?.trim();
    number.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_the_systems_words() {
        let status = "Name:\tottla\nVmSize:\t  2048 kB\nVmRSS:\t    12 kB\n";
        assert_eq!(kilobytes(status, "VmRSS:"), Some(12 * 1024));
        assert_eq!(kilobytes(status, "VmSize:"), Some(2048 * 1024));
        assert_eq!(kilobytes(status, "VmSwap:"), None);
        assert_eq!(kilobytes("VmRSS: many kB", "VmRSS:"), None);
    }
}
