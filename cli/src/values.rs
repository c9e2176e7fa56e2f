//! Values of arguments: text becomes a checked value before anything is connected.

use std::time::Duration;

use pipewright_api::traffic::Fwmark;
pub(crate) use pipewright_lines::values::{address, checked, duration};

/// As [`duration`], or 0.
pub(crate) fn duration_or_none(text: &str) -> Result<Duration, String> {
    if matches!(text, "0" | "0s") { Ok(Duration::ZERO) } else { duration(text) }
}

/// `10mbit`, `500kbit`, `1gbit`: bits a second, with decimal units as in tc(8).
pub(crate) fn rate(text: &str) -> Result<u64, String> {
    let bad = || "write it as 500kbit, 10mbit or 1gbit".to_owned();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| bad())?;
    let unit: u64 = match text.get(digits.len()..).unwrap_or_default() {
        "bit" => 1,
        "kbit" => 1000,
        "mbit" => 1_000_000,
        "gbit" => 1_000_000_000,
        _ => return Err(bad()),
    };
    number.checked_mul(unit).ok_or_else(bad)
}

/// `1600`, `32k`, `1m`: bytes, with binary units as in tc(8).
pub(crate) fn bytes(text: &str) -> Result<u32, String> {
    let bad = || "write it as 1600, 32k or 1m".to_owned();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u32 = digits.parse().map_err(|_| bad())?;
    let unit: u32 = match text.get(digits.len()..).unwrap_or_default() {
        "" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        _ => return Err(bad()),
    };
    number.checked_mul(unit).ok_or_else(bad)
}

/// `1%`, `0.05%`: a share, in millionths.
pub(crate) fn percent(text: &str) -> Result<u32, String> {
    let bad = || "write it as 1% or 0.05%, at most 100% and no finer than 0.0001%".to_owned();
    let number = text.strip_suffix('%').ok_or_else(bad)?;
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if part.len() > 4 || whole.is_empty() || whole.len() > 3 || !is_digits(whole) || !is_digits(part) {
        return Err(bad());
    }
    let millionths: u32 = format!("{whole}{part:0<4}").parse().map_err(|_| bad())?;
    if millionths <= 1_000_000 { Ok(millionths) } else { Err(bad()) }
}

/// `0x10` or `16`, and with `/MASK` the bits that count.
pub(crate) fn fwmark(text: &str) -> Result<Fwmark, String> {
    let number = |text: &str| {
        let parsed = match text.strip_prefix("0x") {
            Some(hex) => u32::from_str_radix(hex, 16),
            None => text.parse(),
        };
        parsed.map_err(|_| "write it as 16, 0x10 or 0x10/0xff".to_owned())
    };
    match text.split_once('/') {
        Some((mark, mask)) => Ok(Fwmark { mark: number(mark)?, mask: number(mask)? }),
        None => Ok(Fwmark { mark: number(text)?, mask: u32::MAX }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_time_at_all_is_a_time_where_it_may_be() {
        assert_eq!((duration_or_none("0"), duration_or_none("0s")), (Ok(Duration::ZERO), Ok(Duration::ZERO)));
        assert_eq!(duration_or_none("5s"), Ok(Duration::from_secs(5)));
        assert!(duration_or_none("-1s").is_err());
    }

    #[test]
    fn rates_sizes_and_shares_have_the_units_of_tc() {
        assert_eq!((rate("10mbit"), rate("8bit")), (Ok(10_000_000), Ok(8)));
        assert_eq!((bytes("32k"), bytes("1600")), (Ok(32_768), Ok(1600)));
        assert_eq!((percent("1%"), percent("0.05%"), percent("100%")), (Ok(10_000), Ok(500), Ok(1_000_000)));
        assert_eq!(fwmark("0x10/0xff"), Ok(Fwmark { mark: 16, mask: 255 }));
        for text in ["", "10", "10m", "mbit", "-1mbit", "18446744073709551615gbit"] {
            assert!(rate(text).is_err(), "{text} was taken");
        }
        for text in ["", "k", "32kb", "5000m"] {
            assert!(bytes(text).is_err(), "{text} was taken");
        }
        for text in ["", "1", "%", "101%", "0.00001%", "-1%", "1.%x"] {
            assert!(percent(text).is_err(), "{text} was taken");
        }
    }
}
