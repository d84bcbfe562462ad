//! The networks of docs/results/networks-fidelity.md beside each other: whatever asks one of them
//! gets one answer.

mod common;

use common::{Bench, succeed};
use s3_train::data::{Dataset, shapes};
use s3_train::eval;
use s3_train::trained::Trained;
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// The recipes, with what makes a large network one of seconds; and one of a single layer, whose C
/// file holds no value.
const NETWORKS: [(&str, &[&str]); 8] = [
    ("cifar10/mobilenet_v1-quarter-s3-3bit", &[]),
    ("cifar10/mobilenet_v2-half-s3-3bit", &[]),
    ("cifar10/vgg_small-s3-3bit", &["model.width=32"]),
    ("cifar10/resnet56-s3-3bit", &[]),
    ("mnist/ds_cnn-s3-3bit", &[]),
    ("mnist/mlp-s3-3bit", &[]),
    ("cifar10/nodes-s3-3bit", &[]),
    ("mnist/mlp-s3-3bit", &["model.hidden=[]"]),
];

const IMAGES: usize = 40;

/// Of the loss, which batch norms that have seen a dozen batches make large: sums in another order.
const LOSS_ERROR: f64 = 1e-3;

/// Generated images as the files of `arrays`, so that a packed file is asked as many as its run.
fn write(bench: &Bench, split: &str, data: &Dataset) {
    let array = |shape: &str, bytes: &[u8]| {
        let text = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}\n");
        let length = (text.len() as u16).to_le_bytes();
        [b"\x93NUMPY\x01\0", &length[..], text.as_bytes(), bytes].concat()
    };
    let (n, side, channels) = (data.len(), data.height, data.channels);
    let x = array(
        &format!("({n}, {side}, {side}, {channels})"),
        data.images.bytes(),
    );
    let labels: Vec<u8> = data.labels.iter().map(|&label| label as u8).collect();
    let y = array(&format!("({n},)"), &labels);
    std::fs::create_dir_all(bench.path("data/small")).expect("a folder");
    for (name, bytes) in [("x", x), ("y", y)] {
        let path = bench.path(&format!("data/small/{split}_{name}.npy"));
        std::fs::write(path, bytes).expect("a file");
    }
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

fn has_c() -> bool {
    let made = Command::new("cc").arg("--version").output();
    made.is_ok_and(|made| made.status.success())
}

#[expect(clippy::print_stderr, reason = "a skipped part says so")]
fn skip(reason: &str) {
    eprintln!("skipped: {reason}");
}

#[test]
fn whatever_asks_a_network_gets_one_answer() {
    let bench = Bench::new();
    let (train, test) = shapes::generate(Some(96), Some(IMAGES));
    write(&bench, "train", &train);
    write(&bench, "test", &test);
    let files: Vec<String> = (0..4).map(|i| format!("{i}.png")).collect();
    for (i, file) in files.iter().enumerate() {
        let bytes = test.image(i).expect("an image").bytes().to_vec();
        let (width, height) = (test.width as u32, test.height as u32);
        let image = image::RgbImage::from_raw(width, height, bytes).expect("as many bytes");
        image.save(bench.path(file)).expect("a picture");
    }
    if !has_c() {
        skip("C: cc is not installed");
    }
    for (index, (recipe, settings)) in NETWORKS.into_iter().enumerate() {
        for bits in [2, 3] {
            let out = format!("{index}-{bits}");
            let run = trained(&bench, recipe, settings, bits, &out);
            answers_are_one(&bench, &run, &files);
        }
    }
}

/// The folder of a run of `recipe`, below `out`.
fn trained(bench: &Bench, recipe: &str, settings: &[&str], bits: u32, out: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let file = root.join(format!("xtask/experiments/{recipe}.toml"));
    let file = file.display().to_string();
    let mut command = bench.s3(&["train", &file, "--out", out]);
    let bits = format!("method.bits={bits}");
    let data = r#"data={name="arrays", folder="small"}"#;
    for setting in [data, "epochs=1", "batch_size=8", &bits] {
        command.args(["--set", setting]);
    }
    for setting in settings {
        command.args(["--set", setting]);
    }
    succeed(&mut command);
    let (folder, _) = recipe.split_once('/').expect("a folder");
    bench.run(&format!("{out}/{folder}")).display().to_string()
}

fn answers_are_one(bench: &Bench, run: &str, files: &[String]) {
    // The network as the library has it, image by image.
    let data_dir = bench.path("data");
    let trained = Trained::open(Path::new(run), "last", Some(&data_dir)).expect(run);
    let at_hand = trained.to_evaluate(Some(&data_dir), false).expect(run);
    let test = at_hand.splits.test;
    let answers = eval::evaluate(&trained.net, &test, 8, &trained.device).expect(run);

    let ask = |args: &[&str]| json(&succeed(&mut bench.s3(args)));
    let of_run = ask(&["eval", run, "--json"]);
    assert_eq!(of_run["top1"].as_f64(), answers.accuracy.top1(), "{run}");
    succeed(&mut bench.s3(&[
        "export",
        run,
        "-o",
        "net.safetensors",
        "--activations",
        "f32",
    ]));
    let data = ["--data", "arrays", "--folder", "small", "--json"];
    let of_file = ask(&[&["eval", "net.safetensors"], &data[..]].concat());
    for key in ["images", "top1", "top5"] {
        assert_eq!(of_file[key], of_run[key], "{run}: {key}");
    }
    let [file, whole] = [&of_file, &of_run].map(|a| a["loss"].as_f64().expect("a loss"));
    let error = (file - whole).abs() / whole;
    assert!(error < LOSS_ERROR, "{run}: loss {file}, {whole}");

    for (file, &class) in files.iter().zip(&answers.top1) {
        let answer = ask(&["infer", "net.safetensors", file, "--top", "1", "--json"]);
        assert_eq!(answer["top"][0]["class"], class, "{run}: {file}");
    }

    let summary = succeed(&mut bench.s3(&["summary", run]));
    for node in &trained.net.plan().nodes {
        assert!(
            summary.contains(&node.name),
            "{run}: {}: {summary}",
            node.name
        );
    }
    let page = std::fs::read_to_string(Path::new(run).join("report.html")).expect("a page");
    assert!(page.contains("The 40 test images"), "{run}");
    let top1 = format!("{:.2} %", 100.0 * answers.accuracy.top1().expect("images"));
    assert!(page.contains(&top1), "{run}: {top1}");

    let fidelity = ["fidelity", run, "--calibration", "mse", "--json"];
    let c: &[&str] = if has_c() { &["--cc", "cc"] } else { &[] };
    let made = ask(&[&fidelity, c].concat());
    let networks = made["networks"].as_array().expect("networks");
    let named = |name: &str| networks.iter().find(|n| n["network"] == name);
    for name in ["trained", "f32"] {
        let network = named(name).expect(name);
        assert_eq!(network["top1"], of_run["top1"], "{run}: {name}");
        assert_eq!(network["other_answers"], 0, "{run}: {name}");
    }
    for name in ["u8, mse", "u8-shift, mse"] {
        let in_c = format!("c, {name}");
        let integers = named(name).unwrap_or_else(|| panic!("{run}: no {name}"));
        let Some(in_c) = named(&in_c) else {
            assert!(c.is_empty(), "{run}: no {in_c}");
            continue;
        };
        assert_eq!(in_c["other_scores"][0], 0, "{run}: {name}");
        assert_eq!(in_c["top1"], integers["top1"], "{run}: {name}");
    }
}
