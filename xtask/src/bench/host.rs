//! One side of a measurement: a process that speaks the line protocol of
//! `benches/kernels/src/lib.rs`.
//!
//! A process waits for a line while another has its turn, so that one core serves all.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// A started process.
pub(super) struct Host {
    /// What a message about it calls it.
    pub(super) name: String,
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Host {
    /// Starts `command`, on the cores `cores` where the system has `taskset`.
    pub(super) fn start(name: &str, command: Command, cores: &str) -> Result<Self> {
        let mut command = pinned(command, cores);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {command:?}"))?;
        let input = child.stdin.take();
        let output = child.stdout.take().context("a process has an output")?;
        Ok(Self {
            name: name.to_owned(),
            child,
            input,
            output: BufReader::new(output),
        })
    }

    /// Prepares a case and returns what each of its programs says of itself.
    pub(super) fn prepare(&mut self, case: &Value) -> Result<Vec<Value>> {
        let mut answer = self.ask(&json!({ "case": case }))?;
        for word in answer["skipped"].as_array().into_iter().flatten() {
            eprintln!("bench: {}", word.as_str().unwrap_or_default());
        }
        match answer["programs"].take() {
            Value::Array(programs) => Ok(programs),
            _ => bail!("{}: no programs in {answer}", self.name),
        }
    }

    /// Calls a program for about `us` microseconds: median and shortest time of a call.
    pub(super) fn run(&mut self, program: usize, us: u64) -> Result<(f64, f64)> {
        let answer = self.ask(&json!({ "run": program, "us": us }))?;
        let number = |key: &str| answer[key].as_f64();
        number("median_us")
            .zip(number("min_us"))
            .with_context(|| format!("{}: no times in {answer}", self.name))
    }

    fn ask(&mut self, message: &Value) -> Result<Value> {
        let input = self.input.as_mut().context("the process has ended")?;
        writeln!(input, "{message}").with_context(|| format!("{} has ended", self.name))?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        if line.is_empty() {
            bail!("{} has ended", self.name);
        }
        serde_json::from_str(&line).with_context(|| format!("{}: reading {line}", self.name))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.input = None; // the end of its input ends the process
        let _ = self.child.wait();
    }
}

fn pinned(command: Command, cores: &str) -> Command {
    let has = Command::new("taskset").arg("--version").output();
    if !has.is_ok_and(|output| output.status.success()) {
        return command;
    }
    let mut pinned = Command::new("taskset");
    pinned.args(["-c", cores]).arg(command.get_program());
    pinned.args(command.get_args());
    for (variable, value) in command.get_envs() {
        match value {
            Some(value) => pinned.env(variable, value),
            None => pinned.env_remove(variable),
        };
    }
    pinned
}
