//! What a user can take for something else: an output that is a run's own file.

mod common;

use common::{Bench, refusal, succeed};
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
    assert!(read().eq(before), "a file of the run is another one");
    // What training does not keep is anybody's, also in a run's folder, and is written twice.
    let run = run.display().to_string();
    let [net, page] = ["net.safetensors", "page.html"].map(|file| format!("{run}/{file}"));
    for _ in 0..2 {
        let export = ["export", &run, "-o", &net, "--activations", "f32"];
        succeed(&mut bench.s3(&export));
        succeed(&mut bench.s3(&["report", &run, "--no-answers", "-o", &page]));
    }
}
