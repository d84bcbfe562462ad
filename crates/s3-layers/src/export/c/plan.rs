//! Where each value lies in the one array that all of them share.

use s3_kernels::model::{Graph, Size};

/// The first byte of each value, and bytes in all.
pub(super) struct Plan {
    first: Vec<usize>,
    pub(super) len: usize,
}

impl Plan {
    /// Values are placed in the order in which they are made, each at the lowest address where none
    /// lies that is still to be read. The image and the scores lie elsewhere.
    pub(super) fn new<L>(graph: &Graph<L>, sizes: &[Size]) -> Plan {
        let last_reads = graph.last_reads();
        let mut first = vec![0; sizes.len()];
        let mut len = 0;
        for index in 0..graph.nodes.len().saturating_sub(1) {
            let value = index + 1;
            let mut taken: Vec<(usize, usize)> = (1..value)
                .filter(|&other| last_reads[other] >= index)
                .map(|other| (first[other], first[other] + sizes[other].len()))
                .collect();
            taken.sort_unstable();
            let mut at = 0;
            for (start, end) in taken {
                if at + sizes[value].len() <= start {
                    break;
                }
                at = at.max(end);
            }
            first[value] = at;
            len = len.max(at + sizes[value].len());
        }
        Plan { first, len }
    }

    /// A value that a node has made, in C.
    pub(super) fn address(&self, value: usize) -> String {
        self.address_of(value, 0)
    }

    /// Byte `first` of it.
    pub(super) fn address_of(&self, value: usize, first: usize) -> String {
        format!("s3_values + {}", self.first[value] + first)
    }
}
