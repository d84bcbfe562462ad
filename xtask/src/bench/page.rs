//! What every page of results says: machine, command, date, and how often.

use std::path::Path;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use s3_metrics::finished::cpu_of;

/// Prints a page where it is to be read, and writes it where it is to stay.
pub(super) fn show(page: &str, printed: bool, report: Option<&Path>) -> Result<ExitCode> {
    if printed {
        println!("{page}");
    }
    if let Some(path) = report {
        std::fs::write(path, page).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The command, the machine and the day, as the beginning of a sentence.
pub(super) fn provenance() -> String {
    let command = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
    format!(
        "`cargo xtask {command}` at revision {} on {}, {} hardware threads, {}",
        revision(),
        cpu(),
        std::thread::available_parallelism().map_or(0, usize::from),
        today(),
    )
}

/// Today's day.
pub(super) fn today() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    date_of(now.map_or(0, |d| d.as_secs()))
}

/// The day of a Unix time, `2026-11-25`.
pub(crate) fn date_of(seconds: u64) -> String {
    let (year, month, day) = date(seconds / 86_400);
    format!("{year}-{month:02}-{day:02}")
}

/// The commit of the sources, marked where they differ from it.
pub(super) fn revision() -> String {
    let describe = ["describe", "--always", "--dirty", "--exclude", "*"];
    let output = std::process::Command::new("git").args(describe).output();
    let output = output.ok().filter(|output| output.status.success());
    output.map_or("unknown".to_owned(), |output| {
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    })
}

/// Median, smallest and largest of at least one value.
pub(super) fn summary(values: &[f64]) -> (f64, f64, f64) {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    (
        at(values.len() / 2),
        at(0),
        at(values.len().saturating_sub(1)),
    )
}

/// The kind of CPU.
pub(super) fn cpu() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    cpu_of(&text).unwrap_or_else(|| std::env::consts::ARCH.to_string())
}

/// Year, month and day of a day counted from 1970-01-01 (Howard Hinnant's `civil_from_days`).
fn date(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates() {
        assert_eq!(date(0), (1970, 1, 1));
        assert_eq!(date(11_016), (2000, 2, 29));
        assert_eq!(date(20_780), (2026, 11, 23));
    }

    #[test]
    fn the_median_stands_between_the_extremes() {
        assert_eq!(summary(&[3.0, 1.0, 2.0]), (2.0, 1.0, 3.0));
        assert_eq!(summary(&[5.0]), (5.0, 5.0, 5.0));
    }
}
