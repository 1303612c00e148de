//! Runs seeds: `soak [first [last]]`, on and on without a last one. `OTTLA_TRACE=1` shows traces,
//! together with what the code under test logs (`RUST_LOG`).

use std::process::ExitCode;

use ottla_simulator::run_seed;

fn main() -> ExitCode {
    let numbers: Result<Vec<u64>, _> = std::env::args().skip(1).map(|a| a.parse()).collect();
    let Ok(numbers) = numbers else {
        eprintln!("usage: soak [first [last]]");
        return ExitCode::FAILURE;
    };
    let first = numbers.first().copied().unwrap_or(0);
    let last = numbers.get(1).copied().unwrap_or(u64::MAX);
    let prints = std::env::var_os("OTTLA_TRACE").is_some();
    if prints {
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .without_time()
            .with_ansi(false)
            .with_writer(std::io::stderr)
            .init();
    }
    let mut failed = 0_u64;
    for seed in first..=last {
        match run_seed(seed, prints) {
            Ok(summary) => eprintln!("seed {seed}: {summary:?}"),
            Err(failure) => {
                eprintln!("{failure}");
                failed += 1;
            }
        }
    }
    eprintln!(
        "{failed} of {} seeds failed",
        (last - first).saturating_add(1)
    );
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
