//! From a name and a TOML table to a method.

use crate::METHODS;
use crate::entry::{Built, Entry};
use toml::{Table, Value};

/// Why a configuration names no method.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// `[method]` has no `name`, or not a string.
    NoName {
        /// The names of the list.
        expected: Vec<&'static str>,
    },
    /// The name is not in the list.
    Unknown {
        /// The name given.
        name: String,
        /// The names of the list.
        expected: Vec<&'static str>,
    },
    /// A key is unknown, missing, of the wrong type or out of range.
    Setting {
        /// The method.
        name: &'static str,
        /// What is wrong, naming the key.
        message: String,
    },
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::NoName { expected } => {
                let expected = expected.join(", ");
                write!(f, "method: a `name` is needed, one of {expected}")
            }
            Error::Unknown { name, expected } => {
                let expected = expected.join(", ");
                write!(
                    f,
                    "method.name: unknown method `{name}`, expected one of {expected}"
                )
            }
            Error::Setting { name, message } => write!(f, "method ({name}): {message}"),
        }
    }
}

impl std::error::Error for Error {}

/// The entry of [`METHODS`] called `name`.
///
/// # Errors
/// [`Error::Unknown`].
pub fn find(name: &str) -> Result<&'static Entry, Error> {
    find_in(METHODS, name)
}

/// The entry of `list` called `name`.
///
/// # Errors
/// [`Error::Unknown`].
pub fn find_in<'a>(list: &'a [Entry], name: &str) -> Result<&'a Entry, Error> {
    let found = list.iter().find(|m| m.name == name);
    found.ok_or_else(|| Error::Unknown {
        name: name.to_string(),
        expected: names(list),
    })
}

fn names(list: &[Entry]) -> Vec<&'static str> {
    list.iter().map(|m| m.name).collect()
}

/// Builds the method of [`METHODS`] that a `[method]` table describes: `name` and the method's own
/// settings.
///
/// # Errors
/// No or an unknown name; a key that is unknown, mistyped or out of range.
pub fn build(table: &Table) -> Result<Built, Error> {
    build_in(METHODS, table)
}

/// Builds the method of `list` that a `[method]` table describes.
///
/// # Errors
/// As [`build`].
pub fn build_in(list: &[Entry], table: &Table) -> Result<Built, Error> {
    let mut settings = table.clone();
    let name = settings.remove("name");
    let Some(name) = name.as_ref().and_then(Value::as_str) else {
        let expected = names(list);
        return Err(Error::NoName { expected });
    };
    let entry = find_in(list, name)?;
    entry.build(settings).map_err(|message| Error::Setting {
        name: entry.name,
        message,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(table: Table) -> String {
        build(&table).expect_err("refused").to_string()
    }

    #[test]
    fn bad_settings_get_one_line_that_names_the_key() {
        assert!(message(toml::toml! { bits = 3 }).contains("name"));
        assert!(message(toml::toml! { name = "s4" }).contains("`s4`"));
        assert!(
            message(toml::toml! { name = "s3" bits = 5 })
                .contains("bits: expected 2, 3 or 4, got 5")
        );
        assert!(message(toml::toml! { name = "s3" bits = 3 slope = 1.0 }).contains("slope"));
        assert!(
            message(toml::toml! { name = "twn" threshold_factor = -1.0 })
                .contains("threshold_factor")
        );
        assert!(message(toml::toml! { name = "s3" bits = "three" }).contains("bits: invalid type"));
        let init = message(toml::toml! { name = "s3" bits = 3 init = "wide" });
        assert!(init.contains("init: ") && init.contains("wide"), "{init}");
        assert!(!message(toml::toml! { name = "s3" bits = 3 slope = 1.0 }).contains('\n'));
    }

    #[test]
    fn bits_that_a_method_does_not_have_are_named() {
        for entry in METHODS {
            let mut table = toml::toml! { bits = 17 };
            table.insert("name".into(), entry.name.into());
            let message = message(table);
            assert!(
                message.contains(entry.name) && message.contains("bits"),
                "{message}"
            );
        }
        assert!(
            message(toml::toml! { name = "lqnet" bits = 5 })
                .contains("bits: expected 2, 3, 4, got 5")
        );
    }

    #[test]
    fn settings_out_of_range_are_named() {
        for (table, key) in [
            (
                toml::toml! { name = "inq" bits = 5 portions = [0.5, 0.9] },
                "portions",
            ),
            (
                toml::toml! { name = "inq" bits = 5 float_share = 1.0 },
                "float_share",
            ),
            (
                toml::toml! { name = "sq" ratios = [0.5, 0.25, 1.0] },
                "ratios",
            ),
            (toml::toml! { name = "ttq" threshold = 1.5 }, "threshold"),
            (toml::toml! { name = "apot" bits = 3 clip = 0.0 }, "clip"),
            (toml::toml! { name = "staircase" slope = "two" }, "slope"),
            (
                toml::toml! { name = "deepshift_ps" bits = 5 init = "ones" },
                "init",
            ),
        ] {
            let message = message(table);
            assert!(message.contains(&format!("{key}: ")), "{message}");
        }
    }

    #[test]
    fn a_resolved_configuration_builds_itself_again() {
        for entry in METHODS {
            let mut table = toml::toml! { name = "x" };
            table.insert("name".into(), entry.name.into());
            if build(&table).is_err() {
                table.insert("bits".into(), i64::from(entry.bits[0]).into());
            }
            let once = build(&table).expect("the minimal configuration").resolved;
            assert_eq!(build(&once).expect("resolved").resolved, once);
        }
    }

    #[test]
    fn names_are_unique() {
        for (i, a) in METHODS.iter().enumerate() {
            assert!(
                METHODS[i + 1..].iter().all(|b| a.name != b.name),
                "{}",
                a.name
            );
        }
    }
}
