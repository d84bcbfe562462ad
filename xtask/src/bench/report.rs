//! The page of `bench gemv|gemm|conv|kernels` and `infer`: docs/results/kernels.md and infer.md.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::bars;
use super::measured::Measured;
use super::page::{provenance, summary};

/// The page: the machine's limits, the bars, every median.
pub(super) fn report(all: &[Measured]) -> String {
    let title = match all.first() {
        Some(one) if one.word("bench") == "infer" => "Inference of whole networks",
        _ => "Integer kernels",
    };
    let mut page = format!("# {title}\n\n");
    let rounds = all.first().map_or(0, |one| one.us.len());
    let _ = writeln!(
        page,
        "{}, n = {rounds} rounds. In a round each program is called again and again for its turn, \
         one program after the other on one pinned core (more threads: as many cores); its figure \
         is the median call. A table gives the median over the rounds, and the spread from the \
         smallest to the largest round. Hot: the same weights each call. Cold: each call takes \
         other weights, so that they come from memory.\n",
        provenance(),
    );
    page.push_str(
        "## Limits of the machine\n\n| limit | median | spread | unit |\n|---|---|---|---|\n",
    );
    for (limit, unit, text, per_s) in [
        ("dot", "macs", "int8 dot products, registers only", "GMAC/s"),
        ("f32", "macs", "f32 multiply-adds, registers only", "GMAC/s"),
        ("read", "bytes", "reading memory", "GB/s"),
    ] {
        let of = |m: &&Measured| m.word("limit") == limit;
        let rates: Vec<f64> = all
            .iter()
            .filter(of)
            .filter_map(|m| m.giga_per_s(unit))
            .collect();
        let (median, min, max) = summary(&rates);
        let _ = writeln!(
            page,
            "| {text} | {median:.1} | {min:.1} .. {max:.1} | {per_s} |"
        );
    }
    let versions = all.iter().filter(|m| m.about["version"].is_string());
    let versions = versions.map(|m| format!("{} {}", m.word("peer"), m.word("version")));
    let versions: BTreeSet<String> = versions.collect();
    if !versions.is_empty() {
        let versions: Vec<String> = versions.into_iter().collect();
        let _ = writeln!(page, "\nPeers: {}.", versions.join(", "));
    }
    if let Some(nothing) = all.iter().find(|m| m.word("dtype") == "nothing") {
        let _ = writeln!(
            page,
            "\nA call of {} that does nothing takes {:.1} us; it is part of each of its times.",
            nothing.word("peer"),
            summary(&nothing.us).0,
        );
    }
    page.push_str(&bars::table(all));
    page.push_str(&beside(all));
    page.push_str(
        "\n## Every figure\n\nm x n x k: rows of activations (output pixels of a convolution), \
         outputs, length of the sum. The peak is that of int8 dot products, of f32 activations \
         that of f32, for each thread that of a core.\n\n| bench | m x n x k | weights | program | \
         bits | isa | threads | median us | spread us | GMAC/s | of peak | GB/s |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for (index, one) in all.iter().enumerate() {
        if one.about["limit"].is_string() || one.word("dtype") == "nothing" {
            continue;
        }
        let size = |key: &str| one.number(key).unwrap_or_default();
        let weights = if one.case["cold"] == json!(true) {
            "cold"
        } else {
            "hot"
        };
        let (median, min, max) = summary(&one.us);
        let text = |key: &str| match &one.about[key] {
            Value::Null => "-".to_owned(),
            Value::String(word) => word.clone(),
            value => value.to_string(),
        };
        let limit = match one.word("bench").ends_with("_f32") || one.word("dtype") == "f32" {
            true => "f32",
            false => "dot",
        };
        let peak = limit_of(all, index, limit).and_then(|m| m.giga_per_s("macs"));
        // The limits are those of one core.
        let peak = peak.map(|peak| peak * one.about["threads"].as_f64().unwrap_or(1.0));
        let rate = one.giga_per_s("macs").unwrap_or_default();
        let network = network(one);
        let words = ["dtype", "kernel", "output"].map(|key| one.word(key));
        let name = [one.word("peer"), &network].into_iter().chain(words);
        let name: Vec<&str> = name.filter(|word| !word.is_empty()).collect();
        let _ = writeln!(
            page,
            "| {} | {}x{}x{} | {weights} | {} | {} | {} | {} | {median:.1} | {min:.1} .. {max:.1} \
             | {rate:.1} | {:.0} % | {} |",
            one.word("bench"),
            size("m"),
            size("n"),
            size("k"),
            name.join(" "),
            text("bits"),
            text("isa"),
            text("threads"),
            peak.map_or(f64::NAN, |peak| 100.0 * rate / peak),
            one.giga_per_s("bytes")
                .map_or("-".to_owned(), |rate| format!("{rate:.1}")),
        );
    }
    page.push_str(&layers(all));
    page
}

/// What the network of a case is called, with its width and the size of its images; nothing where a
/// case has no network.
fn network(one: &Measured) -> String {
    let model = one.word("model");
    if model.is_empty() {
        return String::new();
    }
    let width = one.case["settings"]["width"].as_f64();
    let width = width.map_or(String::new(), |width| format!("-{width}"));
    format!("{model}{width} at {}", one.case["side"])
}

/// Our networks of 8-bit activations beside the peers', those of f32 beside those of f32.
fn beside(all: &[Measured]) -> String {
    let mut rows = String::new();
    let ours = all.iter().filter(|m| m.word("peer") == "s3");
    for one in ours.filter(|m| !m.word("model").is_empty()) {
        let floats = one.word("dtype") == "f32";
        let same = |m: &&Measured| {
            let case = ["model", "settings", "side", "batch"];
            let kind = m.word("dtype") == "f32";
            case.iter().all(|key| m.case[*key] == one.case[*key]) && kind == floats
        };
        let time = |m: &Measured| summary(&m.us).0;
        let peers = all
            .iter()
            .filter(|m| m.word("peer") != "s3" && m.word("limit").is_empty());
        let best = peers
            .filter(same)
            .min_by(|a, b| time(a).total_cmp(&time(b)));
        let Some(best) = best.filter(|_| one.about["threads"] == json!(1)) else {
            continue;
        };
        let ratios: Vec<f64> = one.us.iter().zip(&best.us).map(|(a, b)| b / a).collect();
        let (_, min, max) = summary(&ratios);
        let _ = writeln!(
            rows,
            "| {} | {} | {} | {} | {} | {:.1} | {} {} | {:.1} | {:.3} | {min:.2} .. {max:.2} |",
            network(one),
            one.case["batch"],
            one.word("dtype"),
            one.about["bits"],
            one.word("isa"),
            time(one),
            best.word("peer"),
            best.word("dtype"),
            time(best),
            time(best) / time(one),
        );
    }
    if rows.is_empty() {
        return rows;
    }
    format!(
        "\n## Beside the peers\n\nOne thread. The peer's network is the same one, from our own \
         ONNX export; of its forms the fastest. u8s8: u8 activations and s8 weights of a scale a \
         channel, by the peer's own quantizer. The ratio is one of speeds: of the medians, and \
         from the worst to the best round.\n\n\
         | network | batch | ours | bits | isa | us | peer | us | ratio | spread |\n\
         |---|---|---|---|---|---|---|---|---|---|\n{rows}"
    )
}

/// Where the time of our networks goes, of those that were asked for it: one table for each, of one
/// image in 8-bit activations.
fn layers(all: &[Measured]) -> String {
    let mut page = String::new();
    let mut told = BTreeSet::new();
    let short = |m: &&Measured| m.word("dtype") == "u8" && m.case["batch"] == json!(1);
    for one in all.iter().filter(short) {
        if !one.about["layers"].is_array() || !told.insert(network(one)) {
            continue;
        }
        let _ = writeln!(
            page,
            "\n## Layers of {}, {}, batch {}, {} bits, {}, {} thread(s)\n\nThe median of each \
             layer, in a run of its own that reads the clock between layers.\n\n\
             | layer | makes | us | GMAC/s |\n|---|---|---|---|",
            network(one),
            one.word("dtype"),
            one.case["batch"],
            one.about["bits"],
            one.word("isa"),
            one.about["threads"],
        );
        for layer in one.about["layers"].as_array().into_iter().flatten() {
            let number = |key: &str| layer[key].as_f64().unwrap_or_default();
            let made: Vec<String> = layer["made"]
                .as_array()
                .into_iter()
                .flatten()
                .map(Value::to_string)
                .collect();
            let _ = writeln!(
                page,
                "| {} | {} | {:.1} | {:.1} |",
                layer["node"].as_str().unwrap_or_default(),
                made.join("x"),
                number("us"),
                number("macs") / number("us").max(1e-3) / 1e3,
            );
        }
    }
    page
}

/// The limit that took turns with the program at `index`.
fn limit_of<'a>(all: &'a [Measured], index: usize, limit: &str) -> Option<&'a Measured> {
    let same = |m: &&Measured| {
        ["bench", "m", "n", "k", "cold", "stride", "kernel"]
            .iter()
            .all(|key| m.case[*key] == all[index].case[*key])
    };
    all.iter().filter(same).find(|m| m.word("limit") == limit)
}
