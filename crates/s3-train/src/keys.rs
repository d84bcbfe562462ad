//! Which keys does a configuration have? docs/CONFIG.md is the list, for its readers and for the
//! program.

use anyhow::Result;
use std::fmt::Write as _;
use toml::{Table, Value};

const PAGE: &str = include_str!("CONFIG.md");

/// A row of docs/CONFIG.md.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The key with its tables, `data.name`.
    pub name: &'static str,
    /// The methods that have it; `None` where it is no method's own.
    pub methods: Option<Vec<&'static str>>,
    /// What is there where nothing is said: a TOML value, or words.
    pub default: &'static str,
}

/// Every key, in the order of the page.
///
/// ```
/// use s3_train::keys;
///
/// let key = keys::all().find(|key| key.name == "eval_batch_size");
/// assert_eq!(key.map(|key| key.default), Some("250"));
/// ```
pub fn all() -> impl Iterator<Item = Key> {
    PAGE.lines().filter_map(row)
}

fn row(line: &'static str) -> Option<Key> {
    let cells: Vec<&str> = line.split('|').map(str::trim).collect();
    let name = cells.get(1)?.strip_prefix('`')?.strip_suffix('`')?;
    let (methods, default) = match cells[..] {
        [_, _, default, _, _] => (None, default),
        [_, _, methods, default, _, _] => (Some(methods.split(", ").collect()), default),
        _ => return None,
    };
    Some(Key {
        name,
        methods,
        default,
    })
}

/// The keys that a flag which is none may mean: `--batch-size`, `--bits`, `--lr`.
///
/// ```
/// use s3_train::keys;
///
/// assert_eq!(keys::meant_by("--train-limit"), ["data.train_limit"]);
/// assert!(keys::meant_by("--resume").is_empty());
/// ```
#[must_use]
pub fn meant_by(flag: &str) -> Vec<&'static str> {
    let word = flag.trim_start_matches('-').split('=').next();
    let word = word.unwrap_or_default().replace('-', "_");
    let is_meant = |name: &&str| {
        let mut parts = name.split('.');
        *name == word || parts.any(|part| part == word)
    };
    let mut names: Vec<&str> = all().map(|key| key.name).filter(is_meant).collect();
    names.dedup();
    names
}

/// The first lines of [`left_out`].
pub(crate) const COMMENTS: &str = "\n# Left out (docs/CONFIG.md):\n";

/// Comments that name the keys which a resolved configuration leaves out, and what is there
/// instead.
pub(crate) fn left_out(config: &Table) -> Result<String> {
    let method = config.get("method").and_then(|method| method.get("name"));
    let method = method.and_then(Value::as_str);
    let mut text = String::from(COMMENTS);
    for key in all() {
        let is_another = key
            .methods
            .is_some_and(|of| !method.is_some_and(|name| of.contains(&name)));
        if !is_another && !holds(config, key.name) {
            writeln!(text, "# {}: {}", key.name, key.default)?;
        }
    }
    Ok(text)
}

fn holds(table: &Table, name: &str) -> bool {
    match name.split_once('.') {
        None => table.contains_key(name),
        Some((first, rest)) => {
            let inner = table.get(first).and_then(Value::as_table);
            inner.is_some_and(|inner| holds(inner, rest))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use s3_layers::zoo::ARCHITECTURES;
    use std::collections::BTreeSet;

    const TEXT: &str = r#"
        epochs = 3
        batch_size = 32
        data = { name = "shapes" }
        model = { name = "resnet8" }
        method = { name = "fp32" }
        optimizer = { name = "sgd" }
        lr = { schedule = "constant", start = 0.1 }
        alpha = { schedule = "constant", start = 0.1 }
    "#;

    /// The keys that serde knows in a table: what it says of one that it does not know. Of
    /// `[model]`, those of every architecture.
    fn known(table: &str, method: &str) -> BTreeSet<String> {
        let networks = match table {
            "model" => ARCHITECTURES.iter().map(|entry| entry.names[0]).collect(),
            _ => vec!["resnet8"],
        };
        let of = |network| known_of(table, method, network);
        networks.into_iter().flat_map(of).collect()
    }

    fn known_of(table: &str, method: &str, network: &str) -> BTreeSet<String> {
        let name = |key: &str| match table {
            "" => key.to_string(),
            table => format!("{table}.{key}"),
        };
        let overrides = [
            format!("method={{ name = {method:?} }}"),
            format!("model.name={network:?}"),
            format!("{}=1", name("no_such_key")),
        ];
        let error = Config::parse(TEXT, &overrides, "x").expect_err("an unknown key");
        let message = format!("{error:#}");
        let (_, list) = message.split_once("`no_such_key`").expect("names the key");
        let list = list.split(" in `").next().unwrap_or_default();
        let mut names: BTreeSet<_> = list.split('`').skip(1).step_by(2).map(name).collect();
        if ["method", "model"].contains(&table) {
            // Taken out before a method or an architecture reads its own.
            names.insert(format!("{table}.name"));
        }
        names
    }

    /// The keys and tables of the page in a table, those of `method` where they are a method's own.
    fn written(table: &str, method: &str) -> BTreeSet<String> {
        let is_of = |of: &Vec<&str>| of.contains(&method) || of.contains(&"every method");
        let keys = all().filter(|key| key.methods.as_ref().is_none_or(is_of));
        let below = |key: Key| {
            let rest = match table {
                "" => key.name,
                table => key.name.strip_prefix(table)?.strip_prefix('.')?,
            };
            let end = key.name.len() - rest.len() + rest.find('.').unwrap_or(rest.len());
            Some(key.name[..end].to_string())
        };
        keys.filter_map(below).collect()
    }

    #[test]
    fn the_page_has_every_key_that_serde_knows_and_no_other() {
        for table in [
            "",
            "data",
            "data.augment",
            "model",
            "layers",
            "optimizer",
            "optimizer.flips",
            "lr",
        ] {
            assert_eq!(written(table, "fp32"), known(table, "fp32"), "[{table}]");
        }
        let of_lr = known("lr", "fp32").into_iter();
        let alpha: BTreeSet<_> = of_lr.map(|key| key.replace("lr.", "alpha.")).collect();
        assert_eq!(alpha, known("alpha", "fp32"));
        for method in s3_quant::METHODS {
            let (written, known) = (written("method", method.name), known("method", method.name));
            assert_eq!(written, known, "{}", method.name);
        }
    }

    /// Floats as what they are stored in: some keys are f32.
    fn same(a: &Value, b: &Value) -> bool {
        match (a, b) {
            (Value::Float(a), Value::Float(b)) => *a as f32 == *b as f32,
            _ => a == b,
        }
    }

    #[test]
    fn the_page_says_the_defaults() -> Result<()> {
        for method in s3_quant::METHODS {
            let bits = match written("method", method.name).contains("method.bits") {
                true => format!(", bits = {}", method.bits[0]),
                false => String::new(),
            };
            let table = format!("method={{ name = {:?}{bits} }}", method.name);
            let config = Config::parse(TEXT, &[table], "x")?;
            let resolved = Table::try_from(&config)?;
            let left_out = left_out(&resolved)?;
            let resolved = Value::Table(resolved);
            for key in all() {
                let mut parts = key.name.split('.');
                let value = parts.try_fold(&resolved, |at, part| at.get(part));
                let of = key.methods.as_ref();
                let is_of = of.is_none_or(|of| of.contains(&method.name));
                let is_left_out = left_out.contains(&format!("# {}: {}\n", key.name, key.default));
                assert_eq!(is_left_out, is_of && value.is_none(), "{}", key.name);
                let said = format!("x = {}", key.default).parse::<Table>();
                if let (true, Some(value), Ok(said)) = (is_of, value, said) {
                    assert!(same(value, &said["x"]), "{} of {}", key.name, method.name);
                }
            }
        }
        Ok(())
    }

    #[test]
    fn a_flag_that_is_none_may_mean_keys() {
        assert_eq!(meant_by("--epochs=3"), ["epochs"]);
        assert_eq!(meant_by("--bits"), ["method.bits"]);
        assert!(meant_by("--lr").contains(&"lr.start"));
        assert!(meant_by("--threads").is_empty());
    }
}
