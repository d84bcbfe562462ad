//! Counting what an inference runs: QEMU with a plugin that is built here. A program runs the
//! network once, another one twice; what the second counts more is one inference, and nothing else.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::cores::Core;
use super::cycles::Instruction;
use crate::ci::answer;

const PLUGIN: &str = include_str!("count.c");

/// Turns of the loop whose instructions are known.
const TURNS: u64 = 1000;

/// One inference, and what it needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) instructions: u64,
    pub(super) cycles: u64,
    /// Bytes of code and constants.
    pub(super) flash: u64,
    /// Bytes of variables.
    pub(super) ram: u64,
    /// Bytes of every function's frame together: more than a call takes.
    pub(super) stack: u64,
}

/// The plugin, built.
pub(super) struct Counter {
    folder: TempDir,
}

/// A block of instructions: the addresses of its first and its last one, how often it began, and
/// how often what followed did not lie behind it.
type Block = (u64, u64, u64, u64);

impl Counter {
    pub(super) fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let source = folder.path().join("count.c");
        std::fs::write(&source, PLUGIN)?;
        let mut cc = Command::new("cc");
        cc.args(["-O2", "-Wall", "-Werror", "-shared", "-fPIC"])
            .arg(&source);
        answer(cc.arg("-o").arg(folder.path().join("count.so")))?;
        Ok(Self { folder })
    }

    /// Counts a loop of known instructions on `core`.
    ///
    /// # Errors
    /// One that says what was counted instead.
    pub(super) fn validate(&self, core: &Core) -> Result<()> {
        let folder = tempfile::tempdir()?;
        let (turn, cycles) = core.turn;
        let program = format!(
            "void turns(unsigned n);\n__asm__(\"{turn}\");\n\
             int main(void)\n{{\n    turns({TURNS} * RUNS);\n    return 0;\n}}\n"
        );
        std::fs::write(folder.path().join("main.c"), program)?;
        let counted = self.difference(core, folder.path(), &["main.c"])?;
        let wanted = (4 * TURNS, cycles * TURNS);
        ensure!(
            counted == wanted,
            "{}: a loop of {wanted:?} instructions and cycles was counted as {counted:?}",
            core.name
        );
        Ok(())
    }

    /// One inference of the network in `folder`, which is compared with the runtime's.
    pub(super) fn network(&self, core: &Core, folder: &Path) -> Result<Counted> {
        let mut compile = compiler(core, folder);
        answer(compile.args(["-fstack-usage", "-c", "net.c", "-o", "net.o"]))?;
        let size = answer(tool(core, "size", folder).arg("net.o"))?;
        let sizes: Vec<u64> = size
            .lines()
            .nth(1)
            .map(|line| {
                line.split_whitespace()
                    .filter_map(|word| word.parse().ok())
                    .collect()
            })
            .unwrap_or_default();
        let [text, data, bss, ..] = sizes[..] else {
            anyhow::bail!("{}size wrote {size}", core.tools)
        };
        let frames = std::fs::read_to_string(folder.join("net.su"))?;
        let frame = |line: &str| line.split('\t').nth(1)?.parse::<u64>().ok();
        let (instructions, cycles) = self.difference(core, folder, &["net.o", "main.c"])?;
        Ok(Counted {
            instructions,
            cycles,
            flash: text + data,
            ram: data + bss,
            stack: frames.lines().filter_map(frame).sum(),
        })
    }

    /// Instructions and cycles that the program of `files` takes more with RUNS 2 than with 1.
    fn difference(&self, core: &Core, folder: &Path, files: &[&str]) -> Result<(u64, u64)> {
        let mut all = [(0, 0); 2];
        for (runs, counted) in (1..).zip(&mut all) {
            let program = format!("run{runs}.elf");
            let names = ["flash", "flash_size", "ram", "ram_size"];
            let place = |(name, at): (&str, &str)| format!("-Wl,--defsym=__{name}={at}");
            let mut build = compiler(core, folder);
            build
                .args(["--oslib=semihost", "--crt0=hosted"])
                .args(names.into_iter().zip(core.memory).map(place))
                .args(files)
                .arg(format!("-DRUNS={runs}"));
            answer(build.args(["-o", &program]))?;
            let blocks = self.run(core, &folder.join(&program))?;
            let mut list = tool(core, "objdump", folder);
            let code = answer(list.args(["-d", "--no-show-raw-insn", &program]))?;
            *counted = sums(core, &code, &blocks)?;
        }
        let [once, twice] = all;
        Ok((twice.0 - once.0, twice.1 - once.1))
    }

    fn run(&self, core: &Core, program: &Path) -> Result<Vec<Block>> {
        let counts = self.folder.path().join("counts");
        let plugin: PathBuf = self.folder.path().join("count.so");
        let mut emulator = Command::new(core.emulator[0]);
        emulator
            .args(&core.emulator[1..])
            .args(["-nographic", "-semihosting", "-plugin"])
            .arg(format!("{},out={}", plugin.display(), counts.display()))
            .arg("-kernel")
            .arg(program)
            .stdin(std::process::Stdio::null());
        answer(&mut emulator)
            .context("the emulator: its plugin, or sums that are not the runtime's")?;
        let text = std::fs::read_to_string(&counts)?;
        let block = |line: &str| {
            let words: Vec<&str> = line.split(' ').collect();
            let [first, last, count, taken] = words[..] else {
                return None;
            };
            let address = |word| u64::from_str_radix(word, 16).ok();
            let count = (count.parse().ok()?, taken.parse().ok()?);
            Some((address(first)?, address(last)?, count.0, count.1))
        };
        let blocks: Option<Vec<Block>> = text.lines().map(block).collect();
        blocks.context("the plugin wrote something else than blocks")
    }
}

fn compiler(core: &Core, folder: &Path) -> Command {
    let mut command = tool(core, "gcc", folder);
    command
        .arg("--specs=picolibc.specs")
        .args(core.compiler)
        .args(["-std=c99", "-O2"])
        .arg(format!("-DS3_MULTIPLIER={}", core.multiplier));
    command
}

fn tool(core: &Core, name: &str, folder: &Path) -> Command {
    let mut command = Command::new(format!("{}{name}", core.tools));
    command.current_dir(folder);
    command
}

/// The instructions and the cycles of what ran, of a program's listing.
fn sums(core: &Core, listing: &str, blocks: &[Block]) -> Result<(u64, u64)> {
    let mut code: BTreeMap<u64, Instruction<'_>> = BTreeMap::new();
    let mut before = ("", "");
    for line in listing.lines() {
        let Some((address, text)) = line.split_once(":\t") else {
            continue;
        };
        let Ok(address) = u64::from_str_radix(address.trim(), 16) else {
            continue;
        };
        let (name, operands) = text.split_once('\t').unwrap_or((text, ""));
        let name = name.trim();
        code.insert(
            address,
            Instruction {
                name,
                operands,
                before,
            },
        );
        before = (name, operands);
    }
    let (mut instructions, mut cycles) = (0, 0);
    for &(first, last, count, taken) in blocks {
        let mut branch = 0;
        let mut is_known = false;
        for (_, instruction) in code.range(first..=last) {
            let (each, more) = core.model.cycles(instruction);
            instructions += count;
            cycles += count * each;
            (branch, is_known) = (more, true);
        }
        // Below the program is the machine's own ROM, which starts it.
        let is_rom = code.keys().next().is_some_and(|lowest| last < *lowest);
        ensure!(
            is_known || is_rom,
            "what ran at {first:x} is not in the listing"
        );
        cycles += taken * branch;
    }
    Ok((instructions, cycles))
}

#[cfg(test)]
mod tests {
    use super::super::cores::CORES;
    use super::*;

    #[test]
    fn blocks_become_instructions_and_cycles() -> Result<()> {
        let listing = "\n00000094 <turns>:\n  94:\tadds\tr1, r1, #1\n  96:\tldr\tr0, [r2, #0]\n  \
                       98:\tbne.n\t94 <turns>\n  9a:\tbx\tlr\n";
        let blocks = [(0x94, 0x98, 10, 9), (0x9a, 0x9a, 1, 1)];
        assert_eq!(sums(&CORES[0], listing, &blocks)?, (31, 10 * 4 + 9 + 2));
        assert!(sums(&CORES[0], listing, &[(0x200, 0x202, 1, 0)]).is_err());
        Ok(())
    }
}
