//! The cores: who compiles for them, who emulates them, and what is known of their cycles.

use super::cycles::Model;

/// A core.
pub(super) struct Core {
    pub(super) name: &'static str,
    /// The key of its published results.
    pub(super) published: &'static str,
    /// What the names of its tools begin with.
    pub(super) tools: &'static str,
    pub(super) compiler: &'static [&'static str],
    /// The value of S3_MULTIPLIER.
    pub(super) multiplier: u8,
    /// Where its program and its data lie: address and bytes of either.
    pub(super) memory: [&'static str; 4],
    pub(super) emulator: &'static [&'static str],
    pub(super) model: Model,
    /// A loop of four instructions, the last of which is a branch, and the cycles of a turn.
    pub(super) turn: (&'static str, u64),
}

const ARM_MEMORY: [&str; 4] = ["0", "0x400000", "0x20000000", "0x400000"];
/// Its Cortex-M4 runs what a Cortex-M0+ runs.
const ARM_BOARD: &[&str] = &["qemu-system-arm", "-M", "mps2-an386"];
const ARM_TURN: &str = "\
.syntax unified\\n.thumb\\n.global turns\\n.thumb_func\\n.type turns, %function\\nturns:\\n\
1: adds r1, r1, #1\\n eors r2, r1\\n subs r0, r0, #1\\n bne 1b\\n bx lr\\n";

pub(super) static CORES: [Core; 4] = [
    Core {
        name: "Cortex-M0+, no product",
        published: "m0+",
        tools: "arm-none-eabi-",
        compiler: &["-mcpu=cortex-m0plus", "-mthumb"],
        multiplier: 0,
        memory: ARM_MEMORY,
        emulator: ARM_BOARD,
        model: Model::CortexM0Plus,
        turn: (ARM_TURN, 5),
    },
    Core {
        name: "Cortex-M0+, requantization multiplies",
        published: "m0+",
        tools: "arm-none-eabi-",
        compiler: &["-mcpu=cortex-m0plus", "-mthumb"],
        multiplier: 1,
        memory: ARM_MEMORY,
        emulator: ARM_BOARD,
        model: Model::CortexM0Plus,
        turn: (ARM_TURN, 5),
    },
    Core {
        name: "Cortex-M4, multiplies in pairs",
        published: "m4",
        tools: "arm-none-eabi-",
        compiler: &["-mcpu=cortex-m4", "-mthumb"],
        multiplier: 3,
        memory: ARM_MEMORY,
        emulator: ARM_BOARD,
        model: Model::CortexM4,
        turn: (ARM_TURN, 6),
    },
    Core {
        name: "rv32i, no product",
        published: "",
        tools: "riscv64-unknown-elf-",
        compiler: &["-march=rv32i", "-mabi=ilp32"],
        multiplier: 0,
        memory: ["0x80000000", "0x400000", "0x80400000", "0x400000"],
        emulator: &[
            "qemu-system-riscv32",
            "-M",
            "virt",
            "-cpu",
            "rv32,m=false",
            "-bios",
            "none",
        ],
        model: Model::Ibex,
        turn: (
            ".global turns\\nturns:\\n1: addi a1, a1, 1\\n xor a2, a2, a1\\n addi a0, a0, -1\\n \
             bnez a0, 1b\\n ret\\n",
            6,
        ),
    },
];
