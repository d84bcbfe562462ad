//! One battery, run on every instruction set of this CPU.

mod conv;
mod oracle;
