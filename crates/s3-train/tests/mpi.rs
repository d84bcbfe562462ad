//! The same runs under `mpirun`. Built with the feature `mpi` only.
#![cfg(feature = "mpi")]

mod common;

use common::{Bench, assert_same_results, succeed};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const PARTS: [&str; 2] = ["--set", "micro_batches=2"];

/// `mpirun -n 2` and the arguments of [`Bench::train`].
fn on_two_ranks(bench: &Bench, out: &str, more: &[&str]) -> Command {
    let train = bench.train(out, more);
    let mut command = Command::new("mpirun");
    // Root is who runs tests in a container; oversubscribe: one core must do.
    command
        .args(["--allow-run-as-root", "--oversubscribe", "-n", "2"])
        .arg(train.get_program())
        .args(train.get_args())
        .args(["--threads", "1"])
        .current_dir(bench.path(""))
        .env_remove("RAYON_NUM_THREADS");
    command
}

#[test]
fn two_processes_give_the_bytes_of_one() {
    let bench = Bench::new();
    succeed(&mut bench.train("one", &PARTS));
    succeed(&mut on_two_ranks(&bench, "two", &PARTS));
    assert_same_results(&bench.run("one"), &bench.run("two"), "two processes");
    let manifest = std::fs::read_to_string(bench.run("two").join("manifest.json"));
    assert!(manifest.expect("manifest.json").contains("\"ranks\": 2"));
}

/// The process of rank 1 below `mpirun`, whose id is `launcher`.
fn rank_one(launcher: u32) -> Option<String> {
    let out = Command::new("pgrep")
        .args(["-P", &launcher.to_string()])
        .output();
    let out = out.expect("pgrep").stdout;
    String::from_utf8_lossy(&out).lines().find_map(|id| {
        let variables = std::fs::read(format!("/proc/{id}/environ")).ok()?;
        let has = |v: &[u8]| v == b"OMPI_COMM_WORLD_RANK=1";
        variables.split(|b| *b == 0).any(has).then(|| id.to_owned())
    })
}

#[test]
fn a_killed_process_ends_the_run_with_a_whole_checkpoint() {
    let bench = Bench::new();
    let long = ["--set", "micro_batches=2", "--set", "epochs=20"];
    succeed(&mut bench.train("whole", &long));
    let killed = [&long[..], &["--checkpoint-seconds", "0"]].concat();
    let child = on_two_ranks(&bench, "killed", &killed)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("mpirun starts");
    let began = Instant::now();
    let has_checkpoint = || {
        let runs = std::fs::read_dir(bench.path("killed")).ok();
        let mut runs = runs.into_iter().flatten().flatten();
        runs.any(|run| run.path().join("last.safetensors").is_file())
    };
    while !has_checkpoint() {
        assert!(began.elapsed() < Duration::from_secs(120), "no checkpoint");
        std::thread::sleep(Duration::from_millis(5));
    }
    let rank = rank_one(child.id()).expect("rank 1 runs");
    let kill = Command::new("kill").args(["-9", &rank]).status();
    assert!(kill.expect("kill").success());
    let out = child.wait_with_output().expect("mpirun ends");
    assert!(!out.status.success(), "the run must not look finished");
    let error = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(
        error.contains("rank 1") && error.contains("signal 9"),
        "{error}"
    );
    child_is_gone(&bench);

    let resume = [&long[..], &["--resume"]].concat();
    succeed(&mut bench.train("killed", &resume));
    let (whole, killed) = (bench.run("whole"), bench.run("killed"));
    assert_same_results(&whole, &killed, "resumed on one process");
}

/// Waits until rank 0 let go of the run: mpirun may end before it.
fn child_is_gone(bench: &Bench) {
    let lock = std::fs::File::open(bench.run("killed").join("lock")).expect("a lock");
    let began = Instant::now();
    while lock.try_lock().is_err() {
        assert!(began.elapsed() < Duration::from_secs(60), "rank 0 lives on");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn every_rank_says_what_it_refuses() {
    let bench = Bench::new();
    let out = on_two_ranks(&bench, "out", &[]).output().expect("mpirun");
    assert!(!out.status.success());
    let error = String::from_utf8_lossy(&out.stderr).into_owned();
    let words = "of 2: micro_batches: 2 ranks cannot share 1 micro-batches";
    assert!(error.contains(words), "{error}");
    assert!(!bench.path("out").exists(), "nothing is written");
}
