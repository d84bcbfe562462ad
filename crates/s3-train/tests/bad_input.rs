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
    for variable in ["S3_KERNELS_KERNEL", "S3_KERNELS_AMX", "S3_KERNELS_BF16"] {
        let message = refusal(bench.train("a", &[]).env(variable, "off"));
        assert!(
            message.contains(variable) && message.contains("`off`"),
            "{message}"
        );
    }
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

#[test]
fn damaged_checkpoints_are_refused_by_every_verb() {
    let bench = Bench::new();
    succeed(&mut bench.train("a", &["--set", "epochs=1"]));
    let (run, last) = (bench.run("a"), bench.run("a").join("last.safetensors"));
    let whole = std::fs::read(&last).expect("a checkpoint");
    let edit = |from: &[u8], to: &[u8]| {
        let at = whole.windows(from.len()).position(|w| w == from);
        let at = at.expect("in the header");
        [&whole[..at], to, &whole[at + from.len()..]].concat()
    };
    let mut flipped = whole.clone();
    let middle = whole.len() - whole.len() / 3;
    flipped[middle] ^= 0x10;
    let run = run.display().to_string();
    let init = format!("from:{}", last.display());
    for damaged in [edit(br#"\"epoch\":1"#, br#"\"epoch\":0"#), flipped] {
        std::fs::write(&last, &damaged).expect("damaged");
        for args in [
            vec![
                "train",
                "tiny.toml",
                "--out",
                "a",
                "--set",
                "epochs=1",
                "--resume",
            ],
            vec!["eval", &run],
            vec!["export", &run, "-o", "x.safetensors"],
            vec!["fidelity", &run],
            vec!["logs", &run, "--tensorboard", "--answers", "-o", "x"],
            vec!["train", "tiny.toml", "--out", "b", "--init", &init],
            vec![
                "train",
                "tiny.toml",
                "--out",
                "b",
                "--init",
                &init,
                "--dry-run",
            ],
        ] {
            let message = refusal(&mut bench.s3(&args));
            let words = ["last.safetensors", "damaged: its checksum"];
            assert!(
                words.iter().all(|w| message.contains(w)),
                "{args:?}: {message}"
            );
        }
        let page = succeed(&mut bench.s3(&["report", &run, "-o", "page.html"]));
        let said = page
            .lines()
            .find(|line| line.starts_with("without answers: "));
        assert!(
            said.is_some_and(|line| line.contains("damaged: its checksum")),
            "{page}"
        );
        assert_eq!(std::fs::read(&last).expect("a checkpoint"), damaged);
    }
    let made = ["x.safetensors", "x", "b"];
    assert!(!made.iter().any(|file| bench.path(file).exists()));
}

#[test]
fn an_old_checkpoint_is_read_with_a_warning() {
    let bench = Bench::new();
    succeed(&mut bench.train("a", &["--set", "epochs=1"]));
    let last = bench.run("a").join("last.safetensors");
    let file = std::fs::read(&last).expect("a checkpoint");
    // As version 1 wrote it: no checksum in a header that is shorter by as much.
    let length = u64::from_le_bytes(file[..8].try_into().expect("8 bytes")) as usize;
    let header = std::str::from_utf8(&file[8..8 + length]).expect("UTF-8");
    let start = header.find(r#"\"crc32\":\""#).expect("a checksum");
    let field = &header[start..start + r#"\"crc32\":\"00000000\","#.len()];
    let mut old = header
        .replace(field, "")
        .replace(r#"\"version\":2"#, r#"\"version\":1"#);
    old = old.trim_end().to_string();
    old += &" ".repeat(old.len().next_multiple_of(8) - old.len());
    let length = (old.len() as u64).to_le_bytes();
    std::fs::write(
        &last,
        [&length[..], old.as_bytes(), &file[8 + header.len()..]].concat(),
    )
    .expect("written");
    let (run, init) = (bench.run("a"), format!("from:{}", last.display()));
    let run = run.display().to_string();
    for args in [
        vec!["eval", &run],
        vec!["export", &run, "-o", "x.safetensors"],
        vec![
            "train",
            "tiny.toml",
            "--out",
            "a",
            "--set",
            "epochs=1",
            "--no-report",
            "--resume",
        ],
        vec![
            "train",
            "tiny.toml",
            "--out",
            "b",
            "--set",
            "epochs=1",
            "--no-report",
            "--init",
            &init,
        ],
    ] {
        let out = bench.s3(&args).output().expect("s3 starts");
        let said = [out.stdout, out.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(out.status.success(), "{args:?}: {said}");
        let warnings = said
            .matches("a checkpoint of version 1, which has no checksum")
            .count();
        assert_eq!(warnings, 1, "{args:?}: {said}");
    }
}

#[test]
fn a_run_without_its_lines_is_refused() {
    let bench = Bench::new();
    let args = ["--set", "epochs=2", "--set", "snapshot_epochs=2"];
    succeed(&mut bench.train("a", &args));
    let resume = [&args[..], &["--resume"]].concat();
    let run = bench.run("a");
    for file in ["epochs.jsonl", "dynamics.jsonl", "timing.jsonl"] {
        let whole = std::fs::read_to_string(run.join(file)).expect(file);
        let without = |skip: usize| -> String {
            let lines = whole.split_inclusive('\n').enumerate();
            lines
                .filter(|(at, _)| *at != skip)
                .map(|(_, line)| line)
                .collect()
        };
        for damaged in [
            String::new(),
            without(0),
            without(1),
            whole.clone() + &without(0),
        ] {
            std::fs::write(run.join(file), damaged).expect("written");
            let message = refusal(&mut bench.train("a", &resume));
            assert!(
                message.contains(file) && message.contains("checkpoint"),
                "{message}"
            );
        }
        std::fs::remove_file(run.join(file)).expect("removed");
        assert!(refusal(&mut bench.train("a", &resume)).contains(file));
        std::fs::write(run.join(file), whole).expect("written");
    }
    succeed(&mut bench.train("a", &resume));
    // A best checkpoint that the last one knows of.
    let best = [&args[..], &["--set", "validation_images=40"]].concat();
    succeed(&mut bench.train("best", &best));
    std::fs::remove_file(bench.run("best").join("best.safetensors")).expect("removed");
    let message = refusal(&mut bench.train("best", &[&best[..], &["--resume"]].concat()));
    assert!(message.contains("best.safetensors"), "{message}");
}

#[test]
fn batches_crops_and_networks_that_cannot_be_are_refused_before_the_first_step() {
    let bench = Bench::new();
    // The last feature map of a ResNet-18 for 32 pixels is 1x1, and 160 images leave one of 53
    // over.
    let one_left = ["model={name=\"resnet18\", width=2}", "batch_size=53"];
    let cases: [(&[&str], &[&str]); 6] = [
        (
            &one_left,
            &[
                "batch_size: a batch of 1 of the 160",
                "drop_last = true",
                "batch_size = 52",
            ],
        ),
        (
            &[one_left[0], "batch_size=40", "micro_batches=32"],
            &["batch_size", "in 32 parts", "batch_size = 80"],
        ),
        (
            &["data.augment.pad=32"],
            &["data.augment.pad", "less than the 32", "got 32"],
        ),
        (
            &["data.augment.pad=9000000000000000000"],
            &["data.augment.pad"],
        ),
        (&["model.width=20000"], &["model.width: 20000", "weights"]),
        (
            &["model.width=9223372036854775807"],
            &["model.width: 9223372036854775807"],
        ),
    ];
    for (settings, words) in cases {
        for more in [&[][..], &["--dry-run"]] {
            let set = settings.iter().flat_map(|s| ["--set", s]);
            let args: Vec<&str> = set.chain(more.iter().copied()).collect();
            let message = refusal(&mut bench.train("a", &args));
            assert!(
                words.iter().all(|w| message.contains(w)),
                "{args:?}: {message}"
            );
        }
    }
    assert!(!bench.path("a").exists(), "a refused run left a folder");
    let dropped = [
        "--set",
        one_left[0],
        "--set",
        one_left[1],
        "--set",
        "drop_last=true",
    ];
    succeed(bench.train("a", &dropped).args(["--set", "epochs=1"]));
}

#[test]
fn a_seed_out_of_range_is_said_with_the_range() {
    let bench = Bench::new();
    let message = refusal(&mut bench.train("a", &["--seed", "9223372036854775808"]));
    assert!(message.contains("9223372036854775807"), "{message}");
    let largest = ["--seed", "9223372036854775807", "--dry-run"];
    let folder = succeed(&mut bench.train("a", &largest));
    assert!(
        folder.trim_end().ends_with("-s9223372036854775807"),
        "{folder}"
    );
}

#[cfg(unix)]
#[test]
fn a_run_whose_lock_is_gone_stops_and_writes_no_more() {
    let bench = Bench::new();
    let child = bench
        .train("a", &["--set", "epochs=1000", "--checkpoint-seconds", "0"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("s3 starts");
    let last = loop {
        let run = std::fs::read_dir(bench.path("a"))
            .ok()
            .and_then(|mut d| d.next());
        let last = run.map(|run| run.expect("an entry").path().join("last.safetensors"));
        match last {
            Some(last) if last.is_file() => break last,
            _ => std::thread::sleep(std::time::Duration::from_millis(5)),
        }
    };
    std::fs::remove_file(last.with_file_name("lock")).expect("removed");
    let out = child.wait_with_output().expect("an end");
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{said}");
    assert!(said.contains("lock: removed or replaced"), "{said}");
    assert_eq!(said.trim().lines().count(), 1, "{said}");
    let resumed = ["--set", "epochs=1000", "--resume"];
    std::os::unix::fs::symlink("config.toml", last.with_file_name("lock")).expect("a link");
    let config = std::fs::read(last.with_file_name("config.toml")).expect("a config");
    let message = refusal(&mut bench.train("a", &resumed));
    assert!(message.contains("lock: a link"), "{message}");
    assert_eq!(
        std::fs::read(last.with_file_name("config.toml")).expect("a config"),
        config
    );
}

#[test]
fn a_run_whose_test_loss_is_not_finite_is_not_finished() {
    let bench = Bench::new();
    // One step, whose own loss is that of the start.
    let one = [
        "epochs=1",
        "batch_size=160",
        "lr={schedule=\"constant\", start=1e20}",
    ];
    let mut args: Vec<&str> = one.iter().flat_map(|s| ["--set", s]).collect();
    let message = refusal(&mut bench.train("a", &args));
    let words = [
        "test loss after epoch 1",
        "not finished",
        "last.safetensors",
    ];
    assert!(words.iter().all(|w| message.contains(w)), "{message}");
    let run = bench.run("a");
    assert!(run.join("last.safetensors").is_file() && !run.join("summary.json").exists());
    let last = std::fs::read(run.join("last.safetensors")).expect("a checkpoint");
    args.push("--resume");
    assert_eq!(refusal(&mut bench.train("a", &args)), message);
    assert_eq!(
        std::fs::read(run.join("last.safetensors")).expect("a checkpoint"),
        last
    );
}
