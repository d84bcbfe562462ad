//! What a run and its files keep of the data that they were trained on, and what is said of other
//! data.

mod common;

use common::{Bench, is_inventory, refusal, succeed};
use s3_layers::model::{Act, Fit, Model, Network, Op};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// `DATA/pets` with 6 + 4 images a class, each class of its own colour, and `tiny.toml`, which
/// trains on them.
fn pets() -> Bench {
    let bench = Bench::new();
    for (class, colour) in [("cat", [220, 40, 40]), ("dog", [40, 40, 220])] {
        class_of(&bench, class, colour);
    }
    let text = common::TINY
        .replace("epochs = 3", "epochs = 8")
        .replace("batch_size = 32", "batch_size = 6")
        .replace("experiment = \"tiny\"", "experiment = \"pets\"");
    let data =
        r#"data = { name = "imagenet", folder = "pets", size = 16, augment = { flip = true } }"#;
    let is_data = |line: &&str| line.trim().starts_with("data =");
    let line = text.lines().find(is_data).expect("data");
    std::fs::write(bench.path("tiny.toml"), text.replace(line, data)).expect("tiny.toml");
    bench
}

fn class_of(bench: &Bench, class: &str, colour: [u8; 3]) {
    for (split, count) in [("train", 6u32), ("val", 4)] {
        let folder = bench.path(&format!("data/pets/{split}/{class}"));
        std::fs::create_dir_all(&folder).expect("a folder");
        for i in 0..count {
            let pixel = |x: u32, y: u32| {
                let light = ((x * 7 + y * 3 + i * 11) % 30) as u8;
                image::Rgb(colour.map(|c| c + light))
            };
            let image = image::RgbImage::from_fn(24 + i, 20, pixel);
            let path = folder.join(format!("{i}.png"));
            image.save(path).expect("a picture");
        }
    }
}

/// Calls a class another name, in both splits.
fn rename(bench: &Bench, from: &str, to: &str) {
    for split in ["train", "val"] {
        let folder = |class| bench.path(&format!("data/pets/{split}/{class}"));
        std::fs::rename(folder(from), folder(to)).expect("a folder");
    }
}

/// The run's folder, as an argument.
fn trained(bench: &Bench) -> String {
    succeed(&mut bench.train("runs", &["--no-report"]));
    bench.run("runs").display().to_string()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// What a command that succeeds says beside its answer.
fn notes(command: &mut Command) -> Vec<String> {
    let out = command.output().expect("s3 starts");
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "{said}");
    let note = |line: &str| line.strip_prefix("note: ").expect("a note").to_owned();
    let lines = said.lines().filter(|line| !is_inventory(line));
    lines.map(note).collect()
}

fn export(bench: &Bench, run: &str, file: &str, activations: &str) -> (Vec<u8>, Vec<String>) {
    let mut command = bench.s3(&["export", run, "-o", file, "--activations", activations]);
    let said = notes(&mut command);
    (std::fs::read(bench.path(file)).expect("the file"), said)
}

/// Whether a file's bytes hold `text`.
fn of_text(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|w| w == text.as_bytes())
}

fn classes(packed: &[u8]) -> Vec<String> {
    let model = Model::from_bytes(packed).expect("a packed network");
    model.network().classes.clone()
}

/// Every command that evaluates `run` or its packed file refuses, with `said` in its one line.
fn assert_not_evaluated(bench: &Bench, run: &str, said: &str) {
    for command in [
        &["eval", run][..],
        &["eval", run, "--json"],
        &["eval", "kept.safetensors", "--folder", "pets"],
        &["fidelity", run],
        &["logs", run, "--tensorboard", "--answers"],
    ] {
        let line = refusal(&mut bench.s3(command));
        assert!(line.contains(said), "{command:?}: {line}");
    }
    let page = succeed(&mut bench.s3(&["report", run, "-o", "page.html"]));
    let without = page.lines().filter(|l| l.starts_with("without answers: "));
    let without: Vec<&str> = without.collect();
    assert!(without.len() == 1 && without[0].contains(said), "{page}");
    let mut resume = bench.train("runs", &["--resume", "--no-report"]);
    let line = refusal(&mut resume);
    assert!(line.contains(said), "{line}");
}

#[test]
fn a_class_that_is_renamed_keeps_its_name_in_the_run_and_all_its_files() {
    let bench = pets();
    let run = trained(&bench);
    let seen = json(&std::fs::read_to_string(Path::new(&run).join("network.json")).expect("it"));
    assert_eq!(seen["classes"], serde_json::json!(["cat", "dog"]));
    let fit = serde_json::json!({"name": "resize_and_crop", "resize": 18, "crop": 16});
    assert_eq!((&seen["version"], &seen["input"]["fit"]), (&1.into(), &fit));
    assert_eq!(seen["input"]["height"], 16);
    let whole = json(&succeed(&mut bench.s3(&["eval", &run, "--json"])));
    assert_eq!(whole["top1"], 1.0, "red and blue are told apart");
    let formats = [
        ("kept.safetensors", "f32"),
        ("net.onnx", "f32"),
        ("net.qonnx.onnx", "f32"),
    ];
    let before = formats.map(|(file, activations)| export(&bench, &run, file, activations));
    let (c_before, _) = export(&bench, &run, "net.c", "u8");
    assert_eq!(classes(&before[0].0), ["cat", "dog"]);
    let of_packed = Model::from_bytes(&before[0].0)
        .expect("a network")
        .network()
        .input
        .fit;
    let shown = Fit::ResizeAndCrop {
        resize: 18,
        crop: 16,
    };
    assert_eq!(of_packed, Some(shown));
    assert!(of_text(&before[1].0, "s3.fit") && of_text(&before[1].0, "resize_and_crop 18 16"));

    rename(&bench, "cat", "kitten");
    for ((file, activations), before) in formats.into_iter().zip(before) {
        let (bytes, said) = export(&bench, &run, file, activations);
        assert!(bytes == before.0, "{file} is another one");
        assert!(said.is_empty() && before.1.is_empty(), "{said:?}");
    }
    let (integers, said) = export(&bench, &run, "u8.safetensors", "u8");
    assert_eq!(classes(&integers), ["cat", "dog"]);
    let difference = "class 0 is \"cat\" in the network and \"dog\" in the data";
    assert!(said.len() == 1 && said[0].contains(difference), "{said:?}");
    let (c_after, _) = export(&bench, &run, "net.c", "u8");
    assert!(c_after == c_before, "the C file is another one");
    for file in ["kept.safetensors", "u8.safetensors"] {
        for (class, name) in [("kitten", "cat"), ("dog", "dog")] {
            let image = format!("data/pets/val/{class}/0.png");
            let top = json(&succeed(&mut bench.s3(&["infer", file, &image, "--json"])));
            assert_eq!(top["top"][0]["name"], name, "{file}");
        }
    }
    assert_not_evaluated(&bench, &run, difference);

    // Asked for, class 0 counts as class 0: every kitten is a dog.
    for command in [
        &["eval", &run, "--json", "--other-classes"][..],
        &[
            "eval",
            "kept.safetensors",
            "--folder",
            "pets",
            "--json",
            "--other-classes",
        ],
    ] {
        let out = bench.s3(command).output().expect("s3");
        assert_eq!(json(&String::from_utf8_lossy(&out.stdout))["top1"], 0.0);
    }
    let said = notes(&mut bench.s3(&["eval", &run, "--other-classes"]));
    assert!(said.len() == 1 && said[0].contains(difference), "{said:?}");
    succeed(&mut bench.s3(&["fidelity", &run, "--other-classes"]));
    succeed(&mut bench.s3(&["report", &run, "--other-classes"]));
}

#[test]
fn a_packed_file_of_images_is_read_as_it_says_and_an_older_one_by_its_name() {
    let bench = pets();
    let run = trained(&bench);
    let (bytes, _) = export(&bench, &run, "net.safetensors", "u8");
    let mut network = Model::from_bytes(&bytes)
        .expect("a network")
        .network()
        .clone();
    let infer = |network: &Network| {
        std::fs::write(bench.path("other.safetensors"), network.to_bytes()).expect("a file");
        let image = "data/pets/val/dog/3.png";
        let mut command = bench.s3(&["infer", "other.safetensors", image, "--json"]);
        (succeed(&mut command), notes(&mut command))
    };
    let (whole, said) = infer(&network);
    assert!(said.is_empty(), "{said:?}");
    network.name = "renamed".to_owned();
    assert_eq!(infer(&network), (whole.clone(), Vec::new()));
    let mut evaluate = bench.s3(&[
        "eval",
        "other.safetensors",
        "--data",
        "imagenet",
        "--folder",
        "pets",
    ]);
    assert_eq!(notes(&mut evaluate), [""; 0]);
    network.input.fit = Some(Fit::AsIs {});
    assert_ne!(infer(&network).0, whole);
    let said = notes(&mut evaluate).join("; ");
    let differs = "the network sees pictures as they are, \
        the data has them resized to 18 pixels, the middle 16 of them";
    assert!(said.ends_with(differs), "{said}");
    (network.name, network.input.fit) = ("resnet8-imagenet".to_owned(), None);
    let (older, said) = infer(&network);
    assert_eq!((older, said.len()), (whole, 1));
    assert!(
        said[0].contains("older version") && said[0].ends_with("the middle 16 of them"),
        "{said:?}"
    );
}

#[test]
fn another_order_and_another_number_of_classes_are_named_by_their_first_difference() {
    let bench = pets();
    let run = trained(&bench);
    export(&bench, &run, "kept.safetensors", "f32");
    rename(&bench, "dog", "ape");
    assert_not_evaluated(
        &bench,
        &run,
        "class 0 is \"cat\" in the network and \"ape\" in the data",
    );
    rename(&bench, "ape", "dog");
    class_of(&bench, "zebra", [40, 220, 40]);
    let more = "class 2, \"zebra\", is in the data alone: the network has 2 classes";
    assert_not_evaluated(&bench, &run, more);
    // Number 2 of the data is no class of the network.
    let line = refusal(&mut bench.s3(&["eval", &run, "--other-classes"]));
    assert!(line.contains(more), "{line}");
    for split in ["train", "val"] {
        for class in ["dog", "zebra"] {
            let folder = bench.path(&format!("data/pets/{split}/{class}"));
            std::fs::remove_dir_all(folder).expect("a folder");
        }
    }
    let fewer = "class 1, \"dog\", is in the network alone: the data has 1 classes";
    assert_not_evaluated(&bench, &run, fewer);
    // What needs no label goes on.
    let (bytes, said) = export(&bench, &run, "u8.safetensors", "u8");
    assert_eq!(classes(&bytes), ["cat", "dog"]);
    assert!(said.len() == 1 && said[0].contains(fewer), "{said:?}");
}

#[test]
fn other_images_of_the_same_classes_are_evaluated_with_a_line() {
    let bench = pets();
    let run = trained(&bench);
    assert_eq!(notes(&mut bench.s3(&["eval", &run])), [] as [String; 0]);
    let more = |split: &str| {
        let folder = bench.path(&format!("data/pets/{split}/cat"));
        std::fs::copy(folder.join("1.png"), folder.join("more.png")).expect("a copy");
    };
    more("val");
    let said = notes(&mut bench.s3(&["eval", &run]));
    let other = |what: &str| format!("other {what} images than manifest.json says");
    assert!(
        said.len() == 1 && said[0].contains(&other("test")),
        "{said:?}"
    );
    more("train");
    for command in [
        &["eval", &run][..],
        &["fidelity", &run],
        &["report", &run],
        &["export", &run, "-o", "u8.safetensors"],
    ] {
        let said = notes(&mut bench.s3(command));
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains(&format!("{}; {}", other("training"), other("test"))));
    }
    let page = std::fs::read_to_string(Path::new(&run).join("report.html")).expect("the page");
    assert!(page.contains(&other("test")), "the page does not say so");
    // Floats need no image at all.
    std::fs::remove_dir_all(bench.path("data")).expect("the data");
    let (_, said) = export(&bench, &run, "f32.safetensors", "f32");
    assert!(said.is_empty(), "{said:?}");
}

#[test]
fn a_run_remembers_its_data_folder_and_says_when_it_is_gone() {
    let bench = pets();
    let (data, elsewhere) = (bench.path("data"), bench.path("elsewhere"));
    std::fs::rename(&data, &elsewhere).expect("the data");
    let flags = [
        "--no-report",
        "--set",
        "epochs=1",
        "--data-dir",
        "elsewhere",
    ];
    succeed(&mut bench.train("runs", &flags));
    let run = bench.run("runs").display().to_string();
    assert_eq!(notes(&mut bench.s3(&["eval", &run])), [] as [String; 0]);
    succeed(&mut bench.train("runs", &["--set", "epochs=1", "--resume"]));
    // The flag comes first, and what is gone is said.
    let named = ["eval", &run, "--data-dir", "nowhere"];
    assert!(refusal(&mut bench.s3(&named)).contains("nowhere"));
    std::fs::rename(&elsewhere, &data).expect("the data");
    let said = notes(&mut bench.s3(&["eval", &run]));
    assert!(said.len() == 1 && said[0].contains("elsewhere"), "{said:?}");
}

#[test]
fn a_run_of_an_older_version_reads_the_data_and_says_so() {
    let bench = pets();
    let run = trained(&bench);
    let (kept, _) = export(&bench, &run, "kept.safetensors", "f32");
    let file = Path::new(&run).join("network.json");
    let whole = std::fs::read(&file).expect("network.json");
    std::fs::remove_file(&file).expect("network.json");
    let (bytes, said) = export(&bench, &run, "again.safetensors", "f32");
    assert!(bytes == kept && said.len() == 1, "{said:?}");
    for command in [&["eval", &run][..], &["fidelity", &run], &["report", &run]] {
        let said = notes(&mut bench.s3(command));
        assert!(
            said.len() == 1 && said[0].contains("no network.json, a run of an older version"),
            "{said:?}"
        );
    }
    // Other data does not name the classes.
    rename(&bench, "cat", "kitten");
    for command in [
        &["eval", &run][..],
        &["export", &run, "-o", "x.onnx"],
        &["fidelity", &run],
    ] {
        let line = refusal(&mut bench.s3(command));
        assert!(
            line.contains("is not what the run was trained on"),
            "{line}"
        );
    }
    rename(&bench, "kitten", "cat");
    let resumed = bench.train("runs", &["--resume", "--no-report"]).output();
    let resumed = resumed.expect("s3 starts");
    let said = String::from_utf8_lossy(&resumed.stderr) + String::from_utf8_lossy(&resumed.stdout);
    assert!(resumed.status.success(), "{said}");
    assert!(
        said.contains("no network.json: mean and deviation are those of the data at hand"),
        "{said}"
    );
    assert!(std::fs::read(&file).expect("network.json") == whole);
    // One that is damaged is no older version.
    std::fs::write(&file, b"{\"version\": 1}").expect("a write");
    let line = refusal(&mut bench.s3(&["eval", &run]));
    assert!(line.contains("network.json: "), "{line}");
}

#[test]
fn a_run_is_read_as_the_graph_that_it_trained() {
    let bench = pets();
    let run = trained(&bench);
    let (kept, _) = export(&bench, &run, "kept.safetensors", "f32");
    let file = Path::new(&run).join("network.json");
    let whole = std::fs::read_to_string(&file).expect("network.json");
    let write = |seen: &Value| std::fs::write(&file, seen.to_string()).expect("a write");
    // As if the architecture's file had changed since: the same parameters, another activation.
    let mut seen = json(&whole);
    let act = &mut seen["graph"]["nodes"][0]["op"]["layer"]["act"];
    assert_eq!(*act, "relu");
    *act = "none".into();
    write(&seen);
    let (other, said) = export(&bench, &run, "other.safetensors", "f32");
    assert!(other != kept && said.is_empty(), "{said:?}");
    let model = Model::from_bytes(&other).expect("a packed network");
    let Op::Layer(first) = &model.network().graph.nodes[0].op else {
        panic!("the first node is no layer")
    };
    assert_eq!(first.act, Act::None);
    let line = refusal(&mut bench.train("runs", &["--resume", "--no-report"]));
    assert!(
        line.contains("network.json: graph: the run trains another network than resnet8"),
        "{line}"
    );
    // One that does not hold together is refused wherever it is read.
    seen["graph"]["nodes"][2]["inputs"] = serde_json::json!([40]);
    write(&seen);
    for command in [&["eval", &run][..], &["export", &run, "-o", "x.onnx"]] {
        let line = refusal(&mut bench.s3(command));
        assert!(line.contains("network.json: graph: "), "{line}");
    }
    // A run of an older version has none: the configuration says what it is.
    seen.as_object_mut().expect("an object").remove("graph");
    write(&seen);
    let (again, said) = export(&bench, &run, "again.safetensors", "f32");
    assert!(again == kept && said.is_empty(), "{said:?}");
    succeed(&mut bench.train("runs", &["--resume", "--no-report"]));
    let written = std::fs::read_to_string(&file).expect("network.json");
    assert!(written == whole, "the graph is written again");
}

/// MNIST's files with images of noise around `light`, as many as there must be.
fn mnist(folder: &Path, light: u8) {
    std::fs::create_dir_all(folder).expect("a folder");
    for (split, count) in [("train", 60_000u32), ("t10k", 10_000)] {
        let header =
            |numbers: &[u32]| -> Vec<u8> { numbers.iter().flat_map(|n| n.to_be_bytes()).collect() };
        let mut labels = header(&[0x801, count]);
        labels.extend((0..count).map(|i| (i % 10) as u8));
        let mut images = header(&[0x803, count, 28, 28]);
        let of_split = if split == "train" { light } else { 90 };
        images.extend(
            (0..count * 784).map(|i| of_split + (i.wrapping_mul(2_654_435_761) >> 26) as u8),
        );
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.join(format!("{split}-{name}-ubyte"));
            std::fs::write(path, bytes).expect("a file");
        };
        write("labels-idx1", &labels);
        write("images-idx3", &images);
    }
}

#[test]
fn mean_and_deviation_are_those_of_the_training_whatever_lies_in_the_folder() {
    let bench = Bench::new();
    let data: PathBuf = bench.path("data/mnist");
    mnist(&data, 90);
    let sets = [
        "data={name=\"mnist\", train_limit=64, test_limit=30}",
        "epochs=1",
    ];
    let sets = sets.map(|set| ["--set", set]).concat();
    succeed(&mut bench.train("runs", &[&sets[..], &["--no-report"]].concat()));
    let run = bench.run("runs").display().to_string();
    let seen = json(&std::fs::read_to_string(Path::new(&run).join("network.json")).expect("it"));
    assert_eq!(seen["input"]["fit"]["name"], "as_is");
    let (kept, _) = export(&bench, &run, "kept.safetensors", "f32");
    let eval = |what: &str| {
        let out = bench.s3(&["eval", what, "--json"]).output().expect("s3");
        json(&String::from_utf8_lossy(&out.stdout))["loss"].clone()
    };
    let (of_run, of_file) = (eval(&run), eval("kept.safetensors"));
    assert!(of_run.is_f64() && of_file.is_f64());

    // The test images stay, the training images and with them mean and deviation do not.
    mnist(&data, 160);
    assert_eq!((eval(&run), eval("kept.safetensors")), (of_run, of_file));
    let (bytes, said) = export(&bench, &run, "again.safetensors", "f32");
    assert!(bytes == kept && said.is_empty(), "{said:?}");
    for command in [
        &["eval", &run][..],
        &["eval", "kept.safetensors"],
        &["export", &run, "-o", "u8.safetensors"],
    ] {
        let said = notes(&mut bench.s3(command));
        assert!(
            said.len() == 1 && said[0].contains("channel 0: mean 0.4"),
            "{said:?}"
        );
    }
    // Images of another size are not stretched.
    let line = refusal(&mut bench.s3(&["eval", "kept.safetensors", "--data", "shapes"]));
    assert!(
        line.contains("[32, 32, 3]") && line.contains("[28, 28, 1]"),
        "{line}"
    );
}

/// The classes that the last layer of a summary has.
fn summarised(command: &mut Command) -> (u64, Vec<String>) {
    let out = command.output().expect("s3");
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "{said}");
    let summary = json(&String::from_utf8_lossy(&out.stdout));
    let layers = summary["layers"].as_array().expect("layers");
    let fc = layers.last().expect("a layer");
    assert_eq!(fc["layer"]["name"], "fc");
    let classes = fc["layer"]["weight_shape"][0].as_u64().expect("classes");
    (classes, said.lines().map(str::to_owned).collect())
}

#[test]
fn a_summary_has_the_classes_of_the_data_or_the_run_or_says_that_it_guesses() {
    let bench = pets();
    let of_config = ["summary", "tiny.toml", "--json"];
    assert_eq!(summarised(&mut bench.s3(&of_config)), (2, Vec::new()));
    let (classes, said) = summarised(bench.s3(&of_config).args(["--data-dir", "elsewhere"]));
    assert_eq!((classes, said.len()), (1000, 1), "{said:?}");
    assert!(said[0].contains("1000 classes are a guess"), "{said:?}");
    assert!(said[0].contains("elsewhere/pets/train"), "{said:?}");

    let run = trained(&bench);
    class_of(&bench, "zebra", [40, 220, 40]);
    assert_eq!(summarised(&mut bench.s3(&of_config)), (3, Vec::new()));
    std::fs::remove_dir_all(bench.path("data")).expect("the data");
    let of_run = ["summary", &run, "--json"];
    assert_eq!(summarised(&mut bench.s3(&of_run)), (2, Vec::new()));
    let counted = json(&succeed(&mut bench.s3(&of_run)));
    let model = std::fs::read_to_string(Path::new(&run).join("model.json")).expect("it");
    assert_eq!(counted["total"], json(&model)["total"]);
    let line = refusal(bench.s3(&of_run).args(["--set", "model.width=8"]));
    assert!(
        line.contains("--set: ") && line.contains("is a run"),
        "{line}"
    );
    let line = refusal(&mut bench.s3(&["summary", "runs"]));
    assert!(line.contains("not a run's folder"), "{line}");
}

#[test]
fn the_ending_of_a_file_chooses_its_format_and_a_contradiction_is_refused() {
    let bench = Bench::new();
    succeed(&mut bench.train("runs", &["--set", "epochs=1", "--no-report"]));
    let run = bench.run("runs").display().to_string();
    let export = |file: &str, more: &[&str]| {
        let mut command = bench.s3(&["export", &run, "-o", file, "--calibration-images", "60"]);
        command.args(more);
        command
    };
    let written = |file: &str, more: &[&str]| {
        succeed(&mut export(file, more));
        std::fs::read(bench.path(file)).expect("the file")
    };
    let packed = written("net.safetensors", &[]);
    assert!(Model::from_bytes(&packed).is_ok());
    assert!(written("net", &[]) == packed, "a name without an ending");
    assert!(written("net.s3.safetensors", &["--activations", "u8"]) == packed);
    assert!(written("net.bin", &["--format", "s3"]) == packed);
    let onnx = written("net.onnx", &[]);
    assert_eq!(onnx[..2], [8, 8], "the version of ONNX's format");
    let asked = [
        "--format",
        "onnx",
        "--activations",
        "f32",
        "--onnx-weights",
        "int8",
    ];
    assert!(written("again.ONNX", &asked) == onnx);
    let qonnx = written("net.qonnx.onnx", &[]);
    assert!(qonnx != onnx);
    assert!(written("other.onnx", &["--format", "qonnx"]) == qonnx);
    assert!(written("net.qonnx", &[]) == qonnx);
    assert!(String::from_utf8_lossy(&written("net.c", &[])).contains("void net_run("));
    assert!(bench.path("net.h").exists());

    for (file, more, said) in [
        (
            "no.onnx",
            &["--format", "s3"][..],
            ["--format s3", "no.onnx has the ending of --format onnx"],
        ),
        (
            "no.safetensors",
            &["--format", "onnx"],
            ["--format onnx", "--format s3"],
        ),
        (
            "no.safetensors",
            &["--format", "qonnx"],
            ["--format qonnx", "--format s3"],
        ),
        (
            "no.qonnx.onnx",
            &["--format", "onnx"],
            ["--format onnx", "--format qonnx"],
        ),
        (
            "no.c",
            &["--format", "onnx"],
            ["--format onnx", "--format c"],
        ),
        (
            "no.onnx",
            &["--format", "c"],
            ["--format c", "--format onnx"],
        ),
        ("no.h", &[], ["no.h", "ends in .c"]),
        (
            "no.tflite",
            &[],
            ["the ending .tflite", "expected .safetensors, .onnx"],
        ),
        (
            "no.pt",
            &["--activations", "f32"],
            ["the ending .pt", "--format"],
        ),
        (
            "no.onnx",
            &["--activations", "u8"],
            ["--activations", "f32 activations"],
        ),
        (
            "no.c",
            &["--activations", "f32"],
            ["--activations", "8-bit activations"],
        ),
        (
            "no.safetensors",
            &["--onnx-weights", "int4"],
            ["--onnx-weights", "--format onnx"],
        ),
    ] {
        let line = refusal(&mut export(file, more));
        assert!(
            said.iter().all(|said| line.contains(said)),
            "{file} {more:?}: {line}"
        );
        assert!(!bench.path(file).exists(), "{file}");
    }
    // Before the run is looked at.
    let line = refusal(&mut bench.s3(&["export", "no-run", "-o", "no.tflite"]));
    assert!(line.contains("the ending .tflite"), "{line}");
}

/// A run of one epoch on the folder of `data`, which is written by `write` and then by it once
/// more, with another number in images that it does not train on: `--resume` says so, and what it
/// says.
fn resumed_on(data: &str, write: impl Fn(&Bench, u8)) -> String {
    let bench = Bench::new();
    let is_data = |line: &&str| line.trim().starts_with("data =");
    let line = common::TINY.lines().find(is_data).expect("data");
    let text = common::TINY.replace(line, data);
    std::fs::write(bench.path("tiny.toml"), text).expect("tiny.toml");
    let train = |more: &[&str]| {
        let mut command = bench.train("runs", &["--no-report", "--set", "epochs=1"]);
        command.args(more);
        command
    };
    write(&bench, 0);
    succeed(&mut train(&[]));
    let last = bench.run("runs").join("last.safetensors");
    let before = std::fs::read(&last).expect("a checkpoint");
    succeed(&mut train(&["--resume"]));
    write(&bench, 200);
    let line = refusal(&mut train(&["--resume"]));
    assert!(std::fs::read(&last).expect("a checkpoint") == before);
    line
}

#[test]
fn a_run_is_not_resumed_with_another_normalisation() {
    let said = |line: &str| {
        let words = "the run was trained on other data: channel 0: mean ";
        assert!(line.contains(words), "{line}");
    };
    // The first 40 of 60 images are trained on; mean and deviation are those of all.
    let labels: Vec<u8> = (0..60).map(|i| i % 2).collect();
    let pixels = |size: usize, other: u8| -> Vec<u8> {
        let image = |i: usize| if i < 40 { (i * 5) as u8 } else { other };
        (0..60).flat_map(|i| vec![image(i); size]).collect()
    };
    said(&resumed_on(
        r#"data = { name = "mnist", train_limit = 40 }"#,
        |bench, other| {
            let folder = bench.path("data/mnist");
            std::fs::create_dir_all(&folder).expect("a folder");
            for split in ["train", "t10k"] {
                let write = |kind: &str, sides: &[u32], body: &[u8]| {
                    let magic = 0x800 + sides.len() as u32;
                    let words = [&[magic], sides].concat();
                    let head = words.into_iter().flat_map(u32::to_be_bytes);
                    let bytes: Vec<u8> = head.chain(body.iter().copied()).collect();
                    std::fs::write(folder.join(format!("{split}-{kind}-ubyte")), bytes)
                        .expect("a file");
                };
                let other = if split == "train" { other } else { 0 };
                write("images-idx3", &[60, 28, 28], &pixels(28 * 28, other));
                write("labels-idx1", &[60], &labels);
            }
        },
    ));
    said(&resumed_on(
        r#"data = { name = "arrays", train_limit = 40 }"#,
        |bench, other| {
            let folder = bench.path("data/arrays");
            std::fs::create_dir_all(&folder).expect("a folder");
            for split in ["train", "test"] {
                let write = |name: &str, shape: &str, body: &[u8]| {
                    let text =
                        format!("{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}\n");
                    let length = (text.len() as u16).to_le_bytes();
                    let bytes = [b"\x93NUMPY\x01\0", &length[..], text.as_bytes(), body].concat();
                    std::fs::write(folder.join(format!("{split}_{name}.npy")), bytes)
                        .expect("a file");
                };
                let other = if split == "train" { other } else { 0 };
                write("x", "(60, 8, 8)", &pixels(64, other));
                write("y", "(60,)", &labels);
            }
        },
    ));
}
