//! From a run's folder to a packed file and back, and every method on the way.

mod common;

use std::process::Command;

use candle_core::{DType, Device, Tensor};
use common::{Bench, refusal, succeed};
use s3_core::{Params, Role};
use s3_layers::int8::{Calibration, Observed, quantize};
use s3_layers::model::{Activations, Graph, Input, Model, Numbers, Size};
use s3_layers::zoo::{self, Plan, Settings};
use s3_layers::{Mode, Net};
use s3_quant::{ByRole, METHODS};
use s3_train::packed::{f32_bytes, sizes};

/// The scores of a network are sums of the same products in another order: at most 576 of them, ten
/// layers deep, each within `2^-24` of its magnitudes.
const FLOAT_ERROR: f32 = 1e-4;

/// Of the largest score, as in `s3-layers/tests/frozen.rs`.
const ERROR_A_NODE: f32 = 0.014;

/// ResNet-8 on grey images of 8 x 8 pixels.
fn resnet8(classes: usize) -> Graph<Plan> {
    let image = Size {
        height: 8,
        width: 8,
        channels: 1,
    };
    zoo::graph("resnet8", &Settings::new(), image, classes).expect("a network")
}

fn input(channels: usize) -> Input {
    Input {
        mean: vec![0.0; channels],
        std: vec![1.0; channels],
        scale: 1.0,
        numbers: Numbers::Bytes,
        fit: None,
    }
}

/// Bytes of a network as f32, with a scale and a bias a channel, and its number of weights.
fn float_size(net: &Net) -> [usize; 2] {
    let layers = net.layers();
    let weights: usize = layers
        .iter()
        .map(|l| l.spec.shape.iter().product::<usize>())
        .sum();
    let channels: usize = layers.iter().map(|l| l.spec.shape[0]).sum();
    [4 * weights + 8 * channels, weights]
}

#[test]
fn every_method_freezes_to_what_it_trained() {
    let image: Vec<f32> = (0..64).map(|i| (i as f32 * 0.37).sin()).collect();
    let x = Tensor::from_slice(&image, (1, 8, 8, 1), &Device::Cpu).expect("an image");
    for entry in METHODS {
        for &bits in entry.bits {
            let mut table = toml::toml! { name = "x" };
            table.insert("name".into(), entry.name.into());
            if s3_quant::build(&table).is_err() {
                table.insert("bits".into(), i64::from(bits).into());
            }
            let method = ByRole {
                method: s3_quant::build(&table)
                    .expect("the minimal configuration")
                    .method,
                full_precision: vec![Role::First, Role::Last],
            };
            let params = Params::new(1, &Device::Cpu);
            let net = Net::new(&resnet8(4), DType::F32, &method, &params).expect("a network");
            let classes = ["a", "b", "c", "d"].map(String::from).to_vec();
            let network = net.freeze("x", input(1), classes).expect(entry.name);
            // Planes are no layers of their own.
            let [floats, weights] = float_size(&net);
            assert_eq!(f32_bytes(&network), floats, "{} {bits}", entry.name);
            let layers = sizes(&network).into_iter().filter(|l| !l.is_plane);
            assert_eq!(layers.map(|l| l.weights).sum::<usize>(), weights);
            let model = Model::new(network.clone()).expect("runs");
            let served = model.run(&image, 1).expect("scores");
            let trained = net.forward(&x, Mode::Eval).expect("scores");
            let trained = trained
                .flatten_all()
                .expect("flat")
                .to_vec1::<f32>()
                .expect("f32");
            let most = trained.iter().fold(0f32, |m, v| m.max(v.abs()));
            for (a, b) in served.iter().zip(&trained) {
                let error = (a - b).abs() / most;
                assert!(error <= FLOAT_ERROR, "{} {bits}: {error}", entry.name);
            }
            // Planes are added in 8 bits; s3-layers' own tests bound the error of a network that
            // learned nothing.
            let mut observed = Observed::new(&network);
            observed.run(&model, &image, 1).expect("observes");
            let bound = ERROR_A_NODE * network.graph.nodes.len() as f32;
            let integers = quantize(&network, &observed, Activations::U8, Calibration::MinMax);
            let integers = Model::new(integers.expect(entry.name)).expect("runs");
            for (a, b) in integers.run(&image, 1).expect("scores").iter().zip(&served) {
                let error = (a - b).abs() / most;
                assert!(error <= bound, "{} {bits}, u8: {error}", entry.name);
            }
        }
    }
}

#[test]
fn a_method_that_quantizes_inputs_is_not_exported_and_says_why() {
    let table = toml::toml! { name = "hwgq" activation_bits = 2 };
    let method = ByRole {
        method: s3_quant::build(&table).expect("a method").method,
        full_precision: vec![Role::First, Role::Last],
    };
    let params = Params::new(1, &Device::Cpu);
    let net = Net::new(&resnet8(2), DType::F32, &method, &params).expect("a network");
    let refused = net.freeze("x", input(1), vec!["a".into(), "b".into()]);
    let message = refused.expect_err("refused").to_string();
    assert!(
        message.starts_with("layer layer1.0.conv1: its method quantizes its input"),
        "{message}"
    );
    let params = Params::new(1, &Device::Cpu);
    let refused = Net::new(&resnet8(2), DType::BF16, &method, &params);
    let message = refused.expect_err("refused").to_string();
    assert!(message.contains("trains in f32 only"), "{message}");
}

#[test]
fn a_run_becomes_a_file_that_answers_like_it() {
    let bench = Bench::new();
    succeed(&mut bench.train("runs", &["--set", "epochs=2"]));
    let run = bench.run("runs").display().to_string();
    let evaluate = |what: &str| -> serde_json::Value {
        serde_json::from_str(&succeed(&mut bench.s3(&["eval", what, "--json"]))).expect("JSON")
    };
    let trained = evaluate(&run);
    for (activations, bound) in [("f32", 1e-4), ("u8", 0.2), ("u8-shift", 0.4)] {
        let file = format!("{activations}.safetensors");
        let export = || {
            let mut command = bench.s3(&["export", &run, "-o", &file]);
            command.args(["--activations", activations, "--calibration-images", "60"]);
            succeed(&mut command)
        };
        let table = export();
        assert!(
            table.contains("layer3.0.conv2") && table.contains("0, ±1, ±2, ±4"),
            "{table}"
        );
        let bytes = std::fs::read(bench.path(&file)).expect("the file");
        export();
        let again = std::fs::read(bench.path(&file)).expect("the file");
        assert!(bytes == again, "{activations}: two exports differ");
        let model = Model::from_bytes(&bytes).expect("loads");
        assert_eq!(model.to_bytes(), bytes);
        assert_eq!(model.network().name, "resnet8-shapes");

        // The file is evaluated on all test images, the run on its own 50.
        assert_eq!(evaluate(&file)["images"], 2000);
        let labels = s3_train::data::shapes::generate(Some(160), Some(50)).1;
        let answers = s3_train::packed::evaluate(&model, &labels.into(), 25).expect("answers");
        let loss = answers.accuracy.mean_loss().expect("a loss");
        let was = trained["loss"].as_f64().expect("a loss");
        assert!(
            (loss - was).abs() < bound * was,
            "{activations}: {loss}, trained {was}"
        );
    }
}

#[test]
fn images_are_classified_with_names() {
    let bench = Bench::new();
    succeed(&mut bench.train("runs", &["--set", "epochs=1"]));
    let run = bench.run("runs").display().to_string();
    succeed(&mut bench.s3(&["export", &run, "-o", "n.safetensors"]));
    let image = image::RgbImage::from_fn(40, 30, |x, y| image::Rgb([x as u8, y as u8, 9]));
    image.save(bench.path("p.png")).expect("a picture");
    let answer = succeed(&mut bench.s3(&["infer", "n.safetensors", "p.png", "--json"]));
    let answer: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
    let top = answer["top"].as_array().expect("answers");
    assert_eq!(top.len(), 5);
    let name = top[0]["name"].as_str().expect("a name");
    assert!(
        s3_train::data::shapes::generate(Some(1), Some(1))
            .0
            .class_names
            .iter()
            .any(|n| n == name)
    );
    let none = bench
        .s3(&["infer", "n.safetensors", "p.png", "--top", "0"])
        .output();
    let none = none.expect("s3 starts");
    let said = String::from_utf8_lossy(&none.stderr).into_owned();
    assert!(
        none.status.code() == Some(2) && said.contains("--top"),
        "{said}"
    );
    let plain = succeed(&mut bench.s3(&["infer", "n.safetensors", "p.png", "p.png"]));
    assert_eq!(plain.lines().count(), 2 * 6, "{plain}");

    std::fs::write(bench.path("bad.png"), b"no picture").expect("a file");
    assert!(refusal(&mut bench.s3(&["infer", "n.safetensors", "bad.png"])).contains("bad.png"));
    assert!(refusal(&mut bench.s3(&["infer", "bad.png", "p.png"])).contains("bad.png"));
    assert!(refusal(&mut bench.s3(&["eval", "bad.png"])).contains("bad.png"));
    let wrong = refusal(&mut bench.s3(&["eval", &run, "--data", "shapes"]));
    assert!(wrong.contains("its own data set"), "{wrong}");
}

#[test]
fn other_formats_are_written_or_refused_with_the_reason() {
    let bench = Bench::new();
    succeed(&mut bench.train("runs", &["--set", "epochs=1"]));
    let run = bench.run("runs").display().to_string();
    let export = |activations: &str, format: &str, file: &str| {
        let mut command = bench.s3(&["export", &run, "-o", file, "--calibration-images", "60"]);
        command.args(["--activations", activations, "--format", format]);
        command
    };
    let read = |file: &str| std::fs::read_to_string(bench.path(file)).expect("the file");
    for format in ["onnx", "qonnx"] {
        succeed(&mut export("f32", format, "net.onnx"));
        let bytes = std::fs::read(bench.path("net.onnx")).expect("the file");
        assert_eq!(bytes[..2], [8, 8], "the version of ONNX's format");
        let refused = refusal(&mut export("u8", format, "no.onnx"));
        assert!(refused.contains("f32 activations"), "{refused}");
    }
    let mut four = export("f32", "onnx", "net4.onnx");
    succeed(four.args(["--onnx-weights", "int4"]));
    let mut unused = export("f32", "s3", "no.onnx");
    let refused = refusal(unused.args(["--onnx-weights", "int4"]));
    assert!(refused.contains("--format onnx"), "{refused}");
    let refused = refusal(&mut bench.s3(&["eval", "none.safetensors"]));
    assert!(refused.contains("none.safetensors: no such"), "{refused}");

    succeed(&mut export("u8-shift", "c", "net.c"));
    assert!(read("net.h").contains("void net_run("));
    assert!(read("net.c").contains("void net_run("));
    // Both files or neither.
    for (file, folder) in [("one.c", "one.c"), ("two.c", "two.h")] {
        std::fs::create_dir(bench.path(folder)).expect("a folder");
        let refused = refusal(&mut export("u8", "c", file));
        assert!(refused.contains(folder), "{refused}");
    }
    assert!(!bench.path("one.h").exists() && !bench.path("two.c").exists());
    assert!(refusal(&mut export("u8", "c", "net.txt")).contains("ends in .c"));
    assert!(refusal(&mut export("f32", "c", "no.c")).contains("8-bit activations"));
    assert!(!bench.path("no.onnx").exists() && !bench.path("no.h").exists());
}

#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn skip(reason: &str) {
    eprintln!("skipped: {reason}");
}

#[cfg(unix)]
#[test]
fn what_python_lacks_is_said_in_one_line_a_file() {
    let bench = Bench::new();
    succeed(&mut bench.train("runs", &["--set", "epochs=1"]));
    let run = bench.run("runs").display().to_string();
    let fidelity = |python: &str| {
        let mut command = bench.s3(&["fidelity", &run, "--calibration-images", "60"]);
        command.args(["--python", python]);
        command
    };
    let refused = refusal(&mut fidelity("no-such-python"));
    assert!(
        refused.starts_with("error: --python no-such-python: "),
        "{refused}"
    );

    // One that has nothing.
    let bare = bench.path("bare");
    std::fs::write(
        &bare,
        "#!/bin/sh\ncat > /dev/null\necho no module numpy >&2\n",
    )
    .expect("bare");
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&bare, executable).expect("bare");
    let page = bench.path("page.md").display().to_string();
    let mut command = fidelity(&bare.display().to_string());
    let made = command
        .args(["--markdown", &page])
        .output()
        .expect("s3 starts");
    let [text, said] = [made.stdout, made.stderr].map(|b| String::from_utf8_lossy(&b).into_owned());
    for format in ["onnx int8", "onnx int4", "qonnx"] {
        let start = format!("note: resnet8 (shortcut=A) on shapes, s3, 3 bits: {format}: ");
        let lines = said
            .lines()
            .filter(|l| l.starts_with(&start) && l.ends_with("no module numpy"));
        assert_eq!(lines.count(), 1, "{said}");
    }
    assert!(
        !text.contains("onnxruntime") && text.contains("| u8, mse"),
        "{text}"
    );
    let page = std::fs::read_to_string(page).expect("the page");
    assert!(!page.contains("full checker"), "{page}");
}

#[test]
fn c_files_are_compiled_and_give_the_runtimes_scores() {
    let bench = Bench::new();
    succeed(&mut bench.train("runs", &["--set", "epochs=1"]));
    let run = bench.run("runs").display().to_string();
    let fidelity = |cc: &str| {
        let args = ["fidelity", &run, "--images", "20", "--calibration", "mse"];
        let mut command = bench.s3(&args);
        command.args(["--calibration", "minmax", "--cc", cc]);
        command
    };
    let refused = refusal(&mut fidelity("no-such-cc"));
    let line = "error: --cc no-such-cc: ";
    assert!(refused.starts_with(line), "{refused}");
    let found = Command::new("cc").arg("--version").output();
    if !found.is_ok_and(|found| found.status.success()) {
        return skip("cc is not installed");
    }
    let page = bench.path("page.md").display().to_string();
    let table = succeed(fidelity("cc").args(["--markdown", &page]));
    // Ten classes.
    let same = |line: &&str| line.ends_with("0 of 200 differ |");
    assert_eq!(table.lines().filter(same).count(), 4, "{table}");
    for network in ["u8, mse", "u8, minmax", "u8-shift, mse", "u8-shift, minmax"] {
        let beside = |name: &str| {
            let line = table.lines().find(|line| line.contains(name)).expect(name);
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            assert_eq!(cells[1], "resnet8 (shortcut=A) on shapes, s3, 3 bits");
            assert_eq!(cells[6], "20", "{line}");
            cells[3..6].join(" ")
        };
        let in_c = beside(&format!("| c, {network}, "));
        assert_eq!(in_c, beside(&format!("| {network} ")), "{network}");
    }
    assert!(!table.contains("percentile"), "{table}");
    let page = std::fs::read_to_string(page).expect("the page");
    assert!(page.contains("--images 20 --cc CC") && page.contains("the first 20 test images"));
    let json = succeed(fidelity("cc").arg("--json"));
    let json: serde_json::Value = serde_json::from_str(&json).expect("one line of JSON");
    let networks = json["networks"].as_array().expect("networks");
    let in_c = networks
        .iter()
        .filter(|n| n["other_scores"] == serde_json::json!([0, 200]));
    assert_eq!((networks.len(), in_c.count()), (2 + 2 * 4, 4));
}

/// The figures that a packed network is for: bytes of the whole file, and of a weight.
#[test]
fn a_3_bit_resnet18_is_a_ninth_of_its_floats() {
    let path = "../../xtask/experiments/imagenet/resnet18-s3-3bit.toml";
    let config = s3_train::config::Config::load(path.as_ref(), &[]).expect("the experiment");
    let (image, classes) = s3_train::summary::image_of(&config.data).expect("known");
    let params = Params::new(config.seed, &Device::Cpu);
    let method = config.method().expect("a method");
    let plan = config.plan(image, classes).expect("a network");
    let net = Net::new(&plan, DType::F32, &method, &params).expect("a network");
    let names = (0..classes).map(|class| class.to_string()).collect();
    let frozen = net
        .freeze("resnet18-imagenet", input(image.channels), names)
        .expect("freezes");
    let x: Vec<f32> = (0..image.len()).map(|i| (i as f32 * 0.37).sin()).collect();
    let mut observed = Observed::new(&frozen);
    let model = Model::new(frozen.clone()).expect("runs");
    observed.run(&model, &x, 1).expect("scores");
    let integers = quantize(&frozen, &observed, Activations::U8, Calibration::MinMax);
    let integers = integers.expect("an integer network");
    let file = Model::new(integers.clone()).expect("runs").to_bytes().len();
    let floats = f32_bytes(&integers);
    assert!(9 * file <= floats, "{file} bytes, {floats} as f32");
    let layers = sizes(&integers);
    let packed = layers
        .iter()
        .filter(|layer| layer.levels.starts_with("0, "));
    let (bytes, weights) = packed.fold((0, 0), |(bytes, weights), layer| {
        (bytes + layer.bytes, weights + layer.weights)
    });
    let bits = 8.0 * bytes as f64 / weights as f64;
    assert!(
        weights > 11_000_000 && bits <= 3.1,
        "{bits} bits of {weights}"
    );
}
