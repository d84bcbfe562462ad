//! Buffers of a run: which one each value lies in, planned once, so that a run allocates nothing
//! but its result.

use std::vec;
use std::vec::Vec;

use super::graph::{Graph, Size};

/// The buffers of the values between the nodes. The input and the scores have none of these.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The size of every value.
    pub(crate) sizes: Vec<Size>,
    /// The number that stands for 0 in every value.
    pub(crate) zeros: Vec<u8>,
    /// The buffer of every value; those of the input and the scores are not used.
    pub(crate) slots: Vec<usize>,
    /// Numbers of each buffer, for one image.
    pub(crate) lengths: Vec<usize>,
}

impl Plan {
    /// Gives each value a buffer that no value still to be read lies in: of the free ones, the
    /// smallest that is large enough, else the largest, which then grows.
    pub(crate) fn new<L>(graph: &Graph<L>, sizes: Vec<Size>, zeros: Vec<u8>) -> Plan {
        // The values whose buffers are free again when a value is made.
        let mut over = vec![Vec::new(); sizes.len() + 2];
        for (value, &last) in graph.last_reads().iter().enumerate().skip(1) {
            over[last + 2].push(value);
        }
        let mut slots = vec![0; sizes.len()];
        let (mut lengths, mut free) = (Vec::<usize>::new(), Vec::<usize>::new());
        for value in 1..sizes.len().saturating_sub(1) {
            let len = sizes[value].len();
            // Node `value - 1` makes it, while values that it reads are still needed.
            free.extend(over[value].iter().map(|&v| slots[v]));
            free.sort_unstable();
            free.dedup();
            let best = (0..free.len()).min_by_key(|&i| {
                let length = lengths[free[i]];
                let is_short = length < len;
                (
                    is_short,
                    if is_short {
                        usize::MAX - length
                    } else {
                        length
                    },
                )
            });
            slots[value] = match best {
                Some(at) => free.swap_remove(at),
                None => {
                    lengths.push(0);
                    lengths.len() - 1
                }
            };
            let length = &mut lengths[slots[value]];
            *length = len.max(*length);
        }
        Plan {
            sizes,
            zeros,
            slots,
            lengths,
        }
    }
}
