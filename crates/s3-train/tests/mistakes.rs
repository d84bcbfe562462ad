//! What a user can take for something else: an output that is a run's own file, a file in place of
//! another, a number that measures nothing.

mod common;

use common::{Bench, refusal, succeed};
use s3_layers::model::{Model, Op, Then};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What each verb that writes a file says of a run's own one, or of a checkpoint.
fn refused_as_output(bench: &Bench, run: &Path, file: &Path, said: &str) {
    let run = run.to_str().expect("UTF-8");
    for (args, option) in [
        (&["export", run, "--format", "s3"][..], "--output"),
        (&["report", run], "--output"),
        (&["compare", run], "--markdown"),
        (&["fidelity", run], "--markdown"),
    ] {
        let line = refusal(bench.s3(args).arg(option).arg(file));
        let expected = format!("error: {option}: {}: {said}", file.display());
        assert!(line.starts_with(&expected), "{args:?}: {line}");
    }
}

#[test]
fn no_output_takes_the_place_of_what_training_keeps() {
    let bench = Bench::new();
    let validated = ["--set", "epochs=1", "--set", "validation_images=40"];
    succeed(&mut bench.train("runs", &validated));
    let run = bench.run("runs");
    let files: Vec<PathBuf> = std::fs::read_dir(&run)
        .expect("the run")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| !path.ends_with("report.html"))
        .collect();
    assert_eq!(files.len(), 11, "{files:?}");
    let read = || {
        files
            .iter()
            .map(|file| std::fs::read(file).expect("a file"))
    };
    let before: Vec<Vec<u8>> = read().collect();
    let own = format!("a file that training keeps in the run {}", run.display());
    for file in &files {
        refused_as_output(&bench, &run, file, &own);
    }
    let mut here = Command::new(env!("CARGO_BIN_EXE_s3"));
    here.current_dir(&run)
        .args(["compare", ".", "--markdown", "epochs.jsonl"]);
    assert!(refusal(&mut here).contains("epochs.jsonl: a file that training keeps in the run "));
    #[cfg(unix)]
    for name in ["config.toml", "last.safetensors"] {
        let link = bench.path(&format!("{name}.link"));
        std::os::unix::fs::symlink(run.join(name), &link).expect("a link");
        refused_as_output(
            &bench,
            &run,
            &link,
            "a file that training keeps in the run ",
        );
    }
    let copy = bench.path("copy.safetensors");
    std::fs::copy(run.join("best.safetensors"), &copy).expect("a copy");
    refused_as_output(&bench, &run, &copy, "a checkpoint, which is not replaced");
    // From within the run its folder has no name, and without its configuration it was a run yet.
    let shown = run.display().to_string();
    let within = ["export", ".", "--output", "last.safetensors"];
    let line = refusal(bench.s3(&within).current_dir(&run));
    assert!(
        line.contains("training keeps in the run ., which"),
        "{line}"
    );
    let config = std::fs::read(run.join("config.toml")).expect("config.toml");
    std::fs::remove_file(run.join("config.toml")).expect("removed");
    let last = run.join("last.safetensors").display().to_string();
    let line = refusal(&mut bench.s3(&["report", &shown, "-o", &last]));
    assert!(line.contains("training keeps in the run "), "{line}");
    std::fs::write(run.join("config.toml"), config).expect("config.toml");
    assert!(read().eq(before), "a file of the run is another one");
    // What training does not keep is anybody's, also in a run's folder, and is written twice.
    let run = run.display().to_string();
    let [net, page] = ["net.safetensors", "page.html"].map(|file| format!("{run}/{file}"));
    for _ in 0..2 {
        let export = ["export", &run, "-o", &net, "--activations", "f32"];
        succeed(&mut bench.s3(&export));
        succeed(&mut bench.s3(&["report", &run, "--no-answers", "-o", &page]));
    }
    // A page or a table takes the place of no network and of no experiment.
    for (args, file, what) in [
        (["report", &run, "-o"], &*net, "a packed network"),
        (["compare", &run, "--markdown"], &net, "a packed network"),
        (["fidelity", &run, "--markdown"], &net, "a packed network"),
        (
            ["compare", &run, "--markdown"],
            "tiny.toml",
            "an experiment's file",
        ),
    ] {
        let line = refusal(bench.s3(&args).arg(file));
        let said = format!("{file}: {what}, which is not replaced");
        assert!(line.contains(&said), "{args:?}: {line}");
    }
}

/// A run of one epoch on images of two classes in `data/pets`, whose broken ones are skipped, and
/// `net.safetensors` of it.
fn pets() -> (Bench, String) {
    let bench = Bench::new();
    for (class, colour) in [("cat", [220, 40, 40]), ("dog", [40, 40, 220])] {
        for (split, count) in [("train", 6u8), ("val", 4)] {
            let folder = bench.path(&format!("data/pets/{split}/{class}"));
            std::fs::create_dir_all(&folder).expect("a folder");
            for i in 0..count {
                let image = image::RgbImage::from_pixel(20, 20, image::Rgb(colour.map(|c| c + i)));
                image
                    .save(folder.join(format!("{i}.png")))
                    .expect("a picture");
            }
        }
    }
    let is_data = |line: &&str| line.trim().starts_with("data =");
    let line = common::TINY.lines().find(is_data).expect("data");
    let data = r#"data = { name = "imagenet", folder = "pets", size = 16, broken = "skip" }"#;
    let text = common::TINY.replace(line, data);
    std::fs::write(bench.path("tiny.toml"), text).expect("tiny.toml");
    let one = ["--no-report", "--set", "epochs=1", "--set", "batch_size=6"];
    succeed(&mut bench.train("runs", &one));
    let run = bench.run("runs").display().to_string();
    succeed(&mut bench.s3(&["export", &run, "-o", "net.safetensors"]));
    (bench, run)
}

#[test]
fn a_test_set_of_which_nothing_can_be_read_measures_nothing() {
    let (bench, run) = pets();
    let packed = ["eval", "net.safetensors", "--folder", "pets"];
    succeed(&mut bench.s3(&packed));
    for class in ["cat", "dog"] {
        let folder = bench.path(&format!("data/pets/val/{class}"));
        for entry in std::fs::read_dir(folder).expect("the pictures") {
            let path = entry.expect("a picture").path();
            let bytes = std::fs::metadata(&path).expect("its size").len();
            std::fs::write(path, vec![0; bytes as usize]).expect("no picture");
        }
    }
    for command in [
        &[&packed[..], &["--broken", "skip"]].concat()[..],
        &[&packed[..], &["--broken", "skip", "--json"]].concat(),
        &["eval", &run],
        &["eval", &run, "--json"],
        &["fidelity", &run],
        &["logs", &run, "--tensorboard", "--answers"],
    ] {
        let line = refusal(&mut bench.s3(command));
        let said = "pets/val: none of 8 pictures can be read: ";
        assert!(line.contains(said), "{command:?}: {line}");
    }
    let page = succeed(&mut bench.s3(&["report", &run]));
    assert!(page.contains("pets/val: none of 8"), "{page}");
}

#[test]
fn a_network_that_diverged_is_not_evaluated_frozen_or_asked() {
    let bench = Bench::new();
    // One step, whose own loss is that of the start.
    let one = [
        "epochs=1",
        "batch_size=160",
        "lr={schedule=\"constant\", start=1e20}",
    ];
    let args: Vec<&str> = one.iter().flat_map(|s| ["--set", s]).collect();
    assert!(refusal(&mut bench.train("runs", &args)).contains("training diverged"));
    let run = bench.run("runs");
    let given = run.display().to_string();
    for command in [
        &["eval", &given][..],
        &["eval", &given, "--json"],
        &["fidelity", &given],
    ] {
        let line = refusal(&mut bench.s3(command));
        assert!(
            line.contains("scores of the network are not finite"),
            "{line}"
        );
    }
    for activations in ["f32", "u8"] {
        let export = [
            "export",
            &given,
            "-o",
            "net.safetensors",
            "--activations",
            activations,
        ];
        let line = refusal(&mut bench.s3(&export));
        assert!(
            line.contains("last.safetensors: its test loss was "),
            "{line}"
        );
    }
    let onnx = refusal(&mut bench.s3(&["export", &given, "-o", "net.onnx"]));
    assert!(onnx.contains("training diverged"), "{onnx}");
}

#[test]
fn scores_that_are_not_finite_are_no_answer() {
    let (bench, run) = pets();
    let export = [
        "export",
        &run,
        "-o",
        "net.safetensors",
        "--activations",
        "f32",
    ];
    succeed(&mut bench.s3(&export));
    let file = bench.path("net.safetensors");
    let model = Model::from_bytes(&std::fs::read(&file).expect("the file"));
    // As large as a file may say: each layer's sums go beyond f32.
    let mut network = model.expect("a packed network").network().clone();
    for node in &mut network.graph.nodes {
        if let Op::Layer(layer) = &mut node.op
            && let Then::Scale { scale, .. } = &mut layer.holds.then
        {
            scale.fill(f32::MAX);
        }
    }
    let model = Model::new(network).expect("finite numbers");
    std::fs::write(&file, model.to_bytes()).expect("a file");
    let infer = ["infer", "net.safetensors", "data/pets/val/cat/0.png"];
    let line = refusal(&mut bench.s3(&infer));
    assert!(
        line.contains("cat/0.png: the network's scores are not finite"),
        "{line}"
    );
    let line = refusal(&mut bench.s3(&["eval", "net.safetensors", "--folder", "pets"]));
    assert!(
        line.contains("scores of the network are not finite"),
        "{line}"
    );
}

#[test]
fn what_was_given_in_place_of_weights_images_or_a_checkpoint_is_named() {
    let bench = Bench::new();
    let one = ["--set", "epochs=1", "--no-report"];
    succeed(&mut bench.train("runs", &one));
    let run = bench.run("runs").display().to_string();
    let last = format!("{run}/last.safetensors");
    succeed(&mut bench.s3(&["export", &run, "-o", "net.safetensors"]));
    std::fs::create_dir(bench.path("folder")).expect("a folder");
    let of_run = format!("{run}: a run's folder, no");
    let cases = [
        (&*run, &*of_run),
        ("net.safetensors", "net.safetensors: a packed network, "),
        ("tiny.toml", "tiny.toml: an experiment's file, no "),
        ("folder", "folder: a folder, no "),
    ];
    for (given, said) in cases {
        let init = format!("from:{given}");
        for more in [&["--init", &init][..], &["--init", &init, "--dry-run"]] {
            let line = refusal(&mut bench.train("other", more));
            assert!(line.contains(&format!("init_from: {said}")), "{line}");
            assert_eq!(line.contains(&last), given == run, "{line}");
        }
        for verb in [
            &["eval", &run][..],
            &["export", &run, "-o", "x.safetensors"],
        ] {
            let line = refusal(bench.s3(verb).args(["--checkpoint", given]));
            assert!(line.contains(said), "{line}");
            assert_eq!(line.contains(&last), given == run, "{line}");
        }
        if given != "folder" {
            let line = refusal(&mut bench.s3(&["plot", given, "--out", "x"]));
            let (what, _) = said.split_once(", ").expect("what it is");
            assert!(
                line.contains(&format!("{what}, no JSON file of pictures")),
                "{line}"
            );
        }
    }
    let line = refusal(&mut bench.s3(&["plot", &last, "--out", "x"]));
    assert!(
        line.contains(&format!("{last}: a checkpoint of the run {run}, no JSON")),
        "{line}"
    );
    let line = refusal(&mut bench.s3(&["eval", &run, "--checkpoint", "best"]));
    let words = ["best.safetensors: no such file", "validation_images"];
    assert!(words.iter().all(|w| line.contains(w)), "{line}");
    let line = refusal(&mut bench.s3(&["eval", &run, "--checkpoint", "gone"]));
    assert!(line.ends_with("gone: no such file"), "{line}");
    succeed(&mut bench.s3(&["eval", &run, "--checkpoint", &last]));
    let packed = [
        "eval",
        "net.safetensors",
        "--data",
        "shapes",
        "--checkpoint",
        "last",
    ];
    let line = refusal(&mut bench.s3(&packed));
    assert!(
        line.contains("--checkpoint last: a packed network has none"),
        "{line}"
    );
    assert!(!bench.path("other").exists() && !bench.path("x.safetensors").exists());
}

#[test]
fn what_cannot_be_known_or_done_is_said_with_a_way_out() {
    let (bench, run) = pets();
    let another = [
        "--no-report",
        "--set",
        "epochs=1",
        "--set",
        "batch_size=6",
        "--seed",
        "2",
    ];
    succeed(&mut bench.train("more", &another));
    let without = bench.run("more");
    std::fs::remove_file(without.join("last.safetensors")).expect("a checkpoint");
    let without = without.display().to_string();
    let out = bench
        .s3(&["fidelity", &without, &run, "--markdown", "page.md"])
        .output();
    let out = out.expect("s3 starts");
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(
        out.status.success() && said.contains("note: left out: "),
        "{said}"
    );
    let table = String::from_utf8_lossy(&out.stdout);
    assert_eq!(table.matches("| trained ").count(), 1, "{table}");
    let page = std::fs::read_to_string(bench.path("page.md")).expect("the page");
    assert_eq!(page.matches("n = 1, seed ").count(), 1, "{page}");
    let line = refusal(&mut bench.s3(&["fidelity", &without]));
    assert!(line.contains("last.safetensors: no such file"), "{line}");

    let line = refusal(&mut bench.s3(&["eval", "."]));
    let first = bench.run("more").file_name().expect("a name").to_owned();
    let hint = format!("(no config.toml in it); ./more/{} is one", first.display());
    assert!(line.ends_with(&hint), "{line}");
    let line = refusal(&mut bench.s3(&["infer", "net.safetensors", "data/pets/val/cat"]));
    let hint = "data/pets/val/cat: a folder, no image; data/pets/val/cat/*.png names those in it";
    assert!(line.ends_with(hint), "{line}");
    let line = refusal(&mut bench.train("x", &["--set", "data.folder=Pets"]));
    assert!(
        line.contains("there is no such folder, data holds pets; "),
        "{line}"
    );

    std::fs::remove_file(Path::new(&run).join("manifest.json")).expect("the manifest");
    let out = bench.s3(&["eval", &run]).output().expect("s3 starts");
    let said = String::from_utf8_lossy(&out.stderr);
    let unknown = "data at hand is what the run was trained on is not known: reading ";
    assert!(out.status.success() && said.contains(unknown), "{said}");
    std::fs::remove_file(Path::new(&run).join("network.json")).expect("the description");
    let line = refusal(&mut bench.s3(&["eval", &run]));
    assert!(
        line.contains("whether the data at hand names its classes is not known"),
        "{line}"
    );
}

#[test]
fn settings_that_no_folder_and_no_image_can_have_are_named_by_their_keys() {
    let bench = Bench::new();
    let long = format!("experiment={}", "x".repeat(300));
    let large = r#"data={name="imagenet", size=100000}"#;
    for (setting, said) in [
        (
            &*long,
            "experiment: a name of 300 bytes, at most 243 are taken",
        ),
        (large, "data.size: expected 1 to 1024, got 100000"),
    ] {
        for more in [&[][..], &["--dry-run"]] {
            let line = refusal(bench.train("x", &["--set", setting]).args(more));
            assert!(line.contains(said), "{line}");
        }
        let line = refusal(&mut bench.s3(&["summary", "tiny.toml", "--set", setting]));
        assert!(line.contains(said), "{line}");
    }
}

#[test]
fn the_methods_are_listed_anywhere_and_a_named_folder_must_be_there() {
    let bench = Bench::new();
    let out = bench.s3(&["list"]).output().expect("s3 starts");
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(
        out.status.success() && said.contains("--experiments"),
        "{said}"
    );
    assert!(String::from_utf8_lossy(&out.stdout).contains("denseshift"));
    assert!(refusal(&mut bench.s3(&["list", "--experiments", "gone"])).contains("reading gone"));
    let here = ["list", "--experiments", ".", "--results", "records"];
    std::fs::create_dir(bench.path("records")).expect("a folder");
    let record = "{\"experiment\": \"tiny\"}\n".repeat(2);
    std::fs::write(bench.path("records/a.jsonl"), record).expect("records");
    assert!(succeed(&mut bench.s3(&here)).contains("tiny.toml"));
    #[cfg(target_os = "linux")]
    {
        let pipe = bench.path("records/b.jsonl");
        let made = Command::new("mkfifo").arg(&pipe).status();
        assert!(made.expect("mkfifo").success());
        let line = refusal(&mut bench.s3(&here));
        assert!(line.contains("b.jsonl: a named pipe"), "{line}");
    }
}
