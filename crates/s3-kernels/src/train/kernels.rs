//! The large kernels, compiled once for each element.

use super::arch::{Widened, has_pairs, has_tiles};
use super::batch_norm;
use super::batch_norm::saved::{BatchNormGrads, BatchNormSaved, BatchStats};
use super::bf16::Bf16;
use super::conv::{self, Pass, depthwise};
use super::element::Kernels;
use super::peak::pairs_pay;
use super::simd::Operand;
use crate::act::Act;
use crate::error::Error;
use crate::isa::Isa;

macro_rules! compile {
    () => {
        fn depthwise_pass(
            isa: Isa,
            pass: (&depthwise::Pass, bool),
            batch: usize,
            x: &[Self],
            w: &[f32],
            y: &mut [Self],
        ) {
            depthwise::pass(isa, pass, batch, x, w, y);
        }

        fn depthwise_weight_grad(
            isa: Isa,
            pass: &depthwise::Pass,
            batch: usize,
            x: &[Self],
            dy: &[Self],
            dw: &mut [f32],
        ) {
            depthwise::weight_grad(isa, pass, batch, x, dy, dw);
        }

        fn batch_norm_forward(
            isa: Isa,
            x: &[Self],
            residual: Option<&[Self]>,
            affine: [&[f32]; 2],
            eps: f32,
            act: Act,
            y: &mut [Self],
            stats: BatchStats<'_>,
        ) -> Result<(), Error> {
            batch_norm::batch_norm_forward_on(isa, x, residual, affine, eps, act, y, stats)
        }

        fn scale_shift(
            isa: Isa,
            x: &[Self],
            residual: Option<&[Self]>,
            affine: [&[f32]; 2],
            act: Act,
            y: &mut [Self],
        ) -> Result<(), Error> {
            batch_norm::scale_shift_on(isa, x, residual, affine, act, y)
        }

        fn batch_norm_backward(
            isa: Isa,
            saved: BatchNormSaved<'_, Self>,
            dy: &[Self],
            grads: BatchNormGrads<'_, Self>,
        ) -> Result<(), Error> {
            batch_norm::batch_norm_backward_on(isa, saved, dy, grads)
        }
    };
}

impl Kernels for f32 {
    fn lane(_: Isa) -> Operand {
        Operand::F32
    }

    fn pass(isa: Isa, pass: (&Pass, bool), batch: usize, x: &[f32], w: &[f32], y: &mut [f32]) {
        conv::pass(isa, pass, batch, x, w, y);
    }

    fn weight_grad(
        (isa, _): (Isa, Operand),
        pass: &Pass,
        batch: usize,
        x: &[f32],
        dy: &[f32],
        dw: &mut [f32],
    ) {
        conv::weight_grad((isa, Operand::F32), pass, batch, x, dy, dw);
    }

    compile!();
}

/// Convolutions go by pairs where the CPU gains by it, and elsewhere as f32 that are widened where
/// they are packed: the same products, exact in f32, and one rounding of each result.
impl Kernels for Bf16 {
    fn lane(isa: Isa) -> Operand {
        if isa != Isa::Avx512 || !has_pairs() {
            Operand::F32
        } else if has_tiles() {
            Operand::Bf16Matrix
        } else if pairs_pay() {
            Operand::Bf16Pair
        } else {
            Operand::F32
        }
    }

    fn pass(
        isa: Isa,
        (pass, add): (&Pass, bool),
        batch: usize,
        x: &[Bf16],
        w: &[f32],
        y: &mut [Bf16],
    ) {
        if pass.lane() != Operand::F32 {
            return conv::pass(isa, (pass, add), batch, x, w, y);
        }
        let w: Vec<f32> = w.iter().map(|&w| Bf16::from_f32(w).to_f32()).collect();
        let (x, y) = (Widened::of(x), Widened::of_mut(y));
        conv::pass(isa, (pass, add), batch, x, &w, y);
    }

    fn weight_grad(
        (isa, lane): (Isa, Operand),
        pass: &Pass,
        batch: usize,
        x: &[Bf16],
        dy: &[Bf16],
        dw: &mut [f32],
    ) {
        match lane {
            Operand::F32 => {
                let (x, dy) = (Widened::of(x), Widened::of(dy));
                conv::weight_grad((isa, lane), pass, batch, x, dy, dw);
            }
            _ => conv::weight_grad((isa, lane), pass, batch, x, dy, dw),
        }
    }

    compile!();
}
