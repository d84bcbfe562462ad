//! The page of `bench gemv|gemm|conv|kernels` and `infer`: docs/results/kernels.md and infer.md.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::bars;
use super::kernels::Measured;
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
        "{}, n = {rounds} rounds. In a round each program is called again and again for its turn, one \
         program after the other on one pinned core (more threads: as many cores); its figure is the \
         median call. A table gives the median over the rounds, and the spread from the smallest to \
         the largest round. Hot: the same weights each call. Cold: each call takes other weights, so \
         that they come from memory.\n",
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
    page.push_str(
        "\n## Every figure\n\nm x n x k: rows of activations (output pixels of a convolution), \
         outputs, length of the sum. \
         The peak is that of int8 dot products, of f32 activations that of f32, for each thread that of a core.\n\n| bench | m x n x k | weights | program | bits | isa | \
         threads | median us | spread us | GMAC/s | of peak | GB/s |\n\
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
        let name = ["peer", "model", "dtype", "kernel", "output"].map(|key| one.word(key));
        let name: Vec<&str> = name.into_iter().filter(|word| !word.is_empty()).collect();
        let _ = writeln!(
            page,
            "| {} | {}x{}x{} | {weights} | {} | {} | {} | {} | {median:.1} | {min:.1} .. {max:.1} | {rate:.1} | {:.0} % | {} |",
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
