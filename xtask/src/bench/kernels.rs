//! `bench gemv|gemm|conv|kernels`: the integer kernels, the machine's limits and the peers, by
//! turns.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::choice::{self, Choice};
use super::host::Host;
use super::measured::Measured;
use super::page::{show, summary};
use super::report::report;
use super::shapes;
use crate::cargo::root;
use crate::s3::{build, build_at};

#[derive(Args)]
pub(crate) struct Options {
    /// Prints the JSON lines only
    #[arg(long)]
    json: bool,
    /// Also measures onnxruntime, PyTorch, numpy and the crates gemm and rten, in alternation; what
    /// is not installed is skipped with a word
    #[arg(long)]
    peers: bool,
    /// Also three plain loops over one byte a level, compiled as our kernels of plain Rust are:
    /// what those of `--isa scalar` have to beat
    #[arg(long)]
    pub(super) plain: bool,
    /// The Python of the peers
    #[arg(long, default_value = "python3", env = "S3_BENCH_PYTHON")]
    python: String,
    /// Every shape instead of a selection
    #[arg(long)]
    all: bool,
    /// Only networks of this name, of those of `infer --all`
    #[arg(long)]
    model: Option<String>,
    /// Also the time of each layer of our networks
    #[arg(long)]
    layers: bool,
    /// Also every kernel of the instruction set that the dispatch did not choose, after the one
    /// that it did; a line for each product says which was chosen, which was fastest, and what the
    /// choice lost
    #[arg(long)]
    every_kernel: bool,
    /// Appends those lines to a file of records, and writes the page beside it: a table for each
    /// kind of CPU
    #[arg(long, requires = "every_kernel", value_name = "FILE.jsonl")]
    record: Option<PathBuf>,
    /// Processes of ours, one after the other, each of which measures its rates and chooses anew
    #[arg(
        long,
        requires = "every_kernel",
        default_value_t = 1,
        conflicts_with = "peers"
    )]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    processes: u32,
    /// Rounds of the alternation
    #[arg(long, default_value_t = 7)]
    rounds: u32,
    /// Milliseconds of a program's turn in a round
    #[arg(long, default_value_t = 10)]
    ms: u64,
    /// Bits of our weights
    #[arg(long, value_delimiter = ',', default_value = "2,3,4")]
    bits: Vec<u64>,
    /// Our instruction sets, as S3_KERNELS_ISA names them; each after the first is measured with
    /// hot weights of the first of the bits [default: the widest]
    #[arg(long, value_delimiter = ',')]
    isa: Vec<String>,
    /// Our numbers of threads; each after the first is measured like each further instruction set
    #[arg(long, value_delimiter = ',', default_value = "1")]
    threads: Vec<usize>,
    /// The core of every program with one thread; more threads take the ones before it as well
    /// [default: the last]
    #[arg(long)]
    core: Option<usize>,
    /// Writes the bars and the medians as a Markdown page
    #[arg(long)]
    report: Option<PathBuf>,
}

pub(super) fn run(benches: &[&str], options: &Options) -> Result<ExitCode> {
    let (mut all, mut choices) = (Vec::new(), Vec::new());
    for process in 0..options.processes as usize {
        let measured = one_process(benches, options, process, &mut choices)?;
        // The page of kernels is one process's.
        if process == 0 {
            all = measured;
        }
    }
    let page = report(&all);
    if !options.json {
        println!("{page}\n{}", choice::table(&choices));
    }
    if let Some(path) = &options.record {
        choice::record(path, &choices)?;
    }
    show(&page, false, options.report.as_deref())
}

/// Every case in one process of each side; the choices of ours go to `choices`.
fn one_process(
    benches: &[&str],
    options: &Options,
    process: usize,
    choices: &mut Vec<Choice>,
) -> Result<Vec<Measured>> {
    let networks = benches.contains(&"infer");
    let mut hosts = start(options, networks)?;
    let onnx = (options.peers && networks).then(Onnx::new).transpose()?;
    let mut all = Vec::new();
    for bench in benches {
        let all_shapes = options.all || options.model.is_some();
        for mut case in shapes::cases(bench, all_shapes, &options.bits) {
            let model = options.model.as_deref();
            if model.is_some_and(|model| case["model"] != json!(model)) {
                continue;
            }
            if options.layers {
                case["layers"] = true.into();
            }
            if options.every_kernel {
                case["every_kernel"] = true.into();
            }
            if options.plain && case["cold"] != json!(true) {
                case["plain"] = true.into();
            }
            let measured = measure(&mut hosts, onnx.as_ref(), case, options)?;
            if options.json {
                for one in measured.iter().filter(|m| !m.about["limit"].is_string()) {
                    println!("{}", line(one, &measured));
                }
            }
            if options.every_kernel {
                let chosen = Choice::of(&measured, process);
                if options.json {
                    for choice in &chosen {
                        println!("{}", choice.line());
                    }
                }
                choices.extend(chosen);
            }
            all.extend(measured);
        }
    }
    Ok(all)
}

/// A process, and whether it is asked only about hot weights of the first of the bits.
struct Side {
    host: Host,
    brief: bool,
    ours: bool,
}

/// Starts our sides and the peers'; the Rust peers know no `networks`.
fn start(options: &Options, networks: bool) -> Result<Vec<Side>> {
    let binary = build("s3-kernel-benches", "kernels")?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let last = options.core.unwrap_or(cores - 1);
    let one = last.to_string();
    let mut sides = Vec::new();
    let widest = [String::new()];
    let isas = if options.isa.is_empty() {
        &widest
    } else {
        &options.isa[..]
    };
    for (i, isa) in isas.iter().enumerate() {
        for (j, &threads) in options.threads.iter().enumerate() {
            if i > 0 && j > 0 {
                continue;
            }
            let mut command = Command::new(&binary);
            command.env("RAYON_NUM_THREADS", threads.to_string());
            if !isa.is_empty() {
                command.env("S3_KERNELS_ISA", isa);
            }
            let first = (last + 1).saturating_sub(threads);
            let host = Host::start("kernels", command, &format!("{first}-{last}"))?;
            let brief = i + j > 0;
            let ours = true;
            sides.push(Side { host, brief, ours });
        }
    }
    if !options.peers {
        return Ok(sides);
    }
    let mut peers = Vec::new();
    if !networks {
        let manifest = root().join("benches/peers/Cargo.toml");
        let manifest = manifest.to_string_lossy();
        // A measurement changes no file of the repository.
        let rust = build_at(&["--locked", "--manifest-path", &manifest], "peers");
        peers.push(("the Rust peers", rust.ok().map(Command::new)));
    }
    let python = Command::new(&options.python).arg("--version").output();
    let python = python
        .ok()
        .filter(|output| output.status.success())
        .map(|_| {
            let mut command = Command::new(&options.python);
            command.arg(root().join("benches/peers/kernels.py"));
            command
        });
    peers.push(("the Python peers", python));
    for (name, command) in peers {
        let Some(mut command) = command else {
            eprintln!("bench: {name} cannot be built or run: skipped");
            continue;
        };
        for variable in ["RAYON", "OMP", "MKL", "OPENBLAS", "RTEN"] {
            command.env(format!("{variable}_NUM_THREADS"), "1");
        }
        // A core type that is forced on OpenBLAS is not the one it would pick.
        for variable in ["OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"] {
            command.env_remove(variable);
        }
        let host = Host::start(name, command, &one)?;
        sides.push(Side {
            host,
            brief: false,
            ours: false,
        });
    }
    Ok(sides)
}

/// The file in which our side hands a network to its peers: there is one description of it.
struct Onnx {
    folder: TempDir,
    /// Makes an ONNX file of a packed one.
    converter: PathBuf,
}

impl Onnx {
    fn new() -> Result<Self> {
        Ok(Self {
            folder: tempfile::tempdir()?,
            converter: build("s3-benches", "onnx")?,
        })
    }

    /// What our side writes.
    fn packed(&self) -> PathBuf {
        self.folder.path().join("network.safetensors")
    }

    /// What the peers read, made of what our side has written.
    fn written(&self) -> Result<PathBuf> {
        let (packed, onnx) = (self.packed(), self.folder.path().join("network.onnx"));
        let done = Command::new(&self.converter)
            .args([&packed, &onnx])
            .status();
        let done = done.with_context(|| format!("cannot run {}", self.converter.display()))?;
        ensure!(done.success(), "{} does not become ONNX", packed.display());
        Ok(onnx)
    }
}

/// Lets every program of every side take its turn, round after round. A peer that fails is left out
/// from then on.
fn measure(
    sides: &mut Vec<Side>,
    onnx: Option<&Onnx>,
    case: Value,
    options: &Options,
) -> Result<Vec<Measured>> {
    let mut measured: Vec<(usize, usize, Measured)> = Vec::new();
    let mut failed = Vec::new();
    let cold = case["cold"] == json!(true);
    for (place, side) in sides.iter_mut().enumerate() {
        let mut asked = case.clone();
        if side.brief {
            if cold {
                continue;
            }
            asked["bits"] = json!([options.bits.first()]);
        }
        match onnx {
            Some(onnx) if side.ours => asked["packed"] = json!(onnx.packed()),
            Some(onnx) => asked["onnx"] = json!(onnx.written()?),
            None => {}
        }
        match side.host.prepare(&asked) {
            Ok(programs) => {
                for (program, about) in programs.into_iter().enumerate() {
                    // The limits are those of the machine, not of a side that holds back.
                    if !(side.brief && about["limit"].is_string()) {
                        let one = Measured {
                            case: case.clone(),
                            about,
                            us: Vec::new(),
                            min_us: f64::INFINITY,
                        };
                        measured.push((place, program, one));
                    }
                }
            }
            Err(error) if side.ours => return Err(error),
            Err(error) => {
                eprintln!("bench: {error:#}: left out");
                failed.push(place);
            }
        }
    }
    for _ in 0..options.rounds {
        for (place, program, one) in &mut measured {
            if failed.contains(place) {
                continue;
            }
            match sides[*place].host.run(*program, options.ms * 1000) {
                Ok((median, min)) => {
                    one.us.push(median);
                    one.min_us = one.min_us.min(min);
                }
                Err(error) if sides[*place].ours => return Err(error),
                Err(error) => {
                    eprintln!("bench: {error:#}: left out");
                    failed.push(*place);
                }
            }
        }
    }
    measured.retain(|(place, ..)| !failed.contains(place));
    let measured = measured.into_iter().map(|(.., one)| one).collect();
    for place in failed.into_iter().rev() {
        sides.remove(place);
    }
    Ok(measured)
}

/// One line of `--json`. The shares are those of the limits that took turns with it.
fn line(one: &Measured, beside: &[Measured]) -> Value {
    let mut line = one.case.clone();
    if line["cold"] == json!(false) {
        line.as_object_mut().map(|fields| fields.remove("cold"));
    }
    line.as_object_mut().map(|fields| fields.remove("bits"));
    for (key, value) in one.about.as_object().into_iter().flatten() {
        line[key] = value.clone();
    }
    let (median, _, max) = summary(&one.us);
    line["median_us"] = median.into();
    line["min_us"] = one.min_us.into();
    line["max_us"] = max.into();
    if let Some(batch) = one.number("batch") {
        line["images_per_s"] = (batch * 1e6 / median).into();
    }
    line["rounds"] = one.us.len().into();
    line["gmacs"] = one.giga_per_s("macs").into();
    for (limit, unit) in [("dot", "macs"), ("f32", "macs"), ("read", "bytes")] {
        let whole = beside.iter().find(|m| m.word("limit") == limit);
        let whole = whole.and_then(|m| m.giga_per_s(unit));
        if let Some((rate, whole)) = one.giga_per_s(unit).zip(whole) {
            // Multiplications are limited by each core, reading by the machine.
            let cores = match unit {
                "macs" => one.number("threads").unwrap_or(1.0),
                _ => 1.0,
            };
            line[format!("share_of_{limit}_peak")] = (rate / whole / cores).into();
        }
    }
    line
}
