//! An interrupted run, resumed, ends in the bytes of a run that was never interrupted.

mod common;

use common::{Bench, assert_same_results, succeed};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

#[test]
fn one_two_and_three_threads_give_the_same_bytes() {
    let bench = Bench::new();
    for out in ["1", "2", "3"] {
        succeed(&mut bench.train(out, &["--threads", out]));
    }
    assert_same_results(&bench.run("1"), &bench.run("2"), "two threads");
    assert_same_results(&bench.run("1"), &bench.run("3"), "three threads");
    // Outputs are drawn image by image.
    for out in ["drawn-1", "drawn-2"] {
        let threads = out.trim_start_matches("drawn-");
        let drawn = ["--set", DRAWN, "--set", "epochs=1", "--threads", threads];
        succeed(&mut bench.train(out, &drawn));
    }
    assert_same_results(&bench.run("drawn-1"), &bench.run("drawn-2"), "two threads");
    for out in ["steered-1", "steered-3"] {
        let threads = out.trim_start_matches("steered-");
        succeed(&mut bench.train(out, &["--set", STEERED, "--threads", threads]));
    }
    let steered = bench.run("steered-1");
    assert_same_results(&steered, &bench.run("steered-3"), "three threads");
    let read = |run: &Path| std::fs::read_to_string(run.join("dynamics.jsonl")).expect("lines");
    assert!(read(&steered).contains(r#""steered":{"rate":"#));
    assert!(!read(&bench.run("1")).contains("steered"));
}

/// Methods whose layers do more than multiply: drawn outputs, and inputs that a basis learns from.
const DRAWN: &str = "method={name=\"lrnet\"}";
const INPUTS: &str = "method={name=\"lqnet\", bits=2, activation_bits=2}";
/// Gates whose learning rates follow their flips.
const STEERED: &str = "optimizer.flips={target={schedule=\"cosine\", start=0.02}, gain=0.5}";

/// Kills the run again and again, after a little longer each time, until it ends by itself.
fn kill_until_done(bench: &Bench, out: &str, more: &[&str], first: Duration) -> usize {
    let mut kills = 0;
    loop {
        let mut child = bench
            .train(out, more)
            .arg("--resume")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("s3 starts");
        std::thread::sleep(first + Duration::from_millis(37 * kills as u64));
        if child.try_wait().expect("a state").is_none() {
            child.kill().expect("SIGKILL");
            child.wait().expect("an end");
            kills += 1;
            assert!(kills < 500, "the run makes no progress");
        } else {
            assert!(child.wait().expect("an end").success());
            return kills;
        }
    }
}

#[test]
fn a_run_killed_at_any_step_ends_in_the_same_bytes() {
    let bench = Bench::new();
    for (name, settings) in [
        ("s3", vec![]),
        (
            "radam",
            vec!["--set", "optimizer.name=radam", "--set", "lr.start=0.01"],
        ),
        (
            "twn",
            vec![
                "--set",
                "method={name=\"twn\"}",
                "--set",
                "optimizer.nesterov=true",
            ],
        ),
        ("best", vec!["--set", "validation_images=40"]),
        ("steered", vec!["--set", STEERED, "--set", "epochs=2"]),
        ("drawn", vec!["--set", DRAWN, "--set", "epochs=2"]),
        ("inputs", vec!["--set", INPUTS, "--set", "epochs=2"]),
    ] {
        let whole = format!("{name}-whole");
        succeed(&mut bench.train(&whole, &settings));
        for (every, first) in [("0", 100), ("300", 150)] {
            let out = format!("{name}-killed-{every}");
            let mut more = settings.clone();
            more.extend(["--checkpoint-seconds", every]);
            let kills = kill_until_done(&bench, &out, &more, Duration::from_millis(first));
            assert!(kills > 0, "{name}: the run was never interrupted");
            let why = format!("{name}, a checkpoint every {every} s, {kills} kills");
            assert_same_results(&bench.run(&whole), &bench.run(&out), &why);
        }
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_after_the_step_with_a_checkpoint() {
    let bench = Bench::new();
    succeed(&mut bench.train("whole", &[]));
    let mut interrupted = 0;
    // A signal that arrives before the handler ends the program without a checkpoint; a later one
    // must leave one.
    for attempt in 0..50 {
        let out = format!("stopped{attempt}");
        let mut child = bench
            .train(&out, &[])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("s3");
        std::thread::sleep(Duration::from_millis(150 + 40 * attempt));
        if child.try_wait().expect("a state").is_some() {
            break;
        }
        let id = child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-INT", &id])
                .status()
                .expect("kill")
                .success()
        );
        let status = child.wait().expect("an end");
        if status.code() == Some(130) {
            interrupted += 1;
            assert!(bench.run(&out).join("last.safetensors").is_file());
            succeed(&mut bench.train(&out, &["--resume"]));
            assert_same_results(
                &bench.run("whole"),
                &bench.run(&out),
                "resumed after Ctrl-C",
            );
            if interrupted == 3 {
                break;
            }
        }
    }
    assert!(interrupted > 0, "no run was interrupted in its steps");
}

#[cfg(unix)]
#[test]
fn a_full_disk_leaves_the_previous_checkpoint_whole() {
    let bench = Bench::new();
    succeed(&mut bench.train("whole", &[]));
    // A run with one epoch less is stopped by the limit on file sizes when it saves again.
    let mut child = bench
        .train("full", &["--checkpoint-seconds", "0"])
        .stdout(Stdio::null())
        .spawn()
        .expect("s3 starts");
    let last = loop {
        let found = std::fs::read_dir(bench.path("full"))
            .ok()
            .and_then(|mut d| d.next());
        if let Some(run) = found {
            let last = run.expect("an entry").path().join("last.safetensors");
            if last.is_file() {
                break last;
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    child.kill().expect("SIGKILL");
    child.wait().expect("an end");
    let before = std::fs::read(&last).expect("a checkpoint");

    let program = env!("CARGO_BIN_EXE_s3");
    let script =
        format!("trap '' XFSZ; ulimit -f 100; exec {program} train tiny.toml --out full --resume");
    let out = Command::new("sh")
        .args(["-c", &script])
        .current_dir(bench.path(""))
        .output()
        .expect("sh starts");
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("last.safetensors"), "{stderr}");
    assert_eq!(
        std::fs::read(&last).expect("a checkpoint"),
        before,
        "the checkpoint changed"
    );
    let run = bench.run("full");
    let left = std::fs::read_dir(&run).expect("the run").filter(|e| {
        e.as_ref()
            .is_ok_and(|e| e.file_name().to_string_lossy().ends_with(".tmp"))
    });
    assert_eq!(left.count(), 0, "temporary files are left");

    succeed(&mut bench.train("full", &["--resume"]));
    assert_same_results(&bench.run("whole"), &run, "resumed after a full disk");
}
