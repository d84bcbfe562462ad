//! The line protocol of the kernel benchmarks: `cargo xtask bench gemm|gemv|conv` starts one
//! process for each side (ours, other Rust crates, Python), and lets them take turns on one core.
//!
//! Each process reads one JSON object a line and answers with one line:
//!
//! | line | answer |
//! | --- | --- |
//! | `{"case":{"bench":"gemv","m":1,"n":4096,"k":4096,"bits":[2],"cold":false}}` | `{"programs":[{"peer":"s3","bits":2,"macs":16777216},..],"skipped":["why"]}` |
//! | `{"run":0,"us":10000}` | `{"median_us":73.1,"min_us":72.8,"calls":136}` |
//!
//! A convolution's case carries `height`, `width`, `in_channels`, `out_channels`, `kernel`,
//! `stride`, `padding` and `groups` as well; a network's `model`, `settings`, `side`, `classes`,
//! `batch`, for us `packed`, the file that its f32 form is written to, and for the peers `onnx`,
//! the file that is made of that; with `layers` our programs say what each layer takes. `run` names
//! a program of the last case by its place, and calls it for about `us` microseconds: two calls
//! untimed (one, where it takes 5 ms), then each call timed on its own. The end of the input ends
//! the process.
#![forbid(unsafe_code)]
#![allow(
    missing_debug_implementations,
    reason = "not published: what is measured holds closures and buffers"
)]

pub mod train;

use std::io::{BufRead, Write};
use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// Bytes over which cold weights rotate: ten times a last-level cache of 32 MiB.
pub const COLD_BYTES: usize = 320 << 20;

/// One multiplication that every side carries out: `y[m, n] = x[m, k] w[n, k]ᵀ`.
#[derive(Clone, Debug)]
pub struct Case {
    /// `gemm`, `gemv`, `conv` or `infer`.
    pub bench: String,
    /// Rows of activations, or output pixels of a convolution.
    pub m: usize,
    /// Outputs of a row.
    pub n: usize,
    /// Length of the sum.
    pub k: usize,
    /// Bits of a weight, for who has such weights.
    pub bits: Vec<u64>,
    /// Whether the weights come from memory: each call takes another copy, [`COLD_BYTES`] in all.
    pub cold: bool,
    /// Every field, those of a convolution included.
    pub fields: Value,
}

impl Case {
    fn read(fields: &Value) -> Result<Self> {
        let mut case = Self {
            bench: fields["bench"]
                .as_str()
                .context("a case has a bench")?
                .into(),
            m: 0,
            n: 0,
            k: 0,
            bits: Vec::new(),
            cold: fields["cold"].as_bool().unwrap_or(false),
            fields: fields.clone(),
        };
        (case.m, case.n, case.k) = (case.field("m")?, case.field("n")?, case.field("k")?);
        let bits = fields["bits"].as_array().context("a case has bits")?;
        case.bits = bits.iter().filter_map(Value::as_u64).collect();
        Ok(case)
    }

    /// The number called `name`.
    ///
    /// # Errors
    ///
    /// Where the case has no such number.
    pub fn field(&self, name: &str) -> Result<usize> {
        let value = self.fields[name].as_u64();
        let value = value.with_context(|| format!("a case of {} has {name}", self.bench))?;
        Ok(usize::try_from(value)?)
    }

    /// Multiply-adds of one call.
    #[must_use]
    pub fn macs(&self) -> usize {
        self.m * self.n * self.k
    }

    /// How many copies of `bytes` of weights a call rotates over.
    #[must_use]
    pub fn copies(&self, bytes: usize) -> usize {
        if self.cold {
            COLD_BYTES.div_ceil(bytes.max(1))
        } else {
            1
        }
    }
}

/// Something that can be called again and again.
pub struct Program {
    /// What a result line says of it: `peer`, `bits`, `isa`, `macs`, ...
    pub about: Value,
    /// One call.
    pub call: Box<dyn FnMut()>,
}

/// What a side measures for a case, and what it does not, in words.
#[derive(Default)]
pub struct Programs {
    /// In the order in which they take turns.
    pub programs: Vec<Program>,
    /// One line each.
    pub skipped: Vec<String>,
}

/// Answers lines from standard input until it ends.
///
/// # Errors
///
/// Where a line is not of the protocol, or `build` fails.
pub fn serve(mut build: impl FnMut(&Case) -> Result<Programs>) -> Result<()> {
    let mut current = Programs::default();
    for line in std::io::stdin().lock().lines() {
        let line = line.context("reading a line")?;
        let message: Value =
            serde_json::from_str(&line).with_context(|| format!("reading {line}"))?;
        let answer = if let Some(run) = message["run"].as_u64() {
            let index = usize::try_from(run)?;
            let program = current.programs.get_mut(index).context("no such program")?;
            time(&mut program.call, message["us"].as_f64().unwrap_or(1e4))
        } else {
            // The memory of the last case is given back before this one asks for more.
            drop(std::mem::take(&mut current.programs));
            current = build(&Case::read(&message["case"])?)?;
            let about: Vec<&Value> = current.programs.iter().map(|p| &p.about).collect();
            json!({ "programs": about, "skipped": current.skipped })
        };
        let mut out = std::io::stdout().lock();
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

fn time(call: &mut dyn FnMut(), us: f64) -> Value {
    let warmup = Instant::now();
    call();
    if warmup.elapsed().as_millis() < 5 {
        call();
    }
    let mut times = Vec::new();
    let whole = Instant::now();
    while times.is_empty() || whole.elapsed().as_secs_f64() * 1e6 < us {
        let clock = Instant::now();
        call();
        times.push(clock.elapsed().as_secs_f64() * 1e6);
    }
    times.sort_by(f64::total_cmp);
    json!({ "median_us": times[times.len() / 2], "min_us": times[0], "calls": times.len() })
}

/// A generator of test data: the same on every side that asks for the same seed (SplitMix64).
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// `len` bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 7);
        while bytes.len() < len {
            bytes.extend(self.bits().to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }

    /// `len` signed bytes, the whole range.
    pub fn signed(&mut self, len: usize) -> Vec<i8> {
        self.bytes(len).into_iter().map(|byte| byte as i8).collect()
    }

    /// `len` choices from `levels`.
    pub fn levels(&mut self, levels: &[i8], len: usize) -> Vec<i8> {
        let pick = |byte: u8| levels[usize::from(byte) % levels.len()];
        self.bytes(len).into_iter().map(pick).collect()
    }

    /// `len` floats in -1 .. 1.
    pub fn floats(&mut self, len: usize) -> Vec<f32> {
        let float = |byte: u8| f32::from(byte as i8) / 128.0;
        self.bytes(len).into_iter().map(float).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_reads_its_fields_and_names_what_is_missing() {
        let fields =
            json!({ "bench": "gemv", "m": 1, "n": 2, "k": 3, "bits": [2, 4], "cold": true });
        let case = Case::read(&fields).expect("a whole case");
        assert_eq!((case.m, case.n, case.k, case.cold), (1, 2, 3, true));
        assert_eq!((case.bits.as_slice(), case.macs()), (&[2, 4][..], 6));
        let missing = case
            .field("stride")
            .expect_err("no convolution")
            .to_string();
        assert_eq!(missing, "a case of gemv has stride");
    }

    #[test]
    fn cold_weights_fill_the_rotation_and_hot_ones_are_alone() {
        let fields = json!({ "bench": "gemv", "m": 1, "n": 2, "k": 3, "bits": [], "cold": true });
        let mut case = Case::read(&fields).expect("a whole case");
        assert_eq!(case.copies(4 << 20), 80);
        case.cold = false;
        assert_eq!(case.copies(4 << 20), 1);
    }

    #[test]
    fn a_program_is_timed_call_by_call() {
        let mut calls = 0u64;
        let answer = time(&mut || calls += 1, 0.0);
        assert_eq!((answer["calls"].as_u64(), calls), (Some(1), 3));
    }
}
