//! Downloading one file: resumed, checked, and there only when it is whole.
//!
//! ```text
//! for each source, up to 3 times:
//!     ask for the bytes from the length of NAME.part on (all of them if it is not there)
//!     append what comes to NAME.part          a cut connection keeps it: try again from there
//!     check its MD5                           wrong: delete it, try again from the start
//!     rename it to NAME                       atomic: NAME is never half a file
//! ```
//!
//! A source that does not know ranges answers with the whole file, which replaces the part.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use ureq::Agent;

use super::hash;

/// Tries of one source before the next.
const TRIES: usize = 3;
/// A server that says nothing for this long is taken for dead.
const PATIENCE: Duration = Duration::from_secs(30);

/// The client of all downloads; it honours the proxy variables of the environment.
pub(super) fn agent() -> Agent {
    Agent::config_builder()
        .timeout_connect(Some(PATIENCE))
        .timeout_recv_response(Some(PATIENCE))
        .timeout_per_read(Some(PATIENCE))
        .http_status_as_error(false)
        // The files are compressed already and checked as they are.
        .accept_encoding("identity")
        .user_agent(concat!("s3/", env!("CARGO_PKG_VERSION")))
        .build()
        .into()
}

/// Downloads a file from the first source that has it with the right MD5.
///
/// # Errors
/// One line that names the file and, for each source, why not. What has arrived stays in
/// `NAME.part` for the next call, unless its checksum was wrong.
pub(super) fn fetch(agent: &Agent, sources: &[String], md5: &str, to: &Path) -> Result<()> {
    let name = to
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let folder = to.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let part = to.with_file_name(format!("{name}.part"));
    let mut reasons = Vec::new();
    for source in sources {
        match from_one(agent, source, md5, &part) {
            Ok(()) => {
                return fs::rename(&part, to)
                    .with_context(|| format!("cannot rename {}", part.display()));
            }
            Err(reason) => reasons.push(format!("{source}: {reason:#}")),
        }
    }
    bail!("cannot download {name}: {}", reasons.join("; "))
}

/// Leaves the whole, checked file in `part`.
fn from_one(agent: &Agent, source: &str, md5: &str, part: &Path) -> Result<()> {
    let mut last = anyhow!("not tried");
    for _ in 0..TRIES {
        match append(agent, source, part) {
            Ok(()) => {}
            Err(Failure::Final(reason)) => return Err(reason),
            Err(Failure::Cut(reason)) => {
                last = reason;
                continue;
            }
        }
        let got = hash::of_file(part)?;
        if got == md5 {
            return Ok(());
        }
        fs::remove_file(part).with_context(|| format!("cannot remove {}", part.display()))?;
        last = anyhow!("its MD5 is {got}, expected {md5}");
    }
    Err(last)
}

enum Failure {
    /// Worth another try at the same source: some bytes may have come.
    Cut(anyhow::Error),
    /// This source will not do.
    Final(anyhow::Error),
}

fn append(agent: &Agent, source: &str, part: &Path) -> Result<(), Failure> {
    let local = |error: io::Error| {
        Failure::Final(anyhow!(error).context(format!("cannot write {}", part.display())))
    };
    let have = part.metadata().map_or(0, |metadata| metadata.len());
    let mut request = agent.get(source);
    if have > 0 {
        request = request.header("Range", format!("bytes={have}-"));
    }
    let mut response = match request.call() {
        Ok(response) => response,
        Err(error @ (ureq::Error::Io(_) | ureq::Error::Timeout(_) | ureq::Error::Protocol(_))) => {
            return Err(Failure::Cut(anyhow!("{error}")));
        }
        Err(error) => return Err(Failure::Final(anyhow!("{error}"))),
    };
    let mut replaces = false;
    match response.status().as_u16() {
        200 => replaces = true,
        206 if starts_at(response.headers().get("content-range"), have) => {}
        // Nothing beyond what is here: it is the whole file, or not this file; the MD5 tells.
        416 if have > 0 => return Ok(()),
        206 => {
            return Err(Failure::Final(anyhow!(
                "it sent another range than asked for"
            )));
        }
        code @ 500.. => return Err(Failure::Cut(anyhow!("HTTP status {code}"))),
        code => return Err(Failure::Final(anyhow!("HTTP status {code}"))),
    }
    let mut file = OpenOptions::new()
        .create(true)
        .append(!replaces)
        .write(true)
        .truncate(replaces)
        .open(part)
        .map_err(local)?;
    let expected = response.body().content_length();
    let mut body = response.body_mut().as_reader();
    let came = copy(&mut body, &mut file)?;
    file.sync_all().map_err(local)?;
    match expected {
        Some(expected) if came < expected => Err(Failure::Cut(anyhow!(
            "the connection ended after {came} of {expected} bytes"
        ))),
        _ => Ok(()),
    }
}

/// Whether a `Content-Range: bytes START-END/LENGTH` starts where the part ends.
fn starts_at(range: Option<&ureq::http::HeaderValue>, have: u64) -> bool {
    let start = || {
        let range = range?
            .to_str()
            .ok()?
            .trim()
            .strip_prefix("bytes")?
            .trim_start();
        range.split('-').next()?.parse::<u64>().ok()
    };
    start() == Some(have)
}

/// As `io::copy`, but tells a dead connection from a full disk.
fn copy(body: &mut impl Read, file: &mut File) -> Result<u64, Failure> {
    let mut buffer = vec![0; 1 << 16];
    let mut came = 0;
    loop {
        let count = match body.read(&mut buffer) {
            Ok(0) => return Ok(came),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Failure::Cut(anyhow!("{error}"))),
        };
        file.write_all(&buffer[..count])
            .map_err(|error| Failure::Final(anyhow!(error).context("cannot write to the disk")))?;
        came += count as u64;
    }
}

/// The addresses of a file: under the mirror asked for, if any, then under the known sources.
pub(super) fn sources(mirror: Option<&str>, known: &[&str], file: &str) -> Vec<String> {
    let folders = mirror.into_iter().chain(known.iter().copied());
    folders
        .map(|folder| format!("{}/{file}", folder.trim_end_matches('/')))
        .collect()
}

#[cfg(test)]
mod tests;
