//! Composed ops, and a GPU that runs them, train as the fused kernels of the CPU do.
//!
//! `S3_OPS=composed` runs on the CPU what a GPU runs, candle's kernels for it aside; the GPU itself
//! takes its turn where this test is built with the feature `cuda` and `cuda:0` is there, and a
//! line says so where it does not.

mod common;

use common::{Bench, succeed};
use s3_train::checkpoint;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Who computes.
#[derive(Clone, Copy, Debug)]
enum Where {
    Fused,
    Composed,
    Gpu,
}

impl Where {
    fn train(self, bench: &Bench, out: &str, settings: &[&str]) -> Command {
        let device = match self {
            Where::Gpu => "device=cuda:0",
            _ => "device=cpu",
        };
        let mut command = bench.train(out, &["--set", device]);
        command.env("S3_OPS", self.ops());
        for setting in settings {
            command.args(["--set", setting]);
        }
        command
    }

    fn ops(self) -> &'static str {
        match self {
            Where::Composed => "composed",
            _ => "fused",
        }
    }

    fn device(self) -> &'static str {
        match self {
            Where::Gpu => "cuda:0",
            _ => "cpu",
        }
    }
}

/// Those that are not the fused kernels, on this machine.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn others() -> Vec<Where> {
    match s3_train::device::open("cuda:0") {
        Ok(_) => vec![Where::Composed, Where::Gpu],
        Err(e) => {
            eprintln!("skipped: the GPU ({e})");
            vec![Where::Composed]
        }
    }
}

/// Training and test losses of each epoch.
fn losses(run: &Path) -> Vec<f64> {
    let lines = std::fs::read_to_string(run.join("epochs.jsonl")).expect("epochs.jsonl");
    let of = |line: &str| {
        let epoch: serde_json::Value = serde_json::from_str(line).expect("JSON");
        ["train_loss", "test_loss"].map(|key| epoch[key].as_f64().expect("a loss"))
    };
    lines.lines().flat_map(of).collect()
}

fn largest_gap(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let gaps = a.iter().zip(b).map(|(a, b)| (a - b).abs() / a.abs());
    gaps.fold(0.0, f64::max)
}

/// The largest distance of two checkpoints' tensors of one name, over the length of the first.
fn largest_distance(a: &Path, b: &Path) -> (f64, String) {
    let load = |run: &Path| checkpoint::load(&run.join("last.safetensors")).expect("a checkpoint");
    let ((_, a), (_, b)) = (load(a), load(b));
    assert!(a.keys().eq(b.keys()));
    let values = |t: &candle_core::Tensor| -> Vec<f64> {
        let values = t.flatten_all().and_then(|t| t.to_vec1::<f32>());
        values.expect("f32").into_iter().map(f64::from).collect()
    };
    let length = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>().sqrt();
    let mut worst = (0.0, String::new());
    for (name, a) in &a {
        let (a, b) = (values(a), values(&b[name]));
        let apart: Vec<f64> = a.iter().zip(&b).map(|(a, b)| a - b).collect();
        let distance = length(&apart) / length(&a).max(1e-6);
        if distance > worst.0 {
            worst = (distance, name.clone());
        }
    }
    worst
}

/// Rounding in another order moves sums by 1e-6 of themselves and more; where a value then crosses
/// the zero of a ReLU, its gradient appears or vanishes whole. So few steps at small learning
/// rates, and bounds far above what was seen on the CPU (losses 2e-6, tensors 4e-3; in bf16 1e-5
/// and 7e-2) and far below what a wrong gradient gives.
const LOSSES: f64 = 1e-4;
const TENSORS: f64 = 0.05;
const BF16_LOSSES: f64 = 1e-3;
const BF16_TENSORS: f64 = 0.3;

fn assert_alike(a: &Path, b: &Path, (losses_apart, tensors_apart): (f64, f64)) {
    let gap = largest_gap(&losses(a), &losses(b));
    assert!(gap <= losses_apart, "{}: losses {gap:e} apart", b.display());
    let (distance, tensor) = largest_distance(a, b);
    let run = b.display();
    assert!(
        distance <= tensors_apart,
        "{run}: {tensor} is {distance:e} off"
    );
}

const SLOW: [&str; 3] = ["epochs=1", "lr.start=1e-3", "data.train_limit=96"];
const FP32: &str = "method={name=\"fp32\"}";

#[test]
fn every_device_trains_as_the_fused_kernels_do() {
    let bench = Bench::new();
    let f32s = (LOSSES, TENSORS);
    for (name, settings, bounds) in [
        ("s3", vec!["lr.start=1e-4"], f32s),
        ("fp32", vec![FP32], f32s),
        (
            "twn",
            vec!["method={name=\"twn\"}", "optimizer.nesterov=true"],
            f32s,
        ),
        ("drawn", vec!["method={name=\"lrnet\"}"], f32s),
        ("adam", vec!["optimizer.name=adam", "lr.start=1e-5"], f32s),
        ("radam", vec![FP32, "optimizer.name=radam"], f32s),
        ("projections", vec![FP32, "model.shortcut=B"], f32s),
        (
            "bf16",
            vec![FP32, "dtype=bf16"],
            (BF16_LOSSES, BF16_TENSORS),
        ),
    ] {
        let settings = [&SLOW[..], &settings].concat();
        let reference = format!("{name}-fused");
        succeed(&mut Where::Fused.train(&bench, &reference, &settings));
        for other in others() {
            let out = format!("{name}-{other:?}");
            succeed(&mut other.train(&bench, &out, &settings));
            assert_alike(&bench.run(&reference), &bench.run(&out), bounds);
        }
    }
}

/// Starts a run, kills it behind a checkpoint, and ends it elsewhere.
fn train_in_two_places(bench: &Bench, out: &str, settings: &[&str], places: [Where; 2]) {
    let mut child = places[0]
        .train(bench, out, settings)
        .args(["--checkpoint-seconds", "0"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("s3 starts");
    let has_checkpoint = || {
        let runs = std::fs::read_dir(bench.path(out));
        runs.is_ok_and(|mut r| {
            r.any(|r| r.is_ok_and(|r| r.path().join("last.safetensors").is_file()))
        })
    };
    while !has_checkpoint() {
        assert!(
            child.try_wait().expect("a state").is_none(),
            "no checkpoint"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().expect("SIGKILL");
    child.wait().expect("an end");
    succeed(places[1].train(bench, out, settings).arg("--resume"));
}

#[test]
fn a_checkpoint_moves_to_another_device_and_back() {
    let bench = Bench::new();
    let settings = [&SLOW[..], &[FP32]].concat();
    succeed(&mut Where::Fused.train(&bench, "whole", &settings));
    let whole = bench.run("whole");
    for other in others() {
        for places in [[Where::Fused, other], [other, Where::Fused]] {
            let out = format!("{places:?}");
            train_in_two_places(&bench, &out, &settings, places);
            let run = bench.run(&out);
            assert_eq!(
                run.file_name(),
                whole.file_name(),
                "a device is no part of a name"
            );
            assert_alike(&whole, &run, (LOSSES, TENSORS));
            for place in places {
                let folder = run.display().to_string();
                let mut eval = bench.s3(&["eval", &folder, "--json", "--device", place.device()]);
                let answer = succeed(eval.env("S3_OPS", place.ops()));
                let answer: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
                let loss = answer["loss"].as_f64().expect("a loss");
                let trained = losses(&run)[1];
                assert!(
                    (loss - trained).abs() <= LOSSES * trained,
                    "{out}: {loss} {trained}"
                );
            }
        }
    }
}

#[test]
fn what_is_not_there_is_refused_in_one_line_before_anything_is_made() {
    let bench = Bench::new();
    let refused = |command: &mut Command| {
        let message = common::refusal(command);
        assert!(!bench.path("runs").exists(), "{message}");
        message
    };
    // No machine has as many GPUs.
    let message = refused(&mut bench.train("runs", &["--set", "device=cuda:4096"]));
    assert!(message.contains("device: cuda:4096: "), "{message}");
    let message = refused(&mut bench.train("runs", &["--set", "device=cuda:one"]));
    assert!(
        message.contains("expected cpu, cuda or cuda:N"),
        "{message}"
    );
    let message = refused(bench.train("runs", &[]).env("S3_OPS", "quick"));
    assert!(
        message.contains("S3_OPS: expected fused or composed"),
        "{message}"
    );
}
