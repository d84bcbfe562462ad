//! Which runs are seeds of one configuration, and what tells configurations of one name apart.
//!
//! Runs are of one group where their resolved configurations differ in nothing but the seed and the
//! device, and their images are the same. A run that starts from another run's weights
//! (`init_from`) counts that run without its seed, as each seed starts from its own.

use super::settings::{self, Setting, Settings};
use crate::config::Config;
use crate::run::RunFolder;
use anyhow::Result;
use serde_json::Value as Json;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use toml::Value;

/// Characters of a label that a legend shows whole, with the number of runs behind it.
const LEGEND: usize = 38;

/// Runs by their configurations.
#[derive(Clone, Debug)]
pub struct Groups {
    /// The group of each run.
    of: Vec<usize>,
    groups: Vec<Group>,
}

#[derive(Clone, Debug)]
struct Group {
    settings: Settings,
    experiment: String,
    /// The last part of a run's name without its seed: `resnet8-0123abcd`.
    run: String,
    method: String,
    data: String,
    /// What tells it from others with the same last part of the experiment's name.
    told: String,
    /// Network, data and method in words, and what tells it from others with the same.
    words: String,
}

impl Groups {
    /// Groups runs, each a configuration and the `data` of its manifest (`null` where it has none).
    ///
    /// ```
    /// use s3_train::{config::Config, groups::Groups};
    ///
    /// let run = |seed: u64, lr: f64| {
    ///     let text = format!(
    ///         "experiment = 'a/net'\nseed = {seed}\nepochs = 3\nbatch_size = 8\n\
    ///          data.name = 'shapes'\nmodel.name = 'resnet8'\nmethod = {{ name = 'twn' }}\n\
    ///          optimizer.name = 'sgd'\nlr.start = {lr}\nlr.schedule = 'constant'"
    ///     );
    ///     (Config::parse(&text, &[], "").unwrap(), serde_json::Value::Null)
    /// };
    /// let groups = Groups::of(&[run(1, 0.1), run(2, 0.1), run(1, 0.2)]);
    /// assert_eq!([0, 1, 2].map(|i| groups.group(i)), [0, 0, 1]);
    /// assert_eq!([0, 2].map(|i| groups.label(i)), ["net (lr.start=0.1)", "net (lr.start=0.2)"]);
    /// assert_eq!(groups.seeds(0), 2);
    /// assert_eq!(groups.differs(2), "lr.start=0.2");
    /// ```
    #[must_use]
    pub fn of(runs: &[(Config, Json)]) -> Self {
        let mut groups: Vec<Group> = Vec::new();
        let mut of = Vec::new();
        for (config, data) in runs {
            let settings = settings_of(config, data);
            let known = groups.iter().position(|group| group.settings == settings);
            of.push(known.unwrap_or(groups.len()));
            if known.is_none() {
                groups.push(Group {
                    settings,
                    experiment: config.experiment.clone(),
                    run: unseeded(&config.run_name().unwrap_or_default()),
                    method: method(config),
                    data: self::data(config),
                    told: String::new(),
                    words: words(config),
                });
            }
        }
        let told = tell_apart(&groups, |group| group.short().to_owned());
        let beside = tell_apart(&groups, |group| group.words.clone());
        for ((group, told), beside) in groups.iter_mut().zip(told).zip(beside) {
            group.told = told;
            group.words = called(&group.words, &beside);
        }
        Self { of, groups }
    }

    /// Reads and groups the runs in `folders`, finished or not.
    ///
    /// # Errors
    /// A folder that is no run's, or a `config.toml` that is none.
    pub fn read(folders: &[PathBuf]) -> Result<Self> {
        let read = |folder: &PathBuf| {
            let folder = RunFolder::open(folder)?;
            let manifest = folder.read_json("manifest.json").unwrap_or_default();
            Ok((
                Config::load(&folder.config(), &[])?,
                manifest["data"].clone(),
            ))
        };
        let runs = folders.iter().map(read).collect::<Result<Vec<_>>>()?;
        Ok(Self::of(&runs))
    }

    /// The group of run `run`: equal numbers are seeds of one configuration.
    ///
    /// # Panics
    /// If there is no such run.
    #[must_use]
    pub fn group(&self, run: usize) -> usize {
        self.of[run]
    }

    /// A name that no other group has, of a length for a plot's legend: the experiment's last
    /// part and, where others share that, what tells them apart or, where that is long, the hash
    /// that the run's name has.
    ///
    /// # Panics
    /// If there is no such run.
    #[must_use]
    pub fn label(&self, run: usize) -> String {
        let group = &self.groups[self.of[run]];
        let told = called(group.short(), &group.told);
        let same = self.groups.iter().filter(|g| g.run == group.run);
        if told.chars().count() <= LEGEND || same.count() > 1 {
            return told;
        }
        group.run.clone()
    }

    /// The same with the experiment's whole name, and what tells it apart only where others share
    /// that.
    ///
    /// # Panics
    /// If there is no such run.
    #[must_use]
    pub fn name(&self, run: usize) -> String {
        let group = &self.groups[self.of[run]];
        let same = self
            .groups
            .iter()
            .filter(|g| g.experiment == group.experiment);
        match same.count() {
            1 => group.experiment.clone(),
            _ => called(&group.experiment, &group.told),
        }
    }

    /// The network, the data and the method in words of their own, whatever the experiment is
    /// called, and what tells apart those that share them: `vgg_small (width=64) on mnist, s3, 3
    /// bits`.
    ///
    /// # Panics
    /// If there is no such run.
    #[must_use]
    pub fn words(&self, run: usize) -> String {
        self.groups[self.of[run]].words.clone()
    }

    /// How many runs are seeds of the same configuration as `run`, with it.
    ///
    /// # Panics
    /// If there is no such run.
    #[must_use]
    pub fn seeds(&self, run: usize) -> usize {
        self.of
            .iter()
            .filter(|group| **group == self.of[run])
            .count()
    }

    /// The settings in which run `run` is another than runs of the same experiment: `key=value`, by
    /// commas; of a list of tables by their names, `model.nodes.conv1.kernel=5`, and `no
    /// model.nodes.conv1` where others have such a table. Method and data set themselves, and with
    /// another method its settings, are left to [`method`] and [`data`].
    ///
    /// # Panics
    /// If there is no such run.
    #[must_use]
    pub fn differs(&self, run: usize) -> String {
        let own = &self.groups[self.of[run]];
        let others = self.groups.iter();
        let others: Vec<&Group> = others.filter(|g| g.experiment == own.experiment).collect();
        let shown = ["method.name", "method.bits", "data.name", "data.folder"];
        let own = others.iter().position(|group| std::ptr::eq(*group, own));
        let all: Vec<&Settings> = others.iter().map(|group| &group.settings).collect();
        let differing = settings::differing(&all);
        let of_methods = differing.iter().any(|(key, _)| key == "method.name");
        let is_told = |key: &str| shown.contains(&key) || of_methods && key.starts_with("method.");
        let differing = differing.into_iter().filter(|(key, _)| !is_told(key));
        let said = differing.filter_map(|(_, mut said)| Some(said.swap_remove(own?)));
        let settings: Vec<String> = said.filter(|said| !said.is_empty()).collect();
        settings.join(", ")
    }
}

impl Group {
    /// The last part of the experiment's name.
    fn short(&self) -> &str {
        self.experiment.rsplit('/').next().unwrap_or_default()
    }
}

fn called(name: &str, told: &str) -> String {
    match told {
        "" => name.to_owned(),
        told => format!("{name} ({told})"),
    }
}

/// What tells groups apart that share this `name`, and no more: the method, the data, then single
/// keys.
fn tell_apart(groups: &[Group], name: impl Fn(&Group) -> String) -> Vec<String> {
    let mut told = vec![String::new(); groups.len()];
    let names: BTreeSet<String> = groups.iter().map(&name).collect();
    for shared in names {
        let these: Vec<usize> = (0..groups.len())
            .filter(|&i| name(&groups[i]) == shared)
            .collect();
        let all: Vec<&Settings> = these.iter().map(|&i| &groups[i].settings).collect();
        let of = |word: &dyn Fn(&Group) -> String| -> Vec<String> {
            these.iter().map(|&i| word(&groups[i])).collect()
        };
        let words = [
            of(&|group| group.method.clone()),
            of(&|group| group.data.clone()),
        ];
        let settings = settings::differing(&all).into_iter().map(|(_, said)| said);
        let mut told_here = vec![String::new(); these.len()];
        for now in words.into_iter().chain(settings) {
            // Groups that have the same words so far, and another one now.
            let splits =
                |i: usize| (0..now.len()).any(|j| told_here[i] == told_here[j] && now[i] != now[j]);
            let more: Vec<bool> = (0..now.len()).map(splits).collect();
            let said = now.into_iter().enumerate();
            for (i, word) in said.filter(|(i, word)| more[*i] && !word.is_empty()) {
                let told = &mut told_here[i];
                let comma = if told.is_empty() { "" } else { "; " };
                *told = format!("{told}{comma}{word}");
            }
        }
        for (i, here) in these.into_iter().zip(told_here) {
            told[i] = here;
        }
    }
    told
}

/// `resnet56 (shortcut=A) on cifar10, s3, 3 bits`: the network with its settings, but for a list of
/// tables, as of nodes; the data and the method.
fn words(config: &Config) -> String {
    let lists_tables = |value: &Value| {
        let items = value.as_array();
        items.is_some_and(|items| items.iter().any(Value::is_table))
    };
    let settings = config.model.settings.iter();
    let settings = settings.filter(|(_, value)| !lists_tables(value));
    let settings: Vec<String> = settings
        .map(|(key, value)| match value {
            Value::String(text) => format!("{key}={text}"),
            other => format!("{key}={other}"),
        })
        .collect();
    let network = called(&config.model.name, &settings.join(", "));
    format!("{network} on {}, {}", data(config), method(config))
}

/// A method in words: `s3, 3 bits`, or its name alone.
#[must_use]
pub fn method(config: &Config) -> String {
    let of = |key: &str| config.method.get(key);
    let name = of("name").and_then(Value::as_str).unwrap_or("?");
    match of("bits").and_then(Value::as_integer) {
        Some(bits) => format!("{name}, {bits} bits"),
        None => name.to_string(),
    }
}

/// A data set in a word: its folder, or its name.
#[must_use]
pub fn data(config: &Config) -> String {
    let name = || config.data.name.to_string();
    config.data.folder.clone().unwrap_or_else(name)
}

/// All that makes a run what it is, but its seed.
fn settings_of(config: &Config, data: &Json) -> Settings {
    let unseeded = Config {
        seed: 0,
        device: "cpu".to_owned(),
        ..config.clone()
    };
    let mut all = Settings::new();
    if let Ok(value) = Value::try_from(&unseeded) {
        settings::add(Vec::new(), &value, &mut all);
    }
    let path = |parts: &[&str]| parts.iter().map(ToString::to_string).collect::<Vec<_>>();
    if let Some(start) = &config.init_from {
        all.remove(&path(&["init_sha256"]));
        let start = start_of(start, config.init_sha256.clone());
        all.insert(path(&["init_from"]), Setting::Value(start));
    }
    for (key, hash) in [("train", "train_sha256"), ("test", "test_sha256")] {
        if let Some(hash) = data[hash].as_str() {
            let short = hash.chars().take(8).collect();
            all.insert(path(&["images", key]), Setting::Value(short));
        }
    }
    all
}

/// What a run starts from: the checkpoint in its run's folder without the seed,
/// `net-0123abcd/best.safetensors`, else the file by its hash, where that is known.
fn start_of(file: &Path, hash: Option<String>) -> String {
    let folder = file.parent().unwrap_or(Path::new(""));
    let run = unseeded(folder);
    match (folder.ends_with(&run), hash) {
        (false, _) => {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            format!("{run}/{name}")
        }
        (true, Some(hash)) => hash.chars().take(8).collect(),
        (true, None) => file.display().to_string(),
    }
}

/// The last part of a run's folder without its seed; of another path its last part.
fn unseeded(folder: &Path) -> String {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    match name.rsplit_once("-s") {
        Some((run, seed)) if !seed.is_empty() && seed.chars().all(|c| c.is_ascii_digit()) => {
            run.to_owned()
        }
        _ => name.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn run(settings: &[&str]) -> (Config, Json) {
        let text = "experiment = 'mnist/net'\nepochs = 3\nbatch_size = 8\n[data]\nname = \
                    'shapes'\n[model]\nname = 'resnet8'\n[method]\nname = 's3'\nbits = \
                    3\n[optimizer]\nname = 'sgd'\n[lr]\nschedule = 'constant'\nstart = 0.1\n";
        let settings: Vec<String> = settings.iter().map(ToString::to_string).collect();
        let config = Config::parse(text, &settings, "").expect("a configuration");
        (config, Json::Null)
    }

    fn labels(runs: &[(Config, Json)]) -> Vec<String> {
        let groups = Groups::of(runs);
        (0..runs.len()).map(|i| groups.label(i)).collect()
    }

    #[test]
    fn seeds_of_one_configuration_are_one_group_and_others_are_not() {
        let runs = [
            run(&[]),
            run(&["seed=2", "device=cpu"]),
            run(&["method={name=\"twn\"}"]),
            run(&["method={name=\"twn\"}", "seed=7"]),
            run(&["lr.start=0.2"]),
            run(&["data.train_limit=100"]),
        ];
        let groups = Groups::of(&runs);
        let of: Vec<usize> = (0..runs.len()).map(|i| groups.group(i)).collect();
        assert_eq!(of, [0, 0, 1, 1, 2, 3]);
        let all: BTreeSet<String> = (0..runs.len()).map(|i| groups.label(i)).collect();
        assert_eq!(all.len(), 4, "{all:?}");
        assert_eq!(groups.label(2), "net (twn)");
        assert_eq!(groups.differs(2), "data.train_limit=-, lr.start=0.1");
        assert_eq!(groups.differs(4), "data.train_limit=-, lr.start=0.2");
    }

    #[test]
    fn names_that_collide_are_told_apart_by_method_data_and_then_single_keys() {
        assert_eq!(labels(&[run(&[]), run(&["seed=2"])]), ["net", "net"]);
        let method = [run(&[]), run(&["method.bits=2"])];
        assert_eq!(labels(&method), ["net (s3, 3 bits)", "net (s3, 2 bits)"]);
        // The same last part of a name, of other data.
        let data = [
            run(&[]),
            run(&["experiment=demo/net", "data.name=mnist", "epochs=9"]),
        ];
        assert_eq!(labels(&data), ["net (shapes)", "net (mnist)"]);
        let only_name = [run(&[]), run(&["experiment=demo/net"])];
        let told = ["net (experiment=mnist/net)", "net (experiment=demo/net)"];
        assert_eq!(labels(&only_name), told);
        let both = [
            run(&[]),
            run(&["method.bits=2"]),
            run(&["method.bits=2", "epochs=9"]),
        ];
        let told = [
            "net (s3, 3 bits)",
            "net (s3, 2 bits; epochs=3)",
            "net (s3, 2 bits; epochs=9)",
        ];
        assert_eq!(labels(&both), told);
        assert_eq!(Groups::of(&only_name).name(0), "mnist/net");
        assert_eq!(Groups::of(&method).name(1), "mnist/net (s3, 2 bits)");
        // A legend has no room for more; the page's table says the rest.
        let long = run(&["init_from=weights-of-another-training.safetensors"]);
        let name = long.0.run_name().expect("a name").display().to_string();
        let hashed = name.trim_start_matches("mnist/").trim_end_matches("-s1");
        assert_eq!(
            labels(&[run(&[]), long.clone()]),
            ["net (init_from=-)", hashed]
        );
        let other = [run(&[]), run(&["experiment=mnist/other", "epochs=9"])];
        assert_eq!(labels(&other), ["net", "other"]);
        assert_eq!(Groups::of(&other).differs(1), "");
    }

    #[test]
    fn words_are_of_the_run_whatever_its_experiment_is_called() {
        let words = |runs: &[(Config, Json)]| -> Vec<String> {
            let groups = Groups::of(runs);
            (0..runs.len()).map(|i| groups.words(i)).collect()
        };
        let runs = [
            run(&[]),
            run(&["seed=2"]),
            run(&["experiment=demo/net", "data.name=cifar10"]),
            run(&["model={name=\"mlp\", hidden=[8, 4]}", "method.bits=2"]),
            run(&["model={name=\"resnet20\", shortcut=\"B\"}", "epochs=9"]),
            run(&["model={name=\"resnet20\", shortcut=\"B\"}"]),
        ];
        let said = [
            "resnet8 (shortcut=A) on shapes, s3, 3 bits",
            "resnet8 (shortcut=A) on shapes, s3, 3 bits",
            "resnet8 (shortcut=A) on cifar10, s3, 3 bits",
            "mlp (hidden=[8, 4], norm=true) on shapes, s3, 2 bits",
            "resnet20 (shortcut=B) on shapes, s3, 3 bits (epochs=9)",
            "resnet20 (shortcut=B) on shapes, s3, 3 bits (epochs=3)",
        ];
        assert_eq!(words(&runs), said);
    }

    #[test]
    fn networks_of_nodes_differ_in_their_nodes_by_name() {
        let nodes =
            |nodes: &str| run(&[&format!("model={{ name = \"nodes\", nodes = [{nodes}] }}")]);
        let list = r#"{ name = "rect", op = "conv", channels = 16, kernel = [1, 3] },
            { name = "p", op = "mean_pool" }, { name = "fc", op = "linear" }"#;
        let list = list.replace('\n', " ");
        let more = format!("{{ name = \"c\", op = \"conv\", channels = 8, kernel = 3 }}, {list}");
        let runs = [
            nodes(&list),
            nodes(&list.replace("= 16", "= 24")),
            nodes(&more),
        ];
        let groups = Groups::of(&runs[..2]);
        assert_eq!(groups.differs(0), "model.nodes.rect.channels=16");
        assert_eq!(groups.name(1), "mnist/net (model.nodes.rect.channels=24)");
        let groups = Groups::of(&[runs[0].clone(), runs[2].clone()]);
        assert_eq!(groups.differs(0), "no model.nodes.c");
        assert_eq!(groups.differs(1), "model.nodes.c");
        assert_eq!(
            groups.words(1),
            "nodes on shapes, s3, 3 bits (model.nodes.c)"
        );
        // Another network differs by its name.
        let groups = Groups::of(&[runs[0].clone(), run(&[])]);
        assert_eq!(groups.differs(0), "model.name=nodes, model.shortcut=-");
        // The same nodes in another order are another network.
        let turned =
            r#"{ name = "a", op = "dropout", p = 0.1 }, { name = "b", op = "pad", padding = 1 }"#;
        let (other, rest) = turned.split_once(", { name = \"b\"").expect("two");
        let other = format!("{{ name = \"b\"{rest}, {other}");
        let groups = Groups::of(&[turned, &other].map(|two| nodes(&format!("{two}, {list}"))));
        assert_eq!(groups.differs(1), "model.nodes=b, a, rect, p, fc");
    }

    #[test]
    fn other_images_are_another_group() {
        let of = |hash: &str| {
            (
                run(&[]).0,
                json!({"train_sha256": hash, "test_sha256": "0"}),
            )
        };
        let runs = [of("0123456789"), of("abcdef0123")];
        assert_eq!(
            labels(&runs),
            ["net (images.train=01234567)", "net (images.train=abcdef01)"]
        );
    }

    #[test]
    fn seeds_that_start_from_their_own_run_are_one_group() {
        let of =
            |seed: u64, start: &str| run(&[&format!("seed={seed}"), &format!("init_from={start}")]);
        let runs = [
            of(1, "runs/fp32-01234567-s1/last.safetensors"),
            of(2, "runs/fp32-01234567-s2/last.safetensors"),
            of(3, "runs/fp32-89abcdef-s3/last.safetensors"),
            of(4, "weights.safetensors"),
        ];
        let groups = Groups::of(&runs);
        assert_eq!([0, 1, 2, 3].map(|i| groups.group(i)), [0, 0, 1, 2]);
        // Each seed's checkpoint is another file; a file that is of no run is known by what is in
        // it.
        let hashed = |seed: u64, start: &str, hash: &str| {
            let settings = [
                ("seed", seed.to_string()),
                ("init_from", start.into()),
                ("init_sha256", format!("\"{hash}\"")),
            ];
            let settings = settings.map(|(key, value)| format!("{key}={value}"));
            run(&settings.each_ref().map(String::as_str))
        };
        let runs = [
            hashed(1, "runs/fp32-01234567-s1/last.safetensors", "0011223344"),
            hashed(2, "runs/fp32-01234567-s2/last.safetensors", "4455667788"),
            hashed(3, "weights.safetensors", "0011223344"),
            hashed(4, "./moved/weights.safetensors", "0011223344"),
            hashed(5, "weights.safetensors", "4455667788"),
        ];
        let groups = Groups::of(&runs);
        assert_eq!([0, 1, 2, 3, 4].map(|i| groups.group(i)), [0, 0, 1, 1, 2]);
        // Two files of one run are two starts.
        let runs = ["last", "best"].map(|file| {
            let start = format!("runs/fp32-01234567-s1/{file}.safetensors");
            hashed(1, &start, "0011223344")
        });
        let groups = Groups::of(&runs);
        assert_eq!([0, 1].map(|i| groups.group(i)), [0, 1]);
    }
}
