//! Ctrl-C.

use anyhow::{Context, Result};
use std::sync::atomic::{AtomicBool, Ordering};

/// Set by Ctrl-C.
pub(super) static STOP: AtomicBool = AtomicBool::new(false);

/// The first Ctrl-C ends the run after its step; the second ends the program.
pub(super) fn stop_on_ctrl_c() -> Result<()> {
    ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        note!("\nstopping after this step (Ctrl-C again: at once)");
    })
    .context("installing the Ctrl-C handler")
}
