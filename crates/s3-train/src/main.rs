//! The `s3` command.
#![forbid(unsafe_code)]

use s3_train::app::App;
use std::process::ExitCode;

/// Steps reuse the same large buffers; the system allocator would give each back to the kernel and
/// fault its pages in again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    App::new().main()
}
