//! Which buffer each value lies in: planned once, so that a run allocates nothing but its result.

use std::vec;
use std::vec::Vec;

use super::check::Shape;
use super::network::{Network, Op};

/// The buffers of the values between the nodes. The input and the scores have none of these.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The shape of every value.
    pub(crate) shapes: Vec<Shape>,
    /// The buffer of every value; those of the input and the scores are not used.
    pub(crate) slots: Vec<usize>,
    /// Numbers of each buffer, for one image.
    pub(crate) sizes: Vec<usize>,
}

impl Plan {
    /// Gives each value a buffer that no value still to be read lies in: of the free ones, the
    /// smallest that is large enough, else the largest, which then grows.
    pub(crate) fn new(network: &Network, shapes: Vec<Shape>) -> Plan {
        let mut last_use: Vec<usize> = (0..shapes.len()).collect();
        for (index, node) in network.nodes.iter().enumerate() {
            let residual = match &node.op {
                Op::Conv(conv) => conv.residual,
                _ => None,
            };
            for value in [Some(node.input), residual].into_iter().flatten() {
                last_use[value] = index + 1;
            }
        }
        // The values whose buffers are free again when a value is made.
        let mut over = vec![Vec::new(); shapes.len() + 1];
        for (value, &last) in last_use.iter().enumerate().skip(1) {
            over[last + 1].push(value);
        }
        let mut slots = vec![0; shapes.len()];
        let (mut sizes, mut free) = (Vec::<usize>::new(), Vec::<usize>::new());
        for value in 1..shapes.len().saturating_sub(1) {
            let len = shapes[value].len();
            // Node `value - 1` makes it, while values that it reads are still needed.
            free.extend(over[value].iter().map(|&v| slots[v]));
            free.sort_unstable();
            free.dedup();
            let best = (0..free.len()).min_by_key(|&i| {
                let size = sizes[free[i]];
                (
                    size < len,
                    if size < len { usize::MAX - size } else { size },
                )
            });
            slots[value] = match best {
                Some(at) => free.swap_remove(at),
                None => {
                    sizes.push(0);
                    sizes.len() - 1
                }
            };
            let size = &mut sizes[slots[value]];
            *size = len.max(*size);
        }
        Plan {
            shapes,
            slots,
            sizes,
        }
    }
}
