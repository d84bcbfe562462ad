//! One record of a run: a line of a page's file in `docs/results`.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::cargo::root;

/// Whether a record is of a run that finished.
pub(super) fn is_result(record: &Value) -> bool {
    record.get("error").is_none()
}

/// The epochs of a run together with those of the run that it starts from, where a row counts
/// these.
pub(super) fn total_epochs(record: &Value) -> Option<u64> {
    record["total_epochs"]
        .as_u64()
        .or_else(|| record["epochs"].as_u64())
}

/// The folder of pages and records.
pub(super) fn folder(aside: Option<&Path>) -> PathBuf {
    aside.map_or_else(|| root().join("docs/results"), Path::to_path_buf)
}
