//! What the command says to its user: the one place that writes to standard output and standard
//! error.
//!
//! A reader that went away, or a full disk behind a redirection, ends no training. Names come from
//! files and folders of anyone: their control characters are shown and not obeyed, in the form that
//! JSON has for them.

use std::fmt::{Arguments, Write as _};
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// A line on standard output.
macro_rules! say {
    ($($text:tt)*) => { $crate::terminal::say_line(format_args!($($text)*)) };
}

/// A line on standard error.
macro_rules! note {
    ($($text:tt)*) => { $crate::terminal::note_line(format_args!($($text)*)) };
}

/// Characters of a message that are kept at its front and at its end, where it is longer than both.
const KEPT: [usize; 2] = [700, 200];

/// Whether a line of standard output was lost to something else than a reader that went away.
static LOST: AtomicBool = AtomicBool::new(false);

/// What [`say!`] writes.
pub(crate) fn say_line(text: Arguments<'_>) {
    let written = writeln!(std::io::stdout(), "{}", visible(&text.to_string()));
    if written.is_err_and(|e| e.kind() != ErrorKind::BrokenPipe) {
        LOST.store(true, Ordering::Relaxed);
    }
}

/// What [`note!`] writes.
pub(crate) fn note_line(text: Arguments<'_>) {
    // Where the message about a failure cannot be written there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "{}", visible(&text.to_string()));
}

/// Lines beside a verb's answer.
pub(crate) fn note(lines: impl IntoIterator<Item = String>) {
    for text in lines {
        note!("note: {}", line(&text));
    }
}

/// Whether a line of standard output could not be written, as on a full disk.
pub(crate) fn has_lost_lines() -> bool {
    LOST.load(Ordering::Relaxed)
}

/// `text` with every character but the line feed that a terminal would obey as `\u001b` and the
/// like.
fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c != '\n' && is_obeyed(c) {
            // No such character is above U+FFFF.
            true => _ = write!(shown, "\\u{:04x}", u32::from(c)),
            false => shown.push(c),
        }
    }
    shown
}

/// Control characters, and those that turn the direction of a line or break it.
fn is_obeyed(c: char) -> bool {
    let turns = ['\u{61c}', '\u{200e}', '\u{200f}'];
    c.is_control()
        || turns.contains(&c)
        || ('\u{2028}'..='\u{202e}').contains(&c)
        || ('\u{2066}'..='\u{2069}').contains(&c)
}

/// `text` as one line, without its middle where it is long.
pub(crate) fn line(text: &str) -> String {
    let [front, end] = KEPT;
    let shown = visible(text.trim_end()).replace('\n', "\\n");
    let long = shown.chars().count().saturating_sub(front + end);
    if long == 0 {
        return shown;
    }
    let head: String = shown.chars().take(front).collect();
    let tail: String = shown.chars().skip(front + long).collect();
    format!("{head} .. ({long} characters left out) .. {tail}")
}

/// A path as one line.
pub(crate) fn path(path: &Path) -> String {
    line(&path.to_string_lossy())
}

/// The causes of an error, without backtraces, as one line.
pub(crate) fn one_line(error: &anyhow::Error) -> String {
    let cause = |c: &(dyn std::error::Error + 'static)| line(without_backtrace(&c.to_string()));
    let mut causes: Vec<String> = error.chain().map(cause).collect();
    causes.dedup();
    causes.join(": ")
}

/// What stands before the first frame, `0: name`, of a backtrace.
fn without_backtrace(text: &str) -> &str {
    let is_frame = |rest: &str| {
        let number = rest.trim_start().split_once(": ").map(|(number, _)| number);
        number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    };
    let mut ends = text.match_indices('\n').map(|(at, _)| at);
    let end = ends.find(|at| is_frame(&text[at + 1..]));
    &text[..end.unwrap_or(text.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown() {
        assert_eq!(
            visible("\u{1b}[2J\ra\u{9b}1m\u{7f}"),
            "\\u001b[2J\\u000da\\u009b1m\\u007f"
        );
        assert_eq!(visible("gpj\u{202e}.exe\u{2066}"), "gpj\\u202e.exe\\u2066");
        assert_eq!(visible("é ± 数\nb"), "é ± 数\nb");
        let name = "a\u{1b}\u{9b}\n\"";
        let json = visible(&serde_json::json!(name).to_string());
        assert!(json.chars().all(|c| !is_obeyed(c)));
        assert_eq!(serde_json::from_str::<String>(&json).expect("JSON"), name);
    }

    #[test]
    fn an_error_is_one_line_of_bounded_length() {
        let inner = anyhow::anyhow!("cannot open a\nb\n   0: main\n             at main.rs:1\n");
        let error = inner.context("x".repeat(1 << 20)).context("key\u{1b}");
        let text = one_line(&error);
        assert!(text.starts_with("key\\u001b: xxx"), "{text}");
        assert!(text.ends_with("xxx: cannot open a\\nb"), "{text}");
        assert!(
            text.len() < 1200 && text.contains("1047676 characters left out"),
            "{text}"
        );
    }
}
