//! Image files from the folder to the trained network, through the binary.

mod common;

use common::{Bench, assert_same_results, refusal, succeed};
use std::path::Path;
use std::process::Command;

const CLASSES: [&str; 3] = ["n01", "n02", "n03"];

/// `DATA/pets` with 8 + 3 images a class, and `pets.toml`, which trains on 16x16 pixels.
fn pets() -> Bench {
    let bench = Bench::new();
    for (number, class) in CLASSES.iter().enumerate() {
        for (split, count) in [("train", 8), ("val", 3)] {
            let folder = bench.path(&format!("data/pets/{split}/{class}"));
            std::fs::create_dir_all(&folder).expect("a folder");
            for i in 0..count {
                let image = image::RgbImage::from_fn(40 + 5 * i, 30, |x, y| {
                    let bright = if (x / 4 + y / 4) % 2 == 0 { 220 } else { 30 };
                    let mut pixel = [bright, (x + 7 * i) as u8, y as u8];
                    pixel.rotate_right(number);
                    image::Rgb(pixel)
                });
                image
                    .save(folder.join(format!("{i}.png")))
                    .expect("a picture");
            }
        }
    }
    let text = common::TINY
        .replace("epochs = 3", "epochs = 2")
        .replace("batch_size = 32", "batch_size = 7")
        .replace("experiment = \"tiny\"", "experiment = \"pets\"");
    let data = concat!(
        r#"data = { name = "imagenet", folder = "pets", size = 16, "#,
        r#"augment = { resized_crop = true, flip = true } }"#,
    );
    let is_data = |line: &&str| line.trim().starts_with("data =");
    let line = text.lines().find(is_data).expect("data");
    std::fs::write(bench.path("tiny.toml"), text.replace(line, data)).expect("tiny.toml");
    bench
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let mut names: Vec<String> = entries
        .map(|e| {
            e.expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    names
}

#[test]
fn runs_are_the_same_bytes_whatever_the_threads_and_can_be_evaluated_and_packed() {
    let bench = pets();
    succeed(&mut bench.train("one", &["--threads", "1"]));
    succeed(&mut bench.train("four", &["--threads", "4"]));
    let run = bench.run("one");
    assert_same_results(&run, &bench.run("four"), "one thread and four");
    let run = run.display().to_string();
    let answer = succeed(&mut bench.s3(&["eval", &run]));
    assert!(answer.starts_with("9 test images"), "{answer}");
    succeed(&mut bench.s3(&["export", &run, "--output", "net.safetensors"]));
    let packed = succeed(&mut bench.s3(&["eval", "net.safetensors", "--folder", "pets"]));
    assert!(packed.starts_with("9 test images"), "{packed}");
    let message = refusal(&mut bench.s3(&["eval", "net.safetensors"]));
    let words = [
        "no folder `train` of pictures",
        "; --data-dir",
        "(of a packed network: --folder) the one in it",
    ];
    assert!(words.iter().all(|w| message.contains(w)), "{message}");
    let message = refusal(&mut bench.s3(&["eval", &run, "--folder", "pets"]));
    assert!(
        message.contains("--folder: a run is evaluated"),
        "{message}"
    );
    assert_eq!(right(&bench), inferred(&bench));
    // An image that cannot be decoded ends the evaluation, or is counted.
    let broken = bench.path("data/pets/val/n01/0.png");
    std::fs::write(&broken, b"").expect("a file");
    let eval = ["eval", "net.safetensors", "--folder", "pets", "--json"];
    let message = refusal(&mut bench.s3(&eval));
    assert!(
        message.ends_with(&format!("val/n01/0.png: an empty file; {SKIPS}")),
        "{message}"
    );
    let skip = [&eval[..], &["--broken", "skip"]].concat();
    let answer = json(&succeed(&mut bench.s3(&skip)));
    let seen = (8.into(), 1.into());
    assert_eq!((&answer["images"], &answer["skipped"]), (&seen.0, &seen.1));
    // The run takes the same flag, also where its folder's name reads like the advice.
    let named = bench.path("data.broken = \"skip\" data.folder");
    std::fs::rename(&run, &named).expect("another name");
    let named = named.display().to_string();
    let stopped = bench.s3(&["eval", &named]).output().expect("an answer");
    assert!(!stopped.status.success());
    let said = String::from_utf8(stopped.stderr).expect("UTF-8");
    let last = said.lines().last().expect("a line");
    let broken = broken.display();
    assert_eq!(last, format!("error: {broken}: an empty file; {SKIPS}"));
    let skip = ["eval", &named, "--broken", "skip", "--json"];
    let answer = json(&succeed(&mut bench.s3(&skip)));
    assert_eq!((&answer["images"], &answer["skipped"]), (&seen.0, &seen.1));
    assert_eq!(answer["checkpoint"], format!("{named}/last.safetensors"));
}

/// What a message about a broken image says of the way out.
const SKIPS: &str = "data.broken = \"skip\" (of `s3 eval`: --broken skip) leaves such pictures out";

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).expect("JSON")
}

/// Images of `val` whose class `eval` finds right.
fn right(bench: &Bench) -> f64 {
    let eval = ["eval", "net.safetensors", "--folder", "pets", "--json"];
    let answer = json(&succeed(&mut bench.s3(&eval)));
    assert_eq!(answer["skipped"], 0);
    (9.0 * answer["top1"].as_f64().expect("top1")).round()
}

/// The same of `infer`, image after image.
fn inferred(bench: &Bench) -> f64 {
    let of_class = |class| (0..3).map(move |i| format!("data/pets/val/{class}/{i}.png"));
    let is_right = |path: &String| {
        let infer = ["infer", "net.safetensors", path, "--top", "1", "--json"];
        let answer = json(&succeed(&mut bench.s3(&infer)));
        let name = answer["top"][0]["name"].as_str().expect("a name");
        path.contains(name)
    };
    let paths = CLASSES.into_iter().flat_map(of_class);
    paths.filter(is_right).count() as f64
}

#[test]
fn shards_are_made_once_and_trained_on() {
    let bench = pets();
    let sharded = ["--set", "data.shards=true"];
    let message = refusal(&mut bench.train("runs", &sharded));
    assert!(message.contains("no shards here yet"), "{message}");
    let said = succeed(&mut bench.s3(&["shards", "tiny.toml"]));
    assert!(
        said.contains("train: 24 pictures") && said.contains("val: 9 pictures"),
        "{said}"
    );
    let again = succeed(&mut bench.s3(&["shards", "tiny.toml"]));
    assert!(
        again.contains("train: 24 pictures, 24 there already\n"),
        "{again}"
    );
    assert_eq!(
        names(&bench.path("data/pets.shards-18")),
        [
            "lock",
            "train-00000.shard",
            "train.json",
            "val-00000.shard",
            "val.json"
        ]
    );
    succeed(&mut bench.train("a", &[&sharded[..], &["--threads", "1"]].concat()));
    succeed(&mut bench.train("b", &[&sharded[..], &["--threads", "3"]].concat()));
    assert_same_results(
        &bench.run("a"),
        &bench.run("b"),
        "shards, one thread and three",
    );
    let message = refusal(&mut bench.s3(&["shards", "tiny.toml", "--set", "data.name=mnist"]));
    assert!(message.contains("mnist"), "{message}");
}

#[test]
fn a_broken_image_stops_the_run_or_is_named_and_counted() {
    let bench = pets();
    std::fs::write(bench.path("data/pets/train/n02/3.png"), b"").expect("a file");
    let message = refusal(&mut bench.train("stop", &[]));
    let stops = format!("train/n02/3.png: an empty file; {SKIPS}");
    assert!(message.ends_with(&stops), "{message}");
    let message = refusal(&mut bench.s3(&["shards", "tiny.toml"]));
    assert!(message.ends_with(&stops), "{message}");
    let shards = ["shards", "tiny.toml", "--set", "data.broken=skip"];
    let out = bench.s3(&shards).output().expect("s3 starts");
    let (said, named) = (
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr),
    );
    assert!(said.contains("train: 24 pictures, 1 broken, "), "{said}");
    assert_eq!(
        named.trim(),
        "skipped: data/pets/train/n02/3.png: an empty file"
    );
    let said = succeed(&mut bench.train("skip", &["--set", "data.broken=skip"]));
    assert_eq!(said.matches("skipped: ").count(), 1, "{said}");
    assert_eq!(
        said.matches(", 1 broken pictures skipped").count(),
        2,
        "{said}"
    );
}

#[cfg(unix)]
#[test]
fn a_full_disk_leaves_the_shards_that_are_whole() {
    let bench = pets();
    let program = env!("CARGO_BIN_EXE_s3");
    let shards = |limit: &str| {
        let script = format!("trap '' XFSZ; ulimit -f {limit}; exec {program} shards tiny.toml");
        let mut command = Command::new("sh");
        command.args(["-c", &script]).current_dir(bench.path(""));
        command
    };
    let folder = bench.path("data/pets.shards-18");
    let train = folder.join("train-00000.shard");
    succeed(&mut shards("unlimited"));
    let whole = std::fs::read(&train).expect("a shard");
    for name in ["val-00000.shard", "val.json"] {
        std::fs::remove_file(folder.join(name)).expect(name);
    }
    // 9 images of val are 18 x 24 and more, without loss: 12 KB and more. Blocks of 512 or 1024
    // bytes.
    let message = refusal(&mut shards("4"));
    let expected =
        "error: writing data/pets.shards-18/val-00000.shard (what stood there is unchanged): ";
    assert!(message.starts_with(expected), "{message}");
    assert_eq!(names(&folder), ["lock", "train-00000.shard", "train.json"]);
    assert!(std::fs::read(&train).expect("a shard") == whole);
    let said = succeed(&mut shards("unlimited"));
    assert!(
        said.contains("train: 24 pictures, 24 there already\n"),
        "{said}"
    );
    assert!(
        said.contains("val: 9 pictures, ") && !said.contains("9 there"),
        "{said}"
    );
    succeed(&mut bench.train("runs", &["--set", "data.shards=true"]));
}

#[test]
fn folders_that_do_not_fit_are_refused_before_a_run_folder_is_made() {
    let bench = pets();
    std::fs::remove_dir_all(bench.path("data/pets/val/n03")).expect("a folder");
    let message = refusal(&mut bench.train("runs", &[]));
    assert!(
        message.contains("data/pets/val: no folder of class n03"),
        "{message}"
    );
    std::fs::create_dir(bench.path("data/pets/val/n03")).expect("a folder");
    let message = refusal(&mut bench.train("runs", &["--dry-run"]));
    assert!(
        message.contains("data/pets/val/n03: no picture in this class"),
        "{message}"
    );
    assert!(!bench.path("runs").exists());
}

/// A batch without any image that can be read makes no step, in training and in the evaluation.
#[test]
fn batches_of_broken_images_alone_are_left_out() {
    let bench = pets();
    for file in ["train/n02/3.png", "val/n01/1.png"] {
        std::fs::write(bench.path(&format!("data/pets/{file}")), b"").expect("a file");
    }
    let skip = ["--set", "data.broken=skip", "--set", "eval_batch_size=1"];
    let [one, cut] = [
        ["--set", "batch_size=1", "--set", "micro_batches=1"],
        ["--set", "batch_size=2", "--set", "micro_batches=2"],
    ];
    for (out, settings) in [("one", one), ("cut", cut)] {
        succeed(&mut bench.train(out, &[&skip[..], &settings].concat()));
        let epochs = std::fs::read_to_string(bench.run(out).join("epochs.jsonl"));
        for line in epochs.expect("epochs.jsonl").lines() {
            let counts = "\"skipped_train\":1,\"skipped_test\":1";
            assert!(line.contains(counts), "{line}");
        }
    }
}

#[cfg(unix)]
#[test]
fn a_run_killed_between_images_ends_in_the_same_bytes() {
    let bench = pets();
    let long = ["--set", "epochs=8", "--checkpoint-seconds", "0"];
    succeed(&mut bench.train("whole", &long));
    let mut child = bench.train("killed", &long).spawn().expect("s3 starts");
    let began = std::time::Instant::now();
    let has_checkpoint = || {
        let mut runs = std::fs::read_dir(bench.path("killed"))
            .into_iter()
            .flatten();
        runs.any(|run| run.is_ok_and(|run| run.path().join("last.safetensors").is_file()))
    };
    while !has_checkpoint() {
        assert!(began.elapsed().as_secs() < 120, "no checkpoint");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    child.kill().expect("SIGKILL");
    assert!(!child.wait().expect("an end").success(), "it was too fast");
    succeed(&mut bench.train("killed", &[&long[..], &["--resume"]].concat()));
    let (whole, killed) = (bench.run("whole"), bench.run("killed"));
    assert_same_results(&whole, &killed, "killed in an epoch");
}
