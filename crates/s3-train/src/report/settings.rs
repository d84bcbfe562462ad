//! The settings of a configuration one by one, and those in which several configurations differ.

use std::collections::{BTreeMap, BTreeSet};
use toml::Value;

/// The parts of a dotted key. A table of a list is called by its name: `model.nodes.conv1.kernel`.
pub(super) type Path = Vec<String>;

/// A configuration's settings.
pub(super) type Settings = BTreeMap<Path, Setting>;

/// What a key holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Setting {
    /// A value as TOML has it, a text without quotes.
    Value(String),
    /// A list of tables, the names of which these are.
    List(Vec<String>),
    /// One of them, whose settings are below it.
    Item,
}

/// Adds what `value`, which is at `path`, holds.
pub(super) fn add(path: Path, value: &Value, settings: &mut Settings) {
    let below = |name: &str| [&path[..], &[name.to_owned()]].concat();
    match value {
        Value::Table(table) => {
            for (key, value) in table {
                add(below(key), value, settings);
            }
        }
        Value::Array(items) => match names(items) {
            Some(names) => {
                for (name, item) in names.iter().zip(items) {
                    let mut item = item.clone();
                    item.as_table_mut().and_then(|table| table.remove("name"));
                    add(below(name), &item, settings);
                    settings.insert(below(name), Setting::Item);
                }
                settings.insert(path, Setting::List(names));
            }
            None => drop(settings.insert(path, Setting::Value(value.to_string()))),
        },
        Value::String(text) => drop(settings.insert(path, Setting::Value(text.clone()))),
        other => drop(settings.insert(path, Setting::Value(other.to_string()))),
    }
}

/// The names of a list of tables that have different ones.
fn names(items: &[Value]) -> Option<Vec<String>> {
    let name = |item: &Value| Some(item.get("name")?.as_str()?.to_owned());
    let names: Vec<String> = items.iter().map(name).collect::<Option<_>>()?;
    let different: BTreeSet<&String> = names.iter().collect();
    (!names.is_empty() && different.len() == names.len()).then_some(names)
}

/// The keys in which configurations differ, in their order, and what each of them has there, in
/// words: nothing where it lacks what the key is of.
pub(super) fn differing(all: &[&Settings]) -> Vec<(String, Vec<String>)> {
    let paths: BTreeSet<&Path> = all.iter().flat_map(|settings| settings.keys()).collect();
    let differing = paths.into_iter().filter_map(|path| {
        let above: Vec<&[String]> = (1..path.len())
            .map(|parts| &path[..parts])
            .filter(|above| all.iter().any(|settings| settings.contains_key(*above)))
            .collect();
        // Those that have the list and the item which the key is of.
        let concerned = |settings: &&&Settings| {
            let mut above = above.iter();
            above.all(|above| settings.contains_key(*above))
        };
        let found: Vec<Option<&Setting>> = all
            .iter()
            .filter(concerned)
            .map(|settings| settings.get(path))
            .collect();
        if !differ(&found) {
            return None;
        }
        let key = path.join(".");
        let is_item = found.contains(&Some(&Setting::Item));
        let said = |settings: &&Settings| match settings.get(path) {
            _ if !concerned(&settings) => String::new(),
            Some(Setting::Value(value)) => format!("{key}={value}"),
            Some(Setting::List(names)) => format!("{key}={}", names.join(", ")),
            Some(Setting::Item) => key.clone(),
            None if is_item => format!("no {key}"),
            None => format!("{key}=-"),
        };
        let said = all.iter().map(said).collect();
        Some((key, said))
    });
    differing.collect()
}

/// Whether these are not all the same. Lists of other items are told apart by their items.
fn differ(found: &[Option<&Setting>]) -> bool {
    let mut orders: BTreeMap<Vec<&String>, &Vec<String>> = BTreeMap::new();
    let mut has_list = false;
    for setting in found.iter().flatten() {
        if let Setting::List(names) = setting {
            has_list = true;
            let mut items: Vec<&String> = names.iter().collect();
            items.sort_unstable();
            if *orders.entry(items).or_insert(names) != names {
                return true;
            }
        }
    }
    !has_list && found.windows(2).any(|pair| pair[0] != pair[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Settings {
        let mut settings = Settings::new();
        let table = text.parse().expect("TOML");
        add(Path::new(), &Value::Table(table), &mut settings);
        settings
    }

    fn said(texts: &[&str]) -> Vec<(String, Vec<String>)> {
        let all: Vec<Settings> = texts.iter().map(|text| settings(text)).collect();
        differing(&all.iter().collect::<Vec<_>>())
    }

    fn line(key: &str, said: &[&str]) -> (String, Vec<String>) {
        let said = said.iter().map(ToString::to_string).collect();
        (key.to_owned(), said)
    }

    const A: &str = "n = [{ name = 'c', k = 3 }, { name = 'rect', k = [1, 3] }, { name = 'p' }]";

    #[test]
    fn tables_of_a_list_are_called_by_their_names() {
        assert!(said(&[A, A]).is_empty());
        let wider = A.replace("k = 3", "k = 5");
        assert_eq!(said(&[A, &wider]), [line("n.c.k", &["n.c.k=3", "n.c.k=5"])]);
        let more = A.replace("k = [1, 3]", "k = [1, 3], s = 2");
        assert_eq!(
            said(&[A, &more]),
            [line("n.rect.s", &["n.rect.s=-", "n.rect.s=2"])]
        );
    }

    #[test]
    fn an_item_that_one_has_alone_is_said_without_its_settings() {
        let fewer = "n = [{ name = 'c', k = 3 }, { name = 'p' }]";
        assert_eq!(
            said(&[A, fewer]),
            [line("n.rect", &["n.rect", "no n.rect"])]
        );
        // Those that have it may differ.
        let other = A.replace("[1, 3]", "[3, 1]");
        assert_eq!(
            said(&[A, fewer, &other]),
            [
                line("n.rect", &["n.rect", "no n.rect", "n.rect"]),
                line("n.rect.k", &["n.rect.k=[1, 3]", "", "n.rect.k=[3, 1]"]),
            ]
        );
        // Who has no such list differs in something else.
        assert_eq!(said(&[A, "m = 1"]), [line("m", &["m=-", "m=1"])]);
    }

    #[test]
    fn the_order_of_the_same_items_is_said() {
        let turned = "n = [{ name = 'p' }, { name = 'c', k = 3 }, { name = 'rect', k = [1, 3] }]";
        let both = ["n=c, rect, p", "n=p, c, rect"];
        assert_eq!(said(&[A, turned]), [line("n", &both)]);
    }

    #[test]
    fn a_name_with_a_dot_is_no_key_of_another_item() {
        let text = "n = [{ name = 'a', k = 1 }, { name = 'a.k' }]";
        let other = text.replace("k = 1", "k = 2");
        assert_eq!(
            said(&[text, &other]),
            [line("n.a.k", &["n.a.k=1", "n.a.k=2"])]
        );
    }

    #[test]
    fn lists_of_values_and_of_tables_without_names_are_values() {
        let found = said(&["n = [1, 2]", "n = [{ k = 1 }]"]);
        assert_eq!(found, [line("n", &["n=[1, 2]", "n=[{ k = 1 }]"])]);
    }
}
