//! The command `s3` as a library: for programs with methods, architectures and data sets of their
//! own.
//!
//! ```no_run
//! # use s3_train::app::App;
//! # use s3_quant::Twn as Mine;
//! # use s3_layers::zoo::Mlp as Net;
//! fn main() -> std::process::ExitCode {
//!     App::new().method::<Mine>().architecture::<Net>().main()
//! }
//! ```
//!
//! Such a program has every verb of `s3`, and its configurations may name what it added. A whole
//! one is `examples/own.rs`. Training is faster with an allocator that keeps large buffers; `s3`
//! has mimalloc as its `#[global_allocator]`.

use crate::data::own;
use crate::data::{DataName, DataSet};
use crate::lists::{self, Lists};
use crate::{cli, terminal};
use anyhow::{Result, bail};
use s3_core::MethodConfig;
use s3_layers::zoo::{self, Architecture};
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// The command, and what it has beside its own methods, architectures and data sets.
#[derive(Debug, Default)]
#[must_use = "`main` runs it"]
pub struct App {
    methods: Vec<s3_quant::Entry>,
    architectures: Vec<zoo::Entry>,
    data: Vec<own::Entry>,
}

impl App {
    /// `s3` as it is.
    pub fn new() -> Self {
        Self::default()
    }

    /// Also a method: `method.name` may be [`MethodConfig::NAME`].
    pub fn method<M: MethodConfig>(mut self) -> Self {
        self.methods.push(s3_quant::entry::<M>());
        self
    }

    /// Also an architecture: `model.name` may be one of [`Architecture::NAMES`].
    pub fn architecture<A: Architecture>(mut self) -> Self {
        self.architectures.push(zoo::entry::<A>());
        self
    }

    /// Also a data set: `data.name` may be [`DataSet::NAME`].
    pub fn data<D: DataSet>(mut self) -> Self {
        self.data.push(own::entry::<D>());
        self
    }

    /// Runs the verb of this process's arguments. What goes wrong is one line on standard error.
    ///
    /// To be called once, before anything reads a configuration.
    pub fn main(self) -> ExitCode {
        // Without a filter in the environment, or with one that is none, errors alone are logged.
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("error"));
        // A program that logs already goes on as it does.
        let _ = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .log_internal_errors(false)
            .try_init();
        match self.add().and_then(|()| cli::run()) {
            Ok(code) => code,
            Err(e) => {
                note!("error: {}", terminal::one_line(&e));
                ExitCode::FAILURE
            }
        }
    }

    /// Puts what was added behind what is there.
    fn add(self) -> Result<()> {
        let mut lists = Lists::default();
        for method in self.methods {
            if s3_quant::find_in(&lists.methods, method.name).is_ok() {
                bail!("the method `{}` is there twice", method.name)
            }
            lists.methods.push(method);
        }
        for architecture in self.architectures {
            for name in architecture.names {
                if zoo::find_in(&lists.architectures, name).is_ok() {
                    bail!("the network `{name}` is there twice")
                }
            }
            lists.architectures.push(architecture);
        }
        for (at, data) in self.data.iter().enumerate() {
            let is_known = DataName::ALL
                .iter()
                .any(|known| known.as_str() == data.name);
            if is_known || self.data[..at].iter().any(|other| other.name == data.name) {
                bail!("the data set `{}` is there twice", data.name)
            }
        }
        lists::set(lists)?;
        own::set(self.data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use s3_layers::zoo::Mlp;
    use s3_quant::Twn;

    #[test]
    fn what_is_there_is_not_added_again() {
        let twice = |app: App| app.add().expect_err("refused").to_string();
        let method = twice(App::new().method::<Twn>());
        assert_eq!(method, "the method `twn` is there twice");
        let network = twice(App::new().architecture::<Mlp>());
        assert_eq!(network, "the network `mlp` is there twice");
    }
}
