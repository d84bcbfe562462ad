//! The Rust crates `gemm` (f32) and `rten-gemm` (u8 by s8, and f32) on the cases of
//! `cargo xtask bench gemv|gemm --peers`, over the line protocol of `s3_kernel_benches`.

use std::rc::Rc;

use anyhow::Result;
use rten_gemm::{GemmExecutor, GemmInputA, GemmInputB, GemmOptions};
use rten_tensor::NdTensorView;
use s3_kernel_benches::{Case, Program, Programs, Random, serve};
use serde_json::json;

fn main() -> Result<()> {
    serve(|case| {
        let programs = match case.bench.as_str() {
            "conv" | "conv_f32" => Vec::new(),
            "gemm_f32" => vec![gemm_f32(case), rten_f32(case)],
            _ => vec![gemm_f32(case), rten_f32(case), rten_u8s8(case)],
        };
        Ok(Programs {
            programs,
            skipped: Vec::new(),
        })
    })
}

/// The versions in Cargo.lock.
const VERSIONS: &str = include_str!("../Cargo.lock");

fn version(package: &str) -> Option<&'static str> {
    let line = format!("name = \"{package}\"\nversion = \"");
    let (_, after) = VERSIONS.split_once(&line)?;
    Some(after.split_once('"')?.0)
}

fn program(case: &Case, peer: &str, dtype: &str, mut calls: Vec<Box<dyn FnMut()>>) -> Program {
    let mut turn = 0;
    Program {
        about: json!({ "peer": peer, "dtype": dtype, "macs": case.macs(), "threads": 1, "version": version(peer) }),
        call: Box::new(move || {
            turn = (turn + 1) % calls.len();
            calls[turn]();
        }),
    }
}

/// `copies` calls of what `make` makes.
fn calls(copies: usize, mut make: impl FnMut() -> Box<dyn FnMut()>) -> Vec<Box<dyn FnMut()>> {
    (0..copies).map(|_| make()).collect()
}

fn gemm_f32(case: &Case) -> Program {
    let (m, n, k) = (case.m, case.n, case.k);
    let mut random = Random(1);
    let x: Rc<[f32]> = random.floats(m * k).into();
    let calls = calls(case.copies(4 * n * k), || {
        let (x, w, mut y) = (x.clone(), random.floats(n * k), vec![0f32; m * n]);
        let [n_, k_] = [n as isize, k as isize];
        Box::new(move || {
            let (dst, lhs, rhs) = (y.as_mut_ptr(), x.as_ptr(), w.as_ptr());
            // SAFETY: `dst` is [m, n], `lhs` is [m, k], both row-major and of that length; `rhs` is
            // [k, n] read through w[n, k], whose length is n * k. They do not overlap.
            unsafe {
                gemm::gemm(
                    m,
                    n,
                    k,
                    dst,
                    1,
                    n_,
                    false,
                    lhs,
                    1,
                    k_,
                    rhs,
                    k_,
                    1,
                    0.0,
                    1.0,
                    false,
                    false,
                    false,
                    gemm::Parallelism::None,
                );
            }
        })
    });
    program(case, "gemm", "f32", calls)
}

fn rten_f32(case: &Case) -> Program {
    let (m, n, k) = (case.m, case.n, case.k);
    let mut random = Random(1);
    let x: Rc<[f32]> = random.floats(m * k).into();
    let calls = calls(case.copies(4 * n * k), || {
        let executor = GemmExecutor::<f32>::new();
        let w = random.floats(n * k);
        let packed = executor.prepack_b(NdTensorView::from_data([k, n], &w[..]));
        let (x, mut y) = (x.clone(), vec![0f32; m * n]);
        Box::new(move || {
            let a = GemmInputA::Unpacked(NdTensorView::from_data([m, k], &x[..]));
            let b = GemmInputB::Packed(&packed);
            let done = executor.gemm(&mut y, a, b, GemmOptions::default());
            done.expect("the shapes fit");
        })
    });
    program(case, "rten-gemm", "f32", calls)
}

fn rten_u8s8(case: &Case) -> Program {
    let (m, n, k) = (case.m, case.n, case.k);
    let mut random = Random(1);
    let x: Rc<[u8]> = random.bytes(m * k).into();
    let calls = calls(case.copies(n * k), || {
        let executor = GemmExecutor::<u8, i8, i32>::new();
        let w = random.levels(&[-1, 0, 1], n * k);
        let packed = executor.prepack_b(NdTensorView::from_data([k, n], &w[..]));
        let (x, mut y) = (x.clone(), vec![0i32; m * n]);
        Box::new(move || {
            let a = GemmInputA::Unpacked(NdTensorView::from_data([m, k], &x[..]));
            let b = GemmInputB::Packed(&packed);
            let done = executor.gemm(&mut y, a, b, GemmOptions::default());
            done.expect("the shapes fit");
        })
    });
    program(case, "rten-gemm", "u8s8", calls)
}
