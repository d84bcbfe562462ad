//! The `s3` command: glue between the command line and the library.
#![forbid(unsafe_code)]
#![expect(clippy::print_stderr, reason = "a command talks to its user")]

/// A line on standard output. A reader that went away, or a full disk behind a redirection, ends
/// no training.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($text)*);
    }};
}

mod cli;

use std::process::ExitCode;

/// Steps reuse the same large buffers; the system allocator would give each back to the kernel and
/// fault its pages in again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    match cli::run() {
        Ok(code) => code,
        Err(e) => {
            eprintln!("error: {}", one_line(&e));
            ExitCode::FAILURE
        }
    }
}

/// Of each cause its first line, which leaves out backtraces.
fn one_line(error: &anyhow::Error) -> String {
    let first = |c: &(dyn std::error::Error + 'static)| {
        c.to_string().lines().next().unwrap_or_default().to_string()
    };
    let mut causes: Vec<String> = error.chain().map(first).collect();
    causes.dedup();
    causes.join(": ")
}
