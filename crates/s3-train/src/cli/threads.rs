//! How many threads does the program run on?

use anyhow::{Context, Result};
use std::num::NonZero;
use std::thread::available_parallelism;

/// What rayon and candle read their number of threads from.
const VARIABLE: &str = "RAYON_NUM_THREADS";

/// Threads a core, at most: more of them wait for each other longer than they work.
const A_CORE: u64 = 4;

/// Gives rayon and candle the threads that were `asked` for, else those that the environment names,
/// within what this machine has cores for. candle reads its number from the environment only, which
/// a running program cannot change safely, so the program starts itself again with it set.
pub(super) fn choose(asked: Option<u64>) -> Result<()> {
    let found = std::env::var(VARIABLE).ok();
    let named = found.as_deref().and_then(|text| text.parse().ok());
    let Some(wanted) = asked.or(named) else {
        return Ok(());
    };
    let cores = available_parallelism().map_or(1, NonZero::get) as u64;
    let n = within(wanted, cores);
    if found.is_some_and(|found| found == n.to_string()) {
        return Ok(());
    }
    if n < wanted {
        note!("{wanted} threads: more than {A_CORE} for each of {cores} cores, {n} are used");
    }
    start_again(&n.to_string())
}

fn within(wanted: u64, cores: u64) -> u64 {
    wanted.min(A_CORE.saturating_mul(cores))
}

fn start_again(n: &str) -> Result<()> {
    let mut command = std::process::Command::new(std::env::current_exe()?);
    command.args(std::env::args_os().skip(1)).env(VARIABLE, n);
    #[cfg(unix)]
    {
        use std::os::unix::process::CommandExt;
        Err(command.exec()).context("starting again with another number of threads")
    }
    #[cfg(not(unix))]
    {
        let status = command
            .status()
            .context("starting again with another number of threads")?;
        std::process::exit(status.code().unwrap_or(1))
    }
}
