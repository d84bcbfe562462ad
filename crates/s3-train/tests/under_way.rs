//! Runs that did not end, and folders that cannot be read: what the commands around them say.

mod common;

use common::{Bench, refusal, succeed};
use s3_train::lock::Lock;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What a command printed on standard error, and its exit status.
fn said(command: &mut Command) -> (Option<i32>, String) {
    let out = command.output().expect("s3 starts");
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    (out.status.code(), text)
}

/// The folder of a run that was killed behind the first epochs of many.
fn killed(bench: &Bench) -> String {
    let mut train = bench.train("runs", &["--set", "epochs=500"]);
    let mut child = train.stdout(Stdio::null()).spawn().expect("s3 starts");
    let began = Instant::now();
    let saved = || {
        let mut runs = std::fs::read_dir(bench.path("runs")).into_iter().flatten();
        runs.any(|run| run.is_ok_and(|run| run.path().join("last.safetensors").is_file()))
    };
    while !saved() {
        assert!(began.elapsed() < Duration::from_secs(120), "no checkpoint");
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().expect("SIGKILL");
    child.wait().expect("an end");
    bench.run("runs").display().to_string()
}

#[test]
fn a_run_that_did_not_end_is_no_success_to_watch_and_its_export_says_how_far_it_is() {
    let bench = Bench::new();
    let run = killed(&bench);
    let (status, _) = said(&mut bench.s3(&["watch", &run]));
    assert_eq!(status, Some(3));
    let export = ["export", &run, "-o", "net", "--activations", "f32"];
    let (status, text) = said(&mut bench.s3(&export));
    let stopped = format!("note: {run}: stopped before its end: this is its last checkpoint, ");
    assert_eq!((status, text.lines().count()), (Some(0), 1), "{text}");
    let epoch = text.strip_prefix(&stopped).expect(&text);
    assert!(
        epoch.starts_with("after epoch ") && epoch.contains(" of 500"),
        "{text}"
    );
    let lock = Lock::take(run.as_ref(), "busy").expect("a lock");
    let (status, text) = said(&mut bench.s3(&export));
    let trained = format!("note: {run}: in training: this is its last checkpoint, {epoch}");
    assert_eq!((status, text), (Some(0), trained));
    drop(lock);

    succeed(&mut bench.train("whole", &["--set", "epochs=1", "--no-report"]));
    let run = bench.run("whole").display().to_string();
    assert_eq!(said(&mut bench.s3(&["watch", &run])).0, Some(0));
    let export = ["export", &run, "-o", "net", "--activations", "f32"];
    assert_eq!(said(&mut bench.s3(&export)), (Some(0), String::new()));
}

/// The user and the group of nobody.
#[cfg(unix)]
const NOBODY: u32 = 65_534;

#[cfg(unix)]
#[test]
fn a_folder_without_the_right_to_read_it_is_said_to_be_unreadable() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;

    let bench = Bench::new();
    let right = |name: &str, mode: u32| {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(bench.path(name), mode).expect(name);
    };
    for run in ["runs/a", "runs/shut/b", "shut/c", "listed/d"] {
        std::fs::create_dir_all(bench.path(run)).expect(run);
        std::fs::write(bench.path(run).join("config.toml"), "").expect(run);
    }
    right(".", 0o755);
    right("runs/shut", 0);
    right("shut", 0);
    right("listed", 0o444);
    // The administrator may read everything: another user asks.
    let everything = std::fs::read_dir(bench.path("shut")).is_ok();
    let s3 = |args: &[&str]| {
        let mut command = bench.s3(args);
        if everything {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    };
    if s3(&["--version"]).output().is_err() {
        return skip("the user nobody may not start the program");
    }
    for folder in ["shut", "listed"] {
        let line = refusal(&mut s3(&["runs", folder]));
        assert!(
            line.contains(&format!("{folder}: the folder cannot be read: ")),
            "{line}"
        );
        assert!(line.contains("ermission denied"), "{line}");
        let line = refusal(&mut s3(&["watch", folder]));
        assert!(
            line.contains(&format!("{folder}: the folder cannot be read: ")),
            "{line}"
        );
    }
    let (status, text) = said(&mut s3(&["runs", "runs"]));
    let shut = "note: left out: runs/shut: the folder cannot be read: ";
    assert!(status == Some(0) && text.contains(shut), "{text}");
    assert!(text.contains("note: left out: runs/a"), "{text}");
    for name in ["runs/shut", "shut", "listed"] {
        right(name, 0o755);
    }
}

#[cfg(unix)]
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn skip(reason: &str) {
    eprintln!("skipped: {reason}");
}
