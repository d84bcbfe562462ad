//! The bars that the integer kernels are held to, and whether a run meets them.
//!
//! A bar compares two programs that took turns in one run: the ratio of their medians, and its
//! spread over the rounds.

use std::fmt::Write as _;

use serde_json::json;

use super::measured::Measured;
use super::page::summary;

/// m, n, k.
type Shape = (u64, u64, u64);

const SQUARE: Shape = (1, 4096, 4096);
const BATCH_8: Shape = (8, 4096, 4096);
/// Many outputs, many rows.
const WIDE: [Shape; 2] = [(1024, 1024, 1024), (512, 4096, 4096)];
/// Products of the shape of ResNet's convolutions.
const RESNET: [Shape; 3] = [(512, 512, 4608), (3136, 64, 576), (784, 128, 1152)];
/// The 3x3 convolutions of ResNet-18.
const CONV: [Shape; 4] = [
    (3136, 64, 576),
    (784, 128, 1152),
    (196, 256, 2304),
    (49, 512, 4608),
];

/// What a program is compared with.
#[derive(Clone, Copy)]
enum Against {
    /// The fastest peer of these types.
    Peer(&'static str, &'static [&'static str]),
    /// A limit of the machine: rate over rate.
    Limit(&'static str, &'static str),
    /// Ourselves with the first of the bits, or the first number of threads.
    Bits(u64),
    Threads,
}

const F32: Against = Against::Peer("", &["f32"]);
const ORT: Against = Against::Peer("onnxruntime", &["u8s8"]);
/// Its own operator, which the operator of the ONNX standard is rewritten to between
/// transpositions.
const ORT_NHWC: Against = Against::Peer("onnxruntime", &["u8s8 NHWC"]);
const ORT_F32: Against = Against::Peer("onnxruntime", &["f32"]);
const ORT_2BIT: Against = Against::Peer("onnxruntime", &["2-bit"]);
/// Loops over one byte a level, in Rust without intrinsics.
const PLAIN: Against = Against::Peer("plain loops", &["i8"]);
const DOT: Against = Against::Limit("dot", "macs");
const READ: Against = Against::Limit("read", "bytes");

/// One line of the table.
struct Bar {
    bench: &'static str,
    cold: bool,
    shapes: &'static [Shape],
    bits: u64,
    /// The instruction set, where it is not the widest.
    isa: Option<&'static str>,
    against: Against,
    least: f64,
}

const fn bar(bench: &'static str, shapes: &'static [Shape], against: Against, least: f64) -> Bar {
    Bar {
        bench,
        cold: false,
        shapes,
        bits: 2,
        isa: None,
        against,
        least,
    }
}

impl Bar {
    const fn cold(self) -> Self {
        Self { cold: true, ..self }
    }

    const fn bits(self, bits: u64) -> Self {
        Self { bits, ..self }
    }

    const fn isa(self, isa: &'static str) -> Self {
        let isa = Some(isa);
        Self { isa, ..self }
    }
}

/// The bars, in the order of the table.
fn bars() -> Vec<Bar> {
    let mut bars = vec![
        bar("gemv", &[SQUARE], F32, 30.0),
        bar("gemv", &[SQUARE], ORT_2BIT, 2.6),
        bar("gemv", &[SQUARE], DOT, 0.95),
    ];
    for bits in [2, 3, 4] {
        bars.push(bar("gemv", &[SQUARE], READ, 0.9).cold().bits(bits));
    }
    bars.extend([
        bar("gemm", &[BATCH_8], DOT, 1.05),
        bar("gemm", &[BATCH_8], ORT, 1.6),
        bar("gemm", &WIDE, ORT, 1.05),
        bar("gemm", &RESNET, ORT, 1.0),
        bar("gemm", &WIDE, F32, 4.0),
        bar("gemm", &RESNET, F32, 4.0),
    ]);
    for bits in [3, 4] {
        bars.push(bar("gemm", &WIDE, Against::Bits(2), 0.95).bits(bits));
        bars.push(bar("gemm", &RESNET, Against::Bits(2), 0.95).bits(bits));
    }
    for (bench, shapes) in [
        ("gemv", &[SQUARE][..]),
        ("gemm", &[BATCH_8]),
        ("gemm", &WIDE),
        ("gemm", &RESNET),
        ("conv", &CONV),
    ] {
        for bits in [2, 3, 4] {
            let bar = bar(bench, shapes, PLAIN, 1.0);
            bars.push(bar.isa("scalar").bits(bits));
        }
    }
    bars.extend([
        bar("conv", &CONV, ORT, 1.0),
        bar("conv", &CONV, ORT_NHWC, 1.0),
        bar("conv", &CONV, ORT_F32, 3.8),
        bar("gemv", &[SQUARE], DOT, 0.6).isa("avx2"),
        bar("gemm", &WIDE, DOT, 0.6).isa("avx2"),
        bar("gemm", &RESNET, DOT, 0.6).isa("avx2"),
        bar("gemm", &WIDE, Against::Threads, 1.8),
        bar("gemm", &RESNET, Against::Threads, 1.8),
        bar("conv", &CONV, Against::Threads, 1.8),
        // f32 activations: no bar, but worth knowing.
        bar("gemm_f32", &WIDE, F32, 0.0),
        bar("conv_f32", &CONV, F32, 0.0),
    ]);
    bars
}

/// Every bar that this run measured both sides of.
pub(super) fn table(all: &[Measured]) -> String {
    let mut rows = String::new();
    for bar in bars() {
        for &shape in bar.shapes {
            if let Some(row) = row(&bar, shape, all) {
                rows.push_str(&row);
            }
        }
    }
    if rows.is_empty() {
        return rows;
    }
    format!(
        "\n## Bars\n\nA ratio of speeds: of the medians, and from the worst to the best round.\n\n\
         | bench | m x n x k | ours | against | ratio | spread | wanted | met |\n\
         |---|---|---|---|---|---|---|---|\n{rows}"
    )
}

fn row(bar: &Bar, shape: Shape, all: &[Measured]) -> Option<String> {
    let (m, n, k) = shape;
    let here: Vec<&Measured> = all
        .iter()
        .filter(|one| {
            let of = |key: &str| one.case[key].as_u64();
            let whole = of("stride").is_none_or(|stride| stride == 1);
            one.word("bench") == bar.bench
                && (of("m"), of("n"), of("k")) == (Some(m), Some(n), Some(k))
                && one.case["cold"] == json!(bar.cold)
                && whole
        })
        .collect();
    // Plain Rust has bars of its own only.
    let widest = || ours(&here).next().map(|one| one.word("isa"));
    let isa = bar
        .isa
        .or_else(|| widest().filter(|isa| *isa != "scalar"))?;
    let threads = match bar.against {
        Against::Threads => 2,
        _ => 1,
    };
    // A convolution is compared with its requantization, as the peers have it.
    let mine = |bits: u64, threads: u64| {
        ours(&here).find(|one| {
            one.about["bits"] == json!(bits)
                && one.about["threads"] == json!(threads)
                && one.word("isa") == isa
                && ["", "u8", "f32"].contains(&one.word("output"))
        })
    };
    let one = mine(bar.bits, threads)?;
    let (other, name, unit) = match bar.against {
        Against::Peer(package, types) => {
            let peers = here.iter().filter(|one| {
                let peer = one.word("peer");
                let ours = peer.is_empty() || peer == "s3";
                !ours
                    && (package.is_empty() || peer == package)
                    && types.contains(&one.word("dtype"))
            });
            let time = |one: &&&Measured| summary(&one.us).0;
            let best = peers.min_by(|a, b| time(a).total_cmp(&time(b)))?;
            (
                *best,
                format!("{} {}", best.word("peer"), best.word("dtype")),
                "macs",
            )
        }
        Against::Limit(limit, unit) => {
            let found = here.iter().find(|one| one.word("limit") == limit)?;
            let name = match limit {
                "dot" => "int8 dot products on registers",
                _ => "reading memory",
            };
            (*found, name.to_owned(), unit)
        }
        Against::Bits(bits) => (mine(bits, 1)?, format!("ours at {bits} bits"), "macs"),
        Against::Threads => (mine(bar.bits, 1)?, "ours with 1 thread".to_owned(), "macs"),
    };
    let (mine, theirs) = (one.number(unit)?, other.number(unit)?);
    let ratios = one.us.iter().zip(&other.us);
    let ratios: Vec<f64> = ratios.map(|(a, b)| mine / a / (theirs / b)).collect();
    let ratio = one.giga_per_s(unit)? / other.giga_per_s(unit)?;
    let (_, min, max) = summary(&ratios);
    let kernel = match one.about["multiplication_free"] == json!(true) {
        true => format!("{} (no multiplication)", one.word("kernel")),
        false => one.word("kernel").to_owned(),
    };
    let (wanted, met) = match (bar.least, ratio >= bar.least) {
        (0.0, _) => ("-".to_owned(), "-"),
        (least, true) => (least.to_string(), "yes"),
        (least, false) => (least.to_string(), "NO"),
    };
    let mut row = String::new();
    let _ = writeln!(
        row,
        "| {} | {m}x{n}x{k}{} | {} bits {kernel} {isa}, {threads} thread{} | {name} | {ratio:.3} | \
         {min:.2} .. {max:.2} | {wanted} | {met} |",
        bar.bench,
        if bar.cold { " cold" } else { "" },
        bar.bits,
        if threads == 1 { "" } else { "s" },
    );
    Some(row.replace("  ", " "))
}

fn ours<'a>(here: &'a [&'a Measured]) -> impl Iterator<Item = &'a Measured> {
    here.iter().copied().filter(|one| one.word("peer") == "s3")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(about: serde_json::Value, us: &[f64]) -> Measured {
        Measured {
            case: json!({ "bench": "gemv", "m": 1, "n": 4096, "k": 4096, "cold": false }),
            about,
            us: us.to_vec(),
            min_us: us[0],
        }
    }

    #[test]
    fn a_bar_is_the_ratio_of_medians_with_the_spread_of_the_rounds() {
        let ours = json!({"peer": "s3", "bits": 2, "threads": 1, "isa": "avx512", "macs": 1000});
        let slow = json!({"peer": "numpy", "dtype": "f32", "macs": 1000});
        let fast = json!({"peer": "torch", "dtype": "f32", "macs": 1000});
        let dot = json!({"limit": "dot", "macs": 2000});
        let all = [
            measured(dot, &[100.0, 100.0, 100.0]),
            measured(ours, &[100.0, 90.0, 200.0]),
            measured(slow, &[5000.0, 5000.0, 5000.0]),
            measured(fast, &[4000.0, 4000.0, 4000.0]),
        ];
        let table = table(&all);
        let ours = "| gemv | 1x4096x4096 | 2 bits avx512, 1 thread |";
        assert!(
            table.contains(&format!(
                "{ours} torch f32 | 40.000 | 20.00 .. 44.44 | 30 | yes |"
            )),
            "{table}"
        );
        assert!(
            table.contains(&format!(
                "{ours} int8 dot products on registers | 0.500 | 0.25 .. 0.56 | 0.95 | NO |"
            )),
            "{table}"
        );
        assert_eq!(
            table.lines().filter(|line| line.contains(" bits ")).count(),
            2
        );
    }
}
