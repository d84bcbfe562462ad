//! Other programs: found or missed with a word.

use std::path::PathBuf;
use std::process::Command;

/// Says why a test did nothing.
pub(super) fn skip(reason: &str) {
    say(&format!("skipped: {reason}"));
}

/// Shows what a test has measured or missed.
#[expect(clippy::print_stderr, reason = "shown with --nocapture")]
pub(super) fn say(text: &str) {
    eprintln!("{text}");
}

/// A Python that imports all of `modules`.
pub(super) fn python(modules: &str) -> Option<String> {
    let name = std::env::var("S3_BENCH_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let output = Command::new(&name)
        .args(["-c", &format!("import {modules}")])
        .output();
    output
        .is_ok_and(|output| output.status.success())
        .then_some(name)
}

/// The standard output of a command that succeeds.
pub(super) fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}\n{text}{errors}");
    text
}

/// The repository's folder.
pub(super) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Little-endian bytes.
pub(super) fn bytes(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|n| n.to_le_bytes()).collect()
}

/// Numbers as C lists them.
pub(super) fn list<T: ToString>(values: &[T]) -> String {
    values
        .iter()
        .map(T::to_string)
        .collect::<Vec<_>>()
        .join(",")
}
