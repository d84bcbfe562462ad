//! What the kernels of AVX2 and AVX-512 share but for the width of a register: written once, and
//! compiled for each with its own intrinsics.

/// `codes2`, `codes3` and `codes4`: the codes of the eight lines that a step of packed lines stands
/// for, one a byte. Shifts move 16 bits; the masks drop what comes from the neighbouring byte.
macro_rules! step_codes {
    ($feature:literal, $vector:ty, $and:ident, $or:ident, $srli:ident, $set1:ident) => {
        #[inline]
        #[target_feature(enable = $feature)]
        fn codes2([a, b]: [$vector; 2]) -> [$vector; 8] {
            let mask = $set1(3);
            [
                $and(a, mask),
                $and($srli::<2>(a), mask),
                $and($srli::<4>(a), mask),
                $and($srli::<6>(a), mask),
                $and(b, mask),
                $and($srli::<2>(b), mask),
                $and($srli::<4>(b), mask),
                $and($srli::<6>(b), mask),
            ]
        }

        /// Pairs of 3-bit codes; the last pairs are in the top bits of all three lines.
        #[inline]
        #[target_feature(enable = $feature)]
        fn codes3([a, b, c]: [$vector; 3]) -> [$vector; 8] {
            let mask = $set1(7);
            let [low, middle, high] = [0x03, 0x0c, 0x30].map(|bits| $set1(bits));
            let d = $or(
                $and($srli::<6>(a), low),
                $or($and($srli::<4>(b), middle), $and($srli::<2>(c), high)),
            );
            [
                $and(a, mask),
                $and($srli::<3>(a), mask),
                $and(b, mask),
                $and($srli::<3>(b), mask),
                $and(c, mask),
                $and($srli::<3>(c), mask),
                $and(d, mask),
                $and($srli::<3>(d), mask),
            ]
        }

        #[inline]
        #[target_feature(enable = $feature)]
        fn codes4([a, b, c, d]: [$vector; 4]) -> [$vector; 8] {
            let mask = $set1(15);
            [
                $and(a, mask),
                $and($srli::<4>(a), mask),
                $and(b, mask),
                $and($srli::<4>(b), mask),
                $and(c, mask),
                $and($srli::<4>(c), mask),
                $and(d, mask),
                $and($srli::<4>(d), mask),
            ]
        }
    };
}

/// `sized::<R>`: `R` rows of f32 activations times `V` registers of outputs, three `k` at a time,
/// in the order of [`crate::gemm_f32`].
macro_rules! float_rows {
    ($feature:literal, $lanes:literal, $vector:ty, $load:ident, $store:ident, $set1:ident,
     $zero:ident, $mul:ident, $fmadd:ident, $add:ident) => {
        /// The weights of one `k`, or the sums of one row, from `column` on.
        #[inline]
        #[target_feature(enable = $feature)]
        fn load(row: &FloatRow, column: usize) -> [$vector; V] {
            core::array::from_fn(|v| {
                let from = row.0[column + $lanes * v..column + $lanes * v + $lanes].as_ptr();
                // SAFETY: a register of floats begins at `from`, at a multiple of its size in an
                // aligned row.
                unsafe { $load(from) }
            })
        }

        /// # Safety
        ///
        /// The tile has at least `R` rows, each as long as the panel; `column` is a multiple of `V`
        /// registers below 64.
        #[inline]
        #[target_feature(enable = $feature)]
        unsafe fn sized<const R: usize>(tile: &PanelTile<'_>, column: usize, out: &mut [FloatRow]) {
            let x: [*const f32; R] = core::array::from_fn(|r| tile.rows[r].as_ptr());
            let mut sums: [[_; V]; R] = core::array::from_fn(|r| load(&out[r], column));
            let triples = tile.panel.chunks_exact(3);
            let rest = triples.remainder();
            for (i, triple) in triples.enumerate() {
                let w: [_; 3] = core::array::from_fn(|j| load(&triple[j], column));
                for r in 0..R {
                    let x: [$vector; 3] = core::array::from_fn(|j| {
                        // SAFETY: the row is as long as the panel, of which this is element `3 i + j`.
                        $set1(unsafe { *x[r].wrapping_add(3 * i + j) })
                    });
                    for v in 0..V {
                        let t = $mul(x[0], w[0][v]);
                        let t = $fmadd(x[1], w[1][v], t);
                        let t = $fmadd(x[2], w[2][v], t);
                        sums[r][v] = $add(sums[r][v], t);
                    }
                }
            }
            let done = tile.panel.len() - rest.len();
            for (r, sums) in sums.iter_mut().enumerate() {
                let mut t = [$zero(); V];
                for (row, &x) in rest.iter().zip(&tile.rows[r][done..]) {
                    let w = load(row, column);
                    t = core::array::from_fn(|v| $fmadd($set1(x), w[v], t[v]));
                }
                for v in 0..V {
                    let sum = $add(sums[v], t[v]);
                    let to = &mut out[r].0[column + $lanes * v..column + $lanes * v + $lanes];
                    // SAFETY: as in `load`.
                    unsafe { $store(to.as_mut_ptr(), sum) }
                }
            }
        }
    };
}

pub(crate) use {float_rows, step_codes};
