//! Every experiment of the repository loads, and docs/IMAGENET.md has those that ImageNet needs.

use s3_train::config::Config;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const EXPERIMENTS: &str = "../../xtask/experiments";
const IMAGENET: &str = include_str!("../../../docs/IMAGENET.md");

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => files.extend(self::files(&path)),
            false => files.push(path),
        }
    }
    files
}

#[test]
fn every_experiment_resolves_to_itself_and_has_a_folder_of_its_own() {
    let mut folders = BTreeSet::new();
    let files = files(EXPERIMENTS.as_ref());
    for file in &files {
        let config = Config::load(file, &[]).expect("loads");
        let text = config.to_toml().expect("TOML");
        let mut again = Config::parse(&text, &[], "other").expect("parses");
        assert_eq!(again.file, None);
        again.file.clone_from(&config.file);
        assert_eq!(again, config, "{}", file.display());
        assert!(file.ends_with(format!("{}.toml", config.experiment)));
        config.method().expect("a method");
        // Of arrays, the files say what an image is.
        match s3_train::summary::image_of(&config.data) {
            Some((image, classes)) => drop(config.plan(image, classes).expect("a network")),
            None => assert_eq!(config.data.name.to_string(), "arrays", "{}", file.display()),
        }
        folders.insert(config.run_name().expect("a folder"));
    }
    assert_eq!(folders.len(), files.len());
}

/// A line a file: the run's name, and the SHA-256 of its resolved configuration.
const RESOLVED: &str = include_str!("experiments.txt");

#[test]
fn the_runs_of_the_experiments_keep_their_names_and_their_settings() {
    let line = |file: &PathBuf| {
        let config = Config::load(file, &[]).expect("loads");
        let name = config.run_name().expect("a folder");
        let text = config.to_toml().expect("TOML");
        let hash: String = Sha256::digest(text)
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        format!("{} {hash}\n", name.display())
    };
    let mut lines: Vec<String> = files(EXPERIMENTS.as_ref()).iter().map(line).collect();
    lines.sort();
    let resolved = lines.concat();
    assert_eq!(
        resolved, RESOLVED,
        "what tests/experiments.txt should be:\n{resolved}"
    );
}

#[test]
fn a_config_that_says_no_start_gets_the_recipes() {
    let recipe = Path::new(EXPERIMENTS).join("cifar10/resnet20-s3-3bit.toml");
    let start = |overrides: &[String]| {
        let config = Config::load(&recipe, overrides).expect("loads");
        config.method["init"].clone()
    };
    let unsaid = "method={ name = \"s3\", bits = 3 }".to_string();
    assert_eq!(start(&[unsaid]), start(&[]));
}

#[test]
fn imagenet_md_names_every_file_of_its_folder_and_no_other() {
    let in_a_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let words = IMAGENET.split(|c| !in_a_name(c));
    let named: BTreeSet<&str> = words.filter(|w| w.ends_with(".toml")).collect();
    let files = files(&Path::new(EXPERIMENTS).join("imagenet"));
    let there = files.iter().filter_map(|f| f.file_name()?.to_str());
    assert_eq!(named, there.collect());
}

#[test]
fn the_commands_of_imagenet_md_resolve() {
    let of = |name: &str| Path::new(EXPERIMENTS).join(format!("imagenet/{name}-3bit.toml"));
    let variables = ["$R18 ", "$R50 ", "$STAIR "];
    let recipes = ["resnet18-s3", "resnet50-s3", "resnet18-staircase"].map(of);
    let mut commands = 0;
    for line in IMAGENET.split('`') {
        let Some(which) = variables.iter().position(|v| line.starts_with(v)) else {
            continue;
        };
        let settings: Vec<String> = line.split(" --set ").skip(1).map(str::to_owned).collect();
        Config::load(&recipes[which], &settings).expect("resolves");
        commands += 1;
    }
    assert_eq!(commands, 15 + 10 + 5);
}
