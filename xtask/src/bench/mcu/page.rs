//! The page of `bench mcu`.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::super::page::provenance;
use super::cores::CORES;
use super::cycles::Model;
use super::networks::{NETWORKS, Network, Row};

/// Inferences a second of the references' 8-bit integers, as MLPerf Tiny publishes them.
const PUBLISHED: &str = include_str!("published.csv");

/// A published result of one network.
struct Published {
    core: &'static str,
    name: String,
    megahertz: f64,
    per_second: f64,
}

impl Published {
    fn cycles(&self) -> f64 {
        self.megahertz * 1e6 / self.per_second
    }
}

/// What is published of `network`.
fn published(network: &Network) -> Vec<Published> {
    let mut lines = PUBLISHED.lines();
    let heads: Vec<&str> = lines.next().unwrap_or("").split(',').collect();
    let column = heads.iter().position(|&head| head == network.key);
    let of = |line: &'static str| {
        let fields: Vec<&str> = line.split(',').collect();
        let number = |index: usize| fields.get(index)?.parse().ok();
        Some(Published {
            core: fields[0],
            name: format!("{}, {}", fields[1], fields[2]),
            megahertz: number(3)?,
            per_second: number(column?)?,
        })
    };
    lines.filter_map(of).collect()
}

/// `1234567` as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn millions(cycles: f64) -> String {
    format!("{:.2} M", cycles / 1e6)
}

/// The page; weights by chance have this share of `zeros`.
pub(super) fn page(rows: &[Row], zeros: f64) -> String {
    let mut page = String::from(
        "# MLPerf Tiny, open division: the reference networks on microcontrollers\n\n",
    );
    let _ = writeln!(page, "Written by {}.\n", provenance());
    page.push_str(&introduction(rows, zeros));
    sizes(&mut page, rows);
    times(&mut page, rows);
    others(&mut page);
    page
}

fn introduction(rows: &[Row], zeros: f64) -> String {
    let models: Vec<String> = Model::ALL
        .iter()
        .map(|m| format!("* {}", m.words()))
        .collect();
    let trained = rows.iter().any(|row| row.accuracy.is_some());
    let trained = match trained {
        true => "but for those marked *trained*",
        false => "none of them trained",
    };
    format!(
        "The networks of `xtask/experiments/mlperf_tiny/` as the C of `s3 export` \
         (docs/EXPORT-FORMAT.md), with 8 bits between the layers, compiled by gcc with -O2 and \
         S3_MULTIPLIER 0, 1 and 3: *no product*, *requantization multiplies* and *multiplies in \
         pairs*. \
         **Instructions are counted**, in QEMU by the plugin `xtask/src/bench/mcu/count.c`, \
         as what a program that runs the network twice takes more than one that runs it once; \
         every program compares its sums with the runtime's, and a loop of {} instructions is \
         counted first. **Cycles are a model, not a measurement**: memory that answers at \
         once and\n\n{}\n\nWeights are by chance, {trained}: {:.1} % are 0, the others each \
         level alike. Time depends on how many are 0 and how large they are, not on which; \
         accuracy is said of what was trained alone. The first and the last layer have \
         weights of 8 bits, but in the autoencoder.\n\n",
        grouped(4000),
        models.join("\n"),
        100.0 * zeros,
    )
}

fn sizes(page: &mut String, rows: &[Row]) {
    page.push_str(
        "## Parameters and bytes\n\n\
         | network | parameters, reference | ours | what ours has not | multiplications | int8 \
         reference, bytes | weights, 2 bits | 3 bits | 4 bits |\n\
         | --- | ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: |\n",
    );
    for (index, network) in NETWORKS.iter().enumerate() {
        let of = |bits: u64| {
            let is_it = |row: &&Row| row.network == index && row.number("bits") == bits;
            rows.iter().find(is_it)
        };
        let weights = |bits: u64| {
            of(bits).map_or("-".to_owned(), |row| {
                grouped((row.number("packed") * bits).div_ceil(8) + row.number("dense"))
            })
        };
        let has_plan = |row: &&Row| row.network == index && row.number("parameters") > 0;
        let Some(row) = rows.iter().find(has_plan) else {
            continue;
        };
        let _ = writeln!(
            page,
            "| {}: {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            network.task,
            network.name,
            grouped(network.parameters),
            grouped(row.number("parameters")),
            network.differs,
            grouped(network.products),
            grouped(network.bytes),
            weights(2),
            weights(3),
            weights(4),
        );
    }
    page.push_str(
        "\nThe bytes of the reference are its whole file; ours are the weights, and *flash* below \
         is all of the code, the weights and the other constants.\n\n",
    );
}

fn times(page: &mut String, rows: &[Row]) {
    page.push_str(
        "## An inference\n\n\
         *RAM* is every variable, the values between the layers included; the image and the sums \
         are the caller's. *Stack* is every function's frame together, more than a call takes. The \
         last column is the best published int8 result on the same kind of core, in cycles, over \
         ours: above 1 ours takes fewer.\n\n\
         | network | weights | core | flash | RAM | stack | instructions | cycles, model | a \
         multiplication | published over ours |\n\
         | --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
    );
    for row in rows {
        let (network, core, counted) = (row.network(), row.core(), row.counted);
        let weights = match row.accuracy {
            None => format!("{} bits", row.number("bits")),
            Some(None) => format!("{} bits, trained", row.number("bits")),
            Some(Some(accuracy)) => {
                format!("{} bits, trained: {accuracy:.2} %", row.number("bits"))
            }
        };
        let zeros = row.about["zeros"].as_f64().unwrap_or(0.0);
        let weights = match row.accuracy {
            None => weights,
            Some(_) => format!("{weights}, {:.1} % are 0", 100.0 * zeros),
        };
        let all = published(network);
        let same = all.iter().filter(|result| result.core == core.published);
        let best = same.map(Published::cycles).reduce(f64::min);
        let over = best.map_or("-".to_owned(), |best| {
            format!("{:.2}", best / counted.cycles as f64)
        });
        let _ = writeln!(
            page,
            "| {} | {weights} | {} | {} | {} | {} | {} | {} | {:.2} | {over} |",
            network.name,
            core.name,
            grouped(counted.flash),
            grouped(counted.ram),
            grouped(counted.stack),
            grouped(counted.instructions),
            millions(counted.cycles as f64),
            counted.cycles as f64 / network.products as f64,
        );
    }
    page.push('\n');
}

fn others(page: &mut String) {
    page.push_str(
        "## Published results of 8-bit integers\n\n\
         As published for MLPerf Tiny (mlcommons/tiny), closed division; of which round each row \
         is was not looked up. Cycles are the clock over the inferences a second.\n\n\
         | network | device | MHz | inferences a second | cycles | a multiplication |\n\
         | --- | --- | ---: | ---: | ---: | ---: |\n",
    );
    for network in &NETWORKS {
        for result in published(network) {
            let cycles = result.cycles();
            let _ = writeln!(
                page,
                "| {} | {} | {} | {} | {} | {:.2} |",
                network.name,
                result.name,
                result.megahertz,
                result.per_second,
                millions(cycles),
                cycles / network.products as f64,
            );
        }
    }
}

/// What was counted, as JSON.
pub(super) fn json(rows: &[Row]) -> Value {
    let of = |row: &Row| {
        json!({
            "network": row.network().key,
            "about": row.about,
            "core": CORES[row.core].name,
            "instructions": row.counted.instructions,
            "cycles": row.counted.cycles,
            "flash": row.counted.flash,
            "ram": row.counted.ram,
            "stack": row.counted.stack,
        })
    };
    rows.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::super::count::Counted;
    use super::*;

    #[test]
    fn published_results_become_cycles() {
        let all = published(&NETWORKS[0]);
        let bosch = all
            .iter()
            .find(|result| result.core == "m0+")
            .expect("a result");
        assert_eq!(millions(bosch.cycles()), "97.41 M");
        let a_product = bosch.cycles() / NETWORKS[0].products as f64;
        assert!((a_product - 7.8).abs() < 0.01, "{a_product}");
        assert_eq!(
            NETWORKS.each_ref().map(|network| published(network).len()),
            [3; 4]
        );
    }

    #[test]
    fn a_row_stands_beside_what_is_published() {
        let counted = Counted {
            instructions: 30_000_000,
            cycles: 48_706_240,
            flash: 39_000,
            ram: 41_000,
            stack: 500,
        };
        let about = json!({ "bits": 3, "packed": 8, "dense": 2, "parameters": 12, "zeros": 0.5 });
        let row = |accuracy| Row {
            network: 0,
            about: about.clone(),
            accuracy,
            core: 0,
            counted,
        };
        let page = page(&[row(None), row(Some(Some(84.5)))], 0.024);
        assert!(
            page.contains("39,000 | 41,000 | 500 | 30,000,000 | 48.71 M | 3.90 | 2.00 |"),
            "{page}"
        );
        assert!(
            page.contains("3 bits, trained: 84.50 %, 50.0 % are 0"),
            "{page}"
        );
        assert!(page.contains("| 98,496 | - | 5 | - |"), "{page}");
    }
}
