//! Several runs at once: which are seeds of one configuration, and what tells others apart.

mod common;

use common::{Bench, refusal, succeed};
use std::path::Path;
use std::process::Command;

/// Runs of `tiny.toml`: S3 with two seeds, TWN, another learning rate, and other data of the same
/// last name.
fn runs(bench: &Bench) -> Vec<String> {
    let twn = r#"method={name="twn"}"#;
    let other = "experiment=\"other/tiny\"";
    let settings: [&[&str]; 5] = [
        &[],
        &["seed=2"],
        &[twn],
        &["lr.start=0.05"],
        &[other, "data.train_limit=96"],
    ];
    let train = |(i, settings): (usize, &&[&str])| {
        let out = format!("runs{i}");
        let mut command = bench.train(&out, &["--set", "epochs=1", "--no-report"]);
        for setting in *settings {
            command.args(["--set", setting]);
        }
        succeed(&mut command);
        let run = bench.run(&out);
        let run = match run.join("config.toml").is_file() {
            true => run,
            // `other/tiny-..` is a folder below.
            false => std::fs::read_dir(run)
                .expect("it")
                .next()
                .expect("one")
                .expect("it")
                .path(),
        };
        run.display().to_string()
    };
    settings.iter().enumerate().map(train).collect()
}

fn with<'a>(command: &'a mut Command, runs: &[String]) -> &'a mut Command {
    command.args(runs)
}

#[test]
fn only_seeds_of_one_configuration_are_averaged_and_names_that_collide_are_told_apart() {
    let bench = Bench::new();
    let runs = runs(&bench);
    let mut report = bench.s3(&[
        "report",
        "-o",
        "page.html",
        "--no-answers",
        "--pictures",
        "drawn",
    ]);
    succeed(with(&mut report, &runs));
    let drawn = std::fs::read_dir(bench.path("drawn")).expect("a folder");
    let names = drawn.map(|e| e.expect("it").file_name().to_string_lossy().into_owned());
    let is_first = |n: &String| n.starts_with("01-") && n.ends_with("-epoch.svg");
    let first = names.into_iter().find(is_first).expect("the first picture");
    let curves = std::fs::read_to_string(bench.path("drawn").join(first)).expect("a picture");
    // Where a legend has no room for what differs it has the hash, which the table of the page
    // explains.
    let hashed = |run: &str| {
        let name = Path::new(run)
            .file_name()
            .expect("a name")
            .to_string_lossy();
        name.rsplit_once("-s").expect("a seed").0.to_owned()
    };
    for label in [
        format!("{} (n = 2)", hashed(&runs[0])).as_str(),
        "tiny (twn) (n = 1)",
        format!("{} (n = 1)", hashed(&runs[3])).as_str(),
        "tiny (s3, 3 bits; data.train_limit=96) (n = 1)",
    ] {
        assert!(curves.contains(label), "{label}: {curves}");
    }
    let page = std::fs::read_to_string(bench.path("page.html")).expect("the page");
    assert!(page.contains("differs in") && page.contains("lr.start=0.05"));

    let table = succeed(with(&mut bench.s3(&["compare"]), &runs));
    let rows: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    assert_eq!(
        rows[0][1..6],
        ["experiment", "method", "data", "differs in", "seed"]
    );
    let row = |i: usize| rows[2 + i][1..6].to_vec();
    assert_eq!(
        row(0),
        ["tiny", "s3, 3 bits", "shapes", "lr.start=0.1", "1"]
    );
    assert_eq!(row(1)[4], "2");
    assert_eq!(row(2)[1], "twn");
    assert!(row(3)[3].contains("lr.start=0.05"), "{table}");
    assert_eq!(row(4), ["other/tiny", "s3, 3 bits", "shapes", "", "1"]);

    let mut fidelity = bench.s3(&["fidelity", "--calibration-images", "60"]);
    let shown = succeed(with(&mut fidelity, &runs[..3]));
    for name in [
        "resnet8 (shortcut=A) on shapes, s3, 3 bits, seed 1 ",
        "resnet8 (shortcut=A) on shapes, s3, 3 bits, seed 2 ",
        "resnet8 (shortcut=A) on shapes, twn ",
    ] {
        assert!(shown.contains(name), "{name}: {shown}");
    }
    // A seed alone needs no word.
    let mut fidelity = bench.s3(&["fidelity", "--calibration-images", "60"]);
    let shown = succeed(with(&mut fidelity, &runs[..1]));
    let alone = "| resnet8 (shortcut=A) on shapes, s3, 3 bits ";
    assert!(shown.contains(alone), "{shown}");

    let mut logs = bench.s3(&["logs", "--csv", "-o", "all"]);
    let files = succeed(with(&mut logs, &runs));
    assert_eq!(files.lines().count(), 3 * runs.len(), "{files}");
}

#[test]
fn a_run_that_is_not_finished_is_named_and_the_others_are_compared() {
    let bench = Bench::new();
    succeed(&mut bench.train("a", &["--set", "epochs=1", "--no-report"]));
    succeed(&mut bench.train(
        "b",
        &["--set", "epochs=1", "--set", "seed=2", "--no-report"],
    ));
    let [whole, other] = ["a", "b"].map(|out| bench.run(out));
    std::fs::remove_file(other.join("summary.json")).expect("a summary");
    let both = [whole, other].map(|run| run.display().to_string());
    for more in [&[][..], &["--json"], &["--markdown", "page.md"]] {
        let mut command = bench.s3(&["compare"]);
        let out = with(command.args(more), &both).output().expect("s3");
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.success(), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(
            said.contains(&both[1]) && said.contains("not finished"),
            "{said}"
        );
        let table = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(table.contains("tiny"), "{table}");
    }
    let page = std::fs::read_to_string(bench.path("page.md")).expect("the page");
    assert_eq!(page.matches("n = 1, seed").count(), 1, "{page}");
    // Alone it is refused, and so is what is no run.
    assert!(refusal(&mut bench.s3(&["compare", &both[1]])).contains("not finished"));
    let line = refusal(&mut bench.s3(&["compare", &both[0], "a"]));
    assert!(line.contains("not a run's folder"), "{line}");
}
