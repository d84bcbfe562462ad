//! What the registration list holds of each method, and how a method is made of its settings.

use s3_core::{KernelOp, Method, MethodConfig};
use std::fmt;
use toml::{Table, Value};

/// What the registration list holds of a method.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The name in configurations.
    pub name: &'static str,
    /// One line on what it is.
    pub summary: &'static str,
    /// The widths it trains.
    pub bits: &'static [u32],
    /// The kernel operation of the paper's tables.
    pub operation: KernelOp,
    /// What the original starts from: `random` or `float`.
    pub start: &'static str,
    build: fn(Table) -> Result<Built, String>,
}

/// A method made from its configuration.
pub struct Built {
    /// The method.
    pub method: Box<dyn Method>,
    /// Its configuration with every default filled in, `name` included.
    pub resolved: Table,
}

impl fmt::Debug for Built {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Built");
        shown.field("resolved", &self.resolved);
        shown.finish_non_exhaustive()
    }
}

impl Entry {
    /// Builds the method from its own settings, without `name`.
    ///
    /// # Errors
    /// What is wrong, in a line that names the key: unknown, missing, mistyped or out of range.
    pub fn build(&self, settings: Table) -> Result<Built, String> {
        (self.build)(settings)
    }
}

/// The entry of a [`MethodConfig`].
#[must_use]
pub const fn entry<M: MethodConfig>() -> Entry {
    Entry {
        name: M::NAME,
        summary: M::SUMMARY,
        bits: M::BITS,
        operation: M::OPERATION,
        start: M::START,
        build: build_as::<M>,
    }
}

fn build_as<M: MethodConfig>(settings: Table) -> Result<Built, String> {
    let one_line = |e: String| e.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    let config: M = serde_path_to_error::deserialize(Value::Table(settings)).map_err(|e| {
        // An unknown or missing key is in the message; a mistyped one is in the path.
        match e.path().to_string().as_str() {
            "." => one_line(e.inner().message().into()),
            path => one_line(format!("{path}: {}", e.inner().message())),
        }
    })?;
    config.validate()?;
    let mut resolved = Table::new();
    resolved.insert("name".into(), M::NAME.into());
    resolved.extend(Table::try_from(&config).map_err(|e| one_line(e.to_string()))?);
    Ok(Built {
        method: Box::new(config),
        resolved,
    })
}

/// Checks the key `bits` of a method that trains at the widths `known`.
pub(crate) fn bits_among(bits: u32, known: &[u32]) -> Result<(), String> {
    if known.contains(&bits) {
        return Ok(());
    }
    let known: Vec<String> = known.iter().map(ToString::to_string).collect();
    Err(format!("bits: expected {}, got {bits}", known.join(", ")))
}
