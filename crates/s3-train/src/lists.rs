//! The methods and architectures that a configuration may name: the project's, and those that a
//! program has added ([`App`](crate::app::App)).

use anyhow::{Result, anyhow};
use s3_layers::zoo::{self, ARCHITECTURES};
use s3_quant::METHODS;
use std::sync::OnceLock;

/// What a configuration may name.
#[derive(Debug)]
pub(crate) struct Lists {
    /// What `[method]` may name.
    pub(crate) methods: Vec<s3_quant::Entry>,
    /// What `[model]` may name.
    pub(crate) architectures: Vec<zoo::Entry>,
}

impl Default for Lists {
    fn default() -> Self {
        Self {
            methods: METHODS.to_vec(),
            architectures: ARCHITECTURES.to_vec(),
        }
    }
}

static LISTS: OnceLock<Lists> = OnceLock::new();

/// The lists of this process.
pub(crate) fn get() -> &'static Lists {
    LISTS.get_or_init(Lists::default)
}

/// Makes `lists` those of this process.
///
/// # Errors
/// They were read or set before.
pub(crate) fn set(lists: Lists) -> Result<()> {
    let late = |_| anyhow!("methods and architectures were named before the program added its own");
    LISTS.set(lists).map_err(late)
}
