//! Our side of `cargo xtask bench gemv|gemm|conv`, and the limits of the machine.
#![forbid(unsafe_code)]

use anyhow::Result;
use s3_kernel_benches::{COLD_BYTES, Program, Programs, serve};
use s3_kernels::{peak, train};
use serde_json::json;

fn main() -> Result<()> {
    // On a worker of the pool, so that a parallel kernel needs no hand-over.
    rayon::scope(|_| {
        let memory = vec![1u8; COLD_BYTES];
        let memory: &'static [u8] = Box::leak(memory.into_boxed_slice());
        serve(|_| {
            let programs = limits(memory);
            Ok(Programs {
                programs,
                skipped: Vec::new(),
            })
        })
    })
}

/// What this machine can do at most: int8 and f32 multiply-adds on registers, reading memory.
fn limits(memory: &'static [u8]) -> Vec<Program> {
    const ROUNDS: u64 = 100_000;
    let int8 = peak::int8_multiply_adds(ROUNDS);
    let f32 = train::multiply_adds(ROUNDS) / 2;
    let mut programs = vec![
        Program {
            about: json!({ "limit": "f32", "macs": f32 }),
            call: Box::new(|| {
                std::hint::black_box(train::multiply_adds(ROUNDS));
            }),
        },
        Program {
            about: json!({ "limit": "read", "bytes": memory.len() }),
            call: Box::new(|| {
                std::hint::black_box(peak::read(memory));
            }),
        },
    ];
    if int8 > 0 {
        programs.push(Program {
            about: json!({ "limit": "dot", "macs": int8 }),
            call: Box::new(|| {
                std::hint::black_box(peak::int8_multiply_adds(ROUNDS));
            }),
        });
    }
    programs
}
