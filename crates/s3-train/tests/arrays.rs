//! Networks that are trained on arrays of NumPy, from the files to the packed network, through the
//! binary.

mod common;

use candle_core::{DType, Device, Tensor};
use common::{Bench, refusal, succeed};
use s3_layers::model::{Model, Numbers};
use s3_train::data::{self, DataConfig, DataName, Dataset, Images};
use serde_json::Value;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use zip::write::SimpleFileOptions;

const CLASSES: usize = 3;

/// What `tiny.toml` says; `@model@` is left open.
const CONFIG: &str = r#"
    experiment = "arrays"
    epochs = 6
    batch_size = 16
    snapshot_epochs = 3
    data = { name = "arrays", folder = "speech" }
    model = { @model@ }
    method = { name = "s3", bits = 3 }
    layers = { full_precision = ["first", "depthwise", "last"] }
    optimizer = { name = "sgd", momentum = 0.9, weight_decay = 1e-4 }
    lr = { schedule = "cosine", start = 0.1 }
    alpha = { schedule = "constant", start = 1e-5 }
"#;

fn bench(model: &str) -> Bench {
    let bench = Bench::new();
    let config = CONFIG.replace("@model@", model);
    std::fs::write(bench.path("tiny.toml"), config).expect("tiny.toml");
    std::fs::create_dir_all(bench.path("data/speech")).expect("a folder");
    bench
}

/// Bytes of an array's file.
fn npy(descr: &str, shape: &str, numbers: &[u8]) -> Vec<u8> {
    let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let length = (text.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\0", &length[..], text.as_bytes(), numbers].concat()
}

/// The file of an array of floats that candle writes.
fn floats(values: &[f32], shape: &[usize]) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("x.npy");
    let array = Tensor::from_slice(values, shape, &Device::Cpu).expect("an array");
    array.write_npy(&path).expect("a file");
    std::fs::read(&path).expect("the file")
}

/// The file of the labels `0, 1, 2, 0, ..` as candle writes them.
fn labels(count: usize, dtype: DType) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("y.npy");
    let labels: Vec<i64> = (0..count).map(|i| (i % CLASSES) as i64).collect();
    let labels = Tensor::from_slice(&labels, count, &Device::Cpu).and_then(|y| y.to_dtype(dtype));
    let written = labels.and_then(|y| y.write_npy(&path));
    written.expect("a file");
    std::fs::read(&path).expect("the file")
}

fn write(bench: &Bench, name: &str, bytes: &[u8]) {
    let path = bench.path("data/speech").join(name);
    std::fs::write(path, bytes).expect("a file");
}

fn npz(bench: &Bench, name: &str, members: &[(&str, &[u8])]) {
    let file = File::create(bench.path("data/speech").join(name)).expect("an archive");
    let mut archive = zip::ZipWriter::new(file);
    for (name, bytes) in members {
        let stored =
            SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        archive.start_file(*name, stored).expect("a member");
        archive.write_all(bytes).expect("its bytes");
    }
    archive.finish().expect("an archive");
}

/// A number of -5 to 5 for each three.
fn noise(i: usize, j: usize, k: usize) -> f32 {
    let mixed = (i * 7919 + j * 104_729 + k * 1_299_709) % 1009;
    mixed as f32 / 100.9 - 5.0
}

/// 49 slices of 10 numbers each, of waves whose length is the class; far from 0 and from 1.
fn sounds(count: usize, seed: usize) -> Vec<f32> {
    let image = |i: usize| {
        let class = (i % CLASSES + 1) as f32;
        (0..490).map(move |at| {
            let (slice, band) = (at / 10, at % 10);
            let wave = (slice as f32 * class / 4.0 + band as f32).sin();
            300.0 + 20.0 * wave + noise(seed + i, slice, band)
        })
    };
    (0..count).flat_map(image).collect()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

fn top1(bench: &Bench, args: &[&str]) -> (f64, f64) {
    let answer = json(&succeed(&mut bench.s3(args)));
    let number = |key: &str| answer[key].as_f64().expect("a number");
    (number("top1"), number("loss"))
}

/// Exports `run` with f32 and u8 activations and evaluates both files; the former is what was
/// trained.
fn assert_files_agree(bench: &Bench, run: &str) {
    let (trained, loss) = top1(bench, &["eval", run, "--json"]);
    assert!(trained > 0.6, "{trained}: a third is chance");
    for (file, activations) in [("f32.safetensors", "f32"), ("u8.safetensors", "u8")] {
        let args = ["export", run, "-o", file, "--activations", activations];
        succeed(&mut bench.s3(&args));
        let bytes = std::fs::read(bench.path(file)).expect("the file");
        let model = Model::from_bytes(&bytes).expect("a packed network");
        assert_eq!(model.network().input.numbers, Numbers::Floats);
        let args = [
            "eval", file, "--data", "arrays", "--folder", "speech", "--json",
        ];
        let (packed, packed_loss) = top1(bench, &args);
        if activations == "f32" {
            assert_eq!(packed, trained);
            assert!((packed_loss - loss).abs() < 1e-4, "{packed_loss}, {loss}");
        } else {
            assert!((packed - trained).abs() < 0.1, "{packed}, {trained}");
        }
    }
}

#[test]
fn ds_cnn_learns_features_of_sound_and_is_packed() {
    let bench = bench(r#"name = "ds_cnn", width = 8, blocks = 2"#);
    let missing = refusal(&mut bench.s3(&["summary", "tiny.toml"]));
    assert!(missing.contains("no train.npz, or train_x.npy and train_y.npy, in"));
    for (split, count, seed) in [("train", 96, 0), ("test", 48, 1000)] {
        let x = floats(&sounds(count, seed), &[count, 49, 10, 1]);
        write(&bench, &format!("{split}_x.npy"), &x);
        write(
            &bench,
            &format!("{split}_y.npy"),
            &labels(count, DType::I64),
        );
    }
    write(&bench, "classes.txt", b"yes\nno\nup\n");
    let summary = succeed(&mut bench.s3(&["summary", "tiny.toml"]));
    assert!(
        summary.contains("25x5x8") && summary.contains("1x1x3"),
        "{summary}"
    );
    succeed(&mut bench.train("runs", &[]));
    let run = bench.run("runs");
    let seen = json(&std::fs::read_to_string(run.join("network.json")).expect("it"));
    assert_eq!(seen["input"]["numbers"], "floats");
    assert_eq!(seen["classes"], serde_json::json!(["yes", "no", "up"]));
    let mean = seen["input"]["mean"][0].as_f64().expect("a mean");
    assert!((290.0..310.0).contains(&mean), "{mean}");
    let page = std::fs::read_to_string(run.join("report.html")).expect("a page");
    assert!(
        page.contains("The 48 test images"),
        "answers are on the page"
    );
    let run = run.display().to_string();
    assert_files_agree(&bench, &run);

    // C takes the floats too.
    let fidelity = ["fidelity", &run, "--calibration", "mse", "--json"];
    let has_c = Command::new("cc").arg("--version").output().is_ok();
    let cc: &[&str] = if has_c { &["--cc", "cc"] } else { &[] };
    let made = json(&succeed(&mut bench.s3(&[&fidelity, cc].concat())));
    let networks = made["networks"].as_array().expect("networks");
    let same = serde_json::json!([0, 48 * CLASSES]);
    let in_c = networks.iter().filter(|n| n["other_scores"] == same);
    // u8-shift takes no depthwise layers in full precision.
    assert_eq!(in_c.count(), usize::from(has_c), "{made}");

    // One image a file, and no image.
    let one = sounds(2, 1000)[490..].to_vec();
    std::fs::write(bench.path("one.npy"), floats(&one, &[49, 10])).expect("a file");
    let answer = json(&succeed(&mut bench.s3(&[
        "infer",
        "f32.safetensors",
        "one.npy",
        "--json",
    ])));
    assert_eq!(answer["top"].as_array().map(Vec::len), Some(3));
    let grey = image::GrayImage::from_pixel(10, 49, image::Luma([7]));
    grey.save(bench.path("one.png")).expect("a picture");
    let line = refusal(&mut bench.s3(&["infer", "f32.safetensors", "one.png"]));
    assert!(
        line.contains("one.png: the network takes floats, which no picture holds"),
        "{line}"
    );
    std::fs::write(bench.path("two.npy"), floats(&one, &[10, 49])).expect("a file");
    let line = refusal(&mut bench.s3(&["infer", "u8.safetensors", "two.npy"]));
    assert!(
        line.contains("two.npy: an array of [10, 49], the network takes 49x10x1"),
        "{line}"
    );
}

#[test]
fn an_mlp_learns_rows_of_features_and_other_arrays_are_refused() {
    let bench = bench(r#"name = "mlp", hidden = [16, 16]"#);
    // Six features of different units; the class is the sign of two of them. The last never varies.
    let rows = |count: usize, seed: usize| -> Vec<f32> {
        let row = move |i: usize| {
            let class = (i % CLASSES) as f32;
            let n = |k: usize| noise(seed + i, k, 3);
            [
                1e4 * (n(0) + 9.0 * class),
                n(1) / 1e3,
                n(2) - 9.0 * class,
                n(3),
                50.0,
                -4.0,
            ]
        };
        (0..count).flat_map(row).collect()
    };
    let archive = |name: &str, count: usize, seed: usize| {
        let x = floats(&rows(count, seed), &[count, 6]);
        let y = labels(count, DType::U8);
        npz(&bench, name, &[("x.npy", &x), ("y.npy", &y)]);
    };
    archive("train.npz", 96, 0);
    archive("test.npz", 48, 1000);
    succeed(&mut bench.train("runs", &[]));
    let run = bench.run("runs").display().to_string();
    let page = std::fs::read_to_string(bench.run("runs").join("report.html")).expect("a page");
    assert!(
        page.contains("The 48 test images"),
        "answers are on the page"
    );
    assert_files_agree(&bench, &run);
    std::fs::write(bench.path("row.npy"), floats(&rows(1, 1000), &[6])).expect("a file");
    let answer = succeed(&mut bench.s3(&["infer", "u8.safetensors", "row.npy", "--top", "1"]));
    assert!(answer.contains("row.npy"), "{answer}");
    succeed(&mut bench.s3(&["export", &run, "-o", "net.c"]));
    let header = std::fs::read_to_string(bench.path("net.h")).expect("a header");
    assert!(
        header.contains("net_quantize(const float *numbers, int8_t *image)"),
        "{header}"
    );

    // A mean of one's own makes another run.
    let given = ["--set", "data.mean=[0, 0, 0, 0, 0, 0]", "--set", "epochs=1"];
    succeed(&mut bench.train("given", &given));
    let seen = std::fs::read_to_string(bench.run("given").join("network.json")).expect("it");
    assert_eq!(
        json(&seen)["input"]["mean"],
        serde_json::json!(vec![0.0; 6])
    );
    assert_ne!(
        bench.run("given").file_name(),
        bench.run("runs").file_name()
    );

    // Bytes of the same shape, and floats of another, in place of what was trained on.
    let y = labels(12, DType::U8);
    for (x, said) in [
        (
            npy("|u1", "(12, 6)", &[9; 72]),
            "images of bytes, network mlp-arrays takes floats",
        ),
        (
            floats(&[0.5; 60], &[12, 5]),
            "images of [1, 1, 5], network mlp-arrays takes [1, 1, 6]",
        ),
    ] {
        for name in ["train.npz", "test.npz"] {
            npz(&bench, name, &[("x.npy", &x), ("y.npy", &y)]);
        }
        let of_file = ["eval", "f32.safetensors", "--folder", "speech"];
        for args in [&["eval", &run][..], &of_file] {
            let line = refusal(&mut bench.s3(args));
            assert!(line.contains(said), "{line}");
        }
    }
}

#[test]
fn bad_arrays_are_one_line_each_and_leave_no_run() {
    let bench = bench(r#"name = "mlp", hidden = [4]"#);
    let x = |values: &[f32]| floats(values, &[values.len() / 2, 2]);
    let whole = || {
        write(&bench, "train_x.npy", &x(&[0.5; 64]));
        write(&bench, "train_y.npy", &labels(32, DType::I64));
        write(&bench, "test_x.npy", &x(&[0.5; 18]));
        write(&bench, "test_y.npy", &labels(9, DType::I64));
    };
    let mut nan = [0.5; 64];
    nan[33] = f32::NAN;
    let huge = npy("<f8", "(1152921504606846976, 2)", &[0; 16]);
    for (name, bytes, words) in [
        ("train_x.npy", x(&nan), "train_x.npy: [16, 1] is NaN"),
        (
            "train_x.npy",
            x(&[0.5; 62]),
            "train_x.npy holds 31 images but",
        ),
        (
            "train_x.npy",
            b"no array".to_vec(),
            "train_x.npy: no array that NumPy has written",
        ),
        (
            "train_x.npy",
            huge,
            "train_x.npy: shape [1152921504606846976, 2] of <f8: too many",
        ),
        (
            "train_x.npy",
            labels(32, DType::I64),
            "train_x.npy: sides [32], expected",
        ),
        (
            "test_x.npy",
            npy("|b1", "(9, 2)", &[1; 18]),
            "test_x.npy: dtype |b1: expected uint8,",
        ),
        (
            "test_x.npy",
            npy("|u1", "(9, 2)", &[1; 18]),
            "test_x.npy: bytes of 1x1x2,",
        ),
        (
            "train_y.npy",
            npy("|i1", "(32,)", &[0xfd; 32]),
            "label -3 of item 0 is out of range",
        ),
        (
            "test_y.npy",
            npy("|u1", "(9,)", &[3; 9]),
            "test_y.npy: label 3 of item 0",
        ),
        (
            "train.npz",
            b"PK".to_vec(),
            "holds both train.npz and train_x.npy",
        ),
    ] {
        whole();
        write(&bench, name, &bytes);
        let line = refusal(&mut bench.train("runs", &[]));
        assert!(line.contains(words), "{line}");
    }
    std::fs::remove_file(bench.path("data/speech/train.npz")).expect("removed");
    whole();
    for (setting, words) in [
        ("data.mean=[1.0]", "mean: 1 numbers of 2 channels"),
        ("data.std=[1.0, 0.0]", "std: expected numbers > 0"),
        ("data.size=8", "size is for pictures in files"),
        ("data.folder=nowhere", "no train.npz, or"),
        (
            "model={ name = \"lenet5\" }",
            "error: tiny.toml: model.name: lenet5: ",
        ),
        (
            "model={ name = \"nodes\", nodes = [{ name = \"p\", op = \"mean_pool\" }] }",
            "error: tiny.toml: model.name: nodes: ",
        ),
    ] {
        let line = refusal(&mut bench.train("runs", &["--set", setting]));
        assert!(line.contains(words), "{line}");
    }
    assert!(!bench.path("runs").exists(), "a refused run left a folder");
    std::fs::remove_file(bench.path("data/speech/test_y.npy")).expect("removed");
    let line = refusal(&mut bench.train("runs", &["--dry-run"]));
    assert!(
        line.contains("no test.npz, or test_x.npy and test_y.npy, in"),
        "{line}"
    );
}

/// Writes what NumPy makes of the same numbers: arrays in files and archives of every kind.
const SCRIPT: &str = r#"
import os, numpy as np
x = np.frombuffer(open("x", "rb").read(), "<f4").reshape(6, 5, 4, 2)
y = np.array([0, 2, 1, 0, 2, 1])
names = np.array(["yes", "né", "up"])
for kind in ["plain", "packed", "big", "double", "files"]:
    os.mkdir(kind)
for split in ["train", "test"]:
    np.savez("plain/%s.npz" % split, x=x, y=y, classes=names)
    np.savez_compressed("packed/%s.npz" % split, x=x, y=y.astype(np.uint16), classes=names)
    np.savez("big/%s.npz" % split, x=x.astype(">f4"), y=y.astype(">i4"), classes=names)
    np.savez("double/%s.npz" % split, x=x.astype(np.float64), y=y.astype(np.int8), classes=names)
    np.save("files/%s_x.npy" % split, x)
    np.save("files/%s_y.npy" % split, y)
open("files/classes.txt", "w", encoding="utf-8").write("yes\nné\nup\n")
"#;

#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn skip(reason: &str) {
    eprintln!("skipped: {reason}");
}

#[test]
fn what_numpy_writes_is_read_to_the_bit() {
    let python = std::env::var("S3_BENCH_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let found = Command::new(&python).args(["-c", "import numpy"]).output();
    if !found.is_ok_and(|o| o.status.success()) {
        return skip("no Python with numpy (S3_BENCH_PYTHON)");
    }
    let folder = tempfile::tempdir().expect("a folder");
    // Of both signs and of all exponents but the one of infinity and NaN.
    let bits = |i: u32| {
        let bits = i.wrapping_mul(2_654_435_761);
        match bits >> 23 & 0xff {
            0xff => bits ^ 1 << 23,
            _ => bits,
        }
    };
    let x: Vec<f32> = (0..240).map(|i| f32::from_bits(bits(i))).collect();
    let bytes: Vec<u8> = x.iter().flat_map(|v| v.to_le_bytes()).collect();
    std::fs::write(folder.path().join("x"), bytes).expect("numbers");
    let mut script = Command::new(&python);
    script.current_dir(folder.path()).args(["-c", SCRIPT]);
    let output = script.output().expect("Python starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    for kind in ["plain", "packed", "big", "double", "files"] {
        let read = read(folder.path(), kind);
        let Images::Floats(floats) = &read.images else {
            panic!("{kind}: bytes")
        };
        let same = |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits();
        assert!(floats.iter().zip(&x).all(same), "{kind}");
        assert_eq!(
            (read.height, read.width, read.channels),
            (5, 4, 2),
            "{kind}"
        );
        assert_eq!(read.labels, [0, 2, 1, 0, 2, 1], "{kind}");
        assert_eq!(read.class_names, ["yes", "né", "up"], "{kind}");
    }
}

/// The training images of the folder `kind`.
fn read(folder: &Path, kind: &str) -> Dataset {
    let config = DataConfig {
        folder: Some(kind.to_owned()),
        ..DataConfig::of(DataName::Arrays)
    };
    let splits = data::load(&config, Some(folder)).expect(kind);
    Dataset::clone(&splits.train)
}
