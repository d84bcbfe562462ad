//! The `s3` command: glue between the command line and the library.
#![forbid(unsafe_code)]

#[macro_use]
mod terminal;
mod cli;

use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// Steps reuse the same large buffers; the system allocator would give each back to the kernel and
/// fault its pages in again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Without a filter in the environment, or with one that is none, errors alone are logged.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("error"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .log_internal_errors(false)
        .init();
    match cli::run() {
        Ok(code) => code,
        Err(e) => {
            note!("error: {}", terminal::one_line(&e));
            ExitCode::FAILURE
        }
    }
}
