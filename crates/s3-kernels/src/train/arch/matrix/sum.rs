//! A sum of products of tiles: a list of where they begin.

use core::marker::PhantomData;
use core::mem::MaybeUninit;

use crate::train::scratch::Block;
use crate::train::simd::LANES;

/// Rows and pairs of a full tile.
pub(in crate::train) const FULL: usize = 16;

/// Steps that a list holds; a longer sum goes on where `c` was stored.
pub(super) const MOST_STEPS: usize = 64;

/// The tile registers of this thread, and proof that it has them.
pub(in crate::train) struct Registers {
    pub(super) configured: Shape,
    /// The registers are the thread's.
    pub(super) stays: PhantomData<*mut ()>,
}

/// Rows of the tiles of `a`, and pairs that are summed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) rows: [usize; 2],
    pub(super) depth: usize,
}

/// Where the tiles of a step begin: `A` of `a`, then `B` of `b`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Step<const A: usize, const B: usize> {
    a: [*const f32; A],
    b: [*const Block; B],
}

/// A sum of products of tiles: `A` tiles of `a` with `B` of `b`, each with each.
pub(in crate::train) struct Sum<'a, const A: usize, const B: usize> {
    pub(super) shape: Shape,
    /// Blocks from a row of `a` to the next.
    pub(super) row_step: usize,
    /// The first `count` are there.
    pub(super) steps: [MaybeUninit<Step<A, B>>; MOST_STEPS],
    pub(super) count: usize,
    operands: PhantomData<&'a [Block]>,
}

impl<'a, const A: usize, const B: usize> Sum<'a, A, B> {
    /// Of nothing yet. Tile `i` of `a` has `rows[i]` rows, `row_step` blocks apart, of `depth`
    /// pairs.
    ///
    /// # Panics
    ///
    /// Where a number of rows or pairs is not one of `1..=16`, or `row_step` takes more
    /// than 24 bits.
    #[inline(always)]
    pub(in crate::train) fn new(rows: [usize; A], row_step: usize, depth: usize) -> Self {
        const { assert!(A >= 1 && A <= 2 && B >= 1 && B <= 2) };
        let fits = |n: usize| (1..=FULL).contains(&n);
        assert!(
            rows.iter().all(|&r| fits(r)) && fits(depth) && row_step < 1 << 24,
            "tiles of 1 to 16 rows and pairs, rows less than 2^24 blocks apart"
        );
        Sum {
            shape: Shape {
                rows: [rows[0], rows[A - 1]],
                depth,
            },
            row_step,
            steps: [const { MaybeUninit::uninit() }; MOST_STEPS],
            count: 0,
            operands: PhantomData,
        }
    }

    /// Whether no step may be added.
    #[inline(always)]
    pub(in crate::train) fn is_full(&self) -> bool {
        self.count == MOST_STEPS
    }

    /// Adds a step: tile `i` of `a` begins with lane `a[i].1` of `a[i].0`, tile `j` of `b` with
    /// `b[j]`.
    ///
    /// # Panics
    ///
    /// Where a tile ends behind its slice, or the list is full.
    #[inline(always)]
    pub(in crate::train) fn push(&mut self, a: [(&'a [Block], usize); A], b: [&'a [Block]; B]) {
        let mut step = Step {
            a: [core::ptr::null(); A],
            b: [core::ptr::null(); B],
        };
        for (i, (blocks, lane)) in a.into_iter().enumerate() {
            // Lanes to the last row's end, which no sum here may leave the integers.
            let rows = (self.shape.rows[i] - 1).checked_mul(self.row_step * LANES);
            let end = rows.and_then(|rows| rows.checked_add(self.shape.depth)?.checked_add(lane));
            assert!(
                end.is_some_and(|end| end <= blocks.len() * LANES),
                "a tile beyond its rows"
            );
            step.a[i] = blocks.as_ptr().cast::<f32>().wrapping_add(lane);
        }
        for (to, b) in step.b.iter_mut().zip(b) {
            *to = b[..self.shape.depth].as_ptr();
        }
        self.steps[self.count].write(step);
        self.count += 1;
    }
}
