//! Runs as one page: finished ones, several, and what is left of one that is not whole.

mod common;

use common::{Bench, refusal, succeed};
use s3_metrics::record::{DynamicsRecord, EpochRecord, read_jsonl};
use std::path::Path;
use std::process::Command;

fn page(bench: &Bench, args: &[&str], file: &Path) -> String {
    let mut command = bench.s3(&["report"]);
    succeed(command.args(args));
    std::fs::read_to_string(file).expect("the page")
}

/// The plots that could not be drawn, with their reasons.
fn without_plot(page: &str) -> Vec<&str> {
    let parts = page.split("No picture: ").skip(1);
    parts.filter_map(|p| p.split("</p>").next()).collect()
}

#[test]
fn a_finished_run_is_one_page_that_needs_no_network() {
    let bench = Bench::new();
    succeed(&mut bench.train("runs", &[]));
    let run = bench.run("runs");
    let file = run.join("report.html");
    let by_training = std::fs::read_to_string(&file).expect("the page");
    let page = page(&bench, &[&run.display().to_string()], &file);
    assert!(page == by_training, "training and `s3 report` differ");
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
    assert_eq!(without_plot(&page), [] as [&str; 0]);
    assert!(!page.contains("http:") && !page.contains("https:") && !page.contains("<script"));
    let open = page.matches("<figure").count();
    assert_eq!(open, page.matches("</figure>").count());
    the_record_holds_the_dynamics(&bench, &run);
    the_tables_hold_the_lines(&bench, &run);
    tensorboard_reads_the_events(&bench, &run);
    every_plot_becomes_a_file(&bench, &run);
    // A page that cannot be written is said, and the run is finished all the same.
    std::fs::remove_file(&file).expect("the page");
    std::fs::create_dir(&file).expect("a folder");
    let out = bench.train("runs", &["--resume"]).output().expect("s3");
    let stderr = String::from_utf8_lossy(&out.stderr);
    let said = stderr.lines().filter(|l| l.starts_with("no report.html: "));
    assert!(out.status.success() && said.count() == 1, "{stderr}");
}

/// The last value of a layer or latent equals the last line of `dynamics.jsonl`.
fn the_record_holds_the_dynamics(bench: &Bench, run: &Path) {
    let name = run.display().to_string();
    assert!(
        bench
            .s3(&["compare", "--dynamics", &name])
            .output()
            .expect("s3")
            .status
            .code()
            == Some(2)
    );
    let read = |args: &[&str]| -> serde_json::Value {
        let mut command = bench.s3(&["compare", "--json", &name]);
        serde_json::from_str(&succeed(command.args(args))).expect("JSON")
    };
    let (mut with, without) = (read(&["--dynamics"]), read(&[]));
    let layers = with.as_object_mut().expect("a record").remove("layers");
    assert_eq!(with, without);
    for key in ["test_loss", "train_losses"] {
        assert_eq!(without[key].as_array().map(Vec::len), Some(3), "{key}");
    }
    assert_eq!(without["train_losses"][2], without["train_loss"]);

    let layers = layers.expect("the layers");
    let lines: Vec<DynamicsRecord> = read_jsonl(&run.join("dynamics.jsonl")).expect("dynamics");
    let layers = layers.as_array().expect("a list");
    assert_eq!(layers.len(), lines.len() / 4, "epochs 0 to 3");
    for (layer, last) in layers.iter().zip(&lines[lines.len() - layers.len()..]) {
        assert_eq!(layer["name"], last.layer.as_str());
        assert_eq!(layer["role"], last.role.as_str());
        assert_eq!(layer["discrete"], !last.levels.is_empty());
        assert_eq!(layer["epochs"], serde_json::json!([0, 1, 2, 3]));
        assert!(layer["wsvr"][0].is_null());
        assert_eq!(layer["wsvr"][3].as_f64(), last.wsvr);
        assert_eq!(layer["wsvr_latent"][3].as_f64(), last.wsvr_latent);
        assert_eq!(layer["wlvr"][3].as_f64(), Some(last.wlvr));
        let zeros = last.zeros as f64 / last.weights as f64;
        assert_eq!(layer["zeros"][3].as_f64(), Some(zeros));
        let levels = layer["levels"].as_array().expect("levels");
        assert_eq!(levels.len(), last.levels.len());
        let latents = layer["latents"].as_array().expect("latents");
        assert_eq!(latents.len(), last.latents.len());
        for (latent, last) in latents.iter().zip(&last.latents) {
            assert_eq!(latent["name"], last.name.as_str());
            let density = serde_json::from_value(latent["density"].clone());
            assert_eq!(last.density, density.expect("a density"));
            assert_eq!(latent["flips"][3].as_f64(), last.flips);
            let zero = last.gradient.map(|g| g.zero_share);
            assert_eq!(latent["zero_gradient"][3].as_f64(), zero);
        }
    }
}

fn the_tables_hold_the_lines(bench: &Bench, run: &Path) {
    let name = run.display().to_string();
    let read = |file: &str| std::fs::read_to_string(bench.path("tables").join(file)).expect(file);
    succeed(bench.s3(&["logs", &name, "--csv"]).args(["-o", "tables"]));
    let epochs: Vec<EpochRecord> = read_jsonl(&run.join("epochs.jsonl")).expect("epochs");
    let dynamics: Vec<DynamicsRecord> = read_jsonl(&run.join("dynamics.jsonl")).expect("dynamics");
    for (file, rows) in [
        ("epochs.csv", epochs.len()),
        ("dynamics.csv", dynamics.len()),
        (
            "latents.csv",
            dynamics.iter().map(|d| d.latents.len()).sum(),
        ),
    ] {
        let text = read(file);
        let fields = |line: &str| line.split(',').count();
        let header = fields(text.lines().next().expect("a header"));
        assert_eq!(text.lines().count(), 1 + rows, "{file}");
        assert!(text.lines().all(|line| fields(line) == header), "{file}");
    }
    // The value of a column in the last row.
    let last = |file: &str, column: &str| -> String {
        let text = read(file);
        let mut header = text.lines().next().expect("a header").split(',');
        let place = header.position(|name| name == column).expect(column);
        let row = text.lines().next_back().expect("a row");
        row.split(',').nth(place).expect(column).to_string()
    };
    let (epoch, layer) = (&epochs[2], &dynamics[dynamics.len() - 1]);
    let latent = layer.latents.last().expect("a latent");
    for (file, column, value) in [
        ("epochs.csv", "test_top1", epoch.test_top1),
        ("epochs.csv", "train_loss", Some(epoch.train_loss)),
        ("dynamics.csv", "wsvr", layer.wsvr),
        ("dynamics.csv", "wlvr", Some(layer.wlvr)),
        ("latents.csv", "flips", latent.flips),
    ] {
        let read = last(file, column).parse().ok();
        assert_eq!(read.map(f64::to_bits), value.map(f64::to_bits), "{column}");
    }
}

/// A Python that has this module; a test that needs one and has none says so.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn python(module: &str) -> Option<String> {
    let name = std::env::var("S3_BENCH_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let import = format!("import {module}");
    let output = Command::new(&name).args(["-c", &import]).output();
    if output.is_ok_and(|o| o.status.success()) {
        return Some(name);
    }
    eprintln!("skipped: no Python with {module} (S3_BENCH_PYTHON)");
    None
}

/// Prints the tags and the steps and values of `test/top1`.
const READ_EVENTS: &str = "
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1], size_guidance={'scalars': 0, 'histograms': 0})
events.Reload()
tags = events.Tags()
print(json.dumps({
    'scalars': len(tags['scalars']),
    'histograms': len(tags['histograms']),
    'images': sorted(tags['images']),
    'snapshots': [len(events.Histograms(tag)) for tag in tags['histograms']],
    'top1': [[event.step, event.value] for event in events.Scalars('test/top1')],
}))
";

fn tensorboard_reads_the_events(bench: &Bench, run: &Path) {
    let name = run.display().to_string();
    let write = || {
        succeed(&mut bench.s3(&["logs", &name, "--tensorboard", "--answers"]));
        std::fs::read(run.join("tensorboard/events.out.tfevents.s3")).expect("the events")
    };
    assert!(write() == write(), "two event files of a folder differ");
    let Some(python) = python("tensorboard") else {
        return;
    };
    let mut command = Command::new(python);
    command
        .args(["-c", READ_EVENTS])
        .arg(run.join("tensorboard"));
    let read: serde_json::Value = serde_json::from_str(&succeed(&mut command)).expect("JSON");
    let epochs: Vec<EpochRecord> = read_jsonl(&run.join("epochs.jsonl")).expect("epochs");
    let dynamics: Vec<DynamicsRecord> = read_jsonl(&run.join("dynamics.jsonl")).expect("dynamics");
    // TensorBoard's scalars are f32.
    let top1 = epochs.iter().map(|e| {
        let value = e.test_top1.expect("an accuracy") as f32;
        (e.epoch, f64::from(value))
    });
    assert_eq!(read["top1"], serde_json::json!(top1.collect::<Vec<_>>()));
    let layers: Vec<_> = dynamics.iter().filter(|d| d.epoch == 0).collect();
    let latents: usize = layers.iter().map(|d| d.latents.len()).sum();
    // Only discrete layers have a sign latent, and only those between the ends are discrete.
    let with_sign = |d: &&&DynamicsRecord| d.latents.iter().any(|l| l.name == "w_sign");
    let discrete = layers.iter().filter(with_sign).count();
    assert_eq!(read["scalars"], 7 + 3 * layers.len() + discrete);
    assert_eq!(read["histograms"], latents);
    let images = read["images"].as_array().expect("tags");
    for tag in [
        "answers/confusion",
        "answers/filters",
        "dynamics/wlvr",
        "dynamics/wsvr",
        "dynamics/wsvr_latent",
    ] {
        assert!(images.contains(&tag.into()), "{tag}: {images:?}");
    }
    let wrong = |tag: &&serde_json::Value| {
        tag.as_str()
            .is_some_and(|t| t.starts_with("answers/wrong/"))
    };
    assert!(images.iter().filter(wrong).count() > 0, "{images:?}");
    assert_eq!(read["snapshots"], serde_json::json!(vec![4; latents]));
}

#[test]
fn numpy_finds_the_rates_of_the_snapshots() {
    let Some(python) = python("numpy") else {
        return;
    };
    let bench = Bench::new();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tools/check_dynamics.py");
    for method in [
        r#"{name="s3",bits=3}"#,
        r#"{name="twn"}"#,
        r#"{name="fp32"}"#,
    ] {
        // Nothing depends on the length of the run, so that one epoch is the first of two.
        let folder = |epochs: &str| {
            let out = format!("{}-{epochs}", &method[7..9]);
            let mut command =
                bench.train(&out, &["--no-report", "--set", &format!("method={method}")]);
            for setting in [
                "lr.schedule=\"constant\"",
                "alpha.schedule=\"constant\"",
                &format!("epochs={epochs}"),
            ] {
                command.args(["--set", setting]);
            }
            succeed(&mut command);
            bench.run(&out)
        };
        let (first, second) = (folder("1"), folder("2"));
        let file = |run: &Path, name: &str| run.join(name).display().to_string();
        let check = |before: &Path| {
            let mut command = Command::new(&python);
            command.arg(&script);
            command.args([
                file(before, "last.safetensors"),
                file(&second, "last.safetensors"),
            ]);
            command.arg(file(&second, "dynamics.jsonl"));
            command
        };
        let said = succeed(&mut check(&first));
        assert!(said.starts_with("epoch 2: "), "{said}");
        // Against itself nothing has moved: a check that always passes would pass here.
        assert!(!check(&second).output().expect("runs").status.success());
    }
}

#[test]
fn several_runs_stand_side_by_side_with_their_seeds_as_a_band() {
    let bench = Bench::new();
    let settings = ["--set", "epochs=2", "--no-report"];
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
    let pages = runs
        .iter()
        .filter(|r| Path::new(r).join("report.html").exists());
    assert_eq!(pages.count(), 1, "of the run without --no-report");
    let mut args: Vec<&str> = runs.iter().map(String::as_str).collect();
    assert!(refusal(bench.s3(&["report"]).args(&args)).contains("--output"));
    let mut logs = bench.s3(&["logs", "--csv", "-o", "all"]);
    assert_eq!(succeed(logs.args(&args)).lines().count(), 3 * runs.len());
    let twice = [args[0], args[0]];
    let refused = refusal(bench.s3(&["logs", "--csv", "-o", "all"]).args(twice));
    assert!(refused.contains("another run writes to"), "{refused}");
    args.extend(["-o", "all.html", "--no-answers"]);
    let page = page(&bench, &args, &bench.path("all.html"));
    assert!(page.contains("Side by side") && page.contains("Size against accuracy"));
    assert!(!page.contains("taken for"));
    // The full-precision run has no level and no sign latent; its plots say so.
    let missing = without_plot(&page);
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
    let output = bench.s3(&["report", &name]).output().expect("s3 starts");
    let page = std::fs::read_to_string(run.join("report.html")).expect("the page");
    let said = String::from_utf8(output.stderr).expect("text");
    for (shown, noted) in [
        ("1 of 2 epochs are done", "not finished: 1 of 2 epochs"),
        ("dynamics.jsonl", "cannot read"),
        ("model.json is not there", "model.json: EOF while parsing"),
    ] {
        assert!(page.contains(shown), "{shown}");
        assert!(said.contains(noted), "{noted}: {said}");
    }
    assert!(!without_plot(&page).is_empty());

    std::fs::remove_file(run.join("config.toml")).expect("a config");
    assert!(refusal(&mut bench.s3(&["report", &name])).contains("not a run's folder"));
}

#[test]
fn the_summary_has_the_energy_of_three_versions() {
    let bench = Bench::new();
    let shown = succeed(&mut bench.s3(&["summary", "tiny.toml", "--json"]));
    let summary: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!(summary["energy"]["kind"], "model, not a measurement");
    let versions = summary["energy"]["versions"].as_array().expect("a list");
    let names: Vec<&str> = versions.iter().filter_map(|v| v["name"].as_str()).collect();
    assert_eq!(names, ["float32", "int8", "shift"]);
    let shifts = |i: usize| versions[i]["counts"]["shifts"].as_u64();
    assert_eq!(shifts(0), Some(0));
    assert_eq!(shifts(2), summary["total"]["shifts"].as_u64());
    let table = succeed(&mut bench.s3(&["summary", "tiny.toml"]));
    assert!(
        table.contains("energy: a model, not a measurement"),
        "{table}"
    );
}

#[test]
fn a_summary_counts_the_terms_of_the_planes() {
    let bench = Bench::new();
    let tiny = std::fs::read_to_string(bench.path("tiny.toml")).expect("tiny.toml");
    let summary = |method: &str| -> serde_json::Value {
        let lines = tiny
            .lines()
            .map(|line| match line.trim_start().starts_with("method = ") {
                true => format!("method = {{ {method} }}\n"),
                false => format!("{line}\n"),
            });
        let text: String = lines.collect();
        std::fs::write(bench.path("other.toml"), text).expect("other.toml");
        let shown = succeed(&mut bench.s3(&["summary", "other.toml", "--json"]));
        serde_json::from_str(&shown).expect("JSON")
    };
    let coded = |summary: &serde_json::Value| -> Vec<serde_json::Value> {
        let layers = summary["layers"].as_array().expect("layers").iter();
        layers
            .filter(|l| !l["layer"]["bits"].is_null())
            .cloned()
            .collect()
    };
    // A TTQ weight is in one plane at most; its two factors are bytes that stay.
    let ttq = coded(&summary("name = \"ttq\""));
    assert!(!ttq.is_empty());
    for l in &ttq {
        assert_eq!(l["layer"]["terms"], l["layer"]["nonzero"], "{l}");
        assert_eq!(l["layer"]["scales"], 2, "{l}");
    }
    // LQ-Net's bases: a float a filter and plane.
    for l in coded(&summary("name = \"lqnet\", bits = 3")) {
        let filters = l["layer"]["weight_shape"][0].as_u64().expect("filters");
        assert_eq!(l["layer"]["scales"], 3 * filters, "{l}");
    }
    // Levels of one term and zeros are not two terms.
    for l in coded(&summary("name = \"apot\", bits = 4")) {
        let count = |key: &str| l["layer"][key].as_u64().expect("a number");
        assert!(count("terms") < 2 * count("nonzero"), "{l}");
        assert!(count("terms") >= count("nonzero"), "{l}");
    }
    // {0, ±1}: nothing is shifted, whatever the method does at more bits.
    for method in ["deepshift_ps", "inq"] {
        let of = summary(&format!("name = \"{method}\", bits = 2"));
        assert_eq!(of["total"]["shifts"], 0, "{method}");
    }
}

fn every_plot_becomes_a_file(bench: &Bench, run: &Path) {
    let run = run.display().to_string();
    let said = succeed(&mut bench.s3(&["report", &run, "-o", "page.html", "--pictures", "drawn"]));
    let page = std::fs::read_to_string(bench.path("page.html")).expect("the page");
    let drawn = std::fs::read_dir(bench.path("drawn")).expect("a folder");
    let mut names: Vec<String> = drawn
        .map(|e| e.expect("an entry").file_name().to_string_lossy().into())
        .collect();
    names.sort();
    // Each as SVG and PNG, on light and on dark.
    assert_eq!(names.len(), 4 * page.matches("<picture>").count());
    assert_eq!(said.lines().count(), names.len() + 1);
    let expected = [
        "01-test-top-1-after-each-epoch-dark.png",
        "01-test-top-1-after-each-epoch-dark.svg",
    ];
    assert_eq!(names[..2], expected);
}
