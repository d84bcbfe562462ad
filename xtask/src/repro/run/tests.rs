use super::super::plan::{Job, Page, Row, Start};
use super::*;
use clap::Parser;
use s3_metrics::spec::{Shown, Spec};
use std::os::unix::fs::PermissionsExt;

/// Stands in for `s3`: a run is the folder OUT/RECIPE-eEPOCHS-sSEED; seed 3 of `twn` diverges, seed
/// 2 of it is stopped where a file OUT/stop is.
const S3: &str = r#"#!/bin/sh
verb=$1; shift
case $verb in
train)
  recipe=$(basename "$1" .toml); shift; dry=""; start=""
  while [ $# -gt 0 ]; do
    case $1 in
    --set) case $2 in epochs=*) e=${2#*=};; seed=*) s=${2#*=};; init_from=*) start=${2#*=};; esac; shift;;
    --out) out=$2; shift;;
    --dry-run) dry=1;;
    esac
    shift
  done
  folder=$out/$recipe-e$e-s$s
  if [ "$dry" ]; then echo "$folder"; exit 0; fi
  echo "$recipe $e $s $start" >> "$out/log"
  if [ -e "$out/stop" ]; then exit 130; fi
  if [ "$recipe-$s" = resnet20-twn-3 ]; then echo "error: training diverged at once" >&2; exit 1; fi
  mkdir -p "$folder"; touch "$folder/summary.json" "$folder/last.safetensors";;
compare)
  s=${1##*-s}; rest=${1%-s*}; e=${rest##*-e}
  echo "{\"seed\": $s, \"epochs\": $e, \"dtype\": \"bf16\", \"layers\": [{\"name\": \"fc\", \"wsvr\": [1], \"wlvr\": [2]}]}";;
plot) mkdir -p "$3"; cp "$1" "$3/drawn.json";;
esac
"#;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    options: Options,
}

const PLAN: Plan = Plan {
    name: "made-up",
    rows: &[
        Row {
            start: Some(Start::before("fp32")),
            ..Row::of("ttq-2bit")
        },
        Row::of("fp32"),
        Row::of("twn"),
        Row {
            only_full: true,
            ..Row::of("bwn-1bit")
        },
    ],
    epochs: [&[4], &[90]],
    seeds: 2,
    layers: &["wsvr"],
    page: |_, records| {
        let mut page = Page::new(&format!("{} records\n", records.len()));
        page.plots.push(Spec {
            file: "a".to_owned(),
            title: String::new(),
            size: None,
            shown: Shown::LevelOccupancy { levels: Vec::new() },
        });
        page
    },
};

struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let binary = folder.path().join("s3");
        std::fs::write(&binary, S3).expect("written");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&binary, mode).expect("executable");
        Self { folder }
    }

    /// Runs the plan at the smoke budget, whose page and records are below the folder.
    fn run(&self, more: &[&str]) -> Result<ExitCode> {
        let out = self.folder.path().to_str().expect("UTF-8");
        let mut line = vec!["repro", "--budget", "smoke", "--out", out];
        line.extend(more);
        let options = Line::try_parse_from(line).expect("parses").options;
        let how = options.how();
        let s3 = Trainer {
            binary: self.folder.path().join("s3"),
            how: &how,
        };
        let jobs = PLAN.jobs(&options)?;
        let work: Vec<Work<'_>> = jobs.into_iter().map(|job| (&PLAN, job)).collect();
        train_all(PLAN.name, &work, &s3)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }
}

#[test]
fn a_plan_trains_each_run_once_and_what_it_starts_from_first() {
    let bench = Bench::new();
    bench.run(&["--seeds", "2"]).expect("trains");
    let start = bench
        .folder
        .path()
        .join("resnet20-fp32-e2-s1/last.safetensors");
    let log = bench.read("log");
    let lines: Vec<&str> = log.lines().map(str::trim_end).collect();
    assert_eq!(lines[0], "resnet20-fp32 2 1");
    assert_eq!(
        lines[1],
        format!("resnet20-ttq-2bit 2 1 \"{}\"", start.display())
    );
    assert_eq!(lines[2], "resnet20-twn 2 1");
    assert_eq!(lines.len(), 6, "{log}");
    assert_eq!(bench.read("smoke/made-up.md"), "6 records\n");
    let drawn = r#"[{"file":"a","kind":"level_occupancy","levels":[]}]"#;
    assert_eq!(bench.read("smoke/made-up/drawn.json"), drawn);
    let records = bench.read("smoke/made-up.jsonl");
    assert!(records.contains(r#""row":"ttq-2bit""#), "{records}");
    assert!(
        records.contains(r#""wsvr":[1]"#) && !records.contains("wlvr"),
        "{records}"
    );

    // Again: without --resume each says that it has a record, with it nothing is trained.
    assert!(bench.run(&["--seeds", "2"]).is_err());
    bench.run(&["--seeds", "2", "--resume"]).expect("knows");
    assert_eq!(bench.read("log"), log);
}

#[test]
fn a_run_that_diverges_leaves_a_record_and_is_tried_again() {
    let bench = Bench::new();
    let three = ["--seeds", "3", "--only", "twn", "--resume"];
    let error = bench.run(&three).expect_err("one diverges");
    let error = error.to_string();
    assert_eq!(
        error,
        "made-up: of 3 runs 1 failed and 0 had a record already"
    );
    assert!(
        bench
            .read("smoke/made-up.jsonl")
            .contains("training diverged at once")
    );
    assert!(bench.run(&three).is_err());
    assert_eq!(bench.read("log").lines().count(), 4);
    assert_eq!(bench.read("smoke/made-up.jsonl").lines().count(), 3);
}

#[test]
fn a_stop_leaves_no_record_and_ends_the_plan() {
    let bench = Bench::new();
    std::fs::write(bench.folder.path().join("stop"), "").expect("written");
    bench.run(&[]).expect("ends");
    assert_eq!(bench.read("log").lines().count(), 1);
    assert_eq!(bench.read("smoke/made-up.jsonl"), "");
}

#[test]
fn budgets_choose_rows_epochs_and_seeds() {
    let jobs = |line: &[&str]| -> Vec<String> {
        let line = [&["repro"], line].concat();
        let options = Line::try_parse_from(line).expect("parses").options;
        let jobs = PLAN.jobs(&options).expect("rows");
        let say = |j: &Job<'_>| format!("{} {} {}", j.row.name, j.epochs, j.seed);
        jobs.iter().map(say).collect()
    };
    assert_eq!(jobs(&[]).len(), 6);
    assert_eq!(jobs(&["--budget", "full"]).len(), 8);
    let asked = jobs(&["--epochs", "3", "5", "--seeds", "1", "--only", "bwn-1bit"]);
    assert_eq!(asked, ["bwn-1bit 3 1", "bwn-1bit 5 1"]);
    let options = Line::try_parse_from(["repro", "--only", "nobody"])
        .expect("parses")
        .options;
    let error = PLAN.jobs(&options).err().expect("no such row").to_string();
    assert!(
        error.starts_with("--only nobody: no such row, expected some of ttq-2bit,"),
        "{error}"
    );
}
