//! What a plain scalar may mean: numbers and truth values.

/// A number as written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number {
    /// Without a fraction.
    Whole(i128),
    /// With one, or with an exponent, or `.inf`, `.nan`.
    Float(f64),
}

impl Number {
    /// As a floating-point number.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a configuration's numbers are far below 2^53"
    )]
    pub(super) fn float(self) -> f64 {
        match self {
            Self::Whole(number) => number as f64,
            Self::Float(number) => number,
        }
    }

    /// As a whole number, when it is one.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::float_cmp,
        reason = "exact below 2^53, which is checked"
    )]
    pub(super) fn whole(self) -> Option<i128> {
        match self {
            Self::Whole(number) => Some(number),
            Self::Float(number) if number.trunc() == number && number.abs() < 9e15 => {
                Some(number as i128)
            }
            Self::Float(_) => None,
        }
    }
}

/// `true` and `false` in any usual case, and the words of YAML 1.1 for them.
pub(super) fn truth(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Some(true),
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => Some(false),
        _ => None,
    }
}

/// Whether a plain scalar is a truth value even where nothing asks for one.
pub(super) fn is_truth(text: &str) -> bool {
    matches!(text, "true" | "True" | "TRUE" | "false" | "False" | "FALSE")
}

/// Decimal, `0x`, `0o` and `0b` whole numbers, decimals with or without exponent, `.inf` and `.nan`;
/// digits may be grouped with `_`.
pub(super) fn number(text: &str) -> Option<Number> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    match digits {
        ".inf" | ".Inf" | ".INF" => {
            let infinity = f64::INFINITY;
            return Some(Number::Float(if negative { -infinity } else { infinity }));
        }
        ".nan" | ".NaN" | ".NAN" => return Some(Number::Float(f64::NAN)),
        _ => {}
    }
    let first = digits.bytes().next()?;
    if !(first.is_ascii_digit() || first == b'.') || digits.ends_with('_') {
        return None;
    }
    let clean: String = digits.chars().filter(|c| *c != '_').collect();
    let radix = |prefix, radix| {
        let digits: &str = clean.strip_prefix(prefix)?;
        if digits.starts_with(['+', '-']) {
            return None;
        }
        i128::from_str_radix(digits, radix).ok()
    };
    let whole = radix("0x", 16)
        .or_else(|| radix("0o", 8))
        .or_else(|| radix("0b", 2))
        .or_else(|| clean.parse().ok());
    if let Some(whole) = whole {
        return Some(Number::Whole(if negative { -whole } else { whole }));
    }
    let is_decimal = clean
        .bytes()
        .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
    let float: f64 = clean.parse().ok().filter(|_| is_decimal)?;
    Some(Number::Float(if negative { -float } else { float }))
}

/// The seconds of a span such as `5m` or `1h 30m`, for a hint.
pub(super) fn span_in_seconds(text: &str) -> Option<f64> {
    let mut seconds = 0.0;
    let mut rest = text.trim();
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (count, behind) = rest.split_at_checked(digits)?;
        let unit_end = behind
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(behind.len());
        let (unit, behind) = behind.split_at_checked(unit_end)?;
        let factor = match unit {
            "ms" => 0.001,
            "s" | "sec" | "secs" | "second" | "seconds" => 1.0,
            "m" | "min" | "mins" | "minute" | "minutes" => 60.0,
            "h" | "hour" | "hours" => 3600.0,
            "d" | "day" | "days" => 86400.0,
            _ => return None,
        };
        seconds += count.parse::<f64>().ok()? * factor;
        rest = behind.trim_start();
    }
    Some(seconds).filter(|seconds| *seconds > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_what_yaml_says() {
        for (text, expected) in [
            ("0", Some(Number::Whole(0))),
            ("-12", Some(Number::Whole(-12))),
            ("+7", Some(Number::Whole(7))),
            ("60_000", Some(Number::Whole(60_000))),
            ("0x1F", Some(Number::Whole(31))),
            ("0o17", Some(Number::Whole(15))),
            ("0b11", Some(Number::Whole(3))),
            ("1.5", Some(Number::Float(1.5))),
            (".5", Some(Number::Float(0.5))),
            ("5.", Some(Number::Float(5.0))),
            ("1e3", Some(Number::Float(1000.0))),
            ("-1E-2", Some(Number::Float(-0.01))),
            (".inf", Some(Number::Float(f64::INFINITY))),
            ("-.inf", Some(Number::Float(f64::NEG_INFINITY))),
            ("inf", None),
            ("nan", None),
            ("infinity", None),
            ("", None),
            ("-", None),
            ("--1", None),
            ("-+1", None),
            ("0x-1", None),
            ("1_", None),
            ("_1", None),
            ("5m", None),
            ("1:30", None),
            ("1.2.3", None),
            ("e3", None),
            (".", None),
        ] {
            assert_eq!(number(text), expected, "{text}");
        }
        assert!(matches!(number(".nan"), Some(Number::Float(n)) if n.is_nan()));
    }

    #[test]
    fn spans_become_seconds() {
        for (text, expected) in [
            ("5m", Some(300.0)),
            ("1h 30m", Some(5400.0)),
            ("500ms", Some(0.5)),
            ("2 min", None),
            ("5", None),
            ("m", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(span_in_seconds(text), expected, "{text}");
        }
    }
}
