//! Runs as one page: finished ones, several, and what is left of one that is not whole.

mod common;

use common::{Bench, refusal, succeed};
use std::path::Path;

fn page(bench: &Bench, args: &[&str], file: &Path) -> String {
    let mut command = bench.s3(&["report"]);
    succeed(command.args(args));
    std::fs::read_to_string(file).expect("the page")
}

/// The pictures that could not be drawn, with their reasons.
fn without_picture(page: &str) -> Vec<&str> {
    let parts = page.split("No picture: ").skip(1);
    parts.filter_map(|p| p.split("</p>").next()).collect()
}

#[test]
fn a_finished_run_is_one_page_that_needs_no_network() {
    let bench = Bench::new();
    succeed(&mut bench.train("runs", &[]));
    let run = bench.run("runs");
    let page = page(
        &bench,
        &[&run.display().to_string()],
        &run.join("report.html"),
    );
    for text in [
        "tiny-",
        "WSVR of the sign latent",
        "Density of layer2.0.conv2, w_sparse",
        "Gates that flipped between snapshots: w_1",
        "Entries whose gradient is zero",
        "shift sign flip",
        "row, the true class; column, the answer",
        "taken for",
        "manifest.json",
    ] {
        assert!(page.contains(text), "{text}");
    }
    assert_eq!(without_picture(&page), [] as [&str; 0]);
    assert!(!page.contains("http:") && !page.contains("https:") && !page.contains("<script"));
    let open = page.matches("<figure").count();
    assert_eq!(open, page.matches("</figure>").count());
}

#[test]
fn several_runs_stand_side_by_side_with_their_seeds_as_a_band() {
    let bench = Bench::new();
    let settings = ["--set", "epochs=2"];
    for seed in ["1", "2"] {
        succeed(bench.train("runs", &settings).args(["--seed", seed]));
    }
    succeed(&mut bench.train(
        "runs",
        &["--set", "method={name=\"fp32\"}", "--set", "epochs=1"],
    ));
    let runs: Vec<String> = std::fs::read_dir(bench.path("runs"))
        .expect("the folder")
        .map(|e| e.expect("an entry").path().display().to_string())
        .collect();
    let mut args: Vec<&str> = runs.iter().map(String::as_str).collect();
    assert!(refusal(bench.s3(&["report"]).args(&args)).contains("--output"));
    args.extend(["-o", "all.html", "--no-answers"]);
    let page = page(&bench, &args, &bench.path("all.html"));
    assert!(page.contains("Side by side") && page.contains("Size against accuracy"));
    assert!(!page.contains("taken for"));
    // The full-precision run has no level and no sign latent; its pictures say so.
    let missing = without_picture(&page);
    assert!(!missing.is_empty() && missing.len() < 8, "{missing:?}");
}

#[test]
fn what_a_run_does_not_hold_is_said() {
    let bench = Bench::new();
    succeed(&mut bench.train("runs", &["--set", "epochs=2"]));
    let run = bench.run("runs");
    let name = run.display().to_string();
    // One epoch, half a line of the next, no dynamics and no cost.
    let epochs = std::fs::read_to_string(run.join("epochs.jsonl")).expect("epochs");
    let first = epochs.lines().next().expect("a line");
    std::fs::write(run.join("epochs.jsonl"), format!("{first}\n{{\"epo")).expect("a write");
    std::fs::remove_file(run.join("dynamics.jsonl")).expect("dynamics");
    std::fs::write(run.join("model.json"), "{").expect("a write");
    std::fs::remove_file(run.join("last.safetensors")).expect("a checkpoint");
    let page = page(&bench, &[&name], &run.join("report.html"));
    for text in [
        "1 of 2 epochs are done",
        "dynamics.jsonl",
        "model.json is not there",
    ] {
        assert!(page.contains(text), "{text}");
    }
    assert!(!without_picture(&page).is_empty());

    std::fs::remove_file(run.join("config.toml")).expect("a config");
    assert!(refusal(&mut bench.s3(&["report", &name])).contains("not a run's folder"));
}
