//! A growing share of the weights is quantized, stage by stage: what INQ and SQ have in common.

use s3_core::Progress;

/// Checks that `shares`, the setting called `key`, grow from above 0 and end at 1, where they may
/// stay for several stages.
pub(crate) fn check(key: &str, shares: &[f64]) -> Result<(), String> {
    let growing = shares
        .windows(2)
        .all(|w| w[0] < w[1] || w[0] == 1.0 && w[1] == 1.0);
    let positive = shares.first().is_some_and(|&x| x > 0.0);
    if growing && positive && shares.last() == Some(&1.0) {
        return Ok(());
    }
    Err(format!(
        "{key}: expected growing shares above 0 that end at 1, got {shares:?}"
    ))
}

/// Stages begun of `stages` of equal length, the first beginning after the share `delay` of the
/// run.
pub(crate) fn begun(p: &Progress, stages: usize, delay: f64) -> usize {
    let (step, steps) = (p.step as f64, p.steps as f64);
    let wait = (delay * steps).ceil();
    if step < wait {
        return 0;
    }
    let share = (step - wait) / (steps - wait).max(1.0);
    ((share * stages as f64).floor() as usize + 1).min(stages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_grow_and_end_at_one() {
        assert_eq!(check("x", &[0.5, 1.0]), Ok(()));
        assert_eq!(check("x", &[0.5, 1.0, 1.0]), Ok(()));
        for bad in [
            &[][..],
            &[0.5],
            &[0.5, 0.5, 1.0],
            &[0.0, 1.0],
            &[1.0, 0.5],
            &[f64::NAN, 1.0],
        ] {
            assert!(
                check("x", bad).expect_err("refused").starts_with("x: "),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn stages_have_equal_lengths_after_the_delay() {
        let at = |step, delay| {
            let p = Progress {
                step,
                steps: 20,
                epoch: 0,
                epochs: 1,
                seed: 0,
            };
            begun(&p, 4, delay)
        };
        assert_eq!(
            [0, 4, 5, 10, 15, 19].map(|s| at(s, 0.0)),
            [1, 1, 2, 3, 4, 4]
        );
        assert_eq!(
            [0, 9, 10, 13, 18, 19].map(|s| at(s, 0.5)),
            [0, 0, 1, 2, 4, 4]
        );
    }
}
