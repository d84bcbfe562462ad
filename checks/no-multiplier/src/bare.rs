//! What a program needs on a bare RISC-V machine, by the system calls of the emulator's Linux.

use core::alloc::{GlobalAlloc, Layout};
use core::arch::asm;
use core::cell::UnsafeCell;

/// `write` to standard output, or `exit`.
fn system_call(number: usize, a: usize, b: usize, c: usize) {
    // SAFETY: `write` reads `c` bytes at `b`, which callers pass from a slice; `exit` does not return.
    unsafe { asm!("ecall", in("a7") number, inout("a0") a => _, in("a1") b, in("a2") c) }
}

fn write(bytes: &[u8]) {
    system_call(64, 1, bytes.as_ptr() as usize, bytes.len());
}

fn exit(code: usize) -> ! {
    system_call(93, code, 0, 0);
    loop {}
}

#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    crate::products(|y| {
        for &value in y {
            let mut digits = *b"00000000 ";
            for (digit, shift) in digits.iter_mut().zip([28, 24, 20, 16, 12, 8, 4, 0]) {
                *digit = b"0123456789abcdef"[(value as u32 >> shift & 15) as usize];
            }
            write(&digits);
        }
        write(b"\n");
    });
    exit(0)
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    write(b"panic\n");
    exit(101)
}

const HEAP: usize = 1 << 22;

/// Gives memory out and never takes it back.
#[repr(align(64))]
struct Heap {
    memory: UnsafeCell<[u8; HEAP]>,
    used: UnsafeCell<usize>,
}

// SAFETY: the machine has one thread.
unsafe impl Sync for Heap {}

// SAFETY: what is given out lies in `memory`, is aligned, and is given out once.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: there is one thread, and the reference ends before this function does.
        let used = unsafe { &mut *self.used.get() };
        let start = self.memory.get() as usize;
        let at = (start + *used + layout.align() - 1) & !(layout.align() - 1);
        let end = at - start + layout.size();
        if end > HEAP {
            return core::ptr::null_mut();
        }
        *used = end;
        at as *mut u8
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

#[global_allocator]
static ALLOCATOR: Heap = Heap {
    memory: UnsafeCell::new([0; HEAP]),
    used: UnsafeCell::new(0),
};
