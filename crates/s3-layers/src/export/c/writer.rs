//! The file while it is written: what its parts so far have come to.

use std::collections::BTreeSet;

use s3_kernels::model::{Network, Size};

use super::plan::Plan;

/// The file while it is written, node by node.
pub(super) struct Writer<'a> {
    pub(super) network: &'a Network,
    pub(super) plan: Plan,
    pub(super) sizes: &'a [Size],
    /// The number that stands for 0 in every value.
    pub(super) zeros: Vec<u8>,
    /// Whether a layer has more than one.
    pub(super) has_groups: bool,
    /// The functions that `run` calls.
    pub(super) called: BTreeSet<&'static str>,
    /// The constants of the layers.
    pub(super) tables: String,
    /// The calls of `run`.
    pub(super) steps: String,
    pub(super) most_taps: usize,
    pub(super) most_columns: usize,
    pub(super) last_tap: usize,
    pub(super) scratch: usize,
}
