//! What stands for a multiplication with a weight.

use serde::{Deserialize, Serialize};

/// What a layer does for each weight, as the first column of the paper's Table 1 has it: what a
/// method says of its own, and what is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KernelOp {
    /// A floating-point (or integer) multiplication.
    Multiply,
    /// Weights of -1, 0 and 1: add, subtract or skip.
    SignFlip,
    /// As many planes of 0 and ±1 as there are bits, each with float scales (LQ-Net, TTQ).
    SumOfSignFlips,
    /// Weights that are zero or a signed power of two.
    ShiftSignFlip,
    /// Weights that are the sum of two of these (APoT at 4 and 5 bits, ShiftCNN).
    SumOfTwoShifts,
}

impl KernelOp {
    /// `sum of two shifts`.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Multiply => "multiply",
            Self::SignFlip => "sign flip",
            Self::SumOfSignFlips => "sum of sign flips",
            Self::ShiftSignFlip => "shift sign flip",
            Self::SumOfTwoShifts => "sum of two shifts",
        }
    }
}
