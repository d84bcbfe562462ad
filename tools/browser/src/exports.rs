//! The functions of the module. JavaScript writes the bytes of an argument to a buffer of ours, and
//! reads the answer, UTF-8, from another one:
//!
//! ```text
//! at = argument(length)       where `length` bytes may be written, until the next call of it
//! load() -> network           reads a packed network; its answer describes it
//! run(network)                scores of one image: bytes, or f32 where the network takes floats
//! trace(network)              the same with a digest of every value between the layers
//! unload(network)             forgets a network
//! answer_at(), answer_length()   the last answer; where a call has returned -1, one line that says why
//! ```
//!
//! No pointer comes in, so nothing here reads or writes through one. The only `unsafe` is that of
//! `no_mangle`, the promise that no other function has these names: neither the standard library
//! nor a dependency exports one of them for WebAssembly, and a native program does not hold this
//! file.
#![allow(unsafe_code, reason = "functions that keep their names")]

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::session::Session;

/// What is kept between the calls.
#[derive(Default)]
struct State {
    session: Session,
    argument: Vec<u8>,
    answer: String,
}

static STATE: Mutex<Option<State>> = Mutex::new(None);

/// The state; a module has one thread, so that nothing waits.
fn with<T>(run: impl FnOnce(&mut State) -> T) -> T {
    let mut state: MutexGuard<'_, Option<State>> =
        STATE.lock().unwrap_or_else(PoisonError::into_inner);
    run(state.get_or_insert_default())
}

/// Keeps the answer; what a call returns.
fn answered(state: &mut State, result: Result<(i32, String), String>) -> i32 {
    let (code, answer) = result.unwrap_or_else(|refused| (-1, refused));
    state.answer = answer;
    code
}

/// Makes room for an argument.
#[unsafe(no_mangle)]
pub extern "C" fn argument(length: usize) -> *mut u8 {
    with(|state| {
        state.argument.clear();
        state.argument.resize(length, 0);
        state.argument.as_mut_ptr()
    })
}

/// Reads a packed network.
#[unsafe(no_mangle)]
pub extern "C" fn load() -> i32 {
    with(|state| {
        let loaded = state.session.load(&state.argument);
        // A file may be large, and is not read again.
        state.argument = Vec::new();
        answered(state, loaded)
    })
}

/// Classifies one image.
#[unsafe(no_mangle)]
pub extern "C" fn run(network: i32) -> i32 {
    with(|state| {
        let result = state.session.run(network, &state.argument);
        answered(state, result.map(|answer| (0, answer)))
    })
}

/// Classifies one image, with a digest of all that was computed.
#[unsafe(no_mangle)]
pub extern "C" fn trace(network: i32) -> i32 {
    with(|state| {
        let result = state.session.trace(network, &state.argument);
        answered(state, result.map(|answer| (0, answer)))
    })
}

/// Forgets a network.
#[unsafe(no_mangle)]
pub extern "C" fn unload(network: i32) {
    with(|state| state.session.unload(network));
}

/// Where the last answer lies.
#[unsafe(no_mangle)]
pub extern "C" fn answer_at() -> *const u8 {
    with(|state| state.answer.as_ptr())
}

/// The bytes of the last answer.
#[unsafe(no_mangle)]
pub extern "C" fn answer_length() -> usize {
    with(|state| state.answer.len())
}
