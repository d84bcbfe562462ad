//! One battery, run on every instruction set of this CPU.

mod batch_norm;
mod conv;
mod oracle;
mod pool;
