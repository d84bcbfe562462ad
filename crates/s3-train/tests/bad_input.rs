//! Bad input gets one clear line, before work starts, and nothing is lost.

mod common;

use common::{Bench, refusal, succeed};
use std::path::Path;

#[test]
fn settings_and_files_are_named() {
    let bench = Bench::new();
    std::fs::write(bench.path("broken.toml"), "epochs = [").expect("broken.toml");
    let no_alpha: String = common::TINY
        .lines()
        .filter(|l| !l.contains("alpha ="))
        .collect::<Vec<_>>()
        .join("\n");
    std::fs::write(bench.path("no-alpha.toml"), no_alpha).expect("no-alpha.toml");
    for (args, words) in [
        (vec!["train", "missing.toml"], vec!["missing.toml"]),
        (vec!["train", "broken.toml"], vec!["broken.toml", "line 1"]),
        (
            vec!["train", "tiny.toml", "--set", "epoch=3"],
            vec!["tiny.toml", "epoch"],
        ),
        (
            vec!["train", "tiny.toml", "--set", "optimizer.momentun=1"],
            vec!["momentun"],
        ),
        (
            vec!["train", "tiny.toml", "--set", "method.bits=9"],
            vec!["bits", "9"],
        ),
        (
            vec!["train", "tiny.toml", "--set", "method.bits=three"],
            vec!["bits", "three"],
        ),
        (
            vec!["train", "tiny.toml", "--set", "method.init=wide"],
            vec!["init", "wide"],
        ),
        (
            vec!["train", "tiny.toml", "--set", "method.shifts=3"],
            vec!["shifts", "3"],
        ),
        (
            vec!["train", "tiny.toml", "--set", "lr.warmup_epochs=9"],
            vec!["lr.warmup_epochs"],
        ),
        (
            vec![
                "summary",
                "tiny.toml",
                "--set",
                "model={name=\"resnet50\", shortcut=\"A\"}",
            ],
            vec!["resnet50"],
        ),
        (
            vec!["train", "tiny.toml", "--set", "device=tpu"],
            vec!["device", "tpu"],
        ),
        (
            vec![
                "train",
                "tiny.toml",
                "--set",
                "batch_size=500",
                "--set",
                "drop_last=true",
            ],
            vec!["batch_size", "500"],
        ),
        (
            vec![
                "train",
                "tiny.toml",
                "--set",
                "data.name=mnist",
                "--data-dir",
                "nowhere",
            ],
            vec!["nowhere"],
        ),
        (
            vec!["train", "tiny.toml", "--set", "data.name=imagenet"],
            vec!["imagenet"],
        ),
        (vec!["eval", "nowhere"], vec!["nowhere"]),
    ] {
        let message = refusal(bench.s3(&args).env("RUST_BACKTRACE", "1"));
        assert!(
            words.iter().all(|w| message.contains(w)),
            "{args:?}: {message}"
        );
    }
    let runs = std::fs::read_dir(bench.path("runs"))
        .map(Iterator::count)
        .unwrap_or(0);
    assert_eq!(runs, 0, "a refused run left a folder");
}

#[test]
fn damaged_data_files_are_named() {
    let bench = Bench::new();
    let data = bench.path("data/mnist");
    std::fs::create_dir_all(&data).expect("folder");
    let idx = |magic: u32, dims: &[u32], body: usize| {
        let words = std::iter::once(magic).chain(dims.iter().copied());
        let mut bytes: Vec<u8> = words.flat_map(u32::to_be_bytes).collect();
        bytes.resize(bytes.len() + body, 0);
        bytes
    };
    let images = |n: u32| idx(0x803, &[n, 28, 28], n as usize * 784);
    let labels = |n: u32| idx(0x801, &[n], n as usize);
    let write = |name: &str, bytes: Vec<u8>| std::fs::write(data.join(name), bytes).expect(name);
    let whole = || {
        write("train-images-idx3-ubyte", images(64));
        write("train-labels-idx1-ubyte", labels(64));
        write("t10k-images-idx3-ubyte", images(32));
        write("t10k-labels-idx1-ubyte", labels(32));
    };
    let train = |out: &str| {
        bench.train(
            out,
            &[
                "--set",
                "data={name=\"mnist\"}",
                "--set",
                "epochs=1",
                "--data-dir",
                "data",
            ],
        )
    };
    whole();
    write("train-labels-idx1-ubyte", labels(63));
    assert!(refusal(&mut train("a")).contains("train-labels-idx1-ubyte"));
    whole();
    write("t10k-images-idx3-ubyte", images(32)[..500].to_vec());
    assert!(refusal(&mut train("a")).contains("t10k-images-idx3-ubyte"));
    whole();
    write(
        "train-images-idx3-ubyte",
        idx(0x123, &[64, 28, 28], 64 * 784),
    );
    assert!(refusal(&mut train("a")).contains("train-images-idx3-ubyte"));
    whole();
    let mut bad = labels(64);
    bad[20] = 10;
    write("train-labels-idx1-ubyte", bad);
    let message = refusal(&mut train("a"));
    assert!(
        message.contains("train-labels-idx1-ubyte") && message.contains("10"),
        "{message}"
    );
    assert!(!bench.path("a").exists(), "a refused run left a folder");
    whole();
    succeed(&mut train("a"));
}

/// Sorted names and bytes of a folder's files.
fn contents(run: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(run)
        .expect("the run")
        .map(|e| e.expect("an entry"))
        .map(|e| {
            (
                e.file_name().to_string_lossy().into_owned(),
                std::fs::read(e.path()).expect("a file"),
            )
        })
        .collect();
    files.sort();
    files
}

#[test]
fn nothing_of_a_finished_run_is_lost() {
    let bench = Bench::new();
    succeed(&mut bench.train("runs", &["--set", "epochs=1"]));
    let run = bench.run("runs");
    let whole = contents(&run);

    let message = refusal(&mut bench.train("runs", &["--set", "epochs=1"]));
    assert!(
        message.contains("exists already") && message.contains("--resume"),
        "{message}"
    );
    succeed(&mut bench.train("runs", &["--set", "epochs=1", "--resume"]));
    assert_eq!(contents(&run), whole, "resuming a finished run changed it");

    // Another run's configuration in this folder.
    std::fs::write(run.join("config.toml"), "epochs = 2").expect("config");
    for flags in [
        &["--set", "epochs=1"][..],
        &["--set", "epochs=1", "--resume"],
    ] {
        assert!(refusal(&mut bench.train("runs", flags)).contains("another run"));
    }
    // No configuration, but files of somebody.
    std::fs::remove_file(run.join("config.toml")).expect("config");
    assert!(refusal(&mut bench.train("runs", &["--set", "epochs=1"])).contains("something else"));
}

#[test]
fn checkpoints_of_something_else_are_refused() {
    let bench = Bench::new();
    succeed(&mut bench.train("a", &["--set", "epochs=1"]));
    succeed(&mut bench.train("b", &["--set", "epochs=1", "--set", "model.name=resnet20"]));
    succeed(&mut bench.train(
        "c",
        &["--set", "epochs=1", "--set", "method={name=\"twn\"}"],
    ));
    let (a, b, c) = (bench.run("a"), bench.run("b"), bench.run("c"));
    let eval = |run: &Path, checkpoint: &Path| {
        let (run, checkpoint) = (run.display().to_string(), checkpoint.display().to_string());
        bench.s3(&["eval", &run, "--checkpoint", &checkpoint])
    };
    let last = |run: &Path| run.join("last.safetensors");
    let shown = succeed(&mut eval(&a, &last(&a)));
    assert!(shown.contains("50 test images"), "{shown}");
    assert!(refusal(&mut eval(&a, &last(&b))).contains("model resnet20"));
    assert!(refusal(&mut eval(&a, &last(&c))).contains("method twn"));
    succeed(&mut bench.train("d", &["--set", "epochs=1", "--set", "method.bits=2"]));
    assert!(refusal(&mut eval(&bench.run("d"), &last(&a))).contains("a checkpoint of run"));

    let whole = std::fs::read(last(&a)).expect("a checkpoint");
    for len in [0, 5, 100, whole.len() / 2, whole.len() - 1] {
        std::fs::write(last(&a), &whole[..len]).expect("truncated");
        let message = refusal(&mut bench.train("a", &["--set", "epochs=1", "--resume"]));
        assert!(message.contains("last.safetensors"), "{len}: {message}");
        assert!(
            refusal(&mut eval(&a, &last(&a))).contains("last.safetensors"),
            "{len}"
        );
        assert_eq!(std::fs::read(last(&a)).expect("a checkpoint"), whole[..len]);
    }
}

#[test]
fn evaluation_repeats_what_training_reported() {
    let bench = Bench::new();
    succeed(&mut bench.train("a", &["--set", "epochs=2"]));
    let run = bench.run("a");
    let shown = succeed(&mut bench.s3(&["eval", &run.display().to_string(), "--json"]));
    let epochs = std::fs::read_to_string(run.join("epochs.jsonl")).expect("epochs");
    let of = |line: &str| serde_json::from_str::<serde_json::Value>(line).expect("JSON");
    let (eval, last) = (of(&shown), of(epochs.lines().last().expect("an epoch")));
    for (a, b) in [
        ("top1", "test_top1"),
        ("top5", "test_top5"),
        ("loss", "test_loss"),
    ] {
        assert_eq!(eval[a], last[b], "{a}");
    }
}

#[test]
fn a_resumed_run_wants_the_data_it_began_with() {
    let bench = Bench::new();
    succeed(&mut bench.train("a", &["--set", "epochs=1"]));
    let manifest = bench.run("a").join("manifest.json");
    let text = std::fs::read_to_string(&manifest).expect("the manifest");
    let sha = text.split("train_sha256\": \"").nth(1).expect("a hash")[..64].to_string();
    std::fs::write(&manifest, text.replace(&sha, &"0".repeat(64))).expect("the manifest");
    let message = refusal(&mut bench.train("a", &["--set", "epochs=1", "--resume"]));
    assert!(message.contains("other data"), "{message}");
}

#[test]
fn lost_lines_are_noticed() {
    let bench = Bench::new();
    succeed(&mut bench.train("a", &["--set", "epochs=1"]));
    std::fs::write(bench.run("a").join("epochs.jsonl"), "").expect("epochs.jsonl");
    let message = refusal(&mut bench.train("a", &["--set", "epochs=1", "--resume"]));
    assert!(message.contains("epochs.jsonl: 0 epochs"), "{message}");
}

#[test]
fn what_a_kill_leaves_is_cleaned_up() {
    let bench = Bench::new();
    succeed(&mut bench.train("a", &["--set", "epochs=1"]));
    let run = bench.run("a");
    // Killed while the first file was written, and in the middle of a checkpoint.
    for file in std::fs::read_dir(&run).expect("the run") {
        std::fs::remove_file(file.expect("an entry").path()).expect("removed");
    }
    std::fs::write(run.join(".x1y2.tmp"), "half").expect("a temporary file");
    succeed(&mut bench.train("a", &["--set", "epochs=1", "--resume"]));
    std::fs::write(run.join(".x1y2.tmp"), "half").expect("a temporary file");
    succeed(&mut bench.train("a", &["--set", "epochs=1", "--resume"]));
    assert!(!run.join(".x1y2.tmp").exists());
}

#[test]
fn an_unknown_instruction_set_is_refused_before_anything_is_made() {
    let bench = Bench::new();
    let message = refusal(bench.train("a", &[]).env("S3_KERNELS_ISA", "avx9"));
    assert!(
        message.contains("avx9") && message.contains("scalar"),
        "{message}"
    );
    let message = refusal(bench.train("a", &[]).env("S3_KERNELS_AMX", "off"));
    assert!(
        message.contains("S3_KERNELS_AMX") && message.contains("`off`"),
        "{message}"
    );
    assert!(!bench.path("a").exists());
}

#[cfg(unix)]
#[test]
fn a_reader_that_goes_away_ends_no_training() {
    let bench = Bench::new();
    let mut child = bench
        .train("a", &[])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("s3 starts");
    drop(child.stdout.take());
    assert!(child.wait().expect("an end").success());
}

#[test]
fn a_diverging_run_names_step_and_layer() {
    let bench = Bench::new();
    let message =
        refusal(&mut bench.train("a", &["--set", "lr={schedule=\"constant\", start=1e30}"]));
    assert!(message.contains("diverged at epoch 1 step"), "{message}");
    assert!(
        message.contains("layer ") && message.contains("not finite"),
        "{message}"
    );
    let message = refusal(&mut bench.train("b", &["--set", "alpha.start=1e300"]));
    assert!(message.contains("diverged at epoch 1 step"), "{message}");
}
