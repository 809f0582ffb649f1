//! Counts as numbers to calculate with, and numbers as people read them.

/// A count of a run: far below 2^52, so that nothing is lost.
#[expect(clippy::cast_precision_loss, reason = "counts of a run, far below 2^52")]
pub(crate) fn real(count: u64) -> f64 {
    count as f64
}

/// The same of what is counted in memory.
pub(crate) fn real_len(count: usize) -> f64 {
    real(u64::try_from(count).unwrap_or(u64::MAX))
}

/// One over the other; 0 where the other is.
pub(crate) fn ratio(one: f64, other: f64) -> f64 {
    if other == 0.0 { 0.0 } else { one / other }
}

/// Three digits or so, and no more behind the point than they need.
pub(crate) fn short(value: f64) -> String {
    let size = value.abs();
    let digits = if size == 0.0 || size >= 100.0 {
        0
    } else if size >= 10.0 {
        1
    } else if size >= 0.01 {
        2
    } else {
        4
    };
    let text = format!("{value:.digits$}");
    let short = if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        &text
    };
    if short == "-0" {
        "0".to_owned()
    } else {
        short.to_owned()
    }
}

/// To the thousandth, so that files stay small.
pub(crate) fn to_thousandths(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_with_three_digits_or_so() {
        let written = [
            0.0, 0.0042, 0.5, 1.0, 1.234, 12.34, 99.96, 123.4, 120_000.0, -2.5, -0.000_001,
        ]
        .map(short);
        let expected = [
            "0", "0.0042", "0.5", "1", "1.23", "12.3", "100", "123", "120000", "-2.5", "0",
        ];
        assert_eq!(written, expected);
    }

    #[test]
    fn nothing_over_nothing_is_nothing() {
        assert!(ratio(3.0, 0.0).abs() < f64::EPSILON);
        assert!((ratio(3.0, 2.0) - 1.5).abs() < f64::EPSILON);
        assert!((to_thousandths(1.234_56) - 1.235).abs() < 1e-9);
    }
}
