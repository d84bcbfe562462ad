//! From instructions to cycles: a model, from the tables of the cores' makers. Memory answers
//! without waiting, which flash at a high clock does not.

/// The core whose table it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Model {
    /// Arm, "Cortex-M0+ Technical Reference Manual" (DDI 0484), table 3-1, with the multiplier of
    /// one cycle.
    CortexM0Plus,
    /// Arm, "Cortex-M4 Technical Reference Manual" (DDI 0439), table 3-1 and section 3.3.2; a
    /// branch that is taken fills the pipeline in two of one to three cycles.
    CortexM4,
    /// lowRISC, "Ibex Reference Guide", pipeline details, without the branch target ALU.
    Ibex,
}

/// An instruction as objdump writes it.
pub(super) struct Instruction<'a> {
    pub(super) name: &'a str,
    pub(super) operands: &'a str,
    /// The name and the operands of the one before it.
    pub(super) before: (&'a str, &'a str),
}

impl Model {
    pub(super) const ALL: [Model; 3] = [Model::CortexM0Plus, Model::CortexM4, Model::Ibex];

    /// The table in words.
    pub(super) fn words(self) -> &'static str {
        match self {
            Model::CortexM0Plus => {
                "Cortex-M0+ (Arm DDI 0484, table 3-1): 1 cycle, loads and stores 2, of N registers \
                 1 + N, a branch that is taken 2, bl 3, pop of the pc 3 + N, muls 1"
            }
            Model::CortexM4 => {
                "Cortex-M4 (Arm DDI 0439, section 3.3): 1 cycle, a load 2 and 1 behind another \
                 load, a store 1, both 1 more where the instruction before computes a register of \
                 the address, of N registers 1 + N, a branch that is taken 1 + P with \
                 P = 2 of 1 to 3, mla and smlad 1"
            }
            Model::Ibex => {
                "rv32i: Ibex (its reference guide, pipeline details): 1 cycle, loads and stores 2, \
                 jumps 2, a branch that is taken 3"
            }
        }
    }

    /// The cycles of an instruction, and those more where it is a branch that is taken.
    pub(super) fn cycles(self, instruction: &Instruction<'_>) -> (u64, u64) {
        let name = instruction.name;
        let name = name
            .strip_suffix(".n")
            .or(name.strip_suffix(".w"))
            .unwrap_or(name);
        match self {
            Model::CortexM0Plus => cortex_m0_plus(name, instruction),
            Model::CortexM4 => cortex_m4(name, instruction),
            Model::Ibex => ibex(name),
        }
    }
}

/// How many registers a list names, and whether the pc is one.
fn registers(operands: &str) -> (u64, bool) {
    let Some((_, list)) = operands.split_once('{') else {
        return (0, false);
    };
    let list = list.split('}').next().unwrap_or("");
    let mut count = 0;
    for part in list.split(',') {
        let number = |name: &str| name.trim().trim_start_matches('r').parse::<u64>().ok();
        count += match part.split_once('-') {
            Some((first, last)) => match (number(first), number(last)) {
                (Some(first), Some(last)) if last >= first => last - first + 1,
                _ => 1,
            },
            None => 1,
        };
    }
    (count, list.contains("pc"))
}

fn is_several(name: &str) -> bool {
    ["ldm", "stm", "push", "pop"]
        .iter()
        .any(|start| name.starts_with(start))
}

/// Whether the first operand of the instruction before is a register of the address.
fn waits_for_its_address(instruction: &Instruction<'_>) -> bool {
    let made = instruction.before.1.split(',').next().unwrap_or("").trim();
    let address = instruction.operands.split_once('[');
    let address = address.map_or("", |(_, address)| address.split(']').next().unwrap_or(""));
    !made.is_empty() && address.split(',').any(|part| part.trim() == made)
}

/// Whether an instruction computes its first operand, and loads none.
fn computes(name: &str) -> bool {
    const OTHERS: [&str; 13] = [
        "ldr", "str", "ldm", "stm", "push", "pop", "cmp", "cmn", "tst", "teq", "cb", "it", "nop",
    ];
    let is_branch = name.starts_with('b') && !name.starts_with("bic") && !name.starts_with("bf");
    !is_branch && !OTHERS.iter().any(|start| name.starts_with(start))
}

fn cortex_m0_plus(name: &str, instruction: &Instruction<'_>) -> (u64, u64) {
    let (count, has_pc) = registers(instruction.operands);
    match name {
        _ if is_several(name) => (1 + count + if has_pc { 2 } else { 0 }, 0),
        _ if name.starts_with("ldr") || name.starts_with("str") => (2, 0),
        "bl" => (3, 0),
        "bx" | "blx" => (2, 0),
        "mrs" | "msr" | "dmb" | "dsb" | "isb" => (3, 0),
        _ => (1, 1),
    }
}

fn cortex_m4(name: &str, instruction: &Instruction<'_>) -> (u64, u64) {
    let (count, has_pc) = registers(instruction.operands);
    let is_load = |name: &str| name.starts_with("ldr");
    let is_store = |name: &str| name.starts_with("str");
    let before = instruction.before.0;
    let waits = waits_for_its_address(instruction);
    let pipelined = is_load(before) && !before.starts_with("ldrd") && !waits;
    let stalled = u64::from(computes(before) && waits);
    match name {
        _ if is_several(name) => (1 + count + if has_pc { 2 } else { 0 }, 0),
        "ldrd" | "strd" => (stalled + 3, 0),
        _ if is_load(name) => (stalled + if pipelined { 1 } else { 2 }, 0),
        _ if is_store(name) => (stalled + 1, 0),
        "udiv" | "sdiv" => (12, 0),
        _ => (1, 2),
    }
}

fn ibex(name: &str) -> (u64, u64) {
    match name {
        "lb" | "lbu" | "lh" | "lhu" | "lw" | "sb" | "sh" | "sw" => (2, 0),
        "j" | "jal" | "jr" | "jalr" | "ret" | "call" | "tail" => (2, 0),
        _ => (1, 2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cycles(model: Model, name: &str, operands: &str, before: &str) -> (u64, u64) {
        model.cycles(&Instruction {
            name,
            operands,
            before: (before, "r1, r2"),
        })
    }

    #[test]
    fn instructions_take_what_the_tables_say() {
        let m0 = |name, operands| cycles(Model::CortexM0Plus, name, operands, "");
        assert_eq!(m0("adds", "r0, r1, r2"), (1, 1));
        assert_eq!(m0("ldrh", "r0, [r1, #0]"), (2, 0));
        assert_eq!(m0("bne.n", "7c <x>"), (1, 1));
        assert_eq!(m0("push", "{r4, r5, r6, r7, lr}"), (6, 0));
        assert_eq!(m0("pop", "{r4-r7, pc}"), (8, 0));
        let m4 = |name, before| cycles(Model::CortexM4, name, "r0, [r1]", before);
        assert_eq!(m4("ldr.w", "b.n"), (2, 0));
        assert_eq!(m4("ldr", "str"), (2, 0));
        assert_eq!(m4("ldrh", "adds"), (3, 0));
        assert_eq!(m4("str", "bic.w"), (2, 0));
        assert_eq!(m4("str", "cmp"), (1, 0));
        let address = |before| {
            let (name, operands) = ("ldr", "r0, [r2, r1, lsl #2]");
            Model::CortexM4.cycles(&Instruction {
                name,
                operands,
                before,
            })
        };
        assert_eq!(address(("ldr", "r1, [r4]")), (2, 0));
        assert_eq!(address(("ldr", "r3, [r1], #4")), (1, 0));
        assert_eq!(address(("and.w", "r1, r2, r3")), (3, 0));
        assert_eq!(m4("mla", "ldr"), (1, 2));
        assert_eq!(m4("ldrd", "ldr"), (3, 0));
        assert_eq!(cycles(Model::Ibex, "lw", "a0,0(a1)", ""), (2, 0));
        assert_eq!(cycles(Model::Ibex, "bnez", "a0,8", ""), (1, 2));
        assert_eq!(cycles(Model::Ibex, "ret", "", ""), (2, 0));
    }
}
