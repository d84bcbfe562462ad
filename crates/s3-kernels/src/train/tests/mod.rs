//! One battery, run on every instruction set of this CPU.

mod batch_norm;
mod conv;
mod depthwise;
mod oracle;
mod pool;
mod sum;
