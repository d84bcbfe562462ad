//! Where each value lies in the one array that all of them share, and what is free beside them.

use s3_kernels::model::{Frozen, Graph, Op, Size};

/// The first byte of each value, the first free byte of each node, and bytes in all.
pub(super) struct Plan {
    first: Vec<usize>,
    free: Vec<usize>,
    pub(super) len: usize,
}

/// Bytes of a word: what a node writes beside the values begins at one.
const WORD: usize = 4;

impl Plan {
    /// Values are placed in the order in which they are made, each at the lowest address where none
    /// lies that is still to be read; a sum that is the last to read what is added takes its place.
    /// The image and the scores lie elsewhere. Node `i` writes at least `beside[i]` bytes more.
    pub(super) fn new(graph: &Graph<Frozen>, sizes: &[Size], beside: &[usize]) -> Plan {
        let last_reads = graph.last_reads();
        let (mut first, mut free) = (vec![0; sizes.len()], Vec::new());
        let mut len = 0;
        for (index, node) in graph.nodes.iter().enumerate() {
            let value = index + 1;
            let mut taken: Vec<(usize, usize)> = (1..value)
                .filter(|&other| last_reads[other] >= index)
                .map(|other| (first[other], first[other] + sizes[other].len()))
                .collect();
            taken.sort_unstable();
            let mut end = taken.iter().map(|&(_, end)| end).max().unwrap_or(0);
            // The scores of the last node lie elsewhere.
            if value < graph.nodes.len() {
                let replaced = match &node.op {
                    Op::Layer(layer) => layer.add,
                    _ => None,
                };
                let replaced = replaced.filter(|&other| {
                    other > 0 && other != node.input() && last_reads[other] == index
                });
                first[value] = match replaced {
                    Some(other) => first[other],
                    None => gap(&taken, sizes[value].len()),
                };
                end = end.max(first[value] + sizes[value].len());
            }
            let at = end.next_multiple_of(WORD);
            free.push(at);
            len = len.max(end).max(match beside[index] {
                0 => 0,
                bytes => at + bytes,
            });
        }
        Plan { first, free, len }
    }

    /// A value that a node has made, in C.
    pub(super) fn address(&self, value: usize) -> String {
        self.address_of(value, 0)
    }

    /// Byte `first` of it.
    pub(super) fn address_of(&self, value: usize, first: usize) -> String {
        format!("s3_values + {}", self.first[value] + first)
    }

    /// Where node `index` may write beside the values that it reads, makes or leaves.
    pub(super) fn scratch(&self, index: usize) -> String {
        format!("s3_values + {}", self.free[index])
    }

    /// Bytes that are free there.
    pub(super) fn room(&self, index: usize) -> usize {
        self.len - self.free[index]
    }
}

/// The lowest address where `len` bytes lie between those that are taken, which are sorted.
fn gap(taken: &[(usize, usize)], len: usize) -> usize {
    let mut at = 0;
    for &(start, end) in taken {
        if at + len <= start {
            break;
        }
        at = at.max(end);
    }
    at
}
