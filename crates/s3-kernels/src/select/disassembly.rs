//! The kernels called multiplication-free hold no multiply instruction: read from this very
//! program.
//!
//! `objdump` takes the program of the test apart. From each kernel's entry the test follows every
//! function of this crate that is named in an instruction, called or taken the address of. In them
//! it finds
//!
//! * no vector multiplication, multiply-add or dot product at all;
//! * in the kernels of plain Rust, no scalar multiplication inside an innermost loop. Outside of
//!   those, the addresses of panels and rows may be products: a few for each call, panel or tile,
//!   not one for each weight. In the kernels of an instruction set, weights and activations are in
//!   vectors, and scalars are addresses; which loops those are computed in is up to the compiler.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::string::{String, ToString};
use std::vec::Vec;
use std::{format, println};

use super::list::TABLE;
use crate::Isa;
use crate::micro::kernel::Kernel;

/// One instruction: its address, its mnemonic, and its operands with objdump's comment.
type Instruction = (u64, String, String);

/// Beginnings of the mnemonics that multiply vectors.
const VECTOR: [&str; 14] = [
    "vpmul",
    "pmul",
    "vpmadd",
    "pmadd",
    "vpdp",
    "vfm",
    "vfnm",
    "vmul",
    "mulp",
    "muls",
    "vdp",
    "dpp",
    "vgf2p8mul",
    "vpclmul",
];
const SCALAR: [&str; 3] = ["imul", "mul", "mulx"];

fn multiplies_vectors(mnemonic: &str) -> bool {
    VECTOR.iter().any(|start| mnemonic.starts_with(start))
}

/// The functions of a disassembly, by the address of their first instruction.
fn functions(listing: &str) -> BTreeMap<u64, Vec<Instruction>> {
    let mut functions = BTreeMap::new();
    let mut current = 0;
    for line in listing.lines() {
        if let Some((address, rest)) = line.split_once(" <")
            && rest.ends_with(">:")
        {
            current = u64::from_str_radix(address, 16).unwrap_or(0);
        } else if let Some((address, rest)) = line.trim_start().split_once(":\t")
            && let Ok(address) = u64::from_str_radix(address, 16)
        {
            let (mnemonic, operands) = rest.split_once(' ').unwrap_or((rest, ""));
            let instruction = (address, mnemonic.to_string(), operands.trim().to_string());
            functions
                .entry(current)
                .or_insert_with(Vec::new)
                .push(instruction);
        }
    }
    functions
}

/// The address that an instruction names, where objdump says that it is inside this crate.
fn named(operands: &str) -> Option<u64> {
    let (before, name) = operands.split_once('<')?;
    let address = before.trim_end().rsplit([' ', ',']).next()?;
    let inside = name.contains("s3_kernels") && !name.contains("TABLE");
    u64::from_str_radix(address, 16).ok().filter(|_| inside)
}

/// Every loop that holds no other loop and calls nothing: the positions of its instructions.
fn innermost_loops(function: &[Instruction]) -> Vec<BTreeSet<usize>> {
    let position = |at: u64| function.binary_search_by_key(&at, |(at, ..)| *at).ok();
    let mut before: Vec<Vec<usize>> = function.iter().map(|_| Vec::new()).collect();
    let mut backward = Vec::new();
    for (from, (_, mnemonic, operands)) in function.iter().enumerate() {
        if mnemonic.starts_with('j')
            && let Some(to) = named(operands).and_then(position)
        {
            before[to].push(from);
            if to <= from {
                backward.push((to, from));
            }
        }
        let goes_on = !["jmp", "ret", "ud2"].contains(&mnemonic.as_str());
        if goes_on && from + 1 < function.len() {
            before[from + 1].push(from);
        }
    }
    // All that leads to the jump without passing its target.
    let body = |&(target, jump): &(usize, usize)| {
        let (mut body, mut left) = (BTreeSet::from([target]), Vec::from([jump]));
        while let Some(at) = left.pop() {
            if body.insert(at) {
                left.extend(&before[at]);
            }
        }
        body
    };
    let loops: Vec<_> = backward.iter().map(|jump| (jump.0, body(jump))).collect();
    let is_innermost = |(target, body): &&(usize, BTreeSet<usize>)| {
        let calls = body.iter().any(|&at| function[at].1 == "call");
        let holds = |(other, _): &(usize, _)| other != target && body.contains(other);
        !calls && !loops.iter().any(holds)
    };
    loops
        .iter()
        .filter(is_innermost)
        .map(|(_, body)| body.clone())
        .collect()
}

/// What multiplies in `function` where it must not.
fn offences(function: &[Instruction]) -> Vec<String> {
    let loops = innermost_loops(function);
    let in_a_loop = |at: usize| loops.iter().any(|body| body.contains(&at));
    let counted = function.iter().enumerate();
    counted
        .filter(|(at, (_, mnemonic, _))| {
            multiplies_vectors(mnemonic) || SCALAR.contains(&mnemonic.as_str()) && in_a_loop(*at)
        })
        .map(|(_, (at, mnemonic, operands))| format!("{at:x}: {mnemonic} {operands}"))
        .collect()
}

/// Where this program was loaded: what its addresses are larger by than those in its file.
fn load_address() -> u64 {
    let program = std::env::current_exe().unwrap();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let line = maps
        .lines()
        .find(|line| line.ends_with(program.to_str().unwrap()));
    u64::from_str_radix(line.unwrap().split('-').next().unwrap(), 16).unwrap()
}

#[test]
#[expect(clippy::print_stdout, reason = "a test that checks nothing says so")]
fn kernels_without_multiplication_hold_no_multiply_instruction() {
    let mut objdump = Command::new("objdump");
    objdump.args(["-d", "--no-show-raw-insn", "-M", "intel"]);
    let Ok(output) = objdump.arg(std::env::current_exe().unwrap()).output() else {
        println!("skipped: objdump is not installed");
        return;
    };
    assert!(output.status.success(), "objdump fails");
    let functions = functions(&String::from_utf8(output.stdout).unwrap());
    let starts_at = |address| {
        functions
            .range(..=address)
            .next_back()
            .map(|(start, _)| *start)
    };
    let loaded_at = load_address();
    let instructions = |kernel: &Kernel| {
        let mut left = Vec::from([kernel.run as usize as u64 - loaded_at]);
        let mut seen = BTreeSet::new();
        while let Some(start) = left.pop().and_then(starts_at) {
            if seen.insert(start) {
                let operands = functions[&start].iter().map(|(_, _, operands)| operands);
                left.extend(operands.filter_map(|operands| named(operands)));
            }
        }
        seen
    };
    let mut multiplying = 0;
    for kernel in TABLE {
        let seen = instructions(kernel);
        let found: Vec<String> = seen
            .iter()
            .flat_map(|start| offences(&functions[start]))
            .filter(|found| {
                kernel.isa == Isa::Scalar
                    || !SCALAR.iter().any(|m| found.contains(&format!(": {m} ")))
            })
            .collect();
        if kernel.multiplication_free {
            assert!(found.is_empty(), "{}: {found:#?}", kernel.name);
            let count: usize = seen.iter().map(|start| functions[start].len()).sum();
            assert!(
                count > 50,
                "{}: only {count} instructions found",
                kernel.name
            );
        } else {
            multiplying += usize::from(!found.is_empty());
        }
    }
    // The same search does find the multiplications of the kernels that multiply, save those behind
    // tables of addresses.
    assert!(multiplying > 0, "no kernel multiplies");
}

#[test]
fn a_multiplication_is_seen_where_it_matters() {
    let listing = "0000000000001000 <s3_kernels::f>:\n    1000:\timul rax,rdx\n    1004:\t\
                   vpaddw ymm0,ymm0,ymm1\n    1008:\tjne 1004 <s3_kernels::f+0x4>\n    100a:\t\
                   imul rax,rdx\n";
    let found = functions(listing);
    assert!(offences(&found[&0x1000]).is_empty());
    let inside = listing.replace("vpaddw ymm0,ymm0,ymm1", "imul rcx,rdx");
    assert_eq!(offences(&functions(&inside)[&0x1000]).len(), 1);
    let vectors = listing.replace("100a:\timul rax,rdx", "100a:\tvpmaddubsw ymm0,ymm0,ymm1");
    assert_eq!(offences(&functions(&vectors)[&0x1000]).len(), 1);
}
