//! What may a command not write over?

use crate::given::Given;
use crate::run;
use anyhow::{Context, Result};
use std::path::Path;

/// Refuses the file of `option` where it would take the place of what is kept, before any work;
/// `replaces` as [`run::check_output`] has it.
pub(super) fn check_output(option: &str, path: &Path, replaces: &Given) -> Result<()> {
    run::check_output(path, replaces).with_context(|| option.to_owned())
}
