//! What a run takes of another's weights, through the binary.

mod common;

use candle_core::{DType, Device, Tensor};
use common::{Bench, assert_same_results, refusal, succeed};
use s3_train::checkpoint;
use s3_train::config::Config;
use std::path::{Path, PathBuf};

const FP32: [&str; 4] = ["--set", "method={name=\"fp32\"}", "--set", "epochs=1"];

/// The checkpoint of a trained fp32 network, below the folder `a`.
fn trained(bench: &Bench) -> PathBuf {
    succeed(&mut bench.train("a", &FP32));
    bench.run("a").join("last.safetensors")
}

/// The settings that start from `file`, and `more`.
fn init<'a>(file: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&FP32[..], &["--init", file], more].concat()
}

fn from(file: &Path) -> String {
    format!("from:{}", file.display())
}

#[test]
fn a_file_and_not_its_path_is_part_of_a_runs_name() {
    let bench = Bench::new();
    let last = trained(&bench);
    std::fs::create_dir(bench.path("x")).expect("a folder");
    std::fs::copy(&last, bench.path("x/copy.safetensors")).expect("copied");
    let mut folders = [
        from(&last),
        "from:x/copy.safetensors".into(),
        "from:./x/../x/copy.safetensors".into(),
    ]
    .map(|file| succeed(&mut bench.train("b", &init(&file, &["--dry-run"]))));
    assert_eq!(
        folders[0].lines().count(),
        1,
        "the folder alone is the answer"
    );
    folders.sort();
    assert_eq!(folders[0], folders[2]);
    // Another file is another run.
    succeed(&mut bench.train("c", &[&FP32[..], &["--seed", "2"]].concat()));
    let other = from(&bench.run("c").join("last.safetensors"));
    let folder = succeed(&mut bench.train("b", &init(&other, &["--dry-run"])));
    assert_ne!(folder, folders[0]);
    assert!(!bench.path("b").exists());
}

#[test]
fn a_run_goes_on_wherever_its_file_lies() {
    let bench = Bench::new();
    let last = trained(&bench);
    let file = bench.path("start.safetensors");
    std::fs::copy(&last, &file).expect("copied");
    let at_first = from(&file);
    let two = ["--set", "epochs=2"];
    succeed(&mut bench.train("whole", &init(&at_first, &two)));
    // Stopped before its first checkpoint, and its file moved.
    succeed(&mut bench.train("b", &init(&at_first, &two)));
    let run = bench.run("b");
    std::fs::remove_file(run.join("last.safetensors")).expect("removed");
    std::fs::create_dir(bench.path("x")).expect("a folder");
    std::fs::rename(&file, bench.path("x/moved.safetensors")).expect("moved");
    let moved = init(
        "from:x/moved.safetensors",
        &["--set", "epochs=2", "--resume"],
    );
    succeed(&mut bench.train("b", &moved));
    assert_same_results(&bench.run("whole"), &run, "the file moved");
    // From there on the file is not needed.
    std::fs::remove_dir_all(bench.path("x")).expect("removed");
    let config = run.join("config.toml").display().to_string();
    succeed(&mut bench.s3(&["train", &config, "--out", "b", "--resume"]));
    succeed(&mut bench.s3(&["eval", &run.display().to_string()]));
    assert_same_results(&bench.run("whole"), &bench.run("b"), "the file gone");
    // A new run needs it, and not another one in its place.
    let message = refusal(&mut bench.s3(&["train", &config, "--out", "c"]));
    assert!(message.contains("init_from: reading"), "{message}");
    std::fs::copy(bench.path("tiny.toml"), &file).expect("copied");
    let message = refusal(&mut bench.s3(&["train", &config, "--out", "c"]));
    assert!(message.contains("init_sha256 expects"), "{message}");
}

#[test]
fn a_run_of_an_older_version_goes_on_under_its_name() {
    let bench = Bench::new();
    let (file, other) = (trained(&bench), bench.path("other.safetensors"));
    std::fs::copy(&file, bench.path("start.safetensors")).expect("copied");
    let args = init("from:start.safetensors", &["--resume"]);
    succeed(&mut bench.train("b", &args));
    let new = bench.run("b");
    // An older version named the run by the file's path.
    let text = std::fs::read_to_string(new.join("config.toml")).expect("a config");
    let text: String = text
        .split_inclusive('\n')
        .filter(|l| !l.starts_with("init_sha256"))
        .collect();
    let name = Config::parse(&text, &[], "")
        .expect("a config")
        .run_name()
        .expect("a name");
    let old = bench.path("b").join(&name);
    assert_ne!(old, new);
    std::fs::write(new.join("config.toml"), text).expect("written");
    let last = new.join("last.safetensors");
    let (mut header, tensors) = checkpoint::load(&last).expect("a checkpoint");
    header.run = name.display().to_string();
    checkpoint::save(&last, &header, &tensors).expect("written");
    std::fs::rename(&new, &old).expect("renamed");

    let folder = succeed(&mut bench.train("b", &init("from:start.safetensors", &["--dry-run"])));
    assert_eq!(bench.path(folder.trim_end()), old);
    succeed(&mut bench.train("b", &args));
    succeed(&mut bench.s3(&["eval", &old.display().to_string()]));
    std::fs::rename(bench.path("start.safetensors"), &other).expect("moved");
    succeed(&mut bench.train("b", &args));
    assert_eq!(bench.run("b"), old);
    // Another file under that path is another run.
    let (mut header, tensors) = checkpoint::load(&other).expect("a checkpoint");
    header.position.step += 1;
    checkpoint::save(&bench.path("start.safetensors"), &header, &tensors).expect("written");
    let folder = succeed(&mut bench.train("b", &init("from:start.safetensors", &["--dry-run"])));
    assert_ne!(bench.path(folder.trim_end()), old);
}

#[test]
fn fine_tuning_says_what_it_takes_and_what_starts_anew() {
    let bench = Bench::new();
    let last = trained(&bench);
    let (_, tensors) = checkpoint::load(&last).expect("a checkpoint");
    // As torch would write it of a compiled module with 1000 classes, in half floats.
    let tensors = tensors.into_iter().filter(|(name, _)| !name.contains('/'));
    let tensors = tensors.map(|(name, t)| {
        let t = match name.split_once("fc.") {
            Some(_) => {
                let mut dims = t.dims().to_vec();
                dims[0] = 1000;
                Tensor::zeros(dims, DType::F32, &Device::Cpu).expect("zeros")
            }
            None => t,
        };
        (
            format!("_orig_mod.{name}"),
            t.to_dtype(DType::F16).expect("f16"),
        )
    });
    let file = bench.path("half.safetensors");
    candle_core::safetensors::save(&tensors.collect(), &file).expect("written");
    let file = from(&file);
    for more in [&[][..], &["--dry-run"]] {
        let message = refusal(&mut bench.train("b", &init(&file, more)));
        for words in [
            "fc.bias has shape [1000], expected [10]",
            "fc.weight has shape [1000, 64], expected [10, 64]",
            "init_head = \"fresh\"",
        ] {
            assert!(message.contains(words), "{message}");
        }
    }
    let fresh = init(&file, &["--set", "init_head=fresh"]);
    for more in [&["--dry-run"][..], &[]] {
        let out = bench
            .train("b", &[&fresh[..], more].concat())
            .output()
            .expect("s3 starts");
        let said = [out.stdout, out.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(out.status.success(), "{said}");
        for words in [
            "taken 35: ",
            "left 2: ",
            "the classifier starts anew",
            "scratch, 2: fc.bias, fc.weight",
        ] {
            assert_eq!(said.matches(words).count(), 1, "{words}: {said}");
        }
    }
    let manifest = std::fs::read(bench.run("b").join("manifest.json")).expect("the manifest");
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).expect("JSON");
    assert_eq!(
        manifest["init_from"]["taken"].as_array().map(Vec::len),
        Some(35)
    );
    assert_eq!(manifest["init_from"]["missing"][0], "fc.bias");
    let alone = [&FP32[..], &["--set", "init_head=fresh"]].concat();
    assert!(refusal(&mut bench.train("c", &alone)).contains("init_head: there is no file"));
}
