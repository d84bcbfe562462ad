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
    /// The functions that `run` calls.
    pub(super) called: BTreeSet<&'static str>,
    /// The constants of the layers.
    pub(super) tables: String,
    /// The calls of `run`.
    pub(super) steps: String,
    /// Whether a layer's sums become bytes in 32 bits, and whether one's do in 64.
    pub(super) is_narrow: bool,
    pub(super) is_wide: bool,
    /// Whether a layer sees one pixel.
    pub(super) is_one: bool,
    /// Whether there is a layer whose products are summed in pairs, where the processor does; the
    /// bits of such layers' codes, pairs of two outputs, and weights of an output of the others.
    pub(super) is_paired: bool,
    pub(super) paired_bits: BTreeSet<u32>,
    pub(super) most_row: usize,
    pub(super) most_unpaired: usize,
    /// Places of a layer's lists, weights of an output, channels of an image.
    pub(super) most_taps: usize,
    pub(super) most_columns: usize,
    pub(super) most_channels: usize,
    /// The last place in lanes that a weight has.
    pub(super) last_place: usize,
}
