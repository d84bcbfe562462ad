//! Our side of `cargo xtask bench gemv|gemm|conv|infer`, and the limits of the machine.
#![forbid(unsafe_code)]

mod networks;

use std::rc::Rc;

use anyhow::{Context, Result};
use s3_kernel_benches::{COLD_BYTES, Case, Program, Programs, Random, serve};
use s3_kernels::peak::{self, Memory};
use s3_kernels::{
    BitWidth, ConvShape, Isa, Kernel, PackedMatrix, ShiftRequant, conv2d, conv2d_f32, conv2d_fused,
    gemm, gemm_f32, reference, train,
};
use serde_json::json;

fn main() -> Result<()> {
    // On a worker of the pool, so that a parallel kernel needs no hand-over.
    rayon::scope(|_| {
        let memory: &Memory = Box::leak(Box::new(Memory::new(COLD_BYTES)));
        serve(|case| {
            let mut programs = limits(memory);
            for &bits in &case.bits {
                let mut ours = match case.bench.as_str() {
                    "conv" => convolutions(case, bits)?,
                    "infer" => networks::programs(case, width(bits)?)?,
                    "gemm_f32" => vec![float_product(case, bits)?],
                    "conv_f32" => vec![float_convolution(case, bits)?],
                    _ => products(case, bits)?,
                };
                for program in &mut ours {
                    program.about["peer"] = "s3".into();
                    program.about["bits"] = bits.into();
                    program.about["isa"] = Isa::detect().name().into();
                    program.about["threads"] = rayon::current_num_threads().into();
                    program.about["macs"] = case.macs().into();
                }
                programs.append(&mut ours);
            }
            if case.fields["plain"] == json!(true) {
                let mut plain = plain(case)?;
                plain.about["macs"] = case.macs().into();
                programs.push(plain);
            }
            Ok(Programs {
                programs,
                skipped: Vec::new(),
            })
        })
    })
}

/// What this machine can do at most: int8 and f32 multiply-adds on registers, reading memory.
fn limits(memory: &'static Memory) -> Vec<Program> {
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
                std::hint::black_box(memory.read());
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

fn width(bits: u64) -> Result<BitWidth> {
    let found = BitWidth::ALL.into_iter();
    let mut found = found.filter(|width| u64::from(width.bits()) == bits);
    found
        .next()
        .with_context(|| format!("no alphabet of {bits} bits"))
}

/// `n` outputs of `k` random levels, as often as the case rotates over them.
fn weights(case: &Case, bits: u64) -> Result<Vec<PackedMatrix>> {
    let width = width(bits)?;
    let levels = Random(bits).levels(width.levels(), case.n * case.k);
    let packed = PackedMatrix::from_levels(&levels, case.n, case.k, width)?;
    let copies = case.copies(packed.packed_len());
    Ok(vec![packed; copies])
}

/// [`gemm`], and where the case asks for every kernel, each other one of this instruction set.
fn products(case: &Case, bits: u64) -> Result<Vec<Program>> {
    let weights = Rc::new(weights(case, bits)?);
    let chosen = Kernel::select(Isa::detect(), &weights[0], case.m);
    let mut programs = vec![product(case, weights.clone(), chosen, true)];
    if case.fields["every_kernel"] == json!(true) {
        let others = Kernel::all().filter(|kernel| kernel.name() != chosen.name());
        let others = others.filter(|kernel| kernel.is_available() && kernel.isa() == Isa::detect());
        for kernel in others.filter(|kernel| kernel.serves(weights[0].bit_width())) {
            programs.push(product(case, weights.clone(), kernel, false));
        }
    }
    Ok(programs)
}

fn product(
    case: &Case,
    weights: Rc<Vec<PackedMatrix>>,
    kernel: &'static Kernel,
    chosen: bool,
) -> Program {
    let x = Random(1).signed(case.m * case.k);
    let mut y = vec![0i32; case.m * case.n];
    let (m, mut turn) = (case.m, 0);
    let mut about = json!({
        "kernel": kernel.name(),
        "chosen": chosen,
        "multiplication_free": kernel.is_multiplication_free(),
    });
    if m == 1 {
        about["bytes"] = weights[0].packed_len().into();
    }
    let call = move || {
        turn = (turn + 1) % weights.len();
        let done = if chosen {
            gemm(&weights[turn], &x, m, &mut y)
        } else {
            kernel.run(&weights[turn], &x, m, &mut y)
        };
        done.expect("the shapes fit");
    };
    Program {
        about,
        call: Box::new(call),
    }
}

/// The three loops of the reference over one byte a level, and for a convolution a copy of each
/// window.
fn plain(case: &Case) -> Result<Program> {
    let (m, n, k) = (case.m, case.n, case.k);
    let w = Random(2).levels(BitWidth::B4.levels(), n * k);
    let mut y = vec![0i32; m * n];
    let call: Box<dyn FnMut()> = if case.bench == "conv" {
        let shape = shape(case)?;
        let x = Random(1).signed(shape.input_len()?);
        let mut window = vec![0i8; k];
        let out_width = shape.out_width()?;
        Box::new(move || {
            for (pixel, y) in y.chunks_exact_mut(n).enumerate() {
                let corner = [pixel / out_width, pixel % out_width].map(|at| at * shape.stride);
                copy_window(&shape, &x, corner, &mut window);
                reference::gemm(&w, n, k, &window, 1, y);
            }
        })
    } else {
        let x = Random(1).signed(m * k);
        Box::new(move || reference::gemm(&w, n, k, &x, m, &mut y))
    };
    Ok(Program {
        about: json!({ "peer": "plain loops", "dtype": "i8" }),
        call,
    })
}

/// The window of one image whose first pixel lies at `corner`, less the padding.
fn copy_window(shape: &ConvShape, x: &[i8], corner: [usize; 2], window: &mut [i8]) {
    let inside = |at: usize, length| at.checked_sub(shape.padding).filter(|&at| at < length);
    let taps = window.chunks_exact_mut(shape.in_channels).enumerate();
    for (tap, to) in taps {
        let row = inside(corner[0] + tap / shape.kernel_w, shape.height);
        let column = inside(corner[1] + tap % shape.kernel_w, shape.width);
        match row.zip(column) {
            Some((row, column)) => {
                let pixel = row * shape.width + column;
                to.copy_from_slice(&x[pixel * shape.in_channels..][..shape.in_channels]);
            }
            None => to.fill(0),
        }
    }
}

fn shape(case: &Case) -> Result<ConvShape> {
    Ok(ConvShape {
        height: case.field("height")?,
        width: case.field("width")?,
        in_channels: case.field("in_channels")?,
        out_channels: case.field("out_channels")?,
        kernel_h: case.field("kernel")?,
        kernel_w: case.field("kernel")?,
        stride: case.field("stride")?,
        padding: case.field("padding")?,
        groups: case.field("groups")?,
        ..ConvShape::default()
    })
}

/// f32 activations: only the weights are low-bit.
fn float_product(case: &Case, bits: u64) -> Result<Program> {
    let w = weights(case, bits)?.swap_remove(0);
    let x = Random(1).floats(case.m * case.k);
    let mut y = vec![0f32; case.m * case.n];
    let m = case.m;
    Ok(Program {
        about: json!({ "output": "f32" }),
        call: Box::new(move || gemm_f32(&w, &x, m, &mut y).expect("the shapes fit")),
    })
}

fn float_convolution(case: &Case, bits: u64) -> Result<Program> {
    let shape = shape(case)?;
    let w = weights(case, bits)?.swap_remove(0);
    let x = Random(1).floats(shape.input_len()?);
    let mut y = vec![0f32; shape.output_len()?];
    Ok(Program {
        about: json!({ "output": "f32" }),
        call: Box::new(move || conv2d_f32(&w, &x, &shape, &mut y).expect("the shapes fit")),
    })
}

/// One image: i8 activations with the raw sums, and u8 activations requantized to u8 in the same
/// call, as between the layers of a network.
fn convolutions(case: &Case, bits: u64) -> Result<Vec<Program>> {
    let shape = shape(case)?;
    let weights = weights(case, bits)?.swap_remove(0);
    let signed = Random(1).signed(shape.input_len()?);
    let unsigned = Random(1).bytes(shape.input_len()?);
    let mut raw = vec![0i32; shape.output_len()?];
    let mut requantized = vec![0u8; raw.len()];
    let (bias, shift) = (vec![100; case.n], vec![7u8; case.n]);
    let w = weights.clone();
    let to_i32 = move || conv2d(&w, &signed, &shape, &mut raw).expect("the shapes fit");
    let to_u8 = move || {
        let epilogue = ShiftRequant {
            bias: &bias,
            shift: &shift,
            residual: None,
        };
        conv2d_fused(&weights, &unsigned, &shape, &epilogue, &mut requantized)
            .expect("the shapes fit");
    };
    Ok(vec![
        Program {
            about: json!({ "output": "i32" }),
            call: Box::new(to_i32),
        },
        Program {
            about: json!({ "output": "u8" }),
            call: Box::new(to_u8),
        },
    ])
}
