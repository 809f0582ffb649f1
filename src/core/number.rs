//! Numbers as people write them.

/// Four significant digits, without trailing zeros; very large and very small ones with an exponent.
#[must_use]
pub fn human(value: f64) -> String {
    if !value.is_finite() {
        return value.to_string();
    }
    let size = value.abs();
    if size == 0.0 {
        return "0".to_owned();
    }
    if !(1e-4..1e9).contains(&size) {
        return trim(&format!("{value:.3e}"));
    }
    let decimals = DECIMALS
        .iter()
        .find(|(least, _)| size >= *least)
        .map_or(7, |(_, decimals)| *decimals);
    trim(&format!("{value:.decimals$}"))
}

const DECIMALS: [(f64, usize); 7] = [
    (1000.0, 0),
    (100.0, 1),
    (10.0, 2),
    (1.0, 3),
    (0.1, 4),
    (0.01, 5),
    (0.001, 6),
];

fn trim(text: &str) -> String {
    let (digits, exponent) = text.split_once('e').map_or((text, None), |(d, e)| (d, Some(e)));
    let digits = if digits.contains('.') {
        digits.trim_end_matches('0').trim_end_matches('.')
    } else {
        digits
    };
    exponent.map_or_else(|| digits.to_owned(), |e| format!("{digits}e{e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_people_write_them() {
        for (value, expected) in [
            (0.0, "0"),
            (-0.0, "0"),
            (0.5, "0.5"),
            (10.0, "10"),
            (0.123_456_7, "0.1235"),
            (12.345, "12.35"),
            (1_234.56, "1235"),
            (100.04, "100"),
            (0.000_01, "1e-5"),
            (2.5e12, "2.5e12"),
            (-3.25, "-3.25"),
            (0.001_2, "0.0012"),
        ] {
            assert_eq!(human(value), expected);
        }
    }
}
