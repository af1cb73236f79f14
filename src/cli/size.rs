//! Sizes as people write them on a command line.

/// The units, the largest first.
const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

/// The bytes of a size: a whole number with a unit, as in `512MiB`.
pub(super) fn parse_size(text: &str) -> Option<u64> {
    let size = |(unit, bytes): &(&str, u64)| {
        let number = text.strip_suffix(unit)?;
        let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        number.parse::<u64>().ok().filter(|_| digits)?.checked_mul(*bytes)
    };
    UNITS.iter().find_map(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_a_number_with_a_unit() {
        for (text, bytes) in [("2GiB", 2 << 30), ("512MiB", 512 << 20), ("0KiB", 0)] {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for bad in ["", "2", "GiB", "-1GiB", "+1GiB", "1.5GiB", "1 GiB", "2GB", "99999999999GiB"] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
    }
}
