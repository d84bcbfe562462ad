//! Sums and lists over all ranks, from exchanges between two of them.

use super::Ranks;
use anyhow::Result;
use s3_metrics::accuracy::Accuracy;

/// Adds `values` up over all ranks, in the order of one binary tree for every element, and leaves
/// the sum on each: `((r0 + r1) + (r2 + r3)) + ..`.
///
/// Halves, then quarters, .. are exchanged and added with the rank at distance 1, 2, ..; then the
/// sums are passed back the same way (Rabenseifner's all-reduce): twice the values cross, whatever
/// the number of ranks. `MPI_Allreduce` would choose an order of its own.
///
/// # Errors
/// Those of [`Ranks::exchange`]. The number of ranks must be a power of two.
pub fn sum(ranks: &dyn Ranks, values: &mut [f32]) -> Result<()> {
    let (rank, size) = (ranks.rank(), ranks.size());
    let mut whole = 0..values.len();
    let mut halves = Vec::new();
    let mut theirs = vec![0f32; values.len().div_ceil(2)];
    let mut distance = 1;
    while distance < size {
        let middle = whole.start + whole.len() / 2;
        let (low, high) = (whole.start..middle, middle..whole.end);
        let (keep, give) = if rank & distance == 0 {
            (low, high)
        } else {
            (high, low)
        };
        let received = &mut theirs[..keep.len()];
        ranks.exchange(
            rank ^ distance,
            bytemuck::cast_slice(&values[give.clone()]),
            bytemuck::cast_slice_mut(received),
        )?;
        for (mine, other) in values[keep.clone()].iter_mut().zip(received) {
            *mine += *other;
        }
        halves.push((distance, keep.clone(), give));
        whole = keep;
        distance *= 2;
    }
    while let Some((distance, kept, given)) = halves.pop() {
        let received = &mut theirs[..given.len()];
        ranks.exchange(
            rank ^ distance,
            bytemuck::cast_slice(&values[kept]),
            bytemuck::cast_slice_mut(received),
        )?;
        values[given].copy_from_slice(received);
    }
    Ok(())
}

/// The numbers of all ranks, one rank's after the other's; each gives as many. A rank that returns
/// knows that all others have called.
///
/// # Errors
/// As [`sum`].
pub fn gather(ranks: &dyn Ranks, mine: &[f64]) -> Result<Vec<f64>> {
    let (rank, size) = (ranks.rank(), ranks.size());
    let mut all = mine.to_vec();
    let mut distance = 1;
    while distance < size {
        let mut other = vec![0f64; all.len()];
        ranks.exchange(
            rank ^ distance,
            bytemuck::cast_slice(&all),
            bytemuck::cast_slice_mut(&mut other),
        )?;
        let upper = rank & distance != 0;
        let (low, high) = if upper { (other, all) } else { (all, other) };
        all = [low, high].concat();
        distance *= 2;
    }
    Ok(all)
}

/// The sums of all ranks' batches, one rank's after the other's; each gives as many.
///
/// # Errors
/// As [`sum`].
pub fn gather_accuracies(ranks: &dyn Ranks, mine: &[Accuracy]) -> Result<Vec<Accuracy>> {
    let numbers = |a: &Accuracy| [a.loss_sum, a.correct1 as f64, a.correct5 as f64, a.n as f64];
    let mine: Vec<f64> = mine.iter().flat_map(numbers).collect();
    let all = gather(ranks, &mine)?;
    let accuracy = |v: &[f64]| Accuracy {
        loss_sum: v[0],
        correct1: v[1] as u64,
        correct5: v[2] as u64,
        n: v[3] as u64,
    };
    Ok(all.chunks_exact(4).map(accuracy).collect())
}

/// The lower part of the tree: a rank's own micro-batches, added pair by pair as they come.
///
/// ```
/// use s3_train::ranks::collective::TreeSum;
/// let mut tree = TreeSum::default();
/// for x in [1e8f32, 1., -1e8, 1.] {
///     tree.add(vec![x]);
/// }
/// // (1e8 + 1) + (-1e8 + 1), and not ((1e8 + 1) - 1e8) + 1.
/// assert_eq!(tree.total(), [0.]);
/// ```
#[derive(Debug, Default)]
pub struct TreeSum {
    /// Subtrees that wait for their right neighbour: the number of their leaves, their sum.
    waiting: Vec<(usize, Vec<f32>)>,
}

impl TreeSum {
    /// Adds the next leaf; all have the same length.
    pub fn add(&mut self, leaf: Vec<f32>) {
        let (mut leaves, mut right) = (1, leaf);
        while let Some((n, mut left)) = self.waiting.pop_if(|(n, _)| *n == leaves) {
            for (l, r) in left.iter_mut().zip(&right) {
                *l += *r;
            }
            (leaves, right) = (leaves + n, left);
        }
        self.waiting.push((leaves, right));
    }

    /// The sum of a power of two of leaves (empty without one).
    pub fn total(mut self) -> Vec<f32> {
        self.waiting.pop().map(|(_, sum)| sum).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Alone, Threads};
    use super::*;

    /// What every rank of `size` computes.
    fn on_ranks<T: Send>(size: usize, f: impl Fn(&dyn Ranks) -> Result<T> + Sync) -> Vec<T> {
        let ranks = Threads::new(size);
        std::thread::scope(|scope| {
            let f = &f;
            let each = ranks.iter().map(|r| scope.spawn(move || f(r)));
            let each: Vec<_> = each.collect();
            each.into_iter()
                .map(|t| t.join().expect("no panic").expect("a result"))
                .collect()
        })
    }

    /// Numbers whose sum depends on the order.
    fn leaf(i: usize, n: usize) -> Vec<f32> {
        let value = |j: usize| ((i * 7919 + j * 104_729) % 1009) as f32 * 1.37e-3 - 0.7;
        (0..n).map(value).collect()
    }

    #[test]
    fn any_number_of_ranks_adds_the_same_tree_to_the_last_bit() {
        const LEAVES: usize = 8;
        for n in [0, 1, 2, 3, 1000, 1001] {
            let mut whole = TreeSum::default();
            (0..LEAVES).for_each(|i| whole.add(leaf(i, n)));
            let whole = whole.total();
            let in_a_row = (1..LEAVES).fold(leaf(0, n), |sum, i| {
                sum.iter().zip(leaf(i, n)).map(|(a, b)| a + b).collect()
            });
            assert!(n < 1000 || whole != in_a_row, "the order must matter here");
            for size in [1, 2, 4, 8] {
                let sums = on_ranks(size, |ranks| {
                    let mut tree = TreeSum::default();
                    let each = LEAVES / size;
                    (0..each).for_each(|k| tree.add(leaf(ranks.rank() * each + k, n)));
                    let mut total = tree.total();
                    sum(ranks, &mut total)?;
                    Ok(total)
                });
                for total in sums {
                    assert_eq!(total, whole, "{size} ranks, {n} values");
                }
            }
        }
    }

    #[test]
    fn gathered_numbers_come_in_the_order_of_the_ranks() -> Result<()> {
        for size in [1, 2, 4, 8] {
            let want: Vec<f64> = (0..2 * size).map(|i| i as f64).collect();
            let lists = on_ranks(size, |ranks| {
                let first = 2.0 * ranks.rank() as f64;
                gather(ranks, &[first, first + 1.0])
            });
            assert!(lists.iter().all(|list| *list == want), "{lists:?}");
        }
        assert_eq!(gather(&Alone, &[3.0])?, [3.0]);
        Ok(())
    }
}
